"""What makes the scores of different members comparable: rank, z, min-max, calibrated probability, softmax.

Each is fitted on candidates whose answers are known (some have nothing to learn), then applied to any others, one column a member.
Dimension keys: B requests, M members, C candidates, D depth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from m6rec.fusion.candidates import Candidates
from m6rec.fusion.config import Normalisation

TEMPERATURES = np.exp(np.linspace(np.log(0.05), np.log(5.0), 24))
PRIOR_HITS = 1.0  # hits and misses that every rank is given before it is counted: no probability is 0 or 1
Arrays = dict[str, np.ndarray]


class Normaliser(ABC):
    """Scores of members -> numbers that mean the same for each of them, higher is better."""

    learnt: tuple[str, ...] = ()  # what `fit` finds, as arrays `_name`

    def fit(self, candidates: Candidates, wanted: np.ndarray) -> Self:
        """Learn from candidates, none of them consumed; `wanted` bool (C,): which are targets. The request of a lost target has none."""
        return self

    @abstractmethod
    def apply(self, candidates: Candidates) -> np.ndarray:
        """float32 (C, M)."""

    def state(self) -> Arrays:
        """What was learnt."""
        return {name: getattr(self, f"_{name}") for name in self.learnt}

    def restore(self, state: Arrays) -> None:
        """Take what `state` gave. Raises KeyError."""
        for name in self.learnt:
            setattr(self, f"_{name}", state[name])


class Rank(Normaliser):
    """1 - ln(rank) / ln(depth + 1): 1 for a member's best item, 0 for all it doesn't have among its `depth` best. The scores' sizes are lost."""

    def apply(self, candidates: Candidates) -> np.ndarray:
        return (1 - np.log(candidates.ranks) / np.log(candidates.depth + 1)).astype(np.float32)


class Z(Normaliser):
    """(score - mean) / standard deviation over the request's candidates that are not consumed; 0 where all are alike."""

    def apply(self, candidates: Candidates) -> np.ndarray:
        scores = candidates.scores.astype(np.float64)
        free = ~candidates.consumed
        count = np.maximum(np.bincount(candidates.requests, free, len(candidates)), 1)[:, None]  # B 1
        mean = _sums(scores * free[:, None], candidates) / count
        centred = scores - mean[candidates.requests]
        spread = np.sqrt(_sums(centred**2 * free[:, None], candidates) / count)
        size = np.sqrt(_sums(scores**2 * free[:, None], candidates) / count)
        told = spread > 1e-9 * size  # less is the noise of the sums
        return np.where(told[candidates.requests], centred / np.where(told, spread, 1.0)[candidates.requests], 0.0).astype(np.float32)


class MinMax(Normaliser):
    """(score - least) / (best - least) over the request's candidates that are not consumed; 0 where all are alike."""

    def apply(self, candidates: Candidates) -> np.ndarray:
        free = ~candidates.consumed
        scores = candidates.scores.astype(np.float64)
        shape = (len(candidates), scores.shape[1])
        low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
        np.minimum.at(low, candidates.requests[free], scores[free])
        np.maximum.at(high, candidates.requests[free], scores[free])
        span = np.where(np.isfinite(high - low), high - low, 0.0)
        told = span > 0
        low, span = np.where(told, low, 0.0), np.where(told, span, 1.0)
        found = (scores - low[candidates.requests]) / span[candidates.requests]
        return np.where(told[candidates.requests], found, 0.0).astype(np.float32)


class Calibrated(Normaliser):
    """P(target | the member's rank of it), isotonic: never rising with the rank (pool adjacent violators), each rank starting from the share at large.

    Half ranks of ties take the probability between their neighbours.
    """

    learnt = ("chance",)

    def fit(self, candidates: Candidates, wanted: np.ndarray) -> Self:
        from scipy.optimize import isotonic_regression

        bins = candidates.depth + 1
        share = max(float(wanted.mean()) if len(wanted) else 0.0, 1e-9)
        self._chance = np.zeros((candidates.scores.shape[1], bins))  # M D+1
        for member in range(len(self._chance)):
            rank = np.clip(np.rint(candidates.ranks[:, member]).astype(int), 1, bins) - 1
            had = np.bincount(rank, minlength=bins).astype(np.float64)
            hits = np.bincount(rank[wanted], minlength=bins)
            weight = had + PRIOR_HITS
            falling = isotonic_regression((hits + PRIOR_HITS * share) / weight, weights=weight, increasing=False).x
            self._chance[member] = np.clip(falling, 1e-9, 1 - 1e-9)
        return self

    def apply(self, candidates: Candidates) -> np.ndarray:
        ranks = np.arange(1, candidates.depth + 2)
        columns = [np.interp(candidates.ranks[:, member], ranks, chance) for member, chance in enumerate(self._chance)]
        return np.stack(columns, axis=1).astype(np.float32)


class Softmax(Normaliser):
    """exp(z / T) over its sum for the request: a member's own probability among the candidates, T the likeliest temperature."""

    learnt = ("temperature",)

    def fit(self, candidates: Candidates, wanted: np.ndarray) -> Self:
        z = Z().apply(candidates).astype(np.float64)
        rows = candidates.requests
        counts = np.bincount(rows[wanted], minlength=len(candidates))  # B
        self._temperature = np.ones(z.shape[1])
        for member in range(z.shape[1]):
            gains = []
            for temperature in TEMPERATURES:
                scaled = z[:, member] / temperature
                best = _most(scaled, candidates)
                total = np.bincount(rows, np.exp(scaled - best[rows]), len(candidates))
                chosen = scaled[wanted].sum() - (counts * (np.log(np.maximum(total, 1e-300)) + best)).sum()
                gains.append(chosen)
            self._temperature[member] = TEMPERATURES[int(np.argmax(gains))]
        return self

    def apply(self, candidates: Candidates) -> np.ndarray:
        scaled = Z().apply(candidates) / self._temperature
        free = ~candidates.consumed
        found = np.zeros(scaled.shape)
        for member in range(scaled.shape[1]):
            best = _most(scaled[:, member], candidates)
            odds = np.exp(scaled[:, member] - best[candidates.requests])
            total = np.maximum(np.bincount(candidates.requests, odds * free, len(candidates)), 1e-12)
            found[:, member] = odds / total[candidates.requests]
        return found.astype(np.float32)


NORMALISERS: dict[Normalisation, type[Normaliser]] = {
    "rank": Rank,
    "z": Z,
    "min_max": MinMax,
    "calibrated": Calibrated,
    "softmax": Softmax,
}


def _sums(values: np.ndarray, candidates: Candidates) -> np.ndarray:
    """float64 (B, M): sums of (C, M) over each request."""
    columns = [np.bincount(candidates.requests, values[:, member], len(candidates)) for member in range(values.shape[1])]
    return np.stack(columns, axis=1)


def _most(values: np.ndarray, candidates: Candidates) -> np.ndarray:
    """float64 (B,): the largest of (C,) in each request, 0 for a request without candidates."""
    best = np.full(len(candidates), -np.inf)
    np.maximum.at(best, candidates.requests, values)
    return np.where(np.isfinite(best), best, 0.0)
