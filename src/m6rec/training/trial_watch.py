"""What a study hears of a training while it runs: the validation curve, after every epoch, and whether to stop."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from m6rec.training.progress import Progress
from m6rec.training.watched import Watched
from m6rec.training.workbench import Workbench

if TYPE_CHECKING:
    import optuna


class Poor(Exception):
    """The trial is worse than its peers were at the same epoch."""


class TimeUp(Exception):
    """No minutes are left; the state of the trial is saved."""


class Curve:
    """Hands the validation curve of a training to its trial, from the log: epochs of before a kill are in it too."""

    def __init__(self, trial: optuna.Trial, bench: Workbench, watched: Watched, late: Callable[[], bool]) -> None:
        self.trial, self.bench, self.watched, self.late = trial, bench, watched, late
        self.told: set[int] = set()

    def catch_up(self) -> None:
        for epoch, value in validation_curve(self.bench.folder("fit") / "log.jsonl", self.watched).items():
            if epoch not in self.told:
                self.told.add(epoch)
                self.trial.report(value, epoch)

    def heard(self) -> None:
        """Called after every epoch, when the state is saved."""
        self.catch_up()
        if self.told and self.trial.should_prune():
            raise Poor
        if self.late():
            raise TimeUp


class Watch(Progress):
    """What the stages of a trial tell: the study hears of every epoch of the fit; people see the bar, not the lines."""

    def __init__(self, shown: Progress, name: str, curve: Curve) -> None:
        super().__init__(shown.visible)
        self.console, self.curve, self.name = shown.console, curve, name

    def say(self, line: str) -> None:
        """Nothing: a trial is one line when it is done."""

    def note(self, epoch: int, losses: dict[str, float], metrics: dict[str, float]) -> None:
        if self.stage == "fit":
            self.curve.heard()


def validation_curve(log: Path, watched: Watched) -> dict[int, float]:
    """epoch -> value of what is watched, from a training log; of an epoch that was done again the later line counts. Unknown values are left out."""
    if not log.exists():
        return {}
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    found = {int(row["epoch"]): watched.value(row) for row in rows if watched.among(row)}
    return {epoch: value for epoch, value in found.items() if not math.isnan(value)}
