"""Which experiment comes first: the one that has been running longest, so that starting another takes nobody out of it."""

from __future__ import annotations

from collections.abc import Iterable

from m6rec.serving.experiments.config import Experiment

RUNNING = "running"


def started(experiment: Experiment, before: Experiment | None, now: float) -> Experiment:
    """The experiment as it is to be kept, with the time from which it has been running.

    One that runs keeps its time whatever else is changed of it; one that is new, or runs again, begins `now`: its people may be in another by then.

    Args:
        before: what is known under its name.  now: seconds since 1970.
    """
    if before is not None and (before.status == RUNNING or experiment.status != RUNNING):
        return experiment.model_copy(update={"started": before.started})
    return experiment.model_copy(update={"started": now}) if experiment.status == RUNNING else experiment


def in_order(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Those that have been running longest first; those from the beginning before all others, in the order they are given in."""
    return sorted(experiments, key=lambda one: 0.0 if one.started is None else one.started)
