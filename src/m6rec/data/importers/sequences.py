"""Lines of "user item item item ...", oldest first, as many papers publish their data; optionally with a table of items beside them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.config import Encoding
from m6rec.data.guessing import guess_fields
from m6rec.data.importers.importer import IMPORTERS, Imported, Importer
from m6rec.data.readers import decoded, read_bytes, read_table
from m6rec.data.schema import canonical

TEXT_SUFFIXES = (".txt", ".txt.gz", ".dat")


def exploded(lines: pl.DataFrame, items: str = "items") -> pl.DataFrame:
    """user_id and a list column `items` per row -> user_id, item_id, order (0-based within the user, in the order of the rows)."""
    events = lines.explode(items, empty_as_null=True).drop_nulls(items).rename({items: Columns.ITEM})
    order = pl.int_range(pl.len(), dtype=pl.Int64).over(Columns.USER).alias(Columns.ORDER)
    return events.select(Columns.USER, Columns.ITEM).with_columns(order)


@IMPORTERS.register("sequences")
class SequencesImporter(Importer):
    """The line order is the time order, so an `order` column is written and no times."""

    name = "sequences"
    description = 'lines of "user item item ..." (oldest first), with an optional table of items'

    class Options(Config):
        """Options of `m6rec import sequences`."""

        lines: str | None = Field(None, description="File of lines in the source folder; null takes its only .txt file.")
        items: str | None = Field(
            None, description="Items table (CSV, JSON Lines, Parquet) beside it; null takes items.* where there is one."
        )
        item_column: str = Field(Columns.ITEM, description="Column of the items table that holds the ids used in the lines.")
        encoding: Encoding = Field("utf-8", description="Encoding of the files: utf-8, latin-1 or gb18030.")

    @classmethod
    def detect(cls, path: Path) -> bool:
        """A folder with one .txt file, or such a file, that begins with three or more blank-separated words."""
        files = _text_files(path) if path.is_dir() else [path] if path.name.endswith(TEXT_SUFFIXES) else []
        if len(files) != 1 or files[0].name.endswith(".gz"):
            return False
        with open(files[0], "rb") as handle:
            first = handle.readline(10_000)
        return len(first.split()) >= 3 and not any(mark in first for mark in (b",", b"::", b"\t"))

    def read(self, source: Path, options: Options, account: Account) -> Imported:
        """One sequence a line; a user with several lines has them joined in the order of the file."""
        folder = source if source.is_dir() else source.parent
        path = folder / options.lines if options.lines else _only_text_file(source)
        text = decoded(read_bytes(path), path.name, options.encoding).decode()
        lines = pl.DataFrame({"line": text.splitlines()}, schema={"line": pl.String})
        words = lines.select(pl.col("line").str.extract_all(r"\S+").alias("words")).filter(pl.col("words").list.len() > 0)
        if words.height == 0:
            raise DataError(f"{path.name} is empty; lines of 'user item item ...' are needed")
        parsed = words.select(pl.col("words").list.first().alias(Columns.USER), pl.col("words").list.slice(1).alias("items"))
        alone = int((parsed["items"].list.len() == 0).sum())
        account.add("sequences read", parsed.height, path.name)
        account.add("sequences dropped", alone, f"{path.name}: a user and no item")
        account.add("sequences joined", parsed.height - parsed[Columns.USER].n_unique(), f"{path.name}: a user with several lines")
        events = exploded(parsed)
        table = _items_file(folder, options.items)
        if table is None:
            return Imported(events=events)
        items = read_table(table, encoding=options.encoding)
        items = canonical(items, "items", {Columns.ITEM: options.item_column}, table.name)
        items = items.select(Columns.ITEM, pl.exclude(Columns.ITEM))
        return Imported(events=events, items=items, item_fields=guess_fields(items, Columns.ITEM))


def _text_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(TEXT_SUFFIXES))


def _only_text_file(source: Path) -> Path:
    if not source.is_dir():
        return source
    files = _text_files(source)
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise DataError(f"{source} has {len(files)} text files ({names}); one is needed: say which with the option lines")
    return files[0]


def _items_file(folder: Path, name: str | None) -> Path | None:
    if name is not None:
        return folder / name
    found = sorted(path for path in folder.iterdir() if path.name.split(".")[0] == "items" and path.is_file())
    return found[0] if found else None
