"""The place in the list that an exposure was shown at: learned apart from what is judged, and left out of the answers.

Shapes: R rows, T tasks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.tasks.options import module_name

EXACT = 10  # places with a term of their own; below them they share one for every doubling
BUCKETS = 18
SCALE = 8.0  # of the terms as parameters: they must not lag behind a network that would explain places by what was shown there
ROUNDS = 60  # of the additive fit that terms start from
LEAST_PROPENSITY = 0.01  # weights are clipped at 1 / this


def position_bucket(positions: np.ndarray) -> np.ndarray:
    """int64 (R,): 0 for an unknown place (NaN), then 1, 2 .. EXACT, then one for every doubling."""
    places = np.maximum(np.nan_to_num(positions, nan=1.0), 1.0)
    far = EXACT + 1 + np.floor(np.log2(places / (EXACT + 1)).clip(0)).astype(np.int64)
    bucket = np.where(places <= EXACT, np.floor(places).astype(np.int64), np.minimum(far, BUCKETS - 1))
    return np.where(np.isnan(positions), 0, bucket)


class PositionEffect(nn.Module):
    """One additive term of the logit for each place and task: log odds of being looked at there.

    Terms have a mean of zero over the training rows, so that an answer without them is right for the usual place.
    """

    shares: Tensor

    def __init__(self, tasks: list[str]) -> None:
        super().__init__()
        self.terms = nn.ParameterDict()
        for task in tasks:
            self.add(task)
        self.register_buffer("shares", torch.full((BUCKETS,), 1 / BUCKETS))

    def add(self, task: str) -> None:
        self.terms[module_name(task)] = nn.Parameter(torch.zeros(BUCKETS))

    def drop(self, task: str) -> None:
        if module_name(task) in self.terms:
            del self.terms[module_name(task)]

    @torch.no_grad()
    def fit(self, positions: np.ndarray, items: np.ndarray, labels: dict[str, np.ndarray]) -> None:
        """How often each place was shown, and where the terms start from: what of a binary label items leave to the place.

        positions, items (X,); labels: task -> float32 (X,), NaN unknown.
        """
        buckets = position_bucket(positions)
        counts = np.bincount(buckets, minlength=BUCKETS)
        self.shares.copy_(torch.from_numpy(counts / max(counts.sum(), 1)))
        for task, values in labels.items():
            known = ~np.isnan(values)
            if known.any():
                terms = additive_terms(items[known], buckets[known], values[known])
                self.terms[module_name(task)].copy_(torch.from_numpy(terms / SCALE))

    def effect(self, task: str) -> Tensor:
        """(BUCKETS,): the term of each place; a place without rows has none."""
        terms = self.terms[module_name(task)] * SCALE
        return (terms - (terms * self.shares).sum()) * (self.shares > 0)

    def forward(self, task: str, buckets: Tensor) -> Tensor:
        """(R,) terms; buckets int64 (R,)."""
        return self.effect(task)[buckets]


def additive_terms(items: np.ndarray, buckets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 (BUCKETS,): b of the logistic fit p = sigmoid(a[item] + b[bucket]), items drawn to their mean; by turns, one Newton step each.

    Without the items in it, a place where liked items are shown would look like one that makes people like things.
    """
    rows = [np.unique(items, return_inverse=True)[1], buckets]
    mean = np.clip(labels.mean(), 1e-4, 1 - 1e-4)
    start = np.log(mean / (1 - mean))
    terms = [np.zeros(rows[0].max() + 1), np.zeros(BUCKETS)]
    for turn in range(2 * ROUNDS):
        side = turn % 2
        guess = 1 / (1 + np.exp(-(start + terms[0][rows[0]] + terms[1][rows[1]])))
        slope = np.bincount(rows[side], labels - guess, minlength=len(terms[side])) - terms[side]
        bend = np.bincount(rows[side], guess * (1 - guess), minlength=len(terms[side])) + 1.0  # a prior of deviation 1
        terms[side] += slope / bend
    return terms[1]


def propensity_weights(propensities: np.ndarray) -> np.ndarray:
    """float32 (R,): 1 / propensity, clipped, with a mean of 1 (self-normalised; Swaminathan and Joachims, NeurIPS 2015); 1 where unknown."""
    known = np.isfinite(propensities) & (propensities > 0)
    weights = np.where(known, 1 / np.maximum(np.where(known, propensities, 1.0), LEAST_PROPENSITY), np.nan)
    mean = np.nanmean(weights) if known.any() else 1.0
    return np.where(known, weights / mean, 1.0).astype(np.float32)
