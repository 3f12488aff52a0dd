"""Label columns to numbers: what kind of label a column holds, which values mean yes, and what can't be learned from.

Dimension keys: X rows, C classes or tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.schema import MISSING_NUMBERS, more, shown
from m6rec.data.spans import is_spans, known_codes, read_spans

LabelKind = Literal["binary", "classes", "tags", "number", "ordinal", "tokens"]
YES = ("1", "true", "yes", "y", "t", "是")
NO = ("0", "false", "no", "n", "f", "否")
MOST_LEVELS = 11  # whole numbers with so many values or fewer are levels (0 to 10 points), with more an amount
MOST_CLASSES = 10_000  # more of them are ids
NEARLY_ALL, FEWEST = 0.95, 20  # a column is of yes and no if so large a share of so many known rows is, and the rest is a mistake
SEPARATORS = ("|", ";")  # of tags in one text; a comma or a blank is also a part of ordinary names
CONDITION = re.compile(r"\s*(>=|<=|==|!=|=|>|<)\s*(\S.*?)\s*$")


@dataclass(frozen=True)
class Labels:
    """One column of labels as numbers.

    binary   values float32 (X,): 0, 1 or NaN (unknown); names ["no", "yes"]
    classes  values float32 (X,): code of `names`, NaN unknown; names in alphabetical order (in order of size where all are numbers)
    ordinal  values float32 (X,): code of `names`, the levels from low to high; NaN unknown
    number   values float32 (X,): the number, NaN unknown; no names
    tags     values float32 (X, C): 0 or 1, a row of NaN where unknown; names in alphabetical order
    tokens   values float32 (X,): how many spans the row has, NaN unknown; names of the spans' labels; spans as `read_spans` gives them
    """

    kind: LabelKind
    names: list[str]
    values: np.ndarray
    spans: pl.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def known(self) -> np.ndarray:
        """bool (X,): rows that have a label."""
        return ~np.isnan(self.values if self.values.ndim == 1 else self.values[:, :1].sum(axis=1))

    def level_values(self) -> np.ndarray:
        """float32 (C,): the numbers that the levels of an ordinal label stand for."""
        return np.array([float(name) for name in self.names], dtype=np.float32)


def read_labels(
    column: pl.Series,
    kind: str | None = None,
    positive: str | None = None,
    *,
    what: str,
    names: list[str] | None = None,
    check: bool = True,
) -> Labels:
    """The labels of `column`: booleans, numbers, text, or lists of text; null, NaN and blank are unknown.

    Args:
        kind: a `LabelKind`; None: binary where `positive` is given, else by what the column holds (see `guess_kind`).
        positive: binary: which values mean yes: a comparison with a number (">=4", "<2", "!=0") or words ("buy", "buy|cart").
        what: the task and the column, as messages call them, e.g. "task click, column 'clicked'".
        names: the set of labels where it is settled already (a trained option); None: what the column holds.
        check: whether labels that nothing can be learned from are refused; False for rows to be judged or measured.

    Raises:
        DataError: no label is known; a value outside the set, or one that is neither yes nor no among values that nearly all are; checked:
            no positive (or no other) row, one class only, a class with one row, one number only.
    """
    kind = ("binary" if positive is not None else guess_kind(column)) if kind is None else kind
    if kind not in get_args(LabelKind):
        raise DataError(
            f"{what}: there is no kind of label '{kind}'{nearest(kind, get_args(LabelKind))}; kinds: {', '.join(get_args(LabelKind))}"
        )
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if check and column.null_count() == len(column):
        raise DataError(f"{what}: none of {len(column):,} rows has a label; check the name of the column, or leave the task out")
    if kind == "binary":
        labels = _binary(column, positive, what, check)
    elif kind == "tags":
        labels = _tags(column, what, names)
    elif kind == "tokens":
        labels = _tokens(column, what, names)
    elif kind == "number":
        labels = Labels("number", [], _numbers(column, what))
    else:
        labels = _classes(column, kind, what, names)
    if check:
        _refuse_unlearnable(labels, column, positive, what)
    return labels


def guess_kind(column: pl.Series) -> LabelKind:
    """What kind of labels a column seems to hold.

    Booleans, 0 and 1, yes and no: binary, also where a few other values stand among them (`read_labels` refuses these). Lists: tags (of
    spans: tokens). Whole numbers of 3 to 11 values: ordinal; other numbers: number. Text with | or ; in it: tags; JSON of spans: tokens;
    other text: classes.
    """
    if isinstance(column.dtype, (pl.List, pl.Array)):
        inner = column.dtype.inner
        return "tokens" if isinstance(inner, pl.Struct) or is_spans(column.explode()) else "tags"
    if column.dtype == pl.Boolean:
        return "binary"
    text = _plain(column).drop_nulls()
    found = text.cast(pl.Float64, strict=False)
    if _nearly_yes_or_no(text, found):
        return "binary"
    if text.len() and found.null_count() == 0:
        whole = bool((found == found.floor()).all())
        return "ordinal" if whole and 3 <= found.n_unique() <= MOST_LEVELS else "number"
    if is_spans(text):
        return "tokens"
    return "tags" if any(text.str.contains(mark, literal=True).any() for mark in SEPARATORS) else "classes"


def _nearly_yes_or_no(text: pl.Series, numbers: pl.Series) -> bool:
    """Whether known values are yes and no, all or but for a few mistakes.

    Ratings of which nearly all are 1 never say 0, and amounts of which nearly all are 0 are seldom 1: where all are numbers, no answer
    may be rarer than the mistakes.
    """
    words = _answer_words(text)
    yes, no = (int((words.is_in(said) | (numbers == value).fill_null(False)).sum()) for said, value in ((YES, 1), (NO, 0)))
    others = len(words) - yes - no
    if not others:
        return len(words) > 0
    if len(words) < FEWEST or yes + no < NEARLY_ALL * len(words):
        return False
    return min(yes, no) >= (others if numbers.null_count() == 0 else 1)


def _answer_words(text: pl.Series) -> pl.Series:
    """Yes and no in lower case; "1.0" is what a missing value makes of a 1 in a CSV file."""
    return text.str.to_lowercase().str.replace(r"^([01])\.0+$", "${1}")


def _plain(column: pl.Series) -> pl.Series:
    """Scalars as text, booleans and whole floats as people write them; null where blank or unknown."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        known = column.drop_nulls()
        if bool((known == known.floor()).all()) and bool((known.abs() < 2**53).all()):
            column = column.cast(pl.Int64)
    text = column.cast(pl.String).str.strip_chars()
    return text.set(text.is_in(MISSING_NUMBERS).fill_null(False), None)


