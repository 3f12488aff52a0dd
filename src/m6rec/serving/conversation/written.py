"""Replies in words of the model's own, where a write task learned them from dialogues: real names only, claims checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m6rec.base.written import Written
from m6rec.data.dialogues import CONTEXT, KIND, context_of
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.how_to_write import HowToWrite

LONGEST = 60  # words of a reply


def reply_task(engine: Engine) -> str | None:
    """The write task that learned what assistants say in dialogues, and reads the words before; None where there is none."""
    part = engine.scorer.writing
    configs = {} if part is None else part.write.configs
    return next((name for name, config in configs.items() if KIND in config.from_ and CONTEXT in config.columns), None)


def written_reply(
    engine: Engine, task: str, item: int, history: Sequence[int], turns: Sequence[tuple[str, str]], allowed: np.ndarray, language: str
) -> Written:
    """A reply about an item (row) after `turns` of (role, text).

    allowed: bool (N,), items that it may name. What it claims and is not so has been taken out.
    """
    ids = engine.items.ids.ids
    ask = HowToWrite(decoding="greedy", words=(1, LONGEST), language=language, allowed=allowed)
    return engine.write(task, None, ids[item], history=[ids[row] for row in history], text={CONTEXT: context_of(list(turns))}, ask=ask)
