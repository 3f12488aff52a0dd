"""Cells: what losses are weighed by. A cell is a task, or a task in one scenario, named "task" or "scenario/task"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class Cells:
    """Which cell a named loss belongs to, and what that cell weighs.

    weights: by name of a cell, of a task (all its scenarios), or of a module of the loop (all its other losses). A loss called like a cell or
    task that has a weight is a cell of its own; the other losses of a module add up to one cell called like the module. 1 where nothing is
    said. A module whose own weight is 0 is not trained at all.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)

    def cell(self, module: str, loss: str) -> str:
        return loss if loss in self.weights or task_of(loss) in self.weights else module

    def weight(self, cell: str) -> float:
        return self.weights.get(cell, self.weights.get(task_of(cell), 1.0))

    def place(self, loss: str) -> int:
        """Where a loss stands among those that have weights, which are said in the order of the configuration; behind them all where it has none."""
        names = list(self.weights)
        return next((names.index(name) for name in (task_of(loss), loss) if name in self.weights), len(names))

    def sums(self, module: str, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses of a batch added up to cells."""
        found: dict[str, Tensor] = {}
        for name, loss in losses.items():
            cell = self.cell(module, name)
            found[cell] = (found[cell] if cell in found else torch.zeros(())) + loss
        return found


def task_of(cell: str) -> str:
    """The task of a cell: what stands behind the last slash."""
    return cell.rpartition("/")[2]


def named(cell: str, module: str, names: Iterable[str]) -> str | None:
    """Which of `names` (of cells, tasks or modules) means this cell, the narrowest first; None: none does."""
    return next((name for name in (cell, task_of(cell), module) if name in set(names)), None)
