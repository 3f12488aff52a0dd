"""Quality from live feedback: every new event is scored before it is learned (prequential evaluation, Dawid 1984; Gama et al. 2013).

What comes in is the rank that the item of a new event had in the answer the model would have given just before. Kept are sums for each
window of time, and adaptive windows that say when quality changed. No event is kept.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from m6rec.evaluation.intervals import wilson
from m6rec.serving.experiments.drift import AdaptiveWindow

SUMS = ("events", "hits", "gain", "reciprocal")
MOST_WINDOWS = 1_000


@dataclass(frozen=True)
class QualityAlert:
    """Quality changed. time: of the event that proved it.  before, after: hit@k, over that many events."""

    time: float
    metric: str
    before: float
    after: float
    events_before: int
    events_after: int

    @property
    def worse(self) -> bool:
        """Whether it fell."""
        return self.after < self.before


@dataclass(frozen=True)
class QualityWindow:
    """One window of time. hit, ndcg: at k.  mrr: over all ranks.  low, high: 95 % interval of hit (Wilson)."""

    start: float
    events: int
    hit: float
    ndcg: float
    mrr: float
    low: float
    high: float


class Prequential:
    """hit@k, NDCG@k and MRR of new events over time, and alerts.

    k: how long the list is.  window: seconds of one point of the curve.  alpha, block: see `AdaptiveWindow`.
    """

    def __init__(self, k: int = 10, window: float = 86_400.0, *, alpha: float = 0.05, block: int = 20) -> None:
        self.k, self.window = k, window
        self.watch = AdaptiveWindow(alpha, block)
        self._sums: OrderedDict[int, np.ndarray] = OrderedDict()

    def add(self, time: float, rank: float) -> QualityAlert | None:
        """One event. rank: 1 for the top of the list, inf (or NaN) where the item could not have been answered at all."""
        rank = math.inf if math.isnan(rank) else rank
        hit = float(rank <= self.k)
        gain = hit / math.log2(rank + 1) if hit else 0.0
        row = self._sums.setdefault(math.floor(time / self.window), np.zeros(len(SUMS)))
        row += 1.0, hit, gain, 1 / rank
        while len(self._sums) > MOST_WINDOWS:
            del self._sums[min(self._sums)]
        change = self.watch.add(hit)
        if change is None:
            return None
        return QualityAlert(time, f"hit@{self.k}", change.before, change.after, change.values_before, change.values_after)

    @property
    def windows(self) -> list[QualityWindow]:
        """The curve, oldest first."""
        found = []
        for start in sorted(self._sums):
            events, hits, gain, reciprocal = self._sums[start].tolist()
            low, high = wilson(hits / events, events)
            found.append(QualityWindow(start * self.window, int(events), hits / events, gain / events, reciprocal / events, low, high))
        return found

    def plain(self) -> dict[str, Any]:
        """JSON-ready state, exact."""
        sums = [[start, *row.tolist()] for start, row in self._sums.items()]
        return {"k": self.k, "window": self.window, "sums": sums, "watch": self.watch.plain()}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Prequential:
        """What `plain` told of."""
        found = cls(state["k"], state["window"])
        found.watch = AdaptiveWindow.restored(state["watch"])
        found._sums = OrderedDict((int(row[0]), np.array(row[1:], dtype=np.float64)) for row in state["sums"])
        return found
