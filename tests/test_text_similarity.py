"""Similarity of items: hand-computed cosines, planted topics, and what must not change the result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from m6rec.text.similarity import query_similarity, similarity_vectors, text_neighbours


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
