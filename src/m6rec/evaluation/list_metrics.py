"""Metrics of each list that was shown, put into the scorer's order: NDCG graded by the label, and a satisfaction score. numpy only.

Rows of one score are in an unknown order: every one of them counts with the mean of its tie (McSherry & Najork 2008), so a
scorer that gives everything one score gets what a random order would.

Dimension keys: X rows, L lists.
"""

from __future__ import annotations

import numpy as np


def ndcg_of_lists(gains: np.ndarray, predicted: np.ndarray, lists: np.ndarray, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """NDCG of each list (Järvelin & Kekäläinen 2002), gains as they are (0 where negative), discount 1 / log2(1 + place).

    Args:
        gains: (X,) the label of each row.
        lists: int (X,), which rows were shown together; -1: in no list.
        k: places that count; None: all.

    Returns:
        first row int64 (L,) and NDCG float64 (L,) of each list whose gains are not all alike: there nothing can be ordered.
    """
    order, starts = _by_score(predicted, lists)
    gains = np.maximum(np.asarray(gains, dtype=np.float64)[order], 0.0)
    lists, scores = lists[order], predicted[order]
    if not len(order):
        return starts, np.zeros(0)
    discount = _discounts(starts, len(order), k)
    best = gains[np.lexsort((-gains, lists))]
    found = np.add.reduceat(_mean_of_ties(gains, scores, lists) * discount, starts)
    ideal = np.add.reduceat(best * discount, starts)
    known = np.maximum.reduceat(gains, starts) > np.minimum.reduceat(gains, starts)
    return order[starts[known]], found[known] / ideal[known]


def satisfaction_of_lists(worth: np.ndarray, predicted: np.ndarray, lists: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean worth of the first min(k, rows) places of each list with at least two rows.

    Args:
        worth: float (X,), likes and long views minus dislikes of each row, see `worth_of`.
        lists: int (X,), which rows were shown together; -1: in no list.

    Returns:
        first row int64 (L,) and worth a place float64 (L,).
    """
    order, starts = _by_score(predicted, lists)
    if not len(order):
        return starts, np.zeros(0)
    sizes = np.diff(np.append(starts, len(order)))
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    mean = _mean_of_ties(np.asarray(worth, dtype=np.float64)[order], predicted[order], lists[order])
    sums = np.add.reduceat(np.where(place < k, mean, 0.0), starts)
    known = sizes > 1
    return order[starts[known]], (sums / np.minimum(sizes, k))[known]


def worth_of(likes: np.ndarray | None = None, long_views: np.ndarray | None = None, dislikes: np.ndarray | None = None) -> np.ndarray:
    """float32 (X,): likes + long views - dislikes, each 0 or 1 (NaN, unknown, counts 0); one at least must be given."""
    signed = [(1.0, likes), (1.0, long_views), (-1.0, dislikes)]
    return np.sum([sign * np.nan_to_num(np.asarray(given, dtype=np.float32)) for sign, given in signed if given is not None], axis=0)


def _by_score(predicted: np.ndarray, lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are in lists, list after list and best first, and where each list starts."""
    rows = np.flatnonzero(lists >= 0)
    order = rows[np.lexsort((-predicted[rows], lists[rows]))]
    return order, np.flatnonzero(np.diff(lists[order], prepend=-1))


def _discounts(starts: np.ndarray, rows: int, k: int | None) -> np.ndarray:
    place = np.arange(rows) - np.repeat(starts, np.diff(np.append(starts, rows)))
    return np.where(place < (rows if k is None else k), 1.0 / np.log2(place + 2.0), 0.0)


def _mean_of_ties(values: np.ndarray, scores: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """`values` with each replaced by the mean over the rows of its list and score; rows by list and score."""
    first = np.flatnonzero(np.append(True, (lists[1:] != lists[:-1]) | (scores[1:] != scores[:-1])))
    sizes = np.diff(np.append(first, len(values)))
    return np.repeat(np.add.reduceat(values, first) / sizes, sizes)
