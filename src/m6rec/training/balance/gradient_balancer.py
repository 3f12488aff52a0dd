"""The base of balancers that compare the gradients of the cells: factors from the matrix of their inner products (Gramian)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from m6rec.training.balance.balancer import Balancer, Numbers
from m6rec.training.balance.cell_gradients import CellGradients
from m6rec.training.config import BalanceConfig
from m6rec.training.processes import Processes


class GradientBalancer(Balancer):
    """Takes the gradient of every cell apart, finds factors, and adds the gradients up with them.

    That costs a backward pass a cell instead of one in all. With `every: n` the factors of one step serve the n - 1 steps after it, in
    which the weighted losses are differentiated together.
    """

    joint: ClassVar[bool] = True

    def __init__(self, config: BalanceConfig, parameters: list[nn.Parameter], processes: Processes | None = None) -> None:
        super().__init__(config, parameters, processes)
        self.gradients = CellGradients(parameters)
        self.steps = 0

    @property
    def compares(self) -> bool:
        """Whether this step takes the gradients apart."""
        return self.steps % self.config.every == 0

    def backward(self, losses: dict[str, Tensor], weights: Numbers, scale: float = 1.0) -> None:
        if self.compares:
            self.gradients.add({cell: weights[cell] * scale * loss for cell, loss in losses.items()})
        else:
            super().backward(losses, weights, scale)

    def finish(self, means: Numbers) -> None:
        if self.compares:
            self.gradients.average(self.processes)
            cells = list(self.gradients.found)
            found = self.weigh(cells, self.gradients.gramian(), means)
            # A way that draws lots would draw others in every process: those of the first count.
            raw: list[float] = self.processes.gather(found)[0]
            mean = sum(raw) / max(len(raw), 1)
            factors = [value / mean for value in raw] if mean > 0 else [1.0] * len(raw)
            # A factor below 0 is for what is shared; a loss that is alone with its parameters must not be climbed with it later.
            self.factors = {**self.factors, **{cell: max(factor, 0.0) for cell, factor in zip(cells, factors, strict=True)}}
            self.gradients.write(factors)
        else:
            super().finish(means)
        self.steps += 1

    @abstractmethod
    def weigh(self, cells: list[str], gramian: Tensor, means: Numbers) -> list[float]:
        """A factor for each cell; they are scaled to mean 1.

        Args:
            gramian: float64 (C, C), inner products of the gradients of the weighted losses by what the cells share.
            means: unweighted loss of each cell in this step.
        """

    def state(self) -> dict[str, Any]:
        return {**super().state(), "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.steps = state["steps"]
