"""The tables of the tasks benchmark: every scorer in every measured cell of the test, JSON-ready and as Markdown.

An interval is a 95 % bootstrap over people, drawn once for all cells; a difference is paired: both scorers on every resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from m6rec.baselines.choosing import Predicted
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_intervals import resampled
from task_rows import TEST, Rows

RESAMPLES = 500
METRICS = ("auc", "user_auc", "log_loss", "ece")
Row = dict[str, Any]


def cell_name(cell: dict[str, Any]) -> str:
    return cell["task"] if cell["scenario"] is None else f"{cell['scenario']}/{cell['task']}"


def judged_cells(rows: Rows, predicted: Predicted, resamples: int = RESAMPLES) -> list[Judged]:
    """The measured cells of the test as one scorer answers them.

    Raises:
        SystemExit: it leaves rows of a measured cell without an answer.
    """
    found = []
    for cell in rows.cells:
        index, column = rows.cell_rows(cell, TEST), rows.tasks.index(cell["task"])
        scores = np.clip(predicted.values[index, column], 0, 1)
        if np.isnan(scores).any():
            raise SystemExit(
                f"{predicted.name} has no answer for {int(np.isnan(scores).sum())} rows of {cell_name(cell)}; each row needs one"
            )
        found.append(
            Judged(
                name=predicted.name,
                task=cell["task"],
                kind="binary",
                truth=rows.labels[index, column],
                predicted=scores,
                users=rows.users[index].astype(np.int64),
                resamples=resamples,
            )
        )
    return found


def make_rows(rows: Rows, scorers: Sequence[tuple[str, Predicted]], reference: str | None, resamples: int = RESAMPLES) -> list[Row]:
    """One line a scorer.

    Args:
        scorers: (kind: ours, single, baseline or peer, predictions).
        reference: name of the scorer that the others are compared with: each gets `reference minus this`.
    """
    cells = {predicted.name: judged_cells(rows, predicted, resamples) for _, predicted in scorers}
    table = []
    for kind, predicted in scorers:
        mine = cells[predicted.name]
        row: Row = {"name": predicted.name, "kind": kind, "facts": predicted.facts, "cells": {}}
        for cell, judged in zip(rows.cells, mine, strict=True):
            figures = {metric: judged.value(metric) for metric in METRICS}
            row["cells"][cell_name(cell)] = {**figures, "positives": int(judged.truth.sum()), "rows": len(judged)}
        sides = [mine] if reference in (None, predicted.name) else [cells[str(reference)], mine]
        estimates = resampled(sides, ["auc"], resamples, 0)["auc"]
        row["mean_auc"] = list(estimates[len(sides) - 1])
        if len(sides) == 2:
            row["reference_minus_this"] = list(estimates[2])
            each = [resampled([[a], [b]], ["auc"], resamples, 0)["auc"][2] for a, b in zip(cells[str(reference)], mine, strict=True)]
            for cell, estimate in zip(rows.cells, each, strict=True):
                row["cells"][cell_name(cell)]["reference_minus_this"] = list(estimate)
        row["mean"] = {metric: float(np.mean([figures[metric] for figures in row["cells"].values()])) for metric in METRICS}
        table.append(row)
    return table


def markdown(result: dict[str, Any]) -> str:
    """The page of one data set: means, then cells."""
    table = result["rows"]
    reference = next((row["name"] for row in table if "reference_minus_this" not in row), "")
    heads = [
        "scorer",
        "kind",
        "mean AUC (95 %)",
        f"{reference} minus this (95 %)",
        "user AUC",
        "log loss",
        "ECE",
        "training",
        "examples/s",
        "rank p50",
        "note",
    ]
    lines = [f"## {result['data']}", "", result["statement"], "", _cells(heads), _cells(["---"] * len(heads))]
    lines += [_cells(_line(row)) for row in table]
    names = list(table[0]["cells"]) if table else []
    if len(names) > 1:
        lines += ["", "AUC by cell:", "", _cells(["cell", "positives / rows", *(row["name"] for row in table)])]
        lines.append(_cells(["---"] * (2 + len(table))))
        for name in names:
            of = [row["cells"][name] for row in table]
            best = max(figures["auc"] for figures in of)
            shown = [f"**{f['auc']:.4f}**" if f["auc"] == best else f"{f['auc']:.4f}" for f in of]
            lines.append(_cells([name, f"{of[0]['positives']:,} / {of[0]['rows']:,}", *shown]))
    lines += [line for row in table if row["kind"] == "single" and "reference_minus_this" in row for line in _seesaw(reference, row)]
    return "\n".join(lines)


def _seesaw(reference: str, row: Row) -> list[str]:
    """In how many cells the reference is better or worse than the single-task models, beyond the paired interval."""
    gaps = {name: figures["reference_minus_this"] for name, figures in row["cells"].items()}
    better, worse = ([name for name, (_, low, high) in gaps.items() if (low > 0 if up else high < 0)] for up in (True, False))
    told = [f"{len(names)} ({', '.join(names)})" if names else "none" for names in (better, worse)]
    return ["", f"Cells of {reference} beyond the interval of the single-task models: better {told[0]}, worse {told[1]}, of {len(gaps)}."]


def _line(row: Row) -> list[str]:
    facts, mean = row["facts"], row["mean"]
    gap = "{:+.4f} ({:+.4f} to {:+.4f})".format(*row["reference_minus_this"]) if "reference_minus_this" in row else ""
    speed = f"{facts['examples_per_second']:,.0f}" if facts.get("examples_per_second") else ""
    if facts.get("shipped_examples_per_second"):
        speed += f" ({facts['shipped_examples_per_second']:,.0f} as shipped)"
    return [
        row["name"],
        row["kind"],
        "{:.4f} ({:.4f}-{:.4f})".format(*row["mean_auc"]),
        gap,
        f"{mean['user_auc']:.4f}",
        f"{mean['log_loss']:.4f}",
        f"{mean['ece']:.4f}",
        f"{facts['seconds']:,.0f} s" if facts.get("seconds") else "",
        speed,
        f"{facts['latency']['p50_ms']:.2f} ms" if facts.get("latency") else "",
        facts.get("note", ""),
    ]


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
