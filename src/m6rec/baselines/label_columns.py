"""Labels of every kind as columns of yes and no, or of amounts, which is what baselines are fitted to; and their answers put together again.

Dimension keys: X rows, T columns, C classes, tags or levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.data.labels import Labels

MOST_CLASSES = 30  # columns that one task may have
RAREST = 1e-6  # probability of a class that training never showed


@dataclass(frozen=True)
class LabelColumns:
    """The labels of one task: values float32 (X, T), NaN unknown; amounts: whether they are numbers instead of 0 and 1."""

    names: list[str]
    values: np.ndarray
    amounts: bool = False


def columns_of(task: str, labels: Labels, *, levels_apart: bool = False) -> LabelColumns:
    """A column for yes or no and for a number; one for each class and tag.

    Args:
        levels_apart: ordered levels are classes; else one amount, the number of the level.
    """
    if labels.kind == "tags":
        return LabelColumns([f"{task} {name}" for name in labels.names], labels.values)
    if labels.kind == "classes" or (labels.kind == "ordinal" and levels_apart):
        table = (labels.values[:, None] == np.arange(len(labels.names))).astype(np.float32)
        table[np.isnan(labels.values)] = np.nan
        return LabelColumns([f"{task} {name}" for name in labels.names], table)
    return LabelColumns([task], labels.values[:, None], amounts=labels.kind != "binary")


def answer_of(labels: Labels, said: np.ndarray, *, levels_apart: bool = False) -> np.ndarray:
    """float32, as a model answers: probabilities (X,), or (X, C) that add up to 1 where there is one class; numbers; levels (X,).

    said: (X, T) of the columns that `columns_of` gave.
    """
    if labels.kind == "number":
        return said[:, 0]
    if labels.kind == "classes" or (labels.kind == "ordinal" and levels_apart):
        return whole(said)
    if labels.kind == "ordinal":
        return np.clip(said[:, 0], 0, len(labels.names) - 1)
    return np.clip(said if labels.kind == "tags" else said[:, 0], 0, 1)


def whole(said: np.ndarray) -> np.ndarray:
    """float32 (X, C): probabilities that add up to 1, none of them nothing."""
    table = np.maximum(said, RAREST)
    return (table / table.sum(axis=1, keepdims=True)).astype(np.float32)


def unsuited(name: str, task: str, labels: Labels, kinds: Sequence[str], most: int = MOST_CLASSES) -> str | None:
    """The sentence that says why a baseline has nothing to say of a task; None where it has."""
    if labels.kind not in kinds:
        why = {"number": "its labels are numbers", "tokens": "it labels words"}.get(labels.kind, f"its labels are {labels.kind}")
        return f"{name} does not judge {task}: {why}."
    if labels.kind in ("classes", "tags", "ordinal") and len(labels.names) > most:
        return f"{name} does not judge {task}: it has {len(labels.names):,} different labels, more than {most}."
    return None
