"""Signals beside the mixture, weighed together: a log-linear pool (conditional logit; McFadden, 1974).

    score(i | request) = w_0 log p(i) + sum over signals s of w_s * phi_s(i),      P(i) proportional to exp(score(i))

The weights are those under which validation cases, which the model has not learned from, are most likely, with a Gaussian prior around
w_0 = 1 and nothing else: a handful of cases moves them little. The problem is convex, so there is one answer and nothing to tune.

Dimension keys: B cases, N items, S signals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

MIXTURE = "mixture"  # the name of log p among the weights
RIDGE = 1.0  # half the precision of the prior
LEFT_OUT = -1e9  # in the place of a score: what was named before is not named again


@dataclass(frozen=True)
class LogLinear:
    """`weights` by name, log p's among them; without any the mixture alone."""

    weights: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.weights)

    def scores(self, log_p: np.ndarray, signals: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 (B, N). A signal that is missing (a part is switched off) counts nothing."""
        total = np.float32(self.weights.get(MIXTURE, 1.0)) * log_p
        for name, weight in self.weights.items():
            if name in signals:
                total += np.float32(weight) * signals[name]
        return np.asarray(total, dtype=np.float32)

    def plain(self) -> dict[str, float]:
        """JSON-ready."""
        return dict(self.weights)


def fit_log_linear(
    log_p: np.ndarray, signals: Mapping[str, np.ndarray], targets: np.ndarray, left_out: Sequence[np.ndarray], ridge: float = RIDGE
) -> LogLinear:
    """The weights of the pool.

    Args:
        log_p: float32 (B, N). signals: name -> float32 (B, N).
        targets: int (B,), the right item of each case.
        left_out: of each case the items that are not ranked; the target is ranked all the same.
    """
    names = [MIXTURE, *signals]
    parts = [log_p, *signals.values()]  # (S + 1) x (B, N), not copied into one array
    rows = np.arange(len(targets))
    hidden = [np.setdiff1d(items, target) for items, target in zip(left_out, targets, strict=True)]
    owner = np.repeat(rows, [len(items) for items in hidden])
    column = np.concatenate([*hidden, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    at_target = np.array([part[rows, targets].sum(dtype=np.float64) for part in parts])
    start = np.array([1.0] + [0.0] * len(signals))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.zeros(log_p.shape, dtype=np.float32)
        for weight, part in zip(weights, parts, strict=True):
            scores += np.float32(weight) * part
        scores[owner, column] = LEFT_OUT
        top = scores.max(axis=1, keepdims=True)
        scores = np.exp(scores - top)
        total = scores.sum(axis=1, keepdims=True, dtype=np.float64)
        scores /= total.astype(np.float32)
        expected = np.array([np.einsum("bn,bn->b", scores, part).sum(dtype=np.float64) for part in parts])
        moved = weights - start
        value = float((top + np.log(total)).sum() - weights @ at_target + ridge * moved @ moved)
        return value, expected - at_target + 2 * ridge * moved

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return LogLinear({name: float(weight) for name, weight in zip(names, found.x, strict=True)})
