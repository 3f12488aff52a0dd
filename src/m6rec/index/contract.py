"""What an index over vectors promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import numpy as np

from m6rec.base.errors import UsageError


class VectorIndex(ABC):
    """Nearest vectors by inner product. Shapes: N vectors, B queries, W width, K answers.

    A position is given once and for all: what is added takes the next ones, what is removed leaves a gap.
    """

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best k of each query.

        Args:
            queries: float32 (B, W).
            allowed: bool (N,) or (B, N), vectors that may be answered; None: all.

        Returns:
            int64 (B, K) positions, best first, equal scores by position, -1 where fewer are allowed; float32 (B, K) inner products (-inf there).

        Raises:
            UsageError: k < 1, or a shape that does not fit.
        """

    @abstractmethod
    def add(self, vectors: np.ndarray) -> None:
        """Append float32 (n, W); they take the next positions and are found by the next search. Raises UsageError."""

    @abstractmethod
    def remove(self, positions: np.ndarray) -> None:
        """Never answer these again; their positions stay taken. Raises UsageError for a position that there is not."""

    @abstractmethod
    def __len__(self) -> int:
        """N, the removed ones included."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write a file, or a folder, whole or not at all. Raises StorageError."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote. Raises CheckpointError."""

    def _check_search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None, width: int) -> np.ndarray:
        """The queries as float32 (B, W)."""
        if k < 1:
            raise UsageError(f"k is {k}; ask for 1 or more")
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != width:
            raise UsageError(f"queries have shape {queries.shape}, the index holds vectors of width {width}")
        if allowed is not None and allowed.shape not in ((len(self),), (len(queries), len(self))):
            raise UsageError(f"allowed has shape {allowed.shape}; it needs ({len(self)},) or ({len(queries)}, {len(self)})")
        return queries

    def _check_positions(self, positions: np.ndarray) -> np.ndarray:
        positions = np.asarray(positions, dtype=np.int64).ravel()
        wrong = (positions < 0) | (positions >= len(self))
        if wrong.any():
            raise UsageError(f"there is no vector at position {positions[wrong][0]}; the index holds {len(self)}, numbered from 0")
        return positions


def new_vectors(vectors: np.ndarray, width: int) -> np.ndarray:
    """float32 (n, W), or UsageError."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise UsageError(f"new vectors have shape {vectors.shape}, the index holds vectors of width {width}")
    return vectors
