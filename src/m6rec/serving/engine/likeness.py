"""How like items are to others: cosines of item vectors around the mean of the catalogue.

Dimension keys: N items, C candidates, D items to compare with, W width.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

ALIKE = 0.3  # cosine from which items are like each other


class Likeness:
    """Of a catalogue's vectors (N, W)."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        self._mean = vectors.numpy().mean(axis=0)

    def of(self, items: np.ndarray, others: np.ndarray) -> np.ndarray:
        """float32 (C,): how like each of `items` is to the nearest of `others`, 0 (a cosine up to `ALIKE`) to 1 (the same vector)."""
        near = self._directions(items) @ self._directions(others).T  # C D
        return np.asarray(np.clip((near.max(axis=1) - ALIKE) / (1 - ALIKE), 0, 1), dtype=np.float32)

    def _directions(self, items: np.ndarray) -> np.ndarray:
        some = self.vectors.numpy()[items] - self._mean
        return np.asarray(some / np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-12))
