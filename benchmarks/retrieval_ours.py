"""Our side of the retrieval benchmark: importing, training in processes of their own, and what a finished run says of itself."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latency import milliseconds
from m6rec.base.contracts import Requests
from m6rec.config import M6RecConfig, load_config
from m6rec.data.dataset import Dataset
from m6rec.data.prepare import prepare
from m6rec.data.splits import Split, split
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.protocol import evaluate
from m6rec.fusion.member import MEMBERS
from m6rec.training.assess import evaluate_run
from m6rec.training.pipeline import open_run

PEOPLE = 200  # asked one at a time, for the latency


def import_data(source: Path, place: Path) -> M6RecConfig:
    """The tables and the default configuration that `m6rec import auto` makes of a folder, under place/data."""
    command(["import", "auto", str(source), "--out", str(place / "data")])
    return load_config(place / "data" / "config.yaml", [])


def cases(config: M6RecConfig, place: Path) -> tuple[Dataset, Split]:
    """The prepared data and their split: the one that baselines and peers get, and that every training makes for itself."""
    dataset, _ = prepare(config.data, config.fields, config.scenarios, place / "data")
    return dataset, split(dataset, config.split, config.seed)


def train(place: Path, name: str, seed: int, arguments: argparse.Namespace, extra: list[str]) -> dict[str, Any]:
    """One `m6rec train` in a process of its own; seconds and peak memory are those of the run that did the work."""
    run = place / name
    settings = [f"seed={seed}", f"train.threads={arguments.threads}", "evaluation.baselines=[]", *arguments.set]
    flags = [word for setting in settings for word in ("--set", setting)]
    kept, log = run / "training.json", run / "logs" / "run.jsonl"  # the log has one line for every stage that was done
    stages = log.read_bytes() if log.exists() else b""
    begun = time.monotonic()
    peak = command(["train", str(place / "data" / "config.yaml"), "--run", str(run), *flags, *extra, "--progress"])
    measured = {"name": name, "run": str(run), "seconds": round(time.monotonic() - begun, 1), "peak_mb": round(peak)}
    if kept.exists() and log.read_bytes() == stages:  # all were done before
        return {**json.loads(kept.read_text(encoding="utf-8")), **learning(run)}
    kept.write_text(json.dumps(measured), encoding="utf-8")
    return {**measured, **learning(run)}


def learning(run: Path) -> dict[str, Any]:
    """Speed and validation curve of the fit stage: training targets/s (median over epochs), and per epoch the seconds since the start of the run.

    `seconds_before` are the stages that fitting needs (reading, tokenizer, pretraining, encoding); `seconds` of an epoch include them.
    """
    bench = open_run(run)
    before = 0.0
    for stage in ("prepare", "tokenizer", "pretrain", "encode"):
        before += json.loads((bench.folder(stage) / "done.json").read_text(encoding="utf-8"))["seconds"]
    rows = {}
    for line in (bench.folder("fit") / "log.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[row["epoch"]] = row  # a resumed run writes its last epoch again
    metric = bench.config.train.validation_metric
    spent, epochs = before, []
    for number in sorted(rows) if all("seconds" in row for row in rows.values()) else ():  # runs of older versions did not note them
        spent += rows[number]["seconds"]
        epochs.append({"epoch": number, "seconds_so_far": round(spent, 1), metric: rows[number].get(metric)})
    speeds = [row["targets_per_second"] for row in rows.values()]
    return {"targets_per_second": round(float(np.median(speeds))), "seconds_before": round(before, 1), "epochs": epochs}


def typical(trainings: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds, memory and speed: medians over trainings."""
    return {name: float(np.median([training[name] for training in trainings])) for name in ("seconds", "peak_mb", "targets_per_second")}


def command(words: list[str]) -> float:
    """Run the m6rec command; returns its peak resident memory in MB."""
    process = subprocess.Popen([sys.executable, "-m", "m6rec", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # wait4 was asked directly, for the memory
    if process.returncode:
        raise SystemExit(f"m6rec {' '.join(words)} failed")
    return usage.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def assess(training: dict[str, Any], name: str) -> Evaluation:
    """A training's model on the test cases."""
    evaluation = evaluate_run(Path(training["run"]), baselines=[])[0][0]
    evaluation.name = name
    return evaluation


def baseline(name: str, dataset: Dataset, cut: Split, config: M6RecConfig) -> tuple[Evaluation, dict[str, Any]]:
    """A built-in baseline fitted on the training events: its ranks, seconds of fitting, and latency of its bare scores."""
    begun = time.perf_counter()
    member = MEMBERS.get(name)().fit(cut.train, dataset.items)
    seconds = time.perf_counter() - begun
    evaluation = evaluate(member, cut.test, cut.seen, config.measured, name=name, statement=cut.statement, seed=config.seed)
    rows = np.random.default_rng(0).choice(len(cut.test), min(PEOPLE, len(cut.test)), replace=False)
    alone = [Requests(histories=cut.test.requests.histories.rows(np.array([row]))) for row in rows]
    return evaluation, {"seconds": round(seconds, 2), "latency": timed(lambda number: member.scores(alone[number]), len(alone))}


def latency(run: str) -> dict[str, float]:
    """Milliseconds of `recommend(user=...)` for one warm user at a time, on one core, through the Python API."""
    import torch

    from m6rec import Recommender

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recommender = Recommender.from_pretrained(run)
    ids = recommender.engine.users.ids.ids
    chosen = np.random.default_rng(0).choice(len(ids), min(PEOPLE, len(ids)), replace=False)
    taken = timed(lambda number: recommender.recommend(user=ids[chosen[number]], k=10), len(chosen))
    torch.set_num_threads(threads)
    return taken


def timed(answer: Callable[[int], object], count: int) -> dict[str, float]:
    """p50 and p95 of the CPU time of `answer(number)` in milliseconds, as for peers; and p50 of the wall time."""
    wall, cpu = milliseconds(answer, count, lambda: None)
    return {
        "p50_ms": round(float(np.median(cpu)), 2),
        "p95_ms": round(float(np.quantile(cpu, 0.95)), 2),
        "wall_p50_ms": round(float(np.median(wall)), 2),
    }
