"""RecBole files: atomic (.inter .item .user .kg .net) and sequential ones (rows of a prefix and its next item).

Every column header is `name:type` with type token, float, token_seq (blank-separated) or float_seq. A header with `*_list:token_seq`
beside the item makes an .inter file sequential; see `recbole_sequences` for how its rows become one sequence a user.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.config import Encoding
from m6rec.data.fields import FieldType
from m6rec.data.guessing import TEXT_NAMES, guess_type
from m6rec.data.importers.importer import IMPORTERS, Imported, Importer
from m6rec.data.importers.recbole_sequences import merged
from m6rec.data.readers import decoded, read_bytes
from m6rec.data.schema import canonical

TYPES = ("token", "float", "token_seq", "float_seq")
PARTS = ("train", "valid", "test")


@IMPORTERS.register("recbole")
class RecboleImporter(Importer):
    """One data set: all files of the folder that share a stem. `timestamp` becomes the time, `rating` the value."""

    name = "recbole"
    description = "RecBole atomic files (.inter .item .user .kg .net) and sequential files (train/valid/test .inter with .text)"

    class Options(Config):
        """Options of `m6rec import recbole`."""

        dataset: str | None = Field(
            None, description="Stem of the files (ml-100k of ml-100k.inter); null takes the only one of the folder."
        )
        user_column: str = Field("user_id", description="Column of the users (RecBole's USER_ID_FIELD), for example session_id.")
        item_column: str = Field("item_id", description="Column of the items (RecBole's ITEM_ID_FIELD).")
        encoding: Encoding = Field("utf-8", description="Encoding of the files: utf-8, latin-1 or gb18030.")
        line_order: bool = Field(False, description="Atomic files without timestamp: the lines are in time order.")
        longest_row: bool = Field(
            False, description="Sequential files: keep only the longest row of a user, without what lies beyond a cap on the prefix."
        )

    @classmethod
    def detect(cls, path: Path) -> bool:
        """An .inter file, or a folder with one."""
        return any(path.glob("*.inter")) if path.is_dir() else path.suffix == ".inter"

    def read(self, source: Path, options: Options, account: Account) -> Imported:
        """Atomic or sequential, by the header of the .inter file(s)."""
        folder = source if source.is_dir() else source.parent
        inters = _interaction_files(source, options.dataset)
        stem = _stem(inters[0])
        mapping = {Columns.USER: options.user_column, Columns.ITEM: options.item_column, Columns.TIME: "timestamp", Columns.VALUE: "rating"}
        prefix, frames = f"{options.item_column}_list", []
        for path in inters:
            frame, _ = typed_table(path, options.encoding)
            account.add("rows read", frame.height, path.name)
            frames.append(canonical(frame, "events", mapping, path.name))
        if any(prefix in frame.columns for frame in frames):
            events = merged(frames, prefix, account, longest_row=options.longest_row)
        else:
            events = _atomic(pl.concat(frames, how="diagonal"), inters[0].name, options)
        user_index, item_index = (_index(folder / f"{stem}.{kind}2index", options.encoding) for kind in ("user", "item"))
        events = _restored(_restored(events, Columns.USER, user_index, account), Columns.ITEM, item_index, account)
        item_files, user_files = [folder / f"{stem}.item", folder / f"{stem}.text"], [folder / f"{stem}.user"]
        items, item_fields = _entities(item_files, Columns.ITEM, options.item_column, options.encoding, account)
        users, user_fields = _entities(user_files, Columns.USER, options.user_column, options.encoding, account)
        return Imported(
            events=events,
            items=items,
            users=users,
            relations=_relations(folder, stem, options.encoding, account),
            item_fields=item_fields,
            user_fields=user_fields,
            data={"tags_separator": " "} if FieldType.TAGS in {**item_fields, **user_fields}.values() else {},
        )


def _atomic(events: pl.DataFrame, name: str, options: RecboleImporter.Options) -> pl.DataFrame:
    """One row an event. Raises DataError when nothing tells their order."""
    if options.line_order:
        return events.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).over(Columns.USER).alias(Columns.ORDER))
    if Columns.TIME not in events.columns:
        raise DataError(f"{name} has no timestamp column; if its lines are in time order say so with the option line_order: true")
    return events


def typed_table(path: Path, encoding: str) -> tuple[pl.DataFrame, dict[str, str]]:
    """All cells as text under the bare names, and name -> RecBole type. RecBole never quotes, so quotes are part of the text.

    Raises:
        DataError: a header without types, or a line with another number of cells.
    """
    data = decoded(read_bytes(path), path.name, encoding).replace(b"\r\n", b"\n")
    lines = pl.Series("line", data.decode().split("\n"), dtype=pl.String)
    header = lines[0].split("\t")
    types: dict[str, str] = {}
    for cell in header:
        name, colon, kind = cell.strip().rpartition(":")
        if not colon or kind not in TYPES:
            raise DataError(f"{path.name}: header cell '{cell[:60]}' is not name:type; types: {', '.join(TYPES)}")
        types[name] = kind
    rows = lines[1:].str.split("\t")
    blank = lines[1:].str.strip_chars() == ""
    ragged = (rows.list.len() != len(header)) & ~blank
    if ragged.any():
        line = int(ragged.arg_true()[0])
        raise DataError(f"{path.name}: line {line + 2} has {len(rows[line])} cells, the header has {len(header)}")
    rows = rows.filter(~blank)
    if rows.len() == 0:
        raise DataError(f"{path.name} has columns but no rows; at least one row is needed")
    columns = {name: rows.list.get(index).str.strip_chars() for index, name in enumerate(types)}
    return pl.DataFrame({name: column.set(column == "", None) for name, column in columns.items()}), types


def _interaction_files(source: Path, dataset: str | None) -> list[Path]:
    if source.is_file():
        return [source]
    found = sorted(source.glob("*.inter"))
    stems = sorted({_stem(path) for path in found})
    if dataset is not None:
        found = [path for path in found if _stem(path) == dataset]
    elif len(stems) > 1:
        raise DataError(f"{source} holds several data sets ({', '.join(stems)}); say which with the option dataset")
    if not found:
        raise DataError(f"{source} has no {dataset or '*'}.inter file; RecBole keeps the interactions there")
    order = {part: index for index, part in enumerate(PARTS)}
    return sorted(found, key=lambda path: order.get(path.stem.rpartition(".")[2], -1))


def _stem(path: Path) -> str:
    base, dot, part = path.stem.rpartition(".")
    return base if dot and part in PARTS else path.stem


def _index(path: Path, encoding: str) -> dict[str, str]:
    """Integer -> token of an item2index / user2index file; empty where there is none."""
    if not path.is_file():
        return {}
    pairs = [line.split("\t") for line in decoded(read_bytes(path), path.name, encoding).decode().splitlines() if line.strip()]
    wrong = next((row for row, pair in enumerate(pairs) if len(pair) != 2), None)
    if wrong is not None:
        raise DataError(f"{path.name}: line {wrong + 1} is not 'token<tab>index'")
    return {index.strip(): token.strip() for token, index in pairs}


def _restored(events: pl.DataFrame, name: str, index: dict[str, str], account: Account) -> pl.DataFrame:
    """Integers of an index file back to their tokens. Raises DataError for one that the index does not hold."""
    if not index:
        return events
    unknown = events.filter(~pl.col(name).is_in(list(index)))[name].drop_nulls()
    if unknown.len():
        raise DataError(f"{name} {unknown[0]} of the .inter files is not in the 2index file; the files do not belong together")
    account.add("ids restored", len(index), f"{name}: integers to the tokens of the 2index file")
    return events.with_columns(pl.col(name).replace_strict(index, default=None))


def _entities(
    paths: list[Path], id_column: str, file_column: str, encoding: str, account: Account
) -> tuple[pl.DataFrame | None, dict[str, FieldType]]:
    """Items or users from the files that exist, joined by their id (the first file sets the order)."""
    table: pl.DataFrame | None = None
    kinds: dict[str, str] = {}
    for path in paths:
        if not path.is_file():
            continue
        frame, types = typed_table(path, encoding)
        account.add("rows read", frame.height, path.name)
        table_name = "items" if id_column == Columns.ITEM else "users"
        frame = canonical(frame, table_name, {id_column: file_column}, path.name)
        table = frame if table is None else table.join(frame, on=id_column, how="full", coalesce=True, maintain_order="left_right")
        kinds |= types
    if table is None:
        return None, {}
    fields = {name: _field_type(table[name], kind) for name, kind in kinds.items() if name in table.columns and name != id_column}
    return table, {name: kind for name, kind in fields.items() if kind is not None}


def _field_type(series: pl.Series, kind: str) -> FieldType | None:
    """token_seq is words or labels: a name like title or text, or a sequence of eight or more on average, means words."""
    if series.null_count() == series.len():
        return None
    if kind == "float":
        return FieldType.NUMBER
    if kind == "float_seq":
        return FieldType.VECTOR
    if kind == "token_seq":
        words = series.drop_nulls().str.count_matches(r"\S+").mean()
        return FieldType.TEXT if TEXT_NAMES.search(series.name.lower()) or (isinstance(words, float) and words >= 8) else FieldType.TAGS
    guess = guess_type(series)
    return FieldType.CATEGORY if guess in (FieldType.NUMBER, FieldType.TAGS) else guess  # a token is one name


def _relations(folder: Path, stem: str, encoding: str, account: Account) -> pl.DataFrame | None:
    """.kg triples and .net ties (relation "follows") as head, relation, tail."""
    frames = []
    for suffix, names in ((".kg", ("head_id", "relation_id", "tail_id")), (".net", ("source_id", "target_id"))):
        path = folder / f"{stem}{suffix}"
        if not path.is_file():
            continue
        frame, types = typed_table(path, encoding)
        absent = [name for name in names if name not in types]
        if absent:
            raise DataError(f"{path.name} has no column {absent[0]}; columns: {', '.join(types)}")
        account.add("rows read", frame.height, path.name)
        relation = pl.col(names[1]) if len(names) == 3 else pl.lit("follows")
        frames.append(
            frame.select(
                pl.col(names[0]).alias(Columns.HEAD), relation.alias(Columns.RELATION), pl.col(names[-1]).alias(Columns.TAIL)
            ).drop_nulls()
        )
    return pl.concat(frames) if frames else None
