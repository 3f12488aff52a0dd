"""The seesaw: does training tasks together lift one and press down another? A joint model against models trained otherwise, on the same rows.

Per cell, a task or a task in one scenario: the joint model minus the task's own single-task model, and minus the joint model without one
of the tasks (who helped whom), each with a paired 95 % interval over people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from m6rec.evaluation.comparison import headline
from m6rec.evaluation.evaluated import Estimate, Evaluation
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_comparison import cells_of
from m6rec.evaluation.metric_names import METRIC_NAMES, higher_is_better

Measured = Evaluation | Judged
Verdict = Literal["better", "worse", "same"]

JOINT, ALONE, WITHOUT = "joint", "alone", "without"


@dataclass(frozen=True)
class Change:
    """What joint training changed in one cell.

    metric      the task's first
    joint       of the model that was trained on all tasks      other  of the model compared with
    low, high   95 % interval of joint - other, measured on the same people
    """

    cell: str
    task: str
    metric: str
    joint: float
    other: float
    difference: float
    low: float
    high: float

    @property
    def sign(self) -> float:
        """1 where a higher value is better, -1 where a lower one is."""
        return 1.0 if self.metric.partition("@")[0] not in METRIC_NAMES or higher_is_better(self.metric) else -1.0

    @property
    def gain(self) -> float:
        """The difference, positive where the joint model is better."""
        return self.sign * self.difference

    @property
    def sure(self) -> bool:
        """Whether the interval is without 0."""
        return self.low > 0 or self.high < 0

    @property
    def verdict(self) -> Verdict:
        """Of the joint model: the same where the interval holds 0."""
        return "same" if not self.sure else "better" if self.gain > 0 else "worse"


@dataclass(frozen=True)
class Seesaw:
    """The whole report.

    single   every cell against its task's own single-task model
    helped   task left out -> the other cells, the joint model against the one without that task
    skipped  cells left out and why
    seconds  training time of each variant, where it was trained now
    """

    single: list[Change]
    helped: dict[str, list[Change]]
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    statement: str = ""

    @property
    def cells(self) -> list[str]:
        """Names of the cells, each once, in the order of the tasks."""
        rows = [*self.single, *(change for changes in self.helped.values() for change in changes)]
        return list(dict.fromkeys(change.cell for change in rows))

    def counts(self) -> dict[Verdict, int]:
        """Cells in which the joint model is better than, the same as and worse than the single-task model."""
        verdicts = [change.verdict for change in self.single]
        return {"better": verdicts.count("better"), "same": verdicts.count("same"), "worse": verdicts.count("worse")}

    def matrix(self) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
        """(tasks left out, cells, gain (rows, columns) of having the task, NaN where it says nothing, bool: the interval is without 0)."""
        tasks, cells = list(self.helped), self.cells
        values, sure = np.full((len(tasks), len(cells)), np.nan), np.zeros((len(tasks), len(cells)), dtype=bool)
        for row, task in enumerate(tasks):
            for change in self.helped[task]:
                column = cells.index(change.cell)
                values[row, column], sure[row, column] = change.gain, change.sure
        return tasks, cells, values, sure

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        shown = [{**asdict(change), "verdict": change.verdict} for change in self.single]
        helped = {task: [{**asdict(change), "verdict": change.verdict} for change in changes] for task, changes in self.helped.items()}
        return {
            "counts": self.counts(),
            "against_single_task": shown,
            "with_and_without": helped,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "statement": self.statement,
        }


def compare(results: Mapping[str, Mapping[str, Measured]], *, least: int = 0, seconds: Mapping[str, float] | None = None) -> Seesaw:
    """The seesaw of measured variants.

    Args:
        results: variant -> task -> its measurement on the same held-out rows. Variants are JOINT, "alone TASK" and "without TASK".
        least: cells of yes-or-no labels with fewer of either are skipped: their figures are noise.

    Raises:
        UsageError: variants that were not measured on the same rows.
    """
    single: list[Change] = []
    helped: dict[str, list[Change]] = {name.partition(" ")[2]: [] for name in results if name.startswith(f"{WITHOUT} ")}
    skipped: dict[str, str] = {}
    for task, joint in results[JOINT].items():
        others = {name: found[task] for name, found in results.items() if name != JOINT and task in found}
        changes = _judged(task, joint, others, least, skipped) if isinstance(joint, Judged) else _chosen(task, joint, others)
        for name, found in changes.items():
            kind, _, about = name.partition(" ")
            if kind == ALONE and about == task:
                single += found
            elif kind == WITHOUT and about != task:
                helped[about] += found
    statements = [s for one in results[JOINT].values() for s in one.statements]
    return Seesaw(single, helped, skipped, dict(seconds or {}), " ".join(dict.fromkeys(statements)))


def _chosen(task: str, joint: Evaluation, others: Mapping[str, Measured]) -> dict[str, list[Change]]:
    metric, found = headline(joint)[0], {}
    for name, other in others.items():
        assert isinstance(other, Evaluation)
        estimate = joint.difference(other, metric)
        found[name] = [_change(task, task, metric, float(joint.values(metric).mean()), float(other.values(metric).mean()), estimate)]
    return found


def _judged(task: str, joint: Judged, others: Mapping[str, Measured], least: int, skipped: dict[str, str]) -> dict[str, list[Change]]:
    sides = [replace(joint, name=JOINT), *(replace(other, name=name) for name, other in others.items() if isinstance(other, Judged))]
    found: dict[str, list[Change]] = {name: [] for name in others}
    for cell in cells_of(sides, JOINT):
        first = cell.judged[JOINT]
        if first.kind == "binary" and least:
            yes = int(first.truth.sum())
            if min(yes, len(first) - yes) < least:
                skipped[cell.name] = f"{yes:,} of {len(first):,} rows say yes, fewer than {least} of one kind"
                continue
        if math.isnan(cell.estimates[JOINT].mean):
            skipped[cell.name] = f"{cell.metric} is undefined on its {len(first):,} rows"
            continue
        for name, estimate in cell.differences.items():
            if not math.isnan(estimate.mean):
                means = (cell.estimates[JOINT].mean, cell.estimates[name].mean)
                found[name].append(_change(cell.name, task, cell.metric, *means, estimate))
    return found


def _change(cell: str, task: str, metric: str, joint: float, other: float, difference: Estimate) -> Change:
    return Change(cell, task, metric, joint, other, difference.mean, difference.low, difference.high)


def table_rows(changes: Sequence[Change]) -> list[list[str]]:
    """Text cells of a table: cell, metric, joint, alone, difference with its interval, verdict."""
    return [
        [
            change.cell,
            change.metric,
            f"{change.joint:.4f}",
            f"{change.other:.4f}",
            f"{change.difference:+.4f} [{change.low:+.4f}, {change.high:+.4f}]",
            change.verdict,
        ]
        for change in changes
    ]
