"""Similarity of items: hand-computed cosines, planted topics, and what must not change the result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from m6rec.text.postings import TURNS, Postings
from m6rec.text.similarity import neighbour_rows, query_similarity, similarity_vectors, text_neighbours


def random_bag(seed: int, items: int = 60, features: int = 20) -> csr_array:
    return csr_array((np.random.default_rng(seed).random((items, features)) < 0.2).astype(np.float32))


def unit(matrix: csr_array) -> csr_array:
    idf = np.log1p(matrix.shape[0] / np.maximum(np.asarray(matrix.sum(axis=0)).ravel(), 1)).astype(np.float32)
    return similarity_vectors(matrix, idf)


def test_vectors_by_hand() -> None:
    vectors = similarity_vectors(csr_array(np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]], np.float32)), np.array([3, 4, 12], np.float32))
    np.testing.assert_allclose(vectors.toarray(), [[3 / 5, 4 / 5, 0], [0, 4 / np.sqrt(160), 12 / np.sqrt(160)], [0, 0, 0]], rtol=1e-6)
    assert vectors.dtype == np.float32


def test_neighbours_by_hand() -> None:
    # Equal idf: cosine(0,1) = 1/2, cosine(0,2) = 1/sqrt(2), cosine(1,2) = 1/sqrt(2); item 3 shares nothing.
    matrix = csr_array(np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float32))
    vectors = similarity_vectors(matrix, np.ones(4, np.float32))
    squared = text_neighbours(vectors, power=2).toarray()
    np.testing.assert_allclose(squared, [[0, 1 / 3, 2 / 3, 0], [1 / 3, 0, 2 / 3, 0], [1 / 2, 1 / 2, 0, 0], [0, 0, 0, 0]], rtol=1e-6)
    one = text_neighbours(vectors, keep=1).toarray()
    assert one[0].tolist() == one[1].tolist() == [0, 0, 1, 0]


@given(st.integers(0, 1000), st.integers(1, 8), st.sampled_from([0.5, 1.0, 3.0, 40.0]))
@settings(max_examples=25, deadline=None)
def test_equals_the_dense_definition(seed: int, keep: int, power: float) -> None:
    vectors = unit(random_bag(seed))
    dense = (vectors @ vectors.T).toarray().astype(np.float64)
    np.fill_diagonal(dense, 0)
    found = text_neighbours(vectors, keep=keep, power=power)
    for row in range(len(dense)):
        chosen = found.indices[found.indptr[row] : found.indptr[row + 1]]
        assert len(chosen) == min(keep, (dense[row] > 0).sum())
        np.testing.assert_allclose(np.sort(dense[row, chosen])[::-1], np.sort(dense[row])[::-1][: len(chosen)], rtol=1e-6)
        if len(chosen):
            weights = dense[row, chosen] ** power
            np.testing.assert_allclose(found.data[found.indptr[row] : found.indptr[row + 1]], weights / weights.sum(), rtol=1e-4)


def test_some_rows_alone_are_those_of_all() -> None:
    vectors, rows = unit(random_bag(3)), np.array([0, 7, 31])
    whole, some = text_neighbours(vectors, keep=5, power=2), neighbour_rows(vectors, rows, keep=5, power=2)
    assert some.shape == whole.shape
    np.testing.assert_array_equal(some[rows].toarray(), whole[rows].toarray())
    assert some.nnz == whole[rows].nnz


def test_planted_topics() -> None:
    generator = np.random.default_rng(3)
    topics = np.repeat(np.arange(6), 20)
    matrix = np.zeros((120, 60 + 5), np.float32)
    for item, topic in enumerate(topics):
        matrix[item, topic * 10 + generator.choice(10, 5, replace=False)] = 1
        matrix[item, 60 + generator.choice(5, 3, replace=False)] = 1  # words that every topic uses
    neighbours = text_neighbours(unit(csr_array(matrix)), keep=10, power=2)
    same = topics[neighbours.indices] == np.repeat(topics, np.diff(neighbours.indptr))
    assert neighbours.data[same].sum() / neighbours.data.sum() > 0.99


def test_relabelling_permutes_and_changes_nothing_else() -> None:
    matrix = random_bag(5, items=80, features=40)
    order = np.random.default_rng(1).permutation(80)
    distinct = len(np.unique(matrix.toarray(), axis=0)) == 80
    assert distinct, "the seed must give items that differ: equal ones are told apart by position alone"
    before = text_neighbours(unit(matrix), keep=5, power=2).toarray()
    after = text_neighbours(unit(csr_array(matrix.toarray()[order])), keep=5, power=2).toarray()
    np.testing.assert_array_equal(before[np.ix_(order, order)], after)


def test_ties_do_not_all_go_to_the_first_items() -> None:
    # 40 items of one category, each with a word of its own: every cosine is equal.
    matrix = csr_array(np.hstack([np.ones((40, 1)), np.eye(40)]).astype(np.float32))
    neighbours = text_neighbours(similarity_vectors(matrix, np.ones(41, np.float32)), keep=4)
    received = np.bincount(neighbours.indices, minlength=40)
    assert (np.diff(neighbours.indptr) == 4).all()
    assert received.max() < 20


@pytest.mark.parametrize("chunk", [1, 7, 60, 1000])
def test_chunk_size_changes_nothing(chunk: int) -> None:
    vectors = unit(random_bag(11))
    expected, found = text_neighbours(vectors, keep=6), text_neighbours(vectors, keep=6, chunk=chunk)
    np.testing.assert_array_equal(expected.indptr, found.indptr)
    np.testing.assert_array_equal(expected.indices, found.indices)
    np.testing.assert_array_equal(expected.data, found.data)


def test_rows_sum_to_one_and_diagonal_is_empty() -> None:
    neighbours = text_neighbours(unit(random_bag(2)), keep=3, power=60)
    sums = np.asarray(neighbours.sum(axis=1)).ravel()
    np.testing.assert_allclose(sums[np.diff(neighbours.indptr) > 0], 1, rtol=1e-5)
    assert not neighbours.diagonal().any()
    assert np.isfinite(neighbours.data).all()


@pytest.mark.parametrize(("items", "features"), [(0, 0), (1, 3), (4, 0)])
def test_nothing_to_compare(items: int, features: int) -> None:
    vectors = similarity_vectors(csr_array(np.ones((items, features), np.float32)), np.ones(features, np.float32))
    neighbours = text_neighbours(vectors)
    assert neighbours.shape == (items, items)
    assert neighbours.nnz == 0
    assert query_similarity(vectors, csr_array(np.ones((2, features), np.float32))).shape == (2, items)


def test_queries_alone_or_together() -> None:
    vectors, queries = unit(random_bag(4)), unit(random_bag(9, items=70))
    together = query_similarity(vectors, queries)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, (queries @ vectors.T).toarray(), atol=1e-6)
    for row in range(70):
        np.testing.assert_array_equal(together[[row]], query_similarity(vectors, queries[[row]]))


def common_words(items: int, seed: int = 0) -> csr_array:
    """Bags with a topic's words, words of a few items, and words that a large share of all items has."""
    generator = np.random.default_rng(seed)
    topics = generator.integers(items // 25, size=items)
    own = topics[:, None] * 12 + generator.integers(12, size=(items, 5))
    rare = items + generator.integers(items // 3, size=(items, 2))
    common = 2 * items + (generator.pareto(1.0, (items, 4)) * 2).astype(np.int64) % 40
    columns = np.concatenate([own, rare, common], axis=1)
    rows = np.repeat(np.arange(items), columns.shape[1])
    matrix = csr_array((np.ones(columns.size, np.float32), (rows, columns.ravel())), shape=(items, 2 * items + 40))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def reached(found: csr_array, vectors: csr_array, nearest: int) -> float:
    """Share of each item's `nearest` exact cosines that its neighbours come up to."""
    dense = (vectors @ vectors.T).toarray()
    np.fill_diagonal(dense, 0)
    shares = []
    for row in range(len(dense)):
        bound = np.sort(dense[row])[-nearest]
        named = dense[row, found.indices[found.indptr[row] : found.indptr[row + 1]]]
        shares.append(min(np.count_nonzero(named >= bound - 1e-6) / nearest, 1.0))
    return float(np.mean(shares))


@pytest.mark.parametrize("recall", [0.95, 0.8])
def test_cut_postings_reach_the_recall(recall: float) -> None:
    vectors = unit(common_words(1500))
    found = text_neighbours(vectors, keep=20, power=2, recall=recall, exact_work=0)
    assert reached(found, vectors, 20) >= recall - 0.02
    limit = Postings(vectors).limit(64)
    assert Postings(vectors).work(limit).mean() <= 64
    again = text_neighbours(vectors, keep=20, power=2, recall=recall, exact_work=0)
    np.testing.assert_array_equal(found.indices, again.indices)
    np.testing.assert_array_equal(found.data, again.data)


def test_cut_postings_score_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named has its true cosine, however hard the lists were cut; nobody names himself; rows sum to 1."""
    monkeypatch.setattr("m6rec.text.similarity.FIRST_BUDGET", 16)
    vectors = unit(common_words(600))
    found = text_neighbours(vectors, keep=8, power=1, recall=0.01, exact_work=0)
    dense = (vectors @ vectors.T).toarray()
    assert not found.diagonal().any()
    for row in range(600):
        span = slice(found.indptr[row], found.indptr[row + 1])
        cosines = dense[row, found.indices[span]]
        np.testing.assert_allclose(found.data[span], cosines / cosines.sum(), rtol=1e-4)


def test_the_cut_does_not_depend_on_the_numbering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m6rec.text.similarity.FIRST_BUDGET", 32)
    matrix = common_words(500, seed=3)
    order = np.random.default_rng(1).permutation(500)
    assert len(np.unique(matrix.toarray(), axis=0)) == 500
    before = text_neighbours(unit(matrix), keep=5, recall=0.5, exact_work=0).toarray()
    after = text_neighbours(unit(csr_array(matrix.toarray()[order])), keep=5, recall=0.5, exact_work=0).toarray()
    np.testing.assert_array_equal(before[np.ix_(order, order)], after)


def test_every_turn_sees_other_items_of_a_common_feature() -> None:
    """800 items that only a word of their own tells apart: a list of 40 names the same 20 always and 20 others in each turn."""
    matrix = csr_array(np.hstack([np.ones((800, 1)), np.eye(800)]).astype(np.float32))
    postings = Postings(similarity_vectors(matrix, np.ones(801, np.float32)))
    limit, rows, seen = 40, [], []
    for asking, lists in postings.groups(limit):
        rows.append(asking)
        seen.append(set(lists.indices[: lists.indptr[1]].tolist()))
        assert np.diff(lists.indptr).max() == limit
    assert np.sort(np.concatenate(rows)).tolist() == list(range(800))
    assert len(set.intersection(*seen)) == 20
    assert len(set.union(*seen)) == 20 + 20 * TURNS
    assert not postings.complete(limit).any()
    assert postings.work(limit).tolist() == [41.0] * 800


@given(st.integers(0, 500), st.integers(2, 30))
@settings(max_examples=20, deadline=None)
def test_groups_hold_every_row_once_and_whole_lists_where_short(seed: int, limit: int) -> None:
    vectors = unit(random_bag(seed, items=40, features=15))
    postings = Postings(vectors)
    whole = vectors.toarray()
    rows = []
    for asking, lists in postings.groups(limit):
        rows.append(asking)
        dense = lists.toarray().T
        for feature in range(15):
            kept = dense[:, feature] != 0
            assert kept.sum() == min(limit, postings.counts[feature])
            np.testing.assert_array_equal(dense[kept, feature], whole[kept, feature])
            if not kept.all() and postings.counts[feature] > limit:
                heaviest = np.sort(whole[:, feature])[::-1][: limit - limit // 2]
                assert np.sort(dense[:, feature])[::-1][0] == heaviest[0]
    assert np.sort(np.concatenate(rows)).tolist() == list(range(40))
