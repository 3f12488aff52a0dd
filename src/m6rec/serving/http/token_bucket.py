"""How many requests come from one sender: a token bucket each, of the senders seen last."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class TokenBuckets:
    """`rate` requests a second for each sender, `burst` of them at once. Not thread-safe: used on the event loop only.

    A bucket holds up to `burst` tokens, fills at `rate` tokens a second, and a request takes one. Buckets of the senders that came
    longest ago are dropped when there are more than `most`: such a sender starts with a full bucket again.
    """

    def __init__(self, rate: float, burst: float, most: int = 50_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.most, self.clock = rate, max(1.0, burst), most, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # sender -> tokens, when that was

    def take(self, sender: str) -> float:
        """0 where the request may go on, else the seconds until the next one may."""
        if self.rate <= 0:
            return 0.0
        now = self.clock()
        tokens, then = self._buckets.pop(sender, (self.burst, now))
        tokens = min(self.burst, tokens + max(0.0, now - then) * self.rate)
        wait = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self.rate
        self._buckets[sender] = (tokens - 1.0 if wait == 0.0 else tokens, now)
        if len(self._buckets) > self.most:
            self._buckets.popitem(last=False)
        return wait
