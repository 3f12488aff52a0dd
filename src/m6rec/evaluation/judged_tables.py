"""Judged tasks as tables: the same rows for a terminal, for Markdown and for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from m6rec.evaluation.calibration import Calibration
from m6rec.evaluation.class_metrics import ClassFigures
from m6rec.evaluation.evaluated import Estimate
from m6rec.evaluation.judged import WITH_CLASSES, Judged
from m6rec.evaluation.judged_comparison import (
    Cell,
    Overall,
    best_of,
    by_metric,
    cells_of,
    differences_of,
    overall,
    reference_of,
    scorers_of,
    verdict,
)
from m6rec.evaluation.metric_names import METRIC_NAMES, metric_label, split_name
from m6rec.evaluation.plots import short
from m6rec.evaluation.terminal import aligned

MOST_CLASSES = 60  # rows of a table of classes on a page
FEW_CLASSES = 12  # in a terminal; of more the worst and the best are shown
WIDE = 5  # columns with intervals that fit side by side in a terminal


class Figure(NamedTuple):
    """One field of a table: what stands there, its interval or a remark, and how it is marked: best, better, worse or nothing."""

    text: str
    small: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A heading, a head row, rows whose first field names them, and a sentence below."""

    title: str
    head: list[str]
    rows: list[list[Figure]]
    note: str = ""
    words: set[int] = field(default_factory=set)  # columns that hold words, beside the first


def judged_tables(
    judged: Sequence[Judged], reference: str | None = None, *, least: int = 0, calibrations: Sequence[tuple[Calibration, Judged]] = ()
) -> str:
    """Everything as plain text for a terminal or a log.

    Args:
        judged: scorers by tasks, the rows of all scenarios in each; the first scorer is the one the page is about.
        reference: the scorer the others are compared with; by default the first.
        least: cells of binary labels with fewer rows of either answer are left out of means.
        calibrations: see `calibration_table`.

    Raises:
        UsageError: nothing to show, or scorers that judged different rows of a task.
    """
    cells = cells_of(judged, reference, least)
    tables = [*_of_cells(cells, judged, reference), *_of_tasks(cells, judged, reference), *few_classes(judged, reference)]
    tables += [calibration_table(calibrations)] if calibrations else []
    return "\n".join("\n".join(line.rstrip() for line in as_text(table)) + "\n" for table in tables) + "".join(
        f"{sentence}\n" for sentence in undefined(cells)
    )


def judged_markdown(judged: Sequence[Judged], reference: str | None = None, *, least: int = 0) -> str:
    """The same in Markdown, with all intervals; arguments and errors of `judged_tables`."""
    cells = cells_of(judged, reference, least)
    tables = [*_of_cells(cells, judged, reference), *_of_tasks(cells, judged, reference)]
    return "\n".join(as_markdown(table) for table in tables) + "".join(f"\n{sentence}\n" for sentence in undefined(cells))


def _of_cells(cells: Sequence[Cell], judged: Sequence[Judged], reference: str | None) -> list[Table]:
    """`cell_tables`, and for metrics of several cells the differences cell by cell."""
    groups = [(metric, group) for metric, group in by_metric(cells).items() if len(group) > 1]
    apart = [difference_table(metric, group, reference_of(judged, reference)) for metric, group in groups]
    return [*cell_tables(cells, judged, reference), *(table for table in apart if table is not None)]


def _of_tasks(cells: Sequence[Cell], judged: Sequence[Judged], reference: str | None) -> list[Table]:
    """`task_tables`, each with the `scenario_table` of its task below."""
    tables = []
    for task, table in zip(dict.fromkeys(one.task for one in judged), task_tables(judged), strict=True):
        apart = scenario_table([cell for cell in cells if cell.task == task], reference_of(judged, reference))
        tables += [table] if apart is None else [table, apart]
    return tables


