"""Aligned gradients: Senushkin et al., "Independent component alignment for multi-task learning", CVPR 2023."""

from __future__ import annotations

from m6rec.training.balance.balancer import BALANCERS
from m6rec.training.balance.surgery import Surgery


@BALANCERS.register("aligned_mtl")
class AlignedMTL(Surgery):
    """The matrix of gradients is replaced by the nearest one whose singular values are all the least of them, and summed."""

    weighting = "AlignedMTLWeighting"
