"""Training for scenarios nobody has seen: a share of the judged exposures is asked about as if their scenario were a new one.

Such a row meets no option, no embedding of a scenario, and counts of the other scenarios alone, as a row of a scenario that was left out of the
training does when it is asked about. What remains is what scenarios share. (Domain generalisation by leaving domains out, arXiv 1710.03463.)

Shapes: B blocks, C exposures of a block, X rows, S statistics.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from m6rec.data.statistics import Statistics
from m6rec.tasks.judge_cells import NEW

LEAST_SHARE = (
    0.01  # of the log; the rows of a smaller scenario change what is counted of users and items too little to count all again without
)


def as_new(codes: np.ndarray, share: float, ranks: Tensor | None, elsewhere: Tensor | None) -> tuple[np.ndarray, Tensor | None]:
    """Codes and ranks of a training step in which `share` of the rows stand in a new scenario, drawn by torch's generator.

    Args:
        codes: int64 (B, C).  ranks, elsewhere: (B * C, 2 S) with the counts of all scenarios, and of the others alone.
    """
    new = (torch.rand(codes.size) < share) & torch.from_numpy(codes.ravel() >= 0)
    codes = np.where(new.numpy().reshape(codes.shape), NEW, codes)
    if ranks is not None and elsewhere is not None:
        ranks = torch.where(new[:, None], elsewhere, ranks)
    return codes, ranks


def counted_elsewhere(
    statistics: Statistics, users: np.ndarray, items: np.ndarray, scenarios: np.ndarray, times: np.ndarray | None
) -> np.ndarray:
    """float32 (X, S) of `Statistics.read`, for each row as if its scenario had never been: without its rows (but for those of scenarios with less
    than LEAST_SHARE of the log), and asked from nowhere known."""
    moments = np.full(len(users), np.inf) if times is None else times
    found = np.zeros((len(users), len(statistics.names)), dtype=np.float32)
    log = statistics.log
    assert log.scenarios is not None
    for scenario in np.unique(scenarios):
        there = np.flatnonzero(scenarios == scenario)
        rest = np.flatnonzero(log.scenarios != scenario)
        others = statistics if len(rest) > (1 - LEAST_SHARE) * len(log) else statistics.of(log.chosen(rest))
        found[there] = others.read(users[there], items[there], np.full(len(there), NEW), moments[there])
    return found
