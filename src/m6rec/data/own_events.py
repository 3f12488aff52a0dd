"""A person's own newest events counted by value, for the candidates of a request (`history_statistics.py` says what the numbers mean).

Shapes: G values, A actions, E newest events, Q questions, V values of a question.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.history_statistics import NEVER


@dataclass(frozen=True)
class OwnEvents:
    """Counts of the newest events by value: codes int64 (G,) ascending, counts float32 (G, 1 + A), last int64 (G,), whole (1 + A,), length E."""

    codes: np.ndarray
    counts: np.ndarray
    last: np.ndarray
    whole: np.ndarray
    length: int


def found_in(codes: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of `asked` (Q, V) stand in the ascending `codes`, and where."""
    if not len(codes):
        return np.zeros(asked.shape, bool), np.zeros(asked.shape, np.int64)
    at = np.minimum(np.searchsorted(codes, asked), len(codes) - 1)
    return codes[at] == asked, at


def own_columns(events: OwnEvents, found: np.ndarray, at: np.ndarray) -> np.ndarray:
    """float32 (Q, 3 + A): logarithms of counts, share of the history, logarithm of how many events ago; found, at (Q, V)."""
    if not len(events.codes):
        total, last = np.zeros((len(found), len(events.whole)), np.float32), np.full(len(found), -1)
    else:
        total = (events.counts[at] * found[..., None]).sum(axis=1)
        last = np.where(found, events.last[at], -1).max(axis=1)
    ago = np.where(last >= 0, events.length - last, NEVER)
    share = total[:, :1] / np.maximum(events.whole[:1], 1)
    return np.concatenate([np.log1p(total), share, np.log1p(ago)[:, None]], axis=1, dtype=np.float32)
