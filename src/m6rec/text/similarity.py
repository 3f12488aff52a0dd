"""Similarity of items by their words and fields: tf-idf rows, cosines, and the neighbours of every item.

Shape keys: N items, F features, B queries, K neighbours kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from m6rec.text.postings import Postings, mix, signatures

# Entries of a product held at once, at most (12 bytes each): bounds the memory whatever N is.
PRODUCT_ENTRIES = 1 << 23
MOST_ROWS = 1024
EXACT_WORK = 1e9  # about ten seconds
SAMPLE, NEAREST = 256, 20  # where not everything is compared: items on which the recall is measured, and how many nearest it looks at
FIRST_BUDGET = 1024  # entries that a row adds up, before the cut is eased
SPARE = 4  # times `keep` are found by cut postings, then compared exactly
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


def text_neighbours(
    vectors: csr_array,
    *,
    keep: int = 50,
    power: float = 1.0,
    chunk: int | None = None,
    recall: float = 0.95,
    exact_work: float = EXACT_WORK,
) -> csr_array:
    """For every item its `keep` most similar others, weighted by cosine ** power; rows sum to 1.

    vectors     float32 (N, F), unit rows, no negative entry
    chunk       rows of the product held at once; None: by memory. The result does not depend on it.
    recall      share of an item's 20 nearest that must be found where comparing everything is too much work
    exact_work  multiplications up to which everything is compared: sum over features of (items that have it) ** 2

    Returns float32 (N, N) with at most `keep` entries a row, none on the diagonal; an item that shares no feature with another has an
    empty row. Among equal cosines the order is by a hash of the two items' features (so that it does not follow the order of the
    file and differs from row to row), then by position.

    Beyond `exact_work` the postings of common features are cut, the best that is left is compared exactly, and the cut is eased until
    the recall is reached on a sample of the items: the work grows with N, not with its square.
    """
    vectors = csr_array(vectors)
    items, keep = vectors.shape[0], min(keep, max(vectors.shape[0], 1))
    postings = Postings(vectors)
    limit = None if postings.whole_work <= exact_work else _eased(postings, recall)
    columns, weights = np.zeros((items, keep), dtype=np.int32), np.zeros((items, keep), dtype=np.float32)
    counts = np.zeros(items, dtype=np.int64)
    for item, chosen, cosine in _neighbours(postings, limit, keep, chunk=chunk):
        if len(chosen):
            columns[item, : len(chosen)], weights[item, : len(chosen)] = chosen, _weights(cosine, power)
            counts[item] = len(chosen)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    taken = np.arange(keep) < counts[:, None]
    return _rows_of(weights[taken], columns[taken], offsets)


def neighbour_rows(vectors: csr_array, rows: np.ndarray, *, keep: int = 50, power: float = 1.0) -> csr_array:
    """The rows `rows` int64 (R,) of `text_neighbours`, everything compared; float32 (N, N), the other rows empty."""
    vectors, rows = csr_array(vectors), np.unique(np.asarray(rows, dtype=np.int64))
    product, marks = csr_array(vectors[rows] @ vectors.T), signatures(vectors)  # R N
    counts = np.zeros(vectors.shape[0], dtype=np.int64)
    columns, weights = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.float32)]
    for place, item in enumerate(rows.tolist()):
        span = slice(product.indptr[place], product.indptr[place + 1])
        chosen, cosine = _nearest(product.indices[span], product.data[span], item, min(keep, len(counts)), marks)
        if len(chosen):
            columns.append(chosen.astype(np.int32))
            weights.append(_weights(cosine, power).astype(np.float32))
            counts[item] = len(chosen)
    return _rows_of(np.concatenate(weights), np.concatenate(columns), np.concatenate([[0], np.cumsum(counts)]))


def _weights(cosine: np.ndarray, power: float) -> np.ndarray:
    """Weights of neighbours that sum to 1, from their cosines, largest first. Relative to the largest: a high power must not vanish."""
    weight = (cosine.astype(np.float64) / cosine[0]) ** power
    return np.asarray(weight / weight.sum())


def _rows_of(weights: np.ndarray, columns: np.ndarray, offsets: np.ndarray) -> csr_array:
    """float32 (N, N), sorted; indices as wide as the number of entries asks for."""
    size, items = np.int32 if offsets[-1] < 2**31 else np.int64, len(offsets) - 1
    result = csr_array((weights, columns.astype(size), offsets.astype(size)), shape=(items, items))
    result.sort_indices()
    return result


def _eased(postings: Postings, recall: float) -> int | None:
    """The cut of the postings that reaches the recall on a sample of the items; None: nothing less than everything does."""
    sample = np.sort(np.argsort(postings.signatures, kind="stable")[:SAMPLE])  # by what items have: however they are numbered
    truth = {item: cosines for item, _, cosines in _neighbours(postings, None, NEAREST, only=sample) if len(cosines)}
    budget = FIRST_BUDGET
    while budget * postings.vectors.shape[0] < postings.whole_work / 2:
        limit = postings.limit(budget)
        # By cosine and not by name: which of several equal ones is named makes no difference.
        reached = [
            np.count_nonzero(cosines >= truth[item][-1] - 1e-6) / len(truth[item])
            for item, _, cosines in _neighbours(postings, limit, NEAREST, only=sample)
            if item in truth
        ]
        if not reached or np.mean(reached) >= recall:
            return limit
        budget *= 2
    return None


def _neighbours(
    postings: Postings, limit: int | None, keep: int, *, only: np.ndarray | None = None, chunk: int | None = None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(item, positions of its nearest, cosines, largest first) of every item, or of `only` some; in no particular order."""
    vectors, work, complete = postings.vectors, postings.work(limit), postings.complete(limit)
    asked = np.zeros(vectors.shape[1], dtype=np.float32)  # F: one item's features at a time
    for rows, lists in postings.groups(limit):
        wanted = rows if only is None else np.intersect1d(rows, only)
        for part in _chunks(wanted, work[wanted], chunk):
            product = csr_array(vectors[part] @ lists)  # C N
            for place, item in enumerate(part.tolist()):
                span = slice(product.indptr[place], product.indptr[place + 1])
                others, cosines = product.indices[span], product.data[span]
                if not complete[item]:
                    others, cosines = _compared(vectors, item, others, cosines, SPARE * keep + 1, asked)
                yield item, *_nearest(others, cosines, item, keep, postings.signatures)


