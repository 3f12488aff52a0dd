"""Experiments: what runs, and what each says so far, with intervals that hold at any look."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.base.errors import M6RecError, UsageError
from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.moderation import in_lines
from m6rec.serving.console.page import Admin, Form, Page, Reader, number, percent
from m6rec.serving.experiments.config import METRICS, Arm, Experiment
from m6rec.serving.experiments.readout import Comparison, Readout

router = APIRouter(prefix="/experiments")
STATES = ("running", "paused", "stopped")


@router.get("")
def show(page: Reader) -> Response:
    """All experiments, those of the configuration and of the store."""
    return page.show("experiments", experiments=page.service.routing.experiments)


@router.get("/one")
def one(page: Reader, name: str) -> Response:
    """The readout of one."""
    look = page.service.look(name)
    kept = any(body.get("name") == name for body in page.service.store.experiments())
    return page.show(
        "experiments_one",
        look=look,
        experiment=look.experiment,
        exposures=sum(arm.exposures for arm in look.readout.arms),
        differs=[differences(page, arm) for arm in look.experiment.arms],
        figures=arms_chart(page, look.readout),
        effects=effects_chart(page, [*look.readout.comparisons, *look.readout.guardrails]),
        states=STATES if kept else (),  # one of the configuration file is changed there
    )


@router.get("/new")
def new(page: Admin) -> Response:
    """The form for an experiment of two arms: as today, and another way to answer."""
    return _form(page, {})


@router.post("/new")
def create(page: Admin, form: Form) -> Response:
    """Keep the experiment in the store; every worker deals people out from the next request on."""
    name = form.get("name", "").strip()
    try:
        if any(one.name == name for one in page.service.routing.experiments):
            raise UsageError(page.t("experiments.taken", name=name))
        experiment = Experiment.build(_told(page, form), page.t("experiments.name"))
    except M6RecError as error:
        return _form(page, form, 422, str(error))
    page.service.store.save_experiment(experiment.plain())
    page.service.following.catch_up()
    return page.go("/experiments/one", name=experiment.name, done="experiment_made")


@router.post("/state")
def set_state(page: Admin, form: Form) -> Response:
    """Run, pause or, once that was asked, stop an experiment of the store, in every worker."""
    experiment = page.service.look(form.get("name", "")).experiment
    if form.get("state") == "stopped":
        back = f"/experiments/one?{urlencode({'name': experiment.name})}"
        asked = page.ask_first(form, page.t("experiments.stop_sure", name=experiment.name), page.t("experiments.to.stopped"), back)
        if asked is not None:
            return asked
    changed = Experiment.build(experiment.plain() | {"status": form.get("state", "")}, f"experiment {experiment.name}")
    page.service.store.save_experiment(changed.plain())
    page.service.following.catch_up()
    return page.go("/experiments/one", name=experiment.name, done="experiment_changed")


def _form(page: Page, form: Mapping[str, str], status: int = 200, problem: str = "") -> Response:
    service = page.service
    return page.show(
        "experiments_new",
        status,
        form=form,
        problem=problem,
        models=[one.version for one in service.models() if one.status != "known"],
        scenarios=service.info()["scenarios"],
        metrics=METRICS,
    )


def _told(page: Page, form: Mapping[str, str]) -> dict[str, Any]:
    """The form as an experiment in the words of its configuration. Raises UsageError: a field that holds no number."""

    def figure(name: str, times: float = 0.01) -> float:
        given = form.get(name, "").strip()
        try:
            return times * float(given.replace(",", ".") or 0)
        except ValueError:
            raise UsageError(page.t("experiments.no_number", name=page.t(f"experiments.form.{name}"), given=given[:20])) from None

    share = figure("share")
    slate = {"diversity": figure("diversity"), "novelty": figure("novelty")}
    other: dict[str, Any] = {"name": form.get("arm", "").strip(), "share": share, "model": form.get("model") or None}
    if any(slate.values()):
        other["slate"] = slate
    if form.get("exploration", "").strip():
        other["exploration"] = figure("exploration")
    return {
        "name": form.get("name", "").strip(),
        "arms": [{"name": form.get("control", "").strip(), "share": 1.0 - share}, other],
        "traffic": figure("traffic"),
        "metric": form.get("metric", METRICS[0]),
        "scenarios": [form["scenario"]] if form.get("scenario") else [],
        "actions": [word.strip() for word in form.get("actions", "").split(",") if word.strip()],
        "since": time.time(),
    }


def differences(page: Page, arm: Arm) -> list[str]:
    """What an arm asks for, each as "name: value"; nothing where it is answered as everybody is."""
    t = page.t
    told = {t("try.model"): arm.model, t("experiments.option"): arm.option}
    if arm.slate is not None:
        slate = arm.slate
        told |= {t("try.diversity"): number(slate.diversity, 2), t("try.novelty"): number(slate.novelty, 2)}
        several = {"weights": slate.weights, "caps": slate.caps, "mix": slate.mix}
        told |= {t(f"experiments.{name}"): ", ".join(in_lines(value)) for name, value in several.items()}
    if arm.exploration is not None:
        told[t("experiments.exploration")] = percent(arm.exploration)
    return [f"{name}: {value}" for name, value in told.items() if value]


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
