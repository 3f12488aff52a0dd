"""The contract of a balancer: it turns the losses of a step into gradients.

The loop calls, for every step: `backward` once a batch, `finish` once; and `end_epoch` after every epoch. Numbers that a balancer keeps are
few and plain, so its state travels as JSON, in which floats keep every bit.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m6rec.base.plugins import Registry
from m6rec.training.config import BalanceConfig
from m6rec.training.processes import Processes

Numbers = dict[str, float]  # by cell


class Balancer:
    """Weighs the losses of cells by factors of mean 1 that multiply the configured weights.

    joint: whether it compares losses within a step, which then takes a batch of every module.
    parameters: what is trained, in a fixed order.
    """

    joint: ClassVar[bool] = False

    def __init__(self, config: BalanceConfig, parameters: list[nn.Parameter], processes: Processes | None = None) -> None:
        self.config, self.parameters, self.processes = config, parameters, processes or Processes()
        self.factors: Numbers = {}

    def factor(self, cell: str) -> float:
        """What the configured weight of a cell is multiplied with: positive, of mean 1 over the cells known."""
        return self.factors.get(cell, 1.0)

    def backward(self, losses: dict[str, Tensor], weights: Numbers, scale: float = 1.0) -> None:
        """Add the gradients of one batch.

        Args:
            losses: scalars with graph, one a cell.
            weights: the configured weight of each.
            scale: 1 / batches of the step.
        """
        weighted([self.factor(cell) * weights[cell] * scale for cell in losses], list(losses.values())).backward()

    def finish(self, means: Numbers) -> None:
        """After the last batch of a step: leaves the gradients to descend along in the parameters' `.grad`, equal in all processes.

        Args:
            means: unweighted loss of each cell of the step, averaged over its batches and the processes.
        """
        self.processes.average_gradients(self.parameters)

    def end_epoch(self, means: Numbers) -> None:
        """Told the unweighted mean loss of each cell over the epoch."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on to the same bits, JSON-ready."""
        return {"factors": self.factors}

    def restore(self, state: dict[str, Any]) -> None:
        self.factors = state["factors"]


BALANCERS: Registry[Balancer] = Registry("balancer", "m6rec.training.balance")


def weighted(weights: list[float], losses: list[Tensor]) -> Tensor:
    """The weighted sum of scalars."""
    total = weights[0] * losses[0]
    for weight, loss in zip(weights[1:], losses[1:], strict=True):
        total = total + weight * loss
    return total


def normalised(raw: Numbers) -> Numbers:
    """Positive numbers scaled to mean 1."""
    mean = sum(raw.values()) / max(len(raw), 1)
    return {cell: value / mean for cell, value in raw.items()}


def make_balancer(config: BalanceConfig, parameters: list[nn.Parameter], processes: Processes | None = None) -> Balancer:
    """The balancer that `config` asks for.

    Raises:
        ConfigError: no balancer of that name.  MissingExtraError: what it is built on is not installed.
    """
    return BALANCERS.get(config.way)(config, parameters, processes)


def check_balance(config: BalanceConfig) -> None:
    """Say at once, not after an hour of other stages, that a balancer cannot be made. Raises as `make_balancer`."""
    make_balancer(config, [nn.Parameter(torch.zeros(1))])
