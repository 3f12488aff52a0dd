"""Novelty, popularity, diversity, serendipity, Gini: by hand, with ties, against brute force over all ways to break them."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from m6rec.base.contracts import Histories
from m6rec.evaluation import beyond_accuracy
from m6rec.evaluation.beyond_accuracy import (
    TopLists,
    diversity,
    gini,
    popularity_ranks,
    self_information,
    serendipity,
    top_lists,
    unit_rows,
)
from m6rec.evaluation.metrics import expected_ranks

SEEN = np.array([4, 2, 1, 1, 0])


def lists_of(candidates: list[list[float]], k: int) -> TopLists:
    ((start, found),) = top_lists(np.array(candidates, dtype=np.float32), [k])
    assert start == 0
    return found[k]


def test_novelty_and_popularity_by_hand() -> None:
    bits = self_information(SEEN)
    assert bits.tolist() == [1, 2, 3, 3, 3]  # 4 of 8 events, 2 of 8, 1 of 8; never seen counts as once
    lists = lists_of([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5], [-math.inf, 1, -math.inf, -math.inf, -math.inf]], 2)
    assert lists.mean(bits).tolist() == [1.5, 3.0, 2.0]  # the last row has one candidate, so a list of one
    assert lists.mean(SEEN).tolist() == [3.0, 0.5, 2.0]
    assert lists.exposure(5).tolist() == [1, 2, 0, 1, 1]


def test_a_tie_for_the_last_place_is_shared() -> None:
    lists = lists_of([[9, 5, 5, 5, 1]], 2)
    assert lists.mean(self_information(SEEN)).tolist() == [pytest.approx((1 + (2 + 3 + 3) / 3) / 2)]
    assert lists.exposure(5).tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0])
    whole = lists_of([[9, 5, 5, 1, 1]], 3)  # the tie fits: nothing is shared
    assert not whole.tied.any()
    assert whole.weights.tolist() == [1, 1, 1]


def test_an_empty_list_has_no_value() -> None:
    lists = lists_of([[-math.inf] * 3, [1, 2, 3]], 2)
    assert np.isnan(lists.mean(np.ones(3))).tolist() == [True, False]
    assert np.isnan(diversity(lists, sparse.csr_array(np.eye(3)))).tolist() == [True, False]


def test_diversity_by_hand() -> None:
    """Items 0 and 1 share one of two words each (cosine 1/2), item 2 shares nothing, item 3 says nothing."""
    contents = unit_rows(sparse.csr_array(np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 7], [0, 0, 0, 0]])))
    assert diversity(lists_of([[9, 8, 7, 1]], 2), contents).tolist() == pytest.approx([0.5])
    assert diversity(lists_of([[9, 8, 7, 1]], 3), contents).tolist() == pytest.approx([1 - 0.5 / 3])
    assert diversity(lists_of([[9, 8, 1, 7]], 3), contents).tolist() == pytest.approx([0.5])  # pairs with item 3 are left out
    assert np.isnan(diversity(lists_of([[9, 1, 1, 8]], 2), contents)).all()
    assert np.isnan(diversity(lists_of([[9, 8, 7, 1]], 1), contents)).all()  # one item is no pair
    same = unit_rows(sparse.csr_array(np.ones((3, 2))))
    assert diversity(lists_of([[1, 1, 1]], 2), same).tolist() == pytest.approx([0.0])


def test_gini_by_hand() -> None:
    assert gini(np.array([2.0, 2.0, 2.0, 2.0])) == 0.0
    assert gini(np.array([0.0, 0.0, 0.0, 8.0])) == 0.75  # (N - 1) / N: one item is shown to everybody
    assert gini(np.array([3.0, 1.0])) == 0.25
    assert math.isnan(gini(np.zeros(3)))


def test_serendipity_by_hand() -> None:
    """Two targets in the list, one of them among the popular; then a case whose target is not in the list at all."""
    ranks, popular, offsets = np.array([1.0, 2.0, 9.0, 9.0]), np.array([1.0, 7.0, 8.0, 8.0]), np.array([0, 3, 4])
    assert serendipity(ranks, popular, offsets, 5).tolist() == pytest.approx([1 / 3, 0])
    assert serendipity(ranks, popular, offsets, 10).tolist() == [0, 0]  # ten popular items hold them all


def brute(row: np.ndarray, k: int, values: np.ndarray, contents: np.ndarray) -> tuple[float, float]:
    """(mean of values, diversity): over every list that some way of breaking the ties gives."""
    items = [i for i in np.argsort(-row, kind="stable") if row[i] > -np.inf]
    size = min(k, len(items))
    last = row[items[size - 1]]
    above, level = [i for i in items if row[i] > last], [i for i in items if row[i] == last]
    means, similar, pairs = [], 0.0, 0
    for rest in combinations(level, size - len(above)):
        chosen = [*above, *rest]
        means.append(np.mean(values[chosen]))
        for one, other in combinations(chosen, 2):
            if contents[one].any() and contents[other].any():
                similar += contents[one] @ contents[other]
                pairs += 1
    return float(np.mean(means)), 1 - similar / pairs if pairs else math.nan


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 9), st.integers(1, 4))
def test_lists_match_every_way_of_breaking_ties(seed: int, items: int, k: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    candidates = rng.integers(0, levels, size=(5, items)).astype(np.float32)
    candidates[rng.random(candidates.shape) < 0.2] = -np.inf
    candidates[:, 0] = 1.0
    contents = unit_rows(sparse.csr_array(rng.integers(0, 2, size=(items, 3))))
    values = rng.random(items)
    found = lists_of(candidates.tolist(), k)
    expected = [brute(row, k, values, contents.toarray()) for row in candidates]
    np.testing.assert_allclose(found.mean(values), [mean for mean, _ in expected])
    np.testing.assert_allclose(diversity(found, contents), [spread for _, spread in expected], atol=1e-12)
    assert found.exposure(items).sum() == pytest.approx(np.minimum(np.isfinite(candidates).sum(axis=1), k).sum())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 10))
def test_popularity_ranks_are_the_ranks_of_the_counts(seed: int, items: int) -> None:
    rng = np.random.default_rng(seed)
    seen = rng.integers(0, 4, size=items)
    targets = Histories.from_lists([list(rng.choice(items, size=rng.integers(1, 3), replace=False)) for _ in range(6)])
    history = Histories.from_lists([list(rng.integers(0, items, size=rng.integers(0, 5))) for _ in range(6)])
    table = np.tile(seen.astype(np.float32), (6, 1))
    assert popularity_ranks(seen, targets, history).tolist() == expected_ranks(table, targets, history).tolist()
    assert popularity_ranks(seen, targets, None).tolist() == expected_ranks(table, targets).tolist()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = np.random.default_rng(0).integers(0, 5, size=(7, 6)).astype(np.float32)
    ((_, whole),) = top_lists(candidates, [2, 4])
    monkeypatch.setattr(beyond_accuracy, "BLOCK_CELLS", 12)
    blocks = list(top_lists(candidates, [2, 4]))
    assert [start for start, _ in blocks] == [0, 2, 4, 6]
    for k in (2, 4):
        np.testing.assert_allclose(np.concatenate([lists[k].mean(np.arange(6)) for _, lists in blocks]), whole[k].mean(np.arange(6)))
