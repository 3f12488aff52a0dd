"""What an order of candidates is worth: the metrics of evaluation/metrics.py, a target that is no candidate counting as lost.

Dimension keys: B requests, C candidates, T targets.
"""

from __future__ import annotations

import numpy as np

from m6rec.base.contracts import Histories
from m6rec.evaluation.metrics import METRICS
from m6rec.fusion.candidates import Candidates

LOST = 1e9  # the rank of a target that is no candidate


class Quality:
    """`Quality(candidates, targets, "ndcg@10")(scores)` is the metric of each request, float64 (B,).

    As in the evaluation, a consumed item is no competitor, a consumed target is one, and ties take their expected rank. Every request
    needs a target; a target stands once in its row.
    """

    def __init__(self, candidates: Candidates, targets: Histories, metric: str) -> None:
        self.candidates, self.offsets = candidates, targets.offsets
        name, _, k = metric.partition("@")
        self.metric, self.k = METRICS[name], int(k)
        self.rows = candidates.requests
        wanted = candidates.wanted(targets)
        self.open = wanted | ~candidates.consumed  # C: what is ranked
        width = 1 + int(max(candidates.items.max(initial=0), targets.items.max(initial=0)))
        keys = self.rows * width + candidates.items
        asked = np.repeat(np.arange(len(targets)), targets.lengths) * width + targets.items  # T
        places = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))  # keys rise: items do, within a request
        found = keys[places] == asked if len(keys) else np.zeros(len(asked), dtype=bool)
        self.places = np.where(found, places, -1)  # T: the candidate that each target is
        # Targets of one request take turns: in each turn a request has one target at most, and one pass ranks them all.
        turn = np.arange(len(asked)) - np.repeat(targets.offsets[:-1], targets.lengths)
        self.turns = [np.flatnonzero((turn == number) & found) for number in range(int(targets.lengths.max(initial=0)))]

    def __call__(self, scores: np.ndarray, k: int | None = None) -> np.ndarray:
        """scores: float (C,).  k: another cutoff; a deeper one hears more and is less moved by chance."""
        ranks = np.full(len(self.places), LOST)
        for turn in self.turns:
            if not len(turn):
                continue
            own = np.full(len(self.candidates), np.inf)
            rows = self.rows[self.places[turn]]
            own[rows] = scores[self.places[turn]]
            theirs = own[self.rows]
            above = np.bincount(self.rows[(scores > theirs) & self.open], minlength=len(own))[rows]
            alike = np.bincount(self.rows[(scores == theirs) & self.open], minlength=len(own))[rows]
            ranks[turn] = 1.0 + above + (alike - 1) / 2.0
        return self.metric(ranks, self.offsets, k or self.k)
