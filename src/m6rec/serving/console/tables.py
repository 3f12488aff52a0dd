"""Numbers for people: the table that stands under every chart, and what charts are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | float | int | None


@dataclass(frozen=True)
class ChartTable:
    """First column: what stands on the axis. Every further column is one line or one kind of bar; None is a gap."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of the values lie (nearest rank); None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
