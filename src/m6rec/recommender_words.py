"""What a Recommender says of words and in words: labels of texts, profiles of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m6rec.explanation.interests import Profile
from m6rec.serving.engine.engine import Engine
from m6rec.text.constraints import Typed


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

    def understand(self, text: str) -> Typed:
        """What a typed text says, as `recommend` reads it: `wanted` and `unwanted` words, which are scored, `constraints`, which the fields of the
        items decide exactly ("not horror", "under 50", "for a child", "by Stephen King"), `named` values.

        Raises:
            UsageError: a text that is too long.
        """
        return self.engine.understand(text)

    def why_empty(
        self,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        *,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> str:
        """Why `recommend` has nothing to answer to what was typed: constraints that exclude each other, or that no item meets; "" where some do.

        Raises:
            UsageError: an unknown field or scenario, a text that is too long.
        """
        return self.engine.why_empty(text, profile, scenario=scenario, where=where)

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
