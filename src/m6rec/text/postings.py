"""Postings (which items have a feature), cut where features are so common that comparing everything would take a square of the items.

A list longer than a limit gives two halves: the items in which the feature weighs most (champion lists: the cosine with a short, general
item is highest for other short, general ones), and every so-many-th of the rest, another selection in every turn, so that items which
nothing tells apart do not all name the same few. Lists are ordered by weight, then by a hash of what the items have, never by position.

Shape keys: N items, F features, E entries of the N x F rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

TURNS = 8


class Postings:
    """Items of every feature, heaviest first.

    Args:
        vectors: float32 (N, F), unit rows.
    """

    def __init__(self, vectors: csr_array) -> None:
        self.vectors = vectors
        self.signatures = signatures(vectors)
        self.counts = np.bincount(vectors.indices, minlength=vectors.shape[1])  # F: items that have the feature
        rows = np.repeat(np.arange(vectors.shape[0], dtype=np.int32), np.diff(vectors.indptr))
        chance = mix(self.signatures[rows] ^ mix(vectors.indices.astype(np.uint64)))
        order = np.lexsort((chance, -vectors.data, vectors.indices))
        self._rows, self._values = rows[order], vectors.data[order]  # E
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])

    @property
    def whole_work(self) -> float:
        """Multiplications when everything is compared: sum over features of count ** 2."""
        return float((self.counts.astype(np.float64) ** 2).sum())

    def limit(self, budget: float) -> int:
        """The longest list with which a row adds up about `budget` entries in the mean: sum of count * min(count, limit) <= budget * N."""
        counts, low, high = self.counts.astype(np.float64), 1, self.vectors.shape[0]
        while low < high:
            middle = (low + high + 1) // 2
            fits = (counts * np.minimum(counts, middle)).sum() <= budget * self.vectors.shape[0]
            low, high = (middle, high) if fits else (low, middle - 1)
        return max(low, 2)

    def groups(self, limit: int | None) -> Iterator[tuple[np.ndarray, csr_array]]:
        """(rows of the vectors, lists float32 (F, N) that they are compared with); together every row once. None: nothing is cut."""
        if limit is None or not (self.counts > limit).any():
            yield np.arange(self.vectors.shape[0]), self._lists(np.arange(len(self._rows)), self.counts)
            return
        turns = mix(self.signatures) % np.uint64(TURNS)
        for turn in range(TURNS):
            yield np.flatnonzero(turns == turn), self._lists(self._chosen(limit, turn / TURNS), np.minimum(self.counts, limit))

    def work(self, limit: int | None) -> np.ndarray:
        """float64 (N,): entries that a row adds up."""
        counts = self.counts if limit is None else np.minimum(self.counts, limit)
        return np.asarray(self._per_row(counts))

    def complete(self, limit: int | None) -> np.ndarray:
        """bool (N,): rows none of whose lists are cut."""
        return np.asarray(self._per_row(self.counts > (self.vectors.shape[0] if limit is None else limit)) == 0)

    def _per_row(self, values: np.ndarray) -> np.ndarray:
        """float64 (N,): sum of a value (F,) over the features of each row."""
        total = np.concatenate([[0.0], np.cumsum(values[self.vectors.indices], dtype=np.float64)])
        return np.asarray(total[self.vectors.indptr[1:]] - total[self.vectors.indptr[:-1]])

    def _chosen(self, limit: int, shift: float) -> np.ndarray:
        """Entries of the lists cut to `limit`, feature after feature."""
        kept = np.repeat(self.counts <= limit, self.counts)
        champions, spread = limit - limit // 2, limit // 2
        cut = np.flatnonzero(self.counts > limit)
        starts, rest = self._starts[cut, None], self.counts[cut, None] - champions
        kept[(starts + np.arange(champions)).ravel()] = True
        steps = ((np.arange(spread) + shift) * (rest / max(spread, 1))).astype(np.int64)  # strictly ascending: rest > spread
        kept[(starts + champions + steps).ravel()] = True
        return np.flatnonzero(kept)

    def _lists(self, entries: np.ndarray, lengths: np.ndarray) -> csr_array:
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return csr_array((self._values[entries], self._rows[entries], offsets), shape=self.vectors.shape[::-1])


def signatures(vectors: csr_array) -> np.ndarray:
    """uint64 (N,): a hash of each item's set of features; equal for items with the same features."""
    rows = np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))
    result = np.zeros(vectors.shape[0], dtype=np.uint64)
    np.add.at(result, rows, mix(vectors.indices.astype(np.uint64)))
    return mix(result)


def mix(values: np.ndarray) -> np.ndarray:
    """splitmix64, elementwise on uint64; overflow wraps, as it should."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
