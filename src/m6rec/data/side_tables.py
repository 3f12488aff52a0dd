"""Texts, relations and known questions: read and checked here, used by tasks that judge and write, by knowledge and by conversations."""

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
from m6rec.data.readers import FILES_READ, file_kind, read_table, require_file, table_stem
from m6rec.data.schema import SCHEMAS, canonical, id_values, ids, words
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
    typed = pl.DataFrame([id_values(frame[name], data.relations) for name in SCHEMAS["relations"].required])
    complete = typed.drop_nulls()
    account.add("relations dropped", typed.height - complete.height, f"{data.relations}: no head, relation or tail")
    distinct = complete.unique(maintain_order=True, keep="first")
    account.add("relations dropped", complete.height - distinct.height, f"{data.relations}: said before")
    return distinct


def read_faq(data: DataConfig, folder: Path, *, account: Account) -> pl.DataFrame | None:
    """question, answer, lang (pl.String; lang null unknown); None without a file. Rows without question or answer are dropped and counted.

    Several rows may have one answer: each is another way to ask for it.
    """
    if data.faq is None:
        return None
    frames = [faq_table(folder / file, separator=data.separator, encoding=data.encoding, columns=data.columns) for file in data.faq_files()]
    for file, (_, dropped) in zip(data.faq_files(), frames, strict=True):
        account.add("questions dropped", dropped, f"{file}: no question or no answer")
    faq = pl.concat([frame for frame, _ in frames])
    account.add("known questions", faq.height, ", ".join(data.faq_files()))
    return faq


def faq_table(
    path: Path, *, separator: str | None = None, encoding: str = "utf-8", columns: dict[str, str] | None = None
) -> tuple[pl.DataFrame, int]:
    """One file of known questions as `read_faq` gives them, and how many rows were dropped. Raises DataError."""
    require_file(path)
    file_kind(path)
    try:
        frame = canonical(read_table(path, separator=separator, encoding=encoding), "faq", columns or {}, path.name)
    except DataError as error:
        raise DataError(f"{error}; known questions are a table with columns question and answer: {FILES_READ}") from None
    typed = [words(frame[name], path.name).alias(name) for name in SCHEMAS["faq"].required]
    lang = words(frame[Columns.LANG], path.name) if Columns.LANG in frame.columns else pl.Series([None] * frame.height, dtype=pl.String)
    found = pl.DataFrame([*typed, lang.alias(Columns.LANG)])
    complete = found.drop_nulls([Columns.QUESTION, Columns.ANSWER])
    if not complete.height:
        raise DataError(f"{path.name} has no row with a question and an answer; give columns question and answer")
    return complete, found.height - complete.height


def with_dialogues(texts: pl.DataFrame | None, replies: pl.DataFrame) -> pl.DataFrame:
    """The texts, and what assistants said in dialogues."""
    return replies if texts is None else pl.concat([texts, replies], how="diagonal_relaxed")
