"""The quality board: tasks by scenarios of the last evaluation, as a heat map whose cells hold the numbers, and every figure in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.page import Page, Reader, moment

if TYPE_CHECKING:
    from m6rec.serving.service.run_reports import Board, Cell

router = APIRouter(prefix="/quality")
MOST_WINDOWS = 60
SHADES = 5  # colours of a cell, from weak to strong
# Metrics with a place where nothing is known, and one where everything is: how far a value is between them decides its shade.
CHANCE = {"auc": 0.5, "gauc": 0.5}


@dataclass(frozen=True)
class Shown:
    """A cell of the heat map. shade: 0 weak to 4 strong, None where the metric has no scale (errors in the label's own unit)."""

    cell: Cell
    shade: int | None


@router.get("")
def show(page: Reader) -> Response:
    """The board of the active model."""
    board = page.service.board()
    leading = [cell for cell in board.cells if cell.leading]
    beside = [cell for cell in leading if cell.scenario == "" and cell.baseline is not None]
    chart = ChartTable(
        [page.t("quality.task"), page.t("quality.model"), page.t("quality.baseline")],
        [[f"{cell.task}: {cell.label}", round(cell.value, 4), round(cell.baseline or 0.0, 4)] for cell in beside if scaled(cell.metric)],
    )
    live = page.service.figures()["quality"]
    left_out = [page.t(f"quality.left_{why}", n=count) for why, count in live["left_out"].items()]
    note = " ".join([page.t("quality.live_why"), *left_out])
    rows, windows = heat_map(board, leading), live_chart(page, live)
    return page.show(
        "quality",
        board=board,
        rows=rows,
        chart=chart,
        live=live,
        live_note=note,
        windows=windows,
        meanings=meanings(page, board),
    )


def meanings(page: Page, board: Board) -> list[tuple[str, str]]:
    """The figures of the board, each with what it says, as far as the language has words for it."""
    named = {cell.metric.partition("@")[0]: cell.label.partition("@")[0] for cell in board.cells}
    told = [(label, page.t.known(f"measure.{name}", "")) for name, label in named.items()]
    return [(label, words) for label, words in told if words]


def live_chart(page: Page, live: Mapping[str, Any]) -> ChartTable:
    """Quality of what was asked for and then happened: each event is guessed before the model learns it."""
    head = [page.t("quality.window"), page.t("quality.hit", k=live["k"]), page.t("quality.low"), page.t("quality.high")]
    rows = [[moment(one["start"])[5:16], *(round(one[name], 4) for name in ("hit", "low", "high"))] for one in live["windows"]]
    return ChartTable(head, rows[-MOST_WINDOWS:])


def heat_map(board: Board, leading: Sequence[Cell]) -> list[tuple[str, list[Shown | None]]]:
    """For each task its leading figure in each scenario of the board."""
    at = {(cell.task, cell.scenario): cell for cell in leading}
    return [
        (task, [None if (cell := at.get((task, scenario))) is None else Shown(cell, shade(cell)) for scenario in board.scenarios])
        for task in board.tasks
    ]


def scaled(metric: str) -> bool:
    """Whether a metric lies between 0 and 1 for everybody."""
    return metric.partition("@")[0] not in ("rmse", "mae", "log_loss", "mse")


def shade(cell: Cell) -> int | None:
    """How far the value is from knowing nothing to knowing everything."""
    if not scaled(cell.metric):
        return None
    floor = CHANCE.get(cell.metric.partition("@")[0], 0.0)
    share = (cell.value - floor) / (1.0 - floor)
    return min(max(int(SHADES * (share if cell.higher else 1.0 - share)), 0), SHADES - 1)
