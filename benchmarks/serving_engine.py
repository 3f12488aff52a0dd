"""The engine alone on a catalogue of 100 k items, one core: how long a request takes, what the caches are worth, and what a change costs.

    python benchmarks/serving_engine.py [--work FOLDER] [--items 100k] [--events 300k] [--requests 200] [--only PART ...]

Makes a synthetic shop (synthetic_log.py) with a click task, trains a tiny model on it briefly, gives some people 50 events each, and measures. A folder
that was trained before is used again. A request: retrieve from the whole catalogue, rank the best 200 by the click task, answer 10.

    warm      the person was answered before: history read, candidates found
    changed   the person has a new event: the history is read on and candidates are found anew
    cold      nothing of the person is kept
    anew      no cache at all: the texts of the history's items and of the 200 candidates are encoded for the request, the history read, candidates judged

Milliseconds of wall and of processor time, p50 and p99. Writes serving_engine.json into FOLDER.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

from scale import numbers
from synthetic_log import write_log

HISTORY, RANKED, PEOPLE = 50, 200, 400
SETTINGS = [
    "train.epochs=1",
    "pretrain.epochs=1",
    "pretrain.most_texts=10000",
    "model.size=tiny",
    "evaluation.baselines=[]",
    "evaluation.cases=500",
    "evaluation.resamples=100",
]
SHOWN = 30_000  # exposures: every third was followed by the event


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/serving-engine"))
    parser.add_argument("--items", default="100k")
    parser.add_argument("--events", default="300k")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=[], help="train, requests, start, changes, batches, memory")
    arguments = parser.parse_args()
    run = trained(arguments.work, *numbers(f"{arguments.items}:{arguments.events}"))
    if arguments.only == ["train"]:
        return


def trained(work: Path, items: int, events: int) -> Path:
    """The run folder, trained if it was not before."""
    work.mkdir(parents=True, exist_ok=True)
    run, data = work / "run", work / "data"
    if not (data / "config.yaml").exists():
        write_log(data, items, events)
        _expose(data)
    if not (run / "model").exists():
        words = [f for setting in [*SETTINGS, "train.threads=1"] for f in ("--set", setting)]
        subprocess.run([sys.executable, "-m", "m6rec", "train", str(data / "config.yaml"), "--run", str(run), *words], check=True)
    return run


def _expose(folder: Path, seed: int = 0) -> None:
    """exposures.parquet: items that were clicked (they are events) and others drawn at random; and config.yaml."""
    generator = np.random.default_rng(seed)
    log = pl.read_parquet(folder / "events.parquet")
    items = pl.read_parquet(folder / "items.parquet")["item_id"]
    clicked = log[np.sort(generator.choice(len(log), SHOWN // 3, replace=False))]
    twice = pl.concat([clicked, clicked])
    passed = twice.with_columns(items[generator.integers(len(items), size=len(twice))].alias("item_id"))
    shown = pl.concat([clicked.with_columns(clicked=pl.lit(1)), passed.with_columns(clicked=pl.lit(0))]).sort("time")
    shown.write_parquet(folder / "exposures.parquet")
    (folder / "config.yaml").write_text(
        "data: {events: events.parquet, items: items.parquet, exposures: exposures.parquet}\n"
        "fields: {items: {title: text, category: category}}\n"
        "split: {protocol: time}\n"
        "tasks: {next: {answer: choose}, click: {answer: judge, label: clicked}}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
