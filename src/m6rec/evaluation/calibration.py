"""Calibration: scores to probabilities, chosen and fitted on validation rows, strictly rising, so that no order changes.

Dimension keys: X rows, C classes or tags.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from m6rec.base.errors import CheckpointError, UsageError
from m6rec.evaluation.calibration_curves import WAYS, Curve
from m6rec.evaluation.class_metrics import class_log_losses
from m6rec.evaluation.intervals import unit_index
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.label_metrics import log_losses

FEWEST_ROWS, FEWEST_OF_A_CLASS = 200, 20  # below that nothing is fitted
SCENARIO_ROWS, SCENARIO_OF_A_CLASS = 1000, 100  # from there on a scenario has a curve of its own, where that predicts better


@dataclass(frozen=True)
class Calibration:
    """What is done to a task's scores: one curve, and others for scenarios (tags: for each tag) that have many rows.

    losses: cross-validated log loss of each way, on the validation rows. rows: how many there were.
    """

    curve: Curve = field(default_factory=Curve)
    scenarios: dict[str, Curve] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    rows: int = 0

    def apply(self, predicted: np.ndarray, scenarios: np.ndarray | None = None, scenario_names: list[str] | None = None) -> np.ndarray:
        """Calibrated probabilities, float32 of the same shape.

        Args:
            predicted: (X,), or (X, C) of classes.
            scenarios: int (X,) codes of `scenario_names`, -1 unknown; None: the curve for everybody.
        """
        result = self.curve.apply(predicted)
        if self.scenarios and scenarios is not None and scenario_names:
            for code, name in enumerate(scenario_names):
                if name in self.scenarios and (rows := np.asarray(scenarios) == code).any():
                    result[rows] = self.scenarios[name].apply(predicted[rows])
        return result

    def apply_to_tags(self, predicted: np.ndarray, names: list[str]) -> np.ndarray:
        """Calibrated probabilities float32 (X, C) of the tags `names`."""
        return np.stack([self.scenarios.get(name, self.curve).apply(predicted[:, tag]) for tag, name in enumerate(names)], axis=1)

    def applied(self, judged: Judged) -> Judged:
        """The same rows with calibrated predictions; numbers and levels without probabilities stay as they are."""
        if judged.kind == "tags":
            return replace(judged, predicted=self.apply_to_tags(judged.predicted, judged.names))
        return replace(judged, predicted=self.apply(judged.predicted, judged.scenarios, judged.scenario_names))

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "curve": self.curve.plain(),
            "scenarios": {name: curve.plain() for name, curve in self.scenarios.items()},
            "losses": self.losses,
            "rows": self.rows,
        }

    @classmethod
    def from_plain(cls, value: dict[str, Any]) -> Self:
        """What `plain` gave.

        Raises:
            CheckpointError: something is missing, or a curve is not rising.
        """
        try:
            scenarios = {str(name): Curve.from_plain(curve) for name, curve in value["scenarios"].items()}
            return cls(Curve.from_plain(value["curve"]), scenarios, dict(value["losses"]), int(value["rows"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"a calibration is damaged ({type(error).__name__}: {error}); train or evaluate again") from None


def fit_calibration(validation: Judged, *, folds: int = 5, seed: int = 0) -> Calibration:
    """The way with the lowest cross-validated log loss on validation rows, fitted on all of them; people are never in two folds.

    Ways: binary and tags `none`, `platt`, `isotonic`; classes, levels with probabilities and words `none`, `temperature`. With few
    rows, and for numbers, nothing is fitted. A scenario (tags: a tag) with many rows gets a curve of its own where the
    cross-validated log loss of its rows is lower that way.

    Raises:
        UsageError: fewer than two folds.
    """
    if folds < 2:
        raise UsageError(f"calibration is chosen by cross-validation over at least 2 folds, not {folds}")
    kind, truth, predicted = validation.kind, validation.truth, validation.predicted
    fold = _folds(validation, folds, seed)
    if kind == "number" or (kind == "ordinal" and predicted.ndim == 1) or len(np.unique(fold)) < 2:
        return Calibration(rows=len(validation))
    if kind == "binary":
        return _choose(truth, predicted, fold, ["none", "platt", "isotonic"], _scenarios(validation))
    if kind == "tags":
        names, width = validation.names, len(validation.names)
        tags = np.tile(np.arange(width), len(truth))
        groups = {name: tags == tag for tag, name in enumerate(names)}
        found = _choose(truth.ravel(), predicted.ravel(), np.repeat(fold, width), ["none", "platt", "isotonic"], groups)
        return replace(found, rows=len(truth))
    return _choose(truth, predicted, fold, ["none", "temperature"], _scenarios(validation))


def _choose(truth: np.ndarray, predicted: np.ndarray, fold: np.ndarray, ways: list[str], groups: dict[str, np.ndarray]) -> Calibration:
    if not _enough(truth, FEWEST_ROWS, FEWEST_OF_A_CLASS):
        return Calibration(rows=len(truth))
    losses = {way: _held_out(way, truth, predicted, fold) for way in ways}
    best = _lowest(losses)
    own = {}
    for name, rows in groups.items():
        if rows.all() or not _enough(truth[rows], SCENARIO_ROWS, SCENARIO_OF_A_CLASS):
            continue
        found = {way: _held_out(way, truth[rows], predicted[rows], fold[rows]) for way in ways}
        way = _lowest(found)
        if found[way].mean() < losses[best][rows].mean():
            own[name] = WAYS[way](truth[rows], predicted[rows])
    means = {way: float(values.mean()) for way, values in losses.items()}
    return Calibration(WAYS[best](truth, predicted), own, means, len(truth))


def _held_out(way: str, truth: np.ndarray, predicted: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """float64 (X,): log loss of each row under a curve fitted on the other folds."""
    result = np.empty(len(truth))
    for one in np.unique(fold):
        inside = fold == one
        p = WAYS[way](truth[~inside], predicted[~inside]).apply(predicted[inside])
        result[inside] = log_losses(truth[inside], p) if p.ndim == 1 else class_log_losses(truth[inside], p)
    return result


def _lowest(losses: dict[str, np.ndarray]) -> str:
    """The way with the lowest mean, an earlier (simpler) one where a later is not lower by more than a standard error of the difference."""
    best = next(iter(losses))
    for way, values in losses.items():
        gain = losses[best] - values
        if gain.mean() > gain.std() / math.sqrt(len(gain)):
            best = way
    return best


def _enough(truth: np.ndarray, rows: int, of_a_class: int) -> bool:
    _, counts = np.unique(truth, return_counts=True)
    return len(truth) >= rows and len(counts) > 1 and counts.max() <= len(truth) - of_a_class


def _folds(judged: Judged, folds: int, seed: int) -> np.ndarray:
    """int64 (X,): a fold for each person, by seed."""
    units = unit_index(judged.units, len(judged))
    count = int(units.max()) + 1 if len(units) else 0
    return np.random.default_rng(seed).permutation(np.arange(count) % folds)[units]


def _scenarios(judged: Judged) -> dict[str, np.ndarray]:
    if judged.scenarios is None or len(judged.scenario_names) < 2:
        return {}
    return {name: judged.scenarios == code for code, name in enumerate(judged.scenario_names)}
