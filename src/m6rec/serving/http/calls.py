"""Calls of the service beside the event loop: a bounded number of threads, a bounded number of calls that wait for one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Literal, ParamSpec, TypeVar

from m6rec.serving.http.problems import RETRY_SECONDS, Refused

P = ParamSpec("P")
T = TypeVar("T")
WRITERS = 16  # they wait for the disk together: the store commits for all that wait at once
Lane = Literal["read", "write", "admin"]


class Calls:
    """Three lanes, so that a database that hangs holds up writing only, and loading a model neither of the others.

    threads: of the reading lane; writing has 16 and administration 2.  waiting: calls of one lane that may wait for a thread.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self.lanes: dict[Lane, _Bounded] = {
            "read": _Bounded("read", threads, waiting),
            "write": _Bounded("write", WRITERS, waiting),
            "admin": _Bounded("admin", 2, 8),
        }

    async def run(self, lane: Lane, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What `function` returns, called in a thread of the lane. Raises Refused (503) at once when too many calls wait already."""
        return await asyncio.wrap_future(self.lanes[lane].submit(function, *args, **named))

    def busy(self) -> dict[str, int]:
        """Calls running or waiting, by lane."""
        return {name: lane.taken for name, lane in self.lanes.items()}

    def close(self) -> None:
        """Let what runs come to its end, drop what waits. What comes after that is begun with new threads."""
        for lane in self.lanes.values():
            lane.close()


class _Bounded:
    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.name, self.threads, self.most = name, threads, threads + waiting
        self.pool = self._new_pool()
        self.taken = 0
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., T], *args: Any, **named: Any) -> Future[T]:
        with self._lock:
            if self.taken >= self.most:
                raise Refused(
                    503, f"{self.taken} requests are at work or wait already; try again soon", {"Retry-After": str(RETRY_SECONDS)}
                )
            self.taken += 1
        future = self.pool.submit(copy_context().run, function, *args, **named)  # who asks goes along
        future.add_done_callback(self._done)  # not when the caller stops waiting: the thread would still be taken
        return future

    def close(self) -> None:
        """End the threads, once what they do is done."""
        old, self.pool = self.pool, self._new_pool()
        old.shutdown(wait=True, cancel_futures=True)

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix=f"m6rec-{self.name}")

    def _done(self, future: Future[Any]) -> None:
        with self._lock:
            self.taken -= 1
