"""What an index over vectors promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import numpy as np


class VectorIndex(ABC):
    """Nearest vectors by inner product. Shapes: N vectors, B queries, W width, K answers."""

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The best k of each query.

        Args:
            queries: float32 (B, W).
            allowed: bool (N,) or (B, N), vectors that may be answered; None: all.

        Returns:
            int64 (B, K) positions, best first, equal scores by position, -1 where fewer are allowed; float32 (B, K) inner products (-inf there).
        """

    @abstractmethod
    def add(self, vectors: np.ndarray) -> None:
        """Append float32 (n, W); they take the next positions."""

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write one file. Raises StorageError."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote. Raises CheckpointError."""
