"""The canonical tables: which columns each needs and knows, and how a file's column becomes a checked one.

A wrong cell is named by its row: row 1 is the first row after the header.

events     user_id, item_id, time or order; action, scenario, value and others if present
items      item_id and the declared fields                users  user_id and the declared fields
texts      text; kind, user_id, item_id, lang, time, split       relations  head, relation, tail       faq  question, answer; lang
exposures  user_id, item_id, time or order; scenario, position, propensity, list_id, split, label columns, context
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from m6rec.base.arguments import CONTROLS, NO_CONTROLS
from m6rec.base.errors import SHOWN as SHOWN
from m6rec.base.errors import DataError, nearest
from m6rec.base.errors import shown as shown
from m6rec.data.columns import Columns

MISSING = ("", "NaN", "nan")  # text that means "nothing here" in an id
MISSING_NUMBERS = (*MISSING, "NA", "N/A", "null", "NULL", "None")  # and in a number or a time


@dataclass(frozen=True)
class Schema:
    """Columns a table must have and those it may have."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        return self.required + self.optional


SCHEMAS = {
    "events": Schema((Columns.USER, Columns.ITEM), (Columns.TIME, Columns.ORDER, Columns.SCENARIO, Columns.ACTION, Columns.VALUE)),
    "exposures": Schema(
        (Columns.USER, Columns.ITEM),
        (
            *(Columns.TIME, Columns.ORDER, Columns.SCENARIO, Columns.ACTION, Columns.VALUE),
            *(Columns.POSITION, Columns.PROPENSITY, Columns.LIST, Columns.SPLIT),
        ),
    ),
    "items": Schema((Columns.ITEM,)),
    "users": Schema((Columns.USER,)),
    "texts": Schema((Columns.TEXT,), (Columns.KIND, Columns.USER, Columns.ITEM, Columns.LANG, Columns.TIME, Columns.SPLIT)),
    "relations": Schema((Columns.HEAD, Columns.RELATION, Columns.TAIL)),
    "faq": Schema((Columns.QUESTION, Columns.ANSWER), (Columns.LANG,)),
}


def canonical(frame: pl.DataFrame, table: str, columns: dict[str, str], source: str) -> pl.DataFrame:
    """`frame` with the columns of `table` under their canonical names; other columns stay as they are.

    columns: canonical name, or `table.name` (which goes first) -> the file's column. A mapped column that this file lacks falls
    back to the canonical name: one mapping may serve several tables.

    Raises:
        DataError: a required column is not there; the nearest one is named.
    """
    for name in SCHEMAS[table].known:
        column = columns.get(f"{table}.{name}", columns.get(name, name))
        if column != name and column in frame.columns:
            frame = frame.drop(name, strict=False).rename({column: name})
        elif (f"{table}.{name}" in columns and column not in frame.columns) or (
            name not in frame.columns and name in SCHEMAS[table].required
        ):
            raise no_column(frame, column, source, f"for {name}; say columns: {{{name}: <its column>}}")
    return frame


def no_column(frame: pl.DataFrame, column: str, source: str, purpose: str) -> DataError:
    """The error for a column that is not there."""
    hint = nearest(column, frame.columns) or f"; columns: {', '.join(frame.columns[:20])}"
    return DataError(f"{source} has no column '{column}' {purpose}{hint}")


def ids(series: pl.Series, source: str) -> pl.Series:
    """External ids of users and items as pl.String, as `id_values` reads them.

    Raises:
        DataError: the column holds lists, objects or times, or an id has a control character.
    """
    return without_controls(id_values(series, source), source)


def names(series: pl.Series, source: str) -> pl.Series:
    """Names of scenarios and actions as pl.String, as `words` reads them. Raises DataError as `ids` does."""
    return without_controls(words(series, source), source)


def without_controls(series: pl.Series, source: str) -> pl.Series:
    """The same, if nothing in it holds a control character. Raises DataError, naming the first row."""
    if series.dtype == pl.String:
        wrong = series.str.contains(f"[{CONTROLS}]").fill_null(False)
        if wrong.any():
            row = int(wrong.arg_true()[0])
            raise DataError(f"{source}: row {row + 1}: {series.name} is {shown(series[row])}{more(wrong)}; {NO_CONTROLS}")
    return series


def id_values(series: pl.Series, source: str) -> pl.Series:
    """Values as pl.String; blank, "NaN" and NaN are null; 7 and 7.0 are both "7" (a missing value turns integers to floats).

    Raises:
        DataError: the column holds lists, objects or times.
    """
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        return text.set(text.is_in(MISSING), None)
    if series.dtype.is_float():
        series = series.fill_nan(None)
        whole = series.drop_nulls()
        integral = bool((whole == whole.round()).all()) and bool((whole.abs() < 2**63).all())
        return (series.cast(pl.Int64) if integral else series).cast(pl.String)
    if series.dtype.is_integer() or series.dtype in (pl.Boolean, pl.Categorical, pl.Enum, pl.Null):
        return series.cast(pl.String)
    raise DataError(f"{source}: column '{series.name}' holds {series.dtype}, not ids; text or integers are allowed")


def numbers(series: pl.Series, source: str) -> pl.Series:
    """pl.Float64; blank and NaN are null.

    Raises:
        DataError: something that is not a finite number, with its row and value.
    """
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        text = text.set(text.is_in(MISSING_NUMBERS), None)
        found = text.cast(pl.Float64, strict=False)
        _refuse(series, text.is_not_null() & found.is_null(), source, "a number")
    elif series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null):
        found = series.cast(pl.Float64)
    elif series.dtype in (pl.Categorical, pl.Enum):
        return numbers(series.cast(pl.String), source)
    else:
        raise DataError(f"{source}: column '{series.name}' holds {series.dtype}, not numbers")
    found = found.fill_nan(None)
    _refuse(series, found.is_infinite(), source, "a finite number")
    return found


def orders(series: pl.Series, source: str) -> pl.Series:
    """pl.Int64 where all are whole, else pl.Float64; blank and NaN are null. Raises DataError as `numbers` does."""
    if series.dtype.is_integer():
        return series.cast(pl.Int64, strict=False)
    if series.dtype == pl.String:  # straight to integers: 64-bit orders do not fit a float
        text = series.str.strip_chars()
        text = text.set(text.is_in(MISSING_NUMBERS), None)
        whole = text.cast(pl.Int64, strict=False)
        if whole.null_count() == text.null_count():
            return whole
    return numbers(series, source)


def words(series: pl.Series, source: str) -> pl.Series:
    """Any scalar column as text, stripped; blank is null; whole floats lose their ".0". Raises DataError for lists and objects."""
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        return text.set(text == "", None)
    if series.dtype.is_temporal():
        return series.cast(pl.String)
    return id_values(series, source)


def _refuse(series: pl.Series, wrong: pl.Series, source: str, wanted: str) -> None:
    wrong = wrong.fill_null(False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(f"{source}: row {row + 1}: {series.name} is {shown(series[row])}, not {wanted}{more(wrong)}")


def more(wrong: pl.Series) -> str:
    others = int(wrong.sum()) - 1
    return f" (and {others:,} more)" if others else ""
