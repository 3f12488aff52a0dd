"""Weights by learned uncertainty: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from m6rec.training.balance.balancer import BALANCERS, Balancer, Numbers, normalised
from m6rec.training.balance.descent import Descent
from m6rec.training.config import BalanceConfig
from m6rec.training.processes import Processes

FURTHEST = 10.0  # of a log variance from 0: a loss that reaches 0 would send it to minus infinity


@BALANCERS.register("uncertainty")
class Uncertainty(Balancer):
    """Minimises sum of exp(-s) loss + s over s = log sigma^2 of each cell, whose minimum is sigma^2 = loss.

    s starts at the first loss seen instead of 0, so that no epoch is spent on finding its size. The factors exp(-s) are scaled to mean 1:
    a common factor is the learning rate's business.
    """

    def __init__(self, config: BalanceConfig, parameters: list[nn.Parameter], processes: Processes | None = None) -> None:
        super().__init__(config, parameters, processes)
        self.log_variances = Descent(config.learning_rate)

    def finish(self, means: Numbers) -> None:
        super().finish(means)
        values = self.log_variances.values
        for cell, loss in means.items():
            if cell not in values:
                values[cell] = math.log(min(max(loss, math.exp(-FURTHEST)), math.exp(FURTHEST)))
        self.log_variances.step({cell: 1.0 - math.exp(-values[cell]) * loss for cell, loss in means.items()})
        for cell in means:
            values[cell] = min(max(values[cell], -FURTHEST), FURTHEST)
        self.factors = normalised({cell: math.exp(-value) for cell, value in values.items()})

    def state(self) -> dict[str, Any]:
        return {**super().state(), "log_variances": self.log_variances.values, "moments": self.log_variances.moments}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.log_variances.values, self.log_variances.moments = state["log_variances"], state["moments"]
