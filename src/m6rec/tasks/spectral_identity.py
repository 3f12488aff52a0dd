"""A starting point for the id table that no random draw gives: items had together start near each other.

The leading eigenvectors of the transitions, counted both ways and divided by the roots of both items' totals (a factorised
normalised co-occurrence, as in Levy and Goldberg 2014 and in spectral clustering). It takes seconds and is worth epochs of training.

Dimension keys: N items, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array

from m6rec.base.contracts import Histories
from m6rec.data.transitions import count_transitions
from m6rec.tasks.config import PriorConfig

SCALE = 0.06  # of the table's numbers: three times those of a random start, so that what was counted is heard at once
POWER_STEPS = 4


def spectral_identity(histories: Histories, items: int, width: int, config: PriorConfig, seed: int) -> torch.Tensor:
    """Id vectors from which items follow each other in `histories`.

    Args:
        histories: training events. items: N. width: W.
        config: window and decay of the counted transitions.
        seed: of the random projection, and of the rows and dimensions the data cannot fill.

    Returns:
        float32 (N, W): eigenvectors times the roots of the singular values, standard deviation SCALE; small noise where an item has no transition.
    """
    generator = np.random.default_rng(seed)
    table = 0.02 * generator.standard_normal((items, width))
    counts = count_transitions(histories, items, window=config.window, decay=config.decay, backward=1.0)
    rank = min(width, items - 1)
    if counts.nnz and rank > 0:
        factors = _factors(counts, rank, seed)  # N rank
        known = np.asarray(counts.sum(axis=1)).ravel() > 0
        spread = float(factors[known].std())
        if spread > 0:
            table[known] = 0.0
            table[known, :rank] = factors[known] * (SCALE / spread)
    return torch.from_numpy(table.astype(np.float32))


def _factors(counts: csr_array, rank: int, seed: int) -> np.ndarray:
    """float64 (N, rank): U sqrt(S) of D^-1/2 C D^-1/2."""
    totals = np.maximum(np.asarray(counts.sum(axis=1), dtype=np.float64).ravel(), 1.0)
    damped = diags_array(totals**-0.5) @ counts.astype(np.float64) @ diags_array(totals**-0.5)
    from sklearn.utils.extmath import randomized_svd  # a second of imports that serving, which loads this room, has no use for

    left, strengths, _ = randomized_svd(csr_array(damped), n_components=rank, n_iter=POWER_STEPS, random_state=seed)
    return left * np.sqrt(strengths)
