"""Columns of exposures: from a raw frame of files to checked, typed ones, the same for exposure files and for events with labels.

Inside, a label column is called `label:NAME` and a context field `context:NAME`: a label may be called as a canonical column is
(`value`, `action`) without being one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig, FieldsConfig
from m6rec.data.fields import FieldType
from m6rec.data.schema import MISSING_NUMBERS, canonical, id_values, more, numbers, shown, words
from m6rec.data.tables import field_column

LABEL, CONTEXT = "label:", "context:"
ROW_COLUMNS = (Columns.POSITION, Columns.PROPENSITY, Columns.LIST, Columns.SPLIT)
PARTS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "valid", "val", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}


@dataclass(frozen=True)
class Wanted:
    """What tasks ask of the exposures: names of label columns, and the declared context."""

    labels: tuple[str, ...] = ()
    context: dict[str, FieldType] = field(default_factory=dict)

    @classmethod
    def of(cls, data: DataConfig, fields: FieldsConfig, labels: Collection[str]) -> Wanted:
        """Labels in the order named, those of `data.history_labels` too.

        Raises:
            DataError: a label is declared as context too, which would give the answer away.
        """
        names = tuple(dict.fromkeys([*labels, *data.history_labels]))
        for name in names:
            if name in fields.context:
                raise DataError(
                    f"column '{name}' is a label and declared under fields.context: the answer would be known; take it out of fields.context"
                )
        return cls(names, {name: FieldType(kind) for name, kind in fields.context.items()})


def exposure_columns(frame: pl.DataFrame, file: str, wanted: Wanted, data: DataConfig) -> dict[str, pl.Series]:
    """Labels, context, position, propensity, list_id and split of `frame`, as far as it has them, typed and under their inner names.

    Args:
        frame: as read from the file, columns under the file's own names. A label is named so, or by its canonical name.

    Raises:
        DataError: a wrong cell: a propensity outside 0..1, a part of no known name, a label that is no scalar or list.
    """
    renamed = canonical(frame, "exposures", data.columns, file)
    columns: dict[str, pl.Series] = {}
    for name in wanted.labels:
        column = next((table[name] for table in (renamed, frame) if name in table.columns), None)
        if column is not None:
            columns[LABEL + name] = label_column(column, file).alias(LABEL + name)
    for name, kind in wanted.context.items():
        if name in frame.columns:
            columns[CONTEXT + name] = field_column(frame[name], kind, file, data.tags_separator).alias(CONTEXT + name)
    if Columns.POSITION in renamed.columns:
        columns[Columns.POSITION] = numbers(renamed[Columns.POSITION], file)
    if Columns.PROPENSITY in renamed.columns:
        columns[Columns.PROPENSITY] = _propensities(renamed[Columns.PROPENSITY], file)
    if Columns.LIST in renamed.columns:
        columns[Columns.LIST] = id_values(renamed[Columns.LIST], file)
    if Columns.SPLIT in renamed.columns:
        columns[Columns.SPLIT] = part_codes(renamed[Columns.SPLIT], file)
    return columns


def require_columns(wanted: Wanted, typed: list[pl.DataFrame], raw: list[list[str]], files: list[str], *, exposure_files: bool) -> None:
    """Raises DataError for a label or context column that none of the files has; `typed` has inner names, `raw` are those of the files."""
    inner = {name for frame in typed for name in frame.columns}
    known = list(dict.fromkeys(name for names in raw for name in names))
    for prefix, names, what in (
        (LABEL, wanted.labels, "that is a label of a task"),
        (CONTEXT, wanted.context, "declared in fields.context"),
    ):
        for name in names:
            if prefix + name not in inner:
                where = f"{files[0]} has no" if len(files) == 1 else f"none of {', '.join(files[:3])} has a"
                advice = "" if exposure_files else "; if outcomes are in a file of their own say data.exposures: <file>"
                raise DataError(f"{where} column '{name}' {what}{nearest(name, known)}{advice}")


def label_column(series: pl.Series, source: str) -> pl.Series:
    """A column of labels in its canonical dtype: Float64 (null unknown) for booleans, numbers and text that is all numbers; String; or
    List(String). Blank is unknown.

    Raises:
        DataError: dates or objects.
    """
    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    if isinstance(series.dtype, pl.List):
        if isinstance(series.dtype.inner, pl.Struct):  # spans of characters, as JSON
            return series.list.eval(pl.element().struct.json_encode())
        if not series.dtype.inner.is_nested():
            return series.cast(pl.List(pl.String))
    elif series.dtype == pl.Boolean or series.dtype.is_numeric():
        return numbers(series, source)
    elif series.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        text = words(series.cast(pl.String), source)
        text = text.set(text.is_in(MISSING_NUMBERS).fill_null(False), None)
        found = text.cast(pl.Float64, strict=False)
        # Codes like 007 are names.
        numeric = found.null_count() == text.null_count() and not text.str.contains(r"^-?0\d").any() and not found.is_infinite().any()
        return found.fill_nan(None) if numeric else text
    raise DataError(f"{source}: column '{series.name}' holds {series.dtype}, not labels; numbers, text or lists of text are allowed")


def part_codes(series: pl.Series, source: str) -> pl.Series:
    """Int8: 0 training, 1 validation, 2 test.

    Raises:
        DataError: a blank cell or another word.
    """
    text = words(series, source).str.to_lowercase()
    codes = text.replace_strict(pl.Series(list(PARTS)), pl.Series(list(PARTS.values()), dtype=pl.Int8), default=None, return_dtype=pl.Int8)
    wrong = codes.is_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            f"{source}: row {row + 1}: {series.name} is {shown(series[row])}{more(wrong)}; allowed are train, validation and test"
        )
    return codes


def _propensities(series: pl.Series, file: str) -> pl.Series:
    found = numbers(series, file)
    wrong = ((found <= 0) | (found > 1)).fill_null(False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            f"{file}: row {row + 1}: {series.name} is {shown(series[row])}{more(wrong)}; a propensity is a probability above 0 and at most 1"
        )
    return found
