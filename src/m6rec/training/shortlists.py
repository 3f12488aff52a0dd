"""Validation cases over a large catalogue, cut down to the items that can come out near the top.

Choosing the agreement scores the same cases a hundred times. Of a million items next to none can reach the first ten of a case: what the
mixture puts first, what a prior counts most, and the targets are kept, each with its score and its counts; the rest is left out.

Dimension keys: B cases, N items, L items of a shortlist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Histories, Requests
from m6rec.tasks.agreement import GRID
from m6rec.tasks.choose_mixture import ChooseMixture

LISTED = 300  # by the mixture, and as many by every prior


@dataclass(frozen=True)
class Shortlists:
    """mixture float32 (B, L), -inf where a list is shorter; counted: recency -> prior -> float32 (B, L); targets: columns, not items."""

    mixture: np.ndarray
    counted: Mapping[float, Mapping[str, np.ndarray]]
    targets: Histories


def make_shortlists(scorer: ChooseMixture, requests: Requests, targets: Histories, excluded: Histories | None, batch: int) -> Shortlists:
    """Shortlists of `requests`; what is excluded is on none of them unless it is a target. `batch` cases are scored at a time."""
    parts, recencies = list(scorer.counted(requests.rows(np.arange(1)), 1.0)), GRID["recency"]
    rows: list[tuple[np.ndarray, np.ndarray, dict[tuple[float, str], np.ndarray]]] = []
    for start in range(0, len(requests), batch):
        block = np.arange(start, min(start + batch, len(requests)))
        mixture = scorer.scores(requests.rows(block))  # b N
        counted = {recency: scorer.counted(requests.rows(block), recency) for recency in recencies}
        for place, case in enumerate(block):
            sources = [mixture[place], *(counted[recencies[len(recencies) // 2]][name][place] for name in parts)]
            listed = np.unique(np.concatenate([_largest(values) for values in sources]))
            if excluded is not None:
                listed = np.setdiff1d(listed, excluded.row(int(case)))
            listed = np.union1d(listed, targets.row(int(case)))
            given = {(recency, name): counted[recency][name][place, listed] for recency in recencies for name in parts}
            rows.append((listed, mixture[place, listed], given))
    width = max((len(listed) for listed, _, _ in rows), default=0)

    def table(values: list[np.ndarray], nothing: float) -> np.ndarray:
        result = np.full((len(values), width), nothing, dtype=np.float32)
        for row, value in enumerate(values):
            result[row, : len(value)] = value
        return result

    columns = [np.searchsorted(listed, targets.row(case)) for case, (listed, _, _) in enumerate(rows)]
    return Shortlists(
        mixture=table([scores for _, scores, _ in rows], -np.inf),
        counted={r: {name: table([given[r, name] for _, _, given in rows], 0.0) for name in parts} for r in recencies},
        targets=Histories.from_lists(columns),
    )


def _largest(values: np.ndarray) -> np.ndarray:
    """Positions of the LISTED largest above the floor of the row."""
    if len(values) <= LISTED:
        return np.arange(len(values))
    best = np.argpartition(values, len(values) - LISTED)[-LISTED:]
    return best[values[best] > values.min()] if values.min() == 0 else best
