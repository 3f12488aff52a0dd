"""Time for a request: what the steps of an answer are likely to take, and what can be left out so that they fit.

The cost of every step is measured as it happens and expected to be as before, a deviation longer; the way is chosen before anything is done. A way
that looked too dear is looked at again after a while: one slow answer must not settle it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Literal

from m6rec.serving.asked import Degraded

Step = Literal["read", "find", "judge"]
WAYS: tuple[Degraded, ...] = ("", "fewer candidates", "earlier layers", "index only")
SHARES = {"": 1.0, "fewer candidates": 0.5, "earlier layers": 0.35, "index only": 0.15}  # of the whole, until they are measured
NEW = 0.15  # weight of the newest measurement
FORGIVEN = 0.98  # what an estimate shrinks to every time it was too much
FIRST = {"read": 2.0, "find": 8.0, "judge": 4.0}  # milliseconds, before anything is measured


class Costs:
    """Milliseconds of each (step, way): a running mean and a running deviation."""

    def __init__(self) -> None:
        self._known: dict[tuple[Step, Degraded], tuple[float, float]] = {}
        self._lock = Lock()

    @contextmanager
    def measured(self, step: Step, way: Degraded) -> Iterator[None]:
        """The block is that step."""
        begun = time.perf_counter()
        yield
        self.add(step, way, 1000 * (time.perf_counter() - begun))

    def add(self, step: Step, way: Degraded, taken: float) -> None:
        """A measurement, in milliseconds."""
        with self._lock:
            mean, deviation = self._known.get((step, way), (taken, taken / 4))
            self._known[step, way] = (mean + NEW * (taken - mean), deviation + NEW * (abs(taken - mean) - deviation))

    def expected(self, steps: Sequence[Step], way: Degraded) -> float:
        """Milliseconds that these steps will hardly exceed."""
        with self._lock:
            return sum(self._of(step, way) for step in steps)

    def way(self, steps: Sequence[Step], budget_ms: float | None) -> Degraded:
        """The fullest way that fits into the budget; the last one where none does."""
        if budget_ms is None:
            return ""
        for way in WAYS:
            if self.expected(steps, way) <= budget_ms:
                return way
            with self._lock:
                for step in steps:
                    if (step, way) in self._known:
                        mean, deviation = self._known[step, way]
                        self._known[step, way] = (mean * FORGIVEN, deviation * FORGIVEN)
        return WAYS[-1]

    def plain(self) -> dict[str, float]:
        """Expected milliseconds by "step" or "step, way", as measured."""
        with self._lock:
            return {", ".join(part for part in key if part): round(self._of(*key), 3) for key in self._known}

    def _of(self, step: Step, way: Degraded) -> float:
        if step == "judge" and way in ("index only",):
            return 0.0  # left out
        known = self._known.get((step, way))
        if known is not None:
            return known[0] + known[1]
        mean, deviation = self._known.get((step, ""), (FIRST[step], 0.0))
        return SHARES[way] * (mean + deviation)
