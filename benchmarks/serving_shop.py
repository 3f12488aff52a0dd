"""The shop that the service is measured with: a synthetic catalogue and log, trained by `m6rec train` with every part a small model has.

100 k items with titles of 3 to 6 words and a category, events by planted transitions, exposures of which every third was followed by a click; a choose
task with graph and text priors, a click task on candidates. One epoch of a tiny model: how well it answers is not looked at here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

from scale import numbers
from synthetic_log import write_log

SHOWN = 30_000  # exposures
SETTINGS = [
    "pretrain.epochs=1",
    "pretrain.most_texts=10000",
    "model.size=tiny",
    "train.epochs=1",
    "train.threads=1",
    "evaluation.baselines=[popularity]",
    "evaluation.judged_baselines=[]",
    "evaluation.cases=500",
]


def trained(work: Path, items: str = "100k", events: str = "500k") -> Path:
    """The run folder in `work`, made if it was not before; killed, the same call goes on where it was."""
    data, run = work / "data", work / "run"
    if not (data / "config.yaml").exists():
        write_log(data, *numbers(f"{items}:{events}"))
        _expose(data)
    if not (run / "model").exists():
        words = [word for setting in SETTINGS for word in ("--set", setting)]
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
