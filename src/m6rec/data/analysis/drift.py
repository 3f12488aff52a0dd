"""Drift: in which windows the log is made of something else than in the others, and when it changed.

The Jensen-Shannon distance between the distribution of a window and that of all the others, and that of the window before, held against
a band of permutations: the blocks of one user's events within a window change places with each other, so that eager users don't look like drift.

Dimension keys: W windows, V values, B blocks of (user, window), R permutations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

MOST_VALUES = 300  # rarer values are one value together
MOST_EVENTS = 200_000  # of users drawn by seed, where there are more
FEWEST_IN_WINDOW = 20  # events: a smaller window is not judged
OTHER = -1


@dataclass(frozen=True)
class Drift:
    """One quantity over the windows; NaN where a window is too small to judge.

    distance, change   float64 (W,): Jensen-Shannon distance (base 2, 0 to 1) to all other windows together, and to the window before
    usual, usual_change  float64 (W,): upper end of the band: what chance alone stays below with probability 95 % over all windows together
    """

    name: str
    distance: np.ndarray
    usual: np.ndarray
    change: np.ndarray
    usual_change: np.ndarray
    movers: list[list[tuple[str, float, float]]]

    @property
    def drifted(self) -> np.ndarray:
        """bool (W,): the window differs from the others by more than chance."""
        return np.nan_to_num(self.distance) > np.nan_to_num(self.usual, nan=np.inf)

    @property
    def changed(self) -> np.ndarray:
        """bool (W,): the window differs from the one before by more than chance."""
        return np.nan_to_num(self.change) > np.nan_to_num(self.usual_change, nan=np.inf)


def drift(
    name: str,
    values: np.ndarray,
    names: list[str],
    users: np.ndarray,
    windows: np.ndarray,
    count: int,
    *,
    permutations: int = 200,
    seed: int = 0,
) -> Drift | None:
    """How the distribution of `values` moves over `count` windows; None with fewer than two windows or values.

    Args:
        values: int64 (E,) codes of `names`, -1 unknown (left out).
        users, windows: int64 (E,); window -1 is unknown (left out).

    movers of a drifted window: up to three values whose share moved most, as (name, share there, share elsewhere).
    """
    rows = _drawn(np.flatnonzero((values >= 0) & (windows >= 0)), users, seed)
    values, users, windows = values[rows], users[rows], windows[rows]
    codes, kept = _common(values)
    if count < 2 or len(kept) < 2:
        return None
    blocks, block = np.unique(users * count + windows, return_inverse=True)
    table = csr_array((np.ones(len(block)), (block, codes)), shape=(len(blocks), len(kept)))  # B V
    window_of = (blocks % count).astype(np.int64)
    generator = np.random.default_rng([seed, 31])
    observed = _counts(table, window_of, count)
    apart, change = _distances(observed)
    drawn = [_distances(_counts(table, generator.permutation(window_of), count)) for _ in range(permutations)]
    judged = observed.sum(axis=1) >= FEWEST_IN_WINDOW
    pairs = judged & np.concatenate([[False], judged[:-1]])
    usual, usual_change = (_band(np.array([one[side] for one in drawn]), ok) for side, ok in ((0, judged), (1, pairs)))
    apart, change = np.where(judged, apart, np.nan), np.where(pairs, change, np.nan)
    shown = ["other" if code == OTHER else names[code] for code in kept]
    found = Drift(name, apart, usual, change, usual_change, [])
    moved = [_movers(observed, window, shown) if out else [] for window, out in enumerate(found.drifted)]
    return Drift(name, apart, usual, change, usual_change, moved)


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance (square root of the divergence, base 2) between rows of counts (.., V); NaN where one side is empty. Lin 1991."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = first / first.sum(axis=-1, keepdims=True), second / second.sum(axis=-1, keepdims=True)
        middle = (p + q) / 2
        parts = np.where(p > 0, p * np.log2(p / middle), 0.0) + np.where(q > 0, q * np.log2(q / middle), 0.0)
    result: np.ndarray = np.sqrt(np.maximum(parts.sum(axis=-1) / 2, 0.0))
    return np.where((first.sum(axis=-1) > 0) & (second.sum(axis=-1) > 0), result, np.nan)


def _distances(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To all other windows, and to the one before (NaN for the first); float64 (W,) each."""
    others = counts.sum(axis=0) - counts
    change = np.full(len(counts), np.nan)
    change[1:] = jensen_shannon(counts[1:], counts[:-1])
    return jensen_shannon(counts, others), change


def _counts(table: csr_array, window_of: np.ndarray, count: int) -> np.ndarray:
    """float64 (W, V)"""
    chosen = csr_array((np.ones(len(window_of)), (window_of, np.arange(len(window_of)))), shape=(count, len(window_of)))
    return np.asarray((chosen @ table).toarray())


def _band(drawn: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """float64 (W,): mean + c * spread of each window's permuted distances (R, W), c the 95 % quantile of their largest excess (max-T)."""
    result = np.full(drawn.shape[1], np.nan)
    columns = np.flatnonzero(judged & (~np.isnan(drawn)).all(axis=0))
    if len(columns):
        part = drawn[:, columns]
        mean, spread = part.mean(axis=0), np.maximum(part.std(axis=0), 1e-9)
        excess = ((part - mean) / spread).max(axis=1)
        result[columns] = mean + np.quantile(excess, 0.95) * spread
    return result


def _movers(counts: np.ndarray, window: int, names: list[str], most: int = 3) -> list[tuple[str, float, float]]:
    here = counts[window] / counts[window].sum()
    rest = counts.sum(axis=0) - counts[window]
    there = rest / max(rest.sum(), 1)
    best = np.argsort(-np.abs(here - there), kind="stable")[:most]
    return [(names[value], float(here[value]), float(there[value])) for value in best]


def _common(values: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Codes 0.. of the most frequent values, and which they are; the last one is everything else (OTHER) where there is more."""
    found, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    if len(found) <= MOST_VALUES:
        return inverse, [int(value) for value in found]
    first = np.argsort(-sizes, kind="stable")[: MOST_VALUES - 1]
    place = np.full(len(found), MOST_VALUES - 1)
    place[first] = np.arange(len(first))
    return place[inverse], [*(int(value) for value in found[first]), OTHER]


def _drawn(rows: np.ndarray, users: np.ndarray, seed: int) -> np.ndarray:
    """All rows, or those of so many users that about MOST_EVENTS are left."""
    if len(rows) <= MOST_EVENTS:
        return rows
    chance = np.random.default_rng([seed, 32]).random(int(users.max()) + 1)
    return rows[chance[users[rows]] < MOST_EVENTS / len(rows)]
