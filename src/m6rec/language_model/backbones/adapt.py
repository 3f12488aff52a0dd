"""Few weights that change what a frozen layer does: low-rank changes of its matrices, or keys and values before all others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m6rec.language_model.backbones.config import AdaptConfig
from m6rec.language_model.backbones.parts import BackboneBlock

ADAPTED = (("attention", "q"), ("attention", "kv"), ("attention", "out"), ("mlp", "gate_up"), ("mlp", "down"))


class AdaptedLinear(nn.Linear):
    """A linear map W with a trained change: x W' + alpha / rank x A' B' (Hu et al., arXiv 2106.09685). B starts at zero.

    `join` adds the two up; until training goes on, answering costs what it did without a change.
    """

    joined: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool, rank: int, alpha: float) -> None:
        super().__init__(inputs, outputs, bias)
        self.rank, self.alpha = rank, alpha
        self.lora_down = nn.Parameter(torch.zeros(rank, inputs))
        self.lora_up = nn.Parameter(torch.zeros(outputs, rank))
        self.register_buffer("joined", None, persistent=False)
        self.left_out = False

    def forward(self, input: Tensor) -> Tensor:  # the name is torch's
        if self.left_out:
            return super().forward(input)
        if self.joined is not None:
            return F.linear(input, self.joined, self.bias)
        return super().forward(input) + F.linear(F.linear(input, self.lora_down), self.lora_up) * (self.alpha / self.rank)

    def change(self) -> Tensor:
        """(outputs, inputs): what the trained change adds to W."""
        return self.lora_up @ self.lora_down * (self.alpha / self.rank)

    @torch.no_grad()
    def join(self) -> None:
        """Answer from W and its change as they are now."""
        self.joined = self.weight + self.change().to(self.weight.dtype)

    def train(self, mode: bool = True) -> Self:
        """What trains is not joined."""
        if mode:
            self.joined = None
        return super().train(mode)


def adapt_layers(layers: Iterable[nn.Module], config: AdaptConfig) -> None:
    """Give every layer what `config` names."""
    for layer in layers:
        block = cast(BackboneBlock, layer)
        if config.way == "prefix":
            block.attention.add_prefix(config.prefix)
        if config.way != "lora":
            continue
        for owner, name in ADAPTED:
            old = cast(nn.Linear, getattr(getattr(block, owner), name))
            new = AdaptedLinear(old.in_features, old.out_features, old.bias is not None, config.rank, config.alpha)
            setattr(getattr(block, owner), name, new)


@contextmanager
def without_changes(module: nn.Module) -> Iterator[None]:
    """Within it the matrices below `module` are the checkpoint's own."""
    changed = [part for part in module.modules() if isinstance(part, AdaptedLinear)]
    for part in changed:
        part.left_out = True
    try:
        yield
    finally:
        for part in changed:
            part.left_out = False


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name is part of a change or of a prefix."""
    return name.rpartition(".")[2] in ("lora_down", "lora_up", "prefix_keys", "prefix_values")


@torch.no_grad()
def initialise_adapters(module: nn.Module, generator: torch.Generator) -> None:
    """Fill what adapts `module`, in the order of names: A normal with variance 1 / inputs, B zero; prefixes normal and small."""
    for name, parameter in sorted(module.named_parameters()):
        kind = name.rpartition(".")[2]
        if kind == "lora_down":
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[1] ** -0.5)
        elif kind in ("prefix_keys", "prefix_values"):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def join_adapters(module: nn.Module) -> None:
    """Join every change below `module` with its matrix, to answer and not to train."""
    for part in module.modules():
        if isinstance(part, AdaptedLinear):
            part.join()
