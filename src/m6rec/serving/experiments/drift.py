"""Whether a live figure or an input has changed: an adaptive window over a stream, and the stability index of a distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtri

PER_ROW = 5  # buckets of one size before two of them are joined
CHECK_EVERY = 8  # blocks between looks
FEWEST = 8  # blocks on either side of a split
NOTABLE = 0.1  # stability index below which a shift is too small to speak of, however sure


@dataclass(frozen=True)
class Change:
    """A stream changed: its mean `before` and `after`, over how many values each."""

    before: float
    after: float
    values_before: int
    values_after: int


class AdaptiveWindow:
    """ADWIN (Bifet & Gavalda 2007) over values in 0 to 1: keeps as long a past as has one mean, and says when it has not.

    Values are averaged in blocks first: the events of one visit come together and are alike, and the spread between blocks knows it. The
    bound is that of Bernstein with the range taken as three times that spread, not as 1: hits are rare, and 1 would wait for ever.

    alpha: how readily it alarms, shared between all splits of the window; counted false alarms: `python benchmarks/experiments.py drift`.
    block: values averaged into one.
    State is small: O(log n) buckets, JSON-ready by `plain`.
    """

    def __init__(self, alpha: float = 0.05, block: int = 20) -> None:
        self.alpha, self.block = alpha, block
        self._open = np.zeros(2)  # values in the block being filled: how many, their sum
        self._buckets = np.zeros((0, 3))  # oldest first: blocks in it, their sum, their sum of squares
        self._since = 0

    def __len__(self) -> int:
        """Values that the window holds."""
        return int(self._buckets[:, 0].sum()) * self.block + int(self._open[0])

    @property
    def mean(self) -> float:
        """Of the window; NaN while it is empty."""
        blocks = float(self._buckets[:, 0].sum())
        count = blocks * self.block + self._open[0]
        return float((self._buckets[:, 1].sum() * self.block + self._open[1]) / count) if count else float("nan")

    def add(self, value: float) -> Change | None:
        """Take one value in; the change that it proves, if it does."""
        self._open += 1.0, value
        if self._open[0] < self.block:
            return None
        mean = self._open[1] / self._open[0]
        self._open = np.zeros(2)
        self._buckets = _joined(np.vstack([self._buckets, [1.0, mean, mean * mean]]))
        self._since += 1
        if self._since < CHECK_EVERY:
            return None
        self._since = 0
        return self._look()

    def _look(self) -> Change | None:
        """The split that is surest, if any is sure enough; what lies before it is forgotten then."""
        sums = np.cumsum(self._buckets, axis=0)
        old, new = sums[:-1], sums[-1] - sums[:-1]
        fair = (old[:, 0] >= FEWEST) & (new[:, 0] >= FEWEST)
        if not fair.any():
            return None
        (size, mean, spread), (size_new, mean_new, spread_new) = _moments(old[fair]), _moments(new[fair])
        log = math.log(2 * math.log(sums[-1, 0]) / self.alpha)
        bound = np.sqrt(2 * log * (spread / size + spread_new / size_new))
        bound += 2 * log * np.sqrt(np.maximum(spread, spread_new)) * (1 / size + 1 / size_new)
        sure = np.abs(mean - mean_new) - bound
        if sure.max() <= 1e-12:
            return None
        best = int(np.flatnonzero(fair)[np.argmax(sure)])
        before, after = old[best], new[best]
        self._buckets = self._buckets[best + 1 :]
        return Change(before[1] / before[0], after[1] / after[0], int(before[0]) * self.block, int(after[0]) * self.block)

    def plain(self) -> dict[str, Any]:
        """JSON-ready state, exact."""
        state = {"open": self._open.tolist(), "buckets": self._buckets.tolist(), "since": self._since}
        return {"alpha": self.alpha, "block": self.block, **state}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> AdaptiveWindow:
        """The window that `plain` told of."""
        window = cls(state["alpha"], state["block"])
        window._open = np.array(state["open"], dtype=np.float64)
        window._buckets = np.array(state["buckets"], dtype=np.float64).reshape(-1, 3)
        window._since = int(state["since"])
        return window


def _moments(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks, their mean and their variance, of rows of (blocks, sum, sum of squares)."""
    size, mean = sums[:, 0], sums[:, 1] / sums[:, 0]
    return size, mean, np.maximum(sums[:, 2] / size - mean**2, 0.0) * size / np.maximum(size - 1, 1)


def _joined(buckets: np.ndarray) -> np.ndarray:
    """Sizes are powers of two, falling; where more than PER_ROW are alike, the two oldest of them become one."""
    size, last = 1.0, len(buckets)
    while True:
        first = int(np.searchsorted(-buckets[:last, 0], -size, side="left"))
        if last - first <= PER_ROW:
            return buckets
        joined = buckets[first] + buckets[first + 1]
        buckets = np.vstack([buckets[:first], [joined], buckets[first + 2 :]])
        size, last = size * 2, first + 1


@dataclass(frozen=True)
class Stability:
    """index: sum (p - q) ln(p / q), symmetric Kullback-Leibler divergence ("population stability index").

    chance: what the index of two samples of one distribution stays below with probability 1 - alpha.
    shifted: beyond chance, and large enough to speak of.  movers: (value, share before, share now), the largest parts first.
    """

    index: float
    chance: float
    shifted: bool
    movers: tuple[tuple[str, float, float], ...]


def stability(before: Mapping[str, float], now: Mapping[str, float], alpha: float = 0.001) -> Stability:
    """Whether counts of values (categories, or bins of a number, see `bins`) moved.

    Of two samples of n and m from one distribution over B values the index is (1 / n + 1 / m) times a chi-square of B - 1 degrees of
    freedom (Yurdakul 2018): what small samples differ by is not called drift.
    """
    names = list(dict.fromkeys([*before, *now]))
    counts = np.array([[side.get(name, 0.0) for name in names] for side in (before, now)], dtype=np.float64).reshape(2, len(names))
    totals = counts.sum(axis=1)
    if len(names) < 2 or (totals == 0).any():
        return Stability(0.0, math.inf, False, ())
    shares = (counts + 0.5) / (totals + 0.5 * len(names))[:, None]
    parts = (shares[1] - shares[0]) * np.log(shares[1] / shares[0])
    chance = float((1 / totals).sum() * chdtri(len(names) - 1, alpha))
    index = float(parts.sum())
    movers = tuple((names[place], float(shares[0, place]), float(shares[1, place])) for place in np.argsort(-parts, kind="stable")[:3])
    return Stability(index, chance, index > max(chance, NOTABLE), movers)


def bins(reference: np.ndarray, count: int = 10) -> np.ndarray:
    """float64 (at most count - 1,): inner borders that cut a reference sample into parts of equal size; NaN is left out."""
    known = reference[~np.isnan(reference)]
    return np.unique(np.quantile(known, np.arange(1, count) / count)) if len(known) else np.zeros(0)


def binned(values: np.ndarray, borders: np.ndarray) -> dict[str, float]:
    """How many values fall between the borders, NaN counted as "unknown"."""
    unknown = np.isnan(values)
    counts = np.bincount(np.searchsorted(borders, values[~unknown], side="right"), minlength=len(borders) + 1)
    edges = ["-inf", *(f"{border:g}" for border in borders), "inf"]
    found = {f"{low} to {high}": float(count) for low, high, count in zip(edges, edges[1:], counts, strict=False)}
    return found | {"unknown": float(unknown.sum())}
