"""What another policy would have earned, from what was shown by chance: inverse propensity weighting.

Every exposure tells of the policy that would have put this item at this place with probability `target`: it counts target / propensity
times (Horvitz & Thompson 1952). SNIPS divides by the weights' own sum (Swaminathan & Joachims 2015): a little biased, much steadier.
Both take an outcome to depend on the person, the item and its place, not on the rest of the list (the item-position model, Li et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.base.errors import DataError, UsageError
from m6rec.evaluation.intervals import NORMAL_95
from m6rec.serving.experiments.outcomes import Ratio, Shown


@dataclass(frozen=True)
class Estimate:
    """A mean outcome of an exposure with its 95 % interval; the spread is that between units."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class OffPolicy:
    """logged: what was shown.  ips, snips: what the candidate policy would have got.  lift: snips less logged, on the same people.

    effective  exposures that the weighted ones are worth, (sum of weights)2 / sum of weights2
    mean_weight  near 1 where the log holds all that the policy would show; well below: it shows what was never tried
    most_weight  the largest weight; one exposure that counts for hundreds carries the estimate alone
    """

    logged: Estimate
    ips: Estimate
    snips: Estimate
    lift: Estimate
    effective: float
    mean_weight: float
    most_weight: float


def off_policy(frame: pl.DataFrame, target: np.ndarray, *, outcome: str = Shown.OUTCOME, most: float | None = None) -> OffPolicy:
    """Judge a policy that was never run.

    Args:
        frame: exposures, columns unit, propensity and `outcome` (null: 0).
        target: float (rows,), the probability with which the policy would have put this item at this place; 1 or 0 for one without chance.
        most: weights above are cut to it (Ionides 2008): less spread, some bias; None cuts none.

    Raises:
        DataError: a missing column, a propensity that is not in (0, 1].
        UsageError: `target` of another length, or not probabilities.
    """
    missing = [name for name in (Shown.UNIT, Shown.PROPENSITY, outcome) if name not in frame.columns]
    if missing:
        raise DataError(
            f"exposures have no column '{missing[0]}'; off-policy estimates need {Shown.UNIT}, {Shown.PROPENSITY} and {outcome}"
        )
    chance = frame[Shown.PROPENSITY].cast(pl.Float64).fill_null(np.nan).to_numpy()
    wrong = ~((chance > 0) & (chance <= 1))
    if wrong.any():
        raise DataError(f"a propensity is {chance[wrong][0]}; leave out exposures without one, the others are above 0 and at most 1")
    target = np.asarray(target, dtype=np.float64)
    if target.shape != chance.shape:
        raise UsageError(f"target has shape {target.shape}, the exposures are {len(chance)}; give one probability an exposure")
    if not ((target >= 0) & (target <= 1)).all():
        raise UsageError(f"target holds {target[~((target >= 0) & (target <= 1))][0]}; give probabilities from 0 to 1")
    weights = target / chance if most is None else np.minimum(target / chance, most)
    earned = frame[outcome].cast(pl.Float64).fill_nan(None).fill_null(0.0).to_numpy()
    _, unit = np.unique(frame[Shown.UNIT].cast(pl.String).fill_null("").to_numpy(), return_inverse=True)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(unit, weights=values)

    shown, worth = summed(np.ones(len(unit))), summed(weights * earned)
    logged, ips, snips = Ratio(summed(earned), shown), Ratio(worth, shown), Ratio(worth, summed(weights))
    square = float((weights**2).sum())
    return OffPolicy(
        _estimate(logged.mean, logged.influence),
        _estimate(ips.mean, ips.influence),
        _estimate(snips.mean, snips.influence),
        _estimate(snips.mean - logged.mean, snips.influence - logged.influence),
        effective=float(weights.sum()) ** 2 / square if square else 0.0,
        mean_weight=float(weights.mean()) if len(weights) else float("nan"),
        most_weight=float(weights.max(initial=0.0)),
    )


def _estimate(mean: float, influence: np.ndarray) -> Estimate:
    half = NORMAL_95 * float(np.sqrt(influence.var(ddof=1) / len(influence))) if len(influence) > 1 else float("nan")
    return Estimate(mean, mean - half, mean + half)
