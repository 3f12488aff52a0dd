"""Projecting conflicting gradients: Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020."""

from __future__ import annotations

from m6rec.training.balance.balancer import BALANCERS
from m6rec.training.balance.surgery import Surgery


@BALANCERS.register("pcgrad")
class PCGrad(Surgery):
    """Each gradient loses its part along every other that points against it, in random order; their sum is descended along."""

    weighting = "PCGradWeighting"
