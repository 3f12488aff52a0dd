"""Texts and relations: read and checked now, used by tasks that write and by knowledge later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig
from m6rec.data.dataset import Table
from m6rec.data.exposure_columns import label_column, part_codes
from m6rec.data.readers import read_table, table_stem
from m6rec.data.schema import SCHEMAS, canonical, ids, words
from m6rec.data.times import to_seconds


def read_texts(data: DataConfig, folder: Path, *, account: Account, labels: Sequence[str] = ()) -> pl.DataFrame | None:
    """kind, user_id, item_id, text, lang (pl.String, null unknown) and time (float64 seconds); None without a texts table.

    A file without a `kind` column gives its own name as the kind. Rows without text are dropped and counted. The columns `labels` are
    kept besides (dtypes of `label_column`, null unknown; spans of characters as JSON), and `split` (Int8, 0 training, 1 validation, 2
    test; null where the file has none).

    Raises:
        DataError: a wrong cell, or a label column that no file has.
    """
    if labels and data.texts is None:
        raise DataError(f"column '{labels[0]}' is a label of texts, and there are no texts; say data.texts: <file>, or leave the task out")
    frames: list[pl.DataFrame] = []
    columns: list[str] = []
    for file in data.text_files():
        frame = read_table(folder / file, separator=data.separator, encoding=data.encoding)
        account.add("texts read", frame.height, file)
        columns += [name for name in frame.columns if name not in columns]
        frame = canonical(frame, "texts", data.columns, file)
        typed = {Columns.TEXT: words(frame[Columns.TEXT], file)}
        for name, check in ((Columns.KIND, words), (Columns.USER, ids), (Columns.ITEM, ids), (Columns.LANG, words)):
            typed[name] = check(frame[name], file) if name in frame.columns else pl.Series(name, [None] * frame.height, dtype=pl.String)
        if Columns.KIND not in frame.columns:
            typed[Columns.KIND] = pl.Series(Columns.KIND, [table_stem(Path(file))] * frame.height)
        if Columns.TIME in frame.columns:
            typed[Columns.TIME] = to_seconds(frame[Columns.TIME], data.time_unit, file)[0]
        else:
            typed[Columns.TIME] = pl.Series(Columns.TIME, [None] * frame.height, dtype=pl.Float64)
        order = (Columns.KIND, Columns.USER, Columns.ITEM, Columns.TEXT, Columns.LANG, Columns.TIME)
        typed = {name: typed[name].alias(name) for name in order}
        typed |= {name: label_column(frame[name], file) for name in labels if name in frame.columns and name not in order}
        if Columns.SPLIT in frame.columns:
            typed[Columns.SPLIT] = part_codes(frame[Columns.SPLIT], file)
        complete = pl.DataFrame(list(typed.values())).drop_nulls(Columns.TEXT)
        account.add("texts dropped", frame.height - complete.height, f"{file}: no text")
        long = int((complete[Columns.TEXT].str.len_chars() > data.max_text_characters).sum())
        account.add("texts cut", long, f"{file}: longer than {data.max_text_characters:,} characters (data.max_text_characters)")
        frames.append(complete.with_columns(pl.col(Columns.TEXT).str.slice(0, data.max_text_characters)))
    for name in labels:
        if not any(name in frame.columns for frame in frames):
            hint = nearest(name, columns) or f"; columns: {', '.join(columns[:20])}"
            raise DataError(f"{', '.join(data.text_files()[:3])} has no column '{name}' that is a label of a task on texts{hint}")
    if not frames:
        return None
    texts = pl.concat(frames, how="diagonal_relaxed")
    for name in labels:
        account.add(f"labels of {name}", texts.height - texts[name].null_count(), f"of {texts.height:,} texts")
    return texts


def require_fields(items: Table | None, labels: Sequence[str], file: str | None) -> None:
    """Raises DataError for a label of a task on items that is no declared field of theirs."""
    for name in labels:
        if items is None:
            raise DataError(
                f"field '{name}' is a label of items, and there is no items table; say data.items: <file>, or leave the task out"
            )
        if name not in items.fields:
            hint = nearest(name, list(items.fields)) or f"; fields: {', '.join(items.fields) or 'none'}"
            raise DataError(
                f"items have no field '{name}' that is a label of a task{hint}; declare it: fields.items: {{{name}: <type>}} ({file})"
            )


def read_relations(data: DataConfig, folder: Path, *, account: Account) -> pl.DataFrame | None:
    """head, relation, tail (pl.String), each triple once; None without a relations table. Incomplete rows are dropped and counted."""
    if data.relations is None:
        return None
    frame = read_table(folder / data.relations, separator=data.separator, encoding=data.encoding)
    account.add("relations read", frame.height, data.relations)
    frame = canonical(frame, "relations", data.columns, data.relations)
    typed = pl.DataFrame([ids(frame[name], data.relations) for name in SCHEMAS["relations"].required])
    complete = typed.drop_nulls()
    account.add("relations dropped", typed.height - complete.height, f"{data.relations}: no head, relation or tail")
    distinct = complete.unique(maintain_order=True, keep="first")
    account.add("relations dropped", complete.height - distinct.height, f"{data.relations}: said before")
    return distinct
