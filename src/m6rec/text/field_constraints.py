"""Constraints on fields: what a field of an item must say, which items meet it, and why none do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np
import polars as pl

from m6rec.data.dataset import FieldType, Table

Operation = Literal["in", "not in", "<", "<=", ">", ">="]
End = tuple[float, int]  # of a stretch of numbers: a number and -1 for just below it, 1 for just above
TO = " to "  # between the ends of a stretch of numbers that is ruled out


@dataclass(frozen=True)
class Constraint:
    """What a field must say.

    value: names for `in` and `not in`; of a number field stretches for `not in` ("20 to 40", without its ends ">20 to <40"); a number for the others.
    An item without a name meets only `not in`, one without a number nothing.
    """

    field: str
    op: Operation
    value: tuple[str, ...] | float

    def __str__(self) -> str:
        said = " or ".join(self.value) if isinstance(self.value, tuple) else f"{self.value:g}"
        return f"{self.field} {'is' if self.op == 'in' else 'is not' if self.op == 'not in' else self.op} {said}"


def stretch(low: End, high: End) -> str:
    """The numbers between two ends, as a value of `not in`."""
    first, last = f"{'>' if low[1] > 0 else ''}{low[0]:.15g}", f"{'<' if high[1] < 0 else ''}{high[0]:.15g}"
    return first if first == last else f"{first}{TO}{last}"


def meets(items: Table, constraints: Sequence[Constraint]) -> np.ndarray:
    """bool (N,): the items that meet every constraint."""
    mask = np.ones(len(items), dtype=bool)
    for constraint in constraints:
        mask &= _met(items, constraint)
    return mask


@dataclass(frozen=True)
class Unmet:
    """Why no item is left.

    both      a field is asked to be something and not to be that (limits: the one that says what)     exclude   two bounds exclude each other
    none      no item meets one limit      together  none meets these together; worded by `limit_words.unmet_words`
    """

    kind: Literal["both", "exclude", "none", "together"]
    limits: tuple[Constraint, ...]


def excluded(constraints: Sequence[Constraint]) -> Unmet | None:
    """Constraints that exclude each other whatever the catalogue holds."""
    for field in dict.fromkeys(constraint.field for constraint in constraints):
        mine = [constraint for constraint in constraints if constraint.field == field]
        names = [set(c.value) for c in mine if c.op == "in" and isinstance(c.value, tuple)]
        against = {value for c in mine if c.op == "not in" and isinstance(c.value, tuple) for value in c.value}
        for wanted in names:
            if wanted <= against:
                return Unmet("both", (Constraint(field, "in", tuple(sorted(wanted))),))
        lows = [c for c in mine if c.op in (">", ">=")]
        highs = [c for c in mine if c.op in ("<", "<=")]
        for low in lows:
            for high in highs:
                assert isinstance(low.value, float)
                assert isinstance(high.value, float)
                if low.value > high.value or (low.value == high.value and (low.op, high.op) != (">=", "<=")):
                    return Unmet("exclude", (low, high))
                least, most = (low.value, -1 if low.op == ">=" else 1), (high.value, 1 if high.op == "<=" else -1)
                if any(first <= least and most <= last for first, last in map(_ends, against)):
                    return Unmet("both", (Constraint(field, "in", (stretch(least, most),)),))
    return None


def unmet(items: Table, constraints: Sequence[Constraint], allowed: np.ndarray | None = None) -> Unmet | None:
    """Constraints that exclude each other, or the smallest part of them that no item meets; None where some items meet all.

    allowed: bool (N,), items that may be answered anyway; None: all.
    """
    found = excluded(constraints)
    if found is not None:
        return found
    left = np.ones(len(items), dtype=bool) if allowed is None else allowed.copy()
    masks = [_met(items, constraint) for constraint in constraints]
    if not len(masks) or (left & np.logical_and.reduce(masks)).any():
        return None
    for constraint, mask in zip(constraints, masks, strict=True):
        if not (left & mask).any():
            return Unmet("none", (constraint,))
    kept: list[Constraint] = []
    for constraint, mask in zip(constraints, masks, strict=True):
        left &= mask
        kept.append(constraint)
        if not left.any():
            break
    return Unmet("together", tuple(kept))


def plain(constraints: Sequence[Constraint]) -> list[Mapping[str, Any]]:
    """JSON-ready."""
    return [{"field": c.field, "op": c.op, "value": list(c.value) if isinstance(c.value, tuple) else c.value} for c in constraints]


def _met(items: Table, constraint: Constraint) -> np.ndarray:
    column = items.frame[constraint.field]
    kind = items.fields[constraint.field]
    if isinstance(constraint.value, tuple) and kind != FieldType.NUMBER:
        wanted = list(constraint.value)
        if kind == FieldType.TAGS:
            met = column.list.eval(pl.element().is_in(wanted)).list.any()
        else:
            met = column.is_in(wanted)
        found: np.ndarray = met.fill_null(False).to_numpy()
        return ~found if constraint.op == "not in" else found
    numbers = column.to_numpy()
    if isinstance(constraint.value, tuple):
        outside = [_beyond(numbers, low, -1) | _beyond(numbers, high, 1) for low, high in map(_ends, constraint.value)]
        return np.asarray(np.logical_and.reduce(outside))
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[constraint.op]
    return np.asarray(compare(numbers, constraint.value))


def _beyond(numbers: np.ndarray, end: End, side: int) -> np.ndarray:
    """bool (N,): the numbers below (side -1) or above (1) an end of a stretch; a missing one is neither."""
    value = end[0]
    if side < 0:
        return np.asarray(numbers < value if end[1] < 0 else numbers <= value)
    return np.asarray(numbers > value if end[1] > 0 else numbers >= value)


def _ends(name: str) -> tuple[End, End]:
    """The ends of a stretch of numbers; of a name that is none, ends that hold nothing."""
    low, _, high = name.partition(TO)
    high = high or low
    try:
        return (float(low.removeprefix(">")), 1 if low.startswith(">") else -1), (
            float(high.removeprefix("<")),
            -1 if high.startswith("<") else 1,
        )
    except ValueError:
        return (inf, 1), (-inf, -1)
