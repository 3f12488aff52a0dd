"""How time and memory grow with the catalogue and the log: synthetic shops from 10 k to 1 M items and from 0.1 M to 10 M events.

    python benchmarks/scale.py [--work FOLDER] [--sizes 10k:100k 100k:1m 1m:10m] [--threads N] [--set KEY=VALUE ...]

A size is ITEMS:EVENTS. Each is imported, validated, trained for one epoch and queried, every stage in a process of its own, so that wall
time, processor time and peak memory (ru_maxrss) are the stage's own; loading what the stage needs is counted. Resumable: a stage that is
done is not done again, one that was cut off goes on. Writes scale.json, scale.md and scale.svg into FOLDER after every size.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.evaluation.plots import Line, line_chart
from synthetic_log import write_log

SIZES = ["10k:100k", "100k:100k", "10k:1m", "100k:1m", "1m:1m", "100k:10m", "1m:10m"]
STAGES = ["prepare", "tokenizer", "pretrain", "encode", "fit", "evaluate", "index"]
# One size of model for all, so that a line compares like with like: the automatic one grows with the data.
SETTINGS = ["train.epochs=1", "pretrain.epochs=1", "model.size=tiny", "evaluation.baselines=[popularity]", "evaluation.cases=2000"]
PEOPLE, TYPED = 200, 20  # asked for after training
STYLE = (
    "svg{font:12px sans-serif;background:#fff}.grid{stroke:#ddd}.axis{stroke:#555}.tick,.label,.heading{fill:#333}.strong{font-weight:600}"
    ".line{fill:none;stroke-width:2}.c0{stroke:#0b62a4}.c1{stroke:#c1440e}.c2{stroke:#2f7d32}.c3{stroke:#6a3d9a}.d1{stroke-dasharray:6 3}"
    ".d2{stroke-dasharray:2 3}.d3{stroke-dasharray:9 3 2 3}.dot{fill:none;stroke-width:3}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/scale"), help="where data, runs and results go")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="ITEMS:EVENTS, with k and m for thousands and millions")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument("--set", action="append", default=[], help="passed on to m6rec train, e.g. --set model.size=tiny")
    parser.add_argument("--query", type=Path, help=argparse.SUPPRESS)  # what the last process of a size runs
    parser.add_argument("--generate", nargs=3, help=argparse.SUPPRESS)  # FOLDER ITEMS EVENTS, the first one
    arguments = parser.parse_args()
    if arguments.query is not None:
        print(json.dumps(query(arguments.query, arguments.threads)))
        return
    if arguments.generate is not None:
        folder, items, events = arguments.generate
        write_log(Path(folder), int(items), int(events))
        return
    results = []
    for size in sorted(arguments.sizes, key=lambda size: math.prod(numbers(size))):
        results.append(measure(size, arguments))
        machine = f"{platform.machine()}, {arguments.threads} threads"
        write(arguments.work, {"machine": machine, "settings": [*SETTINGS, *arguments.set], "sizes": results})
    print((arguments.work / "scale.md").read_text(encoding="utf-8"))


def numbers(size: str) -> tuple[int, int]:
    """(items, events) of "100k:1m"."""
    items, _, events = size.lower().partition(":")
    unit = {"k": 1_000, "m": 1_000_000}
    found = [int(float(part[:-1]) * unit[part[-1]]) if part[-1] in unit else int(part) for part in (items, events)]
    return found[0], found[1]


def measure(size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All stages of one size; each one's figures are kept beside the run as soon as it is done."""
    place = arguments.work / size.replace(":", "-")
    place.mkdir(parents=True, exist_ok=True)
    items, events = numbers(size)
    kept = place / "stages.json"
    done: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    config, run = str(place / "data" / "config.yaml"), str(place / "run")
    flags = [word for setting in [*SETTINGS, f"train.threads={arguments.threads}", *arguments.set] for word in ("--set", setting)]
    own = [sys.executable, str(Path(__file__).resolve()), "--threads", str(arguments.threads)]
    program = [sys.executable, "-m", "m6rec"]
    steps = {
        "generate": [*own, "--generate", str(place / "log"), str(items), str(events)],
        "import": [*program, "import", "table", str(place / "log"), "--out", str(place / "data")],
        "validate": [*program, "validate", config],
        **{stage: [*program, "train", config, "--run", run, "--until", stage, "--json", *flags] for stage in STAGES},
        "query": [*own, "--query", run],
    }
    for stage, words in steps.items():
        if stage in done:
            continue
        print(f"{size} {stage}", file=sys.stderr, flush=True)
        done[stage] = in_a_process(words, arguments.threads)
        kept.write_text(json.dumps(done, indent=1), encoding="utf-8")
    counted = [stage for stage in steps if stage not in ("generate", "query")]
    fit = done["fit"]["said"]["fit"]
    return {
        "items": items,
        "events": events,
        "stages": {stage: {name: value for name, value in figures.items() if name != "said"} for stage, figures in done.items()},
        "minutes": sum(done[stage]["seconds"] for stage in counted) / 60,
        "processor_minutes": sum(done[stage]["processor_seconds"] for stage in counted) / 60,
        "epoch_processor_seconds": done["fit"]["processor_seconds"],
        "epoch_seconds": done["fit"]["seconds"],
        "peak_gb": max(done[stage]["peak_mb"] for stage in counted) / 1024,
        "events_per_second": events / done["fit"]["processor_seconds"],
        "quality": {name: value for name, value in fit.items() if isinstance(value, float) and name != "seconds"},
        "test": done["evaluate"]["said"]["evaluate"].get("test ndcg@10"),
        "queries": done["query"]["said"],
    }


