"""Dynamic weight average: Liu, Johns and Davison, "End-to-end multi-task learning with attention", CVPR 2019."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from m6rec.training.balance.balancer import BALANCERS, Balancer, Numbers, normalised
from m6rec.training.config import BalanceConfig
from m6rec.training.processes import Processes


@BALANCERS.register("dwa")
class DynamicWeightAverage(Balancer):
    """factor_c = C exp(r_c / T) / sum of exp(r / T), r_c = mean loss of the last epoch / that of the one before; 1 in the first two."""

    def __init__(self, config: BalanceConfig, parameters: list[nn.Parameter], processes: Processes | None = None) -> None:
        super().__init__(config, parameters, processes)
        self.last: Numbers = {}

    def end_epoch(self, means: Numbers) -> None:
        rates = {cell: loss / self.last[cell] for cell, loss in means.items() if self.last.get(cell, 0.0) > 0}
        top = max(rates.values(), default=0.0)
        self.factors = normalised({cell: math.exp((rate - top) / self.config.temperature) for cell, rate in rates.items()})
        self.last = dict(means)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "last": self.last}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.last = state["last"]
