"""Intervals of figures of judged rows: bootstrap over people, paired between scorers, joint over cells that share people.

Dimension keys: X rows, U units (people drawn together with all their rows), R resamples, M metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from m6rec.base.errors import UsageError
from m6rec.evaluation.evaluated import Estimate
from m6rec.evaluation.intervals import draws, spread, unit_index
from m6rec.evaluation.judged_metrics import prepared

if TYPE_CHECKING:
    from m6rec.evaluation.judged import Judged


def mean_over_cells(first: Sequence[Judged], second: Sequence[Judged] | None, metric: str) -> Estimate:
    """Mean of one metric over several cells (every cell alike), or of its difference to another scorer in the same cells.

    People are drawn once for all cells, and everybody's rows of all cells are drawn along: the interval knows that cells share people.
    A cell in which the metric is undefined is left out; in a resample, one that is undefined there.

    Args:
        first: one Judged a cell.
        second: the other scorer's, cell by cell of the same rows; None: no difference is taken.

    Raises:
        UsageError: no cell, or cells of different rows.
    """
    if not first or (second is not None and len(second) != len(first)):
        raise UsageError(f"means over cells need the same cells on both sides; there are {len(first)} and {len(second or [])}")
    if second is not None:
        for one, other in zip(first, second, strict=True):
            check_same_rows(one, other)
    sides = [list(first)] if second is None else [list(first), list(second)]
    return resampled(sides, [metric], first[0].resamples, first[0].seed)[metric][-1]


def resampled(sides: Sequence[Sequence[Judged]], metrics: Sequence[str], resamples: int, seed: int) -> dict[str, list[Estimate]]:
    """Means over cells of each side, and of the first minus each other side, over one set of resamples.

    Args:
        sides: scorers, each as the same cells of the same rows.

    Returns:
        metric -> the estimate of each side, then of the first side minus each of the others.
    """
    units, count = _joint_units(sides[0])
    table = [
        [[prepared(cell, metric, rows, count) for cell, rows in zip(side, units, strict=True)] for metric in metrics] for side in sides
    ]
    if count == 0:
        nothing = Estimate(np.nan, np.nan, np.nan)
        return {metric: [nothing] * (2 * len(sides) - 1) for metric in metrics}
    value = _figures(table, np.ones((1, count)))[0]  # M columns
    drawn = np.concatenate([_figures(table, weights) for weights in draws(count, resamples, seed)])  # R M columns
    result = {}
    for place, metric in enumerate(metrics):
        low, high = spread(drawn[:, place])
        low, high = (np.where(np.isnan(value[place]), np.nan, bound) for bound in (low, high))
        result[metric] = [Estimate(*map(float, row)) for row in zip(value[place], low, high, strict=True)]
    return result


def check_same_rows(first: Judged, second: Judged) -> None:
    """Raises UsageError where two scorers were not measured on the same rows."""
    same = (first.task, first.kind) == (second.task, second.kind) and np.array_equal(first.truth, second.truth)
    if not same or not np.array_equal(first.user_rows, second.user_rows) or not np.array_equal(first.list_rows, second.list_rows):
        raise UsageError(
            f"'{first.name}' and '{second.name}' were not judged on the same rows of '{first.cell}' and '{second.cell}'; evaluate both on one split"
        )


def _figures(table: list[list[list[Any]]], weights: np.ndarray) -> np.ndarray:
    """float64 (R, M, columns): means over cells of each side, then of the first side minus each of the others."""
    values = np.array([[[cell(weights) for cell in cells] for cells in side] for side in table])  # sides M cells R
    columns = [*values, *(values[0] - other for other in values[1:])]
    return np.stack([_mean_of_known(column) for column in columns], axis=-1).transpose(1, 0, 2)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """float64 (M, R): mean over the cells of (M, cells, R), NaN left out."""
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    return np.divide(np.where(known, values, 0.0).sum(axis=1), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def _joint_units(cells: Sequence[Judged]) -> tuple[list[np.ndarray], int]:
    """The unit of every row of every cell, 0 .. U - 1 over all of them, and U."""
    together = unit_index(np.concatenate([cell.units for cell in cells]), sum(map(len, cells)))
    return np.split(together, np.cumsum([len(cell) for cell in cells])[:-1]), int(together.max()) + 1 if len(together) else 0
