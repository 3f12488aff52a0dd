"""The page of a seesaw: every cell against its single-task model, and who helped whom as a heat map."""

from __future__ import annotations

from markupsafe import Markup

from m6rec.evaluation.heat_map import heat_map_svg
from m6rec.evaluation.pages import page_templates
from m6rec.evaluation.seesaw import Change, Seesaw, table_rows


def seesaw_page(seesaw: Seesaw, *, title: str) -> str:
    """The whole page as text; it loads nothing from elsewhere."""
    environment = page_templates()
    tasks, cells, values, sure = seesaw.matrix()
    heat = heat_map_svg(
        [f"with {task}" for task in tasks],
        cells,
        values,
        sure,
        "Who helped whom: what having a task adds to a cell",
        key="seesaw",
        digits=4,
        row_label="trained",
        column_label="measured",
        legend=("Blue: the task of the row helps; without it: worse.", "Orange: it harms; without it: better."),
    )
    counts = seesaw.counts()
    tiles = [
        (str(counts["better"]), "cells better", "than their single-task model"),
        (str(counts["same"]), "no clear difference", "the interval holds 0"),
        (str(counts["worse"]), "cells worse", "beyond the interval"),
    ]
    return environment.get_template("seesaw.html.jinja").render(
        title=title,
        tiles=tiles,
        heat=Markup(heat) if tasks else "",
        single=list(zip(seesaw.single, table_rows(seesaw.single), strict=True)),
        helped={task: list(zip(changes, table_rows(changes), strict=True)) for task, changes in seesaw.helped.items()},
        strongest=_strongest(seesaw),
        skipped=seesaw.skipped,
        seconds=seesaw.seconds,
        statement=seesaw.statement,
    )


def _strongest(seesaw: Seesaw) -> list[str]:
    """The help and harm that are beyond their intervals, in words, the largest first."""
    found: list[tuple[str, Change]] = [(task, change) for task, changes in seesaw.helped.items() for change in changes if change.sure]
    found.sort(key=lambda one: -abs(one[1].difference))
    return [
        f"{task} {'helps' if change.gain > 0 else 'harms'} {change.cell}: {change.metric} {change.difference:+.4f}"
        for task, change in found
    ]
