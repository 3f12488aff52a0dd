"""A starting point for the token table that no random draw gives: tokens of like segments start near each other.

The right singular vectors of the tf-idf matrix (segments x tokens), each token's row made unit length (latent semantic
analysis, Deerwester et al. 1990). It takes seconds, and on short titles it is worth minutes of pretraining.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array

from m6rec.base.contracts import Segment

MOST_SEGMENTS = 200_000  # more than these, evenly spaced, teach nothing new and cost time


def spectral_embedding(segments: Sequence[Segment], vocabulary: int, width: int, seed: int) -> torch.Tensor:
    """Token vectors from which segments share tokens.

    Args:
        segments: the texts to learn from.
        vocabulary: V. width: D. seed: of the rows of tokens that never occur and of the dimensions the data cannot fill.

    Returns:
        float32 (V, D), rows of unit length.
    """
    from scipy.sparse.linalg import svds  # slow to load, and of use in training only

    generator = np.random.default_rng(seed)
    chosen = (
        segments if len(segments) <= MOST_SEGMENTS else [segments[i] for i in np.linspace(0, len(segments) - 1, MOST_SEGMENTS).astype(int)]
    )
    matrix = _tf_idf(chosen, vocabulary)
    rank = max(min(width, min(matrix.shape) - 1), 0)
    table = 0.01 * generator.standard_normal((vocabulary, width))
    if rank and matrix.nnz:
        start = generator.standard_normal(min(matrix.shape))
        _, _, tokens = svds(matrix, k=rank, v0=start)  # tokens: rank V
        table[:, :rank] += np.sqrt(vocabulary) * tokens.T
    empty = np.bincount(matrix.indices, minlength=vocabulary) == 0
    table[empty] = generator.standard_normal((int(empty.sum()), width))
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    return torch.from_numpy(table.astype(np.float32))


def _tf_idf(segments: Sequence[Segment], vocabulary: int) -> csr_array:
    """float64 (segments, V): (1 + log count) * log((1 + segments) / (1 + segments with the token)), rows of unit length."""
    lengths = np.fromiter((len(s.ids) for s in segments), dtype=np.int64, count=len(segments))
    owner = np.repeat(np.arange(len(segments)), lengths)
    tokens = np.concatenate([s.ids for s in segments]) if len(segments) else np.zeros(0, np.int32)
    matrix = csr_array((np.ones(len(tokens)), (owner, tokens)), shape=(len(segments), vocabulary))
    matrix.sum_duplicates()
    rarity = np.log((1 + len(segments)) / (1 + np.bincount(matrix.indices, minlength=vocabulary)))
    matrix.data = (1 + np.log(matrix.data)) * rarity[matrix.indices]
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return csr_array(diags_array(1 / np.maximum(norms, 1e-12)) @ matrix)
