"""Simulated logs held against real ones: what follows what, how often people come back, how popular items are, how long histories run.

Distributions are compared by the Jensen-Shannon divergence in bits, 0 for the same and 1 for nothing in common (Lin 1991). Beside the simulated log
stand two others that say what a figure means: another part of the real log (as near as chance lets one come), and the same people with items
drawn by popularity alone.

Shapes: N items, E events, P pairs of neighbouring events.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from m6rec.base.contracts import Histories
from m6rec.base.errors import UsageError

DAY = 86_400.0


@dataclass(frozen=True)
class LogFigures:
    """What a log looks like beside the real one.

    transitions     divergence of pairs (category, category of the next event)
    observed        share of its pairs (item, next item) that stand in the real log
    popularity      divergence of the shares of the items
    repeats         share of events whose item the person had before
    switches        share of neighbouring events in different categories
    events          events of a person: mean, then the 10th, 50th and 90th percentile
    gap_days        days between neighbouring events: 10th, 50th and 90th percentile; None where no times are known
    """

    transitions: float
    observed: float
    popularity: float
    repeats: float
    switches: float
    events: list[float]
    gap_days: list[float] | None

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def compare_logs(
    real: Histories, simulated: Histories, categories: np.ndarray, *, seed: int = 0, items: int | None = None
) -> dict[str, LogFigures]:
    """{"real": half of the people against the other half, "simulated": against all real ones, "by popularity": likewise}.

    Args:
        categories: int (N,), a code of each item, 0 and up.  items: N, where `categories` has more rows than items.

    Raises:
        UsageError: fewer than two people on a side, or nobody with two events.
    """
    if min(len(real), len(simulated)) < 2 or min(real.lengths.max(), simulated.lengths.max()) < 2:
        raise UsageError(f"{len(real)} real and {len(simulated)} simulated people: two of each, with two events or more, are needed")
    generator = np.random.default_rng([seed, 41])
    size = items or len(categories)
    order = generator.permutation(len(real))
    halves = real.rows(np.sort(order[::2])), real.rows(np.sort(order[1::2]))
    drawn = generator.choice(real.items, len(simulated.items)).astype(np.int32)
    shuffled = Histories(simulated.offsets, drawn, simulated.times)
    return {
        "real": figures(halves[0], halves[1], categories, size),
        "simulated": figures(simulated, real, categories, size),
        "by popularity": figures(shuffled, real, categories, size),
    }


def figures(log: Histories, real: Histories, categories: np.ndarray, items: int) -> LogFigures:
    """Of one log against a real one."""
    width = int(categories.max(initial=0)) + 1
    mine, theirs = neighbours(log), neighbours(real)
    pairs = [np.bincount(categories[a] * width + categories[b], minlength=width * width) for a, b in (mine, theirs)]
    shares = [np.bincount(one.items, minlength=items) for one in (log, real)]
    known = np.unique(theirs[0].astype(np.int64) * items + theirs[1])
    observed = np.isin(mine[0].astype(np.int64) * items + mine[1], known)
    lengths = log.lengths
    gaps = None
    if log.times is not None and len(mine[0]):
        between = np.diff(log.times)[_within(log)]
        between = between[~np.isnan(between)]
        gaps = [float(value) for value in np.percentile(between / DAY, [10, 50, 90])] if len(between) else None
    return LogFigures(
        transitions=divergence(pairs[0], pairs[1]),
        observed=float(observed.mean()) if len(observed) else float("nan"),
        popularity=divergence(shares[0], shares[1]),
        repeats=repeat_share(log),
        switches=float((categories[mine[0]] != categories[mine[1]]).mean()) if len(mine[0]) else float("nan"),
        events=[float(lengths.mean()), *(float(value) for value in np.percentile(lengths, [10, 50, 90]))],
        gap_days=gaps,
    )


def divergence(first: np.ndarray, second: np.ndarray) -> float:
    """Jensen-Shannon divergence in bits of two counted distributions over the same places; NaN where one is empty.

    >>> divergence(np.array([1, 1, 0]), np.array([0, 0, 5])), divergence(np.array([2, 1]), np.array([4, 2]))
    (1.0, 0.0)
    """
    if not first.sum() or not second.sum():
        return float("nan")
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2

    def towards(one: np.ndarray) -> float:
        there = one > 0
        return float((one[there] * np.log2(one[there] / middle[there])).sum())

    return max(0.0, (towards(p) + towards(q)) / 2)


def neighbours(log: Histories) -> tuple[np.ndarray, np.ndarray]:
    """int (P,) each: an item and the next one of the same person."""
    inside = _within(log)
    return log.items[:-1][inside], log.items[1:][inside]


def repeat_share(log: Histories) -> float:
    """Share of events whose item stands earlier in the same history."""
    if not len(log.items):
        return float("nan")
    owner = np.repeat(np.arange(len(log)), log.lengths)
    return 1.0 - len(np.unique(owner * (int(log.items.max()) + 1) + log.items)) / len(log.items)


def _within(log: Histories) -> np.ndarray:
    """bool (E - 1,): whether an event and the next are of the same person."""
    owner = np.repeat(np.arange(len(log)), log.lengths)
    return np.asarray(np.diff(owner) == 0)
