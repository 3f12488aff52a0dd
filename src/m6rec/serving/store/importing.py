"""Events, items and users out of files, or out of the data a model was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset, Table
from m6rec.data.readers import first_line, read_table
from m6rec.data.store import load_dataset
from m6rec.serving.store.catalogue import Catalogue
from m6rec.serving.store.events import Events
from m6rec.serving.store.exporting import EVENT, WATERMARK
from m6rec.serving.store.records import Event, Imported

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".csv.gz", ".jsonl.gz")
INSIDE = (".", "data", "model/data")  # where prepared data lies: itself, in a model folder, in a run folder
ROWS = 5_000  # items or users written at once


class Importing(Events, Catalogue):
    """Taking over what was there before."""

    def import_(self, folder: Path) -> Imported:
        """Read what `export` wrote, tables of the same names and columns, or the prepared data of a run or model folder.

        Every event gets an `event_id` from the content of its file and its row where it has none, so reading a folder twice, or again after it
        was cut short, adds nothing. Extra columns of events are labels, those that an export noted as context are context.

        Raises:
            DataError: no such files, a missing column, a wrong cell.  CheckpointError: damaged prepared data.
            StorageError: the database is away; what was read so far is kept, run it again.
        """
        folder = Path(folder)
        prepared = next((folder / inside for inside in INSIDE if (folder / inside / "dataset.json").is_file()), None)
        if prepared is not None:
            return self._take_over(load_dataset(prepared))
        path = _table(folder, "events")
        if path is None:
            raise DataError(
                f"{folder} holds neither events.parquet (or .csv, .jsonl) nor prepared data; give the folder of an export or of a run"
            )
        events = _read_events(path)
        counts = self._events_in(events, path.name, sha256(path.read_bytes()).hexdigest()[:16], _context(folder))
        items = self._rows_in(folder, "items", Columns.ITEM)
        users = self._rows_in(folder, "users", Columns.USER)
        return Imported(*counts, items, users, self.database.newest())

    def _take_over(self, dataset: Dataset) -> Imported:
        """Prepared data: histories, items and users under their external ids."""
        events = _history_events(dataset)
        counts = self._add_all(events)
        items = self._table_in(dataset.items, Columns.ITEM)
        users = self._table_in(dataset.users, Columns.USER)
        return Imported(*counts, items, users, self.database.newest())

    def _events_in(self, frame: pl.DataFrame, name: str, source: str, context: Sequence[str]) -> tuple[int, int]:
        missing = [column for column in (Columns.USER, Columns.ITEM) if column not in frame.columns]
        if missing:
            raise DataError(f"{name} has no column '{missing[0]}' (its columns: {', '.join(frame.columns[:20])}); rename its columns")
        labels = [column for column in frame.columns if column not in EVENT and column not in context]
        return self._add_all(_frame_events(frame, source, labels, [column for column in context if column in frame.columns]))

    def _add_all(self, events: Iterator[Event]) -> tuple[int, int]:
        accepted = duplicates = 0
        lot: list[Event] = []
        most = min(self.config.most_events, ROWS)
        for event in events:
            lot.append(event)
            if len(lot) == most:
                receipt = self.add_events(lot)
                accepted, duplicates, lot = accepted + receipt.accepted, duplicates + receipt.duplicates, []
        receipt = self.add_events(lot)
        return accepted + receipt.accepted, duplicates + receipt.duplicates

    def _rows_in(self, folder: Path, name: str, id_column: str) -> int:
        path = _table(folder, name)
        if path is None:
            return 0
        frame = read_table(path)
        if id_column not in frame.columns:
            raise DataError(f"{path.name} has no column '{id_column}' (its columns: {', '.join(frame.columns[:20])}); rename its columns")
        return self._upsert_frame(frame.with_columns(pl.col(id_column).cast(pl.String)), id_column)

    def _table_in(self, table: Table, id_column: str) -> int:
        frame = table.frame.with_columns(pl.Series(id_column, table.ids.ids, dtype=pl.String))
        return self._upsert_frame(frame, id_column)

    def _upsert_frame(self, frame: pl.DataFrame, id_column: str) -> int:
        write = self.upsert_items if id_column == Columns.ITEM else self.upsert_users
        for begin in range(0, frame.height, ROWS):
            rows = frame[begin : begin + ROWS].to_dicts()
            write([{name: value for name, value in row.items() if value is not None and value != []} for row in rows])
        return frame.height


def _table(folder: Path, name: str) -> Path | None:
    return next((folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()), None)


def _read_events(path: Path) -> pl.DataFrame:
    """As `read_table`, and no rows are rows too: an export may hold none."""
    if path.suffix != ".parquet":
        return read_table(path)
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {first_line(error)}; write it again") from None


def _context(folder: Path) -> list[str]:
    path = folder / WATERMARK
    try:
        return list(json.loads(path.read_text(encoding="utf-8")).get("context", [])) if path.is_file() else []
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read ({str(error).splitlines()[0]:.80}); export again, or delete it") from None


def _frame_events(frame: pl.DataFrame, source: str, labels: Sequence[str], context: Sequence[str]) -> Iterator[Event]:
    texts = [column for column in (Columns.USER, Columns.ITEM, Columns.ACTION, Columns.SCENARIO, "event_id") if column in frame.columns]
    numbers = [column for column in (Columns.TIME, Columns.VALUE) if column in frame.columns]
    try:
        frame = frame.with_columns(pl.col(texts).cast(pl.String), pl.col(numbers).cast(pl.Float64).fill_nan(None))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"the columns {', '.join(numbers)} of the events have to be numbers, times in seconds ({str(error).splitlines()[0]:.80})"
        ) from None
    for place, row in enumerate(frame.iter_rows(named=True)):
        yield Event(
            row[Columns.USER],
            row[Columns.ITEM],
            row.get(Columns.TIME),
            row.get(Columns.ACTION),
            row.get(Columns.SCENARIO),
            row.get(Columns.VALUE),
            {name: row[name] for name in labels if row[name] is not None},
            {name: row[name] for name in context if row[name] is not None},
            row.get("event_id") or f"f-{source}-{place}",
        )


def _history_events(dataset: Dataset) -> Iterator[Event]:
    """The events of prepared data, user by user. Where no time is known an event is placed at 1970, in its order."""
    histories = dataset.histories
    owners = np.repeat(np.arange(len(histories)), histories.lengths)
    times = np.arange(len(owners), dtype=np.float64) if histories.times is None else np.nan_to_num(histories.times, nan=0.0)
    for place, (owner, item) in enumerate(zip(owners, histories.items, strict=True)):
        value = None if histories.values is None or np.isnan(histories.values[place]) else float(histories.values[place])
        yield Event(
            dataset.users.ids.ids[owner],
            dataset.items.ids.ids[item],
            float(times[place]),
            _name(dataset.action_names, histories.actions, place),
            _name(dataset.scenario_names, histories.scenarios, place),
            value,
            event_id=f"d-{dataset.fingerprint[:16]}-{place}",
        )


def _name(names: Sequence[str], codes: Any, place: int) -> str | None:
    return None if codes is None else names[codes[place]]
