"""From the store to the files that `m6rec train` reads, and back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, select

from m6rec.base.storage import atomic_folder
from m6rec.data.columns import Columns
from m6rec.data.store import write_parquet
from m6rec.serving.store import tables
from m6rec.serving.store.audit import GONE
from m6rec.serving.store.database import Writing, as_json
from m6rec.serving.store.events import events_where
from m6rec.serving.store.outcomes import outcomes_of
from m6rec.serving.store.parts import Part
from m6rec.serving.store.records import Exported, StoredEvent

CHUNK = 50_000
EVENT = (Columns.USER, Columns.ITEM, Columns.TIME, Columns.ACTION, Columns.SCENARIO, Columns.VALUE, "event_id")
ALWAYS = (Columns.USER, Columns.ITEM, Columns.TIME)
WATERMARK = "watermark.json"
RECORDS = "records"


class Exporting(Part):
    """Files to train on."""

    def export(self, folder: Path, since_seq: int = 0, *, window_s: float = 3600.0) -> Exported:
        """Write events.parquet, items.parquet, users.parquet, exposures.parquet and watermark.json, whole or not at all; deeds to records/.

        Labels and context of events are columns of their own. Items and users are all there are; without any there is no file. The exposures are
        what was shown to people who are still known, with a column (0 or 1) for each action that followed anything: what was shown less than
        `window_s` ago is left out, for nobody knows yet what comes of it.

        Args:
            folder: replaced if it is there.
            since_seq: watermark of an earlier export: only events that came after it.
            window_s: seconds within which an action counts as coming of what was shown.

        Raises:
            StorageError: the database can't be read, or the folder not be written.
        """
        folder = Path(folder)
        # Before anything is read: whoever is forgotten from now on is told of this folder.
        self.database.write(lambda writing: _remember(writing, str(folder.absolute()), 0))
        with self.database.read(snapshot=True) as connection, atomic_folder(folder) as temporary:
            watermark = connection.exec_driver_sql("SELECT max(seq) FROM changes").scalar() or 0
            events, labels, context = _events_frame(connection, since_seq, watermark)
            write_parquet(events, temporary / "events.parquet")
            counts = {"events": events.height}
            for name, id_column, table in (("items", Columns.ITEM, tables.items), ("users", Columns.USER, tables.users)):
                rows = connection.execute(select(table.c.id, table.c.fields).where(~table.c.gone).order_by(table.c.id))
                counts[name] = _write(_fields_frame(id_column, rows), temporary / f"{name}.parquet")
            exposures = _exposures(connection, window_s)
            counts["exposures"] = _write(exposures, temporary / "exposures.parquet")
            deeds = [row._asdict() for row in connection.execute(select(tables.deeds).order_by(tables.deeds.c.seq))]
            if deeds:  # for people, not for training: in a folder that no training reads
                (temporary / RECORDS).mkdir()
                write_parquet(pl.DataFrame(deeds, infer_schema_length=None), temporary / RECORDS / "deeds.parquet")
            facts = {"watermark": watermark, "since": since_seq, "written": time.time(), "labels": labels, "context": context, **counts}
            (temporary / WATERMARK).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        self.database.write(lambda writing: _remember(writing, str(folder.absolute()), watermark))
        return Exported(str(folder), counts["events"], counts["items"], counts["users"], counts["exposures"], watermark)


def _events_frame(connection: Connection, after: int, upto: int) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Events with a column for every label and every key of a context, and the names of those columns."""
    frames: list[pl.DataFrame] = []
    labels: dict[str, None] = {}
    context: dict[str, None] = {}
    seq = tables.events.c.seq
    while chunk := events_where(connection, seq > after, seq <= upto, most=CHUNK):
        own = [{name: getattr(event, name) for name in EVENT} for event in chunk]
        extra = [_extra(event, labels, context) for event in chunk]
        frames.append(frame_of([{**row, **more} for row, more in zip(own, extra, strict=True)]))
        after = chunk[-1].seq
    events = joined(frames)
    if events.is_empty():
        events = pl.DataFrame(schema={Columns.USER: pl.String, Columns.ITEM: pl.String, Columns.TIME: pl.Float64})
    return events, [name for name in labels if name in events.columns], [name for name in context if name in events.columns]


