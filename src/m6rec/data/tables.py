"""Items and users: raw columns to typed fields, one row an entity. The same checks serve `prepare` and items added later."""

from __future__ import annotations

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.dataset import Table, Vocabulary
from m6rec.data.fields import FieldType
from m6rec.data.schema import id_values, ids, more, no_column, numbers, shown, words

TAG_SEPARATORS = ("|", ";", ",")
DTYPES: dict[FieldType, pl.DataType] = {
    FieldType.TEXT: pl.String(),
    FieldType.CATEGORY: pl.String(),
    FieldType.ID: pl.String(),
    FieldType.TAGS: pl.List(pl.String),
    FieldType.NUMBER: pl.Float64(),
    FieldType.VECTOR: pl.List(pl.Float32),
}


def frame_to_table(
    frame: pl.DataFrame,
    fields: dict[str, FieldType],
    id_column: str,
    *,
    source: str = "table",
    partial: bool = False,
    missing: str = "error",
    tags_separator: str | None = None,
    max_text_characters: int = 20_000,
    account: Account | None = None,
) -> Table:
    """Checked table; its frame holds `id_column` first, then the declared fields with their canonical dtypes.

    Args:
        partial: declared fields that `frame` lacks are missing for every row, instead of an error.
        missing: `drop` leaves rows without an id out and counts them, `error` refuses them.
        account: what was dropped or cut is written here.

    Raises:
        DataError: no id column, a missing declared column, a wrong cell, one id with two different contents.
    """
    account = Account() if account is None else account
    if id_column not in frame.columns:
        raise no_column(frame, id_column, source, f"for {id_column}; say columns: {{{id_column}: <its column>}}")
    typed = {id_column: ids(frame[id_column], source)}
    for name, kind in fields.items():
        if name not in frame.columns:
            if not partial:
                raise no_column(frame, name, source, f"that is declared as a field ({kind})")
            typed[name] = empty_column(name, kind, frame.height)
            continue
        typed[name] = field_column(frame[name], kind, source, tags_separator)
        if kind == FieldType.TEXT:
            typed[name] = _capped(typed[name], max_text_characters, source, account)
    canonical = pl.DataFrame(typed)
    canonical = _with_ids(canonical, id_column, source, missing, account)
    canonical = _without_repeats(canonical, id_column, source, account)
    return Table(ids=Vocabulary(canonical[id_column].to_list()), frame=canonical, fields=dict(fields))


def field_column(series: pl.Series, kind: FieldType, source: str, tags_separator: str | None = None) -> pl.Series:
    """One column in the canonical dtype of its type. Raises DataError naming row and value."""
    if kind == FieldType.NUMBER:
        return numbers(series, source)
    if kind == FieldType.TAGS:
        return tags(series, source, tags_separator)
    if kind == FieldType.VECTOR:
        return vectors(series, source)
    if isinstance(series.dtype, (pl.List, pl.Array)) and kind == FieldType.TEXT:  # paragraphs
        return words(tags(series, source, tags_separator).list.join(" "), source)
    return id_values(series, source) if kind == FieldType.ID else words(series, source)


def empty_column(name: str, kind: FieldType, rows: int) -> pl.Series:
    """A field that nothing is known of."""
    nothing: list[object] = [[] if kind == FieldType.TAGS else None] * rows
    return pl.Series(name, nothing, dtype=DTYPES[kind])


def tags(series: pl.Series, source: str, separator: str | None = None) -> pl.Series:
    """pl.List(pl.String) without blanks or repeats; missing is an empty list.

    Text is cut by `separator`, or else by the first of | ; , blank that the column uses; text like "[a, b]" is a list.
    """
    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    if isinstance(series.dtype, pl.List):
        if series.dtype.inner.is_nested():
            raise DataError(f"{source}: column '{series.name}' holds {series.dtype}, not tags; a list of text is allowed")
        inner = pl.element().cast(pl.String).str.strip_chars()
        cut = series.list.eval(inner)
    else:
        text = words(series, source)
        known = text.drop_nulls()
        bracketed = known.len() > 0 and bool((known.str.starts_with("[") & known.str.ends_with("]")).all())
        if bracketed:
            text = text.str.strip_chars("[]")
            separator = separator or ","
        if separator is None:
            separator = next((mark for mark in TAG_SEPARATORS if known.str.contains(mark, literal=True).any()), " ")
        cut = text.str.split(separator).list.eval(pl.element().str.strip_chars(" \t'\"" if bracketed else None))
    clean = cut.list.eval(pl.element().filter(pl.element().is_not_null() & (pl.element() != ""))).list.unique(maintain_order=True)
    return clean.fill_null(pl.Series([[]], dtype=pl.List(pl.String))).cast(pl.List(pl.String)).alias(series.name)


def vectors(series: pl.Series, source: str) -> pl.Series:
    """pl.List(pl.Float32), all of one length, finite; missing is null. Text like "0.1 0.2" or "[0.1, 0.2]" is read.

    Raises:
        DataError: another length than the first row's, or something that is no number.
    """
    name = series.name
    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    elif series.dtype == pl.String:
        text = series.str.strip_chars(" \t[]")
        series = text.set(text == "", None).str.extract_all(r"[^\s,;|]+")
    if not isinstance(series.dtype, pl.List) or series.dtype.inner.is_nested():
        raise DataError(f"{source}: column '{name}' holds {series.dtype}, not vectors; a list of numbers of one length is allowed")
    found = series.cast(pl.List(pl.Float32), strict=False)
    finite = found.list.eval(pl.element().is_finite().fill_null(False)).list.all().fill_null(True)
    lengths = found.list.len()
    known = lengths.drop_nulls()
    wrong = ~finite | (lengths != (known[0] if known.len() else 0)).fill_null(False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        reason = f"{known[0]} numbers as in the first row" if finite[row] else "finite numbers"
        raise DataError(f"{source}: row {row + 1}: {name} is {shown(series[row].to_list())}, not {reason}{more(wrong)}")
    return found.alias(name)


def _capped(text: pl.Series, limit: int, source: str, account: Account) -> pl.Series:
    long = int((text.str.len_chars() > limit).sum())
    account.add("texts cut", long, f"{source}: {text.name} is longer than {limit:,} characters (data.max_text_characters)")
    return text.str.slice(0, limit).str.strip_chars_end() if long else text


def _with_ids(frame: pl.DataFrame, id_column: str, source: str, missing: str, account: Account) -> pl.DataFrame:
    without = frame[id_column].is_null()
    if not without.any():
        return frame
    if missing == "error":
        raise DataError(f"{source}: row {int(without.arg_true()[0]) + 1} has no {id_column}{more(without)}; every row needs one")
    account.add(f"{source} rows dropped", int(without.sum()), f"no {id_column}")
    return frame.filter(~without)


def _without_repeats(frame: pl.DataFrame, id_column: str, source: str, account: Account) -> pl.DataFrame:
    distinct = frame.unique(maintain_order=True, keep="first")
    account.add(f"{source} rows dropped", frame.height - distinct.height, "the same row again")
    if distinct[id_column].n_unique() == distinct.height:
        return distinct
    twice = distinct.filter(pl.col(id_column).is_duplicated())
    first = twice[id_column][0]
    one, other = twice.filter(pl.col(id_column) == first).head(2).to_dicts()
    field = next(name for name in one if one[name] != other[name])
    raise DataError(
        f"{source}: {id_column} '{first}' stands for different rows: {field} is {shown(one[field])} and {shown(other[field])}; "
        "keep one row for each id"
    )
