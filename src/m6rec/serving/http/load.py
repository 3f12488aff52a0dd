"""Load on a service of this machine: requests arrive when they arrive, whether earlier ones were answered or not (an open loop).

A request's time counts from the moment at which it was due, not from when it could be sent: a service that falls behind is not spared by its
own slowness (Tene, "How not to measure latency"). The client is one coroutine a request over kept-open connections and does little else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from m6rec.base.errors import UsageError
from m6rec.serving.http.config import is_loopback

MOST_RATE = 20_000.0
MOST_SECONDS = 600.0
MOST_OPEN = 2000  # requests under way; one more counts as failed, as it would at any client with so many waiting
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Target:
    """Where requests go: an address of this machine, and the key they bring."""

    host: str
    port: int
    key: str = ""

    @classmethod
    def of(cls, url: str, key: str = "") -> Target:
        """Raises UsageError: no http:// address, or not one of this machine."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port or 80
        except ValueError:
            raise UsageError(f"{url} has no port that there is; for example http://127.0.0.1:8080") from None
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(f"{url} is no address of a service over plain HTTP; for example http://127.0.0.1:8080")
        if not is_loopback(parts.hostname):
            raise UsageError(f"{parts.hostname} is another machine; load is made on this one only, for example http://127.0.0.1:8080")
        return cls(parts.hostname, port, key)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """A whole HTTP request."""
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{key}{kind}\r\n".encode() + body


@dataclass(frozen=True)
class Figures:
    """What came of one rate. Times in milliseconds, from when a request was due to the last byte of its answer; NaN where none was answered.

    errors: status or what happened -> how often.  behind_ms: how late the client itself was in sending, 99th percentile; where that is large
    the client was too slow, and the other times say little.
    """

    rate: float
    seconds: float
    sent: int
    answered: int
    throughput: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    behind_ms: float
    errors: dict[str, int] = field(default_factory=dict)


class Connection(asyncio.Protocol):
    """One kept-open connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._found = bytearray()
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self.open = False

    def connection_made(self, transport: Any) -> None:
        self.transport, self.open = transport, True

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        self._found += data
        end = self._found.find(b"\r\n\r\n")
        if end < 0 or self._waiting is None:
            return
        head = bytes(self._found[:end]).lower()
        place = head.find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(self._found) < end + 4 + length:
            return
        status, body = int(head[9:12]), bytes(self._found[end + 4 : end + 4 + length])
        del self._found[: end + 4 + length]
        if b"connection: close" in head and self.transport is not None:
            self.open = False
            self.transport.close()
        if not self._waiting.done():
            self._waiting.set_result((status, body))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body. Raises OSError, TimeoutError."""
        if self.transport is None or not self.open:
            raise ConnectionResetError("closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._waiting

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.close()


class Client:
    """Connections that wait for their next request."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._free: list[Connection] = []

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Over a connection that is free, or a new one. Raises OSError, TimeoutError."""
        while self._free:
            connection = self._free.pop()
            if connection.open:
                break
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, self.target.host, self.target.port)
        try:
            found = await connection.ask(request)
        except (OSError, TimeoutError):
            connection.close()
            raise
        if connection.open:
            self._free.append(connection)
        return found

    def close(self) -> None:
        """Hang up everywhere."""
        for connection in self._free:
            connection.close()


async def load(target: Target, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> Figures:
    """Send `requests` (in turn, again from the start) at `rate` a second with exponential gaps, and see what comes of it."""
    client, draw = Client(target), random.Random(seed)
    times: list[float] = []
    behind: list[float] = []
    errors: Counter[str] = Counter()
    under_way: set[asyncio.Task[None]] = set()

    async def one(request: bytes, due: float) -> None:
        behind.append(time.perf_counter() - due)
        try:
            status, _ = await client.ask(request)
        except TimeoutError:
            errors["no answer"] += 1
            return
        except OSError as error:
            errors[type(error).__name__] += 1
            return
        if status == 200:
            times.append(time.perf_counter() - due)
        else:
            errors[str(status)] += 1

    begun = due = time.perf_counter()
    sent = 0
    while due - begun < seconds:
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        if len(under_way) < MOST_OPEN:
            task = asyncio.create_task(one(requests[sent % len(requests)], due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        else:
            errors["too many under way"] += 1
        sent += 1
        due += draw.expovariate(rate)
    if under_way:
        await asyncio.wait(under_way)
    took = time.perf_counter() - begun
    client.close()
    return Figures(
        rate=rate,
        seconds=took,
        sent=sent,
        answered=len(times),
        throughput=len(times) / took,
        p50_ms=quantile(times, 0.50) * 1e3,
        p95_ms=quantile(times, 0.95) * 1e3,
        p99_ms=quantile(times, 0.99) * 1e3,
        max_ms=quantile(times, 1.0) * 1e3,
        behind_ms=quantile(behind, 0.99) * 1e3,
        errors=dict(errors),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all are no larger than; NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    place = -int(-share * len(ordered) // 1) - 1  # ceil(share * n) - 1
    return ordered[min(max(place, 0), len(ordered) - 1)]


def holds(figures: Figures, limit_ms: float) -> bool:
    """Whether every request was answered, 99 of 100 within the limit."""
    return not figures.errors and figures.p99_ms <= limit_ms


def sustained(measure: Callable[[float], Figures], first: float, limit_ms: float, halvings: int = 4) -> tuple[float, list[Figures]]:
    """The largest rate that holds: doubled until one does not, then narrowed down by halves. 0 where not even the first tenth does.

    Returns that rate, and the figures of every rate that was tried, in the order in which it was.
    """
    tried: list[Figures] = []

    def good(rate: float) -> bool:
        tried.append(measure(rate))
        return holds(tried[-1], limit_ms)

    low, high = 0.0, first
    while high <= MOST_RATE and good(high):
        low, high = high, high * 2
    if low == 0.0:
        low = first / 10
        if not good(low):
            return 0.0, tried
    for _ in range(halvings):
        middle = (low + high) / 2
        if middle > MOST_RATE:
            break
        low, high = (middle, high) if good(middle) else (low, middle)
    return low, tried
