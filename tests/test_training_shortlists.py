"""Shortlists of validation cases: metrics at the top are those of whole rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from m6rec.base.contracts import Histories, Requests
from m6rec.evaluation.metrics import expected_ranks, ndcg
from m6rec.tasks.agreement import Agreement
from m6rec.training import shortlists
from m6rec.training.shortlists import make_shortlists

CASES, ITEMS = 30, 200


class Fixed:
    """Scores and counts that are known; the first item of a history says which row."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.mixture = generator.normal(size=(CASES, ITEMS)).astype(np.float32)
        self.counts = {
            name: np.where(generator.random((CASES, ITEMS)) < 0.1, generator.random((CASES, ITEMS)), 0).astype(np.float32)
            for name in ("next", "text")
        }
        self.task = SimpleNamespace(parts=list(self.counts))

    def rows(self, requests: Requests) -> np.ndarray:
        return requests.histories.items[requests.histories.offsets[:-1]]

    def scores(self, requests: Requests) -> np.ndarray:
        return self.mixture[self.rows(requests)]

    def counted(self, requests: Requests, recency: float) -> dict[str, np.ndarray]:
        return {name: recency * values[self.rows(requests)] for name, values in self.counts.items()}


@pytest.mark.parametrize("exclude", [False, True])
def test_metrics_at_the_top_are_those_of_whole_rows(monkeypatch: pytest.MonkeyPatch, exclude: bool) -> None:
    monkeypatch.setattr(shortlists, "LISTED", 40)
    scorer: Any = Fixed()
    requests = Requests(Histories.from_lists([[case, 50, 60] for case in range(CASES)]))
    generator = np.random.default_rng(1)
    targets = Histories.from_lists([generator.choice(ITEMS, 1 + case % 2, replace=False).tolist() for case in range(CASES)])
    excluded = requests.histories if exclude else None
    lists = make_shortlists(scorer, requests, targets, excluded, batch=7)
    assert lists.mixture.shape[1] < ITEMS
    for agreement in (Agreement(), Agreement(weight=1.4, floor=0.01, recency=0.8, shares={"next": 1.0, "text": 3.0})):
        whole = scorer.mixture + agreement.gain(scorer.counted(requests, agreement.recency))
        cut = lists.mixture + agreement.gain(lists.counted[agreement.recency])
        wanted = ndcg(expected_ranks(whole, targets, excluded), targets.offsets, 10)
        found = ndcg(expected_ranks(cut, lists.targets), lists.targets.offsets, 10)
        np.testing.assert_allclose(found, wanted)
        assert wanted.any()
