"""Asking back: whether the answers left are too open, and which field splits them best."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from m6rec.data.dataset import FieldType, Table

CONSIDERED = 60  # best answers that a question shall tell apart
NAMED = 3  # values that a question offers
LEAST_SHARE = 0.08  # of the probability behind a value that is offered
COVERED = 0.5  # share of the probability that the values offered must have together


@dataclass(frozen=True)
class Split:
    """A field that splits the answers: how much is learned from its value, in bits, and its likeliest values."""

    field: str
    bits: float
    values: tuple[str, ...]


def openness(scores: np.ndarray) -> float:
    """Entropy of the best answers' probabilities against that of as many equal ones, 0 to 1. scores: float (C,), log probabilities."""
    weights = _weights(scores)
    if len(weights) < 2:
        return 0.0
    return float(-(weights * np.log(np.maximum(weights, 1e-12))).sum() / math.log(len(weights)))


def best_split(items: Table, rows: np.ndarray, scores: np.ndarray, known: Collection[str] = ()) -> Split | None:
    """The field whose value would tell most about which of the answers is wanted; None where none tells enough.

    Args:
        rows: int64 (C,), the answers, best first.  scores: float (C,).
        known: fields that the person has spoken of already.
    """
    rows, weights = rows[:CONSIDERED], _weights(scores)
    found: list[Split] = []
    for field, kind in items.fields.items():
        if field in known or kind not in (FieldType.CATEGORY, FieldType.TAGS):
            continue
        held = items.frame[field].gather(rows).to_list()
        shares: dict[str, float] = {}
        told = 0.0
        for value, weight in zip(held, weights.tolist(), strict=True):
            values = [value] if isinstance(value, str) else list(dict.fromkeys(value or []))
            told += weight if values else 0.0
            for one in values:
                shares[one] = shares.get(one, 0.0) + weight / len(values)
        best = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))[:NAMED]
        offered = tuple(value for value, share in best if share >= LEAST_SHARE)
        if len(offered) < 2 or sum(share for _, share in best) < COVERED * told or told < COVERED:
            continue
        bits = -sum(share / told * math.log2(share / told) for share in shares.values() if share > 0) * told
        found.append(Split(field, bits, offered))
    return max(found, key=lambda split: split.bits, default=None)


def _weights(scores: np.ndarray) -> np.ndarray:
    """Probabilities of the best answers among themselves."""
    best = scores[:CONSIDERED].astype(np.float64)
    if not len(best):
        return best
    weights = np.exp(best - best.max())
    return np.asarray(weights / weights.sum())
