"""How much was asked in the last hour and how fast it was answered: the counters of HTTP, looked at every few seconds.

The counters are those of all workers where they share a folder (`http/metrics.py`), else those of this one.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise

from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

PAUSE = 10.0  # seconds between two looks
MINUTES = 60
LISTS = ("/v1/recommend", "/v1/rank", "/v1/similar", "/v1/search", "/api/recommend")  # routes whose time is told
COUNTED = ("/v1/", "/api/")


@dataclass(frozen=True)
class Counts:
    """Counters at one moment. buckets: upper bound in seconds -> lists answered within it, all of them under infinity."""

    time: float
    requests: float = 0.0
    failed: float = 0.0
    hits: float = 0.0
    lists: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Minute:
    """What happened between two moments. median, slow: seconds within which 50 % and 99 % of the lists were answered, None of none."""

    requests: int
    failed: int
    median: float | None
    slow: float | None
    hits: float | None


class Traffic:
    """The counters of the last hour.

    page: the text that Prometheus reads.  clock: seconds since 1970.
    """

    def __init__(self, page: Callable[[], bytes], clock: Callable[[], float] = time.time) -> None:
        self.page, self.clock = page, clock
        self._counts: deque[Counts] = deque([Counts(0.0)], maxlen=int(60 * MINUTES / PAUSE) + MINUTES)
        self.look()
        self._counts.popleft()  # what was counted before this began is not of the last hour

    def look(self) -> None:
        """Read the counters, at most once a second."""
        now = self.clock()
        if now - self._counts[-1].time >= 1.0:
            self._counts.append(read_counters(self.page().decode(), now))

    async def keep_looking(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(PAUSE)
            await asyncio.to_thread(self.look)

    def minutes(self) -> list[Minute]:
        """The last 60 minutes, oldest first."""
        counts = list(self._counts)
        now = self.clock()
        moments = [one.time for one in counts]
        ends = [max(bisect_right(moments, now - 60 * ago) - 1, 0) for ago in range(MINUTES, -1, -1)]
        return [between(counts[begin], counts[end]) for begin, end in pairwise(ends)]

    def hour(self) -> Minute:
        """All of the last hour together."""
        counts = list(self._counts)
        first = max(bisect_right([one.time for one in counts], self.clock() - 60 * MINUTES) - 1, 0)
        return between(counts[first], counts[-1])


def read_counters(text: str, now: float) -> Counts:
    """The counters that matter here, out of a page of metrics."""
    requests = failed = hits = lists = 0.0
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            route = one.labels.get("route", "")
            if one.name == "m6rec_http_requests_total" and route.startswith(COUNTED):
                requests += one.value
                failed += one.value * one.labels["status"].startswith("5")
            elif one.name == "m6rec_answers_total":
                lists += one.value * (one.labels["cache"] != "off")
                hits += one.value * (one.labels["cache"] == "hit")
            elif one.name == "m6rec_http_request_seconds_bucket" and route.startswith(LISTS):
                bound = float(one.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + one.value
    return Counts(now, requests, failed, hits, lists, buckets)


def between(first: Counts, last: Counts) -> Minute:
    """What was counted from `first` to `last`; a counter that began anew counts from 0."""

    def grown(before: float, after: float) -> float:
        return after - before if after >= before else after

    bounds = sorted(last.buckets)
    within = [grown(first.buckets.get(bound, 0.0), last.buckets[bound]) for bound in bounds]
    lists = grown(first.lists, last.lists)
    return Minute(
        round(grown(first.requests, last.requests)),
        round(grown(first.failed, last.failed)),
        quantile(bounds, within, 0.5),
        quantile(bounds, within, 0.99),
        grown(first.hits, last.hits) / lists if lists else None,
    )


def quantile(bounds: Sequence[float], within: Sequence[float], share: float) -> float | None:
    """The value below which `share` lies, linear inside its bucket (as Prometheus' histogram_quantile); None of nothing.

    Args:
        bounds: upper bounds, rising, the last one infinity.  within: how many are at most each bound.
    """
    if not within or within[-1] <= 0:
        return None
    rank = share * within[-1]
    place = next(place for place, count in enumerate(within) if count >= rank)
    below, low = (within[place - 1], bounds[place - 1]) if place else (0.0, 0.0)
    if bounds[place] == float("inf"):
        return low
    return low + (bounds[place] - low) * (rank - below) / (within[place] - below)


def watch(app: FastAPI, traffic: Traffic) -> None:
    """Look at the counters for as long as `app` runs."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def watched(running: FastAPI) -> AsyncIterator[object]:
        async with inner(running) as state:
            looking = asyncio.create_task(traffic.keep_looking())
            try:
                yield state
            finally:
                looking.cancel()
                with suppress(asyncio.CancelledError):
                    await looking

    app.router.lifespan_context = watched  # type: ignore[assignment]  # what the inner one yields is passed on as it is
