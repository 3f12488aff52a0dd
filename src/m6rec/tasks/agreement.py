"""How much an item gains when counting and model agree on it.

The mixture gives an item the sum of what its parts say, which is right as a probability: one part is enough. As an order of items it is
timid: what the model *and* the counts name is better than what either names alone. So the score that orders items is

    log p(item) + weight * log(1 + G(item) / floor)
    G = sum over priors m of share[m] * sum over recent events k of recency^k * row_m[item_k]

(and share["similar"] times what the counts say of the item's text neighbours, `tasks/cold_transfer.py`)
with the rows as counted (a row's mass grows with the root of its evidence). The few numbers are chosen on validation cases,
which the weights of the model have not seen: there the counts are worth what they will be worth in service. Words that somebody
typed gain in the same way (`typed_gain`), so that what is asked for stands above what is merely likely, new items included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from m6rec.tasks.cold_transfer import SIMILAR
from m6rec.tasks.prior import TEXT_PART

# What somebody typed is asked for, not merely likely: no validation case types anything, so this weight is set and not searched.
TYPED_WEIGHT, TYPED_FLOOR = 1.0, 0.01


@dataclass(frozen=True)
class Agreement:
    """The numbers of the formula above; `weight` 0 is the mixture alone."""

    weight: float = 0.0
    floor: float = 0.1
    recency: float = 0.65
    shares: Mapping[str, float] = field(default_factory=dict)

    def gain(self, counted: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 (B, N) to add to log p; `counted` holds each prior's sum over recent events, (B, N), already weighed by recency."""
        total = sum(self.shares.get(name, 0.0) * given for name, given in counted.items())
        # log(1 + x) and not log1p: numpy has the first in vector instructions, and what a score loses by it is below its last digit.
        return (self.weight * np.log(np.asarray(total) / np.float32(self.floor) + np.float32(1))).astype(np.float32, copy=False)

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "shares": dict(self.shares)}


def typed_gain(words: np.ndarray) -> np.ndarray:
    """float32 (B, N) to add to log p where words were typed; `words` (B, N) is the text prior of them, rows of sum 1 or 0."""
    return (TYPED_WEIGHT * np.log1p(words / TYPED_FLOOR)).astype(np.float32)


GRID: dict[str, tuple[float, ...]] = {
    "weight": (0.0, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0),
    "floor": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "recency": (0.5, 0.65, 0.8),
}
SHARES = (0.0, 0.3, 1.0, 3.0)
START = {TEXT_PART: 3.0, SIMILAR: 0.0}  # where the search of the shares starts; the others at 1


def _moved(agreement: Agreement, name: str, value: float) -> Agreement:
    """With one number changed: a field, or the share of a prior."""
    if name in agreement.shares:
        return replace(agreement, shares={**agreement.shares, name: value})
    return Agreement(**{**vars(agreement), name: value})


def choose_agreement(
    parts: list[str], counted: Callable[[float], Mapping[str, np.ndarray]], quality: Callable[[np.ndarray | None], float], rounds: int = 2
) -> Agreement:
    """Coordinate search for the numbers that make `quality` largest; a number moves only when that gains.

    Args:
        parts: names of what `counted` gives; without any the mixture stays alone.
        counted: recency -> each prior's sum over recent events, name -> (B, N), of the validation cases.
        quality: what to add to log p, (B, N) or None for nothing -> the validation metric.
    """
    if not parts:
        return Agreement()
    shares = {name: START.get(name, 1.0) for name in parts}
    best, found = Agreement(weight=0.5, shares=shares), quality(None)
    sums = {best.recency: counted(best.recency)}
    tried = quality(best.gain(sums[best.recency]))
    if tried <= found:
        best = replace(best, weight=0.0)
    found = max(found, tried)
    for _ in range(rounds):
        before = found
        moves = [(name, value) for name, values in GRID.items() for value in values] + [(name, value) for name in parts for value in SHARES]
        for name, value in moves:
            changed = _moved(best, name, value)
            if changed == best or not changed.weight:
                continue
            if changed.recency not in sums:
                sums = {best.recency: sums[best.recency], changed.recency: counted(changed.recency)}  # two at a time: they are large
            reached = quality(changed.gain(sums[changed.recency]))
            if reached > found:
                best, found = changed, reached
        if found == before:
            break
    return best
