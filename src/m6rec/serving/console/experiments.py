"""Experiments: what runs, and what each says so far, with intervals that hold at any look."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.base.errors import M6RecError, UsageError
from m6rec.serving.asked import Slate
from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.moderation import in_lines
from m6rec.serving.console.page import SURE, Admin, Form, Page, Reader, number, percent
from m6rec.serving.console.told import told
from m6rec.serving.experiments.config import METRICS, Arm, Experiment
from m6rec.serving.experiments.decisions import Decision
from m6rec.serving.experiments.readout import Comparison, Readout

router = APIRouter(prefix="/experiments")
STATES = ("running", "paused", "stopped")
ACTION = "action."  # of the names of boxes that hold the actions that count


@router.get("")
def show(page: Reader) -> Response:
    """All experiments, those of the configuration and of the store."""
    return page.show("experiments", experiments=page.service.routing.experiments)


@router.get("/one")
def one(page: Reader, name: str) -> Response:
    """The readout of one."""
    look = page.service.look(name)
    kept = any(body.get("name") == name for body in page.service.store.experiments())
    begun = page.service.store.deeds(did="experiment", target=name, most=1) if page.session.may("admin") else []
    steps = tuple(state for state in STATES if state != "paused") if look.experiment.status == "stopped" else STATES
    return page.show(
        "experiments_one",
        look=look,
        experiment=look.experiment,
        begun=begun[0] if begun else None,
        metric=metric_name(page, look.experiment.metric),
        exposures=sum(arm.exposures for arm in look.readout.arms),
        differs=[differences(page, arm) for arm in look.experiment.arms],
        reasons=reasons(page, look.decision, look.readout),
        figures=arms_chart(page, look.readout),
        effects=effects_chart(page, [*look.readout.comparisons, *look.readout.guardrails]),
        states=steps if kept else (),  # one of the configuration file is changed there
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
        experiment = Experiment.build(_asked(page, form), page.t("experiments.name"))
        if not effective(page, experiment):
            raise UsageError(page.t("experiments.alike"))
    except M6RecError as error:
        return _form(page, form, 422, told(page.t, str(error)))
    if not form.get(SURE) and (found := overlaps(page, experiment)):
        return _form(page, form, doubts=found)
    page.service.set_experiment(experiment)
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
    page.service.set_experiment(changed)
    page.service.following.catch_up()
    return page.go("/experiments/one", name=experiment.name, done="experiment_changed")


def effective(page: Page, experiment: Experiment) -> bool:
    """Whether any variant is answered in another way than the first one."""
    active, share = page.service.loaded.active.version, page.service.routing.exploration

    def way(arm: Arm) -> tuple[object, ...]:
        slate = None if arm.slate is None else arm.slate.slate()
        return arm.model or active, arm.option, None if slate == Slate() else slate, share if arm.exploration is None else arm.exploration

    return any(way(arm) != way(experiment.control) for arm in experiment.arms)


def overlaps(page: Page, experiment: Experiment) -> list[str]:
    """Running experiments in the same places: everybody is in one experiment at most, so they take people from each other."""
    here = set(experiment.scenarios)
    found = []
    for other in page.service.routing.experiments:
        if other.status == "running" and (not here or not other.scenarios or here & set(other.scenarios)):
            phrase = "overlap_all" if other.traffic >= 1 or experiment.traffic >= 1 else "overlap"
            found.append(page.t(f"experiments.{phrase}", name=other.name, share=percent(other.traffic), mine=percent(experiment.traffic)))
    return found


def metric_name(page: Page, metric: str) -> str:
    """What decides, in words; the name of the column where it is one of the outcomes' own."""
    return page.t.known(f"metric.{metric}", metric)


def reasons(page: Page, decision: Decision, found: Readout) -> list[str]:
    """What a decision rests on, one line a figure: of the variants it is about, of all of them where there is nothing left to find."""
    if decision.action == "go on" or found.mismatch:
        return []
    about = [one for one in (*found.comparisons, *found.guardrails) if one.arm in decision.arms or not decision.arms]
    return [
        page.t(
            "experiments.reason",
            arm=one.arm,
            metric=metric_name(page, one.metric),
            change=f"{one.relative:+.1%}",
            low=f"{one.relative_low:+.1%}",
            high=f"{one.relative_high:+.1%}",
        )
        for one in about
        if abs(one.relative) < float("inf")
    ]


