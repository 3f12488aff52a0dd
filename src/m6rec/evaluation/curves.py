"""Training logs as curves: a list of log records in, charts out.

A record is a dict of one moment of training. Read are: `step` or `epoch` (the axis), `stage` (one pair of charts a
stage), every number whose name holds "loss" (the loss chart), and every number called like a metric at k or starting
with "valid" (the validation chart); beside the charts what each cell took ("examples of X", "seconds of X", "weight of X"). Nested dicts are joined
with dots. All else (rates, times) is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from m6rec.evaluation.plots import Line, line_chart

AXES = ("step", "epoch")
MOST_POINTS = 300
MOST_LINES = 8
WEIGHT, EXAMPLES, SECONDS = OF_CELLS = ("weight of ", "examples of ", "seconds of ")


@dataclass(frozen=True)
class CellShare:
    """What a cell, or a module of several, took of a training: its examples and seconds, and its weight at the end (NaN: a module)."""

    name: str
    examples: int
    seconds: float
    weight: float


def cell_shares(records: Sequence[dict[str, Any]]) -> list[CellShare]:
    """Of all stages together, in the order of the records; empty where one task alone was trained."""
    examples: dict[str, int] = {}
    seconds: dict[str, float] = {}
    weights: dict[str, float] = {}
    for record in records:
        for key, value in record.items():
            if key.startswith(EXAMPLES):
                name = key.removeprefix(EXAMPLES)
                examples[name] = examples.get(name, 0) + int(value)
                seconds[name] = seconds.get(name, 0.0) + float(record.get(SECONDS + name, 0.0))
                weights[name] = float(record.get(WEIGHT + name, math.nan))
    return [CellShare(name, count, seconds[name], weights[name]) for name, count in examples.items()]


def training_charts(records: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """(title, SVG) of the losses and of the validation metrics of each stage, in the order of the records."""
    charts = []
    stages = list(dict.fromkeys(str(record.get("stage") or "") for record in records))
    for number, stage in enumerate(stages):
        flat = [dict(flatten(record)) for record in records if str(record.get("stage") or "") == stage]
        axis = next((name for name in AXES if any(_is_number(record.get(name)) for record in flat)), None)
        names = list(dict.fromkeys(name for record in flat for name in record if _is_number(record[name])))
        kinds = {"Loss": [n for n in names if _is_loss(n)], "Validation": [n for n in names if _is_validation(n) and not _is_loss(n)]}
        for kind, chosen in kinds.items():
            lines = [line for name in chosen[:MOST_LINES] if (line := _line(flat, name, axis, best=kind == "Validation")) is not None]
            if not lines:
                continue
            title = f"{kind} during {stage}" if stage else f"{kind} during training"
            key = f"curve-{number}-{kind.lower()}"
            axis_name = axis or "record"
            charts.append((title, line_chart(key, title, _wording(lines, axis_name), lines, x_label=axis_name, y_label="")))
    return charts


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(`a.b`, value) for every leaf of nested dicts."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _line(records: list[dict[str, Any]], name: str, axis: str | None, best: bool) -> Line | None:
    points: dict[float, float] = {}
    for index, record in enumerate(records):
        if _is_number(record.get(name)) and (axis is None or _is_number(record.get(axis))):
            # A resumed run logs a step again: the later record is the one that counted.
            points[float(index if axis is None else record[axis])] = float(record[name])
    if not points:
        return None
    xs = np.array(sorted(points))
    ys = np.array([points[x] for x in xs])
    if len(xs) > MOST_POINTS:
        edges = np.linspace(0, len(xs), MOST_POINTS + 1).astype(int)
        xs, ys = (np.array([part[a:b].mean() for a, b in pairwise(edges)]) for part in (xs, ys))
    marked = int(np.argmax(ys)) if best and len(ys) > 1 else None
    return Line(name, xs.tolist(), ys.tolist(), marked)


def _wording(lines: list[Line], axis: str) -> str:
    parts = [
        f"{line.label} from {line.ys[0]:.4g} at {axis} {line.xs[0]:g} to {line.ys[-1]:.4g} at {axis} {line.xs[-1]:g}" for line in lines
    ]
    parts += [
        f"best {line.label} {line.ys[line.marked]:.4g} at {axis} {line.xs[line.marked]:g}" for line in lines if line.marked is not None
    ]
    return "; ".join(parts) + "."


def _is_loss(name: str) -> bool:
    return "loss" in name.lower()


def _is_validation(name: str) -> bool:
    return "@" in name or name.lower().startswith("valid")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
