"""What a fit is watched by on validation, and which of it a study tunes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from m6rec.base.errors import UsageError
from m6rec.training.workbench import Workbench


@dataclass(frozen=True)
class Watched:
    """The metrics whose mean is tuned, higher being better; of several the name says so."""

    metrics: tuple[str, ...]

    @property
    def name(self) -> str:
        """As it is printed."""
        return self.metrics[0] if len(self.metrics) == 1 else f"mean of {', '.join(self.metrics)}"

    def value(self, reached: Mapping[str, float | None]) -> float:
        """Of a row of figures; NaN where none of them is known. One that is NaN (one class only among the validation rows) says nothing."""
        known = [float(value) for name in self.metrics if (value := reached.get(name)) is not None and not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    def among(self, row: Mapping[str, object]) -> bool:
        """Whether the row has any of them."""
        return any(name in row for name in self.metrics)


def tuned(bench: Workbench) -> Watched:
    """What a study of this configuration tunes: the metric of the task that chooses where that is trained, else those of the tasks that judge.

    Raises:
        UsageError: neither chooses nor judges anything that is trained.
    """
    config = bench.config
    if config.choose.weight > 0:
        return Watched((config.train.validation_metric,))
    found: dict[str, str] = {}
    for part in (bench.judging, bench.judging_texts):
        found |= {} if part is None else part.watched()
    trained: Sequence[str] = [metric for task, metric in found.items() if config.tasks[task].weight > 0]
    if not trained:
        raise UsageError(
            f"the task '{config.choose_name}' has weight 0 and no task that judges is trained, so there is nothing to tune by; allowed are the metric of "
            f"the task that chooses (say tasks.{config.choose_name}.weight: 1) and those of tasks with answer: judge"
        )
    return Watched(tuple(trained))