def _chunks(rows: np.ndarray, work: np.ndarray, chunk: int | None) -> list[np.ndarray]:
    """Pieces of `rows` whose products stay within PRODUCT_ENTRIES, and that are not longer than `chunk`."""
    if not len(rows):
        return []
    longest = chunk or MOST_ROWS
    total, cuts, begin = np.cumsum(work), [], 0
    while begin < len(rows):
        room = (total[begin - 1] if begin else 0.0) + PRODUCT_ENTRIES
        end = len(rows) if chunk else int(np.searchsorted(total, room, side="right"))
        begin = max(begin + 1, min(end, begin + longest))
        cuts.append(begin)
    return np.split(rows, cuts[:-1])


def _compared(
    vectors: csr_array, item: int, others: np.ndarray, partial: np.ndarray, count: int, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` items of the largest partial sums, with their true cosines. asked: zeros (F,), and zeros again afterwards."""
    if len(others) > count:
        others = others[np.argpartition(partial, len(partial) - count)[len(partial) - count :]]
    if not len(others):
        return others, partial
    own = slice(vectors.indptr[item], vectors.indptr[item + 1])
    asked[vectors.indices[own]] = vectors.data[own]
    starts = vectors.indptr[others]
    lengths = vectors.indptr[others + 1] - starts
    ends = np.cumsum(lengths)
    entries = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    cosines = np.add.reduceat(asked[vectors.indices[entries]] * vectors.data[entries], ends - lengths)
    asked[vectors.indices[own]] = 0.0
    return others, cosines


def _nearest(others: np.ndarray, cosines: np.ndarray, item: int, keep: int, signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(positions, cosines) of the `keep` largest cosines that are not `item` itself, largest first."""
    cosines = np.where((others == item) | ~(cosines > 0), np.float32(-1), cosines)
    keep = min(keep, len(cosines))
    if keep == 0:
        return np.zeros(0, np.int32), np.zeros(0, np.float32)
    bound = max(np.partition(cosines, len(cosines) - keep)[len(cosines) - keep], 0)
    candidates = np.flatnonzero(cosines >= bound)
    others, cosines = others[candidates], cosines[candidates]
    order = np.lexsort((others, mix(signatures[others] ^ signatures[item]), -cosines))[:keep]
    return others[order], cosines[order]
