"""Options: what (scenario, task) is asked. Each is a module of its own, so that adding or removing one touches no other.

An option reads the judged state x in three ways: as it is, through its soft prompts (keys and values that x looks at), and through an
adapter, and compares what it read with its label vectors (C of them, W wide):
    logits = (x + V' softmax(K x) + U relu(D x)) . labels + bias

Shapes: R rows, W width, P prompts, A adapter width, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Option(nn.Module):
    """One (scenario, task). New options answer what the task answers everywhere, until they learn better."""

    def __init__(self, width: int, outputs: int, prompts: int, adapter: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.zeros(prompts, width))
        self.values = nn.Parameter(torch.zeros(prompts, width))
        self.down = nn.Parameter(torch.zeros(adapter, width))
        self.up = nn.Parameter(torch.zeros(adapter, width))
        self.labels = nn.Parameter(torch.zeros(outputs, width))
        self.bias = nn.Parameter(torch.zeros(outputs))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Keys and the adapter's first half at random, everything that writes at zero."""
        for part in (self.keys, self.down):
            part.copy_(torch.randn(part.shape, generator=generator) * part.shape[1] ** -0.5)

    def forward(self, states: Tensor, labels: Tensor, bias: Tensor) -> Tensor:
        """states (R, W), the task's own label vectors (C, W) and bias (C,) -> logits (R, C)."""
        vectors = labels + self.labels
        logits = states @ vectors.T + (bias + self.bias)
        if len(self.keys):
            logits = logits + torch.softmax(states @ self.keys.T, dim=1) @ (self.values @ vectors.T)
        return logits + F.relu(states @ self.down.T) @ (self.up @ vectors.T)


def module_name(cell: str) -> str:
    """A cell's name ("video/click") as the name of a module, which may hold no dot."""
    return quote(cell, safe="").replace(".", "%2E")


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


def stacked_logits(states: Tensor, options: Sequence[Option], labels: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """What each option gives for the same states (R, W), in a few matrix products for all: for training, where many are asked at once."""
    vectors = [own + option.labels for option, own in zip(options, labels, strict=True)]
    direct = states @ torch.cat(vectors).T + torch.cat([bias + option.bias for option, bias in zip(options, biases, strict=True)])
    looks = states @ torch.cat([option.keys for option in options]).T
    hidden = F.relu(states @ torch.cat([option.down for option in options]).T)
    results, place, prompt, unit = [], 0, 0, 0
    for option, own in zip(options, vectors, strict=True):
        outputs, prompts, units = len(own), len(option.keys), len(option.down)
        logits = direct[:, place : place + outputs] + hidden[:, unit : unit + units] @ (option.up @ own.T)
        if prompts:
            logits = logits + torch.softmax(looks[:, prompt : prompt + prompts], dim=1) @ (option.values @ own.T)
        results.append(logits)
        place, prompt, unit = place + outputs, prompt + prompts, unit + units
    return results
