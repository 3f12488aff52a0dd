"""What is chosen, in a report and in a terminal: the next item by scenario, what completes baskets, the items named in dialogues, how conversations
answered."""

from __future__ import annotations

from collections.abc import Sequence

from m6rec.evaluation.comparison import headline, label
from m6rec.evaluation.conversed import Conversed
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.judged_tables import Figure, Table, as_text, figure


def scenario_tables(evaluations: Sequence[Evaluation]) -> list[Table]:
    """One, of the first headline metric by the scenario that the targets were chosen in (scorers of the same cases); none where that is not known
    or is one for all."""
    metric, parts = headline(evaluations[0])[0], {one.name: one.by_scenario for one in evaluations}
    first = parts[evaluations[0].name]
    if not first or any(found.keys() != first.keys() for found in parts.values()):
        return []
    rows = []
    for scenario, (targets, _) in first.items():
        estimates = {name: found[scenario][1][metric] for name, found in parts.items()}
        values = {estimate.mean for estimate in estimates.values()}
        told = [figure(estimate, len(values) > 1 and estimate.mean == max(values)) for estimate in estimates.values()]
        rows.append([Figure(scenario), Figure(f"{targets:,}"), *told])
    note = "By the scenario that the target was chosen in. The question does not name it; candidates are the same in every part."
    return [Table(f"{label(metric)} by scenario", ["", "targets", *parts], rows, note)]


def basket_tables(completed: Sequence[Evaluation]) -> list[Table]:
    """One, of what completes baskets (scorers of the same cases); none where no task asks."""
    if not completed:
        return []
    note = f"{len(completed[0]):,} held-out items, each asked for given the earlier ones of its basket. Intervals: 95 %, over users."
    return [_figures("Baskets completed", completed, note)]


def dialogue_tables(named: Sequence[Evaluation], conversed: Sequence[Conversed]) -> list[Table]:
    """One of the items that assistants name next (scorers of the same cases), and one of each way to converse."""
    tables = []
    if named:
        note = f"{len(named[0]):,} items that an assistant is the first to name. Intervals: 95 %, over dialogues."
        tables.append(_figures("Items named in dialogues", named, note))
    return [*tables, *(one.table() for one in conversed)]


def tables_text(tables: Sequence[Table]) -> str:
    """The same for a terminal."""
    return "\n".join("\n".join(line.rstrip() for line in as_text(table)) + "\n" for table in tables)


def _figures(title: str, evaluations: Sequence[Evaluation], note: str) -> Table:
    """The headline metrics of scorers, with intervals."""
    metrics = headline(evaluations[0])
    rows = []
    for evaluation in evaluations:
        figures = evaluation.table()
        told = [Figure(f"{figures[name].mean:.4f}", f"{figures[name].low:.4f} to {figures[name].high:.4f}") for name in metrics]
        rows.append([Figure(evaluation.name), *told])
    return Table(title, ["", *map(label, metrics)], rows, note)
