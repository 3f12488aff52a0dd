"""What the HTTP layer costs by itself: a service that answers at once, real uvicorn in a process of its own, one client on loopback.

python benchmarks/serving_http.py [--requests 3000]

Prints for each route the time of a request (median, 99th percentile; one after another over one connection) and the processor time that the
server spends on it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from m6rec.base.contracts import Scored
from m6rec.serving.asked import Ask, Reply

BODY = b'{"user": "u1", "k": 10, "scenario": "shop", "where": {"category": "boots"}, "context": {"device": "phone"}}'
EVENT = b'{"events": [{"user_id": "u1", "item_id": "i1", "action": "click", "time": 1760000000}]}'


class Instant:
    """Answers ten items at once; one key, so that admission is part of what is measured."""

    def __init__(self) -> None:
        from m6rec.serving.config import ServeConfig
        from m6rec.serving.store.records import Key, Receipt

        key = Key("1", "bench", ("admin",), 0.0)
        self.store = SimpleNamespace(find_key=lambda secret: key if secret == "bench" else None, keys=lambda: [key])
        self.loaded = SimpleNamespace(active=SimpleNamespace(version="instant"))
        self.run = self.state = Path("runs/instant").absolute()
        self.config = ServeConfig()
        self.answers = tuple(Scored(f"i{n}", 1 / (n + 1), f"Item {n}", {"softmax": 0.6, "graph": 0.4}) for n in range(10))
        self.receipt = Receipt(1, 0, 0, 1, 1)

    def recommend(self, ask: Ask) -> Reply:
        return Reply(self.answers, "instant", ask.request_id, 0.0, "hit", propensities=(1.0,) * 10)

    def add_events(self, events: Any, key: str | None = None) -> Any:
        return self.receipt

    def alive(self) -> bool:
        return True


def serve(port: int) -> None:
    """The server's process."""
    import uvicorn

    from m6rec.serving.config import ServeConfig
    from m6rec.serving.http.app import create_app
    from m6rec.serving.http.listening import uvicorn_settings

    config = ServeConfig.build({"http": {"port": port, "log": False}})
    service: Any = Instant()
    uvicorn.run(create_app(service, config), host="127.0.0.1", port=port, **uvicorn_settings(config.http))


def processor_seconds(process: int) -> float:
    """Time that a process has had on a processor."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(port: int, process: int, count: int) -> None:
    from m6rec.serving.http.load import Client, Target, quantile

    target = Target("127.0.0.1", port, "bench")
    client = Client(target)
    for name, request in {
        "GET /health/live": target.request("GET", "/health/live"),
        "POST /v1/recommend": target.request("POST", "/v1/recommend", BODY),
        "POST /v1/events": target.request("POST", "/v1/events", EVENT),
    }.items():
        for _ in range(200):
            status, body = await client.ask(request)
            assert status == 200, body
        times = []
        begun = processor_seconds(process)
        for _ in range(count):
            start = time.perf_counter()
            await client.ask(request)
            times.append(time.perf_counter() - start)
        spent = (processor_seconds(process) - begun) / count
        print(
            f"{name:<20} p50 {quantile(times, 0.5) * 1e3:.2f} ms  p99 {quantile(times, 0.99) * 1e3:.2f} ms  server's processor {spent * 1e3:.2f} ms"
        )
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--port", type=int, default=18765)
    parser.add_argument("--serve", action="store_true")
    told = parser.parse_args()
    if told.serve:
        serve(told.port)
        return
    server = subprocess.Popen([sys.executable, __file__, "--serve", "--port", str(told.port)])
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                asyncio.run(_ready(told.port))
                break
            except OSError:
                time.sleep(0.2)
        asyncio.run(measure(told.port, server.pid, told.requests))
    finally:
        server.terminate()
        server.wait()


async def _ready(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


if __name__ == "__main__":
    main()
