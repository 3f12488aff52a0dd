"""Where a training run stands, and what it counted: everything that is saved beside the tensors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from m6rec.training.stopping import Validations


@dataclass
class Taken:
    """What one step gave. losses: "module.loss" -> [sum over targets, targets].  targets: module -> targets of its batches."""

    losses: dict[str, list[float]] = field(default_factory=dict)
    cells: dict[str, CellTaken] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)


@dataclass
class CellTaken:
    """A cell in one step: mean losses of its batches, examples, seconds of forward passes (shared ones by examples)."""

    module: str
    losses: list[float] = field(default_factory=list)
    examples: int = 0
    seconds: float = 0.0


@dataclass
class LoopState:
    """Where a run stands; everything but the tensors.

    examples, cell_seconds, cell_sums, cell_steps: of the epoch so far, by cell.  module_targets: of it, by module.
    report: of the whole run, by cell.
    modules: cell -> module, of the cells met.  plan: how this epoch is drawn (`drawing.py`).  per_epoch: steps of the first epoch.
    balance: the state of the balancer.
    """

    epoch: int = 0
    step: int = 0  # of the epoch
    steps: int = 0  # of the run
    best: float = -math.inf
    best_epoch: int = -1
    since_best: int = 0
    done: bool = False
    sums: dict[str, float] = field(default_factory=dict)  # of each loss, times the targets it is a mean of
    counts: dict[str, int] = field(default_factory=dict)  # those targets
    targets: int = 0
    seconds: float = 0.0
    examples: dict[str, int] = field(default_factory=dict)
    cell_seconds: dict[str, float] = field(default_factory=dict)
    module_targets: dict[str, int] = field(default_factory=dict)
    cell_sums: dict[str, float] = field(default_factory=dict)
    cell_steps: dict[str, int] = field(default_factory=dict)
    report: dict[str, dict[str, float]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    per_epoch: int = 0
    balance: dict[str, Any] = field(default_factory=dict)
    validations: Validations = field(default_factory=Validations)

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> LoopState:
        """What `plain` gave, read back."""
        return cls(**{**values, "validations": Validations(**values.get("validations", {}))})

    def add(self, taken: Taken, means: dict[str, float], seconds: float) -> None:
        """Count one step. means: unweighted loss of each cell, equal in all processes."""
        for key, (total, targets) in taken.losses.items():
            self.sums[key] = self.sums.get(key, 0.0) + total
            self.counts[key] = self.counts.get(key, 0) + int(targets)
        self.targets += sum(taken.targets.values())
        for name, targets in taken.targets.items():
            self.module_targets[name] = self.module_targets.get(name, 0) + targets
        self.seconds += seconds
        forward = sum(cell.seconds for cell in taken.cells.values())
        for name, cell in taken.cells.items():
            self.modules[name] = cell.module
            self.examples[name] = self.examples.get(name, 0) + cell.examples
            self.cell_seconds[name] = self.cell_seconds.get(name, 0.0) + seconds * cell.seconds / max(forward, 1e-12)
        for name, mean in means.items():
            self.cell_sums[name] = self.cell_sums.get(name, 0.0) + mean
            self.cell_steps[name] = self.cell_steps.get(name, 0) + 1

    def running(self) -> dict[str, float]:
        """Mean losses of the epoch so far."""
        return {name: value / max(self.counts[name], 1) for name, value in self.sums.items()}

    def cell_means(self) -> dict[str, float]:
        """Mean loss of each cell over the steps of the epoch that had it."""
        return {name: self.cell_sums[name] / self.cell_steps[name] for name in sorted(self.cell_sums)}

    def shares(self) -> dict[str, tuple[int, float]]:
        """Name -> (examples, seconds) of the epoch: every cell, and every module of several cells, whose examples have several labels."""
        found = {cell: (self.examples.get(cell, 0), self.cell_seconds.get(cell, 0.0)) for cell in self.modules}
        for module, targets in self.module_targets.items():
            seconds = sum(self.cell_seconds.get(cell, 0.0) for cell, owner in self.modules.items() if owner == module)
            found.setdefault(module, (targets, seconds))
        return found

    def next_epoch(self) -> None:
        """Close the epoch: its counts go into the report."""
        for name, examples in self.examples.items():
            before = self.report.get(name, {"examples": 0, "seconds": 0.0})
            self.report[name] = {
                "examples": before["examples"] + examples,
                "seconds": round(before["seconds"] + self.cell_seconds[name], 3),
            }
        self.epoch, self.step = self.epoch + 1, 0
        self.sums, self.counts, self.targets, self.seconds = {}, {}, 0, 0.0
        self.examples, self.cell_seconds, self.module_targets, self.cell_sums, self.cell_steps = {}, {}, {}, {}, {}
