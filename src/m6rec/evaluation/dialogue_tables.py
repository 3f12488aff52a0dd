"""Dialogues in a report: the items named in them, and how conversations answered."""

from __future__ import annotations

from collections.abc import Sequence

from m6rec.evaluation.comparison import headline, label
from m6rec.evaluation.conversed import Conversed
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.judged_tables import Figure, Table, as_text


def dialogue_tables(named: Sequence[Evaluation], conversed: Sequence[Conversed]) -> list[Table]:
    """One of the items that assistants name next (scorers of the same cases), and one of each way to converse."""
    tables = []
    if named:
        metrics = headline(named[0])
        rows = []
        for evaluation in named:
            figures = evaluation.table()
            told = [Figure(f"{figures[name].mean:.4f}", f"{figures[name].low:.4f} to {figures[name].high:.4f}") for name in metrics]
            rows.append([Figure(evaluation.name), *told])
        note = f"{len(named[0]):,} items that an assistant is the first to name. Intervals: 95 %, over dialogues."
        tables.append(Table("Items named in dialogues", ["", *map(label, metrics)], rows, note))
    return [*tables, *(one.table() for one in conversed)]


def dialogue_text(named: Sequence[Evaluation], conversed: Sequence[Conversed]) -> str:
    """The same for a terminal."""
    return "\n".join("\n".join(line.rstrip() for line in as_text(table)) + "\n" for table in dialogue_tables(named, conversed))
