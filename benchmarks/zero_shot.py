"""Zero-shot on a scenario left out of training: ours against smoothed counters of the other scenarios, on the same rows.

    python benchmarks/zero_shot.py --data DIR [--work FOLDER] [--scenarios NAME ...] [--seed N] [--threads N] [--set KEY=VALUE ...]

DIR is a folder that task_data.py reads and that has scenarios. Each scenario with a measured cell (task_data.py: 100 positives and negatives in the
test) is left out in turn: none of its exposures and none of its events is in the data, neither to train on nor to count. Then its test rows are asked
about with `m6rec predict`, whose model answers from what the other scenarios share (`sharing.new_scenarios`, `scenarios.later`).

The counters are the rates of the user and of the item over the other scenarios, strictly before the row, shrunk and added as log odds; how far they
are shrunk, and which of them count, is chosen for each cell on the validation rows of the left-out scenario itself, which ours never sees.

What is finished is not repeated. Writes zero_shot.md and zero_shot.json into FOLDER: AUC of every cell, means, and paired 95 % intervals over people.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

import task_ours as ours
from m6rec.base.storage import atomic_file, atomic_folder, write_json
from m6rec.baselines.choosing import Predicted, cell_quality
from m6rec.baselines.counters import logit, outcomes, shrunk, sigmoid
from m6rec.data.running_counts import earlier_sums
from m6rec.evaluation.judged_intervals import resampled
from peers.environment import machine
from retrieval_ours import command
from task_data import prepare, recognise
from task_rows import VALIDATION, Rows, read_rows
from task_table import RESAMPLES, cell_name, judged_cells

OURS, COUNTERS = "m6rec, asked where it never was", "smoothed counters of the other scenarios"
SETTINGS = ["pretrain.epochs=0", "train.epochs=2", "tasks.next.weight=0", "tasks.next.identity_dropout=0.5"]
SETTINGS += [
    "model.history=10",
    "evaluation.resamples=100",
    "sharing.new_scenarios=0.3",
]  # little of what a judge knows comes from old events, and it costs most


def main(words: list[str] | None = None) -> None:
    arguments = parse(words)
    place = arguments.work / arguments.data.resolve().name
    if not (place / "data" / "config.yaml").exists():
        prepare(arguments.data, place / "data", recognise(arguments.data))
    rows = read_rows(place / "data")
    wanted = arguments.scenarios or sorted({cell["scenario"] for cell in rows.cells} - {None})
    if not wanted:
        raise SystemExit(f"{arguments.data} has no scenario with {RESAMPLES} rows to measure; give a folder of several scenarios")
    result: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "machine": machine(arguments.threads), "settings": SETTINGS}
    result["cells"], result["mean"] = measured(rows, wanted, place, arguments)
    write_json(arguments.work / "zero_shot.json", result)
    page = markdown(result)
    with atomic_file(arguments.work / "zero_shot.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(page)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder that task_data.py reads")
    parser.add_argument("--work", type=Path, default=Path("runs/zero_shot"), help="where prepared folders, runs and results go")
    parser.add_argument("--scenarios", nargs="*", default=[], help="only these are left out, in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="passed on to m6rec train")
    return parser.parse_args(words)


def measured(rows: Rows, wanted: list[str], place: Path, arguments: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Every cell of the wanted scenarios, and the means over all of them: AUC of both, and the paired difference with its interval."""
    table, mine, theirs = [], [], []
    for scenario in wanted:
        here = one_scenario(rows, scenario)
        sides = (asked(here, scenario, place, arguments), counters(here, scenario))
        judged = [judged_cells(here, side) for side in sides]
        for cell, first, second in zip(here.cells, *judged, strict=True):
            estimates = resampled([[first], [second]], ["auc"], RESAMPLES, arguments.seed)["auc"]
            facts = {"cell": cell_name(cell), "rows": len(first), "positives": int(first.truth.sum())}
            table.append(facts | dict(zip(("ours", "counters", "difference"), map(list, estimates), strict=True)))
        mine += judged[0]
        theirs += judged[1]
    means = resampled([mine, theirs], ["auc"], RESAMPLES, arguments.seed)["auc"]
    return table, dict(zip(("ours", "counters", "difference"), map(list, means), strict=True))


def one_scenario(rows: Rows, scenario: str) -> Rows:
    """The same rows, of which the cells of one scenario are measured."""
    return Rows(**{**vars(rows), "cells": [cell for cell in rows.cells if cell["scenario"] == scenario]})


