"""Event files to one frame of canonical, typed, complete columns, in the order of the files."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.account import Account
from m6rec.data.cleaning import drop_missing
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig, ScenariosConfig
from m6rec.data.exposure_columns import CONTEXT, LABEL, Wanted, exposure_columns, require_columns
from m6rec.data.readers import read_table, table_stem
from m6rec.data.schema import SCHEMAS, canonical, ids, names, no_column, numbers, orders
from m6rec.data.times import future_error, future_rows, spoken, to_seconds

LIKELY_TIME = re.compile(r"time|date|stamp|(^|_)ts$|when|day", re.IGNORECASE)  # names worth suggesting


def read_events(
    data: DataConfig, scenarios: ScenariosConfig, folder: Path, *, now: float, account: Account, wanted: Wanted | None = None
) -> pl.DataFrame:
    """All events: user_id, item_id (text), order and/or time (float64 seconds), scenario, action, value where known.

    Args:
        wanted: the label and context columns to keep besides (see `exposure_columns`), where the events are the exposures too.

    Raises:
        DataError: a missing file or column, a wrong cell, a time in the future, neither time nor order.
    """
    files = data.event_files()
    raw, outcomes = [], []
    for file in files:
        frame = read_table(folder / file, separator=data.separator, encoding=data.encoding)
        account.add("events read", frame.height, file)
        outcomes.append({} if wanted is None else exposure_columns(frame, file, wanted, data))
        frame = canonical(frame, "events", data.columns, file)
        raw.append(_with_scenario(frame, scenarios, file, several=len(files) > 1, required=data.exposures is None))
    _check_mapping(data, raw, files)
    sequence = _sequence(raw, files)
    account.add("event files", len(files), f"a user's events are ordered by {sequence}")
    typed = [_typed(frame, file, data, sequence, now, account, extra) for frame, file, extra in zip(raw, files, outcomes, strict=True)]
    if wanted is not None:
        require_columns(wanted, typed, [frame.columns for frame in raw], files, exposure_files=False)
    events = pl.concat(typed, how="diagonal_relaxed") if len(typed) > 1 else typed[0]
    _note_backwards(events, account)
    return events


def _with_scenario(frame: pl.DataFrame, scenarios: ScenariosConfig, file: str, *, several: bool, required: bool) -> pl.DataFrame:
    """The scenario: the configured column, else 'scenario', else (with several files, by_file) the file's name."""
    if scenarios.column is not None and (required or scenarios.column in frame.columns):
        if scenarios.column not in frame.columns:
            raise no_column(frame, scenarios.column, file, "for scenarios.column")
        return frame.with_columns(pl.col(scenarios.column).alias(Columns.SCENARIO))
    if several and scenarios.by_file and Columns.SCENARIO not in frame.columns:
        return frame.with_columns(pl.lit(table_stem(Path(file))).alias(Columns.SCENARIO))
    return frame


def _check_mapping(data: DataConfig, frames: list[pl.DataFrame], files: list[str]) -> None:
    """A mapped column of the events that no file has is a slip of the pen."""
    for name in SCHEMAS["events"].known:
        column = data.columns.get(f"events.{name}", data.columns.get(name))
        if column is not None and column != name and not any(name in frame.columns for frame in frames):
            hint = nearest(column, frames[0].columns)
            raise DataError(f"{files[0]} has no column '{column}' for {name}{hint}; look at data.columns")


def _sequence(frames: list[pl.DataFrame], files: list[str]) -> str:
    """'order' where every file has it, else 'time' where every file has it."""
    for name in (Columns.ORDER, Columns.TIME):
        if all(name in frame.columns for frame in frames):
            return name
    frame, file = next((f, n) for f, n in zip(frames, files, strict=True) if Columns.TIME not in f.columns)
    likely = next((name for name in frame.columns if LIKELY_TIME.search(name)), "<its column>")
    shown = ", ".join(frame.columns[:20])
    raise DataError(
        f"{file} has neither a time nor an order column (its columns: {shown}); "
        f"say data.columns: {{time: {likely}}}, or {{order: <its column>}} for a number that grows within each user"
    )


def _typed(
    frame: pl.DataFrame,
    file: str,
    data: DataConfig,
    sequence: str,
    now: float,
    account: Account,
    outcomes: dict[str, pl.Series],
) -> pl.DataFrame:
    columns = {name: ids(frame[name], file) for name in (Columns.USER, Columns.ITEM)}
    future = None
    if Columns.TIME in frame.columns:
        seconds, how = to_seconds(frame[Columns.TIME], data.time_unit, file)
        future = future_rows(seconds, now)
        if data.future_times == "error" and future.any():
            raise future_error(frame[Columns.TIME], seconds, future, file)
        columns[Columns.TIME] = seconds
        known = seconds.drop_nulls()
        if known.len():
            span = f"from {spoken(known.min())} to {spoken(known.max())}"  # type: ignore[arg-type]
            account.add("event times read", known.len(), f"{file}: {how}; {span}")
        if sequence != Columns.TIME:
            account.add("event times unknown", seconds.null_count(), f"{file}: the order column places these events")
    if Columns.ORDER in frame.columns:
        columns[Columns.ORDER] = orders(frame[Columns.ORDER], file)
    for name in (Columns.SCENARIO, Columns.ACTION):
        if name in frame.columns:
            columns[name] = names(frame[name], file)
    if Columns.VALUE in frame.columns:
        columns[Columns.VALUE] = numbers(frame[Columns.VALUE], file)
    columns |= outcomes
    used = {name.removeprefix(LABEL).removeprefix(CONTEXT) for name in columns}
    unused = [name for name in frame.columns if name not in used]
    account.add("event columns not used", len(unused), f"{file}: {', '.join(unused)}")
    typed = pl.DataFrame(columns)
    if sequence == Columns.TIME:
        typed = typed.drop(Columns.ORDER, strict=False)
    if future is not None and data.future_times == "drop":
        account.add("events dropped", int(future.sum()), f"{file}: in the future (data.future_times: drop)")
        typed = typed.filter(~future)
    return drop_missing(typed, [Columns.USER, Columns.ITEM, sequence], data.missing, file, account)


def _note_backwards(events: pl.DataFrame, account: Account) -> None:
    """Where both are known, an order that contradicts the times is worth a look."""
    if Columns.ORDER not in events.columns or Columns.TIME not in events.columns:
        return
    dated = events.drop_nulls(Columns.TIME).sort(Columns.USER, Columns.ORDER, maintain_order=True)
    backwards = dated.select((pl.col(Columns.TIME).diff() < 0) & (pl.col(Columns.USER) == pl.col(Columns.USER).shift(1))).to_series()
    account.add(
        "events out of time", int(backwards.fill_null(False).sum()), "earlier than the event before them by the order column; kept so"
    )
