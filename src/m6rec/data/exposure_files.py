"""Exposure files to one frame of canonical, typed columns; and the events that positive outcomes are."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.account import Account
from m6rec.data.cleaning import drop_missing, drop_repeats, drop_unlisted
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig, ScenariosConfig
from m6rec.data.exposure_columns import CONTEXT, LABEL, ROW_COLUMNS, Wanted, exposure_columns, require_columns
from m6rec.data.labels import read_labels
from m6rec.data.readers import read_table, table_stem
from m6rec.data.schema import canonical, ids, names, orders
from m6rec.data.times import future_error, future_rows, spoken, to_seconds

PLAIN_ACTION = "event"  # what events are called beside those of outcomes, where they have no action of their own


def read_exposures(
    data: DataConfig, scenarios: ScenariosConfig, folder: Path, wanted: Wanted, sequence: str, *, now: float, account: Account
) -> pl.DataFrame:
    """All exposures: user_id, item_id (text), time and/or order, scenario, position, propensity, list_id, split, labels and context.

    Args:
        sequence: `time` or `order`: what the events are ordered by. Exposures are placed among them by it, else by time.

    Raises:
        DataError: a missing file or column, a wrong cell, a time in the future, nothing that says when.
    """
    files, frames, names = data.exposure_files(), [], []
    for file in files:
        frame = read_table(folder / file, separator=data.separator, encoding=data.encoding)
        account.add("exposures read", frame.height, file)
        names.append(frame.columns)
        frames.append(_typed(frame, file, data, scenarios, wanted, sequence, len(files) > 1, now, account))
    require_columns(wanted, frames, names, files, exposure_files=True)
    _check_mapping(data, frames, names, files)
    exposures = pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]
    return drop_repeats(exposures, data, account, what="exposures")


def exposures_of_events(events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events with label columns: the events without them, and the exposures: those that have a label."""
    labels = [name for name in events.columns if name.startswith(LABEL)]
    extra = [name for name in events.columns if name.startswith((LABEL, CONTEXT)) or name in ROW_COLUMNS]
    known = pl.any_horizontal(pl.col(labels).is_not_null())
    kept = [name for name in events.columns if name not in (Columns.ACTION, Columns.VALUE)]
    return events.drop(extra), events.filter(known).select(kept)


def with_outcome_events(events: pl.DataFrame, exposures: pl.DataFrame, names: list[str], sequence: str, account: Account) -> pl.DataFrame:
    """The events, and one more for every positive outcome of the columns `names`, whose action is the column's name.

    Raises:
        DataError: a column that is not yes or no; exposures without the order that the events have.
    """
    if not names:
        return events
    if sequence not in exposures.columns or exposures[sequence].null_count():
        raise DataError(
            f"data.history_labels: the events are ordered by {sequence}, which some exposures don't have; "
            f"give every exposure its {sequence}, or leave data.history_labels out"
        )
    if Columns.ACTION not in events.columns:
        events = events.with_columns(pl.lit(PLAIN_ACTION).alias(Columns.ACTION))
    shared = [name for name in (Columns.USER, Columns.ITEM, Columns.TIME, Columns.ORDER, Columns.SCENARIO) if name in exposures.columns]
    parts = [events]
    for name in names:
        labels = read_labels(exposures[LABEL + name], "binary", what=f"data.history_labels, column '{name}'")
        positive = exposures.filter(pl.Series(labels.values == 1)).select(shared)
        account.add("events of outcomes", positive.height, f"{name}: its positive exposures are events too (data.history_labels)")
        parts.append(positive.with_columns(pl.lit(name).alias(Columns.ACTION)))
    return pl.concat(parts, how="diagonal_relaxed")


def drop_unlisted_exposures(exposures: pl.DataFrame, listed: pl.Series | None, data: DataConfig, account: Account) -> pl.DataFrame:
    """Policy for items that the items table does not list, as for events."""
    return drop_unlisted(exposures, listed, data, account, what="exposures")


def require_scenario(scenarios: ScenariosConfig, events: pl.DataFrame, exposures: pl.DataFrame) -> None:
    """Raises DataError where neither the events nor the exposures have the configured scenario column."""
    if scenarios.column is not None and Columns.SCENARIO not in events.columns and Columns.SCENARIO not in exposures.columns:
        raise DataError(
            f"neither events nor exposures have a column '{scenarios.column}' for scenarios.column; name the one that says where"
        )


def _typed(
    frame: pl.DataFrame,
    file: str,
    data: DataConfig,
    scenarios: ScenariosConfig,
    wanted: Wanted,
    sequence: str,
    several: bool,
    now: float,
    account: Account,
) -> pl.DataFrame:
    raw = frame
    frame = canonical(frame, "exposures", data.columns, file)
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
            account.add("exposure times read", known.len(), f"{file}: {how}; {span}")
    if sequence == Columns.ORDER and Columns.ORDER in frame.columns:
        columns[Columns.ORDER] = orders(frame[Columns.ORDER], file)
    placed_by = Columns.ORDER if Columns.ORDER in columns else Columns.TIME
    if placed_by not in columns:
        raise DataError(
            f"{file} has no {sequence} column, so what came before an exposure is unknown (columns: {', '.join(frame.columns[:20])}); "
            f"say data.columns: {{exposures.{sequence}: <its column>}}"
        )
    scenario = _scenario(frame, scenarios, file, several)
    if scenario is not None:
        columns[Columns.SCENARIO] = scenario
    columns |= exposure_columns(raw, file, wanted, data)
    used = {name.removeprefix(LABEL).removeprefix(CONTEXT) for name in columns}
    unused = [name for name in frame.columns if name not in used and name != scenarios.column]
    account.add("exposure columns not used", len(unused), f"{file}: {', '.join(unused)}")
    typed = pl.DataFrame(columns)
    if future is not None and data.future_times == "drop":
        account.add("exposures dropped", int(future.sum()), f"{file}: in the future (data.future_times: drop)")
        typed = typed.filter(~future)
    return drop_missing(typed, [Columns.USER, Columns.ITEM, placed_by], data.missing, file, account, what="exposures")


def _scenario(frame: pl.DataFrame, scenarios: ScenariosConfig, file: str, several: bool) -> pl.Series | None:
    """The configured column, else 'scenario', else (with several files, by_file) the file's name; None without any."""
    for name in (scenarios.column, Columns.SCENARIO):
        if name is not None and name in frame.columns:
            return names(frame[name], file).alias(Columns.SCENARIO)
    if several and scenarios.by_file:
        return pl.Series(Columns.SCENARIO, [table_stem(Path(file))] * frame.height)
    return None


def _check_mapping(data: DataConfig, frames: list[pl.DataFrame], names: list[list[str]], files: list[str]) -> None:
    """A mapped column that no exposure file has is a slip of the pen."""
    for name in ROW_COLUMNS:
        column = data.columns.get(f"exposures.{name}", data.columns.get(name))
        if column is not None and column != name and not any(name in frame.columns for frame in frames):
            raise DataError(f"{files[0]} has no column '{column}' for {name}{nearest(column, names[0])}; look at data.columns")
