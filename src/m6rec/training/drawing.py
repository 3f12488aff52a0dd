"""What is trained in an epoch, how often it is drawn, and what it weighs: configured weights, stopped tasks and sampling taken together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from m6rec.tasks.task import Task
from m6rec.training.balance.balancer import Balancer, Numbers
from m6rec.training.cells import Cells, named
from m6rec.training.loop_state import LoopState
from m6rec.training.steps import module_counts

LEAST, MOST = 0.1, 10.0  # of how often a cell is drawn, beside the mean of its module


class Drawing:
    """How the examples of an epoch are drawn (`train.balance.sampling`).

    A module that is drawn r times as often has its losses divided by r where sampling follows weights: what is optimised stays, what changes
    is where the time goes. Within a module the task itself draws (`Task.steer`); its losses are means over rows, whose number weighs nothing.
    """

    def __init__(
        self,
        sampling: Literal["proportional", "uniform", "weight", "adaptive"],
        cells: Cells,
        balancer: Balancer,
        tasks: Mapping[str, Task],
    ) -> None:
        self.sampling, self.cells, self.balancer, self.tasks = sampling, cells, balancer, tasks
        self._drawn: dict[str, float] = {}  # module -> batches drawn / batches there are

    def plan(self, state: LoopState) -> dict[str, Any]:
        """How the next epoch is drawn: module with anything left to train -> its share, and the rates of its cells. JSON-ready."""
        rates, found = self._rates(state), {}
        for name in self.tasks:
            cells = [cell for cell, module in state.modules.items() if module == name] or [name]
            if any(self._configured(state, cell, name) > 0 for cell in cells):
                own = {cell: rates[cell] for cell in cells if rates.get(cell, 0.0) > 0}
                mean = sum(own.values()) / len(own) if own else self.cells.weight(name)
                found[name] = {"share": mean, "rates": {cell: min(max(rate / mean, LEAST), MOST) for cell, rate in own.items()}}
        return found

    def trained(self, plan: dict[str, Any]) -> dict[str, Task]:
        """The modules of a plan, told how to draw their rows."""
        found = {name: task for name, task in self.tasks.items() if name in plan}
        for name, task in found.items():
            if self.sampling != "proportional":
                task.steer(plan[name]["rates"])
        return found

    def weight(self, state: LoopState, cell: str, module: str) -> float:
        """The weight of a cell's loss, before the balancer's factor; 0 where it is trained no longer."""
        weight = self._configured(state, cell, module)
        return weight / self._drawn.get(module, 1.0) if weight and self._drawn else weight

    def often(self, plan: dict[str, Any], natural: dict[str, int]) -> dict[str, int]:
        """Batches of an epoch by module, given how many each has."""
        self._drawn = {}
        if self.sampling == "proportional" or len(natural) < 2:
            return natural
        if self.sampling == "uniform":
            return module_counts(natural, {name: 1 / max(count, 1) for name, count in natural.items()})
        wanted = module_counts(natural, {name: plan[name]["share"] for name in natural})
        self._drawn = {name: wanted[name] / natural[name] for name in natural if natural[name]}
        return wanted

    def _rates(self, state: LoopState) -> Numbers:
        """How often each cell met so far is to be drawn, relative to the others."""
        if self.sampling == "proportional":
            return {}
        if self.sampling == "uniform":
            return {cell: 1 / max(row["examples"], 1.0) for cell, row in state.report.items()}
        factor = self.balancer.factor if self.sampling == "adaptive" else lambda cell: 1.0
        return {cell: self._configured(state, cell, module) * factor(cell) for cell, module in state.modules.items()}

    def _configured(self, state: LoopState, cell: str, module: str) -> float:
        stopped = named(cell, module, state.validations.stopped)
        return 0.0 if stopped is not None else self.cells.weight(cell)
