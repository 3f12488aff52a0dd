"""What putting a list together costs and what diversity costs in accuracy.

    python benchmarks/slates.py time
    python benchmarks/slates.py curve --run runs/shop --out docs/slates.svg
    python benchmarks/slates.py curve --dataset beauty --run runs/beauty

`curve` works on the validation part: for people with at least three events, their history without its last two events is the request,
the last but one is what should be found. The rules of repetition are those of the run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from m6rec.data.dataset import FieldType
from m6rec.data.tables import frame_to_table
from m6rec.serving.asked import Slate
from m6rec.serving.rules.config import RulesConfig
from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.serving.rules.filters import Blocked, RuleBook
from m6rec.serving.rules.slate import put_together

FIELDS = {
    "title": FieldType.TEXT,
    "brand": FieldType.CATEGORY,
    "kind": FieldType.CATEGORY,
    "tags": FieldType.TAGS,
    "limit": FieldType.NUMBER,
}
RULES = {
    "blocked_words": ["casino", "赌博"],
    "provider_field": "brand",
    "blocked_providers": ["B3"],
    "audiences": [{"name": "age", "field": "limit", "least": "profile.age"}],
    "caps": [{"name": "brand", "field": "brand", "per_list": 2, "per_day": 3}],
}
SLATES = {
    "as scored": Slate(),
    "weights": Slate(weights={"i5": 2.0, "brand=B4": 0.5}),
    "cap": Slate(caps={"brand": 1}),
    "diversity": Slate(diversity=0.3),
    "novelty": Slate(novelty=0.3),
    "mix": Slate(mix={"kind": {"video": 0.3, "ad": 0.2}}),
    "all together": Slate(0.3, 0.2, {"i5": 2.0, "brand=B4": 0.5}, {"brand": 1, "tags": 3}, {"kind": {"video": 0.3, "ad": 0.2}}),
}


def catalogue(count: int, seed: int = 0) -> CatalogueFacts:
    """Items with a title, one of 500 brands, one of three kinds, two of twenty tags, an age limit."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(count)],
            "title": [f"a casino thing {row}" if row % 1_000 == 0 else f"a good 东西 of number {row}" for row in range(count)],
            "brand": [f"B{code}" for code in rng.integers(0, 500, count)],
            "kind": [["video", "shop", "ad"][code] for code in rng.integers(0, 3, count)],
            "tags": [[f"t{a}", f"t{b}"] for a, b in rng.integers(0, 20, (count, 2))],
            "limit": rng.choice([0.0, 12.0, 18.0], count),
        }
    )
    return CatalogueFacts(frame_to_table(frame, FIELDS, "item_id"), rng.integers(0, 100, count))


def milliseconds(call: Callable[[], object], times: int = 300) -> dict[str, float]:
    """Median of wall time and mean of processor time of a call, in ms."""
    call()
    walls, started = [], time.process_time()
    for _ in range(times):
        before = time.perf_counter()
        call()
        walls.append(time.perf_counter() - before)
    return {"wall": round(1e3 * float(np.median(walls)), 4), "cpu": round(1e3 * (time.process_time() - started) / times, 4)}


def timed(count: int, candidates: int, k: int, width: int) -> dict[str, Any]:
    """Milliseconds of every step, in a catalogue of `count` items."""
    started = time.perf_counter()
    facts = catalogue(count)
    made = time.perf_counter() - started
    started = time.perf_counter()
    book = RuleBook.build(RulesConfig.build(RULES), Blocked(), facts)
    built = time.perf_counter() - started
    started = time.perf_counter()
    RuleBook.build(RulesConfig.build(RULES), Blocked(words=frozenset({"thing 77"})), facts)
    again = time.perf_counter() - started
    table = facts.items
    first = CatalogueFacts(table.rows(list(range(count - 1))))
    before = RuleBook.build(RulesConfig.build(RULES), Blocked(), first)
    last = np.array([count - 1])
    started = time.perf_counter()
    before.updated(first.updated(table, last), last)
    one_more = time.perf_counter() - started
    rng = np.random.default_rng(1)
    items = rng.choice(count, candidates, replace=False)
    scores, vectors = np.log(rng.dirichlet(np.full(candidates, 0.3))), rng.normal(size=(candidates, width)).astype(np.float32)
    today = rng.integers(0, count, 30)
    found: dict[str, Any] = {
        "items": count,
        "catalogue made (s)": round(made, 2),
        "rules built (s)": round(built, 2),
        "rules built again with a blocked word more (s)": round(again, 3),
        "an item more (ms)": round(1e3 * one_more, 2),
        "allowed, nothing shown today": milliseconds(lambda: book.allowed("shop", {"age": 20})),
        "allowed, 30 shown today": milliseconds(lambda: book.allowed("shop", {"age": 20}, today)),
    }
    limits, chance = book.allowed("shop", {"age": 20}).limits, np.random.default_rng(2)
    for name, slate in SLATES.items():
        found[name] = milliseconds(lambda slate=slate: put_together(slate, items, scores, vectors, None, facts, k))
    slate = SLATES["all together"]
    found["all together, rules, exploration"] = milliseconds(
        lambda: put_together(slate, items, scores, vectors, None, facts, k, chance, limits=limits, exploration=0.1)
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("time", "curve"))
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--width", type=int, default=128, help="of the item vectors")
    given = parser.parse_args()
    print(json.dumps(timed(given.items, given.candidates, given.k, given.width), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
