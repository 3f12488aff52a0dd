"""Generic tables: CSV, JSON Lines or Parquet with columns under any name, rewritten under the canonical ones."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig
from m6rec.data.guessing import guess_fields
from m6rec.data.importers.importer import IMPORTERS, Imported, Importer
from m6rec.data.readers import DELIMITED, JSON_LINES, read_table, table_stem
from m6rec.data.schema import canonical

# Names under which each table is looked for in a folder, the first found wins.
STEMS = {
    "events": ("events", "interactions", "ratings", "clicks", "log", "logs", "train"),
    "items": ("items", "item", "products", "movies", "catalogue", "catalog"),
    "users": ("users", "user", "customers"),
    "texts": ("texts", "reviews"),
    "relations": ("relations", "edges"),
}
SUFFIXES = (*DELIMITED, *JSON_LINES, ".parquet")


@IMPORTERS.register("table")
class TableImporter(Importer):
    """Renames columns and converts to Parquet; types and times are left to `prepare`, which the written configuration tells about them."""

    name = "table"
    description = "CSV, JSON Lines or Parquet tables with a mapping of columns"

    class Options(DataConfig):
        """The files and columns as in `data:` of a configuration; `events: auto` looks in the source folder."""

        events: str | list[str] = Field("auto", description="Event file(s) in the source folder; auto finds events.*, interactions.*, ...")
        line_order: bool = Field(False, description="The lines of the event file are in time order: write that as the order column.")

    @classmethod
    def detect(cls, path: Path) -> bool:
        """A table file, or a folder with an events table under one of the usual names."""
        return _find(path, "events") is not None if path.is_dir() else path.name.removesuffix(".gz").endswith(SUFFIXES)

    def read(self, source: Path, options: Options, account: Account) -> Imported:
        """A source that is a file holds the events; the other tables are beside it, if named."""
        folder = source if source.is_dir() else source.parent
        frames: dict[str, pl.DataFrame] = {}
        for table, files in _files(source, folder, options).items():
            parts = []
            for file in files:
                frame = read_table(folder / file, separator=options.separator, encoding=options.encoding)
                account.add(f"{table} read", frame.height, file)
                frame = canonical(frame, table, options.columns, file)
                if table == "events" and len(files) > 1 and Columns.SCENARIO not in frame.columns:
                    frame = frame.with_columns(pl.lit(table_stem(Path(file))).alias(Columns.SCENARIO))
                parts.append(frame)
            frames[table] = pl.concat(parts, how="diagonal_relaxed") if len(parts) > 1 else parts[0]
        if options.line_order:
            order = pl.int_range(pl.len(), dtype=pl.Int64).over(Columns.USER).alias(Columns.ORDER)
            frames["events"] = frames["events"].with_columns(order)
        elif not {Columns.TIME, Columns.ORDER} & set(frames["events"].columns):
            raise DataError(
                "the events have neither a time nor an order column; map one (columns: {time: <its column>}), or say line_order: true if "
                "the lines are in time order"
            )
        given: dict[str, Any] = {**frames}
        return Imported(
            **given,
            item_fields=guess_fields(frames["items"], Columns.ITEM) if "items" in frames else {},
            user_fields=guess_fields(frames["users"], Columns.USER) if "users" in frames else {},
            data=_carried(options),
        )


def _find(folder: Path, table: str, taken: Collection[str] = ()) -> str | None:
    """The file of the folder that holds `table` by its name, and nothing else already."""
    names = {table_stem(path): path.name for path in sorted(folder.iterdir()) if path.name.removesuffix(".gz").endswith(SUFFIXES)}
    return next((names[stem] for stem in STEMS[table] if stem in names and names[stem] not in taken), None)


def _files(source: Path, folder: Path, options: TableImporter.Options) -> dict[str, list[str]]:
    """Table -> its files, relative to the folder."""
    files: dict[str, list[str]] = {}
    if options.events != "auto":
        files["events"] = options.event_files()
    elif not source.is_dir():
        files["events"] = [source.name]
    for table in ("items", "users", "texts", "relations"):
        named = getattr(options, table)
        if named is not None:
            files[table] = [named] if isinstance(named, str) else list(named)
    for table in STEMS:
        taken = [file for several in files.values() for file in several]
        if table not in files and source.is_dir() and (found := _find(folder, table, taken)) is not None:
            files[table] = [found]
    if "events" not in files:
        raise DataError(f"{folder} has no table called {', '.join(STEMS['events'])}; say which holds the events with the option events")
    return files


def _carried(options: TableImporter.Options) -> dict[str, Any]:
    """Settings that differ from their default and still mean something for the files written."""
    done = {"events", "items", "users", "texts", "relations", "columns", "separator", "encoding", "line_order"}
    return {name: value for name, value in options.model_dump(exclude_defaults=True, mode="json").items() if name not in done}
