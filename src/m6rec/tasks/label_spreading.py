"""Which texts are alike, and labels spread from the few that have one to those like them.

    F = alpha S F + (1 - alpha) Y        S = D^-1/2 W D^-1/2, W = cosine^sharpness of the nearest texts

(Learning with local and global consistency: Zhou et al., NIPS 2003.) It is as good as the vectors: over a pretrained sentence encoder what means
the same lies side by side; counts of n-grams say what a text is about, and little of what it thinks of it.

Shapes: G texts, F n-grams, D dimensions, C classes or tags, K neighbours.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import svds
from sklearn.neighbors import NearestNeighbors

DIMENSIONS = 64
NEIGHBOURS, SHARPNESS, ALPHA, ROUNDS = 10, 4.0, 0.8, 30


def text_vectors(rows: csr_array, seed: int = 0, dimensions: int = DIMENSIONS) -> np.ndarray:
    """float32 (G, D), unit rows (zero for an empty text): latent semantic analysis of n-gram rows (G, F)."""
    rank = max(min(dimensions, min(rows.shape) - 1), 0)
    if not rank or not rows.nnz:
        return np.zeros((rows.shape[0], 1), np.float32)
    start = np.random.default_rng(seed).standard_normal(min(rows.shape))
    left, strengths, _ = svds(rows.astype(np.float64), k=rank, v0=start)
    vectors = left * np.sqrt(np.maximum(strengths, 0))  # the strongest directions say what most texts share: half their weight
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lengths > 1e-9, vectors / np.maximum(lengths, 1e-12), 0).astype(np.float32)


def spread_labels(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float32 (G, C): how much of each label reached each text, rows summing to 1 where anything did, else 0.

    Args:
        vectors: float32 (G, D) of unit length or zero.
        labels: (G, C) ones and zeros, NaN rows for texts without a label.
    """
    nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS + 1, len(vectors)), metric="cosine", algorithm="brute").fit(vectors)
    distance, place = nearest.kneighbors(vectors)
    weights = np.maximum(1 - distance, 0) ** SHARPNESS
    rows = np.repeat(np.arange(len(vectors)), place.shape[1])
    apart = rows != place.ravel()
    near = csr_array((weights.ravel()[apart], (rows[apart], place.ravel()[apart])), shape=(len(vectors), len(vectors)))
    near = near.maximum(near.T)
    degree = diags_array(np.maximum(np.asarray(near.sum(axis=1)).ravel(), 1e-12) ** -0.5)
    passed_on = (degree @ near @ degree).tocsr()
    given = np.nan_to_num(labels.astype(np.float64))
    reached = given
    for _ in range(ROUNDS):
        reached = ALPHA * (passed_on @ reached) + (1 - ALPHA) * given
    total = reached.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 1e-12, reached / np.maximum(total, 1e-12), 0), dtype=np.float32)
