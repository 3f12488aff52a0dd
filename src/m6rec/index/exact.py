"""Exact search: every inner product, in blocks of bounded memory, on all threads numpy's BLAS is given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np

from m6rec.base.errors import CheckpointError
from m6rec.base.storage import atomic_file
from m6rec.index.contract import VectorIndex, new_vectors

BLOCK_SCORES = 8_000_000  # scores held by a thread at a time: 32 MB


class ExactIndex(VectorIndex):
    """All N vectors, compared one by one. threads: blocks of queries answered side by side."""

    def __init__(self, vectors: np.ndarray, threads: int = 1) -> None:
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.threads = threads
        self._gone = np.zeros(0, dtype=np.int64)  # removed positions

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        queries = self._check_search(queries, k, allowed, self.vectors.shape[1])
        rows = max(1, BLOCK_SCORES // max(1, len(self)))
        blocks = [slice(start, start + rows) for start in range(0, len(queries), rows)]

        def answer(block: slice) -> tuple[np.ndarray, np.ndarray]:
            scores = queries[block] @ self.vectors.T  # b N
            if allowed is not None:
                scores[~np.broadcast_to(allowed if allowed.ndim == 1 else allowed[block], scores.shape)] = -np.inf
            scores[:, self._gone] = -np.inf
            return top_k(scores, k)

        if not blocks:
            return np.zeros((0, k), np.int64), np.zeros((0, k), np.float32)
        if self.threads > 1 and len(blocks) > 1:
            with ThreadPoolExecutor(self.threads) as pool:
                answers = list(pool.map(answer, blocks))
        else:
            answers = [answer(block) for block in blocks]
        return np.concatenate([a[0] for a in answers]), np.concatenate([a[1] for a in answers])

    def add(self, vectors: np.ndarray) -> None:
        self.vectors = np.concatenate([self.vectors, new_vectors(vectors, self.vectors.shape[1])])

    def remove(self, positions: np.ndarray) -> None:
        self._gone = np.union1d(self._gone, self._check_positions(positions))

    def save(self, path: Path) -> None:
        vectors = self.vectors
        if len(self._gone):
            vectors = vectors.copy()
            vectors[self._gone] = np.nan  # how the file says that a position is taken and never answered
        with atomic_file(path) as temporary, open(temporary, "wb") as handle:
            np.save(handle, vectors, allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            with open(path, "rb") as handle:
                vectors = np.lib.format.read_array(handle, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CheckpointError(f"the index {path} can't be read ({reason}); build the model folder again") from None
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise CheckpointError(f"{path} holds {vectors.dtype} of shape {vectors.shape}, not an index; build the model folder again")
        index = cls(vectors)
        index._gone = np.flatnonzero(np.isnan(vectors).any(axis=1))
        index.vectors[index._gone] = 0.0
        return index


def top_k(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best k of each row of float32 (B, N): int64 (B, k) positions, best first, equal scores by position; and their scores.

    -inf marks what may not be answered: position -1, score -inf. Rows shorter than k are filled the same way.
    """
    count, width = scores.shape
    kept = min(k, width)
    if kept < width:
        # Whatever ties with the k-th best must be looked at too, or the cut would depend on the partition's whims.
        bound = -np.partition(-scores, kept - 1, axis=1)[:, kept - 1 : kept]
        positions = np.full((count, k), -1, dtype=np.int64)
        values = np.full((count, k), -np.inf, dtype=scores.dtype)
        for row in range(count):
            near = np.flatnonzero(scores[row] >= bound[row])
            best = near[np.argsort(-scores[row, near], kind="stable")[:k]]
            positions[row], values[row] = best, scores[row, best]
    else:
        order = np.argsort(-scores, axis=1, kind="stable")
        positions = np.full((count, k), -1, dtype=np.int64)
        values = np.full((count, k), -np.inf, dtype=scores.dtype)
        positions[:, :width], values[:, :width] = order, np.take_along_axis(scores, order, axis=1)
    positions[np.isneginf(values)] = -1
    return positions, values
