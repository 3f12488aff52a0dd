"""The first page: how much is asked, how fast it is answered, by which model, on how fresh data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.page import Page, Reader
from m6rec.serving.console.phrases import Phrases
from m6rec.serving.console.traffic import MINUTES, Minute, Traffic

if TYPE_CHECKING:
    from m6rec.serving.service.loaded import ModelFacts

router = APIRouter()
UNITS = {"day": 86_400, "hour": 3_600, "minute": 60}


@dataclass(frozen=True)
class Now:
    """What the page shows. age: how old the newest event is, in words.  notes: what somebody should look after."""

    hour: Minute
    model: str
    newest: float | None
    age: str
    items: int
    users: int
    traffic: ChartTable
    speed: ChartTable
    versions: list[ModelFacts]
    notes: list[str]


@router.get("/")
def show(page: Reader) -> Response:
    """The page; it asks for itself again every few seconds."""
    return page.show("overview", now=now(page))


def now(page: Page) -> Now:
    """Everything the page shows, of this moment."""
    t, info = page.t, page.service.info()
    traffic: Traffic = page.request.app.state.traffic
    traffic.look()
    minutes = traffic.minutes()
    ages = [str(place - MINUTES + 1) for place in range(MINUTES)]
    newest = info["newest_event"]
    ready, why = page.service.ready()
    notes = [why] * (not ready) + [t("overview.store_away", why=info["store"])] * (info["store"] != "ok")
    return Now(
        hour=traffic.hour(),
        model=info["model_version"],
        newest=newest,
        age=age(t, None if newest is None else time.time() - newest),
        items=info["items"],
        users=info["users"],
        traffic=ChartTable([t("overview.minute"), t("overview.requests")], [[a, m.requests] for a, m in zip(ages, minutes, strict=True)]),
        speed=ChartTable(
            [t("overview.minute"), t("overview.median"), t("overview.slow")],
            [[a, milliseconds(m.median), milliseconds(m.slow)] for a, m in zip(ages, minutes, strict=True)]
            if any(m.median is not None for m in minutes)
            else [],
        ),
        versions=page.service.models(),
        notes=notes + [t("overview.retrain")] * bool(info["retrain"]),
    )


def age(t: Phrases, seconds: float | None) -> str:
    """How long ago, in the largest unit that fits."""
    if seconds is None:
        return t("age.never")
    unit, size = next(((unit, size) for unit, size in UNITS.items() if seconds >= size), ("now", 1))
    return t(f"age.{unit}", n=int(seconds // size)) if unit != "now" else t("age.now")


def milliseconds(seconds: float | None) -> float | None:
    """Rounded to what a person reads."""
    return None if seconds is None else round(1000 * seconds, 2)
