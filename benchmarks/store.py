"""How many events a second the store acknowledges durably, one by one and in lots, and what following and keys cost.

    python benchmarks/store.py [--database sqlite postgresql] [--rounds 7] [--seconds 0.5] [--folder DIR] [--out store.json]

SQLite lies in DIR (a temporary folder; it should be on the disk that a service would use), PostgreSQL is a server of our own in /tmp with its usual
durability (fsync on, synchronous_commit on; Debian: apt-get install postgresql). Users are drawn from 50,000, so every lot touches as many places of the
index. Every figure is a median over rounds, in which all settings take turns; beside it stand the quarter of rounds that was fastest, because a busy disk
slows all of them, and the processor time of this process. `syncs/s` is what the disk does at that moment: 4 KB appended and synced, over and over.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.records import Event, Shown
from m6rec.serving.store.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

USERS, ITEMS, LOT, LIST = 50_000, 100_000, 100, 10


@dataclass
class Figure:
    """rates: one a round.  cpu_us: processor time of this process for each event, one a round."""

    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        best = statistics.quantiles(self.rates, n=4)[2] if len(self.rates) > 1 else self.rates[0]
        return {"median": statistics.median(self.rates), "fast_quarter": best, "cpu_us": statistics.median(self.cpu_us)}


def events(count: int, named: bool) -> list[Event]:
    return [
        Event(
            f"u{random.randrange(USERS)}",
            f"i{random.randrange(ITEMS)}",
            action="click",
            event_id=f"{random.getrandbits(96):024x}" if named else None,
        )
        for _ in range(count)
    ]


def run_clients(clients: int, seconds: float, call: Callable[[], int]) -> tuple[float, float]:
    """Calls from several threads for some time: things done a second, processor microseconds for each."""
    done = [0] * clients
    begin, cpu = time.perf_counter(), time.process_time()
    until = begin + seconds

    def work(place: int) -> None:
        while time.perf_counter() < until:
            done[place] += call()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(done)
    return total / (time.perf_counter() - begin), (time.process_time() - cpu) / total * 1e6


def settings(store: Store) -> Iterator[tuple[str, int, Callable[[], int]]]:
    """Name, clients, one call that says how many things it did."""

    def send(count: int, named: bool = False) -> Callable[[], int]:
        ready = [events(count, False) for _ in range(50)]  # making them is not what is measured

        def call() -> int:
            return store.add_events(events(count, True) if named else random.choice(ready)).accepted

        return call

    def show() -> int:
        user, request = f"u{random.randrange(USERS)}", f"{random.getrandbits(64):016x}"
        store.record_shown(
            [Shown(request, user, f"i{random.randrange(ITEMS)}", place, "v1", why={"a": 0.5}) for place in range(1, LIST + 1)]
        )
        return LIST

    for clients in (1, 4, 16):
        yield f"one by one, {clients} clients", clients, send(1)
    for clients in (1, 4):
        yield f"lots of {LOT}, {clients} clients", clients, send(LOT)
    yield f"lots of {LOT} with event ids, 1 clients", 1, send(LOT, named=True)
    yield f"audit rows, lists of {LIST}, 4 clients", 4, show


def syncs(folder: Path, seconds: float) -> float:
    path = folder / "syncs"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        os.write(handle, b"x" * 4096)
        os.fsync(handle)
        count += 1
    took = time.perf_counter() - begin
    os.close(handle)
    path.unlink()
    return count / took


def following(store: Store, other: Store, rounds: int) -> dict[str, float]:
    """Milliseconds from the acknowledgement of an event until another process's view of the database knows it and has read it."""
    waits = []
    other.newest_change()
    for _ in range(rounds):
        seq = store.add_events(events(1, False)).last_seq
        begin = time.perf_counter()
        while other.newest_change() < seq:
            time.sleep(0.0002)
        assert other.changes(seq - 1)[-1].payload["events"]
        waits.append((time.perf_counter() - begin) * 1e3)
    return {"median_ms": statistics.median(waits), "p95_ms": statistics.quantiles(waits, n=20)[18]}


def each_us(call: Callable[[], object], count: int = 2_000) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count * 1e6


def measure(url: str, folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    store, other = (Store.open(StoreConfig(url=url), folder) for _ in range(2))
    figures: dict[str, Figure] = {}
    disk = []
    try:
        for _ in range(30):  # not an empty file: 100,000 events
            store.add_events(events(3_333, True))
        calls = list(settings(store))
        for _ in range(rounds):
            disk.append(syncs(folder, seconds / 2))
            for name, clients, call in calls:
                rate, cpu = run_clients(clients, seconds, call)
                figure = figures.setdefault(name, Figure())
                figure.rates.append(rate)
                figure.cpu_us.append(cpu)
        secret = store.add_key("benchmark", ["read"])
        user = store.events(most=1)[0].user_id
        return {
            "syncs/s": statistics.median(disk),
            **{name: figure.summary() for name, figure in figures.items()},
            "another process knows an event": following(store, other, 200),
            "newest_change, us": each_us(store.newest_change),
            "find_key, us": each_us(lambda: store.find_key(secret)),
            "latest 50 events of a user, us": each_us(lambda: store.latest_events(user, 50), 300),
        }
    finally:
        store.close()
        other.close()


def show(database: str, found: dict[str, Any]) -> None:
    print(f"\n{database}: the disk does {found['syncs/s']:,.0f} syncs/s")
    print(f"{'':42}{'median/s':>10}{'fast quarter':>14}{'CPU us each':>13}")
    for name, value in found.items():
        if isinstance(value, dict) and "median" in value:
            print(f"{name:42}{value['median']:>10,.0f}{value['fast_quarter']:>14,.0f}{value['cpu_us']:>13,.1f}")
        elif isinstance(value, dict):
            print(f"{name:42}{value['median_ms']:>10.2f} ms, p95 {value['p95_ms']:.2f} ms")
        elif name != "syncs/s":
            print(f"{name:42}{value:>10.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of every setting in every round")
    parser.add_argument("--folder", type=Path, help="where SQLite's file lies; a temporary folder")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    chosen = parser.parse_args()
    found = {}
    for database in chosen.database:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=chosen.folder)))
            url = ""
            if database == "postgresql":
                from postgres_server import running_postgres

                url = stack.enter_context(running_postgres(durable=True)).new_database()
            found[database] = measure(url, folder, chosen.rounds, chosen.seconds)
        show(database, found[database])
    if chosen.out:
        chosen.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
