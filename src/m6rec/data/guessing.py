"""Field types of undeclared columns, guessed from their names and contents, with the fact that decided.

In this order, on the values that are there (a column without any has no field):

1. a list column: numbers with a fraction and one length -> vector, else tags; text that is "[...]" throughout: the same;
2. a name like title, name, text, description, plot -> text;
3. a name that ends in tags, genres, keywords, categories, features or _ids -> tags;
4. a name that is, or ends in, id, asin, isbn, sku, url, image, zip or code -> id;
5. numbers: only 0 and 1, or a name that ends in type, class, gender, status, ... -> category, else number; true/false -> category;
6. text with '|' in a tenth of its values -> tags; or short parts cut by ';' or ',' in half of its values, the same ones again and again;
7. text of four words or more on average, hardly ever repeated -> text;
8. text where a value stands for two rows or more on average, or a table of under twenty rows -> category;
9. what is left: several words -> text, one word -> id.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from m6rec.data.fields import FieldType

TEXT_NAMES = re.compile(
    r"(^|_)(title|name|text|description|summary|overview|plot|content|body|headline|abstract|caption|synopsis|bio|about|标题|名称|描述|简介|内容)$"
)
TAG_NAMES = re.compile(r"(^|_)(tags?|genres?|keywords?|categories|features|actors|directors|ids|标签)$")
ID_NAMES = re.compile(r"(^|_)(id|asin|isbn|sku|ean|upc|url|uri|image|img|poster|zip|zipcode|postcode|code|hash)$")
CODE_NAMES = re.compile(r"(^|_)(type|class|group|gender|sex|category|status|occupation|country|city|language|tag|onehot_feat\d*)$")
EXAMINED = 10_000  # rows looked at
LISTED_WORDS = 3.0  # words of a part of a list, on average; more is a sentence
WORDS = r"[一-鿿]{1,2}|[^\s一-鿿]+"  # Chinese has no blanks: two characters are a word
NUMBERS = re.compile(r"[^\s,;|\[\]]+")

Guessed = tuple[FieldType | None, str]


def guess_fields(frame: pl.DataFrame, id_column: str) -> dict[str, FieldType]:
    """Column -> type for every column but `id_column` that can be a field, in the order of the file."""
    guesses = {name: guess_type(frame[name].head(EXAMINED)) for name in frame.columns if name != id_column}
    return {name: kind for name, kind in guesses.items() if kind is not None}


def guess_type(series: pl.Series) -> FieldType | None:
    """The type of one column; None where it is empty or holds objects or dates."""
    return explain_type(series)[0]


def explain_type(series: pl.Series) -> Guessed:
    """The type of one column and the fact that decided."""
    series = series.drop_nulls()
    dtype, name = series.dtype, series.name.strip().lower()
    if isinstance(dtype, (pl.List, pl.Array)):
        return _list_type(series)
    if dtype == pl.String:
        series = series.str.strip_chars()
        series = series.filter(series != "")
    if series.len() == 0 or dtype == pl.Null:
        return None, "it is empty"
    if dtype.is_temporal() or dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return None, f"it holds {'dates' if dtype.is_temporal() else 'objects'}"
    is_text = dtype == pl.String
    if is_text and bool((series.str.starts_with("[") & series.str.ends_with("]")).all()):
        return _bracketed_type(series)
    for pattern, kind in ((TEXT_NAMES, FieldType.TEXT), (TAG_NAMES, FieldType.TAGS)):
        if is_text and pattern.search(name):
            return kind, f"by its name; {_example(series)}"
    if ID_NAMES.search(name):
        return FieldType.ID, f"by its name; {_example(series)}"
    if dtype.is_numeric() or (is_text and series.cast(pl.Float64, strict=False).null_count() == 0):
        return _number_type(series, name)
    if not is_text:
        return FieldType.CATEGORY, f"{series.n_unique()} different values"
    return _text_type(series)


def _list_type(series: pl.Series) -> Guessed:
    inner = series.list.explode() if isinstance(series.dtype, pl.List) else series.arr.explode()
    if inner.drop_nulls().len() == 0 or inner.dtype.is_nested():
        return None, "it holds empty lists or objects"
    lengths = (series.list.len() if isinstance(series.dtype, pl.List) else series.arr.len()).n_unique()
    if inner.dtype.is_float() and lengths == 1:
        return FieldType.VECTOR, "lists of numbers, all of one length"
    return FieldType.TAGS, f"lists, {inner.n_unique():,} different entries"


def _bracketed_type(series: pl.Series) -> Guessed:
    """Lists written as text."""
    words = series.head(200).str.extract_all(NUMBERS.pattern)
    entries = words.explode()
    numeric = entries.len() > 0 and entries.cast(pl.Float64, strict=False).null_count() == 0
    if numeric and words.list.len().n_unique() == 1 and entries.str.contains(".", literal=True).any():
        return FieldType.VECTOR, "text like [0.1, 0.2], all of one length"
    return FieldType.TAGS, f"lists written as text; {_example(series)}"


def _number_type(series: pl.Series, name: str) -> Guessed:
    numbers = series.cast(pl.Float64, strict=False).to_numpy()
    distinct = len(np.unique(numbers))
    if distinct == 2 and bool(np.isin(numbers, (0.0, 1.0)).all()):
        return FieldType.CATEGORY, "only 0 and 1"
    if CODE_NAMES.search(name) and distinct * 2 <= len(numbers):
        return FieldType.CATEGORY, f"{distinct:,} different numbers under a name that says codes"
    return FieldType.NUMBER, f"numbers from {numbers.min():g} to {numbers.max():g}"


def _text_type(series: pl.Series) -> Guessed:
    rows, distinct = series.len(), series.n_unique()
    words = series.str.count_matches(WORDS).mean()
    mean = words if isinstance(words, float) else 0.0
    barred = int(series.str.contains("|", literal=True).sum())
    if barred * 10 >= rows:
        return FieldType.TAGS, f"'|' in {barred / rows:.0%} of the values"
    for mark in (";", ","):
        if _is_list(series, mark):
            return FieldType.TAGS, f"the same short parts again and again, cut by '{mark}'"
    if mean >= 4 and distinct * 2 > rows:
        return FieldType.TEXT, f"{mean:.0f} words on average, hardly ever the same"
    if distinct * 2 <= rows or rows < 20:
        return FieldType.CATEGORY, f"{distinct:,} different values in {rows:,} rows"
    if mean >= 1.5:
        return FieldType.TEXT, f"{mean:.1f} words on average, {distinct:,} different values"
    return FieldType.ID, f"{distinct:,} different single words in {rows:,} rows"


def _is_list(series: pl.Series, mark: str) -> bool:
    cut = series.filter(series.str.contains(mark, literal=True) & ~series.str.contains(r"[\[\](){}<>]"))  # "[10,20)" is a range
    if cut.len() * 2 < series.len() or cut.len() < 10:
        return False
    parts = cut.str.split(mark).explode().str.strip_chars()
    words = parts.str.count_matches(r"\S+").mean()
    return isinstance(words, float) and words <= LISTED_WORDS and parts.n_unique() * 2 <= parts.len()


def _example(series: pl.Series) -> str:
    text = " ".join(str(series[0]).split())
    return f"for example '{text[:37] + '...' if len(text) > 40 else text}'"
