"""95 % intervals by the percentile bootstrap over users (Efron & Tibshirani 1993, ch. 13). numpy only.

People, not events, are the units that were sampled: a resample draws users with replacement and takes every case of a
drawn user along, so several cases of one person do not make an interval narrower than it may be.

Dimension keys: C cases, U users, M columns of values, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

LEVELS = (2.5, 97.5)
NORMAL_95 = 1.959964  # so many standard errors to either side hold 95 % of a normal

#: Cells (resamples x users) of one block of resampling weights: 4 million float64 are 32 MB.
BLOCK_CELLS = 4_000_000


def bootstrap(values: np.ndarray, resamples: int = 1000, seed: int = 0, users: np.ndarray | None = None) -> tuple[float, float, float]:
    """(mean, low, high): the mean over cases and its 95 % interval.

    Args:
        values: float (C,), one value a case. NaN: the case has no such value and is left out.
        users: int (C,), cases of one user are drawn together; -1 is somebody of their own. None: every case is a user.

    With no value at all the three are NaN; with a single user low = high = mean, for nothing is known about the spread.
    """
    mean, low, high = bootstrap_columns(np.asarray(values, dtype=np.float64)[:, None], resamples, seed, users)
    return float(mean[0]), float(low[0]), float(high[0])


def paired(
    first: np.ndarray, second: np.ndarray, resamples: int = 1000, seed: int = 0, users: np.ndarray | None = None
) -> tuple[float, float, float]:
    """(mean, low, high) of `first - second`, case by case: two scorers on the same cases.

    Much narrower than the two separate intervals suggest, for easy and hard users are the same on both sides. An
    interval without 0 in it says that one scorer is better on people like these.
    """
    return bootstrap(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64), resamples, seed, users)


def bootstrap_columns(
    values: np.ndarray, resamples: int = 1000, seed: int = 0, users: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`bootstrap` of every column of `values` float (C, M) over the same resamples; three float64 (M,).

    The same resamples for all columns cost one pass. Memory: one block of weights, whatever C, M and R.
    """
    known = ~np.isnan(values)  # C M
    groups = unit_index(users, len(values))
    count = int(groups.max()) + 1 if len(groups) else 0
    sums = _grouped(np.where(known, values, 0.0), groups, count)  # U M
    # Columns of one slice have the same known cases: their counts are resampled once.
    fresh = np.ones(values.shape[1], dtype=bool)
    fresh[1:] = (known[:, 1:] != known[:, :-1]).any(axis=0)
    size_of = np.cumsum(fresh) - 1  # M
    sizes = _grouped(known[:, fresh].astype(np.float64), groups, count)
    both = np.concatenate([sums, sizes], axis=1)  # U M+sizes
    columns = values.shape[1]
    mean = _ratio(sums.sum(axis=0), sizes.sum(axis=0)[size_of])
    if count == 0:
        return mean, mean, mean
    means, start = np.empty((resamples, columns)), 0
    for weights in draws(count, resamples, seed):
        resampled = weights @ both  # R M+sizes
        means[start : start + len(weights)] = _ratio(resampled[:, :columns], resampled[:, columns:][:, size_of])
        start += len(weights)
    low, high = spread(means)
    return mean, low, high


def draws(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of float64 (R of the block, U): how often each of `count` users was drawn, `resamples` rows in all, by seed."""
    rng = np.random.default_rng(seed)
    block = max(1, min(resamples, BLOCK_CELLS // count))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        # Multinomial weights by counting drawn indices: many times faster than drawing the counts themselves.
        drawn = rng.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) float64 (M,) of what M figures were in R resamples, `values` float (R, M).

    A resample may hold nobody of a small slice: its figure is unknown there (NaN) and says nothing.
    """
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        seen = values[~np.isnan(values[:, column]), column]
        if len(seen):
            low[column], high[column] = np.percentile(seen, LEVELS)
    return low, high


def wilson(share: float, rows: float) -> tuple[float, float]:
    """(low, high) of a share of independent rows (Wilson 1927); (0, 1) where there is no row."""
    if rows <= 0:
        return 0.0, 1.0
    below = 1 + NORMAL_95**2 / rows
    middle = (share + NORMAL_95**2 / (2 * rows)) / below
    half = NORMAL_95 * math.sqrt(share * (1 - share) / rows + NORMAL_95**2 / (4 * rows**2)) / below
    return max(middle - half, 0.0), min(middle + half, 1.0)


def unit_index(users: np.ndarray | None, cases: int) -> np.ndarray:
    """int64 (C,): 0 .. U - 1, in order of first appearance, so that renumbering users changes nothing."""
    if users is None:
        return np.arange(cases)
    users = np.asarray(users, dtype=np.int64)
    keys = np.where(users < 0, -1 - np.arange(cases), users)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first, kind="stable")] = np.arange(len(first))
    return order[inverse]


def _grouped(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """float64 (U, M): sums of the rows of each group; every group has at least one row."""
    if count == len(groups):
        return values  # one case a user, and groups are numbered in order of appearance
    order = np.argsort(groups, kind="stable")
    return np.add.reduceat(values[order], np.searchsorted(groups[order], np.arange(count)), axis=0)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
