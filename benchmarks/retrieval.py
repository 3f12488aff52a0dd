"""Retrieval on real data: ours, our ablations and the built-in baselines on the same cases, with time, memory and latency.

    python benchmarks/retrieval.py --data DIR [--data DIR ...] [--work FOLDER] [--seeds 0 1 2] [--ablations graph] [--threads N]

DIR is anything `m6rec import` reads. The configuration is the default one that `m6rec import` writes; nothing is tuned here, and nothing
knows a data set by name. Every training is a process of its own, so that its wall time and peak memory are its own. A finished
training is not repeated (stages are content-addressed), but its time is kept from when it ran. Writes retrieval.md and retrieval.json into FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BASELINES = ["popularity", "transition_graph", "transition_graph_text", "item_knn", "ease", "ials", "content_knn"]
METRICS = ["hit_rate@10", "ndcg@10", "hit_rate@50"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder that m6rec import reads; may be repeated")
    parser.add_argument("--work", type=Path, default=Path("runs/retrieval"), help="where imports, runs and results go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--ablations", nargs="*", default=["graph"], choices=["graph", "id", "text"], help="trained again without this part"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument(
        "--set", action="append", default=[], help="passed on to m6rec train, e.g. --set train.epochs=5; then it is no longer the default"
    )
    parser.add_argument("--baselines", nargs="*", default=BASELINES)
    arguments = parser.parse_args()
    results = [measure_data(folder, arguments) for folder in arguments.data]
    record = {"machine": f"{platform.machine()}, {arguments.threads} threads", "settings": arguments.set, "results": results}
    arguments.work.mkdir(parents=True, exist_ok=True)
    (arguments.work / "retrieval.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    page = "\n\n".join(markdown(result) for result in results)
    (arguments.work / "retrieval.md").write_text(page + "\n", encoding="utf-8")
    print(page)


def measure_data(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Import, train every seed and ablation, measure them and the baselines on the test cases."""
    place = arguments.work / folder.resolve().name
    command(["import", "auto", str(folder), "--out", str(place / "data")])
    rows, trainings, baselines = [], [], arguments.baselines
    for part in arguments.ablations:
        training = train(place, f"without-{part}", arguments, arguments.seeds[0], ["--without", part])
        trainings.append(training)
        rows += [{**row, "name": f"m6rec trained without {part}"} for row in assess(training["run"], [])[:1]]
    for seed in arguments.seeds:
        training = train(place, f"seed-{seed}", arguments, seed, [])
        trainings.append(training)
        found = assess(training["run"], baselines)
        rows += [{**found[0], "name": "m6rec", "seed": seed}, *found[1:]]
        baselines = []  # they have no seed of their own: once is enough
    return {"data": folder.resolve().name, "rows": rows, "trainings": trainings, "latency": latency(trainings[-1]["run"])}


def train(place: Path, name: str, arguments: argparse.Namespace, seed: int, extra: list[str]) -> dict[str, Any]:
    """One `m6rec train` in a process of its own: seconds and peak resident memory of the run that did the work."""
    run = place / name
    settings = [f"seed={seed}", f"train.threads={arguments.threads}", "evaluation.baselines=[]", *arguments.set]
    flags = [word for setting in settings for word in ("--set", setting)]
    begun = time.monotonic()
    peak = command(["train", str(place / "data" / "config.yaml"), "--run", str(run), *flags, *extra, "--progress"], watch=True)
    measured = {"name": name, "run": str(run), "seconds": round(time.monotonic() - begun, 1), "peak_mb": round(peak)}
    kept = run / "training.json"
    if kept.exists() and measured["seconds"] < 0.5 * json.loads(kept.read_text(encoding="utf-8"))["seconds"]:
        return dict(json.loads(kept.read_text(encoding="utf-8")))  # all stages were done before
    kept.write_text(json.dumps(measured), encoding="utf-8")
    return measured


def command(words: list[str], watch: bool = False) -> float:
    """Run the m6rec command; returns its peak resident memory in MB (0 where the system does not tell)."""
    process = subprocess.Popen([sys.executable, "-m", "m6rec", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"m6rec {' '.join(words)} failed")
    return usage.ru_maxrss / 1024 if watch else 0.0


def assess(run: str, baselines: list[str]) -> list[dict[str, Any]]:
    """The model, then the baselines, on the test cases."""
    from m6rec.training.assess import evaluate_run

    found = evaluate_run(Path(run), baselines=baselines)
    rows = []
    for evaluation in found:
        table = {metric: [round(value, 5) for value in evaluation.table()[metric]] for metric in METRICS}
        against = found[0].difference(evaluation, "ndcg@10")
        rows.append({"name": evaluation.name, **table, "m6rec minus this, ndcg@10": [round(value, 5) for value in against]})
    return rows


def latency(run: str, people: int = 200) -> dict[str, float]:
    """Milliseconds of `recommend(user=...)` for one warm user at a time, on one core, through the Python API."""
    import numpy as np
    import torch

    from m6rec import Recommender

    torch.set_num_threads(1)
    recommender = Recommender.from_pretrained(run)
    ids = recommender.engine.users.ids.ids
    chosen = np.random.default_rng(0).choice(len(ids), min(people, len(ids)), replace=False)
    taken = []
    for number, index in enumerate([*chosen[:10], *chosen]):
        begun = time.perf_counter()
        recommender.recommend(user=ids[index], k=10)
        if number >= 10:  # the first ten warm the caches
            taken.append(1000 * (time.perf_counter() - begun))
    return {"p50_ms": round(float(np.median(taken)), 2), "p95_ms": round(float(np.quantile(taken, 0.95)), 2)}


def markdown(result: dict[str, Any]) -> str:
    """The table of one data set."""
    lines = [f"## {result['data']}", "", "| scorer | HR@10 | NDCG@10 (95 %) | HR@50 | m6rec minus this (95 %) |", "|---|---|---|---|---|"]
    for row in result["rows"]:
        mean, low, high = row["ndcg@10"]
        gap = "{:+.4f} ({:+.4f} to {:+.4f})".format(*row["m6rec minus this, ndcg@10"]) if not row["name"].startswith("m6rec") else ""
        name = row["name"] + (f", seed {row['seed']}" if "seed" in row else "")
        lines.append(f"| {name} | {row['hit_rate@10'][0]:.4f} | {mean:.4f} ({low:.4f}-{high:.4f}) | {row['hit_rate@50'][0]:.4f} | {gap} |")
    lines.append("")
    for training in result["trainings"]:
        lines.append(
            f"- {training['name']}: trained in {training['seconds'] / 60:.1f} min, peak memory {training['peak_mb'] / 1024:.2f} GB"
        )
    lines.append(f"- one warm user, one core: p50 {result['latency']['p50_ms']} ms, p95 {result['latency']['p95_ms']} ms")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
