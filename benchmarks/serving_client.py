"""What the serving benchmark asks with: `m6rec serve` in processes of its own, an HTTP client, questions at a rate, memory of a process."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CONNECTIONS = 16
Question = Callable[[], tuple[str, dict[str, Any]]]


class Server:
    """`m6rec serve` of `home`/run in processes of its own, its state in `home`/state, its byte code kept in `home`/bytecode."""

    def __init__(self, home: Path, workers: int, settings: Sequence[str] = ()) -> None:
        words = ["--state", str(home / "state"), "--port", "0", "--workers", str(workers), "--set", "http.log=false"]
        for setting in settings:
            words += ["--set", setting]
        self.command = [sys.executable, "-m", "m6rec", "serve", str(home / "run"), *words]
        self.count, self.port = workers, 0
        # An installed package lies there compiled; a checkout under PYTHONDONTWRITEBYTECODE would be compiled at each start.
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.environment["PYTHONPYCACHEPREFIX"] = str(home / "bytecode")

    def begin(self) -> float:
        """Seconds until the first worker can answer."""
        begun = time.perf_counter()
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True, env=self.environment)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
            print(line, end="", file=sys.stderr)
        if not self.port:
            raise SystemExit("the service did not start")
        return time.perf_counter() - begun

    def settle(self) -> None:
        """Wait until all workers have been idle for a while."""
        before = -1.0
        while len(self.workers()) < self.count or self.processor() - before > 0.02:
            before = self.processor()
            time.sleep(1.0)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]

    def processor(self) -> float:
        """Seconds of processor time of all workers so far."""
        ticks = 0
        for pid in self.workers():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        assert self.process.stderr is not None
        self.process.stderr.close()


class Client:
    """Connections that are kept; replies are read by their content-length."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.room = asyncio.Semaphore(CONNECTIONS)
        self.lost = 0

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and reply; asked once more where the connection was lost."""
        payload = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n".encode()
        )
        async with self.room:
            for attempt in (0, 1, 2):
                try:
                    return await self._once(head + payload, fresh=attempt > 0)
                except (OSError, asyncio.IncompleteReadError):
                    self.lost += 1
                    if attempt == 2:
                        return 0, {}
        raise AssertionError

    async def _once(self, request: bytes, fresh: bool) -> tuple[int, dict[str, Any]]:
        # A connection that was idle for long may have been closed by the server: another try does not take another of those.
        reader, writer = self.idle.pop() if self.idle and not fresh else await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            raise
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self.idle.append((reader, writer))
        return int(head[9:12]), json.loads(body)


async def prepared(client: Client, count: int, history: int) -> list[str]:
    """People with as many events as asked for, all of them known items."""
    items = [row["item_id"] for row in await listed(client.port, "items")]
    people = [f"bench-{number}" for number in range(count)]
    events = [{"user_id": person, "item_id": random.choice(items), "time": 1.6e9 + n} for person in people for n in range(history)]
    for begin in range(0, len(events), 1000):
        status, reply = await client.post("/v1/events", {"events": events[begin : begin + 1000]})
        assert status == 200, reply
    return people


async def listed(port: int, what: str) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v1/{what}?most=1000 HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
    reply = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return list(json.loads(reply)[what])


async def at_rate(client: Client, question: Question, rate: float, seconds: float) -> list[tuple[float, int]]:
    """(seconds from when it was due, status) of each of rate * seconds questions."""
    taken: list[tuple[float, int]] = []

    async def one(due: float) -> None:
        path, body = question()
        status, _ = await client.post(path, body)
        taken.append((time.perf_counter() - due, status))

    begun, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return taken


def figures(taken: list[tuple[float, int]]) -> dict[str, Any]:
    times = sorted(took for took, _ in taken)
    told: dict[str, Any] = {
        "questions": len(times),
        "p50_ms": round(1e3 * times[len(times) // 2], 2),
        "p99_ms": round(1e3 * times[min(int(len(times) * 0.99), len(times) - 1)], 2),
        "failed": sum(status != 200 for _, status in taken),
    }
    if told["failed"]:
        told["statuses"] = dict(Counter(str(status) for _, status in taken))
    return told


def memory(pid: int) -> dict[str, int]:
    """Megabytes of a process: resident, proportional (shared pages divided among those who share them), and its own."""
    told = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss", "Private_Dirty", "Private_Clean"):
            told[name] = int(rest.split()[0]) // 1024
    return {"resident": told["Rss"], "proportional": told["Pss"], "own": told["Private_Dirty"] + told["Private_Clean"]}
