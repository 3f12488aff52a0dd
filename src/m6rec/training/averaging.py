"""Averages of the weights over a training: validated and kept instead of the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn


class WeightAverage:
    """The mean of what is trained. Frozen parameters and buffers are what they are.

    ema: exponential over the steps, with a share of the old mean of min(decay, (1 + t) / (10 + t)) at step t, so that the start is
    forgotten (Polyak averaging as in Tarvainen and Valpola, NeurIPS 2017).
    last: over the weights at the ends of the last `keep` epochs (Izmailov et al., "Averaging weights leads to wider optima", UAI 2018).
    """

    def __init__(self, module: nn.Module, way: Literal["off", "ema", "last"], decay: float, keep: int) -> None:
        self.way, self.decay, self.keep = way, decay, keep
        self.trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self.copies: list[dict[str, Tensor]] = []  # ema: one, the mean; last: oldest first

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Told that step number `step`, from 1, was taken."""
        if self.way != "ema":
            return
        if not self.copies:
            self.copies = [self._copy()]
            return
        kept = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.trained.items():
            self.copies[0][name].lerp_(parameter, 1 - kept)

    @torch.no_grad()
    def after_epoch(self) -> None:
        if self.way == "last":
            self.copies = [*self.copies, self._copy()][-self.keep :]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the mean inside the block, and what it held before afterwards."""
        if self.way == "off" or not self.copies:
            yield
            return
        before = self._copy()
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(
                    torch.stack([copy[name] for copy in self.copies]).mean(dim=0) if len(self.copies) > 1 else self.copies[0][name]
                )
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.trained.items():
                    parameter.copy_(before[name])

    def state(self) -> dict[str, Tensor]:
        return {f"{number}.{name}": value for number, copy in enumerate(self.copies) for name, value in copy.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take what `state` gave."""
        found: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            number, _, name = key.partition(".")
            found.setdefault(int(number), {})[name] = value.to(self.trained[name].device)
        self.copies = [found[number] for number in sorted(found)]

    def _copy(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.trained.items()}
