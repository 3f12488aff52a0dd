"""How often people come back to an item, as the logs say: what `repeat: model` takes a consumed item's score times.

    rate(i) = (people who had i more than once + m * rate) / (people who had i + m)

with `rate` the same over all items, (returns + 1/2) / (pairs + 1), and m = 10 people. A pair is a person and an item that they had.

Dimension keys: N items, C candidates, E events.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from m6rec.base.contracts import Histories
from m6rec.serving.engine.histories import HistoryStore

SMOOTHING = 10.0


class Returns:
    """Counts over all histories, made when they are first asked for, kept up with events that come and people who go."""

    def __init__(self, histories: HistoryStore) -> None:
        self.histories = histories
        self._pairs: np.ndarray | None = None  # float64 (N,): people who had an item
        self._returned = np.zeros(0)  # and of these, who had it more than once
        self._making = Lock()

    def log_rates(self, items: np.ndarray) -> np.ndarray:
        """float64 (C,): logarithms of the rates of `items` int64 (C,)."""
        pairs, returned = self._counts(int(items.max(initial=-1)) + 1)
        overall = (returned.sum() + 0.5) / (pairs.sum() + 1.0)
        return np.asarray(np.log((returned[items] + SMOOTHING * overall) / (pairs[items] + SMOOTHING)))

    def changed(self, before: Histories, after: Histories) -> None:
        """A person's one-row history is another now; nothing is counted before anybody asked."""
        with self._making:
            if self._pairs is None:
                return
            self._grow(1 + int(max(before.items.max(initial=-1), after.items.max(initial=-1))))
            for history, sign in ((before, -1.0), (after, 1.0)):
                items, times = np.unique(history.items, return_counts=True)
                self._pairs[items] += sign
                self._returned[items[times > 1]] += sign

    def _counts(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        with self._making:
            if self._pairs is None:
                histories = self.histories.compact()
                owner = np.repeat(np.arange(len(histories)), histories.lengths)
                width = int(histories.items.max(initial=0)) + 1
                pairs, times = np.unique(owner * width + histories.items, return_counts=True)
                self._pairs = np.bincount(pairs % width, minlength=size).astype(np.float64)
                self._returned = np.bincount((pairs % width)[times > 1], minlength=len(self._pairs)).astype(np.float64)
            self._grow(size)
            return self._pairs, self._returned

    def _grow(self, size: int) -> None:
        assert self._pairs is not None
        if size > len(self._pairs):
            more = np.zeros(size - len(self._pairs))
            self._pairs, self._returned = np.concatenate([self._pairs, more]), np.concatenate([self._returned, more])
