"""Ways without features of their own: a weighted sum, weights that follow the history's length, and "one member is enough".

Dimension keys: B requests, M members, C candidates.
"""

from __future__ import annotations

import numpy as np

from m6rec.fusion.candidates import Candidates
from m6rec.fusion.likelihood import Back, choose_weights
from m6rec.fusion.way import Known, Way

GRID = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0)
ROUNDS = 3
LITTLE = 0.1  # weight of a member beside the base before anything is learnt
NEEDED = 2.0  # standard errors that a weight must gain by: less is what chance gives to one of many tries


class Weighted(Way):
    """score = sum over members m of w_m v_m; the weights are given, or found by coordinate search for the validation metric.

    The search starts at the base alone. A weight moves where the metric rises by more than two standard errors of the difference over requests,
    so a member that adds nothing but luck stays at 0.
    """

    learnt = ("weights",)

    def fit(self, known: Known) -> None:
        if self.config.weights is not None:
            self._weights = np.array([self.config.weights[name] for name in self.members])
            return
        self._weights = np.zeros(len(self.members))
        self._weights[self.base] = 1.0
        best = known.quality(self.scores(known.candidates, known.values))
        for _ in range(ROUNDS):
            before = self._weights.copy()
            for member in range(len(self.members)):
                if member != self.base:
                    best = self._moved(known, member, best)
            if np.array_equal(before, self._weights):
                break

    def scores(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        return values.astype(np.float64) @ self._weights

    def shares(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        return np.maximum(values, 0.0) * self._weights

    def facts(self) -> dict[str, float]:
        return {name: round(float(weight), 4) for name, weight in zip(self.members, self._weights, strict=True)}

    def _moved(self, known: Known, member: int, best: np.ndarray) -> np.ndarray:
        """Take the best weight of one member; returns the metric (B,) with it."""
        held = self._weights[member]
        start, found = best, (0.0, held, best)
        for weight in GRID:
            if weight == held:
                continue
            self._weights[member] = weight
            tried = known.quality(self.scores(known.candidates, known.values))
            gain = tried - start
            if gain.mean() > max(found[0], NEEDED * gain.std() / np.sqrt(len(gain))):
                found = (float(gain.mean()), weight, tried)
        self._weights[member] = found[1]
        return found[2]


class SoftOr(Weighted):
    """score = 1 - product over members m of (1 - w_m p_m), p_m the calibrated probabilities: one member that is sure is enough.

    Weights lie in 0..1 and are found as in `Weighted`, or given.
    """

    def scores(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        chances = values.astype(np.float64) * np.minimum(self._weights, 1.0)
        return np.asarray(-np.expm1(np.log1p(-np.minimum(chances, 1 - 1e-12)).sum(axis=1)))


class Gated(Way):
    """score = sum over members m of w_m(h) v_m,   w_m(h) = exp(a_m + b_m t + c_m t^2),   t = (ln(1 + h) - mean) / deviation

    with h the length of the history: weights are smooth in it and never negative. a, b, c maximise the likelihood of the targets under a
    softmax over the candidates of their request, with a ridge penalty on how far they are from flat curves near the base alone.
    """

    learnt = ("curve", "scale")

    def fit(self, known: Known) -> None:
        taught = known.candidates.keep(known.taught)
        lengths = np.log1p(taught.lengths[np.unique(taught.requests)]) if len(taught.items) else np.zeros(1)
        self._scale = np.array([lengths.mean(), max(float(lengths.std()), 1e-6)])
        width = len(self.members)
        start = np.zeros((width, 3))  # nothing known: flat curves, the base with weight 1 and the others little
        start[:, 0] = np.where(np.arange(width) == self.base, 0.0, np.log(LITTLE))
        if len(taught.items):
            values = known.values[known.taught].astype(np.float64)
            rows, powers = taught.requests, self._powers(taught.lengths)

            def score(flat: np.ndarray) -> tuple[np.ndarray, Back]:
                weighted = values * np.exp(np.clip(powers @ flat.reshape(width, 3).T, -20, 8))[rows]  # C M

                def back(pull: np.ndarray) -> np.ndarray:
                    moved = [np.bincount(rows, pull * weighted[:, member], len(taught)) for member in range(width)]
                    return np.asarray((np.stack(moved) @ powers).ravel())

                return weighted.sum(axis=1), back

            start = choose_weights(score, rows, known.wanted[known.taught], start.ravel(), self.config.penalty).reshape(width, 3)
        self._curve = start

    def scores(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        return np.asarray((values * self._weights(candidates)).sum(axis=1))

    def shares(self, candidates: Candidates, values: np.ndarray) -> np.ndarray:
        return np.maximum(values, 0.0) * self._weights(candidates)

    def weights(self, lengths: np.ndarray) -> np.ndarray:
        """float64 (B, M): the weight of each member for histories of these lengths."""
        return np.asarray(np.exp(np.clip(self._powers(lengths) @ self._curve.T, -20, 8)))

    def facts(self) -> dict[str, float]:
        middle = self.weights(np.array([np.expm1(self._scale[0])]))[0]
        return {name: round(float(weight), 4) for name, weight in zip(self.members, middle, strict=True)}

    def _weights(self, candidates: Candidates) -> np.ndarray:
        return self.weights(candidates.lengths)[candidates.requests]

    def _powers(self, lengths: np.ndarray) -> np.ndarray:
        """float64 (B, 3): 1, t, t squared."""
        t = (np.log1p(lengths) - self._scale[0]) / self._scale[1]
        t = np.clip(t, -3.0, 3.0)  # a curve says nothing about lengths it was not fitted on
        return np.stack([np.ones_like(t), t, t**2], axis=1)