def _numbers(column: pl.Series, what: str) -> np.ndarray:
    text = _plain(column)
    found = column.cast(pl.Float64) if column.dtype.is_numeric() else text.cast(pl.Float64, strict=False)
    wrong = (text.is_not_null() & found.is_null()) | found.is_infinite().fill_null(False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            f"{what}: row {row + 1} is {shown(column[row])}, not a finite number{more(wrong)}; say kind: classes if these are names"
        )
    return found.fill_null(float("nan")).to_numpy().astype(np.float32)


def _refuse_unseen(wanted: list[str], text: pl.Series, what: str) -> None:
    """Raises DataError for a word of `positive` that no row has: most likely it is misspelt."""
    found = text.drop_nulls().unique(maintain_order=True).to_list()
    for word in wanted:
        if word not in found:
            hint = nearest(word, found) or f"; values: {', '.join(found[:10])}{', ...' if len(found) > 10 else ''}"
            raise DataError(f"{what}: positive names {word!r}, which no row has{hint}")


def _binary(column: pl.Series, positive: str | None, what: str, check: bool) -> Labels:
    if isinstance(column.dtype, (pl.List, pl.Array, pl.Struct)):
        raise DataError(f"{what}: the column holds {column.dtype}, which is neither yes nor no; say kind: tags")
    if positive is None:
        return Labels("binary", ["no", "yes"], _yes_or_no(column, what))
    text = _plain(column)
    condition = CONDITION.match(positive)
    if condition is not None:
        answer = _compared(column, text, condition.group(1), condition.group(2), positive, what)
    else:
        wanted = [word.strip() for word in positive.split("|") if word.strip()]
        if not wanted:
            raise DataError(f"{what}: positive is {positive!r}, which names nothing; allowed are e.g. '>=4', 'buy' or 'buy|cart'")
        wanted_numbers = [_number(word) for word in wanted]
        if column.dtype.is_numeric() and all(number is not None for number in wanted_numbers):
            answer = column.cast(pl.Float64).is_in(wanted_numbers)
        else:
            answer = text.is_in(wanted)
            if check:
                _refuse_unseen(wanted, text, what)
    values = answer.set(text.is_null(), None).cast(pl.Float32).fill_null(float("nan")).to_numpy()
    return Labels("binary", ["no", "yes"], values.astype(np.float32))


