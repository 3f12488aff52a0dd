"""Experiments: what runs, and what each says so far, with intervals that hold at any look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.base.errors import UsageError, nearest
from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.page import Admin, Form, Page, Reader
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.experiments.decisions import Decision, decide
from m6rec.serving.experiments.outcomes import Shown
from m6rec.serving.experiments.readout import Comparison, Readout, readout

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

router = APIRouter(prefix="/experiments")
STATES = ("running", "paused", "stopped")


@dataclass(frozen=True)
class Told:
    """What an experiment says now."""

    readout: Readout
    decision: Decision
    exposures: int


@router.get("")
def show(page: Reader) -> Response:
    """All experiments, those of the configuration and of the store."""
    return page.show("experiments", experiments=page.service.routing.experiments)


@router.get("/one")
def one(page: Reader, name: str) -> Response:
    """The readout of one."""
    experiment = named(page, name)
    told = reading(page.service, experiment)
    kept = any(body.get("name") == name for body in page.service.store.experiments())
    return page.show(
        "experiments_one",
        experiment=experiment,
        told=told,
        figures=arms_chart(page, told.readout),
        effects=effects_chart(page, [*told.readout.comparisons, *told.readout.guardrails]),
        states=STATES if kept else (),
    )


@router.post("/state")
def set_state(page: Admin, form: Form) -> Response:
    """Run, pause or stop an experiment of the store, in every worker."""
    experiment = named(page, form.get("name", ""))
    changed = Experiment.build(experiment.plain() | {"status": form.get("state", "")}, f"experiment {experiment.name}")
    page.service.store.save_experiment(changed.plain())
    page.service.following.catch_up()
    return page.go("/experiments/one", name=experiment.name, done="experiment_changed")


def named(page: Page, name: str) -> Experiment:
    """Raises UsageError: there is none of this name."""
    known = {experiment.name: experiment for experiment in page.service.routing.experiments}
    if name not in known:
        raise UsageError(page.t("experiments.unknown", name=name[:80]) + nearest(name, list(known)))
    return known[name]


def reading(service: Service, experiment: Experiment) -> Told:
    """The readout of everything shown so far; an outcome is any event of the person with the item within the experiment's window."""
    frame = service.store.outcomes(experiment.name, experiment.window_s, since=experiment.since or 0.0)
    exposures = frame.filter(pl.col("user_id").is_not_null()).select(
        pl.col("user_id").alias(Shown.UNIT),
        pl.col("variant").alias(Shown.ARM),
        pl.col("time").alias(Shown.TIME),
        pl.col("item_id").alias(Shown.ITEM),
        pl.col("position").alias(Shown.POSITION),
        pl.col("propensity").alias(Shown.PROPENSITY),
        (pl.col("actions").list.len() > 0).cast(pl.Float64).alias(Shown.OUTCOME),
        pl.col("value").alias(Shown.VALUE),
    )
    found = readout(exposures, experiment)
    return Told(found, decide(experiment, found), len(exposures))


def arms_chart(page: Page, found: Readout) -> ChartTable:
    """The metric of every arm with its interval at one look."""
    rows = [[arm.arm, *(known(value) for value in (arm.mean, arm.low, arm.high))] for arm in found.arms]
    return ChartTable([page.t("experiments.arm"), found.metric, page.t("experiments.low"), page.t("experiments.high")], rows)


def effects_chart(page: Page, found: Sequence[Comparison]) -> ChartTable:
    """Relative changes against the control, in per cent, with the interval that holds at any look."""
    rows = [
        [f"{one.arm}: {one.metric}", *(known(value, 100) for value in (one.relative, one.relative_low, one.relative_high))] for one in found
    ]
    head = [page.t("experiments.compared"), page.t("experiments.change"), page.t("experiments.low"), page.t("experiments.high")]
    return ChartTable(head, rows)


def known(value: float, times: float = 1.0) -> float | None:
    """A figure to four decimals, None where it is not known yet."""
    return round(times * value, 4) if abs(value) < float("inf") else None
