"""The whole service over loopback HTTP: latency, how much it sustains, how fresh answers are, what a start, a switch and a kill cost.

    python benchmarks/serving.py RUN [--workers N] [--seconds S] [--history N] [--only start latency sustained fresh faults]

RUN is a run folder (benchmarks/serving_engine.py --only train makes one of 100 k items). Client and server share the machine's cores. Questions
come on time whether the last was answered or not (open loop), so that waiting counts; a question lost with its connection is asked once more,
as HTTP clients do. Writes serving.json into --work.

    start      from the command to the first answer of /health/ready; memory of each worker then (smaps_rollup)
    latency    /v1/recommend at 50 a second, 10 answers, for people with --history events
    sustained  the same at growing rates; the last rate at which p99 stayed under 100 ms
    fresh      an event (of somebody new) until an answer knows the person; an item until it is
               retrieved by a condition that only it meets: from sending to the answer
    faults     at a steady rate: load a copy of the model, switch, roll back, kill -9 a worker; questions that failed
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

RATES = (25, 50, 100, 150, 200, 300, 400, 600)
BOUND = 0.100  # seconds
CONNECTIONS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    parser.add_argument("--history", type=int, default=50, help="events of the people who ask")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--trials", type=int, default=40, help="of fresh: events; a quarter as many items")
    parser.add_argument("--task", help="a task on candidates that orders the answers; needs --scenario where it is asked in several")
    parser.add_argument("--scenario")
    parser.add_argument("--only", nargs="*", default=["start", "latency", "sustained", "fresh", "faults"])
    parser.add_argument("--set", action="append", default=[], dest="settings", help="passed on to m6rec serve")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found = asyncio.run(measure(arguments))
    (arguments.work / "serving.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="m6rec-serving-") as folder:
        home = Path(folder)
        source = arguments.run / "model" if (arguments.run / "model").is_dir() else arguments.run
        shutil.copytree(source, home / "run" / "model")  # a folder of its own, so that another may be named beside it over HTTP
        server = Server(home, arguments)
        try:
            start = server.begin()
            print(f"ready after {start:.2f} s", file=sys.stderr)
            client = Client(server.port)
            found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "workers": arguments.workers}
            if "start" in arguments.only:
                found["start"] = {"seconds": round(start, 2), "memory_mb": [memory(pid) for pid in server.workers()]}
            people = await prepared(client, arguments)
            body = {"k": 10} | {name: value for name in ("task", "scenario") if (value := getattr(arguments, name))}

            def question() -> tuple[str, dict[str, Any]]:
                return "/v1/recommend", {"user": random.choice(people), **body}

            warm = figures(await at_rate(client, question, 20, 4.0))
            print(f"warm: {warm}", file=sys.stderr)
            if "latency" in arguments.only:
                found["latency at 50/s"] = figures(await at_rate(client, question, 50, 2 * arguments.seconds))
                print(found["latency at 50/s"], file=sys.stderr)
            if "sustained" in arguments.only:
                found["sustained"] = await sustained(client, question, arguments.seconds)
            if "fresh" in arguments.only:
                found["fresh"] = await fresh(client, arguments.trials)
            if "faults" in arguments.only:
                found["faults"] = await faults(client, question, server, home)
            if "start" in arguments.only:
                found["start"]["memory_mb_after"] = [memory(pid) for pid in server.workers()]
            return found
        finally:
            server.end()


class Server:
    """`m6rec serve` in a process of its own."""

    def __init__(self, home: Path, arguments: argparse.Namespace) -> None:
        words = ["--state", str(home / "state"), "--port", "0", "--workers", str(arguments.workers), "--set", "http.log=false"]
        for setting in arguments.settings:
            words += ["--set", setting]
        self.command = [sys.executable, "-m", "m6rec", "serve", str(home / "run"), *words]
        self.port = 0

    def begin(self) -> float:
        """Seconds until the first worker can answer."""
        begun = time.perf_counter()
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
            print(line, end="", file=sys.stderr)
        if not self.port:
            raise SystemExit("the service did not start")
        took = time.perf_counter() - begun
        while len(self.workers()) < int(self.command[self.command.index("--workers") + 1]):
            time.sleep(0.05)
        return took

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


async def prepared(client: Client, arguments: argparse.Namespace) -> list[str]:
    """People with as many events as asked for, all of them known items."""
    items = [row["item_id"] for row in await listed(client.port, "items")]
    people = [f"bench-{number}" for number in range(arguments.people)]
    events = [
        {"user_id": person, "item_id": random.choice(items), "time": 1.6e9 + n} for person in people for n in range(arguments.history)
    ]
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


async def at_rate(
    client: Client, question: Callable[[], tuple[str, dict[str, Any]]], rate: float, seconds: float
) -> list[tuple[float, int]]:
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


async def sustained(client: Client, question: Callable[[], tuple[str, dict[str, Any]]], seconds: float) -> dict[str, Any]:
    """Figures by rate, and the last rate that held."""
    rates: dict[str, Any] = {}
    held = 0
    for rate in RATES:
        told = figures(await at_rate(client, question, rate, seconds))
        print(f"{rate}/s: {told}", file=sys.stderr)
        rates[str(rate)] = told
        if told["failed"] or told["p99_ms"] > 1e3 * BOUND:
            break
        held = rate
    return {"requests_per_second": held, "rates": rates}


async def fresh(client: Client, trials: int) -> dict[str, Any]:
    async def until(send: Callable[[], Awaitable[Any]], seen: Callable[[], Awaitable[bool]]) -> tuple[float, float]:
        begun = time.perf_counter()
        status, reply = await send()
        assert status == 200, reply
        acknowledged = time.perf_counter() - begun
        while not await seen():
            pass
        return acknowledged, time.perf_counter() - begun

    items = [row["item_id"] for row in await listed(client.port, "items")]
    events, news = [], []
    for trial in range(trials):
        person = f"fresh-{time.time_ns()}"
        event = {"user_id": person, "item_id": random.choice(items)}

        async def knows(person: str = person) -> bool:
            return (await client.post("/v1/recommend", {"user": person, "k": 5}))[0] == 200

        events.append(await until(partial(client.post, "/v1/events", {"events": [event]}), knows))
        if trial < trials // 4:
            word, item = f"zq{time.time_ns()}x", f"fresh-item-{time.time_ns()}"
            row = {"item_id": item, "fields": {"title": f"a {word} thing"}}

            async def found(word: str = word, item: str = item) -> bool:
                reply = (await client.post("/v1/recommend", {"history": [], "where": {"title": word}, "k": 1}))[1]
                return [answer["item_id"] for answer in reply.get("answers", [])] == [item]

            news.append(await until(partial(client.post, "/v1/items", {"items": [row]}), found))
    return {"event": delays(events), "item": delays(news)}


def delays(pairs: list[tuple[float, float]]) -> dict[str, float]:
    acknowledged, answered = (sorted(column) for column in zip(*pairs, strict=True))
    half = len(pairs) // 2
    return {
        "acknowledged_ms": round(1e3 * acknowledged[half], 2),
        "answered_ms": round(1e3 * answered[half], 2),
        "answered_most_ms": round(1e3 * answered[-1], 2),
        "after_acknowledged_ms": round(1e3 * sorted(b - a for a, b in pairs)[half], 2),
    }


async def faults(client: Client, question: Callable[[], tuple[str, dict[str, Any]]], server: Server, home: Path) -> dict[str, Any]:
    """Questions at 20 a second while models are switched and a worker is killed."""
    shutil.copytree(home / "run" / "model", home / "next")
    taken: list[tuple[float, int]] = []
    seen: set[str] = set()
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            begun = time.perf_counter()
            path, body = question()
            status, reply = await client.post(path, body)
            taken.append((time.perf_counter() - begun, status))
            seen.add(reply.get("model_version", ""))
            await asyncio.sleep(0.1)

    asking = [asyncio.create_task(ask()) for _ in range(2)]
    begun = time.perf_counter()
    status, reply = await client.post("/v1/models", {"folder": "next"})
    loaded = time.perf_counter() - begun
    assert status == 200, reply
    version = reply["model"]["version"]
    begun = time.perf_counter()
    assert (await client.post("/v1/models/switch", {"version": version}))[0] == 200
    switched = time.perf_counter() - begun
    await asyncio.sleep(2.0)
    assert (await client.post("/v1/models/roll-back", {}))[0] == 200
    await asyncio.sleep(1.0)
    before = client.lost
    os.kill(server.workers()[0], signal.SIGKILL)
    await asyncio.sleep(8.0)
    stop.set()
    await asyncio.gather(*asking)
    return {
        **figures(taken),
        "versions_seen": len(seen),
        "load_s": round(loaded, 2),
        "switch_ms": round(1e3 * switched, 2),
        "connections_lost_by_the_kill": client.lost - before,
        "workers": len(server.workers()),
    }


def memory(pid: int) -> dict[str, int]:
    """Megabytes of a process: resident, proportional (shared pages divided among those who share them), and its own."""
    told = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss", "Private_Dirty", "Private_Clean"):
            told[name] = int(rest.split()[0]) // 1024
    return {"resident": told["Rss"], "proportional": told["Pss"], "own": told["Private_Dirty"] + told["Private_Clean"]}


if __name__ == "__main__":
    main()
