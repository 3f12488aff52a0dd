"""Options: what (scenario, task) is asked. Each is a module of its own, so that adding or removing one touches no other.

An option reads the judged state x in three ways: as it is, through its soft prompts (keys and values that x looks at), and through an
adapter, and compares what it read with its label vectors (C of them, W wide):
    logits = (x + V' softmax(K x) + U relu(D x)) . labels + bias

Shapes: R rows, W width, P prompts, A adapter width, C outputs, O options.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class OptionSize:
    """What an option is cut from: one row of numbers, so that a hundred options are a hundred tensors and not six hundred."""

    width: int
    outputs: int
    prompts: int
    adapter: int

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of width W: keys, values, down, up, label vectors."""
        return self.prompts, self.prompts, self.adapter, self.adapter, self.outputs

    @property
    def numbers(self) -> int:
        return sum(self.rows) * self.width + self.outputs

    def cut(self, weights: Tensor) -> tuple[Tensor, ...]:
        """(O, numbers) -> keys, values (O, P, W), down, up (O, A, W), labels (O, C, W), bias (O, C)."""
        matrices, bias = weights[:, : sum(self.rows) * self.width], weights[:, sum(self.rows) * self.width :]
        return (*matrices.unflatten(1, (-1, self.width)).split(self.rows, dim=1), bias)


class Option(nn.Module):
    """One (scenario, task). A new option answers what the task answers everywhere, until it learns better."""

    def __init__(self, width: int, outputs: int, prompts: int, adapter: int) -> None:
        super().__init__()
        self.size = OptionSize(width, outputs, prompts, adapter)
        self.weights = nn.Parameter(torch.zeros(1, self.size.numbers))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Keys and the adapter's first half at random, everything that writes at zero."""
        keys, _, down, *_ = self.size.cut(self.weights)
        for part in (keys, down):
            part.copy_(torch.randn(part.shape, generator=generator) * self.size.width**-0.5)

    def forward(self, states: Tensor, labels: Tensor, bias: Tensor) -> Tensor:
        """states (R, W), the task's own label vectors (C, W) and bias (C,) -> logits (R, C)."""
        return stacked_logits(states[None], [self], labels[None], bias[None])[0]


def stacked_logits(states: Tensor, options: Sequence[Option], labels: Tensor, biases: Tensor) -> Tensor:
    """(O, R, C): what options of one size give for the states (1 or O, R, W); labels (O, C, W) and biases (O, C) are those of their tasks."""
    size = options[0].size
    weights = options[0].weights if len(options) == 1 else torch.cat([option.weights for option in options])
    keys, values, down, up, own, bias = size.cut(weights)
    vectors = (labels + own).transpose(1, 2)  # O W C
    shared = len(states) == 1
    logits = _read(states, vectors.transpose(1, 2), shared) + (biases + bias)[:, None]
    if size.prompts:
        logits = logits + torch.softmax(_read(states, keys, shared), dim=2) @ (values @ vectors)
    return logits + F.relu(_read(states, down, shared)) @ (up @ vectors)


def _read(states: Tensor, rows: Tensor, shared: bool) -> Tensor:
    """(O, R, K): states against the rows (O, K, W) of each option; one product for all where the states are the same."""
    if not shared:
        return states @ rows.transpose(1, 2)
    return (states[0] @ rows.flatten(0, 1).T).unflatten(1, rows.shape[:2]).transpose(0, 1)


def module_name(cell: str) -> str:
    """A cell's name ("video/click") as the name of a module, which may hold no dot and be no word that modules use ("forward", "train")."""
    return "t_" + quote(cell, safe="").replace(".", "%2E")


class OptionBank(nn.ModuleDict):
    """Options by cell."""

    def of(self, cell: str) -> Option:
        option = self[module_name(cell)]
        assert isinstance(option, Option)
        return option

    def put(self, cell: str, option: Option) -> None:
        self[module_name(cell)] = option

    def drop(self, cell: str) -> None:
        del self[module_name(cell)]