def asked(rows: Rows, scenario: str, place: Path, arguments: argparse.Namespace) -> Predicted:
    """Train without a scenario, then ask about its validation and test rows."""
    folder = place / scenario / "data"
    if not (folder / "config.yaml").exists():
        leave_out(place / "data", folder, scenario)
    settings = [*SETTINGS, f"scenarios.later=[{scenario}]", *arguments.set]
    run = ours.train(place / scenario, f"seed-{arguments.seed}", arguments.seed, arguments.threads, settings, folder / "config.yaml")
    answers = Path(run["run"]) / "answers.parquet"
    if not answers.exists():
        command(["predict", run["run"], str(folder / "asked.parquet"), "--out", str(answers)])
    found = pl.read_parquet(answers)
    values = np.full(rows.labels.shape, np.nan, dtype=np.float32)
    where = np.flatnonzero((rows.parts >= VALIDATION) & of_scenario(rows, scenario))
    for task in (task for task in rows.tasks if task in found.columns):
        values[where, rows.tasks.index(task)] = found[task].cast(pl.Float32).fill_null(np.nan).to_numpy()
    return Predicted(OURS, values, run)


def of_scenario(rows: Rows, scenario: str) -> np.ndarray:
    """bool (X,)."""
    return rows.codes["scenario"].values == 1 + rows.scenario_names.index(scenario)


def leave_out(whole: Path, folder: Path, scenario: str) -> None:
    """The prepared folder as if the scenario had never been, and asked.parquet: its validation and test rows without labels, as `read_rows` orders them."""
    config = yaml.safe_load((whole / "config.yaml").read_text(encoding="utf-8"))
    questions = ours.questions(whole).filter(pl.col("scenario") == scenario)
    with atomic_folder(folder) as temporary:
        for path in whole.glob("*.parquet"):
            table = pl.read_parquet(path)
            if "scenario" in table.columns:
                table = table.filter(pl.col("scenario").is_null() | (pl.col("scenario") != scenario))
            table.write_parquet(temporary / path.name)
        questions.write_parquet(temporary / "asked.parquet")
        (temporary / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8")


def counters(rows: Rows, scenario: str) -> Predicted:
    """For each cell the shrunk rates, of user, item or both, that order the validation rows of the left-out scenario best."""
    values = np.full(rows.labels.shape, np.nan, dtype=np.float32)
    chosen = {}
    best = dict.fromkeys(range(len(rows.cells)), -1.0)
    for settings, scores in _counted(rows, scenario):
        for number, cell in enumerate(rows.cells):
            column = rows.tasks.index(cell["task"])
            reached = cell_quality(rows, cell, scores[:, column], VALIDATION) or 0.0
            if reached > best[number]:
                best[number], chosen[cell_name(cell)] = reached, settings
                values[:, column] = scores[:, column]
    return Predicted(COUNTERS, values, {"chosen": chosen})


def _counted(rows: Rows, scenario: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    counted = outcomes(rows.labels) * ~of_scenario(rows, scenario)[:, None]
    everywhere = earlier_sums(np.ones(len(rows), dtype=np.int64), rows.times, counted)
    of_all = shrunk(everywhere, np.float64(0.05), 1.0)
    user, item = (earlier_sums(rows.codes[name].values.astype(np.int64), rows.times, counted) for name in ("user", "item"))
    for of_user in (3.0, 10.0, 30.0, 100.0):
        by_user = logit(shrunk(user, of_all, of_user)) - logit(of_all)
        for of_item in (3.0, 10.0, 30.0, 100.0):
            by_item = logit(shrunk(item, of_all, of_item)) - logit(of_all)
            for rates, score in (("user and item", by_user + by_item), ("user", by_user), ("item", by_item)):
                settings = {"user weight": of_user, "item weight": of_item, "rates": rates}
                yield settings, sigmoid(logit(of_all) + score).astype(np.float32)


def markdown(result: dict[str, Any]) -> str:
    lines = [
        "# Zero-shot on a scenario left out of training",
        "",
        f"`{result['command']}`; {result['machine']}; settings of training: {', '.join(result['settings'])}.",
        "",
        "Test AUC with 95 % intervals over people; each line asks the model that was trained without its scenario.",
        "",
        "| left out / task | positives / rows | m6rec | counters | difference |",
        "|---|---|---|---|---|",
    ]

    def shown(row: dict[str, Any]) -> str:
        sides = ["{:.4f} ({:.4f}-{:.4f})".format(*row[name]) for name in ("ours", "counters")]
        return " | ".join([*sides, "{:+.4f} ({:+.4f} to {:+.4f})".format(*row["difference"])])

    lines += [f"| {row['cell']} | {row['positives']:,} / {row['rows']:,} | {shown(row)} |" for row in result["cells"]]
    lines.append(f"| **mean** | {len(result['cells'])} cells | {shown(result['mean'])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
