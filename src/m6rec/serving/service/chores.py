"""What has to be done now and then, by one worker for all of them: delete what is too old, look at the experiments.

An experiment whose arm harms is rolled back by itself: the arm's people go to the control from the next request on, in every worker.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from m6rec.base.errors import M6RecError
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.experiments.decisions import Decision, applied, decide
from m6rec.serving.experiments.outcomes import Shown
from m6rec.serving.experiments.readout import Readout, readout
from m6rec.serving.service.loaded import first_error

if TYPE_CHECKING:
    from m6rec.serving.store.store import Store


@dataclass(frozen=True)
class Look:
    """One look at an experiment: what it says, what that asks for, and when it was taken (seconds since 1970)."""

    experiment: Experiment
    readout: Readout
    decision: Decision
    at: float

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        said = {"action": self.decision.action, "arms": list(self.decision.arms), "reasons": list(self.decision.reasons)}
        return {"experiment": self.experiment.plain(), "readout": self.readout.plain(), "decision": said, "at": self.at}


def look_at(store: Store, experiment: Experiment) -> Look:
    """The readout of an experiment now. Raises StorageError; UsageError: a metric that the outcomes don't have."""
    outcomes = store.outcomes(experiment.name, experiment.window_s, since=experiment.since or 0.0)
    told = readout(exposures_of(outcomes), experiment)
    return Look(experiment, told, decide(experiment, told), time.time())


def exposures_of(outcomes: pl.DataFrame) -> pl.DataFrame:
    """What `Store.outcomes` tells, in the columns that a readout reads: an outcome is any action.

    A person nobody knows is the unit of a session, else of one list.
    """
    return outcomes.select(
        pl.coalesce("user_id", "unit", "request_id").alias(Shown.UNIT),
        pl.col("variant").alias(Shown.ARM),
        pl.col("time").alias(Shown.TIME),
        pl.col("item_id").alias(Shown.ITEM),
        pl.col("position").alias(Shown.POSITION),
        pl.col("propensity").alias(Shown.PROPENSITY),
        (pl.col("actions").list.len().fill_null(0) > 0).cast(pl.Int64).alias(Shown.OUTCOME),
        pl.col("value").cast(pl.Float64).alias(Shown.VALUE),
        pl.col("actions").alias(Shown.ACTIONS),
        pl.col("took_ms"),
    )


class Chores:
    """A thread that does what is due.

    experiments: those that run.  look_every_s, retention_every_s: seconds between two rounds.
    """

    def __init__(self, store: Store, experiments: Callable[[], list[Experiment]], look_every_s: float, retention_every_s: float) -> None:
        self.store, self.experiments = store, experiments
        self.look_every_s, self.retention_every_s = look_every_s, retention_every_s
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="m6rec-chores", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def look(self) -> list[Look]:
        """Look at every running experiment; what a look asks for is done. Raises StorageError."""
        looks = []
        for experiment in self.experiments():
            if experiment.status != "running":
                continue
            found = look_at(self.store, experiment)
            looks.append(found)
            if found.decision.action != "go on":
                changed = applied(experiment, found.decision, found.at)
                self.store.save_experiment(changed.plain())
                why = "; ".join(found.decision.reasons)
                print(f"m6rec: experiment {experiment.name}: {found.decision.action}: {why}", file=sys.stderr, flush=True)
        return looks

    def _work(self) -> None:
        looked = pruned = time.monotonic()
        while not self._closing.wait(min(self.look_every_s, self.retention_every_s, 5.0)):
            now = time.monotonic()
            if now - looked >= self.look_every_s:
                looked = now
                self._try(self.look)
            if now - pruned >= self.retention_every_s:
                pruned = now
                self._try(self.store.enforce_retention)

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except M6RecError as error:
            print(f"m6rec: {first_error(error)}", file=sys.stderr, flush=True)
