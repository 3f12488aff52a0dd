"""Fixed weights: those of the configuration."""

from __future__ import annotations

from m6rec.training.balance.balancer import BALANCERS, Balancer


@BALANCERS.register("fixed")
class Fixed(Balancer):
    """L = sum of weight x loss."""
