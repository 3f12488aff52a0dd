"""New items and events as they come in: the user's own column names, units and separators, read as the training read them."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig, ScenariosConfig
from m6rec.data.dataset import FieldType, Table
from m6rec.data.schema import canonical, ids, more, names, numbers, orders
from m6rec.data.tables import frame_to_table
from m6rec.data.times import future_error, future_rows, to_seconds

SOURCE = "new events"  # what messages call the frame
TRAINING = "the training configuration"


@dataclass(frozen=True)
class NewEvents:
    """E events in the order in which they are to be appended; a column that the frame lacks is None.

    times: float64 seconds since 1970, null unknown.  values: float64, null unknown.  actions, scenarios: names, null unknown.
    """

    users: list[str]
    items: list[str]
    times: pl.Series | None
    values: pl.Series | None
    actions: pl.Series | None
    scenarios: pl.Series | None

    def without_scenarios(self, names: Sequence[str]) -> NewEvents:
        """The same, unknown where an event happened in one of `names`."""
        if self.scenarios is None or not len(names):
            return self
        known = [None if name in names else name for name in self.scenarios.to_list()]
        return replace(self, scenarios=pl.Series(self.scenarios.name, known, dtype=pl.String))


def read_new_items(frame: pl.DataFrame, fields: Mapping[str, FieldType], training: Mapping[str, Any]) -> Table:
    """Checked items of a frame with the columns of the training's items table; fields that it lacks are missing.

    Args:
        training: the resolved training configuration: its column names, tag separator and longest text hold here too.

    Raises:
        DataError: no item_id, a wrong cell, one id with two different contents.
    """
    data = _data(training)
    renamed = _renamed(frame, "items", data, "new items")
    for name in renamed.columns:
        meant = difflib.get_close_matches(name, [field for field in fields if field not in renamed.columns], n=1, cutoff=0.75)
        if name not in fields and name != Columns.ITEM and meant:
            raise DataError(f"new items have a column '{name}', which is no field; did you mean '{meant[0]}'?")
    return frame_to_table(
        renamed,
        dict(fields),
        Columns.ITEM,
        source="new items",
        partial=True,
        tags_separator=data.tags_separator,
        max_text_characters=data.max_text_characters,
    )


def read_new_events(frame: pl.DataFrame, training: Mapping[str, Any], now: float | None = None) -> NewEvents:
    """Checked events of a frame with the columns of the training's event files (or their canonical names).

    Args:
        training: the resolved training configuration: its column names, time unit and policy for times in the future hold here too.
        now: seconds since 1970 that times are held against; None is this moment.

    Raises:
        DataError: a missing column, an event without user or item, a cell that can't be read, a time in the future.
    """
    data = _data(training)
    named = ScenariosConfig.build(training.get("scenarios", {}), source=TRAINING).column
    frame = _renamed(frame, "events", data, SOURCE)
    if named is not None and named in frame.columns:
        frame = frame.with_columns(pl.col(named).alias(Columns.SCENARIO))
    if Columns.ORDER in frame.columns:
        frame = frame.with_columns(orders(frame[Columns.ORDER], SOURCE)).sort(Columns.ORDER, maintain_order=True, nulls_last=True)
    known: dict[str, pl.Series] = {}
    for name in (Columns.USER, Columns.ITEM):
        known[name] = ids(frame[name], SOURCE)
        missing = known[name].is_null()
        if missing.any():
            raise DataError(f"{SOURCE}: row {int(missing.arg_true()[0]) + 1} has no {name}{more(missing)}; every event needs one")
    if Columns.TIME in frame.columns:
        known[Columns.TIME], _ = to_seconds(frame[Columns.TIME], data.time_unit, SOURCE)
        future = future_rows(known[Columns.TIME], time.time() if now is None else now)
        if future.any() and data.future_times != "keep":
            raise future_error(frame[Columns.TIME], known[Columns.TIME], future, SOURCE)
    if Columns.VALUE in frame.columns:
        known[Columns.VALUE] = numbers(frame[Columns.VALUE], SOURCE)
    for name in (Columns.ACTION, Columns.SCENARIO):
        if name in frame.columns:
            known[name] = names(frame[name], SOURCE)
    return NewEvents(
        users=known[Columns.USER].to_list(),
        items=known[Columns.ITEM].to_list(),
        times=known.get(Columns.TIME),
        values=known.get(Columns.VALUE),
        actions=known.get(Columns.ACTION),
        scenarios=known.get(Columns.SCENARIO),
    )


def _data(training: Mapping[str, Any]) -> DataConfig:
    return DataConfig.build(training.get("data", {"events": SOURCE}), source=TRAINING)


def _renamed(frame: pl.DataFrame, table: str, data: DataConfig, source: str) -> pl.DataFrame:
    """Canonical names where the frame has the training's; a frame with canonical names already is as good."""
    return canonical(frame, table, {name: column for name, column in data.columns.items() if column in frame.columns}, source)