def cell_tables(cells: Sequence[Cell], judged: Sequence[Judged], reference: str | None = None) -> list[Table]:
    """For each metric that heads a task: cells by scorers with the mean over cells, then the reference against the others."""
    reference, scorers = reference_of(judged, reference), scorers_of(judged)
    tables = []
    for metric, group in by_metric(cells).items():
        compared = overall(group, reference)
        tables.append(_values(metric, group, [s for s in scorers if any(s in cell.judged for cell in group)], compared, reference))
        if compared:
            tables.append(_against(metric, compared, reference))
    return tables


def task_tables(judged: Sequence[Judged]) -> list[Table]:
    """For each task: its scorers by all its metrics, over the rows of all scenarios."""
    tables = []
    for task in dict.fromkeys(one.task for one in judged):
        own = [one for one in judged if one.task == task]
        metrics = own[0].metrics
        found = {one.name: {m: e for m, e in one.table().items() if m in metrics} for one in own}
        best = {m: best_of({name: table[m] for name, table in found.items() if m in table}, m) for m in metrics}
        rows = [[Figure(one.name), *(figure(found[one.name].get(m), one.name in best[m]) for m in metrics)] for one in own]
        where = f", {len(own[0].cells())} scenarios together" if len(own[0].cells()) > 1 else ""
        tables.append(Table(f"{task}: {len(own[0]):,} rows{where}", ["", *map(metric_label, metrics)], rows, _arrows(metrics)))
    return tables


def scenario_table(cells: Sequence[Cell], reference: str) -> Table | None:
    """The reference in each scenario of one task, by all its metrics; None where the task has one cell, or the reference has not judged it."""
    own = [cell.judged[reference] for cell in cells if reference in cell.judged]
    if len(own) < 2:
        return None
    metrics = own[0].metrics
    rows = [[Figure(one.scenario), *(figure(one.table()[m]) for m in metrics)] for one in own]
    return Table(f"{own[0].task}, {reference}: each scenario", ["", *map(metric_label, metrics)], rows)


def every_difference_table(cells: Sequence[Cell], reference: str) -> Table | None:
    """The reference minus every other scorer in each scenario of one task, by all its metrics; None where there is nobody to compare it with."""
    found = [(cell.judged[reference], differences_of(cell, reference)) for cell in cells if cell.differences]
    if not found:
        return None
    metrics, several = found[0][0].metrics, len(cells) > 1
    rows = [
        [Figure(other), *([Figure(one.scenario)] if several else []), *(_difference(table[other][m], m) for m in metrics)]
        for other in dict.fromkeys(name for _, table in found for name in table)
        for one, table in found
        if other in table
    ]
    head = [f"{reference} minus", *(["scenario"] if several else []), *map(metric_label, metrics)]
    title = f"{found[0][0].task}: {reference} minus the others, every metric"
    return Table(title, head, rows, _arrows(metrics), words={1} if several else set())


def calibration_table(calibrations: Sequence[tuple[Calibration, Judged]]) -> Table:
    """What calibration did to the measured rows of each task.

    Args:
        calibrations: what was chosen on validation, and the rows as they were judged before it was applied.
    """
    rows = []
    for calibration, before in calibrations:
        after = calibration.applied(before)
        own = ", ".join(f"{name}: {curve.way}" for name, curve in calibration.scenarios.items())
        fields = [Figure(calibration.curve.way, own)]
        for metric in ("log_loss", "ece"):
            fits = before.kind in METRIC_NAMES[metric].kinds
            fields += [_plain(one.value(metric)) if fits else Figure("-") for one in (before, after)]
        rows.append([Figure(before.task), *fields, Figure(f"{calibration.rows:,}")])
    head = ["", "curve", "log loss before", "after", "ECE before", "after", "validation rows"]
    return Table("Calibration", head, rows, "Chosen and fitted on validation rows, measured on the rows of this page.", words={1})


def class_table(judged: Judged) -> Table | None:
    """Precision, recall and F1 of each class, tag, level or kind of span, the largest first; None where labels are no classes."""
    if judged.kind not in WITH_CLASSES:
        return None
    found = sorted(judged.class_figures(), key=lambda one: -one.rows)
    note = "" if len(found) <= MOST_CLASSES else f"The {MOST_CLASSES} largest of {len(found)}."
    return _classes(judged, found[:MOST_CLASSES], note)


