"""The page of what a task goes by: bars of how far its answers move without each kind of thing, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from m6rec.evaluation.pages import page_templates
from m6rec.evaluation.plots import Bar, bar_chart

MOST_BARS = 14


@dataclass(frozen=True)
class Moved:
    """One kind of thing and what the answers lose of what they were without it; see `explanation.overall.Importance`."""

    kind: str
    name: str
    change: float
    low: float
    high: float
    raised: float
    replaced: float
    people: int


def importance_page(rows: Sequence[Moved], *, task: str, people: int, items: int, unit: str) -> str:
    """The whole page as text; it loads nothing from elsewhere."""
    kinds: dict[str, list[Moved]] = {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row)
    bars = {
        kind: [Bar(row.name, row.change, row.low, row.high, main=place == 0) for place, row in enumerate(some[:MOST_BARS])]
        for kind, some in kinds.items()
    }
    said = "; ".join(f"{row.kind} {row.name}: {row.change:.4f}" for row in rows[:MOST_BARS])
    chart = bar_chart("moved", f"What moves the answers of {task}", f"Mean change of the {unit} without each: {said}", bars)
    return (
        page_templates()
        .get_template("importance.html.jinja")
        .render(title=f"What {task} goes by", task=task, people=people, items=items, unit=unit, rows=rows, chart=Markup(chart))
    )
