"""The first page: how much is asked, how fast it is answered, by which model, on how fresh data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.page import Page, Reader
from m6rec.serving.console.phrases import Phrases
from m6rec.serving.console.training import running_now
from m6rec.serving.console.versions import added

if TYPE_CHECKING:
    from m6rec.serving.service.loaded import ModelFacts

router = APIRouter()
MINUTES = 60
UNITS = {"day": 86_400, "hour": 3_600, "minute": 60}


@dataclass(frozen=True)
class Now:
    """What the page shows. total: `Traffic.total()` of all workers.  hour: answers and errors of the last hour.

    age: how old the newest event is, in words.  added: version -> when, seconds since 1970.  notes: what somebody should look after.
    """

    total: dict[str, Any]
    hour: tuple[int, int]
    model: str
    newest: float | None
    age: str
    items: int
    users: int
    traffic: ChartTable
    speed: ChartTable
    versions: list[ModelFacts]
    added: dict[str, float]
    notes: list[str]
    errors: list[tuple[str, int]]  # kind of error, how often, since the start
    cached: int  # answers that could have come from a cache
    training: dict[str, str]  # runs in training -> the stage they are at


@router.get("/")
def show(page: Reader) -> Response:
    """The page; it asks for itself again every few seconds."""
    return page.show("overview", now=now(page))


def now(page: Page) -> Now:
    """Everything the page shows, of this moment."""
    t, info, moment = page.t, page.service.info(), time.time()
    total = page.service.traffic.total()
    minutes = last_minutes(total["minutes"], moment)
    newest = info["newest_event"]
    speed = [[when, one.get("p50_ms"), one.get("p99_ms")] for when, one in minutes]
    return Now(
        total=total,
        hour=(sum(one.get("answers", 0) for _, one in minutes), sum(one.get("errors", 0) for _, one in minutes)),
        model=info["model_version"],
        newest=newest,
        age=age(t, None if newest is None else moment - newest),
        items=info["items"],
        users=info["users"],
        traffic=ChartTable(
            [t("overview.minute"), t("overview.answers"), t("overview.errors")],
            [[when, one.get("answers", 0), one.get("errors", 0)] for when, one in minutes],
        ),
        speed=ChartTable(
            [t("overview.minute"), t("overview.median"), t("overview.slow")], speed if any(row[1] is not None for row in speed) else []
        ),
        versions=page.service.models(),
        added=added(page.service),
        errors=sorted(((name[6:], count) for name, count in total["counts"].items() if name.startswith("error ")), key=lambda one: -one[1]),
        cached=sum(total["counts"].get(f"cache {use}", 0) for use in ("hit", "miss")),
        training=running_now(page.service),
        notes=[*info["problems"], *[t("overview.retrain")] * bool(info["retrain"])],
    )


def last_minutes(counted: list[dict[str, Any]], moment: float) -> list[tuple[str, dict[str, Any]]]:
    """The last 60 minutes, newest first, as UTC clock times and what was counted: back to the first one with requests, nothing of those without."""
    at = {int(one["minute"]): one for one in counted}
    this = int(moment // 60) * 60
    first = min((minute for minute in at if minute > this - 60 * MINUTES), default=this + 60)
    return [(clock(minute), at.get(minute, {})) for minute in range(this, first - 60, -60)]


def clock(seconds: float) -> str:
    """Hour and minute, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M")


def age(t: Phrases, seconds: float | None) -> str:
    """How long ago, in the largest unit that fits."""
    if seconds is None:
        return t("age.never")
    for unit, size in UNITS.items():
        if seconds >= size:
            return t(f"age.{unit}", n=int(seconds // size))
    return t("age.now")