def _classes(judged: Judged, found: Sequence[ClassFigures], note: str) -> Table:
    rows = [[Figure(short(one.name, 60)), *(Figure(f"{n:,}") for n in (one.rows, one.called)), *map(_plain, one[1:4])] for one in found]
    what = "Spans, exact matches" if judged.kind == "tokens" else "Classes" if judged.kind == "classes" else judged.kind.capitalize()
    head = ["", "rows", "called so", "Precision", "Recall", "F1"]
    return Table(f"{what} of {judged.task}, {judged.name}", head, rows, note)


def few_classes(judged: Sequence[Judged], reference: str | None = None) -> list[Table]:
    """`class_table` of what the reference (by default the first scorer) says of each task, short: of many classes the best and the worst by F1."""
    reference, tables = reference_of(judged, reference), []
    for one in judged:
        if one.name != reference or one.kind not in WITH_CLASSES or not len(one):
            continue
        known = sorted((found for found in one.class_figures() if not math.isnan(found.f1)), key=lambda found: (-found.f1, -found.rows))
        half, note = FEW_CLASSES // 2, ""
        if len(known) > FEW_CLASSES:
            note = f"The {half} best and the {half} worst by F1 of {len(known)}; the page and --json have more."
            known = [*known[:half], *known[-half:]]
        elif len(known) < len(one.class_figures()):
            note = "Without those that no row has and none is called."
        if known:
            tables.append(_classes(one, known, note))
    return tables


def difference_table(metric: str, cells: Sequence[Cell], reference: str) -> Table | None:
    """The reference minus every other scorer in every cell where that is defined, with intervals; None where there is nobody else, or no such cell."""
    others = list(dict.fromkeys(name for cell in cells for name in cell.differences))
    if not others:
        return None
    rows = []
    for cell in cells:
        fields = []
        for other in others:
            estimate = cell.differences.get(other)
            fields.append(Figure("-") if estimate is None else _difference(estimate, metric))
        if any(field.text != "-" for field in fields):
            rows.append([Figure(cell.name), *fields])
    if not rows:
        return None
    return Table(f"{metric_label(metric)}: {reference} minus the others", ["", *others], rows)


