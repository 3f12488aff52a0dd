"""Sums of what happened to a key strictly before a moment: sorted keys, running sums, one binary search an answer.

Shapes: E entries of the log, C columns summed up, Q questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

UNKNOWN = -1  # a key that nothing is known of


@dataclass(frozen=True)
class RunningCounts:
    """Entries sorted by (key, rank); a rank is an integer that grows with time, equal for what happened at once.

    keys    int64 (V,)      distinct keys, ascending
    starts  int64 (V + 1,)  where the entries of each key begin
    order   int64 (E,)      number of the key * span + rank, ascending
    sums    float32 (E, C)  running sums within the key, the entry itself included
    span    more than any rank
    """

    keys: np.ndarray
    starts: np.ndarray
    order: np.ndarray
    sums: np.ndarray
    span: int

    @classmethod
    def build(cls, keys: np.ndarray, ranks: np.ndarray, columns: np.ndarray) -> Self:
        """Entries in any order: keys int64 (E,), ranks int64 (E,) >= 0, columns (E, C) what each entry adds. Keys below 0 are left out."""
        known = keys >= 0
        if not known.all():
            keys, ranks, columns = keys[known], ranks[known], columns[known]
        span = int(ranks.max(initial=0)) + 2
        distinct, number = np.unique(keys, return_inverse=True)
        order = number.astype(np.int64) * span + ranks
        place = np.argsort(order, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=len(distinct)))]).astype(np.int64)
        running = np.cumsum(columns[place], axis=0, dtype=np.float64)
        before = np.concatenate([np.zeros((1, columns.shape[1])), running])[starts[:-1]]  # V C: all that lies before a key
        running -= before[number[place]]
        return cls(distinct, starts, order[place], running.astype(np.float32), span)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """int64 (Q,): numbers of the keys, UNKNOWN where there is no entry."""
        if not len(self.keys):
            return np.full(keys.shape, UNKNOWN, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, UNKNOWN)

    def ends(self, numbers: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """int64 (Q,): how far the entries of each key with a rank below the one given reach; the place after the last of them."""
        if ranks.size and ranks.min() > self.span - 2:  # after everything: where the next key begins
            return self.starts[numbers + 1]
        return np.searchsorted(self.order, numbers * self.span + np.clip(ranks, 0, self.span - 1))

    def until(self, numbers: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """float32 (Q, C): sums of the entries before `ends` (as `ends` gives them); zeros for UNKNOWN keys."""
        some = (numbers >= 0) & (ends > self.starts[np.maximum(numbers, 0)])
        if not len(self.order):
            return np.zeros((*numbers.shape, self.sums.shape[1]), dtype=np.float32)
        return self.sums[np.maximum(ends - 1, 0)] * some[..., None]

    def last(self, numbers: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """int64 (Q,): rank of the newest entry before `ends`, -1 where there is none."""
        if not len(self.order):
            return np.full(numbers.shape, -1, dtype=np.int64)
        some = (numbers >= 0) & (ends > self.starts[np.maximum(numbers, 0)])
        return np.where(some, self.order[np.maximum(ends - 1, 0)] % self.span, -1)


def earlier_sums(keys: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 (E, C): of every row the sums of `values` (E, C) over the rows of the same key with a time strictly before.

    keys: int (E,) from 0. times: (E,), of any unit; a row whose time is NaN is before nothing, and nothing is before it.

    >>> earlier_sums(np.array([1, 1, 2, 1]), np.array([5, 5, 6, 7]), np.array([[1.0], [1.0], [1.0], [1.0]])).ravel().tolist()
    [0.0, 0.0, 0.0, 2.0]
    """
    dated = ~np.isnan(times)
    _, ranks = np.unique(times[dated], return_inverse=True)
    counts = RunningCounts.build(keys[dated].astype(np.int64), ranks.astype(np.int64), values[dated])
    numbers = counts.find(keys)
    place = np.zeros(len(keys), dtype=np.int64)
    place[dated] = ranks
    return counts.until(numbers, counts.ends(numbers, place)).astype(np.float64)
