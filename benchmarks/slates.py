"""What putting a list together costs in time, and what diversity and novelty cost in accuracy.

    python benchmarks/slates.py time
    python benchmarks/slates.py curve --run runs/beauty --out docs/slates.svg

`curve` takes the validation people of a run (their history is what training knew, what they took next was never trained on), the scorer as
the fit stage left it, and the best candidates of each.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m6rec.data.dataset import FieldType
from m6rec.data.tables import frame_to_table
from m6rec.evaluation.standalone import standalone_svg
from m6rec.serving.asked import Slate
from m6rec.serving.engine.many import best_allowed
from m6rec.serving.rules.config import RulesConfig
from m6rec.serving.rules.curve import Case, accuracy_diversity, curve_svg
from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.serving.rules.filters import Blocked, RuleBook
from m6rec.serving.rules.slate import put_together
from m6rec.training.pipeline import open_run
from m6rec.training.workbench import Workbench

SLIDER = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)

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
    started = time.perf_counter()
    before.caught_up(table)
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
        found[name] = milliseconds(partial(put_together, slate, items, scores, vectors, None, facts, k))
    slate = SLATES["all together"]
    found["all together, rules, exploration"] = milliseconds(
        lambda: put_together(slate, items, scores, vectors, None, facts, k, chance, limits=limits, exploration=0.1)
    )
    return found


def cases_of(bench: Workbench, people: int, candidates: int, seed: int) -> Iterator[Case]:
    """Validation people of a run, at most so many drawn by seed; what they had is no candidate."""
    everyone = bench.split.validation
    rows = np.sort(np.random.default_rng(seed).permutation(len(everyone))[:people])
    scorer = bench.fitted()
    for start in range(0, len(rows), 100):
        requests, targets = everyone.requests.rows(rows[start : start + 100]), everyone.targets.rows(rows[start : start + 100])
        best, values = best_allowed(scorer.scores(requests), requests, candidates, exclude=True, allowed=None)
        for row in range(len(best)):
            yield Case(best[row], values[row], int(targets.row(row)[0]))


def curve(run: Path, people: int, candidates: int, k: int, seed: int, out: Path | None) -> dict[str, Any]:
    """Both sliders from 0 to 1."""
    bench = open_run(run)
    vectors = bench.fitted().vectors.numpy()
    facts = CatalogueFacts(bench.dataset.items, bench.split.seen)
    lines = {
        "diversity": [Slate(diversity=value) for value in SLIDER],
        "novelty": [Slate(novelty=value) for value in SLIDER],
        "half and half": [Slate(diversity=value / 2, novelty=value / 2) for value in SLIDER],
    }
    slates = [slate for line in lines.values() for slate in line]
    points = accuracy_diversity(cases_of(bench, people, candidates, seed), slates, facts, vectors, k, seed)
    found = {name: points[place * len(SLIDER) : (place + 1) * len(SLIDER)] for place, name in enumerate(lines)}
    if out is not None:
        for against in ("unlikeness", "novelty"):
            chart = standalone_svg(curve_svg(found, against=against, k=k))
            out.with_name(f"{out.stem}-{against}{out.suffix}").write_text(chart, encoding="utf-8")
    return {name: [{"slider": value} | asdict(point) for value, point in zip(SLIDER, line, strict=True)] for name, line in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("time", "curve"))
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--width", type=int, default=128, help="of the item vectors")
    parser.add_argument("--run", type=Path, help="a finished run, for `curve`")
    parser.add_argument("--people", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="pictures: STEM-unlikeness.svg and STEM-novelty.svg")
    given = parser.parse_args()
    if given.study == "time":
        print(json.dumps(timed(given.items, given.candidates, given.k, given.width), indent=2, ensure_ascii=False))
        return
    if given.run is None:
        parser.error("curve needs --run")
    found = curve(given.run, given.people, given.candidates, given.k, given.seed, given.out)
    for name, line in found.items():
        for point in line:
            figures = ", ".join(
                f"{key} {point[key][0]:.4f} ({point[key][1]:.4f} to {point[key][2]:.4f})"
                for key in ("ndcg", "hit", "unlikeness", "novelty")
            )
            print(f"{name} {point['slider']:.1f}: {figures}, coverage {point['coverage']:.3f}")


if __name__ == "__main__":
    main()
