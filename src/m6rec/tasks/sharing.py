"""How judge tasks share a state, and how scenarios bend it: one file, because each way is a few lines.

Tasks:      trunk      one state for all; what sets a task apart is its label vectors and its options
            attention  every task has a state, and the states of a row look at each other
            mmoe       experts for all, mixed by a gate of each task (Ma et al., KDD 2018)
            ple        shared experts and own ones, in two levels (Tang et al., RecSys 2020)
Scenarios:  embedding  nothing here: the scenario is a part of the slot
            pepnet     gates scale the slot and the state by scenario (Chang et al., arXiv 2302.01115)
            star       the scenario's weights times the shared ones (Sheng et al., arXiv 2101.11427)

Shapes: R rows, W width, T tasks, E experts, Z scenarios (the last row of a table stands for an unknown one).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m6rec.tasks.config import SharingConfig
from m6rec.tasks.options import module_name

LEVELS = 2  # of ple


class Expert(nn.Module):
    """A small network; it starts by adding next to nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(width, width)
        self.write = nn.Linear(width, width, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        written: Tensor = self.write(F.silu(self.read(states)))
        return written


class TaskSharing(nn.Module):
    """From the judged states of a batch to the states that each task's options read."""

    def __init__(self, config: SharingConfig, width: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.way, self.width, self.experts_count = config.way, width, config.experts
        levels = {"mmoe": 1, "ple": LEVELS}.get(config.way, 0)
        self.experts = nn.ModuleList(nn.ModuleList(Expert(width) for _ in range(config.experts)) for _ in range(levels))
        self.shared_gates = nn.ModuleList(nn.Linear(width, config.experts, bias=False) for _ in range(levels - 1))
        self.own, self.gates, self.scales = nn.ModuleDict(), nn.ModuleDict(), nn.ParameterDict()
        if config.way == "attention":
            self.looks = nn.Linear(width, 3 * width, bias=False)
            self.write = nn.Linear(width, width, bias=False)
        for task in tasks:
            self.add(task)

    def add(self, task: str) -> None:
        """Room for one more task; what the others have is not touched."""
        name = module_name(task)
        if self.way == "attention":
            self.scales[name] = nn.Parameter(torch.zeros(2, self.width))
        if self.way == "mmoe":
            self.gates[name] = nn.ModuleList([nn.Linear(self.width, self.experts_count, bias=False)])
        if self.way == "ple":
            self.own[name] = nn.ModuleList(Expert(self.width) for _ in range(LEVELS))
            self.gates[name] = nn.ModuleList(nn.Linear(self.width, self.experts_count + 1, bias=False) for _ in range(LEVELS))

    def drop(self, task: str) -> None:
        name = module_name(task)
        for part in (self.own, self.gates, self.scales):
            if name in part:
                del part[name]

    @property
    def apart(self) -> bool:
        """Whether tasks have states of their own."""
        return self.way != "trunk"

    def forward(self, states: Tensor, tasks: Sequence[str]) -> Tensor:
        """states (R, W) -> (1, R, W) where all tasks read the same, else (T, R, W) in the order of `tasks`."""
        names = [module_name(task) for task in tasks]
        if self.way == "attention":
            return self._attention(states, names)
        if self.way == "mmoe":
            found = torch.stack([expert(states) for expert in self._level(0)])  # E R W
            return states + torch.stack([_mixed(self._gate(name, 0)(states), found) for name in names])
        return self._ple(states, names) if self.way == "ple" else states[None]

    def _attention(self, states: Tensor, names: list[str]) -> Tensor:
        scales = torch.stack([self.scales[name] for name in names])  # T 2 W
        own = states * (1 + scales[:, None, 0]) + scales[:, None, 1]  # T R W
        queries, keys, values = self.looks(own.transpose(0, 1)).chunk(3, dim=2)  # R T W
        seen = torch.softmax(queries @ keys.transpose(1, 2) * self.width**-0.5, dim=2) @ values
        written: Tensor = self.write(seen).transpose(0, 1)
        return own + written

    def _ple(self, states: Tensor, names: list[str]) -> Tensor:
        shared, own = states, [states] * len(names)
        for level in range(LEVELS):
            found = torch.stack([expert(shared) for expert in self._level(level)])
            apart = [self._own(name, level)(state)[None] for name, state in zip(names, own, strict=True)]
            own = [
                state + _mixed(self._gate(name, level)(state), torch.cat([found, mine]))
                for name, state, mine in zip(names, own, apart, strict=True)
            ]
            if level + 1 < LEVELS:
                shared = shared + _mixed(self.shared_gates[level](shared), found)
        return torch.stack(own)

    def _level(self, level: int) -> nn.ModuleList:
        experts = self.experts[level]
        assert isinstance(experts, nn.ModuleList)
        return experts

    def _gate(self, name: str, level: int) -> nn.Module:
        gates = self.gates[name]
        assert isinstance(gates, nn.ModuleList)
        return gates[level]

    def _own(self, name: str, level: int) -> nn.Module:
        experts = self.own[name]
        assert isinstance(experts, nn.ModuleList)
        return experts[level]


def _mixed(scores: Tensor, found: Tensor) -> Tensor:
    """Experts (E, R, W) by softmax of scores (R, E)."""
    return torch.einsum("re,erw->rw", torch.softmax(scores, dim=1), found)


class ScenarioScaling(nn.Module):
    """What a scenario does to the slot and to the state, beside being a part of the question."""

    def __init__(self, config: SharingConfig, width: int, scenarios: int) -> None:
        super().__init__()
        self.way = config.scenarios if scenarios > 1 else "embedding"
        if self.way == "pepnet":
            self.places = nn.Embedding(scenarios + 1, width)
            self.slot_gate, self.state_gate = _Gate(width), _Gate(width)
        if self.way == "star":
            self.shared, self.bias = nn.Parameter(torch.eye(width)), nn.Parameter(torch.zeros(width))
            self.factors = nn.Parameter(torch.ones(scenarios + 1, width, width))
            self.shifts = nn.Parameter(torch.zeros(scenarios + 1, width))

    def slot(self, slots: Tensor, scenarios: Tensor | None, *, through: bool = False) -> Tensor:
        """slots (R, W), scenarios int64 (R,), -1 unknown; through: gradients pass the gate's own reading too, as training does not let them."""
        if self.way != "pepnet" or scenarios is None:
            return slots
        scaled: Tensor = slots * self.slot_gate(self.places(scenarios), slots if through else slots.detach())
        return scaled

    def state(self, states: Tensor, scenarios: Tensor | None, *, through: bool = False) -> Tensor:
        """states (R, W); as `slot`."""
        if scenarios is None or self.way == "embedding":
            return states
        if self.way == "pepnet":
            scaled: Tensor = states * self.state_gate(self.places(scenarios), states if through else states.detach())
            return scaled
        bent = torch.zeros_like(states)
        for code in torch.unique(scenarios).tolist():  # -1, unknown, is the last row
            rows = torch.nonzero(scenarios == code).squeeze(1)
            there = states[rows] @ (self.shared * self.factors[code]).T + (self.bias + self.shifts[code])
            bent = bent.index_copy(0, rows, there.to(bent.dtype))
        return bent


class _Gate(nn.Module):
    """2 sigmoid(...), 1 to begin with: what is known of the place and of what is scaled decide the scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(2 * width, width)
        self.write = nn.Linear(width, width)

    def forward(self, place: Tensor, scaled: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.write(F.relu(self.read(torch.cat([place, scaled], dim=1)))))
