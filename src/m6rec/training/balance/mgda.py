"""The shortest common direction: Desideri, 2012; Sener and Koltun, "Multi-task learning as multi-objective optimization", NeurIPS 2018."""

from __future__ import annotations

from m6rec.training.balance.balancer import BALANCERS
from m6rec.training.balance.surgery import Surgery


@BALANCERS.register("mgda")
class MGDA(Surgery):
    """The point of least norm among the gradients' weighted means: no cell gets worse along it."""

    weighting = "MGDAWeighting"
