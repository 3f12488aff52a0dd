"""STAR and PEPNet, written from their papers on the feature classes of torch-rechub, which has neither (no maintained package does).

Dimension keys: B rows, S scenarios, D width of a layer, T tasks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch_rechub.basic.layers import MLP, EmbeddingLayer


class PartitionedNorm(nn.Module):
    """Batch normalisation with statistics of each scenario, and a scale and shift that are shared times (plus) those of the scenario."""

    def __init__(self, scenarios: int, width: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.scales, self.shifts = nn.Parameter(torch.ones(scenarios, width)), nn.Parameter(torch.zeros(scenarios, width))
        self.register_buffer("means", torch.zeros(scenarios, width))
        self.register_buffer("variances", torch.ones(scenarios, width))

    def forward(self, x: Tensor, scenario: Tensor) -> Tensor:
        """x (B, D), scenario int (B,)."""
        if self.training:
            for which in scenario.unique().tolist():
                inside = x[scenario == which]
                if len(inside) > 1:
                    with torch.no_grad():
                        self.means[which].lerp_(inside.mean(dim=0), self.momentum)
                        self.variances[which].lerp_(inside.var(dim=0), self.momentum)
        normal = (x - self.means[scenario]) / (self.variances[scenario] + 1e-5).sqrt()
        return normal * (self.scale * self.scales[scenario]) + self.shift + self.shifts[scenario]


class StarLayer(nn.Module):
    """A linear layer whose weights are the shared ones times those of the scenario, its bias their sum."""

    def __init__(self, scenarios: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(inputs, outputs)), nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)
        self.weights, self.biases = nn.Parameter(torch.ones(scenarios, inputs, outputs)), nn.Parameter(torch.zeros(scenarios, outputs))

    def forward(self, x: Tensor, scenario: Tensor) -> Tensor:
        found = x.new_empty(len(x), self.weight.shape[1])
        for which in scenario.unique().tolist():
            inside = scenario == which
            found[inside] = x[inside] @ (self.weight * self.weights[which]) + self.bias + self.biases[which]
        return found


class STAR(nn.Module):
    """Star topology network (arXiv 2101.11427): partitioned normalisation, star layers, and an auxiliary network that knows the scenario."""

    def __init__(self, features: list[Any], scenario: str, scenarios: int, dims: list[int], dropout: float) -> None:
        super().__init__()
        self.features, self.scenario = features, scenario
        self.embedding = EmbeddingLayer(features)
        width = sum(feature.embed_dim for feature in features)
        self.norm = PartitionedNorm(scenarios, width)
        sizes = [width, *dims, 1]
        self.layers = nn.ModuleList(StarLayer(scenarios, a, b) for a, b in pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.auxiliary = MLP(width, dims=[dims[-1]], dropout=dropout)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        scenario = x[self.scenario].long()
        embedded = self.embedding(x, self.features, squeeze_dim=True)
        state = self.norm(embedded, scenario)
        for layer in self.layers[:-1]:
            state = self.dropout(torch.relu(layer(state, scenario)))
        return torch.sigmoid(self.layers[-1](state, scenario) + self.auxiliary(embedded))


class Gate(nn.Module):
    """Neurons between 0 and 2 out of what is known beforehand (two layers)."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.net(x)


class PEPNet(nn.Module):
    """Parameter and embedding personalised network (arXiv 2302.01115): a gate of the scenario on the embeddings, gates of user and item on every layer."""

    def __init__(self, features: list[Any], scenario: list[Any], prior: list[Any], tasks: int, dims: list[int], dropout: float) -> None:
        super().__init__()
        self.features, self.scenario, self.prior = features, scenario, prior
        self.embedding = EmbeddingLayer(features)
        width = sum(feature.embed_dim for feature in features)
        self.of_scenario = Gate(width + sum(feature.embed_dim for feature in scenario), dims[-1], width)
        known = width + sum(feature.embed_dim for feature in prior)
        self.of_layers = nn.ModuleList(Gate(known, dims[-1], size * tasks) for size in dims)
        sizes = [width, *dims]
        self.towers = nn.ModuleList(nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes)) for _ in range(tasks))
        self.last = nn.ModuleList(nn.Linear(dims[-1], 1) for _ in range(tasks))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        embedded = self.embedding(x, self.features, squeeze_dim=True)
        scenario = self.embedding(x, self.scenario, squeeze_dim=True)
        state = embedded * self.of_scenario(torch.cat([embedded.detach(), scenario], dim=1))
        known = torch.cat([state.detach(), self.embedding(x, self.prior, squeeze_dim=True)], dim=1)
        gates = [gate(known).chunk(len(self.towers), dim=1) for gate in self.of_layers]
        found = []
        for task, tower in enumerate(self.towers):
            hidden = state
            for layer, gate in zip(tower, gates, strict=True):
                hidden = self.dropout(torch.relu(layer(hidden)) * gate[task])
            found.append(self.last[task](hidden))
        return torch.sigmoid(torch.cat(found, dim=1))