def _compared(column: pl.Series, text: pl.Series, sign: str, bound: str, positive: str, what: str) -> pl.Series:
    number = _number(bound)
    if sign in ("=", "==", "!=") and number is None:
        return (text == bound) if sign != "!=" else (text != bound)
    if number is None:
        raise DataError(
            f"{what}: positive is {positive!r}: {bound!r} is no number to compare with; allowed are e.g. '>=4', 'buy' or 'buy|cart'"
        )
    found = pl.Series(_numbers(column, what).astype(np.float64)) if not column.dtype.is_numeric() else column.cast(pl.Float64)
    compare = {">=": found >= number, "<=": found <= number, ">": found > number, "<": found < number, "!=": found != number}
    return compare.get(sign, found == number)


def _yes_or_no(column: pl.Series, what: str) -> np.ndarray:
    if column.dtype.is_numeric():  # the usual case, fast
        found = column.cast(pl.Float32)
        wrong = (~found.is_in([0.0, 1.0])).fill_null(False)
        values = found
    else:
        text = _answer_words(_plain(column))
        values = text.is_in(YES).cast(pl.Float32)
        values = values.set(text.is_null(), None)
        wrong = (~text.is_in([*YES, *NO])).fill_null(False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        other_kinds = "ordinal, number or classes" if _number(str(column[row])) is not None else "classes"
        raise DataError(
            f"{what}: row {row + 1} is {shown(column[row])}, which is neither yes (1, true, yes) nor no (0, false, no){more(wrong)}, of "
            f"{len(column) - column.null_count():,} rows; correct it or leave it blank, say which values mean yes, e.g. positive: '>=4' or "
            f"positive: 'buy|cart', or what else they are: kind: {other_kinds}"
        )
    return values.fill_null(float("nan")).to_numpy().astype(np.float32)


def _classes(column: pl.Series, kind: str, what: str, names: list[str] | None) -> Labels:
    if isinstance(column.dtype, (pl.List, pl.Array, pl.Struct)):
        raise DataError(f"{what}: the column holds {column.dtype}, not one of several classes; say kind: tags")
    if kind == "ordinal":
        _numbers(column, what)  # every level is a number
    text = _plain(column)
    if kind == "ordinal":  # 4 and 4.0 are one level
        text = _plain(text.cast(pl.Float64))
    found = _sorted_names(text.unique().drop_nulls().to_list()) if names is None else names
    if len(found) > MOST_CLASSES:
        raise DataError(f"{what}: {len(found):,} different values ({found[0]!r}, ...) are no classes; at most {MOST_CLASSES:,} are allowed")
    codes = known_codes(text, found, what).cast(pl.Float32).fill_null(float("nan"))
    return Labels("ordinal" if kind == "ordinal" else "classes", found, codes.to_numpy().astype(np.float32))


def _tags(column: pl.Series, what: str, names: list[str] | None) -> Labels:
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List):
        text = _plain(column)
        separator = next((mark for mark in (*SEPARATORS, ",") if text.str.contains(mark, literal=True).any()), "|")
        column = text.str.split(separator)
    if isinstance(column.dtype, pl.List) and column.dtype.inner.is_nested():
        raise DataError(f"{what}: the column holds {column.dtype}, not tags; a list of text is allowed, or text like 'red|green'")
    rows = pl.DataFrame({"row": pl.int_range(len(column), eager=True), "tag": column.cast(pl.List(pl.String))}).explode("tag")
    rows = rows.with_columns(pl.col("tag").str.strip_chars()).filter(pl.col("tag").is_not_null() & (pl.col("tag") != ""))
    found = sorted(rows["tag"].unique().to_list()) if names is None else names
    if len(found) > MOST_CLASSES:
        raise DataError(f"{what}: {len(found):,} different tags ({found[0]!r}, ...); at most {MOST_CLASSES:,} are allowed")
    values = np.full((len(column), len(found)), np.nan, dtype=np.float32)
    at = rows["row"].to_numpy()
    values[at] = 0
    values[at, known_codes(rows["tag"], found, what).to_numpy()] = 1
    return Labels("tags", found, values)


