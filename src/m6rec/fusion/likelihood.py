"""Weights that make the targets likely under a softmax over the candidates of their request (conditional logit, McFadden 1974).

Dimension keys: B requests, C candidates, F weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEPS = 100

#: What each score should move by (C,) -> what each weight should (F,): the transposed derivatives.
Back = Callable[[np.ndarray], np.ndarray]
#: Weights (F,) -> the score of each candidate (C,), and the way back.
Score = Callable[[np.ndarray], tuple[np.ndarray, Back]]


def choose_weights(score: Score, rows: np.ndarray, wanted: np.ndarray, start: np.ndarray, penalty: float) -> np.ndarray:
    """float64 (F,): minimises  mean over targets of -ln softmax(score)[target] + penalty |w - start|^2  by L-BFGS, from `start`.

    Args:
        rows: int64 (C,), the request of each candidate, rising; every request has a target.
        wanted: bool (C,).
    """
    from scipy.optimize import minimize

    firsts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))  # B
    group = np.cumsum(np.concatenate([[True], rows[1:] != rows[:-1]])) - 1  # C
    targets = np.bincount(group, wanted)  # B
    count = float(targets.sum())

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores, back = score(weights)
        best = np.maximum.reduceat(scores, firsts)  # B
        odds = np.exp(scores - best[group])
        total = np.add.reduceat(odds, firsts)
        lost = (targets * (np.log(total) + best)).sum() - scores[wanted].sum()
        pull = (targets / total)[group] * odds - wanted  # C
        away = weights - start
        return lost / count + penalty * float(away @ away), back(pull) / count + 2 * penalty * away

    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x)
