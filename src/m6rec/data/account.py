"""The printed account: what was read, kept, dropped or assumed, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One line of the account: `rows` of `what`, and `why`."""

    what: str
    rows: int
    why: str


@dataclass
class Account:
    """An account in the order things happened. Nothing is dropped without an entry; an entry of zero rows is not written."""

    rows: list[Entry] = field(default_factory=list)

    def add(self, what: str, rows: int, why: str = "") -> None:
        """Write an entry, unless `rows` is 0."""
        if rows:
            self.rows.append(Entry(what, int(rows), why))

    def count(self, what: str) -> int:
        """Sum of the entries called `what`; 0 without any."""
        return sum(entry.rows for entry in self.rows if entry.what == what)

    def lines(self) -> list[str]:
        """Aligned plain text, one entry a line."""
        width = max((len(entry.what) for entry in self.rows), default=0)
        digits = max((len(f"{entry.rows:,}") for entry in self.rows), default=0)
        return [f"{entry.what:<{width}}  {entry.rows:>{digits},}  {entry.why}".rstrip() for entry in self.rows]

    def plain(self) -> list[dict[str, Any]]:
        """JSON-ready entries."""
        return [entry._asdict() for entry in self.rows]