def _form(page: Page, form: Mapping[str, str], status: int = 200, problem: str = "", doubts: Sequence[str] = ()) -> Response:
    service = page.service
    return page.show(
        "experiments_new",
        status,
        form=form,
        problem=problem,
        doubts=doubts,
        actions=service.info()["actions"],
        models=[one.version for one in service.models() if one.status != "known"],
        scenarios=service.info()["scenarios"],
        metrics=METRICS,
    )


def _asked(page: Page, form: Mapping[str, str]) -> dict[str, Any]:
    """The form as an experiment in the words of its configuration. Raises UsageError: a field that holds no number, or one out of its range."""

    def figure(name: str, times: float, most: float) -> float:
        given = form.get(name, "").strip()
        try:
            value = float(given.replace(",", ".") or 0)
        except ValueError:
            raise UsageError(page.t("experiments.no_number", name=page.t(f"experiments.form.{name}"), given=given[:20])) from None
        if not 0 <= value <= most:
            raise UsageError(
                page.t("experiments.out_of_range", name=page.t(f"experiments.form.{name}"), given=given[:20], most=f"{most:g}")
            )
        return times * value

    share = figure("share", 0.01, 100)
    slate = {"diversity": figure("diversity", 1.0, 1), "novelty": figure("novelty", 1.0, 1)}
    other: dict[str, Any] = {"name": form.get("arm", "").strip(), "share": share, "model": form.get("model") or None}
    if any(slate.values()):
        other["slate"] = slate
    if form.get("exploration", "").strip():
        other["exploration"] = figure("exploration", 0.01, 50)
    return {
        "name": form.get("name", "").strip(),
        "arms": [{"name": form.get("control", "").strip(), "share": 1.0 - share}, other],
        "traffic": figure("traffic", 0.01, 100),
        "metric": form.get("metric", METRICS[0]),
        "scenarios": [form["scenario"]] if form.get("scenario") else [],
        "actions": [name for name in page.service.info()["actions"] if form.get(f"{ACTION}{name}")],
        "since": time.time(),
    }


def differences(page: Page, arm: Arm) -> list[str]:
    """What an arm asks for, each as "name: value"; nothing where it is answered as everybody is."""
    t = page.t
    asked = {t("try.model"): arm.model, t("experiments.option"): arm.option}
    if arm.slate is not None:
        slate = arm.slate
        asked |= {t(f"try.{name}"): number(value, 2) for name in ("diversity", "novelty") if (value := getattr(slate, name))}
        several = {"weights": slate.weights, "caps": slate.caps, "mix": slate.mix}
        asked |= {t(f"experiments.{name}"): ", ".join(in_lines(value)) for name, value in several.items()}
    if arm.exploration is not None:
        asked[t("experiments.exploration")] = percent(arm.exploration)
    return [f"{name}: {value}" for name, value in asked.items() if value]


def arms_chart(page: Page, found: Readout) -> ChartTable:
    """The metric of every arm with its interval at one look."""
    rows = [[arm.arm, *(known(value) for value in (arm.mean, arm.low, arm.high))] for arm in found.arms]
    return ChartTable(
        [page.t("experiments.arm"), metric_name(page, found.metric), page.t("experiments.low"), page.t("experiments.high")], rows
    )


def effects_chart(page: Page, found: Sequence[Comparison]) -> ChartTable:
    """Relative changes against the control, in per cent, with the interval that holds at any look."""
    rows = [
        [
            f"{one.arm}: {metric_name(page, one.metric)}",
            *(known(value, 100) for value in (one.relative, one.relative_low, one.relative_high)),
        ]
        for one in found
    ]
    head = [page.t("experiments.compared"), page.t("experiments.change"), page.t("experiments.low"), page.t("experiments.high")]
    return ChartTable(head, rows)


def known(value: float, times: float = 1.0) -> float | None:
    """A figure to four decimals, None where it is not known yet."""
    return round(times * value, 4) if abs(value) < float("inf") else None
