"""Replies in words of the model's own, where a write task learned them from dialogues: real names only, claims checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from m6rec.data.dialogues import CONTEXT, KIND, context_of
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.how_to_write import HowToWrite
from m6rec.serving.engine.writing import in_sentences
from m6rec.serving.engine.written_facts import writes_in

LONGEST = 60  # words of a reply


@dataclass(frozen=True)
class Manner:
    """How a reply is written where the model writes it, and who hears of it meanwhile.

    temperature  0: the likeliest word each time; above: words are drawn by `seed` among the likeliest that together have `top_p` of the probability
    banned       words that are not written
    tell         is given the reply as far as it stands, a sentence more each time; what it was given stays as it is
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    banned: tuple[str, ...] = ()
    tell: Callable[[str], None] | None = None

    def how(self, language: str, allowed: np.ndarray) -> HowToWrite:
        """The same for the engine. allowed: bool (N,), items that may be named."""
        plain = HowToWrite(decoding="greedy", words=(1, LONGEST), language=language, allowed=allowed, banned=self.banned)
        if not self.temperature:
            return plain
        drawn = {"decoding": "nucleus", "temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        return HowToWrite(**{**vars(plain), **drawn})

    def told(self, tell: Callable[[str], None]) -> Manner:
        """The same, and `tell` is told as well."""
        already = self.tell
        if already is None:
            return replace(self, tell=tell)

        def both(text: str) -> None:
            already(text)
            tell(text)

        return replace(self, tell=both)


PLAIN = Manner()


def reply_task(engine: Engine) -> str | None:
    """The write task that learned what assistants say in dialogues, and reads the words before; None where there is none."""
    part = engine.scorer.writing
    configs = {} if part is None else part.write.configs
    return next((name for name, config in configs.items() if KIND in config.from_ and CONTEXT in config.columns), None)


def replies_in(engine: Engine, task: str, language: str) -> bool:
    """Whether the task has words of a language."""
    part = engine.scorer.writing
    return part is not None and writes_in(part, task, language)


def reply_sentences(
    engine: Engine,
    task: str,
    item: int,
    history: Sequence[int],
    turns: Sequence[tuple[str, str]],
    how: HowToWrite,
    dropped: list[str],
) -> Iterator[str]:
    """A reply about an item (row) after `turns` of (role, text), sentence by sentence as it is written.

    dropped: takes what the reply claimed and is not so, which is taken out.
    """
    ids = engine.items.ids.ids
    about = {"history": [ids[row] for row in history], "text": {CONTEXT: context_of(list(turns))}}
    return in_sentences(engine.write_stream(task, None, ids[item], ask=how, dropped=dropped, **about))
