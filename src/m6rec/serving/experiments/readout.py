"""The readout of an experiment: figures of every arm, differences to the control with intervals, whether the shares are what was planned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtr, ndtri

from m6rec.base.errors import DataError
from m6rec.serving.experiments.config import Direction, Experiment
from m6rec.serving.experiments.outcomes import Outcomes, Ratio, Shown
from m6rec.serving.experiments.sequential import always_valid_p, always_valid_radius, share_mismatch_p

MISMATCH = 1e-3  # p-value under which the shares are not what was planned
COVARIATE = "covariate"


@dataclass(frozen=True)
class ArmFigure:
    """The metric of one arm; low and high: of a 95 % interval at one look."""

    arm: str
    units: int
    exposures: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """An arm against the control. Figures are differences (arm - control) in the metric's own unit; `relative` is divided by the control's.

    low, high                 interval for one look at the end, level 1 - alpha shared between the arms
    always_low, always_high   interval for any number of looks, the same level; relative_low, relative_high: divided by the control's figure
    p, always_p               p-values of "no difference", for one look and for any number
    variance_removed          share of the variance that the covariate took away (0 without one)
    """

    arm: str
    metric: str
    better: Direction
    difference: float
    relative: float
    low: float
    high: float
    p: float
    always_low: float
    always_high: float
    relative_low: float
    relative_high: float
    always_p: float
    variance_removed: float
    enough: bool


@dataclass(frozen=True)
class Readout:
    """All that an experiment says now.

    comparisons  of the metric, one an arm that is not the control
    guardrails   of every guardrail and arm, in the order of the settings
    mismatch_p   always-valid p-value of "the shares are the planned ones"; `mismatch`: it is too small to trust anything here
    crossed      units left out because they were in several arms
    """

    experiment: str
    metric: str
    arms: tuple[ArmFigure, ...]
    comparisons: tuple[Comparison, ...]
    guardrails: tuple[Comparison, ...]
    mismatch_p: float
    mismatch: bool
    crossed: int

    def plain(self) -> dict[str, Any]:
        """JSON-ready; figures that are not known are None."""
        return _finite(asdict(self))


def readout(frame: pl.DataFrame, experiment: Experiment, *, covariate: pl.DataFrame | None = None) -> Readout:
    """What the exposures so far say; may be asked for at any time and any number of times.

    Args:
        frame: exposures, see `outcomes.Shown`; rows of arms that the experiment has not are left out.
        covariate: columns unit and covariate, a number known of a unit before the experiment (its metric in the weeks before); it takes
            noise away (CUPED, Deng, Xu, Kohavi & Walker 2013). Units without one count as average.

    Raises:
        DataError: a column is missing.
        UsageError: a metric that the outcomes don't have.
    """
    outcomes = Outcomes.of(frame, experiment.since, experiment.actions)
    figures = {arm.name: outcomes.ratio(arm.name, experiment.metric) for arm in experiment.arms}
    others = experiment.arms[1:]
    alpha = experiment.alpha / len(others)
    known = None if covariate is None else {arm.name: _known(outcomes.units(arm.name), covariate) for arm in experiment.arms}

    def against_control(metric: str, better: Direction, level: float, ratios: dict[str, Ratio]) -> list[Comparison]:
        control = experiment.control.name
        return [
            _compared(
                arm.name,
                metric,
                better,
                (ratios[arm.name], ratios[control]),
                None if known is None else (known[arm.name], known[control]),
                level,
                experiment,
            )
            for arm in others
        ]

    guardrails: list[Comparison] = []
    for rail in experiment.guardrails:
        ratios = {arm.name: outcomes.ratio(arm.name, rail.metric) for arm in experiment.arms}
        guardrails += against_control(rail.metric, rail.better, alpha / len(experiment.guardrails), ratios)
    counts = [figures[arm.name].units for arm in experiment.arms]
    mismatch = share_mismatch_p(counts, [arm.share for arm in experiment.arms])
    return Readout(
        experiment.name,
        experiment.metric,
        tuple(_figure(name, ratio, outcomes.exposures(name)) for name, ratio in figures.items()),
        tuple(against_control(experiment.metric, experiment.better, alpha, figures)),
        tuple(guardrails),
        mismatch,
        mismatch < MISMATCH,
        outcomes.crossed,
    )


def _figure(arm: str, ratio: Ratio, exposures: int) -> ArmFigure:
    half = float(ndtri(0.975)) * ratio.error
    return ArmFigure(arm, ratio.units, exposures, ratio.mean, ratio.mean - half, ratio.mean + half)


def _compared(
    arm: str,
    metric: str,
    better: Direction,
    ratios: tuple[Ratio, Ratio],
    covariates: tuple[np.ndarray, np.ndarray] | None,
    alpha: float,
    experiment: Experiment,
) -> Comparison:
    treated, control = ratios
    enough = min(treated.units, control.units) >= experiment.fewest_units
    difference, errors, removed = treated.mean - control.mean, (treated.error, control.error), 0.0
    if covariates is not None and min(treated.units, control.units) > 1:
        difference, errors, removed = _adjusted(ratios, covariates)
    error = math.hypot(*errors)
    base = abs(control.mean)
    half = float(ndtri(1 - alpha / 2)) * error
    scale = experiment.least_effect * base
    radius = float(always_valid_radius(error, scale, alpha)) if enough and scale > 0 else math.inf
    return Comparison(
        arm=arm,
        metric=metric,
        better=better,
        difference=difference,
        relative=difference / base if base else math.nan,
        low=difference - half,
        high=difference + half,
        p=float(2 * ndtr(-abs(difference) / error)) if error > 0 else 1.0,
        always_low=difference - radius,
        always_high=difference + radius,
        relative_low=(difference - radius) / base if base else -math.inf,
        relative_high=(difference + radius) / base if base else math.inf,
        always_p=float(always_valid_p(difference, error, scale)) if enough and scale > 0 else 1.0,
        variance_removed=removed,
        enough=enough,
    )


def _adjusted(ratios: tuple[Ratio, Ratio], covariates: tuple[np.ndarray, np.ndarray]) -> tuple[float, tuple[float, float], float]:
    """(difference, standard errors, share of variance removed) with what the covariate explains taken out (CUPED)."""
    influence = [ratio.influence for ratio in ratios]
    known = np.concatenate(covariates)
    centred = [part - part.mean() for part in covariates]
    below = sum(float((part**2).sum()) for part in centred)
    slope = sum(float(moved @ part) for moved, part in zip(influence, centred, strict=True)) / below if below > 0 else 0.0
    means = [ratio.mean - slope * float(part.mean() - known.mean()) for ratio, part in zip(ratios, covariates, strict=True)]
    rest = [moved - slope * part for moved, part in zip(influence, centred, strict=True)]
    errors = tuple(float(np.sqrt(one.var(ddof=1) / len(one))) for one in rest)
    before = sum(float(one.var()) for one in influence)
    removed = 1 - sum(float(one.var()) for one in rest) / before if before > 0 else 0.0
    return means[0] - means[1], (errors[0], errors[1]), removed


def _known(units: pl.Series, covariate: pl.DataFrame) -> np.ndarray:
    """float64 (U,): the covariate of the units, their mean where there is none."""
    missing = [name for name in (Shown.UNIT, COVARIATE) if name not in covariate.columns]
    if missing:
        raise DataError(f"covariate has no column '{missing[0]}'; give {Shown.UNIT} and {COVARIATE}")
    one_each = covariate.unique(Shown.UNIT, keep="first")
    values = units.to_frame(Shown.UNIT).join(one_each, on=Shown.UNIT, how="left", maintain_order="left")[COVARIATE].cast(pl.Float64)
    numbers = values.fill_nan(None).to_numpy().astype(np.float64)
    mean = np.nanmean(numbers) if not np.isnan(numbers).all() else 0.0
    return np.where(np.isnan(numbers), mean, numbers)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
