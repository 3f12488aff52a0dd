"""The whole service against the figures it has to reach: engine, loopback HTTP, start, memory, store, faults; one table.

    python benchmarks/serving.py [--work runs/serving] [--only engine start http sustained fresh faults store] [--seconds S] [--task click]

Trains the shop of serving_shop.py into --work/run if it is not there (100 k items; graph and text priors; a click task), or takes the run of --run, then of
the parts asked for:

    engine     serving_engine.py in a process of its own: retrieve from all items, rank 200, 50 events; against encoding everything for the request
    start      from the command to the first worker that can answer, with one worker and with two; memory of each then (smaps_rollup)
    http       /v1/recommend ordered by --task at 50 a second for people with 50 events: at once after a start, and warm; one worker
    sustained  the same at growing rates, two workers; the last rate at which p99 stayed under 100 ms
    fresh      an event (of somebody new) until an answer knows the person; an item until it is retrieved by a condition that only it meets: from sending
               to the answer; two workers
    faults     two workers at a steady rate: load a copy of the model, switch, roll back, kill -9 a worker; questions that failed
    store      store.py: events acknowledged durably, SQLite and PostgreSQL

Client and server share the machine's cores. Questions come on time whether the last was answered or not (open loop), so that waiting counts; a question
lost with its connection is asked once more, as HTTP clients do. Figures of parts that are not asked for stay what they were. Writes serving.json and serving.md
into --work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from serving_client import Client, Question, Server, at_rate, figures, listed, memory, prepared
from serving_shop import trained

RATES = (25, 50, 100, 150, 200, 300, 400, 600)
BOUND = 0.100  # seconds
STARTS = 3
PARTS = ("engine", "start", "http", "sustained", "fresh", "faults", "store")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"))
    parser.add_argument("--run", type=Path, help="a run to serve in place of the shop; without the engine's part")
    parser.add_argument("--items", default="100k")
    parser.add_argument("--events", default="500k")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    parser.add_argument("--history", type=int, default=50, help="events of the people who ask")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--trials", type=int, default=40, help="of fresh: events; a quarter as many items")
    parser.add_argument("--task", default="click", help="a task on candidates that orders the answers; '' for plain lists")
    parser.add_argument("--scenario", help="of the task, where it is asked in several")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="passed on to m6rec serve")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    run = arguments.run or trained(arguments.work, arguments.items, arguments.events)
    kept = arguments.work / "serving.json"
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    found |= {"cores": len(os.sched_getaffinity(0)), "items": arguments.items, "command": " ".join(["python", *sys.argv])}
    for part in arguments.only:
        if part == "engine":
            found |= {} if arguments.run else {"engine": engine(arguments)}
        elif part == "store":
            found["store"] = store(arguments.work)
        elif part == "start":
            found["start"] = starts(run, arguments)
        else:
            found |= asyncio.run(served(run, part, arguments))
        kept.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        (arguments.work / "serving.md").write_text(table(found), encoding="utf-8")
    print((arguments.work / "serving.md").read_text(encoding="utf-8"))


def engine(arguments: argparse.Namespace) -> dict[str, Any]:
    """What serving_engine.py finds of single requests."""
    words = ["--work", str(arguments.work), "--items", arguments.items, "--events", arguments.events, "--only", "requests"]
    subprocess.run([sys.executable, str(Path(__file__).with_name("serving_engine.py")), *words], check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads((arguments.work / "serving_engine.json").read_text(encoding="utf-8"))["requests"])


def store(work: Path) -> dict[str, Any]:
    """What store.py finds."""
    out = work / "store.json"
    subprocess.run([sys.executable, str(Path(__file__).with_name("store.py")), "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads(out.read_text(encoding="utf-8")))


def copied(run: Path, home: Path) -> None:
    """The model in a run folder of its own, so that another may be named beside it over HTTP."""
    shutil.copytree(run / "model" if (run / "model").is_dir() else run, home / "run" / "model")


def starts(run: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of STARTS starts with one worker and with two, after one that is not counted; memory of each worker after the last."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="m6rec-serving-") as folder:
        home = Path(folder)
        copied(run, home)
        for workers in (1, 2):
            took = []
            for _ in range(STARTS + 1):
                server = Server(home, workers, arguments.settings)
                try:
                    took.append(server.begin())
                    server.settle()
                    megabytes = [memory(pid) for pid in server.workers()]
                    worked = server.processor() / workers
                finally:
                    server.end()
            name = f"{workers} worker{'s' if workers > 1 else ''}"
            found[name] = {"seconds": [round(one, 2) for one in took[1:]], "processor_s": round(worked, 2), "memory_mb": megabytes}
            print(name, found[name], file=sys.stderr)
    return found


async def served(run: Path, part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Parts over HTTP, each set with a server of its own."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="m6rec-serving-") as folder:
        home = Path(folder)
        copied(run, home)
        server = Server(home, 1 if part == "http" else 2, arguments.settings)
        server.begin()
        try:
            people = await prepared(Client(server.port), arguments.people, arguments.history)
            body = {"k": 10} | {name: value for name in ("task", "scenario") if (value := getattr(arguments, name))}

            def question() -> tuple[str, dict[str, Any]]:
                return "/v1/recommend", {"user": random.choice(people), **body}

            if part == "http":  # the people are in the store; who starts reads them from there
                server.end()
                server.begin()
                client = Client(server.port)
                found["http"] = {"right after the start": figures(await at_rate(client, question, 50, 5.0))}
            server.settle()
            client = Client(server.port)
            for person in people:
                await client.post("/v1/recommend", {"user": person, **body})
            if part == "http":
                before = server.processor()
                found["http"]["warm"] = figures(await at_rate(client, question, 50, 2 * arguments.seconds))
                found["http"]["processor ms a request"] = round(1e3 * (server.processor() - before) / (100 * arguments.seconds), 2)
                print(found["http"], file=sys.stderr)
            if part == "sustained":
                found["sustained"] = await sustained(client, question, arguments.seconds)
            if part == "fresh":
                found["fresh"] = await fresh(client, arguments.trials)
            if part == "faults":
                found["faults"] = await faults(client, question, server, home)
            found[f"memory of workers after {part}, MB"] = [memory(pid) for pid in server.workers()]
            print({name: value for name, value in found.items() if name != "sustained"}, file=sys.stderr)
            return found
        finally:
            server.end()


async def sustained(client: Client, question: Question, seconds: float) -> dict[str, Any]:
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


async def faults(client: Client, question: Question, server: Server, home: Path) -> dict[str, Any]:
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


def table(found: dict[str, Any]) -> str:
    """The figures against what they must reach, as Markdown; what was not measured is left out."""
    rows: list[tuple[str, str, str, str]] = []
    if "engine" in found:
        warm, ratio = found["engine"]["warm"], found["engine"]["anew against warm, cpu"]
        told = f"{warm['cpu_p50_ms']} / {warm['cpu_p99_ms']} ms"
        rows.append(("retrieve from 100 k items, rank 200, 50 events, warm, one core: p50 / p99", "10 / 20 ms", "3 / 6 ms", told))
    if "http" in found:
        told = f"{found['http']['warm']['p99_ms']} ms; at once after a start {found['http']['right after the start']['p99_ms']} ms"
        rows.append(("same over HTTP at 50 requests/s, p99", "40 ms", "15 ms", told))
    if "sustained" in found:
        rows.append(("sustained requests/s before p99 passes 100 ms", "120", "400", str(found["sustained"]["requests_per_second"])))
    if "engine" in found:
        rows.append(("late interaction with caches against encoding everything per request, same answers", "10×", "50×", f"{ratio}×"))
    if "fresh" in found:
        event, item = found["fresh"]["event"], found["fresh"]["item"]
        told = f"median {event['answered_ms']}, most {event['answered_most_ms']} ms"
        rows.append(("a new event changes the next answer within", "50 ms", "5 ms", told))
        rows.append(
            ("a new item is retrievable within", "1 s", "50 ms", f"median {item['answered_ms']}, most {item['answered_most_ms']} ms")
        )
    for database, figures_ in found.get("store", {}).items():
        single, lots = figures_["one by one, 1 clients"]["median"], figures_["lots of 100, 1 clients"]["median"]
        told = f"{single:,.0f} / {lots:,.0f}"
        rows.append((f"events acknowledged durably/s, one by one / in batches of 100, {database}", "500 / 5,000", "2,000 / 30,000", told))
    if "start" in found:
        told = "; ".join(f"{name} {statistics.median(one['seconds']):.1f} s" for name, one in found["start"].items())
        rows.append(("start to ready, 100 k items", "10 s", "2 s", told))
        rows.append(("memory of a worker, 100 k items", "1 GB", "400 MB, shared", _megabytes(found)))
    if "faults" in found:
        faults_ = found["faults"]
        told = f"{faults_['failed']} of {faults_['questions']}; {faults_['connections_lost_by_the_kill']} connections lost by the kill, asked again"
        rows.append(("requests failed during switch, roll back, worker kill", "0", "0", told))
    lines = ["| what | must | reach for | measured |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join([f"`{found['command']}`, {found['cores']} cores", "", *lines, ""])


def _megabytes(found: dict[str, Any]) -> str:
    told = [max(one["memory_mb"], key=lambda worker: worker["resident"]) for one in found["start"].values()]
    return "; ".join(f"{one['resident']} MB, {one['own']} MB of them its own" for one in told)


if __name__ == "__main__":
    main()
