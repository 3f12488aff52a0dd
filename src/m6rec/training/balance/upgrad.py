"""Unconflicting projections: Quinton and Rey, "Jacobian descent for multi-objective optimization", arXiv 2406.16232."""

from __future__ import annotations

import importlib.util

from torch import nn

from m6rec.base.errors import MissingExtraError
from m6rec.training.balance.balancer import BALANCERS
from m6rec.training.balance.surgery import Surgery
from m6rec.training.config import BalanceConfig
from m6rec.training.processes import Processes

SOLVER = ("quadprog", "qpsolvers")  # quadprog is GPL: whoever wants it installs it


@BALANCERS.register("upgrad")
class UPGrad(Surgery):
    """Each gradient is projected onto the cone of directions in which no cell gets worse; the mean of the projections."""

    weighting = "UPGradWeighting"

    def __init__(self, config: BalanceConfig, parameters: list[nn.Parameter], processes: Processes | None = None) -> None:
        for name in SOLVER:
            if importlib.util.find_spec(name) is None:
                raise MissingExtraError(
                    f"train.balance upgrad needs '{name}', which no extra of m6rec installs (quadprog is GPL); type: pip install {' '.join(SOLVER)}, "
                    "or choose pcgrad, mgda or aligned_mtl"
                )
        super().__init__(config, parameters, processes)
