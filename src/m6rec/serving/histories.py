"""The newest histories: the compact ones that were loaded, and the rows that have grown since."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError, nearest
from m6rec.data.columns import Columns


class HistoryStore:
    """Histories by dense user. A row that grows is kept apart until `compact`."""

    def __init__(self, base: Histories) -> None:
        self.base = base
        self.grown: dict[int, Histories] = {}

    def row(self, user: int) -> Histories:
        """The events of one user, as one-row histories."""
        if user in self.grown:
            return self.grown[user]
        if user < len(self.base):
            return self.base.rows(np.array([user]))
        return self.base.rows(np.array([], dtype=np.int64)).pick(np.array([], dtype=np.int64), np.array([0, 0]))

    def columns(self, frame: pl.DataFrame, actions: list[str], scenarios: list[str]) -> dict[str, np.ndarray | None]:
        """Event columns of `frame` as the loaded histories have them: what they lack is ignored, what the frame lacks is unknown.

        Raises:
            DataError: an action or scenario that training did not know, a value or time that is no number.
        """
        found: dict[str, np.ndarray | None] = {}
        for column, name, names in (("actions", Columns.ACTION, actions), ("scenarios", Columns.SCENARIO, scenarios)):
            if getattr(self.base, column) is not None:
                found[column] = _codes(frame, name, names)
        for column, name, dtype in (("times", Columns.TIME, np.float64), ("values", Columns.VALUE, np.float32)):
            if getattr(self.base, column) is not None:
                found[column] = _floats(frame, name).astype(dtype)
        return found

    def append(self, users: np.ndarray, rows: int, items: np.ndarray, columns: Mapping[str, np.ndarray | None]) -> None:
        """Add events, in their order; a known time puts an event in its place by time."""
        for user in np.unique(users):
            picked = np.flatnonzero(users == user)
            new = Histories(
                offsets=np.array([0, len(picked)]),
                items=items[picked],
                **{name: None if values is None else values[picked] for name, values in columns.items()},
            )
            self.grown[int(user)] = self.joined(self.row(int(user)), new)
        self.total = max(rows, len(self.base))

    def joined(self, first: Histories, second: Histories) -> Histories:
        """One row: the events of both, by time where all times are known (stable), else one after the other."""
        merged: dict[str, np.ndarray | None] = {"items": np.concatenate([first.items, second.items]).astype(np.int32)}
        for name, unknown in (("times", np.nan), ("actions", 0), ("scenarios", 0), ("values", np.nan)):
            mine, theirs = getattr(first, name), getattr(second, name)
            if mine is not None:
                merged[name] = np.concatenate([mine, np.full(len(second.items), unknown, mine.dtype) if theirs is None else theirs])
        joined = Histories(offsets=np.array([0, len(first.items) + len(second.items)]), **merged)  # type: ignore[arg-type]
        if joined.times is not None and not np.isnan(joined.times).any():
            joined = joined.pick(np.argsort(joined.times, kind="stable"), joined.offsets)
        return joined

    def compact(self) -> Histories:
        """All rows in one piece."""
        if not self.grown:
            return self.base
        rows = [self.row(user) for user in range(self.total)]
        offsets = np.concatenate([[0], np.cumsum([len(row.items) for row in rows])])
        columns = {
            name: None if getattr(self.base, name) is None else np.concatenate([getattr(row, name) for row in rows])
            for name in Histories.EVENT_COLUMNS
        }
        self.base, self.grown = Histories(offsets=offsets, **columns), {}
        return self.base


def _codes(frame: pl.DataFrame, name: str, names: list[str]) -> np.ndarray:
    if name not in frame.columns:
        return np.zeros(frame.height, dtype=np.int16)
    values = frame[name].cast(pl.String).to_list()
    unknown = next((value for value in values if value is not None and value not in names), None)
    if unknown is not None:
        raise DataError(
            f"new events have the {name} '{unknown}', which training did not know{nearest(unknown, names) or '; known: ' + ', '.join(names)}"
        )
    return np.array([0 if value is None else names.index(value) for value in values], dtype=np.int16)


def _floats(frame: pl.DataFrame, name: str) -> np.ndarray:
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    try:
        return frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    except pl.exceptions.InvalidOperationError:
        raise DataError(
            f"new events have a {name} that is no number: {frame[name][0]!r}; give seconds since 1970 (time) or a number (value)"
        ) from None
