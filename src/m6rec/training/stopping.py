"""When to stop, and which weights to keep: one metric, or one for each of several tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Validations:
    """What validations showed so far, JSON-ready.

    seen: (epoch, value of each task).  best: task -> (epoch, value).  stopped: tasks that are trained no longer.
    """

    seen: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    best: dict[str, tuple[int, float]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)


class Stopping:
    """Early stopping over several tasks, each with a metric of its own, higher being better.

    Weights are shared, so one epoch's are kept: the one whose `score` is the highest of those seen. A metric that is NaN (one class only
    among the validation rows) says nothing.

    metrics: task -> its metric among those that validation returns.
    """

    def __init__(self, metrics: Mapping[str, str], stop: Literal["all", "task"], patience: int) -> None:
        self.metrics, self.stop, self.patience = dict(metrics), stop, patience

    def note(self, validations: Validations, epoch: int, metrics: Mapping[str, float]) -> tuple[float, bool]:
        """Note one validation. Returns (the epoch's score, with one task its metric; whether it is the highest so far)."""
        values = {task: metrics[name] for task, name in self.metrics.items() if not math.isnan(metrics[name])}
        validations.seen.append((epoch, values))
        for task, value in values.items():
            if task not in validations.best or value > validations.best[task][1]:
                validations.best[task] = (epoch, value)
        if len(self.metrics) == 1:
            ((task, name),) = self.metrics.items()
            before = [past[task] for _, past in validations.seen[:-1] if task in past]
            self._stop(validations)
            return metrics[name], metrics[name] > max(before, default=-math.inf) or len(validations.seen) == 1
        scores = [self.score(validations, past) for _, past in validations.seen]
        self._stop(validations)
        return scores[-1], scores[-1] > max(scores[:-1], default=-math.inf) or len(scores) == 1

    def done(self, validations: Validations, since_best: int) -> bool:
        """Whether there is nothing more to train."""
        if self.stop == "task":
            return len(validations.stopped) == len(self.metrics)
        return since_best >= self.patience

    def score(self, validations: Validations, values: Mapping[str, float]) -> float:
        """The mean over tasks of 1 + (value - best) / |best - chance|: 1 where every task is at its best so far.

        chance is what guessing reaches: 1/2 for areas under the ROC curve, else 0.
        """
        total = 0.0
        for task, value in values.items():
            best = validations.best[task][1]
            total += 1.0 + (value - best) / max(abs(best - _chance(self.metrics[task])), 1e-12)
        return total / len(values) if values else -math.inf

    def _stop(self, validations: Validations) -> None:
        if self.stop == "task":
            validations.stopped = [task for task in self.metrics if task in validations.stopped or self._waited(validations, task)]

    def _waited(self, validations: Validations, task: str) -> bool:
        epoch = validations.best[task][0] if task in validations.best else -1
        return sum(past > epoch for past, _ in validations.seen) >= self.patience


def _chance(metric: str) -> float:
    """Of "auc", "gauc", "click auc", "click:auc"; the area under a precision-recall curve has none."""
    return 0.5 if metric.lower().rstrip("0123456789@").endswith("auc") and not metric.lower().endswith("pr_auc") else 0.0
