"""The table that stands under every chart; the chart is drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | float | int | None


@dataclass(frozen=True)
class ChartTable:
    """First column: what stands on the axis. Every further column is one line or one kind of bar; None is a gap."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
