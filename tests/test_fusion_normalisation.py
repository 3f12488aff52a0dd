"""Candidates, normalisations and the metric over candidates: by hand, and what must hold for any scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Histories
from m6rec.evaluation.metrics import expected_ranks, ndcg
from m6rec.fusion.candidates import Candidates, union
from m6rec.fusion.normalisation import NORMALISERS, Calibrated, MinMax, Rank, Softmax, Z
from m6rec.fusion.quality import Quality

NONE = Histories.from_lists([[]])


def look(*members: list[float], history: list[int] | None = None, depth: int = 3, exclude: bool = True) -> Candidates:
    """Candidates of one request, from the scores of each member for every item."""
    scores = [np.array([row], dtype=np.float32) for row in members]
    return union(scores, [], Histories.from_lists([history or []]), np.zeros(len(members[0])), depth, exclude)


# --- candidates


def test_the_union_of_the_best_by_hand() -> None:
    found = look([5, 4, 3, 2, 1], [1, 2, 3, 4, 5], depth=2)
    np.testing.assert_array_equal(found.items, [0, 1, 3, 4])
    np.testing.assert_array_equal(found.ranks, [[1, 3], [2, 3], [3, 2], [3, 1]])


def test_what_ties_with_the_first_left_out_is_left_out() -> None:
    """Which of them would be a matter of ids."""
    found = look([5, 4, 4, 4, 1], depth=2)
    np.testing.assert_array_equal(found.items, [0])
    np.testing.assert_array_equal(look([5, 4, 4, 1, 1], depth=3).ranks[:, 0], [1, 2.5, 2.5])
    assert len(look([1, 1, 1], depth=1).items) == 0


def test_consumed_items_take_no_place_and_are_ranked_as_if_each_came_alone() -> None:
    found = look([9, 8, 5, 4, 3, 2], history=[0, 1, 5], depth=2)
    np.testing.assert_array_equal(found.items, [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(found.consumed, [True, True, False, False, True])
    np.testing.assert_array_equal(found.ranks[:, 0], [1, 1, 1, 2, 3])
    both = look([9, 8, 5, 4, 3, 2], history=[0, 1, 5], depth=2, exclude=False)
    np.testing.assert_array_equal(both.items, [0, 1])
    assert not both.consumed.any()


def test_a_depth_beyond_the_catalogue_takes_everything() -> None:
    found = look([3, 1, 2], history=[0], depth=10)
    np.testing.assert_array_equal(found.items, [0, 1, 2])
    np.testing.assert_array_equal(found.ranks[:, 0], [1, 2, 1])


def test_picking_requests_and_candidates() -> None:
    scores = [np.array([[3, 2, 1], [1, 2, 3]], dtype=np.float32)]
    both = union(scores, [], Histories.from_lists([[], [0]]), np.zeros(3), 1, True)
    np.testing.assert_array_equal(both.items, [0, 0, 2])
    second = both.rows(np.array([1]))
    np.testing.assert_array_equal(second.items, [0, 2])
    np.testing.assert_array_equal(second.lengths, [1])
    np.testing.assert_array_equal(both.keep(~both.consumed).items, [0, 2])
    np.testing.assert_array_equal(both.wanted(Histories.from_lists([[1], [2]])), [False, False, True])


# --- normalisations by hand


def test_rank_by_hand() -> None:
    np.testing.assert_allclose(
        Rank().apply(look([4, 3, 2, 1], depth=3))[:, 0], [1, 1 - np.log(2) / np.log(4), 1 - np.log(3) / np.log(4)], rtol=1e-6
    )


def test_z_by_hand() -> None:
    np.testing.assert_allclose(Z().apply(look([5, 3, 1, 0], depth=3))[:, 0], np.array([2, 0, -2]) / np.sqrt(8 / 3), rtol=1e-6)
    consumed = Z().apply(look([5, 3, 9, 0, 0], history=[2], depth=2))[:, 0]
    np.testing.assert_allclose(consumed, [1, -1, 5], rtol=1e-6)  # mean 4 and deviation 1 are of the others


def test_min_max_by_hand() -> None:
    np.testing.assert_allclose(MinMax().apply(look([5, 3, 1, 0], depth=3))[:, 0], [1, 0.5, 0], rtol=1e-6)


def test_softmax_sums_to_one_and_finds_its_temperature() -> None:
    candidates = look([5, 3, 1, 0], depth=3)
    sharp, blunt = Softmax(), Softmax()
    sharp.fit(candidates, np.array([True, False, False]))
    blunt.fit(candidates, np.array([False, True, False]))
    for one in (sharp, blunt):
        np.testing.assert_allclose(one.apply(candidates).sum(), 1, rtol=1e-5)
    assert sharp.apply(candidates)[0, 0] > 0.99
    assert blunt.apply(candidates)[0, 0] < 0.5


def test_calibrated_is_the_share_of_targets_at_a_rank_never_rising() -> None:
    """A hundred requests: rank 1 is the target in 40, rank 2 in 10, rank 3 in 30: the last two are pooled."""
    scores = [np.tile(np.array([[4, 3, 2, 1]], dtype=np.float32), (100, 1))]
    candidates = union(scores, [], Histories.from_lists([[]] * 100), np.zeros(4), 3, True)
    wanted = np.zeros((100, 3), dtype=bool)
    wanted[:40, 0] = wanted[40:50, 1] = wanted[50:80, 2] = True
    calibrated = Calibrated()
    calibrated.fit(candidates, wanted.ravel())
    np.testing.assert_allclose(calibrated.apply(candidates)[:3, 0], [0.4, 0.2, 0.2], atol=0.003)


# --- what holds for any scores

ROWS = st.lists(st.integers(-40, 40), min_size=3, max_size=12)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 12), st.integers(0, 2**31))
def test_every_normalisation_keeps_the_order_and_rank_sees_nothing_else(row: list[int], depth: int, seed: int) -> None:
    plain = look([float(value) for value in row], depth=depth)
    bent = look([float(value) ** 3 * 2 + 1 for value in row], depth=depth)
    np.testing.assert_array_equal(plain.items, bent.items)
    np.testing.assert_array_equal(Rank().apply(plain), Rank().apply(bent))
    wanted = np.random.default_rng(seed).random(len(plain.items)) < 0.3
    for kind in NORMALISERS.values():
        normaliser = kind()
        normaliser.fit(plain, wanted)
        values = normaliser.apply(plain)[:, 0]
        assert np.isfinite(values).all()
        assert (np.diff(values[np.argsort(plain.scores[:, 0], kind="stable")]) >= -1e-6).all(), kind.__name__
        again = kind()
        again.restore(normaliser.state())
        np.testing.assert_array_equal(again.apply(plain)[:, 0], values)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 12), st.integers(0, 2**31))
def test_relabelling_permutes_candidates_and_values(row: list[int], depth: int, seed: int) -> None:
    place = np.random.default_rng(seed).permutation(len(row))  # old -> new
    history = [int(item) for item in np.random.default_rng(seed + 1).choice(len(row), 2, replace=False)]
    moved = [0.0] * len(row)
    for old, new in enumerate(place):
        moved[new] = float(row[old])
    first = look([float(value) for value in row], history=history, depth=depth)
    second = look(moved, history=[int(place[item]) for item in history], depth=depth)
    assert {int(place[item]) for item in first.items} == set(second.items.tolist())
    order = np.argsort(place[first.items])
    for kind in (Rank, Z, MinMax):
        np.testing.assert_allclose(kind().apply(second), kind().apply(first)[order], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_quality_is_the_metric_of_the_evaluation(seed: int, wanted: int) -> None:
    """With every item a candidate: ties, several targets, consumed items, consumed targets."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (5, 8)).astype(np.float32)
    histories = Histories.from_lists([random.choice(8, random.integers(0, 4), replace=False) for _ in range(5)])
    targets = Histories.from_lists([random.choice(8, wanted, replace=False) for _ in range(5)])
    candidates = union([scores], [], histories, np.zeros(8), 50, True)
    got = Quality(candidates, targets, "ndcg@3")(candidates.scores[:, 0])
    expected = ndcg(expected_ranks(scores, targets, histories), targets.offsets, 3)
    np.testing.assert_allclose(got, expected)


def test_a_target_that_is_no_candidate_is_lost() -> None:
    candidates = look([4, 3, 2, 1], depth=2)
    assert Quality(candidates, Histories.from_lists([[3]]), "ndcg@10")(candidates.scores[:, 0])[0] == 0
    assert Quality(candidates, Histories.from_lists([[1]]), "hit_rate@2")(candidates.scores[:, 0])[0] == 1


@pytest.mark.parametrize("kind", sorted(NORMALISERS))
def test_scores_that_are_all_alike_say_nothing(kind: str) -> None:
    candidates = look([2, 2, 2], depth=5)
    normaliser = NORMALISERS[kind]()  # type: ignore[index]
    normaliser.fit(candidates, np.zeros(3, dtype=bool))
    values = normaliser.apply(candidates)[:, 0]
    assert np.isfinite(values).all()
    assert np.ptp(values) < 1e-6
