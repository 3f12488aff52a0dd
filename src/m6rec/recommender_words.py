"""What a Recommender says of words and in words: labels of texts, profiles of people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, overload

from m6rec.base.arguments import a_flag, refused
from m6rec.base.written import Written
from m6rec.data.row_splits import NAMES as PARTS
from m6rec.evaluation.conversed import Conversed
from m6rec.explanation.explained import Explanation
from m6rec.explanation.interests import Profile
from m6rec.explanation.overall import Overall
from m6rec.recommender_unseen import AnswersUnseen
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.conversation import Conversation, Talker
from m6rec.serving.conversation.measured import measured
from m6rec.serving.conversation.offers import Person
from m6rec.serving.conversation.reply import ChatReply
from m6rec.serving.conversation.speaking import ChatStream
from m6rec.serving.conversation.written import PLAIN, Manner
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.how_to_write import HowToWrite
from m6rec.text.constraints import Typed


class AnswersInWords(AnswersUnseen):
    """The part of `Recommender` that reads and writes words; `engine` does the work."""

    engine: Engine
    _talker: Talker | None = None

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
        """Whether any word of `text` stands in an item or names one of its categories or tags, or it is nothing but limits ("under 50"); if not,
        `recommend` has only the rest to go by."""
        return self.engine.goes_by(text)

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
        by: str | None = None,
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
            by: the write task whose sentence is used, held against the facts; None: one that learned from texts of the kind "reason" where there is
                one, else templates; "template": those. What a sentence cites is what it names.
            counterfactuals: whether the places without events are wanted.
            gradients: whether integrated gradients of the events, of a task on candidates of the fields too, are wanted (needs the extra "explain").

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
            by=by,
            counterfactuals=counterfactuals,
            gradients=gradients,
        )

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
        language: str = "en",
    ) -> str:
        """Why `recommend` has nothing to answer to what was typed: constraints that exclude each other, or that no item meets, or none that
        `where` and the scenario leave; "" where some do.

        Args:
            language: of the words, "en", "zh", or another that has a file in text/templates.

        Raises:
            UsageError: an unknown field, scenario or language, a text that is too long.
        """
        return self.engine.why_empty(text, profile, scenario=scenario, where=where, language=language)

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
            A `Profile`; `m6rec.explanation.interest_words.sentences` words it.

        Raises:
            UnknownUserError: an id nobody has seen.
        """
        return self.engine.profile(user, most)

    def write(
        self,
        kind: str,
        user: str | None = None,
        item: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | Mapping[str, str] | None = None,
        profile: Mapping[str, Any] | str | None = None,
        scenario: str | None = None,
        language: str | None = None,
        about: Sequence[str] = (),
        decoding: Literal["beam", "greedy", "nucleus", "agreed"] = "beam",
        beams: int = 4,
        top_p: float = 0.9,
        temperature: float | None = None,
        seed: int = 0,
        words: tuple[int, int] | None = None,
        banned: Sequence[str] = (),
        n: int = 1,
        check: bool = True,
    ) -> Written:
        """Write a text: a reason, a query, a title, a review in somebody's manner.

        Args:
            kind: the write task, by its name in the configuration.
            user, item: whom it is for (or whose manner it has), what it is about.
            history: item ids, oldest first; after the user's own where both are given.
            text: what stands before it: the named columns that the task reads, a mapping; a text alone is that of the only one.
            profile: who it is for where nobody known is: fields and values, or words.
            language: of the text; None: as it comes.
            about: words or features that should be named.
            decoding: beam: the likeliest found by `beams` side by side; greedy: the likeliest word each time; nucleus: drawn by `seed` among the
                likeliest words that hold `top_p` of the probability, at `temperature` (None: 1); agreed: of 48 such drafts at 0.5, none much
                shorter than what was read of the kind, the one most like 64 texts drawn as the model says them.
            words: least and most words.  banned: words that must not be written.  n: texts, the others in `others`.
            check: whether what is said of the item is held against the item and the history; what is not true is taken out and stands in `dropped`.

        Raises:
            UsageError: no such write task, nothing to write about.  UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        ask = HowToWrite(decoding, beams, top_p, temperature, seed, words, banned, language, n, check)
        return self.engine.write(kind, user, item, history=history, text=text, profile=profile, scenario=scenario, about=about, ask=ask)

    def write_stream(
        self,
        kind: str,
        user: str | None = None,
        item: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | Mapping[str, str] | None = None,
        profile: Mapping[str, Any] | str | None = None,
        scenario: str | None = None,
        language: str | None = None,
        about: Sequence[str] = (),
        decoding: Literal["greedy", "nucleus"] = "greedy",
        top_p: float = 0.9,
        temperature: float | None = None,
        seed: int = 0,
        words: tuple[int, int] | None = None,
        banned: Sequence[str] = (),
        check: bool = True,
    ) -> Iterator[str]:
        """As `write`, piece by piece while it is written; where what it says of an item is checked, a sentence at a time."""
        ask = HowToWrite(decoding, 1, top_p, temperature, seed, words, banned, language, check=check)
        return self.engine.write_stream(
            kind, user, item, history=history, text=text, profile=profile, scenario=scenario, about=about, ask=ask
        )

    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        user: str | None = None,
        scenario: str | None = None,
        stream: Literal[False] = False,
        config: ConversationConfig | None = None,
        manner: Manner = PLAIN,
    ) -> ChatReply: ...

    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        user: str | None = None,
        scenario: str | None = None,
        stream: Literal[True],
        config: ConversationConfig | None = None,
        manner: Manner = PLAIN,
    ) -> ChatStream: ...

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        user: str | None = None,
        scenario: str | None = None,
        stream: bool = False,
        config: ConversationConfig | None = None,
        manner: Manner = PLAIN,
    ) -> ChatReply | ChatStream:
        """The reply to the last of `messages`: [{"role": "user" | "assistant" | "system", "content": text}, ...], oldest first.

        What was liked and refused is found again in the messages, so nothing is kept between calls; a refused item never returns. Replies may carry
        "items", the ids they offered (`ChatReply.message` has them); without, items are found by their names. What a system message says is not read.

        Args:
            user: somebody known, whose history counts too.
            scenario: where they are; only what it offers is recommended.
            stream: a `ChatStream` instead of the whole reply: its text in pieces while the reply is written, each sentence as soon as it stands.
            config: how it goes, as for `conversation`; None: the defaults.
            manner: how the model writes where it writes (`config.written`): temperature, seed, words that are banned.

        Raises:
            UsageError: no messages, a wrong one, or the last is not the user's.  UnknownUserError: an id nobody has seen.
            ConfigError, DataError: a file that `config` names and that can't be used.
        """
        if not isinstance(manner, Manner):
            raise refused("manner", manner, "give a m6rec.serving.conversation.written.Manner")
        stream = a_flag("stream", stream)
        talker, person = self._talk(config), Person(user, scenario)
        return talker.stream(messages, person, manner) if stream else talker.chat(messages, person, manner)

    def conversation(
        self, user: str | None = None, *, scenario: str | None = None, config: ConversationConfig | None = None
    ) -> Conversation:
        """A conversation that keeps its state: `conversation.say("something for a runner")` gives a `ChatReply`.

        Args:
            config: how it goes (items in an answer, questions asked back, FAQ and language files); None: the defaults.

        Raises:
            ConfigError, DataError, UsageError: a file or task that `config` names and that can't be used.  UnknownUserError: an id nobody has seen.
        """
        return self._talk(config).start(Person(user, scenario))

    def measure_conversation(
        self, split: Literal["validation", "test"] = "test", *, config: ConversationConfig | None = None
    ) -> Conversed | None:
        """Known questions answered and turns handed over in the held-out dialogues of the data; None where these tell no truth of either.

        Args:
            config: how conversations go; None: the defaults.

        Raises:
            ConfigError, DataError, UsageError: a file or task that `config` names and that can't be used.
        """
        if split not in PARTS[1:]:
            raise refused("split", split, f"it is {' or '.join(PARTS[1:])}")
        return measured(self._talk(config), PARTS.index(split))

    def _talk(self, config: ConversationConfig | None = None) -> Talker:
        """Of the last configuration that was asked for; another one is made anew, for it reads files."""
        wanted = ConversationConfig() if config is None else config
        if not isinstance(wanted, ConversationConfig):
            raise refused("config", config, "give a m6rec.serving.conversation.config.ConversationConfig, or None for the defaults")
        if self._talker is None or self._talker.config != wanted:
            self._talker = Talker(self.engine, wanted)
        return self._talker
