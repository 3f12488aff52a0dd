"""Which items may be answered: exact filters over declared fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from numbers import Real
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.arguments import a_list, refused
from m6rec.base.errors import UsageError, nearest
from m6rec.data.dataset import FieldType, Table

VALUES = "give a value or a list of values"


def allowed_items(items: Table, where: Mapping[str, Any]) -> np.ndarray:
    """bool (N,): items that meet every condition.

    A condition is `field: value`; a list of values means any of them. category, id: equal, capitals make no difference; tags: contains;
    number: equal, or a text "<50", "<=50", ">=10", "10-50" (both ends included); text: contains the words. A missing value never matches.

    Raises:
        UsageError: an unknown field (the nearest is named) or a value that its type can't be compared with.
    """
    if not isinstance(where, Mapping):
        raise UsageError(f"where takes {{field: value}}, got {where!r}; for example where={{'price': '<50'}}")
    mask = np.ones(len(items), dtype=bool)
    for name, wanted in where.items():
        if name not in items.fields:
            hint = nearest(name, list(items.fields)) or f"; fields: {', '.join(items.fields) or 'none'}"
            raise UsageError(f"items have no field '{name}' to filter by{hint}")
        several = isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes | Mapping)
        values = a_list(f"where[{name!r}]", wanted, VALUES) if several else [wanted]
        met = np.zeros(len(items), dtype=bool)
        for value in values:
            met |= _meets(items.frame[name], items.fields[name], name, value)
        mask &= met
    return mask


def _meets(column: pl.Series, kind: FieldType, name: str, value: Any) -> np.ndarray:
    if kind == FieldType.NUMBER:
        return _number(column, name, value)
    if kind == FieldType.VECTOR:
        raise UsageError(f"'{name}' is a vector; filter by a category, tags, id, number or text field")
    if not isinstance(value, str | Real | date | None):
        raise refused(f"where[{name!r}]", value, VALUES)
    # Polars makes the small letters on both sides: Python's own differ from its in a few scripts.
    word = pl.Series([str(value)]).str.to_lowercase()[0]
    if kind == FieldType.TAGS:
        met = column.list.eval(pl.element().str.to_lowercase() == word).list.any()
    elif kind == FieldType.TEXT:
        met = column.str.to_lowercase().str.contains(word, literal=True)
    else:
        met = column.str.to_lowercase() == word
    return met.fill_null(False).to_numpy()


def _number(column: pl.Series, name: str, value: Any) -> np.ndarray:
    numbers = column.to_numpy()
    if isinstance(value, int | float):
        return np.asarray(numbers == value)
    text = str(value).strip()
    try:
        for sign, compare in (("<=", np.less_equal), (">=", np.greater_equal), ("<", np.less), (">", np.greater)):
            if text.startswith(sign):
                return np.asarray(compare(numbers, float(text[len(sign) :])))
        low, dash, high = text[1:].partition("-")  # the first character may be a minus sign
        if dash:
            return np.asarray((numbers >= float(text[0] + low)) & (numbers <= float(high)))
        return np.asarray(numbers == float(text))
    except ValueError:
        raise UsageError(f"'{name}' is a number; filter by a number, '<50', '>=10' or '10-50', got '{value}'") from None
