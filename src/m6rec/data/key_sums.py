"""Statistics of single keys as of one moment: sums, rates drawn to a parent's, and the numbers told of them (`statistics.py` says what they mean).

Shapes: Q keys, V values that one row may have of a kind, L labels, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.statistics import DAY, Statistics


@dataclass(frozen=True)
class KeySums:
    """Of Q keys, as of one moment: whole (Q, 1 + 2 L), the same inside each window (windows, Q, 1 + 2 L), newest moment float64 (Q,)."""

    whole: np.ndarray
    inside: np.ndarray
    newest: np.ndarray

    def joined(self, other: KeySums) -> KeySums:
        """Of two parts of a log together."""
        return KeySums(self.whole + other.whole, self.inside + other.inside, np.maximum(self.newest, other.newest))


def key_sums(statistics: Statistics, places: list[np.ndarray], moment: float, *, windows: bool = True) -> KeySums:
    """places int64 (Q, V): of the keys in each part of the log, -1 for none; the values of one row are added up."""
    moment = -np.inf if np.isnan(moment) else moment
    total: KeySums | None = None
    days = np.array(statistics.windows if windows else (), dtype=np.float64) * DAY
    for numbers, part in zip(places, statistics._parts, strict=True):
        counts = part.counts
        ends = counts.ends(numbers, np.full(numbers.shape, np.searchsorted(part.moments, moment)))
        whole = counts.until(numbers, ends)
        sums = whole[None]
        if len(days):  # all windows at once
            asked = np.broadcast_to(numbers, (len(days), *numbers.shape))
            begun = np.broadcast_to(np.searchsorted(part.moments, moment - days)[:, None, None], asked.shape)
            sums = np.concatenate([sums, whole - counts.until(asked, counts.ends(asked, begun))])
        last = counts.last(numbers, ends).max(axis=1)
        newest = np.where(last >= 0, part.moments[np.maximum(last, 0)] if len(part.moments) else 0.0, -np.inf)
        spread = part._spread(sums.sum(axis=2) if numbers.shape[1] > 1 else sums[:, :, 0])
        some = KeySums(spread[0], spread[1:], newest)
        total = some if total is None else total.joined(some)
    assert total is not None
    return total


def smoothed(sums: np.ndarray, prior: np.ndarray | np.float32, weight: np.ndarray | float) -> np.ndarray:
    """Rates (..., L) of sums (..., 1 + 2 L), drawn to `prior`."""
    labels = (sums.shape[-1] - 1) // 2
    return np.asarray((sums[..., 1 + labels :] + weight * prior) / (sums[..., 1 : 1 + labels] + weight), dtype=np.float32)


def statistic_columns(
    statistics: Statistics, sums: KeySums, rates: np.ndarray, strength: np.ndarray, moment: float, *, windows: bool
) -> np.ndarray:
    """float32 (Q, C), in the order of the names: the whole, each window, how long ago; rates (Q, L), the first row those of everybody."""
    labels, inside = rates.shape[1], sums.inside if windows else sums.inside[:0]
    span = 1 + labels
    found = np.empty((len(rates), (1 + len(inside)) * span + statistics.timed), dtype=np.float32)
    told = np.concatenate([rates[None], smoothed(inside, rates, strength)]) if len(inside) else rates[None]  # 1+W Q L
    lifts = statistics._levels(told) - statistics._levels(rates[:1])
    shown = np.log1p(np.concatenate([sums.whole[None, :, :1], inside[:, :, :1]]) if len(inside) else sums.whole[None, :, :1])
    found[:, : (1 + len(inside)) * span] = np.concatenate([shown, lifts], axis=2).transpose(1, 0, 2).reshape(len(rates), -1)
    if statistics.timed:
        moment = -np.inf if np.isnan(moment) else moment
        with np.errstate(invalid="ignore"):
            gaps = np.minimum(np.nan_to_num(moment - sums.newest, nan=np.inf), 365 * DAY)
        found[:, -1] = np.log1p(np.maximum(gaps, 0.0) / 60)
    return found
