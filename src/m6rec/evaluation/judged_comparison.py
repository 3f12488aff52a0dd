"""Several scorers on judged tasks side by side: cells, who is best where, and by how much the first differs from the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from m6rec.base.errors import UsageError
from m6rec.evaluation.evaluated import Estimate
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_intervals import check_same_rows, resampled
from m6rec.evaluation.metric_names import higher_is_better


@dataclass(frozen=True)
class Cell:
    """One task in one scenario ("" where there are none, or one), by one metric.

    judged       scorer -> its rows of this cell
    estimates    scorer -> the metric
    differences  other scorer -> the reference minus it, paired; empty where the reference has not judged this cell
    """

    name: str
    task: str
    metric: str
    judged: dict[str, Judged]
    estimates: dict[str, Estimate]
    differences: dict[str, Estimate]
    least: int = 0

    @property
    def defined(self) -> bool:
        """Whether the cell counts in means: its metric is defined, and a binary label has at least `least` rows of either answer."""
        return not self.few and any(not math.isnan(estimate.mean) for estimate in self.estimates.values())

    @property
    def few(self) -> bool:
        """Whether a binary label has fewer rows of either answer than `least`."""
        return next(iter(self.judged.values())).kind == "binary" and self.rarer < self.least

    @property
    def rarer(self) -> int:
        """Rows with the rarer of the two answers of a binary label; of other labels all rows."""
        one = next(iter(self.judged.values()))
        yes = int((one.truth > 0.5).sum())
        return min(yes, len(one) - yes) if one.kind == "binary" else len(one)

    def best(self) -> set[str]:
        """Scorers with the best value; none where all are alike or one is alone."""
        return best_of(self.estimates, self.metric)


@dataclass(frozen=True)
class Overall:
    """The reference against one other scorer, over the cells of one metric that both have: means, mean difference, cells clearly won or lost."""

    against: str
    cells: int
    mean: Estimate
    other: Estimate
    difference: Estimate
    better: list[str] = field(default_factory=list)
    worse: list[str] = field(default_factory=list)


def verdict(difference: Estimate, metric: str) -> str:
    """`better`, `worse` or `no clear difference` (the interval holds 0) of what was subtracted from."""
    low, high = difference.low, difference.high
    if not higher_is_better(metric):
        low, high = -high, -low
    return "better" if low > 0 else "worse" if high < 0 else "no clear difference"


def best_of(estimates: dict[str, Estimate], metric: str) -> set[str]:
    """Names with the best mean; none where all known ones are alike or one is alone."""
    known = {name: estimate.mean for name, estimate in estimates.items() if not math.isnan(estimate.mean)}
    if len(known) < 2:
        return set()
    top = max(known.values()) if higher_is_better(metric) else min(known.values())
    winners = {name for name, value in known.items() if value == top}
    return winners if len(winners) < len(known) else set()


def scorers_of(judged: Sequence[Judged]) -> list[str]:
    """Names of the scorers, in the order given.

    Raises:
        UsageError: nothing to show, or one scorer has judged one task twice.
    """
    if not judged:
        raise UsageError("there are no judged rows to report; evaluate a task that judges")
    seen = set()
    for one in judged:
        if (one.name, one.task) in seen:
            raise UsageError(f"two results of '{one.name}' on task '{one.task}' are given; give each scorer a name of its own")
        seen.add((one.name, one.task))
    return list(dict.fromkeys(one.name for one in judged))


def reference_of(judged: Sequence[Judged], reference: str | None) -> str:
    """The scorer that the others are compared with: the one named, else the first.

    Raises:
        UsageError: no scorer is called so.
    """
    names = scorers_of(judged)
    if reference is not None and reference not in names:
        raise UsageError(f"no scorer is called '{reference}'; there are: {', '.join(names)}")
    return reference or names[0]


def cells_of(judged: Sequence[Judged], reference: str | None = None, least: int = 0) -> list[Cell]:
    """Every task in every scenario, by the task's first metric, with intervals and paired differences over one set of resamples.

    Args:
        least: cells of binary labels with fewer rows of either answer are left out of means.

    Raises:
        UsageError: scorers that judged different rows of a task.
    """
    reference = reference_of(judged, reference)
    cells = []
    for task in dict.fromkeys(one.task for one in judged):
        table: dict[str, dict[str, Judged]] = {}
        for one in (one for one in judged if one.task == task):
            for part in one.cells():
                table.setdefault(part.cell, {})[one.name] = part
        for name, scorers in table.items():
            order = sorted(scorers, key=lambda scorer: scorer != reference)  # the reference first: differences are to the first
            first = scorers[order[0]]
            for other in order[1:]:
                check_same_rows(first, scorers[other])
            metric = first.metrics[0]
            found = resampled([[scorers[scorer]] for scorer in order], [metric], first.resamples, first.seed)[metric]
            estimates = dict(zip(order, found, strict=False))
            differences = dict(zip(order[1:], found[len(order) :], strict=True)) if order[0] == reference else {}
            cells.append(Cell(name, task, metric, scorers, {s: estimates[s] for s in scorers}, differences, least))
    return cells


def differences_of(cell: Cell, reference: str) -> dict[str, dict[str, Estimate]]:
    """Other scorer -> metric -> the reference minus it, for every metric of the task, over one set of resamples.

    Where metrics are undefined the estimate is NaN; empty where the reference has not judged this cell, or nobody else has.
    """
    if not cell.differences:
        return {}
    others, first = list(cell.differences), cell.judged[reference]
    found = resampled([[first], *([cell.judged[other]] for other in others)], first.metrics, first.resamples, first.seed)
    apart = {metric: estimates[1 + len(others) :] for metric, estimates in found.items()}
    return {other: {metric: apart[metric][place] for metric in first.metrics} for place, other in enumerate(others)}


def paired(judged: Sequence[Judged], reference: str | None = None) -> list[dict[str, Any]]:
    """JSON-ready: the reference minus every other scorer in every cell, by every metric of the task, the one that decides first.

    Arguments and errors of `cells_of`.
    """
    first = reference_of(judged, reference) if judged else ""
    return [
        {"cell": cell.name, "task": cell.task, "metric": metric, "reference": first, "minus": other}
        | {part: None if math.isnan(value) else value for part, value in estimate._asdict().items()}
        | {"verdict": "undefined" if math.isnan(estimate.mean) else verdict(estimate, metric)}
        for cell in (cells_of(judged, first) if judged else [])
        for other, table in differences_of(cell, first).items()
        for metric, estimate in table.items()
    ]


def by_metric(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells that can be averaged: those with one metric, e.g. all that are measured by AUC."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.metric, []).append(cell)
    return groups


def overall(cells: Sequence[Cell], reference: str) -> list[Overall]:
    """The reference against each other scorer over cells of one metric that both have and that are defined; people drawn once for all cells."""
    result = []
    for other in dict.fromkeys(name for cell in cells for name in cell.judged if name != reference):
        shared = [cell for cell in cells if cell.defined and reference in cell.judged and other in cell.judged]
        if not shared:
            continue
        metric, first = shared[0].metric, shared[0].judged[reference]
        sides = [[cell.judged[reference] for cell in shared], [cell.judged[other] for cell in shared]]
        mean, against, difference = resampled(sides, [metric], first.resamples, first.seed)[metric]
        verdicts = {cell.name: verdict(cell.differences[other], metric) for cell in shared}
        won, lost = ([name for name, word in verdicts.items() if word == wanted] for wanted in ("better", "worse"))
        result.append(Overall(other, len(shared), mean, against, difference, won, lost))
    return result
