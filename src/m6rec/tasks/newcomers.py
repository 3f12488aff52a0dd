"""How the answer to somebody without events is put together: what newcomers do first, what people who say such things have, the interest vector.

    score(i) = start * log p(i | nothing known) + first * log E_first(i | said) + rest * log E_rest(i | said) + seen * log(1 + seen_i) + interest * (q . v_i)

The weights are those that serve the validation people best, over three questions alike: their first event, their first ten, and half of all they have.
(`seen` is how models of before had it: popularity in place of both E.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

STARTS, FIRSTS, RESTS, INTERESTS = (0.0, 0.5, 1.0), (0.0, 0.5, 1.0), (0.0, 0.25, 0.5, 1.0), (0.0, 0.3, 1.0)


class Newcomer(NamedTuple):
    """The weights of the formula above."""

    start: float
    first: float
    rest: float
    seen: float
    interest: float


@dataclass(frozen=True)
class NewcomerCases:
    """C people of one question: start (C, N) log p, told (2, C, N) of `ToldPrior`, lift (C, N) by the interest vector, and the items asked for."""

    start: np.ndarray
    told: np.ndarray
    lift: np.ndarray
    targets: list[np.ndarray]


def fit_newcomer(questions: Sequence[NewcomerCases], k: int = 10) -> Newcomer:
    """The weights of the highest mean over the questions of NDCG@k over the best that any weights reach there."""
    tried = [
        Newcomer(start, first, rest, 0.0, interest)
        for start, first, rest, interest in product(STARTS, FIRSTS, RESTS, INTERESTS)
        if start or first or rest
    ]
    reached = np.array([[_quality(cases, one, k) for one in tried] for cases in questions])
    return tried[int(np.argmax((reached / np.maximum(reached.max(axis=1, keepdims=True), 1e-12)).mean(axis=0)))]


def _quality(cases: NewcomerCases, weights: Newcomer, k: int) -> float:
    scores = weights.start * cases.start + weights.interest * cases.lift + weights.first * cases.told[0] + weights.rest * cases.told[1]
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable"), axis=1)
    gains = 1 / np.log2(np.arange(k) + 2)
    found = [gains[np.isin(row, wanted)].sum() / gains[: len(wanted)].sum() for row, wanted in zip(order, cases.targets, strict=True)]
    return float(np.mean(found))
