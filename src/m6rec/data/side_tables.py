"""Texts and relations: read and checked now, used by tasks that write and by knowledge later."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig
from m6rec.data.readers import read_table, table_stem
from m6rec.data.schema import SCHEMAS, canonical, ids, words
from m6rec.data.times import to_seconds


def read_texts(data: DataConfig, folder: Path, *, account: Account) -> pl.DataFrame | None:
    """kind, user_id, item_id, text, lang (pl.String, null unknown) and time (float64 seconds); None without a texts table.

    A file without a `kind` column gives its own name as the kind. Rows without text are dropped and counted.
    """
    frames = []
    for file in data.text_files():
        frame = read_table(folder / file, separator=data.separator, encoding=data.encoding)
        account.add("texts read", frame.height, file)
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
        complete = pl.DataFrame([typed[name].alias(name) for name in order]).drop_nulls(Columns.TEXT)
        account.add("texts dropped", frame.height - complete.height, f"{file}: no text")
        long = int((complete[Columns.TEXT].str.len_chars() > data.max_text_characters).sum())
        account.add("texts cut", long, f"{file}: longer than {data.max_text_characters:,} characters (data.max_text_characters)")
        frames.append(complete.with_columns(pl.col(Columns.TEXT).str.slice(0, data.max_text_characters)))
    return pl.concat(frames) if frames else None


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
