"""A training as it goes: stages, and the curves of the one in progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.page import Reader
from m6rec.serving.service.run_reports import run_of

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

router = APIRouter(prefix="/training")
MOST_SERIES = 6  # lines of one chart


@router.get("")
def show(page: Reader, run: str = "") -> Response:
    """The training of the served run, or of a run beside it."""
    runs = runs_beside(page.service)
    folder = runs.get(run, run_of(page.service.run))
    progress = page.service.training(folder)
    charts = [
        (stage, kind, table)
        for stage, series in progress.curves.items()
        for kind, table in curve_tables(series, page.t("training.epoch")).items()
    ]
    return page.show("training", progress=progress, charts=charts, runs=list(runs), run=folder.name)


def runs_beside(service: Service) -> dict[str, Path]:
    """Run folders in the folder of the served one, by name: a training that makes the next version is usually one of them."""
    own = run_of(service.run)
    found = {path.name: path for path in sorted(own.parent.iterdir()) if (path / "stages").is_dir()} if own.parent.is_dir() else {}
    return {own.name: own, **found}


def curve_tables(series: Mapping[str, Sequence[Sequence[float]]], epoch: str) -> dict[str, ChartTable]:
    """Losses and measures of a stage, a chart each: they do not share a scale. Speed is no curve of learning and is left out."""
    kinds: dict[str, dict[str, Sequence[Sequence[float]]]] = {"losses": {}, "measures": {}}
    for name, points in series.items():
        if name != "targets_per_second":
            kinds["losses" if "." in name else "measures"][name.partition(".")[2] or name] = points
    return {kind: _table(dict(list(found.items())[:MOST_SERIES]), epoch) for kind, found in kinds.items() if found}


def _table(series: Mapping[str, Sequence[Sequence[float]]], epoch: str) -> ChartTable:
    epochs = sorted({point[0] for points in series.values() for point in points})
    values = {name: {point[0]: point[1] for point in points} for name, points in series.items()}
    rows = [[f"{moment:g}", *(rounded(values[name].get(moment)) for name in series)] for moment in epochs]
    return ChartTable([epoch, *series], rows)


def rounded(value: float | None) -> float | None:
    """Four decimals: what a curve shows."""
    return None if value is None else round(value, 4)