def in_a_process(words: list[str], threads: int) -> dict[str, Any]:
    """Run it; wall and processor seconds, peak resident memory, and the JSON it printed."""
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")}
    begun = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{' '.join(words)} failed; the same command goes on where it was")
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)),
        "said": json.loads(said) if said.lstrip().startswith("{") else None,
    }


def query(run: Path, threads: int) -> dict[str, float]:
    """Load the model and ask: people of the log one at a time, then typed words (half of a title)."""
    import torch

    from m6rec import Recommender

    torch.set_num_threads(threads)
    begun = time.perf_counter()
    recommender = Recommender.from_pretrained(run)
    answers = {"load_seconds": round(time.perf_counter() - begun, 1)}
    generator = np.random.default_rng(0)
    engine = recommender.engine
    users, titles = engine.users.ids.ids, engine.items.titles()
    people = [users[row] for row in generator.integers(len(users), size=PEOPLE)]
    typed = [" ".join(titles[row].split()[:2]) for row in generator.integers(len(titles), size=TYPED)]
    for name, asked in (("user", people), ("text", typed)):
        taken = []
        for one in asked:
            began = time.perf_counter()
            found = recommender.recommend(**{name: one}, k=10)
            taken.append(1000 * (time.perf_counter() - began))
            assert len(found) == 10
        first, rest = taken[0], np.array(taken[1:])
        answers |= {f"{name}_first_ms": round(first, 1), f"{name}_p50_ms": round(float(np.median(rest)), 1)}
        answers[f"{name}_p95_ms"] = round(float(np.quantile(rest, 0.95)), 1)
    answers["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2))
    return answers


def exponent(sizes: list[dict[str, Any]], figure: str) -> float | None:
    """b of figure ~ a (items + events)^b over sizes with a fixed ratio of events to items: 1 is a straight line. None without two."""
    line = [row for row in sizes if row["events"] == 10 * row["items"]]
    if len(line) < 2:
        return None
    return float(np.polyfit(np.log([row["events"] for row in line]), np.log([row[figure] for row in line]), 1)[0])


def write(folder: Path, record: dict[str, Any]) -> None:
    """scale.json, scale.md, scale.svg."""
    sizes = record["sizes"]
    record = {**record, "exponents": {name: exponent(sizes, name) for name in ("processor_minutes", "epoch_processor_seconds", "peak_gb")}}
    (folder / "scale.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "scale.md").write_text(markdown(record), encoding="utf-8")
    (folder / "scale.svg").write_text(drawing(sizes), encoding="utf-8")


def markdown(record: dict[str, Any]) -> str:
    """Two tables and the exponents."""
    lines = [
        f"{record['machine']}; settings: {', '.join(record['settings'])}",
        "",
        "| items | events | all stages, wall min | processor min | epoch, processor s | events/s of processor | peak GB | validation, test NDCG@10 "
        "| load s | user p50 ms | text p50 ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["sizes"]:
        asked, reached = row["queries"], next(iter(row["quality"].values()), math.nan)
        lines.append(
            f"| {row['items']:,} | {row['events']:,} | {row['minutes']:.1f} | {row['processor_minutes']:.1f} | {row['epoch_processor_seconds']:.0f} "
            f"| {row['events_per_second']:,.0f} | {row['peak_gb']:.2f} | {reached:.4f}, {row['test']:.4f} | {asked['load_seconds']} "
            f"| {asked['user_p50_ms']} | {asked['text_p50_ms']} |"
        )
    stages = ["import", "validate", *STAGES, "query"]
    lines += [
        "",
        f"Processor seconds (peak GB): {', '.join(stages)}",
        "",
        f"| items:events | {' | '.join(stages)} |",
        "|---" * (1 + len(stages)) + "|",
    ]
    for row in record["sizes"]:
        cells = [f"{row['stages'][s]['processor_seconds']:.0f} ({row['stages'][s]['peak_mb'] / 1024:.1f})" for s in stages]
        lines.append(f"| {row['items']:,}:{row['events']:,} | {' | '.join(cells)} |")
    shown = [f"{name.replace('_', ' ')}: {value:.2f}" for name, value in record["exponents"].items() if value is not None]
    lines += ["", "Exponent of growth along ten events an item (1 is a straight line): " + (", ".join(shown) or "one size only")]
    return "\n".join(lines) + "\n"


def drawing(sizes: list[dict[str, Any]]) -> str:
    """Epoch time and memory against events, one line for each number of items; one chart above the other."""
    charts = []
    for key, title, figure, unit in (
        ("epoch", "Processor seconds of an epoch", "epoch_processor_seconds", "processor s"),
        ("memory", "Peak memory of all stages", "peak_gb", "GB"),
    ):
        lines = []
        for items in sorted({row["items"] for row in sizes}):
            rows = sorted((row for row in sizes if row["items"] == items), key=lambda row: row["events"])
            lines.append(Line(f"{items:,} items", [float(row["events"]) for row in rows], [float(row[figure]) for row in rows]))
        charts.append(line_chart(key, title, f"{title} against events", lines, x_label="events", y_label=unit, log_x=True, from_zero=True))
    heights = [float(chart.split('viewBox="0 0 380 ')[1].split('"')[0]) for chart in charts]
    placed, top = [], 0.0
    for chart, height in zip(charts, heights, strict=True):
        placed.append(chart.replace("<svg ", f'<svg y="{top:.0f}" width="380" height="{height:.0f}" ', 1))
        top += height + 16
    return (
        f'<svg viewBox="0 0 380 {top:.0f}" width="760" xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{"".join(placed)}</svg>\n'
    )


if __name__ == "__main__":
    main()
