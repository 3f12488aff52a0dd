"""The quality board: tasks by scenarios of the last evaluation, as a heat map whose cells hold the numbers, and every figure in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from m6rec.serving.console.chart_table import ChartTable
from m6rec.serving.console.how_measured import how_measured
from m6rec.serving.console.page import Page, Reader, moment
from m6rec.serving.console.told import task_name

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
        [
            [f"{task_name(page.t, cell.task)}: {cell.label}", round(cell.value, 3), round(cell.baseline or 0.0, 3)]
            for cell in beside
            if scaled(cell.metric)
        ],
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
        verdict=verdict(leading),
        weakest=weakest(leading),
        statements=[(said, "en" if said == one else page.t.language) for one in board.statements for said in [how_measured(page.t, one)]],
    )


@dataclass(frozen=True)
class Beside:
    """A task's leading figure beside the best simple method. gain: above 0 where the model is better.  sure: whether chance is no excuse."""

    cell: Cell
    gain: float
    sure: bool


@dataclass(frozen=True)
class Verdict:
    """Where the model is better than the best simple method, where it is not, and which tasks have nothing to compare with."""

    better: list[Beside]
    worse: list[Beside]
    alone: list[Cell]


def verdict(leading: Sequence[Cell]) -> Verdict:
    """The board in one line: over all scenarios together, largest difference first. A gain that three digits do not show is none."""
    found = [
        Beside(cell, (cell.value - cell.baseline) * (1 if cell.higher else -1), not cell.low <= cell.baseline <= cell.high)
        for cell in leading
        if cell.scenario == "" and cell.baseline is not None
    ]
    better = sorted((one for one in found if round(one.gain, 3) > 0), key=lambda one: -one.gain)
    worse = sorted((one for one in found if round(one.gain, 3) <= 0), key=lambda one: one.gain)
    return Verdict(better, worse, [cell for cell in leading if cell.scenario == "" and cell.baseline is None])


def weakest(leading: Sequence[Cell]) -> Cell | None:
    """The cell that is nearest to knowing nothing, None where no figure has a scale."""
    known = [(share, cell) for cell in leading if (share := strength(cell)) is not None]
    return min(known, key=lambda one: one[0])[1] if known else None


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


def strength(cell: Cell) -> float | None:
    """How far the value is from knowing nothing (0) to knowing everything (1); None where the metric has no such scale."""
    if not scaled(cell.metric):
        return None
    floor = CHANCE.get(cell.metric.partition("@")[0], 0.0)
    share = (cell.value - floor) / (1.0 - floor)
    return share if cell.higher else 1.0 - share


def shade(cell: Cell) -> int | None:
    """The colour of a cell, None for none."""
    share = strength(cell)
    return None if share is None else min(max(int(SHADES * share), 0), SHADES - 1)
