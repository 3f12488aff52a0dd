"""Field types of undeclared columns, guessed from their names and contents.

In this order, on the values that are there (a column without any has no field):

1. a list column: numbers with a fraction and one length -> vector, else tags;
2. a name like title, name, text, description, plot -> text;
3. a name that ends in tags, genres, keywords, categories, features or _ids -> tags;
4. a name that is, or ends in, id, asin, isbn, sku, url, image, zip or code -> id;
5. numbers -> number; true/false -> category;
6. text with '|' in a tenth of its values -> tags;
7. text of four words or more on average, hardly ever repeated -> text;
8. text where a value stands for two rows or more on average, or a table of under twenty rows -> category;
9. what is left: several words -> text, one word -> id.
"""

from __future__ import annotations

import re

import polars as pl

from m6rec.data.fields import FieldType

TEXT_NAMES = re.compile(
    r"(^|_)(title|name|text|description|summary|overview|plot|content|body|headline|abstract|caption|synopsis|bio|about|标题|名称|描述|简介|内容)$"
)
TAG_NAMES = re.compile(r"(^|_)(tags?|genres?|keywords?|categories|features|actors|directors|ids|标签)$")
ID_NAMES = re.compile(r"(^|_)(id|asin|isbn|sku|ean|upc|url|uri|image|img|poster|zip|zipcode|postcode|code|hash)$")
EXAMINED = 10_000  # rows looked at


def guess_fields(frame: pl.DataFrame, id_column: str) -> dict[str, FieldType]:
    """Column -> type for every column but `id_column` that can be a field, in the order of the file."""
    guesses = {name: guess_type(frame[name].head(EXAMINED)) for name in frame.columns if name != id_column}
    return {name: kind for name, kind in guesses.items() if kind is not None}


def guess_type(series: pl.Series) -> FieldType | None:
    """The type of one column; None where it is empty or holds objects or dates."""
    series = series.drop_nulls()
    dtype, name = series.dtype, series.name.strip().lower()
    if isinstance(dtype, (pl.List, pl.Array)):
        return _list_type(series)
    if dtype == pl.String:
        series = series.str.strip_chars()
        series = series.filter(series != "")
    if series.len() == 0 or dtype.is_temporal() or dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Null):
        return None
    is_text = dtype == pl.String
    for pattern, kind in ((TEXT_NAMES, FieldType.TEXT), (TAG_NAMES, FieldType.TAGS)):
        if is_text and pattern.search(name):
            return kind
    if ID_NAMES.search(name):
        return FieldType.ID
    if dtype.is_numeric() or (is_text and series.cast(pl.Float64, strict=False).null_count() == 0):
        return FieldType.NUMBER
    if not is_text:
        return FieldType.CATEGORY
    return _text_type(series)


def _list_type(series: pl.Series) -> FieldType | None:
    inner = series.list.explode() if isinstance(series.dtype, pl.List) else series.arr.explode()
    if inner.drop_nulls().len() == 0 or inner.dtype.is_nested():
        return None
    lengths = (series.list.len() if isinstance(series.dtype, pl.List) else series.arr.len()).n_unique()
    return FieldType.VECTOR if inner.dtype.is_float() and lengths == 1 else FieldType.TAGS


def _text_type(series: pl.Series) -> FieldType:
    rows, distinct = series.len(), series.n_unique()
    words = series.str.count_matches(r"\S+").mean()
    several = isinstance(words, float) and words >= 1.5
    if series.str.contains("|", literal=True).sum() * 10 >= rows:
        return FieldType.TAGS
    if isinstance(words, float) and words >= 4 and distinct * 2 > rows:
        return FieldType.TEXT
    if distinct * 2 <= rows or rows < 20:
        return FieldType.CATEGORY
    return FieldType.TEXT if several else FieldType.ID
