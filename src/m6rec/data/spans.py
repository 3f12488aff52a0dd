"""Labels of words: spans of characters of a text, each with a label, read from JSON or from lists."""

from __future__ import annotations

import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.schema import more, shown


def read_spans(column: pl.Series, *, what: str, names: list[str] | None = None) -> tuple[pl.DataFrame, list[str]]:
    """Spans of labelled characters: `row`, `start`, `end` (Int64, end is exclusive), `label` (Int64 code), and the names of the labels.

    A cell holds a JSON list of {start, end, label}, or a list of such. A row without a label (null) has no span; so has an empty list,
    which says that nothing is to be found. Spans are in order of row and start.

    Raises:
        DataError: no JSON list of spans, an end before its start, overlapping spans, a label outside `names`.
    """
    span = pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String})
    rows = pl.int_range(len(column), eager=True)
    if isinstance(column.dtype, pl.List) and isinstance(column.dtype.inner, pl.Struct):
        missing = {"start", "end", "label"} - {field.name for field in column.dtype.inner.fields}
        if missing:
            raise DataError(f"{what}: spans have no {', '.join(sorted(missing))}; a span is {{start, end, label}} in characters")
        spans = column
    else:
        text = column.list.eval(pl.element().cast(pl.String)) if isinstance(column.dtype, pl.List) else column.cast(pl.String)
        if isinstance(text.dtype, pl.List):  # a list of JSON objects is a JSON list of them
            text = "[" + text.list.join(",") + "]"
        try:
            spans = text.set(text.str.strip_chars() == "", None).str.json_decode(pl.List(span))
        except pl.exceptions.PolarsError:
            raise DataError(
                f'{what}: {shown(_first(text))} is no list of spans; allowed is JSON like [{{"start": 0, "end": 5, "label": "brand"}}]'
            ) from None
    flat = pl.DataFrame({"row": rows, "span": spans.cast(pl.List(span), strict=False)}).explode("span").drop_nulls("span").unnest("span")
    wrong = flat.filter(pl.any_horizontal(pl.all().is_null()) | (pl.col("start") < 0) | (pl.col("end") <= pl.col("start")))
    if wrong.height:
        one = wrong.row(0, named=True)
        raise DataError(
            f"{what}: row {one['row'] + 1} has a span from {one['start']} to {one['end']} with label {one['label']}; "
            "a span is {start, end, label} with 0 <= start < end, in characters"
        )
    flat = flat.sort("row", "start", maintain_order=True)
    overlap = flat.filter((pl.col("start") < pl.col("end").shift(1)) & (pl.col("row") == pl.col("row").shift(1)))
    if overlap.height:
        one = overlap.row(0, named=True)
        raise DataError(
            f"{what}: row {one['row'] + 1} has overlapping spans at character {one['start']}; a character has one label at most"
        )
    found = sorted(flat["label"].unique().to_list()) if names is None else names
    return flat.with_columns(known_codes(flat["label"], found, what).cast(pl.Int64).alias("label")), found


def is_spans(text: pl.Series) -> bool:
    """Whether the first text that is there is JSON of spans."""
    if text.dtype != pl.String:
        return False
    known = text.drop_nulls().str.strip_chars()
    known = known.filter(~known.is_in(["", "[]"]))
    return known.len() > 0 and bool(known.head(1).str.contains(r'^\[?\s*\{\s*"(start|end|label)"').all())


def known_codes(text: pl.Series, names: list[str], what: str) -> pl.Series:
    """Int32: the place of every label in `names`, null where it is unknown. Raises DataError for one that `names` lacks."""
    known = pl.Series(names, dtype=pl.String)
    codes = text.replace_strict(known, pl.int_range(len(names), dtype=pl.Int32, eager=True), default=None, return_dtype=pl.Int32)
    wrong = text.is_not_null() & codes.is_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        allowed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise DataError(
            f"{what}: label {shown(text[row])} is not among the {len(names)} that are known ({allowed}){nearest(text[row], names)}{more(wrong)}; "
            "correct it, or train the task again on data that have it"
        )
    return codes


def _first(text: pl.Series) -> object:
    known = text.drop_nulls()
    return known[0] if known.len() else None
