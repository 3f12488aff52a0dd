"""The engine alone on a catalogue of 100 k items, one core: how long a request takes, what the caches are worth, and what a change costs.

    python benchmarks/serving_engine.py [--work FOLDER] [--items 100k] [--events 500k] [--requests 200] [--only PART ...]

The model is the trained one of serving_shop.py, made if FOLDER has none. People are given 50 events each.
A request: retrieve from the whole catalogue, rank the best 200 by the click task, answer 10.

    warm      the person was answered before: history read, candidates found, what the statistics say of the person worked out for this minute
    changed   the person has a new event: the history is read on, or anew, and candidates are found anew
    cold      nothing is kept of the person
    anew      nothing is kept of anybody, and every text that the request needs is encoded for it: those of the 50 events before the history is read,
              those of the candidates before they are ranked. The same code, the same index, the same answers (compared)

Milliseconds of wall and of processor time, p50 and p99. Writes serving_engine.json into FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from serving_shop import SETTINGS, trained

HISTORY, RANKED, PEOPLE = 50, 200, 400
PARTS = ["requests", "batches", "changes", "start"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"))
    parser.add_argument("--items", default="100k")
    parser.add_argument("--events", default="500k")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--ready", type=Path, help=argparse.SUPPRESS)  # what the process runs that is timed from its start
    arguments = parser.parse_args()
    if arguments.ready is not None:
        print(json.dumps(ready(arguments.ready)))
        return
    model = trained(arguments.work, arguments.items, arguments.events) / "model"
    kept = arguments.work / "serving_engine.json"
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    found |= {"items": arguments.items, "events": arguments.events, "settings": SETTINGS}
    for part in arguments.only:
        found[part] = {"requests": requests, "batches": batches, "changes": changes, "start": start}[part](model, arguments.requests)
        kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(part, json.dumps(found[part], indent=1), flush=True)


def opened(model: Path) -> Any:
    """The engine with PEOPLE who have HISTORY events each, in the walks of the log's own people put end to end."""
    import torch

    from m6rec import Recommender

    torch.set_num_threads(1)
    engine = Recommender.from_pretrained(model).engine
    past = engine.dataset.histories
    items, times = engine.items.ids.ids, float(engine.newest)
    users, chosen = [], []
    for number in range(PEOPLE):
        users += [f"person {number}"] * HISTORY
        chosen += [items[item] for item in past.items[number * HISTORY : (number + 1) * HISTORY]]
    stamps = [times - 86_400 + 600 * (row % HISTORY) for row in range(len(users))]
    engine.add_events(pl.DataFrame({"user_id": users, "item_id": chosen, "time": stamps}))
    return engine


def spread(wall: Sequence[float], cpu: Sequence[float] | None = None) -> dict[str, float]:
    """Milliseconds, from seconds."""
    found = {f"wall_p{share}_ms": round(1000 * float(np.percentile(wall, share)), 2) for share in (50, 99)}
    if cpu is not None:
        found |= {f"cpu_p{share}_ms": round(1000 * float(np.percentile(cpu, share)), 2) for share in (50, 99)}
    return found


def timed(calls: Iterable[Callable[[], object]], warm_up: int = 10) -> dict[str, float]:
    """Each call once, one after the other."""
    wall, cpu = [], []
    for call in calls:
        begun, used = time.perf_counter(), time.process_time()
        call()
        cpu.append(time.process_time() - used)
        wall.append(time.perf_counter() - begun)
    return spread(wall[warm_up:], cpu[warm_up:])


def requests(model: Path, count: int) -> dict[str, Any]:
    """Requests with and without what is kept, and against encoding everything."""
    from m6rec.serving.asked import Ask

    engine = opened(model)
    people = [f"person {number}" for number in range(min(count, PEOPLE))]
    asks = [Ask(user=person, task="click", k=10) for person in people]
    plain = [Ask(user=person, k=10) for person in people]

    def forget() -> None:
        engine.scorer.forget_kept()
        engine.retrieval.forget()

    def cold(ask: Ask) -> Callable[[], object]:
        forget()
        return lambda: engine.answer(ask)

    for ask in asks[:20]:  # code, tables, the index
        engine.answer(ask)
    found: dict[str, Any] = {"cold": timed(cold(ask) for ask in asks)}
    for ask in asks:
        engine.answer(ask)
    found["warm"] = timed(lambda ask=ask: engine.answer(ask) for ask in asks)  # type: ignore[misc]
    found["warm, answers made"] = timed(lambda p=p: engine.recommend(p, task="click", k=10) for p in people)  # type: ignore[misc]
    found["warm, retrieval alone"] = timed(lambda ask=ask: engine.answer(ask) for ask in plain)  # type: ignore[misc]
    events = [pl.DataFrame({"user_id": [p], "item_id": [engine.items.ids.ids[n]], "time": [engine.newest]}) for n, p in enumerate(people)]

    def changed(number: int) -> Callable[[], object]:
        engine.add_events(events[number])
        return lambda: engine.answer(asks[number])

    found["changed"] = timed(changed(number) for number in range(len(people)))
    some = [(ask, engine.answer(ask)) for ask in asks[:60]]
    found["anew"] = timed(anew(engine, ask) for ask, _ in some)
    for ask, kept in some:
        again = anew(engine, ask)()
        order, fresh = np.argsort(kept.items), np.argsort(again.items)
        np.testing.assert_array_equal(kept.items[order], again.items[fresh])
        np.testing.assert_allclose(kept.scores[order], again.scores[fresh], atol=1e-3)
    for figure in ("cpu", "wall"):
        found[f"anew against warm, {figure}"] = round(found["anew"][f"{figure}_p50_ms"] / found["warm"][f"{figure}_p50_ms"], 1)
    found["caches"] = engine.cache_report()
    return found


