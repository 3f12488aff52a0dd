"""The base of gradient surgery through torchjd (MIT), which makes factors of the Gramian of the gradients."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from m6rec.base.extras import require
from m6rec.training.balance.balancer import Numbers
from m6rec.training.balance.gradient_balancer import GradientBalancer
from m6rec.training.config import BalanceConfig
from m6rec.training.processes import Processes


class Surgery(GradientBalancer):
    """`weighting` is the class of torchjd.aggregation that is asked. Raises MissingExtraError where torchjd is not installed."""

    weighting: ClassVar[str]

    def __init__(self, config: BalanceConfig, parameters: list[nn.Parameter], processes: Processes | None = None) -> None:
        super().__init__(config, parameters, processes)
        self.weigher: Any = getattr(require("torchjd.aggregation", "train"), self.weighting)()

    def weigh(self, cells: list[str], gramian: Tensor, means: Numbers) -> list[float]:
        found: list[float] = self.weigher(gramian).tolist()
        return found
