"""Outcomes of exposures, summed for each unit that was assigned: what every readout starts from.

Units, not exposures, were dealt out by chance, so a figure's spread is that between units: a ratio of sums with the delta method
(Deng, Knoblich & Lu 2018). Dimension keys: U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.base.errors import DataError, UsageError, nearest
from m6rec.serving.experiments.config import METRICS


class Shown:
    """Columns of a frame of exposures, one row each.

    unit, arm, item: String.  time: Float64, seconds since 1970.  position: the place in the list.  propensity: Float64, the probability
    with which the item came to stand there.  outcome: 1 where something followed within the window, else 0 or null.  value: its worth, or null.
    actions: optional, List(String), what followed; read where an experiment names the actions that count.
    """

    UNIT, ARM, TIME, ITEM = "unit", "arm", "time", "item"
    POSITION, PROPENSITY, OUTCOME, VALUE = "position", "propensity", "outcome", "value"
    ACTIONS = "actions"


@dataclass(frozen=True)
class Ratio:
    """A figure of one group: sum of `above` over sum of `below`, float64 (U,) each, one row a unit; `mean` and its standard error."""

    above: np.ndarray
    below: np.ndarray

    @property
    def units(self) -> int:
        return len(self.above)

    @property
    def mean(self) -> float:
        total = float(self.below.sum())
        return float(self.above.sum()) / total if total else float("nan")

    @property
    def influence(self) -> np.ndarray:
        """float64 (U,): by how much each unit moves the figure, times U; mean 0. Its variance over U is that of the figure."""
        level = float(self.below.mean()) if len(self.below) else 0.0
        return (self.above - self.mean * self.below) / level if level else np.zeros(len(self.above))

    @property
    def error(self) -> float:
        """Standard error; NaN with fewer than two units."""
        return float(np.sqrt(self.influence.var(ddof=1) / self.units)) if self.units > 1 else float("nan")


@dataclass(frozen=True)
class Outcomes:
    """Exposures of one experiment, each unit in one arm.

    crossed: units that were seen in several arms (asked for by name, or moved when shares changed); they are left out.
    """

    frame: pl.DataFrame
    crossed: int

    @classmethod
    def of(cls, frame: pl.DataFrame, since: float | None = None, actions: Sequence[str] = ()) -> Outcomes:
        """Exposures, those before `since` left out; where `actions` are named, only they make an outcome and its value.

        Raises:
            DataError: a column is missing.
        """
        needed = [Shown.UNIT, Shown.ARM, Shown.ACTIONS if actions else Shown.OUTCOME, *([Shown.TIME] if since is not None else [])]
        missing = [name for name in needed if name not in frame.columns]
        if missing:
            raise DataError(f"outcomes have no column '{missing[0]}'; these settings need {', '.join(needed)}")
        if actions:
            counts = pl.col(Shown.ACTIONS).list.eval(pl.element().is_in(list(actions))).list.any().fill_null(False)
            values = [pl.when(counts).then(pl.col(Shown.VALUE)).alias(Shown.VALUE)] if Shown.VALUE in frame.columns else []
            frame = frame.with_columns(counts.cast(pl.Float64).alias(Shown.OUTCOME), *values)
        if since is not None:
            frame = frame.filter(pl.col(Shown.TIME) >= since)
        arms = frame.group_by(Shown.UNIT).agg(pl.col(Shown.ARM).n_unique().alias("arms"))
        crossed = arms.filter(pl.col("arms") > 1)
        return cls(frame.join(crossed, on=Shown.UNIT, how="anti") if len(crossed) else frame, len(crossed))

    def units(self, arm: str) -> pl.Series:
        """The units of an arm in the order of `ratio`'s rows."""
        return self._of(arm)[Shown.UNIT].unique().sort()

    def exposures(self, arm: str) -> int:
        """Rows of an arm."""
        return len(self._of(arm))

    def ratio(self, arm: str, metric: str) -> Ratio:
        """A metric of an arm.

        Raises:
            UsageError: no such metric, and no such number column.
        """
        frame = self._of(arm)
        value, per_unit, any_ = _expression(metric, frame)
        above = value.max() if any_ else value.sum()
        below = pl.lit(1.0) if per_unit else value.is_not_null().sum().cast(pl.Float64)
        rows = frame.group_by(Shown.UNIT).agg(above.fill_null(0.0).alias("above"), below.alias("below")).sort(Shown.UNIT)
        return Ratio(rows["above"].to_numpy(), rows["below"].to_numpy())

    def _of(self, arm: str) -> pl.DataFrame:
        return self.frame.filter(pl.col(Shown.ARM) == arm)


def _expression(metric: str, frame: pl.DataFrame) -> tuple[pl.Expr, bool, bool]:
    """(what is summed, once for a unit, any or sum) of a metric."""
    if metric in METRICS:
        column = Shown.VALUE if metric.startswith("value") else Shown.OUTCOME
        if column not in frame.columns:
            raise UsageError(f"metric '{metric}' needs the column '{column}', which the outcomes don't have")
        whole = pl.col(column).cast(pl.Float64).fill_nan(None).fill_null(0.0)
        if metric == "units_with_outcome":
            return (whole > 0).cast(pl.Float64), True, True
        return whole, metric.endswith("_per_unit"), False
    if metric not in frame.columns or not frame.schema[metric].is_numeric():
        known = [*METRICS, *(name for name, kind in frame.schema.items() if kind.is_numeric())]
        raise UsageError(f"there is no metric '{metric}'{nearest(metric, known) or '; metrics: ' + ', '.join(known)}")
    return pl.col(metric).cast(pl.Float64).fill_nan(None), False, False
