"""What a Recommender says of words and in words: labels of texts, profiles of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from m6rec.explanation.explained import Explanation
from m6rec.explanation.interests import Profile
from m6rec.explanation.overall import Overall
from m6rec.serving.engine.engine import Engine


class AnswersInWords:
    """The part of `Recommender` that reads and writes words; `engine` does the work."""

    engine: Engine

    def classify(self, text: str | Sequence[str] | None = None, *, item: str | None = None, task: str | None = None) -> Any:
        """What a task on texts says of a text (or of each of several), or a task on items of an item.

        Args:
            task: its name; may be left out where there is one such task.

        Returns:
            {label: probability} with the likeliest first (classes, tags); {"yes": p, "no": 1 - p}; a number; a list of these for a list of texts.

        Raises:
            UsageError: neither text nor item, no such task.  UnknownItemError: an id that is not in the catalogue.
        """
        return self.engine.classify(text, item, task)

    def understands(self, text: str) -> bool:
        """Whether any word of `text` stands in an item or names one of its categories or tags; if not, `recommend` has only the rest to go by."""
        return self.engine.understands(text)

    def explain(
        self,
        user: str | None = None,
        item: str = "",
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        task: str | None = None,
        scenario: str | None = None,
        context: Mapping[str, Any] | None = None,
        time: float | str | datetime | None = None,
        k: int = 10,
        language: str = "en",
        words: bool = True,
        counterfactuals: bool = True,
        gradients: bool = False,
    ) -> Explanation:
        """Why `item` stands where it stands for somebody: evidence, a reason in words that names it, and what would have been without it.

        Args:
            item: an id of the catalogue, recommended or not.
            user, history, text, profile, task, scenario, context, time: as in `recommend` and `rank`; a task that judges candidates is explained
                by its events, fields, statistics and context.
            k: how long the list is that the item may leave.
            language: of the words, "en" or "zh" (one file each in explanation/languages).
            words: whether a reason in words is wanted.
            counterfactuals: whether the places without events are wanted.
            gradients: whether integrated gradients of the events are wanted too (needs the extra "explain").

        Returns:
            An `Explanation`. Its lifts are exact: `rank` answers with the score less the lift when the event is not in the history.

        Raises:
            UsageError: nobody, k < 1, an unknown task, scenario or language.  UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        return self.engine.explain(
            item,
            user=user,
            history=history,
            text=text,
            profile=profile,
            task=task,
            scenario=scenario,
            context=context,
            time=time,
            k=k,
            language=language,
            words=words,
            counterfactuals=counterfactuals,
            gradients=gradients,
        )

    def explain_overall(
        self,
        task: str | None = None,
        *,
        people: int = 200,
        scenario: str | None = None,
        context: Mapping[str, Any] | None = None,
        time: float | str | datetime | None = None,
        seed: int = 0,
    ) -> Overall:
        """What a task goes by over a sample of people: fields of the items, profiles, kinds of events, parts of the mixture, statistics.

        Each is taken away for everybody and the model asked again about the items at the head of each person's list.

        Args:
            task: a choose task or one that judges candidates; None: the choose task that reads histories.
            people: drawn by `seed` among those with an event.
            scenario, context, time: as in `rank`.

        Returns:
            An `Overall`: what moves the scores most first, with intervals.

        Raises:
            UsageError: an unknown task or scenario, fewer than one person.
        """
        return self.engine.explain_overall(task, people=people, scenario=scenario, context=context, time=time, seed=seed)

    def profile(self, user: str, *, most: int = 5) -> Profile:
        """What is held about a user: interests by weight, time and scenario, with the events behind each.

        Args:
            most: interests of a field, at most.

        Returns:
            A `Profile`; `m6rec.explanation.interest_words.sentences` words it in English or Chinese.

        Raises:
            UnknownUserError: an id nobody has seen.
        """
        return self.engine.profile(user, most)
