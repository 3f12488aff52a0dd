"""What is asked where: the cells (scenario, task) of the tasks that judge candidates, and which rows each of them has.

Shapes: X exposures, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from m6rec.tasks.config import JudgeConfig
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.judge_rows import JudgeRows
from m6rec.tasks.options import module_name

NEW = -2  # code of a scenario that training had no rows of
SHARED = "*"  # what such a scenario is called: tasks answer there from what scenarios share


@dataclass(frozen=True)
class JudgeSizes:
    """Sizes of a Judge that come from the data; saved beside its weights (`plain`, `of`).

    scenarios   all scenario names of the data, or [] where exposures have none
    statistics  names of the columns of `JudgeRows.statistics`
    timed       whether the times of exposures are known
    placed      whether their positions are
    later       tasks that came after the training of the others, which do not look at them (`beside`)
    """

    labels: dict[str, LabelSize]
    scenarios: list[str] = field(default_factory=list)
    statistics: list[str] = field(default_factory=list)
    timed: bool = False
    placed: bool = False
    context_features: int = 0
    context_vectors: int = 0
    profile_features: int = 0
    profile_vectors: int = 0
    later: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        return cls(**{**values, "labels": {name: LabelSize(**size) for name, size in values["labels"].items()}})


class JudgeCells(nn.Module):
    """Tasks by name, and where each is asked."""

    configs: dict[str, JudgeConfig]
    sizes: JudgeSizes

    def scenarios_of(self, task: str) -> list[str]:
        """Scenarios that a task is asked in; [] where there are no scenarios."""
        served = self.configs[task].scenarios
        return self.sizes.scenarios if served is None else [name for name in self.sizes.scenarios if name in served]

    def cells(self, task: str) -> list[str]:
        """Names of the cells of a task: "scenario/task", or "task" where there are no scenarios."""
        return [f"{scenario}/{task}" for scenario in self.scenarios_of(task)] or [task]

    def beside(self, scenario: str, task: str) -> list[str]:
        """The tasks whose states a task is read among where tasks look at each other (`attention`): those it was trained with, in their order.

        A task that came later was trained alone, and no other ever looks at it, so its coming and going changes no bit of theirs.
        """
        if task in self.sizes.later:
            return [task]
        return [one for one in self.configs if self.asks(scenario, one) and one not in self.sizes.later]

    def own_names(self, task: str) -> list[str]:
        """Names (in `state_dict`) of what belongs to one task alone: its label vectors and options, gates, terms of places."""
        names = {module_name(cell) for cell in (task, *self.cells(task))}
        return [name for name in self.state_dict() if names & set(name.split("."))]

    def option_names(self) -> list[str]:
        """Of all tasks."""
        return [name for task in self.configs for name in self.own_names(task)]

    def asks(self, scenario: str, task: str) -> bool:
        """Whether a task is asked in a scenario; in one that training did not know every task may be."""
        return not scenario or scenario == SHARED or scenario in self.scenarios_of(task)

    def by_scenario(self, rows: JudgeRows, places: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        if not self.sizes.scenarios:
            yield "", np.arange(len(places))
            return
        assert rows.scenarios is not None
        codes = rows.scenarios[places]
        for code in np.unique(codes[codes >= 0]):
            yield self.sizes.scenarios[code], np.flatnonzero(codes == code)
        if (codes == NEW).any():
            yield SHARED, np.flatnonzero(codes == NEW)

    def _log_before(self, outputs: dict[str, Tensor], task: str) -> Tensor | None:
        """(R,) log probability that all tasks before `task` are positive; None where it comes after none."""
        total, before = None, self.configs[task].after
        while before is not None and before in outputs:
            log = F.logsigmoid(outputs[before][:, 0])
            total, before = log if total is None else total + log, self.configs[before].after
        return total

    def _codes(self, rows: JudgeRows, places: np.ndarray) -> np.ndarray | None:
        """int64, the codes of the scenarios of exposures; None where there are none."""
        return None if rows.scenarios is None or not self.sizes.scenarios else rows.scenarios[places]

    def labelled(self, rows: JudgeRows, places: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """(cell, those of the exposures `places` whose label is known)."""
        for scenario, chosen in self.by_scenario(rows, places):
            for task in self.configs:
                if task in rows.labels and self.asks(scenario, task):
                    labels = rows.labels[task][places[chosen]]
                    known = ~np.isnan(labels if labels.ndim == 1 else labels[:, 0])
                    yield f"{scenario}/{task}" if scenario else task, places[chosen[known]]

    def row_rates(self, rows: JudgeRows, rates: dict[str, float]) -> np.ndarray:
        """float64 (X,): the mean rate of the cells that an exposure has a label of; 1 where it has none."""
        total, count = np.zeros(len(rows)), np.zeros(len(rows))
        for cell, places in self.labelled(rows, np.arange(len(rows))):
            total[places], count[places] = total[places] + rates.get(cell, 1.0), count[places] + 1
        return np.divide(total, count, out=np.ones(len(rows)), where=count > 0)
