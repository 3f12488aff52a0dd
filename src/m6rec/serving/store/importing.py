"""Events, items and users out of files, or out of the data a model was trained on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
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
from m6rec.serving.store.forgetting import Forgetting
from m6rec.serving.store.parts import is_text
from m6rec.serving.store.records import Event, Imported

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".csv.gz", ".jsonl.gz")
INSIDE = (".", "data", "model/data")  # where prepared data lies: itself, in a model folder, in a run folder
ROWS = 5_000  # items or users written at once


class Known:
    """Asks of every user once whether they were forgotten. forgotten: those of them who came up."""

    def __init__(self, was_forgotten: Callable[[Sequence[str]], list[bool]]) -> None:
        self._was_forgotten = was_forgotten
        self._asked: set[str] = set()
        self.forgotten: set[str] = set()

    def out_of(self, users: Sequence[Any]) -> set[str]:
        """All who were forgotten, once `users` have been asked after; an id that is no text is the store's to refuse."""
        fresh = sorted({user for user in users if isinstance(user, str) and is_text(user)} - self._asked)
        self._asked.update(fresh)
        self.forgotten.update(user for user, gone in zip(fresh, self._was_forgotten(fresh), strict=True) if gone)
        return self.forgotten


class Importing(Events, Catalogue, Forgetting):
    """Taking over what was there before. Whoever this store was told to forget stays forgotten: their events and fields are left out."""

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
        known = Known(self.was_forgotten)
        counts = self._events_in(events, known, path.name, sha256(path.read_bytes()).hexdigest()[:16], _context(folder))
        items = self._rows_in(folder, "items", Columns.ITEM, known)
        users = self._rows_in(folder, "users", Columns.USER, known)
        return Imported(*counts, items, users, self.database.newest(), len(known.forgotten))

    def _take_over(self, dataset: Dataset) -> Imported:
        """Prepared data: histories, items and users under their external ids."""
        known = Known(self.was_forgotten)
        counts = self._add_all(_history_events(dataset), known)
        items = self._table_in(dataset.items, Columns.ITEM, known)
        users = self._table_in(dataset.users, Columns.USER, known)
        return Imported(*counts, items, users, self.database.newest(), len(known.forgotten))

    def _events_in(self, frame: pl.DataFrame, known: Known, name: str, source: str, context: Sequence[str]) -> tuple[int, int]:
        missing = [column for column in (Columns.USER, Columns.ITEM) if column not in frame.columns]
        if missing:
            raise DataError(f"{name} has no column '{missing[0]}' (its columns: {', '.join(frame.columns[:20])}); rename its columns")
        labels = [column for column in frame.columns if column not in EVENT and column not in context]
        return self._add_all(_frame_events(frame, source, labels, [column for column in context if column in frame.columns]), known)

    def _add_all(self, events: Iterator[Event], known: Known) -> tuple[int, int]:
        accepted = duplicates = 0
        most = min(self.config.most_events, ROWS)
        while lot := list(itertools.islice(events, most)):
            gone = known.out_of([event.user_id for event in lot])
            receipt = self.add_events([event for event in lot if event.user_id not in gone])
            accepted, duplicates = accepted + receipt.accepted, duplicates + receipt.duplicates
        return accepted, duplicates

    def _rows_in(self, folder: Path, name: str, id_column: str, known: Known) -> int:
        path = _table(folder, name)
        if path is None:
            return 0
        frame = read_table(path)
        if id_column not in frame.columns:
            raise DataError(f"{path.name} has no column '{id_column}' (its columns: {', '.join(frame.columns[:20])}); rename its columns")
        return self._upsert_frame(frame.with_columns(pl.col(id_column).cast(pl.String)), id_column, known)

    def _table_in(self, table: Table, id_column: str, known: Known) -> int:
        frame = table.frame.with_columns(pl.Series(id_column, table.ids.ids, dtype=pl.String))
        return self._upsert_frame(frame, id_column, known)

    def _upsert_frame(self, frame: pl.DataFrame, id_column: str, known: Known) -> int:
        if id_column == Columns.USER:
            gone = known.out_of(frame[id_column].drop_nulls().to_list())
            frame = frame.filter(~pl.col(id_column).is_in(list(gone)).fill_null(False))
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
