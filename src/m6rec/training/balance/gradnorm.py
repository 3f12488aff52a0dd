"""Equal gradient norms: Chen et al., "GradNorm: gradient normalization for adaptive loss balancing", ICML 2018."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from m6rec.training.balance.balancer import BALANCERS, Numbers, normalised
from m6rec.training.balance.descent import Descent
from m6rec.training.balance.gradient_balancer import GradientBalancer
from m6rec.training.config import BalanceConfig
from m6rec.training.processes import Processes

LEAST = 1e-3  # of a factor


@BALANCERS.register("gradnorm")
class GradNorm(GradientBalancer):
    """Descends |w_c G_c - mean(w G) r_c^alpha| along the factors w, scaled to mean 1 after each step.

    G_c is the norm of the cell's gradient by everything shared, r_c its loss as a share of its first, divided by the mean of those shares.
    """

    def __init__(self, config: BalanceConfig, parameters: list[nn.Parameter], processes: Processes | None = None) -> None:
        super().__init__(config, parameters, processes)
        self.first: Numbers = {}
        self.weights = Descent(config.learning_rate)

    def weigh(self, cells: list[str], gramian: Tensor, means: Numbers) -> list[float]:
        values = self.weights.values
        for cell in cells:
            self.first.setdefault(cell, means[cell])
            values.setdefault(cell, 1.0)
        norms = {cell: math.sqrt(max(float(gramian[place, place]), 0.0)) for place, cell in enumerate(cells)}
        used = [values[cell] for cell in cells]
        shares = {cell: means[cell] / self.first[cell] if self.first[cell] > 0 else 1.0 for cell in cells}
        mean_share = sum(shares.values()) / len(cells)
        mean_norm = sum(values[cell] * norms[cell] for cell in cells) / len(cells)
        if len(cells) > 1 and mean_norm > 0 and mean_share > 0:
            targets = {cell: mean_norm * max(shares[cell] / mean_share, 0.0) ** self.config.restoring for cell in cells}
            # Divided by the mean norm: Adam takes the size of a slope as it comes, and norms fall as training goes on.
            self.weights.step({cell: math.copysign(norms[cell] / mean_norm, values[cell] * norms[cell] - targets[cell]) for cell in cells})
            scaled = normalised({cell: max(value, LEAST) for cell, value in values.items()})
            values.update(scaled)
        return used

    def state(self) -> dict[str, Any]:
        return {**super().state(), "first": self.first, "values": self.weights.values, "moments": self.weights.moments}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.first, self.weights.values, self.weights.moments = state["first"], state["values"], state["moments"]
