"""Counting transitions: against counting by hand, for every numbering of the items, and without a user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from m6rec.base.contracts import Histories
from m6rec.base.errors import UsageError
from m6rec.data.transitions import count_transitions, cross_fitted, normalise, propagate, user_folds

ITEMS = 7
ROWS = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=9), min_size=1, max_size=8)


def by_hand(rows: list[list[int]], window: int, decay: float, backward: float) -> np.ndarray:
    counts = np.zeros((ITEMS, ITEMS))
    for row in rows:
        for left in range(len(row)):
            for right in range(left + 1, min(left + window, len(row) - 1) + 1):
                weight = decay ** (right - left - 1)
                counts[row[left], row[right]] += weight
                counts[row[right], row[left]] += backward * weight
    return counts


def test_three_events_by_hand() -> None:
    counts = count_transitions(Histories.from_lists([[0, 1, 2], [0, 2]]), 4, decay=0.5, backward=0.0)
    assert counts.dtype == np.float32
    expected = np.array([[0, 1, 0.5 + 1, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(counts.toarray(), expected)


@settings(deadline=None, max_examples=30)
@given(rows=ROWS, window=st.integers(1, 10), decay=st.sampled_from([0.0, 0.5, 0.9, 1.0]), backward=st.sampled_from([0.0, 0.3, 1.0]))
def test_equals_counting_by_hand(rows: list[list[int]], window: int, decay: float, backward: float) -> None:
    counts = count_transitions(Histories.from_lists(rows), ITEMS, window=window, decay=decay, backward=backward)
    np.testing.assert_allclose(counts.toarray(), by_hand(rows, window, decay, backward), rtol=1e-6, atol=1e-8)
    assert (counts.data > 0).all()


@settings(deadline=None, max_examples=30)
@given(rows=ROWS, numbering=st.permutations(range(ITEMS)), order=st.randoms(use_true_random=False))
def test_relabelling_permutes_exactly(rows: list[list[int]], numbering: list[int], order: object) -> None:
    renamed = [[numbering[item] for item in row] for row in rows]
    order.shuffle(renamed)  # type: ignore[attr-defined]
    first = count_transitions(Histories.from_lists(rows), ITEMS, backward=0.7).toarray()
    second = count_transitions(Histories.from_lists(renamed), ITEMS, backward=0.7).toarray()
    np.testing.assert_array_equal(second[np.ix_(numbering, numbering)], first)


@settings(deadline=None, max_examples=30)
@given(rows=ROWS, seed=st.integers(0, 5), folds=st.integers(2, 4))
def test_cross_fitted_is_the_count_of_the_others(rows: list[list[int]], seed: int, folds: int) -> None:
    fold = user_folds(len(rows), folds, seed)
    parts = cross_fitted(Histories.from_lists(rows), ITEMS, fold, window=4, decay=0.7, backward=0.5)
    assert len(parts) == fold.max() + 1
    for number, part in enumerate(parts):
        others = [row for row, own in zip(rows, fold, strict=True) if own != number]
        expected = count_transitions(Histories.from_lists(others), ITEMS, window=4, decay=0.7, backward=0.5)
        np.testing.assert_array_equal(part.toarray(), expected.toarray())
        assert part.nnz == expected.nnz  # true zeros, no rounding dust of the user's own transitions


def test_a_transition_of_one_user_only_is_not_in_the_own_fold() -> None:
    rows = [[0, 1, 2]] * 9 + [[3, 4, 5]]
    fold = user_folds(10, 5, seed=0)
    part = cross_fitted(Histories.from_lists(rows), 6, fold, decay=0.9)[fold[9]]
    assert part[[3, 4, 5]].nnz == 0
    assert part[[0, 1, 2]].nnz > 0


def test_folds_are_balanced_seeded_and_complete() -> None:
    fold = user_folds(103, 5, seed=3)
    assert fold.dtype == np.int64
    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    np.testing.assert_array_equal(fold, user_folds(103, 5, seed=3))
    assert (fold != user_folds(103, 5, seed=4)).any()


def test_normalise_divides_by_popularity_then_sums_to_one() -> None:
    counts = count_transitions(Histories.from_lists([[0, 1], [0, 1], [0, 1], [0, 1], [0, 2]]), 4, backward=0.0)
    plain = normalise(counts).toarray()
    np.testing.assert_allclose(plain[0], [0, 4 / 5, 1 / 5, 0], rtol=1e-6)
    damped = normalise(counts, damping=0.5, popularity=np.array([5, 4, 1, 0])).toarray()
    np.testing.assert_allclose(damped[0], [0, 2 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(normalise(counts, damping=0.5).toarray()[0], [0, 2 / 3, 1 / 3, 0], rtol=1e-6)
    assert plain[3].sum() == 0


@settings(deadline=None, max_examples=30)
@given(rows=ROWS, hops=st.integers(1, 4), decay=st.sampled_from([0.0, 0.5, 1.0]))
def test_propagate_is_the_decayed_sum_of_powers(rows: list[list[int]], hops: int, decay: float) -> None:
    transition = normalise(count_transitions(Histories.from_lists(rows), ITEMS))
    dense = transition.toarray().astype(np.float64)
    total = np.sum([decay**hop * np.linalg.matrix_power(dense, hop + 1) for hop in range(hops)], axis=0)
    mass = total.sum(axis=1, keepdims=True)
    expected = np.divide(total, mass, out=np.zeros_like(total), where=mass > 0)
    np.testing.assert_allclose(propagate(transition, hops=hops, decay=decay, keep=ITEMS).toarray(), expected, atol=1e-6)


def test_propagate_keeps_the_largest_and_whatever_ties_with_them() -> None:
    rows = [[0, 1]] * 4 + [[0, 2]] * 2 + [[0, 3]] * 2 + [[0, 4]]
    transition = normalise(count_transitions(Histories.from_lists(rows), 5, backward=0.0))
    kept = propagate(transition, hops=1, decay=1.0, keep=2).toarray()
    np.testing.assert_allclose(kept[0], [0, 4 / 8, 2 / 8, 2 / 8, 0], rtol=1e-6)
    np.testing.assert_allclose(propagate(transition, hops=1, decay=1.0, keep=1).toarray()[0], [0, 1, 0, 0, 0])


def test_no_events_and_bad_arguments() -> None:
    nobody: list[list[int]] = [[], []]
    empty = Histories.from_lists(nobody)
    assert count_transitions(empty, 3).shape == (3, 3)
    assert propagate(normalise(count_transitions(empty, 3)), hops=2, decay=0.5, keep=2).nnz == 0
    with pytest.raises(UsageError, match="window=0"):
        count_transitions(empty, 3, window=0)
    with pytest.raises(UsageError, match="folds is 1"):
        user_folds(4, 1, seed=0)
    with pytest.raises(UsageError, match="3 entries for 2 histories"):
        cross_fitted(empty, 3, np.array([0, 1, 0]))
    with pytest.raises(UsageError, match="keep=0"):
        propagate(normalise(count_transitions(empty, 3)), hops=1, decay=0.5, keep=0)


def test_real_beauty_is_counted_in_the_blink_of_an_eye(real_data: Callable[[str], Path]) -> None:
    lines = (real_data("beauty") / "leave_one_out.txt").read_text().splitlines()
    histories = Histories.from_lists([[int(item) for item in line.split()[1:]] for line in lines])
    items = int(histories.items.max()) + 1
    counts = count_transitions(histories, items)
    pairs = sum(np.maximum(histories.lengths - gap, 0).sum() * 0.9 ** (gap - 1) for gap in range(1, 11))
    assert abs(float(counts.sum(dtype=np.float64)) - 2 * pairs) < 1e-4 * pairs


def test_what_is_walked_over_or_normalised_stays_as_it_was() -> None:
    """Unsorted rows, and a weight too small for float32, must not be tidied in the caller's matrix."""
    data, indices, indptr = np.array([1.0, 1e-300, 3.0]), np.array([2, 0, 1]), np.array([0, 3, 3, 3])
    matrix = sparse.csr_array((data.copy(), indices.copy(), indptr.copy()), shape=(3, 3))
    for result in (propagate(matrix, hops=1, decay=0.5, keep=5), normalise(matrix)):
        np.testing.assert_allclose(result.toarray()[0], [0, 0.75, 0.25])
        assert result.nnz == 2
        np.testing.assert_array_equal(matrix.data, data)
        np.testing.assert_array_equal(matrix.indices, indices)
        np.testing.assert_array_equal(matrix.indptr, indptr)