def _extra(event: StoredEvent, labels: dict[str, None], context: dict[str, None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source, names, prefix in ((event.labels, labels, "label"), (event.context, context, "context")):
        for name, value in source.items():
            column = f"{prefix}.{name}" if name in EVENT or name in found else name
            found[column] = value
            names[column] = None
    return found


def _fields_frame(id_column: str, rows: Any) -> pl.DataFrame:
    frames = []
    for chunk in _chunks(rows):
        frames.append(frame_of([{id_column: id, **json.loads(fields)} for id, fields in chunk]))
    return joined(frames)


def _exposures(connection: Connection, window_s: float) -> pl.DataFrame:
    shown = outcomes_of(connection, None, window_s)
    shown = shown.filter(
        pl.col("user_id").is_not_null() & ~pl.col("user_id").str.starts_with(GONE) & (pl.col("time") <= time.time() - window_s)
    )
    actions = sorted(set(shown["actions"].explode().drop_nulls()))
    return shown.select(
        *(Columns.USER, Columns.ITEM, Columns.TIME, Columns.SCENARIO, Columns.POSITION, Columns.PROPENSITY),
        pl.col("request_id").alias(Columns.LIST),
        *(
            pl.col("actions").list.contains(action).cast(pl.Int8).alias(action if action not in SHOWN_COLUMNS else f"did.{action}")
            for action in actions
        ),
    )


SHOWN_COLUMNS = (*EVENT, Columns.POSITION, Columns.PROPENSITY, Columns.LIST)


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of any keys as typed columns; a key that holds nothing but nulls has no column, unless every event has it."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: column_of([row.get(name) for row in rows]) for name in names}
    return pl.DataFrame({name: column for name, column in columns.items() if name in ALWAYS or column.null_count() < len(column)})


def column_of(values: list[Any]) -> pl.Series:
    """The narrowest of truth, number, text, list of numbers, list of text that holds all the values; JSON text where none does."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in known):
        return pl.Series(values, dtype=pl.Boolean)
    if all(isinstance(value, int | float) for value in known):
        return pl.Series([None if value is None else float(value) for value in values], dtype=pl.Float64)
    if all(isinstance(value, str) for value in known):
        return pl.Series(values, dtype=pl.String)
    if all(isinstance(value, list) for value in known):
        parts = [part for value in known for part in value]
        if parts and all(isinstance(part, int | float) and not isinstance(part, bool) for part in parts):
            return pl.Series(values, dtype=pl.List(pl.Float64), strict=False)
        if all(isinstance(part, str) for part in parts):
            return pl.Series(values, dtype=pl.List(pl.String))
    return pl.Series([value if value is None or isinstance(value, str) else as_json(value) for value in values], dtype=pl.String)


def joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Chunks under each other; a column that is of another type in one of them becomes text everywhere."""
    types: dict[str, set[pl.DataType]] = {}
    for frame in frames:
        for name, kind in frame.schema.items():
            types.setdefault(name, set()).add(kind)
    mixed = {name for name, kinds in types.items() if len(kinds) > 1}
    alike = [frame.with_columns(_as_text(frame[name]) for name in frame.columns if name in mixed) for frame in frames]
    return pl.concat(alike, how="diagonal") if alike else pl.DataFrame()


def _as_text(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        return column
    return pl.Series(column.name, [None if value is None else as_json(value) for value in column.to_list()], dtype=pl.String)


def _chunks(rows: Any) -> Iterator[Any]:
    while chunk := rows.fetchmany(CHUNK):
        yield chunk


def _write(frame: pl.DataFrame, path: Path) -> int:
    if frame.height:
        write_parquet(frame, path)
    return frame.height


def _remember(writing: Writing, folder: str, watermark: int) -> None:
    writing.put(tables.exports, ["folder"], [{"folder": folder, "watermark": watermark, "time": writing.now}])
