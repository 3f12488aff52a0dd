"""Studies beside the table of the tasks benchmark: fixed against adaptive weights, how many layers a candidate and a history share, and what an
option on a frozen model keeps of full tuning.

Each trains the prepared configuration with one setting changed. What is chosen is chosen on validation; the test is looked at once, at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import task_ours as ours
from m6rec.base.storage import atomic_file
from m6rec.baselines.rows import measured_tasks
from m6rec.evaluation.judged_intervals import resampled
from m6rec.evaluation.late_curve import LatePoint, late_curve_svg
from m6rec.evaluation.standalone import standalone_svg
from task_arms import Arm, Arms, added
from task_rows import Rows
from task_table import RESAMPLES, cell_name

PASSES = [1, 2, 4]
GRID = [2.0**power for power in range(-4, 5)]  # nine weights of the rare tasks against the others
RARE = 0.1  # share of positives below which a task is rare
ADDED = {"options": [{"learning_rate": 5e-3}, {"learning_rate": 1e-2}], "everything": [{"learning_rate": 5e-3}, {"learning_rate": 2e-3}]}
ADAPTIVE = ["uncertainty", "dwa", "gradnorm", "pcgrad", "mgda", "aligned_mtl"]


def compared(first: Arm, second: Arm) -> list[float]:
    """Mean test AUC over the cells of the first minus that of the second: value, low, high, paired over people."""
    return list(resampled([first.test, second.test], ["auc"], RESAMPLES, 0)["auc"][2])


def rare_tasks(rows: Rows) -> list[str]:
    """Measured tasks with few positives among the training rows."""
    rates = np.nanmean(rows.labels[rows.train], axis=0)
    return [task for task in measured_tasks(rows) if rates[rows.tasks.index(task)] < RARE]


def balance(rows: Rows, place: Path, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Nine fixed weights of the rare tasks, and every adaptive way. None where no task is rare or all are: then there is no such grid."""
    rare = rare_tasks(rows)
    if not rare or len(rare) == len(measured_tasks(rows)):
        return None
    arms = arms_of(rows, place, arguments)
    settings = {f"fixed {weight:g}": [f"tasks.{task}.weight={weight:g}" for task in rare] for weight in GRID}
    settings |= {way: [f"train.balance.way={way}"] for way in ADAPTIVE}
    found = [arms.arm(name, changed) for name, changed in settings.items()]
    fixed, adaptive = (
        max((one for one in found if one.name.startswith("fixed") == side), key=lambda one: one.mean("validation"))
        for side in (True, False)
    )
    return {
        "rare": rare,
        "trainings": trainings(found),
        "best": {"fixed": fixed.name, "adaptive": adaptive.name},
        "adaptive_minus_fixed": compared(adaptive, fixed),
    }