def undefined(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each cell that is left out of means, with the reason."""
    sentences = []
    for cell in cells:
        if cell.defined:
            continue
        one = next(iter(cell.judged.values()))
        reason = "there are too few rows or they do not differ"
        if not len(one):
            reason = "it has no row with a known label"
        elif one.kind == "binary" and one.truth.min() == one.truth.max():
            reason = f"all {len(one):,} labels are {'yes' if one.truth[0] > 0.5 else 'no'}"
        elif cell.few:
            sentences.append(f"{cell.name} is left out of means: {cell.rarer:,} rows have the rarer answer, fewer than {cell.least:,}.")
            continue
        sentences.append(f"{metric_label(cell.metric)} of {cell.name} is undefined: {reason}. It is left out of means.")
    return sentences


def figure(estimate: Estimate | None, best: bool = False) -> Figure:
    """A value with its interval, "-" where unknown."""
    if estimate is None or math.isnan(estimate.mean):
        return Figure("-")
    return Figure(
        f"{estimate.mean:.4f}", "" if math.isnan(estimate.low) else f"{estimate.low:.4f} to {estimate.high:.4f}", "best" if best else ""
    )


def as_markdown(table: Table) -> str:
    """A heading and a Markdown table; the best of a column is bold."""
    lines = [f"### {_escaped(table.title)}", "", "| " + " | ".join(_escaped(cell) for cell in table.head) + " |"]
    lines.append("|" + "|".join("---" if place in table.words or place == 0 else "---:" for place in range(len(table.head))) + "|")
    for row in table.rows:
        fields = [_escaped(one.text) for one in row]
        fields = [f"**{text}**" if one.mark == "best" else text for text, one in zip(fields, row, strict=True)]
        fields = [f"{text} ({one.small})" if one.small else text for text, one in zip(fields, row, strict=True)]
        lines.append("| " + " | ".join(fields) + " |")
    return "\n".join(lines) + "\n" + (f"\n{table.note}\n" if table.note else "")


def _values(metric: str, group: Sequence[Cell], scorers: list[str], compared: Sequence[Overall], reference: str) -> Table:
    rows = []
    for cell in group:
        best, size = cell.best(), len(next(iter(cell.judged.values())))
        rows.append([Figure(cell.name), Figure(f"{size:,}"), *(figure(cell.estimates.get(s), s in best) for s in scorers)])
    known = [cell for cell in group if cell.defined and all(s in cell.judged for s in scorers)]
    note = _arrows([metric])
    if len(known) > 1 and compared:
        means = {reference: compared[0].mean, **{one.against: one.other for one in compared}}
        if all(one.cells == len(known) for one in compared):
            best = best_of(means, metric)
            total = sum(len(next(iter(cell.judged.values()))) for cell in known)
            rows.append([Figure(f"mean of {len(known)} cells"), Figure(f"{total:,}"), *(figure(means.get(s), s in best) for s in scorers)])
    return Table(f"{metric_label(metric)} of each scenario/task", ["", "rows", *scorers], rows, note)


def _against(metric: str, compared: Sequence[Overall], reference: str) -> Table:
    rows = []
    for one in compared:
        lost = f"worse in {', '.join(one.worse)}" if one.worse else ""
        word = verdict(one.difference, metric)
        fields = [_difference(one.difference, metric), Figure(str(one.cells)), Figure(str(len(one.better))), Figure(str(len(one.worse)))]
        rows.append([Figure(one.against), *fields, Figure(word, lost, word if word in ("better", "worse") else "")])
    head = [f"{reference} minus", f"mean {metric_label(metric)}", "cells", "clearly better", "clearly worse", f"{reference} is"]
    return Table(
        f"{reference} against the others, {metric_label(metric)}",
        head,
        rows,
        "Paired on the same rows; people are drawn once for all cells.",
        words={len(head) - 1},
    )


def _difference(estimate: Estimate, metric: str) -> Figure:
    if math.isnan(estimate.mean):
        return Figure("-")
    word = verdict(estimate, metric)
    return Figure(f"{estimate.mean:+.4f}", f"{estimate.low:+.4f} to {estimate.high:+.4f}", word if word in ("better", "worse") else "")


def _plain(value: float) -> Figure:
    return Figure("-" if math.isnan(value) else f"{value:.4f}")


def _arrows(metrics: Sequence[str]) -> str:
    lower = [metric_label(metric) for metric in metrics if not METRIC_NAMES[split_name(metric)[0]].higher]
    return f"Lower is better: {', '.join(lower)}." if lower else ""


def as_text(table: Table) -> list[str]:
    """Lines for a terminal: the title, the aligned rows, the note. What is too wide with its intervals stands in several blocks of columns."""
    starred = any(one.mark == "best" for row in table.rows for one in row)
    notes = [note for note in (table.note, "*: best of its row or column." if starred else "") if note]
    blocks = [line for places in _blocks(table) for line in ["", *_block(table, [0, *places], starred)]]
    return [table.title, *blocks, *([" ".join(notes)] if notes else [])]


def _blocks(table: Table) -> list[range]:
    """The columns beside the first, shared out evenly over blocks of WIDE at most where there are intervals to show."""
    columns = range(1, len(table.head))
    if table.words or not any(" to " in one.small for row in table.rows for one in row):
        return [columns]
    count = -(-len(columns) // WIDE)
    return [columns[len(columns) * block // count : len(columns) * (block + 1) // count] for block in range(count)]


def _block(table: Table, places: list[int], starred: bool) -> list[str]:
    rows = [[short(table.head[place], 28) for place in places]]
    for row in table.rows:
        fields = [short(row[0].text, 40)]
        for one in (row[place] for place in places[1:]):
            mark = ("*" if one.mark == "best" else " ") if starred else ""
            small = f" [{one.small.replace(' to ', ', ')}]" if " to " in one.small else ""
            small = f"; {one.small}" if one.small and not small and table.words else small
            fields.append(f"{one.text}{mark}{small}")
        rows.append(fields)
    return aligned(rows, left_last=bool(table.words))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
