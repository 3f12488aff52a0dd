"""Sessions: events of one user with no pause longer than a gap between them.

Dimension keys: E events, G gaps.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from m6rec.data.analysis.log import Log

USUAL_GAP = 1800.0  # seconds: what is used where the data have no gap of their own
SHORTEST, LONGEST = 120.0, 43_200.0  # a threshold outside says that the two kinds of pauses were not found
FEWEST = 200  # gaps
MOST = 50_000  # gaps that the two laws are fitted to
BANDS = ((0, 1), (1, 10), (10, 60), (60, 600), (600, 3600), (3600, 86_400), (86_400, 604_800), (604_800, np.inf))


@dataclass(frozen=True)
class Sessions:
    """gap: seconds; reason: how it was found. lengths: int64, events of every session; durations: float64, seconds from first to last."""

    gap: float
    reason: str
    lengths: np.ndarray
    durations: np.ndarray
    per_user: float
    gap_bands: list[tuple[str, float]]

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Median, mean and high quantiles of events and minutes."""
        return {"events": _described(self.lengths.astype(np.float64)), "minutes": _described(self.durations / 60)}

    def histogram(self) -> list[tuple[str, float]]:
        """Share of the sessions by their number of events."""
        bounds = [1, 2, 3, 4, 5, 6, 8, 11, 16, 21, 51, 101]
        words = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in itertools.pairwise(bounds)] + [f"{bounds[-1]}+"]
        counts = np.bincount(np.searchsorted(bounds, self.lengths, side="right") - 1, minlength=len(bounds))
        return [(word, float(count) / max(len(self.lengths), 1)) for word, count in zip(words, counts, strict=True)]


def sessions(log: Log, gap: float | None = None) -> Sessions | None:
    """The sessions of all users; None where no times are known. Events without a time are left out.

    Args:
        gap: seconds; None takes what separates two kinds of pauses (see `natural_gap`), else 30 minutes.
    """
    if log.times is None:
        return None
    known = ~np.isnan(log.times)
    users, times = log.users[known], log.times[known]
    order = np.lexsort((times, users))
    users, times = users[order], times[order]
    same = users[1:] == users[:-1]
    pauses = np.diff(times)
    inside = pauses[same]
    if gap is not None:
        reason = "as asked for"
    elif (found := natural_gap(inside)) is not None:
        gap, reason = found, "between two kinds of pauses, within and between sessions (two log-normal laws)"
    else:
        gap, reason = USUAL_GAP, "the usual 30 minutes: the pauses are not of two kinds"
    opens = np.concatenate([[True], ~same | (pauses > gap)]) if len(users) else np.zeros(0, dtype=bool)
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(users)) - 1
    bands = [(_band(low, high), float(((inside >= low) & (inside < high)).mean()) if len(inside) else 0.0) for low, high in BANDS]
    people = len(np.unique(users))
    return Sessions(gap, reason, last - first + 1, times[last] - times[first], len(first) / max(people, 1), bands)


def natural_gap(pauses: np.ndarray) -> float | None:
    """Where a pause is as likely within a session as between two: the crossing of two log-normal laws fitted by EM.

    After Halfaker et al., "User Session Identification Based on Strong Regularities in Inter-activity Time" (WWW 2015).
    None with fewer than 200 pauses, or where the two laws overlap or cross outside 2 minutes to 12 hours.
    """
    logs = np.log2(pauses[pauses > 0])
    if len(logs) > MOST:
        logs = np.random.default_rng(33).choice(logs, MOST, replace=False)
    if len(logs) < FEWEST:
        return None
    mean, spread, share = np.quantile(logs, [0.2, 0.8]), np.full(2, max(logs.std() / 2, 0.1)), np.array([0.5, 0.5])
    for _ in range(200):
        density = share * np.exp(-0.5 * ((logs[:, None] - mean) / spread) ** 2) / spread + 1e-300  # G 2
        weight = density / density.sum(axis=1, keepdims=True)
        total = weight.sum(axis=0) + 1e-12
        moved = (weight * logs[:, None]).sum(axis=0) / total
        spread = np.maximum(np.sqrt((weight * (logs[:, None] - moved) ** 2).sum(axis=0) / total), 0.1)
        share, done = total / len(logs), np.abs(moved - mean).max() < 1e-6
        mean = moved
        if done:
            break
    low, high = np.argsort(mean)
    # bimodality: Ashman's D above 2 (Ashman, Bird & Zepf 1994)
    if share.min() < 0.02 or (mean[high] - mean[low]) * np.sqrt(2 / (spread**2).sum()) <= 2:
        return None
    at = np.linspace(mean[low], mean[high], 2001)
    law = share * np.exp(-0.5 * ((at[:, None] - mean) / spread) ** 2) / spread
    crossing = float(2 ** at[np.argmax(law[:, high] >= law[:, low])])
    return crossing if SHORTEST <= crossing <= LONGEST else None


def _described(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"mean": float("nan")}
    names = ("median", "p90", "p99", "longest")
    return {"mean": float(values.mean()), **dict(zip(names, np.quantile(values, [0.5, 0.9, 0.99, 1.0]).tolist(), strict=True))}


def _band(low: float, high: float) -> str:
    return (
        f"{spoken_seconds(low)} or more" if np.isinf(high) else f"under {spoken_seconds(high)}" if not low else f"to {spoken_seconds(high)}"
    )


def spoken_seconds(seconds: float) -> str:
    """`90` as "1.5 min"."""
    for size, word in ((604_800, "weeks"), (86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            number = seconds / size
            return f"{number:.3g} {word.removesuffix('s') if number == 1 else word}"
    return f"{seconds:.3g} s"
