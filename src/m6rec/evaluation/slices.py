"""Slices: targets by how often an item was seen in training (cold, warm, hot), cases by how many events were given. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.evaluation.config import EvaluationConfig

NAMES = ("cold", "warm", "hot")
EXACT = 8  # so many different numbers of given events are shown one by one, more in ranges
RANGES = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)  # where a range begins; the last one is open


@dataclass(frozen=True)
class Bounds:
    """An item with a training count under `warm_from` is cold, from `hot_from` on it is hot, between the two warm."""

    warm_from: int
    hot_from: int

    def slice_of(self, seen: np.ndarray) -> np.ndarray:
        """int64, same shape as `seen`: 0 cold, 1 warm, 2 hot (positions in `NAMES`)."""
        return (seen >= self.warm_from).astype(np.int64) + (seen >= self.hot_from)

    def wording(self) -> dict[str, str]:
        """What each slice holds, in plain words."""
        last_cold, last_warm = self.warm_from - 1, self.hot_from - 1
        warm = "no item" if last_warm < self.warm_from else f"seen {_span(self.warm_from, last_warm)}"
        return {
            "cold": "never seen" if last_cold == 0 else f"seen {_span(0, last_cold)}",
            "warm": warm,
            "hot": f"seen {self.hot_from} times or more",
        }


def find_bounds(seen: np.ndarray, config: EvaluationConfig) -> Bounds:
    """The bounds for these training counts, int64 (N,).

    Hot, unless `hot_from` is given: the fewest most-seen items that together hold at least `hot_share` of the training
    events. All items with the count of the last one belong to them, so the slices do not depend on the order of items.
    """
    if config.hot_from is not None:
        return Bounds(config.cold_below, config.hot_from)
    counts = np.sort(seen)[::-1]
    held = np.cumsum(counts)
    if not len(held) or held[-1] == 0:
        return Bounds(config.cold_below, config.cold_below)
    # Compared in events: 0.1 + 0.2 of a share must not push the bound one item further.
    last = int(np.searchsorted(held, config.hot_share * held[-1] - 1e-9))
    return Bounds(config.cold_below, max(int(counts[min(last, len(counts) - 1)]), config.cold_below))


def select(ranks: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cases with at least one chosen target, holding their chosen targets only.

    Args:
        ranks: float64 (T,).  offsets: int64 (C + 1,).  chosen: bool (T,).

    Returns:
        ranks (T',), offsets (C' + 1,), and the kept cases int64 (C',).
    """
    kept = np.add.reduceat(chosen.astype(np.int64), offsets[:-1]) if len(chosen) else np.zeros(0, dtype=np.int64)
    cases = np.flatnonzero(kept)
    return ranks[chosen], np.concatenate([[0], np.cumsum(kept[cases])]).astype(np.int64), cases


def given_groups(given: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(wording, bool (C,)) of the cases with a like number of given events, int64 (C,): every number by itself, or ranges of them."""
    numbers = np.unique(given)
    if len(numbers) <= EXACT:
        return [(str(number), given == number) for number in numbers]
    code = np.searchsorted(RANGES, given, side="right") - 1
    return [(_range(place), code == place) for place in np.unique(code)]


def _range(place: int) -> str:
    first = RANGES[place]
    if place + 1 == len(RANGES):
        return f"{first} or more"
    last = RANGES[place + 1] - 1
    return f"{first} to {last}" if last > first else str(first)


def _span(low: int, high: int) -> str:
    return f"{low} to {high} times" if high > low else "once" if low == 1 else f"{low} times"