def _tokens(column: pl.Series, what: str, names: list[str] | None) -> Labels:
    spans, found = read_spans(column, what=what, names=names)
    values = np.bincount(spans["row"].to_numpy(), minlength=len(column)).astype(np.float32)
    nothing = column.is_null() if column.dtype != pl.String else _plain(column).is_null()
    values[nothing.to_numpy()] = np.nan
    return Labels("tokens", found, values, spans)


def _sorted_names(names: list[str]) -> list[str]:
    numbers = [_number(name) for name in names]
    if all(number is not None for number in numbers):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _refuse_unlearnable(labels: Labels, column: pl.Series, positive: str | None, what: str) -> None:
    """Raises DataError for labels that hold nothing to tell apart."""
    known = labels.values[labels.known]
    if not len(known):
        raise DataError(f"{what}: none of {len(labels):,} rows has a label; check the name of the column, or leave the task out")
    if labels.kind == "binary":
        if not known.any():
            wanted = "1, true or yes" if positive is None else positive
            raise DataError(f"{what}: no row is positive ({wanted}); {_held(column)}; say which values mean yes, e.g. positive: '>=4'")
        if known.all():
            raise DataError(f"{what}: every row is positive; {_held(column)}; rows of what was shown and not wanted are needed too")
    elif labels.kind in ("classes", "ordinal"):
        counts = np.bincount(known.astype(np.int64), minlength=len(labels.names))
        present = np.flatnonzero(counts)
        if len(present) < 2:
            raise DataError(f"{what}: all {len(known):,} rows are of one class ('{labels.names[present[0]]}'); at least two are needed")
        if labels.kind == "classes" and (counts == 1).any():
            single = [labels.names[code] for code in np.flatnonzero(counts == 1)]
            others = f" (and {len(single) - 1:,} more)" if len(single) > 1 else ""
            raise DataError(
                f"{what}: class '{single[0]}'{others} has one row, which can't be both learned from and measured; "
                "give it more rows, merge it with another class, or leave that cell blank"
            )
    elif labels.kind == "number":
        if (known == known[0]).all():
            raise DataError(f"{what}: all {len(known):,} rows are {known[0]:g}: there is nothing to learn")
    elif labels.kind == "tags":
        if not labels.names:
            raise DataError(f"{what}: no row has a tag; check the name of the column, or leave the task out")
    elif not labels.names:
        raise DataError(f'{what}: no row has a span; a cell is JSON like [{{"start": 0, "end": 5, "label": "brand"}}]')


def _held(column: pl.Series) -> str:
    """What a column holds, in a few words."""
    if column.dtype.is_numeric():
        lowest, highest = (float(bound) for bound in (column.min(), column.max()))  # type: ignore[arg-type]
        return f"it holds numbers from {lowest:g} to {highest:g}"
    found = _plain(column).drop_nulls().unique(maintain_order=True)
    return f"it holds {', '.join(found.head(5).to_list())}{', ...' if found.len() > 5 else ''}"
