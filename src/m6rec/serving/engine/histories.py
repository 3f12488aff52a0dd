"""The newest histories: the compact ones that were loaded, and the rows that have grown since.

Dimension keys: U users, E events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError, nearest
from m6rec.data.schema import shown
from m6rec.serving.engine.additions import NewEvents

Column = np.ndarray | None
UNKNOWN = "unknown"  # the name that events without an action or scenario got in preparation, if there were any


class HistoryStore:
    """Histories by dense user. A row that grows is kept apart until `compact`.

    actions, scenarios: names of the codes in `base`.
    """

    def __init__(self, base: Histories, actions: list[str], scenarios: list[str]) -> None:
        self.base = base
        self.grown: dict[int, Histories] = {}
        self.rows = len(base)
        self.newest = _newest(base)  # seconds; None where no time is known
        self.names = {"actions": actions, "scenarios": scenarios}
        self.usual = {name: _usual(getattr(base, name), names) for name, names in self.names.items()}

    def row(self, user: int) -> Histories:
        """The events of one user, as one-row histories; none for a user without any (or -1)."""
        grown = self.grown.get(user)
        if grown is not None:
            return grown
        begin, end = (self.base.offsets[user], self.base.offsets[user + 1]) if 0 <= user < len(self.base) else (0, 0)
        span = slice(begin, end)  # views: nobody writes into histories
        columns: dict[str, Any] = {
            name: None if (values := getattr(self.base, name)) is None else values[span] for name in Histories.EVENT_COLUMNS
        }
        return Histories(offsets=np.array([0, end - begin], dtype=np.int64), **columns)

    def many(self, users: np.ndarray) -> Histories:
        """The events of several users (B,), as histories of B rows."""
        base = self.compact()
        known = (
            base.rows(np.where((users >= 0) & (users < len(base)), users, 0))
            if len(base)
            else Histories.from_lists([np.zeros(0, np.int32)] * len(users))
        )
        return known.window(drop_last=np.where((users >= 0) & (users < len(base)), 0, known.lengths))

    def columns(self, events: NewEvents, later: Sequence[str] = ()) -> dict[str, Column]:
        """Event columns as the loaded histories have them: what those lack is left out, what the events lack is unknown.

        later: scenarios that came after the training, which a mistyped one may mean.

        Raises:
            DataError: an action or scenario that training did not know.
        """
        found: dict[str, Column] = {}
        for column, singular, given in (("actions", "action", events.actions), ("scenarios", "scenario", events.scenarios)):
            if getattr(self.base, column) is not None and given is not None:
                found[column] = _codes(given, singular, self.names[column], self.usual[column], later if column == "scenarios" else ())
        for column, numbers, dtype in (("times", events.times, np.float64), ("values", events.values, np.float32)):
            if getattr(self.base, column) is not None and numbers is not None:
                found[column] = numbers.fill_null(float("nan")).to_numpy().astype(dtype)
        return found

    def append(self, users: np.ndarray, rows: int, items: np.ndarray, columns: Mapping[str, Column]) -> None:
        """Add events of the dense `users` (E,), in their order; a known time puts an event in its place by time. rows: U from now on."""
        for user in np.unique(users):
            picked = np.flatnonzero(users == user)
            new = Histories(
                offsets=np.array([0, len(picked)]),
                items=items[picked],
                **{name: None if values is None else values[picked] for name, values in columns.items()},
            )
            self.grown[int(user)] = self.joined(self.row(int(user)), new)
            self.newest = max((known for known in (self.newest, _newest(new)) if known is not None), default=None)
        self.rows = max(self.rows, rows)

    def forget(self, user: int) -> None:
        """Leave a user without events."""
        base = self.row(-1)
        self.grown[user] = base
        self.rows = max(self.rows, user + 1)
        self.compact()  # nothing may stay in the old arrays

    def joined(self, first: Histories, second: Histories) -> Histories:
        """One row: the events of both, one after the other; by time where all times are known and `first` is in their order already.

        Columns are those of the loaded histories. What `second` lacks is unknown: no time, no value, the usual action and scenario.
        """
        merged: dict[str, Column] = {"items": np.concatenate([first.items, second.items]).astype(np.int32)}
        for name, unknown in (("times", np.nan), ("actions", None), ("scenarios", None), ("values", np.nan)):
            mine, theirs = getattr(first, name), getattr(second, name)
            if mine is not None:
                lacking = self.usual[name] if unknown is None else unknown
                merged[name] = np.concatenate([mine, np.full(len(second.items), lacking, mine.dtype) if theirs is None else theirs])
        joined = Histories(offsets=np.array([0, len(first.items) + len(second.items)]), **merged)  # type: ignore[arg-type]
        if joined.times is None or first.times is None or np.isnan(joined.times).any() or np.any(np.diff(first.times) < 0):
            return joined
        return joined.pick(np.argsort(joined.times, kind="stable"), joined.offsets)

    def compact(self) -> Histories:
        """All rows in one piece."""
        if not self.grown and self.rows == len(self.base):
            return self.base
        # The grown rows stand behind the old events; every row then is a slice of that.
        lengths = np.zeros(self.rows, dtype=np.int64)
        starts = np.zeros(self.rows, dtype=np.int64)
        lengths[: len(self.base)], starts[: len(self.base)] = self.base.lengths, self.base.offsets[:-1]
        place = len(self.base.items)
        for user, row in self.grown.items():
            starts[user], lengths[user] = place, len(row.items)
            place += len(row.items)
        columns = {
            name: np.concatenate([getattr(self.base, name), *[getattr(row, name) for row in self.grown.values()]])
            for name in Histories.EVENT_COLUMNS
            if getattr(self.base, name) is not None
        }
        behind = Histories(offsets=np.array([0, place]), **columns)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        self.base = behind.pick(np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1]), offsets)
        self.grown = {}
        return self.base


def _newest(histories: Histories) -> float | None:
    """The time of the newest event, in seconds; None where no time is known."""
    times = histories.times
    return None if times is None or not len(times) or np.isnan(times).all() else float(np.nanmax(times))


def _usual(codes: np.ndarray | None, names: list[str]) -> int:
    """The code of an event whose action (or scenario) nobody said: that of "unknown" where training had such events, else the commonest."""
    if codes is None or not len(codes):
        return 0
    return names.index(UNKNOWN) if UNKNOWN in names else int(np.bincount(codes).argmax())


def _codes(given: pl.Series, singular: str, names: list[str], usual: int, later: Sequence[str]) -> np.ndarray:
    """int16 (E,). later: names that came after the training."""
    code = {name: number for number, name in enumerate(names)}
    values = given.to_list()
    strange = next((value for value in values if value is not None and value not in code), None)
    if strange is not None:
        known = [*names, *later]
        hint = nearest(strange, known) or "; known: " + ", ".join(known)
        raise DataError(f"new events have the {singular} {shown(strange)}, which training did not know{hint}")
    return np.array([usual if value is None else code[value] for value in values], dtype=np.int16)
