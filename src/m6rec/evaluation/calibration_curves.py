"""Strictly rising maps of probabilities, and how each is fitted: Platt, isotonic, temperature.

Dimension keys: X rows, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from m6rec.base.errors import CheckpointError
from m6rec.evaluation.label_metrics import TINY

Way = Literal["none", "platt", "isotonic", "temperature"]

STEEPEST = 20.0  # limit of Platt's slope and of 1 / temperature


@dataclass(frozen=True)
class Curve:
    """One strictly rising map of probabilities.

    none         p as it is
    platt        sigmoid(slope * logit(p) + shift), slope > 0 (Platt 1999, with logits for scores)
    isotonic     linear between knots (x, y) of logits, ascending in both; beyond the outermost with slope 1 (Zadrozny & Elkan 2002)
    temperature  softmax(slope * log p) over classes (Guo et al. 2017: slope is 1 / temperature)
    """

    way: Way = "none"
    slope: float = 1.0
    shift: float = 0.0
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)

    def apply(self, predicted: np.ndarray) -> np.ndarray:
        """Probabilities float32 of the shape of `predicted`: (X,), or (X, C) for a temperature."""
        if self.way == "none":
            return np.asarray(predicted, dtype=np.float32)
        if self.way == "temperature":
            scaled = self.slope * np.log(np.maximum(np.asarray(predicted, dtype=np.float64), TINY))  # X C
            powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        scores = logits(predicted)
        if self.way == "platt":
            return sigmoid(self.slope * scores + self.shift).astype(np.float32)
        inside = np.interp(scores, self.x, self.y)
        beyond = np.minimum(scores - self.x[0], 0) + np.maximum(scores - self.x[-1], 0)
        return sigmoid(inside + beyond).astype(np.float32)

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"way": self.way, "slope": self.slope, "shift": self.shift, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_plain(cls, value: dict[str, Any]) -> Self:
        """What `plain` gave.

        Raises:
            CheckpointError: something is missing, or the map is not rising.
        """
        try:
            x, y = [float(v) for v in value["x"]], [float(v) for v in value["y"]]
            curve = cls(value["way"], float(value["slope"]), float(value["shift"]), x, y)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"a calibration is damaged ({type(error).__name__}: {error}); train or evaluate again") from None
        rising = len(x) == len(y) and all((np.diff(side) > 0).all() and np.isfinite(side).all() for side in (x, y))
        if curve.way not in WAYS or not rising or not 0 < curve.slope < math.inf or (curve.way == "isotonic" and not x):
            raise CheckpointError("a calibration is damaged: it is not a rising map; train or evaluate again")
        return curve


def logits(predicted: np.ndarray) -> np.ndarray:
    """float64: log(p / (1 - p)), probabilities kept 1e-7 from 0 and 1."""
    p = np.clip(np.asarray(predicted, dtype=np.float64), TINY, 1 - TINY)
    return np.log(p) - np.log1p(-p)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-scores)) without overflow."""
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0, small) / (1 + small)


def fit_platt(truth: np.ndarray, predicted: np.ndarray) -> Curve:
    """Slope and shift of the logits by Newton's method, with Platt's smoothed targets; slope kept in (0, 20]."""
    scores, yes = logits(predicted), np.asarray(truth) > 0.5
    above, below = int(yes.sum()), int((~yes).sum())
    wanted = np.where(yes, (above + 1) / (above + 2), 1 / (below + 2))
    middle, scale = scores.mean(), max(scores.std(), 1e-6)
    z = (scores - middle) / scale
    slope, shift = scale, float(middle)
    loss = _platt_loss(slope * z + shift, wanted)
    for _ in range(100):
        p = sigmoid(slope * z + shift)
        error, curvature = p - wanted, np.maximum(p * (1 - p), 1e-12)
        gradient = np.array([error @ z, error.sum()])
        hessian = np.array([[curvature @ z**2, curvature @ z], [curvature @ z, curvature.sum()]]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-6:  # halved until it helps
            tried = _platt_loss((slope - length * step[0]) * z + shift - length * step[1], wanted)
            if tried <= loss:
                break
            length /= 2
        if length <= 1e-6 or loss - tried < 1e-12 * max(1.0, loss):
            break
        slope, shift, loss = slope - length * step[0], shift - length * step[1], tried
    steep = float(np.clip(slope / scale, 1e-3, STEEPEST))
    return Curve("platt", slope=steep, shift=float(shift - steep * middle))


def fit_isotonic(truth: np.ndarray, predicted: np.ndarray) -> Curve:
    """Rising shares by pooling adjacent violators, as knots at the mean logit of each pool; shares are smoothed by half a row a side.

    Lines between the knots keep apart what a staircase would tie.
    """
    from scipy.optimize import isotonic_regression  # only fitting needs it, and a service that starts does not wait for it

    order = np.argsort(predicted, kind="stable")
    scores, yes = logits(predicted)[order], (np.asarray(truth)[order] > 0.5).astype(np.float64)
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))  # rows of one score are one
    sizes = np.diff(np.append(first, len(scores))).astype(np.float64)
    fitted = isotonic_regression(np.add.reduceat(yes, first) / sizes, weights=sizes)
    pools = fitted.blocks[:-1]
    rows = np.add.reduceat(sizes, pools)
    centres = np.add.reduceat(scores[first] * sizes, pools) / rows
    shares = (fitted.x[pools] * rows + 0.5) / (rows + 1)
    # Smoothing small pools may break the order that pooling made: they are pooled once more.
    again = isotonic_regression(shares, weights=rows)
    pools = again.blocks[:-1]
    weights = np.add.reduceat(rows, pools)
    x, y = np.add.reduceat(centres * rows, pools) / weights, logits(again.x[pools])
    rising = np.append(True, (np.diff(x) > 1e-9) & (np.diff(y) > 1e-9))
    return Curve("isotonic", x=x[rising].tolist(), y=y[rising].tolist())


def fit_temperature(truth: np.ndarray, predicted: np.ndarray) -> Curve:
    """The temperature with the lowest log loss; `truth` codes (X,), `predicted` (X, C)."""
    from scipy.optimize import minimize_scalar  # only fitting needs it, and a service that starts does not wait for it

    logs = np.log(np.maximum(predicted.astype(np.float64), TINY))
    codes = truth.astype(np.int64)

    def loss(log_slope: float) -> float:
        scaled = math.exp(log_slope) * logs
        top = scaled.max(axis=1)
        return float(np.mean(top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - scaled[np.arange(len(codes)), codes]))

    found = minimize_scalar(loss, bounds=(-math.log(STEEPEST), math.log(STEEPEST)), method="bounded", options={"xatol": 1e-4})
    return Curve("temperature", slope=math.exp(float(found.x)))


def _platt_loss(scores: np.ndarray, wanted: np.ndarray) -> float:
    return float((np.logaddexp(0, scores) - wanted * scores).sum())


#: fit(truth, predicted) of each way
WAYS: dict[str, Callable[[np.ndarray, np.ndarray], Curve]] = {
    "none": lambda truth, predicted: Curve(),
    "platt": fit_platt,
    "isotonic": fit_isotonic,
    "temperature": fit_temperature,
}
