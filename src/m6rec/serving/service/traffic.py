"""How much is asked, how long answers take, how many came from caches: counted in each worker, added up over all of them.

A worker writes its counts every few seconds to STATE/traffic; a page that wants the whole adds the files of all workers up. A worker
that is gone leaves its counts behind until the service starts anew.
"""

from __future__ import annotations

import json
import os
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m6rec.base.errors import StorageError
from m6rec.base.storage import write_json

# Upper bounds in milliseconds; a quantile is read from them with an error of at most a fifth.
BOUNDS = tuple(round(0.25 * 1.2**step, 3) for step in range(60))
MINUTES = 120  # of traffic that are kept minute by minute
EVERY = 5.0  # seconds between two files


@dataclass
class Minute:
    """One minute of traffic: answers, errors, and how many took how long (by bound)."""

    minute: int
    answers: int = 0
    errors: int = 0
    times: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))


class Traffic:
    """Counts of one worker. folder: where they are written for the others; None keeps them here."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._counts: Counter[str] = Counter()
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._written = 0.0

    def answered(self, operation: str, version: str, took_ms: float, cache: str, degraded: str) -> None:
        """One answer."""
        with self._lock:
            self._counts[f"answers {operation}"] += 1
            self._counts[f"version {version}"] += 1
            self._counts[f"cache {cache}"] += 1
            if degraded:
                self._counts[f"degraded {degraded}"] += 1
            minute = self._minute()
            minute.answers += 1
            minute.times[bisect_left(BOUNDS, took_ms)] += 1
        self._maybe_write()

    def failed(self, operation: str, kind: str) -> None:
        """One question that could not be answered; kind: the name of the error."""
        with self._lock:
            self._counts[f"errors {operation}"] += 1
            self._counts[f"error {kind}"] += 1
            self._minute().errors += 1

    def counted(self, what: str, number: int = 1) -> None:
        """Anything else worth a number, e.g. events."""
        with self._lock:
            self._counts[what] += number
        self._maybe_write()

    def plain(self) -> dict[str, Any]:
        """JSON-ready counts of this worker."""
        with self._lock:
            minutes = [[one.minute, one.answers, one.errors, list(one.times)] for one in self._minutes]
            return {"counts": dict(self._counts), "minutes": minutes}

    def total(self) -> dict[str, Any]:
        """Counts of all workers: counts by name; minutes [{minute (seconds since 1970), answers, errors, p50_ms, p99_ms}, ...]; quantiles."""
        mine = f"{os.getpid()}.json"
        others: list[dict[str, Any]] = []
        if self.folder is not None:
            others = [found for path in self.folder.glob("*.json") if path.name != mine and (found := _read(path)) is not None]
        return _together([self.plain(), *others])

    def write(self) -> None:
        """The file for the other workers; a full disk only costs them the sight of it."""
        if self.folder is None:
            return
        with self._writing:
            try:
                write_json(self.folder / f"{os.getpid()}.json", self.plain())
            except StorageError:
                return

    def _minute(self) -> Minute:
        now = int(time.time() // 60) * 60
        if not self._minutes or self._minutes[-1].minute != now:
            self._minutes.append(Minute(now))
        return self._minutes[-1]

    def _maybe_write(self) -> None:
        now = time.monotonic()
        if self.folder is not None and now - self._written > EVERY:
            self._written = now
            threading.Thread(target=self.write, daemon=True).start()  # a disk that is busy keeps nobody waiting for an answer


def quantile(times: Iterable[int], share: float) -> float | None:
    """Milliseconds under which `share` of the answers lie, from counts by bound; None without answers."""
    counts = list(times)
    total = sum(counts)
    if not total:
        return None
    wanted, seen = share * total, 0
    for place, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return BOUNDS[min(place, len(BOUNDS) - 1)]
    return BOUNDS[-1]


def _together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    minutes: dict[int, Minute] = {}
    for part in parts:
        counts.update(part["counts"])
        for moment, answers, errors, times in part["minutes"]:
            one = minutes.setdefault(moment, Minute(moment))
            one.answers += answers
            one.errors += errors
            one.times = [mine + theirs for mine, theirs in zip(one.times, times, strict=True)]
    newest = [minutes[moment] for moment in sorted(minutes)][-MINUTES:]
    everything = [sum(column) for column in zip(*(one.times for one in newest), strict=True)] if newest else []
    hits, misses = counts["cache hit"], counts["cache miss"]
    return {
        "workers": len(parts),
        "counts": dict(sorted(counts.items())),
        "p50_ms": quantile(everything, 0.5),
        "p99_ms": quantile(everything, 0.99),
        "hit_rate": hits / (hits + misses) if hits + misses else None,
        "minutes": [
            {
                "minute": one.minute,
                "answers": one.answers,
                "errors": one.errors,
                "p50_ms": quantile(one.times, 0.5),
                "p99_ms": quantile(one.times, 0.99),
            }
            for one in newest
        ],
    }


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "counts" in found and "minutes" in found else None