def trainings(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    return [{"name": one.name, "validation": one.mean("validation"), "cpu_seconds": one.facts["cpu_seconds"]} for one in arms]


def passes(rows: Rows, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """How often each exposure is trained on, on validation. Epochs are PASSES' largest, so that a pass may be a whole epoch."""
    arms = arms_of(rows, place, arguments)
    found = [arms.arm(f"{count:g} passes", [f"train.exposure_passes={count}", f"train.epochs={PASSES[-1]}"]) for count in PASSES]
    return {"trainings": trainings(found)}


def interaction(rows: Rows, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Quality and latency for each number of joint upper layers, and of reading the whole history anew for each request; a plot beside."""
    from m6rec.training.pipeline import open_run

    arms, cell = arms_of(rows, place, arguments), rows.cells[0]

    def spent(run: Path) -> dict[str, Any]:
        kept, anew = (ours.latency(run, cell["task"], cell["scenario"], anew=anew) for anew in (False, True))
        return {"upper_layers": open_run(run).shape.upper_layers, "latency": kept, "anew": anew}

    points, lines, layers, most = [], [], 0, 1
    while layers <= most:
        one = arms.arm(f"joint {layers}", [f"sharing.joint_layers={layers}"], until="index", measured=spent)
        most, latency = one.facts["upper_layers"], one.facts["latency"]
        quality = resampled([one.test], ["auc"], RESAMPLES, 0)["auc"][0]
        points.append(LatePoint(str(layers), quality[0], latency["p50_ms"], quality[1], quality[2]))
        lines.append({"layers": layers, "auc": list(quality), **latency})
        layers += 1
    anew = one.facts["anew"]
    points.append(points[-1]._replace(label="all anew", milliseconds=anew["p50_ms"]))
    lines.append({"layers": "all anew", "auc": lines[-1]["auc"], **anew})
    with atomic_file(place / "interaction.svg") as temporary:
        temporary.write_text(standalone_svg(late_curve_svg(points)), encoding="utf-8")
    return {"points": lines, "plot": str(place / "interaction.svg")}


def options(rows: Rows, place: Path, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """A new task on a model that was trained without it: the option alone, and everything tuned; the first measured task and the first rare one.

    Each policy's learning rate is the best of ADDED on validation. None where there is one task only.
    """
    tasks = measured_tasks(rows)
    if len(tasks) < 2:
        return None
    arms, found = arms_of(rows, place, arguments), []
    for task in dict.fromkeys([tasks[0], *rare_tasks(rows)[:1]]):

        def tried(run: Path, task: str = task) -> dict[str, Any]:
            return {policy: [added(run, place, task, policy, one) for one in settings] for policy, settings in ADDED.items()}

        config = ours.config_of(place, f"without-{task}", [other for other in rows.tasks if other != task])
        facts = arms.arm(f"without {task}", config=config, measured=tried).facts
        line: dict[str, Any] = {"task": task, "tried": {policy: facts[policy] for policy in ADDED}}
        measured = {cell_name(cell) for cell in rows.cells if cell["task"] == task}
        for policy in ADDED:
            best = max(facts[policy], key=lambda one: one["validation"])
            line[policy] = {**best, "mean_auc": float(np.mean([value for name, value in best["auc"].items() if name in measured]))}
        line["kept"] = (line["options"]["mean_auc"] - 0.5) / (line["everything"]["mean_auc"] - 0.5)
        found.append(line)
    return {"tasks": found}


def arms_of(rows: Rows, place: Path, arguments: argparse.Namespace) -> Arms:
    return Arms(rows, place, arguments.seeds[0], arguments.threads, arguments.set)


def lines(name: str, study: dict[str, Any] | None) -> list[str]:
    """A study as Markdown."""
    if study is None:
        return []
    if name == "passes":
        return ["", "Passes over the exposures, mean AUC on validation:", "", *validated("passes", study)]
    if name == "balance":
        gap = "{:+.4f} ({:+.4f} to {:+.4f})".format(*study["adaptive_minus_fixed"])
        best = study["best"]
        told = f"On the test, {best['adaptive']} minus {best['fixed']}: {gap}. The fixed weights are those of {', '.join(study['rare'])}."
        return ["", "Weights, mean AUC on validation:", "", *validated("weights", study), "", told]
    if name == "options":
        rows: Sequence[str] = [
            f"| {one['task']} | {one['options']['mean_auc']:.4f} | {one['everything']['mean_auc']:.4f} | {one['kept']:.1%} | {one['options']['share']:.2%} |"
            for one in study["tasks"]
        ]
        head = ["", "A task added to a model that was trained without it, mean AUC over its cells on the test:", ""]
        return [
            *head,
            "| task | option alone | everything tuned | share of AUC - .5 kept | weights |",
            "| --- | --- | --- | --- | --- |",
            *rows,
        ]
    rows = [
        "| {layers} | {:.4f} ({:.4f}-{:.4f}) | {p50_ms:.2f} ms | {p95_ms:.2f} ms |".format(
            *one["auc"], **{k: v for k, v in one.items() if k != "auc"}
        )
        for one in study["points"]
    ]
    head = ["", "Joint upper layers, mean AUC on the test and latency of ranking 200 candidates on one core:", ""]
    return [*head, "| layers | AUC (95 %) | p50 | p95 |", "| --- | --- | --- | --- |", *rows]


def validated(head: str, study: dict[str, Any]) -> list[str]:
    """A row a training: AUC on validation, CPU seconds."""
    rows = [f"| {one['name']} | {one['validation']:.4f} | {one['cpu_seconds']:,.0f} s |" for one in study["trainings"]]
    return [f"| {head} | AUC | CPU |", "| --- | --- | --- |", *rows]
