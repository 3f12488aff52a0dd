"""Metrics that are functions of sums over judged rows: log loss, calibration error, F1, squared errors. numpy only.

Such a metric is a pair: what each row adds, and what is made of the sums. A bootstrap adds up each person's rows once and
then weighs people, so that a thousand resamples cost one matrix product.

Dimension keys: X rows, U units (people drawn together with all their rows), R resamples, K sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from m6rec.evaluation.rank_metrics import Resampled

#: Probabilities are kept this far from 0 and 1 before a logarithm: what float32 can tell from them.
TINY = 1e-7
ECE_BINS = 15


@dataclass(frozen=True)
class Additive:
    """One metric as sums: `columns(truth, predicted)` gives what each row adds, float64 (X, K); `combine` maps sums (..., K) to values (...).

    Called with rows, it is the metric itself.
    """

    columns: Callable[[np.ndarray, np.ndarray], np.ndarray]
    combine: Callable[[np.ndarray], np.ndarray]

    def __call__(self, truth: np.ndarray, predicted: np.ndarray) -> float:
        return float(self.combine(self.columns(np.asarray(truth), np.asarray(predicted)).sum(axis=0)))

    def resampled(self, truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, count: int) -> Resampled:
        """Prepared for many weightings of the units, see `rank_metrics`."""
        return sums_resampled(self.columns(truth, predicted), units, count, self.combine)


def sums_resampled(
    columns: np.ndarray | sparse.csr_array, units: np.ndarray, count: int, combine: Callable[[np.ndarray], np.ndarray]
) -> Resampled:
    """weights (R, U) -> combine(weighted sums (R, K)).

    Args:
        columns: (X, K), what each row adds; sparse where most is 0.
        units: int (X,), the unit of each row, 0 .. U - 1.
        count: U.
    """
    rows = len(units)
    owner = sparse.csr_array((np.ones(rows), (units, np.arange(rows))), shape=(count, rows))
    grouped = owner @ columns  # U K

    def values(weights: np.ndarray) -> np.ndarray:
        return combine(np.asarray(weights @ grouped))

    return values


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where `below` is not positive."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def mean_of(values: np.ndarray) -> np.ndarray:
    """(X, 2): the values and 1, so that the ratio of the sums is their mean."""
    return np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)


def mean_of_sums(sums: np.ndarray) -> np.ndarray:
    """The mean that sums of `mean_of` make."""
    return ratio(sums[..., 0], sums[..., 1])


def log_losses(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """float64 (X,): -log of the probability given to what came true, in nats; probabilities are kept 1e-7 from 0 and 1."""
    p = np.clip(np.asarray(predicted, dtype=np.float64), TINY, 1 - TINY)
    yes = np.asarray(truth, dtype=np.float64)
    return -(yes * np.log(p) + (1 - yes) * np.log1p(-p))


def _log_loss_and_labels(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.stack([log_losses(truth, predicted), np.asarray(truth, dtype=np.float64), np.ones(len(truth))], axis=1)


def _normalised(sums: np.ndarray) -> np.ndarray:
    """Log loss over the entropy of the mean label; NaN where there is one class only."""
    rate = np.clip(ratio(sums[..., 1], sums[..., 2]), 0, 1)
    inside = (rate > 0) & (rate < 1)
    safe = np.where(inside, rate, 0.5)
    entropy = -(safe * np.log(safe) + (1 - safe) * np.log1p(-safe))
    return np.where(inside, ratio(sums[..., 0], sums[..., 2]) / entropy, np.nan)


def _errors(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64)


def _fit_columns(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    y = np.asarray(truth, dtype=np.float64)
    y = y - (y.mean() if len(y) else 0.0)  # the variance as a difference of sums: small numbers lose less
    return np.stack([_errors(truth, predicted) ** 2, y, y**2, np.ones(len(y))], axis=1)


def _explained(sums: np.ndarray) -> np.ndarray:
    errors, total, squares, rows = (sums[..., i] for i in range(4))
    spread = squares - ratio(total**2, rows)
    known = spread > 1e-12 * np.maximum(squares, 1e-300)
    return np.where(known, 1 - ratio(errors, np.where(known, spread, 1.0)), np.nan)


def f1_at(threshold: float) -> Additive:
    """F1 = 2 TP / (2 TP + FP + FN), yes where predicted >= threshold; NaN where nothing is positive and nothing is called so."""

    def columns(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        yes, called = np.asarray(truth) > 0.5, np.asarray(predicted, dtype=np.float64) >= threshold
        return np.stack([2.0 * (yes & called), yes.astype(np.float64) + called], axis=1)

    return Additive(columns, mean_of_sums)


def accuracy_at(threshold: float) -> Additive:
    """Share of rows on the right side of the threshold."""
    return Additive(
        lambda truth, predicted: mean_of((np.asarray(predicted, dtype=np.float64) >= threshold) == (np.asarray(truth) > 0.5)), mean_of_sums
    )


def best_threshold(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The threshold with the highest F1 on these rows (validation rows): half-way between two scores, 0.5 without a positive row."""
    truth, predicted = np.asarray(truth) > 0.5, np.asarray(predicted, dtype=np.float64)
    if not truth.any():
        return 0.5
    order = np.argsort(-predicted, kind="stable")
    scores, right = predicted[order], np.cumsum(truth[order])
    last = np.append(scores[1:] != scores[:-1], True)  # rows of one score are called together
    f1 = np.where(last, 2 * right / (np.arange(1, len(scores) + 1) + truth.sum()), -1.0)
    place = int(np.argmax(f1))
    return float(scores[place] if place == len(scores) - 1 else (scores[place] + scores[place + 1]) / 2)


def equal_mass_bins(predicted: np.ndarray, bins: int) -> np.ndarray:
    """int64 (X,): bin 0 .. bins - 1 by rising prediction, of about equally many rows; equal predictions share a bin."""
    last = -(-np.arange(1, bins) * len(predicted) // bins) - 1  # the last row of each bin but the last one
    edges = np.sort(predicted)[last] if len(predicted) else np.zeros(0)
    return np.searchsorted(np.unique(edges), predicted, side="left")


def calibration_error(bins: int = ECE_BINS) -> Additive:
    """Expected calibration error: sum over bins of |sum of (probability - label)| / rows (Naeini et al. 2015; equal mass: Nguyen & O'Connor 2015).

    The bins are those of all rows, in every resample. Its mean over resamples is above its value: an interval leans upwards.
    """

    def columns(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        place = equal_mass_bins(predicted, bins)
        table = np.zeros((len(truth), bins + 1))
        table[np.arange(len(truth)), place] = _errors(truth, predicted)
        table[:, bins] = 1.0
        return table

    return Additive(columns, lambda sums: ratio(np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1]))


# truth 0 or 1, predicted a probability; NaN without rows
log_loss = Additive(lambda truth, predicted: mean_of(log_losses(truth, predicted)), mean_of_sums)
normalised_entropy = Additive(_log_loss_and_labels, _normalised)  # He et al. 2014, section 2
relative_information = Additive(_log_loss_and_labels, lambda sums: 1 - _normalised(sums))
brier = Additive(lambda truth, predicted: mean_of(_errors(truth, predicted) ** 2), mean_of_sums)
ece = calibration_error()
# truth and predicted any numbers
rmse = Additive(lambda truth, predicted: mean_of(_errors(truth, predicted) ** 2), lambda sums: np.sqrt(mean_of_sums(sums)))
mae = Additive(lambda truth, predicted: mean_of(np.abs(_errors(truth, predicted))), mean_of_sums)
r2 = Additive(_fit_columns, _explained)  # NaN where the truth never differs
