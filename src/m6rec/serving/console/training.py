"""A training as it goes: stages, and the curves of the one in progress."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.page import Reader
from m6rec.serving.console.phrases import Phrases
from m6rec.serving.console.told import task_name
from m6rec.serving.service.run_reports import QUIET, run_of

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

router = APIRouter(prefix="/training")
MOST_SERIES = 6  # lines of one chart


@router.get("")
def show(page: Reader, run: str = "") -> Response:
    """The training that runs now, if any, else that of the served run; or of the run that was asked for."""
    runs, running = runs_beside(page.service), running_now(page.service)
    served = run_of(page.service.run)
    folder = runs.get(run) or next((runs[name] for name in running), served)
    progress = page.service.training(folder)
    charts = [
        (stage, kind, table)
        for stage, series in progress.curves.items()
        for kind, table in curve_tables(series, page.t("training.epoch"), page.t).items()
    ]
    return page.show("training", progress=progress, charts=charts, runs=list(runs), run=folder.name, running=running, served=served.name)


def running_now(service: Service, now: float | None = None) -> dict[str, str]:
    """Runs in training at this moment -> the stage they are at, the one with the newest sign of life first."""
    moment = time.time() if now is None else now
    found = []
    for name, folder in runs_beside(service).items():
        if moment - _touched(folder) <= QUIET:  # a run at rest is not read at all
            progress = service.training(folder)
            if progress.status == "running":
                found.append((-(progress.updated or 0.0), name, progress.stage))
    return {name: stage for _, name, stage in sorted(found)}


def _touched(run: Path) -> float:
    """When a file in the stages of a run was last written, seconds since 1970; 0 where that can't be read."""
    try:
        return max((path.stat().st_mtime for pattern in ("*", "*/*") for path in (run / "stages").glob(pattern)), default=0.0)
    except OSError:
        return 0.0  # a stage was put in its place just now; the next look sees it


def runs_beside(service: Service) -> dict[str, Path]:
    """Run folders in the folder of the served one, by name: a training that makes the next version is usually one of them."""
    own = run_of(service.run)
    found = {path.name: path for path in sorted(own.parent.iterdir()) if (path / "stages").is_dir()} if own.parent.is_dir() else {}
    return {own.name: own, **found}


def curve_tables(series: Mapping[str, Sequence[Sequence[float]]], epoch: str, t: Phrases) -> dict[str, ChartTable]:
    """Losses and measures of a stage, a chart each and more where there are many. Speed is no curve of learning and is left out.

    The losses of several tasks have no common unit: each is told in per cent of what it was at first.
    """
    kinds: dict[str, dict[str, Sequence[Sequence[float]]]] = {"losses": {}, "measures": {}}
    for name, points in series.items():
        if name == "targets_per_second" or not points:
            continue
        if "." in name:
            first = points[0][1]
            share = [[moment, 100 * value / first] for moment, value in points] if first > 0 else points
            kinds["losses"][series_name(t, name)] = share
        else:
            kinds["measures"][series_name(t, name)] = points
    found: dict[str, ChartTable] = {}
    for kind, lines in kinds.items():
        names = list(lines)
        for begin in range(0, len(names), MOST_SERIES):
            part = {name: lines[name] for name in names[begin : begin + MOST_SERIES]}
            found[f"{kind}{begin // MOST_SERIES + 1 if begin else ''}"] = _table(part, epoch)
    return found


def series_name(t: Phrases, name: str) -> str:
    """What a curve shows, in words: "judge.shop/click" is "click (shop)"."""
    head, _, rest = name.partition(".")
    short = rest or head
    where, _, task = short.partition("/")
    return t.known(f"series.{short}", f"{task_name(t, task)} ({where})" if task else task_name(t, short))


def _table(series: Mapping[str, Sequence[Sequence[float]]], epoch: str) -> ChartTable:
    epochs = sorted({point[0] for points in series.values() for point in points})
    values = {name: {point[0]: point[1] for point in points} for name, points in series.items()}
    rows = [[f"{moment:g}", *(rounded(values[name].get(moment)) for name in series)] for moment in epochs]
    return ChartTable([epoch, *series], rows)


def rounded(value: float | None) -> float | None:
    """Four decimals: what a curve shows."""
    return None if value is None else round(value, 4)
