"""The evaluation as plain text for a terminal or a log: aligned, best values marked, intervals shown."""

from __future__ import annotations

import math

import numpy as np

from m6rec.evaluation.comparison import BEYOND, best, beyond_metrics, check_comparable, differences, headline, label, main_cutoff
from m6rec.evaluation.evaluated import Estimate, Evaluation
from m6rec.evaluation.plots import columns, short
from m6rec.evaluation.slices import EXACT, NAMES


def text_table(evaluations: list[Evaluation], *, reference: str | None = None) -> str:
    """Blocks: the scorers with their headline metrics, the slices, what the lists are worth beyond accuracy, the paired differences.

    Args:
        reference: the scorer the others are compared with; by default the first.

    Raises:
        UsageError: nothing to show, or evaluations of different cases or cutoffs.
    """
    check_comparable(evaluations)
    first = evaluations[0]
    lines = [f"{len(first):,} cases, {len(first.ranks):,} targets, {first.catalogue:,} items", ""]
    lines += _main_block(evaluations)
    lines += ["", *_slice_block(evaluations)]
    lines += _given_block(evaluations)
    lines += _beyond_block(evaluations)
    if len(evaluations) > 1:
        lines += ["", *_difference_block(evaluations, reference)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _main_block(evaluations: list[Evaluation]) -> list[str]:
    names = headline(evaluations[0])
    k = names[0].partition("@")[2]
    with_interval = names[:2]
    winners = {name: best(evaluations, name) for name in [*names, f"coverage@{k}"]}
    rows = [["", *(label(name) for name in names), f"Coverage@{k}", "ms/case"]]
    for evaluation in evaluations:
        table = evaluation.table()
        cells = [
            _mark(table[name].mean, evaluation.name in winners[name]) + (f" {_interval(table[name])}" if name in with_interval else "")
            for name in names
        ]
        share = evaluation.coverage.get(int(k), math.nan)
        covered = _mark(share, evaluation.name in winners[f"coverage@{k}"])
        rows.append([short(evaluation.name, 28), *cells, covered, f"{evaluation.milliseconds:.2f}"])
    note = "[low, high]: 95 % interval over users." + (" *: best of its column." if len(evaluations) > 1 else "")
    return [*aligned(rows), note]


def _slice_block(evaluations: list[Evaluation]) -> list[str]:
    metric = headline(evaluations[0])[0]
    sizes, wording = evaluations[0].slice_sizes(), evaluations[0].bounds.wording()
    slices = [name for name in NAMES if sizes[name]]
    rows = [[f"{label(metric)} by target", *(f"{name} ({sizes[name]:,})" for name in slices)]]
    tables = {e.name: e.slices() for e in evaluations}
    top = {name: max(tables[e.name][name][metric].mean for e in evaluations) for name in slices}
    for evaluation in evaluations:
        found = [tables[evaluation.name][name][metric] for name in slices]
        cells = [
            f"{_mark(estimate.mean, len(evaluations) > 1 and estimate.mean == top[name])} {_interval(estimate)}"
            for name, estimate in zip(slices, found, strict=True)
        ]
        rows.append([short(evaluation.name, 28), *cells])
    note = "In training: " + "; ".join(f"{name} = {wording[name]}" for name in slices) + "."
    return [*aligned(rows), note]


def _given_block(evaluations: list[Evaluation]) -> list[str]:
    """Quality by the number of events given, where the cases have so few different numbers that each has a column (intervals: in the report)."""
    given = evaluations[0].given
    if given is None or not 1 < len(np.unique(given)) <= EXACT:
        return []
    metric = headline(evaluations[0])[0]
    groups = {e.name: e.by_given(metric) for e in evaluations}
    first = groups[evaluations[0].name]
    rows = [[f"{label(metric)} by events given", *(f"{word} ({cases:,})" for word, cases, _ in first)]]
    top = [max(groups[e.name][place][2].mean for e in evaluations) for place in range(len(first))]
    for e in evaluations:
        found = [estimate for _, _, estimate in groups[e.name]]
        marks = [len(evaluations) > 1 and estimate.mean == most for estimate, most in zip(found, top, strict=True)]
        rows.append([short(e.name, 28), *(_mark(x.mean, mark) for x, mark in zip(found, marks, strict=True))])
    return ["", *aligned(rows)]


def _beyond_block(evaluations: list[Evaluation]) -> list[str]:
    """What else the lists are worth. Nothing is marked: none of these is better the higher it is, whatever else happens."""
    names, k = beyond_metrics(evaluations), main_cutoff(evaluations[0].cutoffs)
    if not names:
        return []
    rows = [["Beyond accuracy", *(label(name) for name in names), f"Gini@{k}"]]
    for e in evaluations:
        cells = []
        for name in names:
            estimate, digits = e.beyond_accuracy[name], BEYOND[name.partition("@")[0]]
            between = "" if math.isnan(estimate.low) else f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
            cells.append(f"{estimate.mean:.{digits}f}{between}")
        uneven = e.gini.get(k, math.nan)
        rows.append([short(e.name, 28), *cells, "-" if math.isnan(uneven) else f"{uneven:.3f}"])
    note = "Novelty in bits; popularity in training events an item; serendipity: found, and not by popularity; Gini 0: all shown alike."
    return ["", *aligned(rows), note]


def _difference_block(evaluations: list[Evaluation], reference: str | None) -> list[str]:
    metric = headline(evaluations[0])[0]
    rows = [[f"{short(reference or evaluations[0].name, 28)} minus", label(metric), "", ""]]
    for against, estimate in (found := differences(evaluations, reference, metric)):
        rows.append([short(against, 28), f"{estimate.mean:+.4f}", f"[{estimate.low:+.4f}, {estimate.high:+.4f}]", ""])
    for row, difference in zip(rows[1:], found, strict=True):
        row[3] = difference.verdict
    return aligned(rows, left_last=True)


def _mark(value: float, winner: bool) -> str:
    return ("-" if math.isnan(value) else f"{value:.4f}") + ("*" if winner else " ")


def _interval(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f"[{estimate.low:.4f}, {estimate.high:.4f}]"


def aligned(rows: list[list[str]], left_last: bool = False) -> list[str]:
    """First column to the left, the others to the right, under a rule."""
    widths = [max(columns(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - columns(cell))
            cells.append(cell + space if i == 0 or (left_last and i == len(row) - 1) else space + cell)
        lines.append("  ".join(cells))
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return lines
