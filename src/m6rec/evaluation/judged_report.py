"""Judged tasks as a section of the report, and as a page of their own: tables, differences, reliability; no scripts, nothing loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jinja2
import numpy as np
from markupsafe import Markup

from m6rec.evaluation.calibration import Calibration
from m6rec.evaluation.heat_map import heat_map_svg
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_comparison import Cell, by_metric, cells_of, reference_of
from m6rec.evaluation.judged_tables import (
    Table,
    calibration_table,
    cell_tables,
    class_table,
    difference_table,
    every_difference_table,
    scenario_table,
    task_tables,
    undefined,
)
from m6rec.evaluation.metric_names import METRIC_NAMES, higher_is_better, metric_label, split_name
from m6rec.evaluation.pages import page_templates
from m6rec.evaluation.plots import WIDTH
from m6rec.evaluation.reliability import reliability, reliability_chart

MOST_LINES = 4  # scorers in one reliability chart


def judged_section(
    judged: Sequence[Judged],
    reference: str | None = None,
    *,
    least: int = 0,
    calibrations: Sequence[tuple[Calibration, Judged]] = (),
    extra: Sequence[tuple[str, str]] = (),
) -> str:
    """HTML of the tasks that judge: `<section>` elements to stand in a page with the report's style.

    Args:
        judged: scorers by tasks, the rows of all scenarios in each; the first scorer is the one the page is about.
        reference: the scorer the others are compared with; by default the first.
        least: cells of binary labels with fewer rows of either answer are left out of means.
        calibrations: what was chosen on validation and the rows before it was applied, see `judged_tables.calibration_table`.
        extra: (caption, inline SVG) of further charts, such as who helped whom.

    Raises:
        UsageError: nothing to show, or scorers that judged different rows of a task.
    """
    reference = reference_of(judged, reference)
    cells = cells_of(judged, reference, least)
    groups = by_metric(cells)
    tasks = list(zip(dict.fromkeys(one.task for one in judged), task_tables(judged), strict=True))
    return (
        _environment()
        .get_template("judged.html.jinja")
        .render(
            reference=reference,
            tables=cell_tables(cells, judged, reference),
            heats=[_framed(chart) for metric, group in groups.items() if (chart := _heat(metric, group, reference))],
            differences=[table for metric, group in groups.items() if (table := difference_table(metric, group, reference))],
            undefined=undefined(cells),
            calibration=calibration_table(calibrations) if calibrations else None,
            tasks=[
                _task(number, table, [one for one in judged if one.task == name], [cell for cell in cells if cell.task == name], reference)
                for number, (name, table) in enumerate(tasks)
            ],
            extra=[(caption, *_framed(chart)) for caption, chart in extra],
            statements=list(dict.fromkeys(sentence for one in judged for sentence in one.statements)),
            glossary=[
                (metric_label(name), METRIC_NAMES[split_name(name)[0]].meaning)
                for name in dict.fromkeys(m for one in judged for m in one.metrics)
            ],
            resamples=judged[0].resamples,
        )
    )


def judged_page(
    judged: Sequence[Judged],
    *,
    title: str,
    reference: str | None = None,
    least: int = 0,
    calibrations: Sequence[tuple[Calibration, Judged]] = (),
    extra: Sequence[tuple[str, str]] = (),
) -> str:
    """A whole page of its own; arguments and errors of `judged_section`."""
    section = Markup(judged_section(judged, reference, least=least, calibrations=calibrations, extra=extra))
    return (
        _environment().get_template("judged_page.html.jinja").render(title=title, section=section, tasks=len({one.task for one in judged}))
    )


def _environment() -> jinja2.Environment:
    environment = page_templates()
    environment.globals["numbers"] = lambda table, place: place > 0 and place not in table.words
    return environment


def _heat(metric: str, group: Sequence[Cell], reference: str) -> str:
    """The reference minus the others, cell by cell, oriented so that more is better; "" where that would be one row or nobody to compare."""
    others = list(dict.fromkeys(name for cell in group for name in cell.differences))
    if not others or len(group) < 2:
        return ""
    sign = 1 if higher_is_better(metric) else -1
    found = [[cell.differences.get(other) for other in others] for cell in group]
    values = np.array([[np.nan if e is None else sign * e.mean for e in row] for row in found])
    sure = np.array([[e is not None and (e.low > 0 or e.high < 0) for e in row] for row in found])
    title = f"{metric_label(metric)}: {reference} minus the others" + ("" if sign > 0 else " (turned round: more is better)")
    return heat_map_svg([cell.name for cell in group], others, values, sure, title, key=f"heat-{metric.replace('@', '-')}", digits=4)


def _framed(chart: str) -> tuple[str, Markup]:
    """A chart with the class of its frame: `wide` where it is broader than the others."""
    width = re.search(r'viewBox="0 0 (\d+)', chart)
    return ("wide" if width and int(width[1]) > WIDTH else "", Markup(chart))


def _task(number: int, table: Table, scorers: list[Judged], cells: list[Cell], reference: str) -> dict[str, object]:
    shown = sorted(scorers, key=lambda one: one.name != reference)[:MOST_LINES]
    drawn = [one for one in shown if len(one)]
    first = shown[0]
    return {
        "name": first.task,
        "table": table,
        "scenarios": scenario_table(cells, reference),
        "differences": every_difference_table(cells, reference),
        "chart": Markup(reliability_chart(f"reliability-{number}", drawn)) if drawn else "",
        "bins": [(one.name, reliability(one)) for one in drawn],
        "classes": class_table(first) if len(first) else None,
        "measured": first.kind in ("number", "ordinal") and first.predicted.ndim == 1,
        "likeliest": first.kind not in ("number", "binary", "tags") and first.predicted.ndim == 2,
    }
