"""Similarity of items by their words and fields: tf-idf rows, cosines, and the neighbours of every item.

Shape keys: N items, F features, B queries, K neighbours kept.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

# Entries of a product held at once, at most (12 bytes each): bounds the memory whatever N is.
PRODUCT_ENTRIES = 1 << 23
QUERIES = 64  # typed texts made dense at once


def similarity_vectors(matrix: csr_array, idf: np.ndarray) -> csr_array:
    """tf-idf rows of unit length: float32 (N, F). An item without features keeps an empty row.

    matrix  float32 (N, F) of counts or ones        idf  float32 (F,)
    """
    matrix = csr_array(matrix)
    values = matrix.data.astype(np.float64) * np.asarray(idf, dtype=np.float64)[matrix.indices]
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    lengths = np.sqrt(np.bincount(rows, weights=values**2, minlength=matrix.shape[0]))
    values = values / np.where(lengths > 0, lengths, 1.0)[rows]
    return csr_array((values.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def query_similarity(vectors: csr_array, query_vectors: csr_array) -> np.ndarray:
    """Cosines of queries with items: float32 (B, N) from unit rows (N, F) and (B, F). A query gets the same alone or in a batch."""
    vectors, query_vectors = csr_array(vectors), csr_array(query_vectors)
    result = np.zeros((query_vectors.shape[0], vectors.shape[0]), dtype=np.float32)
    for start in range(0, len(result), QUERIES):
        dense = query_vectors[start : start + QUERIES].toarray().T  # F C
        result[start : start + QUERIES] = (vectors @ np.ascontiguousarray(dense)).T
    return result


def text_neighbours(vectors: csr_array, *, keep: int = 50, power: float = 1.0, chunk: int | None = None) -> csr_array:
    """For every item its `keep` most similar others, weighted by cosine ** power; rows sum to 1.

    vectors  float32 (N, F), unit rows, no negative entry
    chunk    rows of the product held at once; None: by memory. The result does not depend on it.
    Returns float32 (N, N) with at most `keep` entries a row, none on the diagonal; an item that shares no feature with another has an
    empty row. Among equal cosines the order is by a hash of the two items' features (so that it does not follow the order of the
    file and differs from row to row), then by position.
    """
    vectors = csr_array(vectors)
    items = vectors.shape[0]
    transposed = csr_array(vectors.T)
    signatures = _signatures(vectors)
    chunk = chunk or max(1, min(1024, PRODUCT_ENTRIES // max(items, 1)))
    columns: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    counts = np.zeros(items, dtype=np.int64)
    for start in range(0, items, chunk):
        product = vectors[start : start + chunk] @ transposed  # C N
        for row in range(product.shape[0]):
            item = start + row
            span = slice(product.indptr[row], product.indptr[row + 1])
            chosen, cosine = _nearest(product.indices[span], product.data[span], item, keep, signatures)
            # Relative to the largest: a high power of small cosines must not vanish.
            weight = (cosine.astype(np.float64) / cosine[0]) ** power if len(cosine) else np.zeros(0)
            columns.append(chosen)
            weights.append(weight / weight.sum() if len(weight) else weight)
            counts[item] = len(chosen)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    data = np.concatenate(weights).astype(np.float32) if items else np.zeros(0, np.float32)
    indices = np.concatenate(columns).astype(np.int32) if items else np.zeros(0, np.int32)
    result = csr_array((data, indices, offsets.astype(np.int32)), shape=(items, items))
    result.sort_indices()
    return result


def _nearest(others: np.ndarray, cosines: np.ndarray, item: int, keep: int, signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(positions, cosines) of the `keep` largest cosines that are not `item` itself, largest first."""
    cosines = np.where((others == item) | ~(cosines > 0), np.float32(-1), cosines)
    keep = min(keep, len(cosines))
    if keep == 0:
        return np.zeros(0, np.int32), np.zeros(0, np.float32)
    bound = max(np.partition(cosines, len(cosines) - keep)[len(cosines) - keep], 0)
    candidates = np.flatnonzero(cosines >= bound)
    others, cosines = others[candidates], cosines[candidates]
    order = np.lexsort((others, _mix(signatures[others] ^ signatures[item]), -cosines))[:keep]
    return others[order], cosines[order]


def _signatures(vectors: csr_array) -> np.ndarray:
    """uint64 (N,): a hash of each item's set of features; equal for items with the same features."""
    rows = np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))
    hashes = _mix(vectors.indices.astype(np.uint64))
    signatures = np.zeros(vectors.shape[0], dtype=np.uint64)
    np.add.at(signatures, rows, hashes)
    return _mix(signatures)


def _mix(values: np.ndarray) -> np.ndarray:
    """splitmix64, elementwise on uint64; overflow wraps, as it should."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