def anew(engine: Any, ask: Any) -> Callable[[], Any]:
    """The request of `ask` with nothing kept: every text that it needs is read for it, and what was read is what is answered with."""
    import torch

    scorer, pieces = engine.scorer, engine.scorer.request_judge.pieces
    scorer.forget_kept()
    engine.retrieval.forget()
    pieces._items.clear()
    pieces._once.clear()
    ids = engine.items.ids.ids

    def encode(items: np.ndarray) -> None:
        """Put what the model makes of the texts of `items` int64 (X,) in the place of what it made of them before."""
        rows = torch.from_numpy(items)
        contents = scorer.catalogue.contents.rows(rows)
        summaries = scorer.reader.read(scorer.reader.wording.items(engine.items.rows(items.tolist())))
        fresh = type(contents)(summaries, contents.features, contents.offsets, contents.vectors)
        with torch.no_grad():
            scorer.vectors[rows] = scorer.task.items.of(rows, fresh, sparse=False)

    def request() -> Any:
        history = np.unique(engine._request(ask.user, None, None, None, None).histories.items[-HISTORY:].astype(np.int64))
        encode(history)
        found = engine.answer(replace(ask, task=None), count=RANKED).items
        encode(np.setdiff1d(found, history))
        return engine.answer(replace(ask, items=tuple(ids[item] for item in found)))

    return request


def batches(model: Path, count: int) -> dict[str, Any]:
    """Milliseconds a request of `answer_many` of 1, 4 and 16 people of whom nothing is kept."""
    from m6rec.serving.asked import Ask

    engine = opened(model)
    asks = [Ask(user=f"person {number}", k=10) for number in range(min(count, PEOPLE))]
    engine.answer_many(asks[:16])
    found: dict[str, Any] = {}
    for size in (1, 4, 16):
        engine.scorer.forget_kept()
        engine.retrieval.forget()
        begun = time.process_time()
        for start in range(0, len(asks), size):
            engine.answer_many(asks[start : start + size])
        found[f"{size} together, cpu ms a request"] = round(1000 * (time.process_time() - begun) / len(asks), 2)
    return found


def changes(model: Path, count: int) -> dict[str, Any]:
    """From a change to the first answer that knows of it."""
    from m6rec.serving.asked import Ask

    engine = opened(model)
    for number in range(20):
        engine.answer(Ask(user=f"person {number}", task="click", k=10))
    ids = engine.items.ids.ids
    events: list[float] = []
    items: list[float] = []
    found: dict[str, Any] = {}
    for number in range(min(count, 60)):
        event = pl.DataFrame({"user_id": [f"person {number}"], "item_id": [ids[7 * number]], "time": [engine.newest]})
        before = engine.answer(Ask(user=f"person {number}", k=50))
        begun = time.perf_counter()
        engine.add_events(event)
        after = engine.answer(Ask(user=f"person {number}", task="click", k=10))
        events.append(time.perf_counter() - begun)
        assert ids.index(event["item_id"][0]) not in after.items
        assert not np.array_equal(before.scores[:10], engine.answer(Ask(user=f"person {number}", k=50)).scores[:10])
    for number in range(10):
        title = f"zzz{number} brand new thing"
        begun = time.perf_counter()
        engine.add_items(pl.DataFrame({"item_id": [f"new {number}"], "title": [title], "category": [engine.items.frame["category"][0]]}))
        found_item = engine.answer(Ask(user="person 1", k=5), allowed=np.arange(len(engine.items)) >= len(engine.items) - 1)
        items.append(time.perf_counter() - begun)
        assert found_item.items.tolist() == [len(engine.items) - 1]
    found["a new event, until the answer that knows of it"] = spread(events[5:])
    found["a new item, until it is retrieved"] = spread(items[1:])
    begun = time.perf_counter()
    engine.forget("person 3")
    found["forget, seconds"] = round(time.perf_counter() - begun, 2)
    return found


def start(model: Path, count: int) -> dict[str, Any]:
    """A process of its own: start to the first answer, and memory."""
    words = [sys.executable, str(Path(__file__).resolve()), "--ready", str(model)]
    told = []
    for _ in range(3):
        begun = time.monotonic()
        out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
        told.append({**json.loads(out), "process_s": round(time.monotonic() - begun, 2)})
    return min(told, key=lambda one: one["ready_s"])


def ready(model: Path) -> dict[str, float]:
    """Seconds until the first answer, processor seconds, megabytes then and after 200 answers; shared: of mapped files, that workers have in common."""
    from m6rec.serving.asked import Ask

    engine = opened(model)
    begun = time.perf_counter()
    engine.answer(Ask(user="person 1", task="click", k=10))
    first = time.perf_counter() - begun
    since_start = time.clock_gettime(time.CLOCK_MONOTONIC) - _started()
    found = {"ready_s": round(since_start, 2), "ready_cpu_s": round(time.process_time(), 2), "first_answer_ms": round(1000 * first, 1)}
    found |= {f"{name}_mb_at_start": value for name, value in memory().items()}
    for number in range(200):
        engine.answer(Ask(user=f"person {number}", task="click", k=10))
    return found | {f"{name}_mb": value for name, value in memory().items()}


def _started() -> float:
    """When this process began, on the monotonic clock."""
    ticks = float(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory() -> dict[str, float]:
    """Megabytes: resident, own, and of mapped files, which workers share."""
    kept = {}
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]:
        name, _, rest = line.partition(":")
        kept[name] = int(rest.split()[0]) / 1024
    own = kept["Anonymous"]
    return {"resident": round(kept["Rss"]), "own": round(own), "shared": round(kept["Rss"] - own)}


if __name__ == "__main__":
    main()
