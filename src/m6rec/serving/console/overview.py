"""The first page: how much is asked, how fast it is answered, by which model, on how fresh data."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.serving.console.page import Page, Reader
from m6rec.serving.console.phrases import Phrases
from m6rec.serving.console.tables import ChartTable

router = APIRouter()
MINUTES = 60
SECONDS = {"day": 86_400, "hour": 3_600, "minute": 60}


@dataclass(frozen=True)
class Now:
    """What the page shows. hits: share of answers from caches, None unknown.  newest: time of the newest event, None where there is none."""

    requests: int
    median_ms: float | None
    slow_ms: float | None
    hits: float | None
    model: str
    models: int
    newest: float | None
    age: str
    items: int
    users: int
    traffic: ChartTable
    speed: ChartTable
    versions: list[Any]
    notes: list[str]


@router.get("/")
def show(page: Reader) -> Response:
    """The page; it asks for itself again every few seconds."""
    return page.show("overview", now=now(page))


def now(page: Page) -> Now:
    """Everything the page shows, of this moment."""
    service, t = page.service, page.t
    info = service.info()
    moment = time.time()
    shown = service.store.shown(after=moment - 60 * MINUTES, most=100_000)
    minutes = Counter(int((moment - one.time) // 60) for one in {row.request_id: row for row in shown}.values())
    rows = [[f"-{ago}", minutes.get(ago, 0)] for ago in range(MINUTES - 1, -1, -1)]
    newest = info.get("newest_event")
    return Now(
        requests=sum(minutes.values()),
        median_ms=None,
        slow_ms=None,
        hits=None,
        model=info.get("model_version", ""),
        models=1,
        newest=newest,
        age=age(t, None if newest is None else moment - newest),
        items=info.get("items", 0),
        users=info.get("users", 0),
        traffic=ChartTable([t("overview.minute"), t("overview.requests")], rows),
        speed=ChartTable([t("overview.minute"), t("overview.median"), t("overview.slow")], []),
        versions=service.store.models(),
        notes=[],
    )


def age(t: Phrases, seconds: float | None) -> str:
    """How long ago, in the largest unit that fits."""
    if seconds is None:
        return t("age.never")
    unit, size = next(((unit, size) for unit, size in SECONDS.items() if seconds >= size), ("now", 1))
    return t(f"age.{unit}", n=int(seconds // size))
