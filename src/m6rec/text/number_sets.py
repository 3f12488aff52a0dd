"""Sets of numbers that bounds say: what alternatives allow together, and what a negation leaves.

"under 50 or over 100"       everything but 50 to 100
"not between 20 and 40"      everything but 20 to 40
"not under 20 or over 50"    20 to 50
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from m6rec.text.cues import Bound
from m6rec.text.field_constraints import Constraint, End, stretch


@dataclass(frozen=True)
class NumberSet:
    """Stretches of numbers, rising and apart: each from one end to another, (20, -1)..(40, 1) is 20 to 40 with both."""

    parts: tuple[tuple[End, End], ...]

    @classmethod
    def of(cls, bounds: Sequence[tuple[Bound, float]]) -> NumberSet:
        """The numbers that meet all of some bounds."""
        low: End = max((_end(op, value) for op, value in bounds if op in (">", ">=")), default=(-inf, -1))
        high: End = min((_end(op, value) for op, value in bounds if op in ("<", "<=")), default=(inf, 1))
        return cls(((low, high),) if low < high else ())

    def either(self, other: NumberSet) -> NumberSet:
        """The numbers of one or the other."""
        parts: list[tuple[End, End]] = []
        for low, high in sorted((*self.parts, *other.parts)):
            if parts and low <= parts[-1][1]:
                parts[-1] = (parts[-1][0], max(parts[-1][1], high))
            else:
                parts.append((low, high))
        return NumberSet(tuple(parts))

    def others(self) -> NumberSet:
        """The numbers that are not in it."""
        ends: list[End] = [(-inf, -1), *(end for part in self.parts for end in part), (inf, 1)]
        return NumberSet(tuple((low, high) for low, high in zip(ends[::2], ends[1::2], strict=True) if low < high))

    def constraints(self, field: str, *, whole: bool) -> list[Constraint]:
        """What `field` must say to be one of them. whole: the field holds whole numbers only."""
        if not self.parts:
            return []
        (low, low_side), (high, high_side) = self.parts[0][0], self.parts[-1][1]
        said = [] if low == -inf else [Constraint(field, ">=" if low_side < 0 else ">", low)]
        said += [] if high == inf else [Constraint(field, "<=" if high_side > 0 else "<", high)]
        gaps = []
        for (_, (first, first_side)), ((last, last_side), _) in zip(self.parts, self.parts[1:], strict=False):
            if whole:
                first, last, first_side, last_side = first + (first_side > 0), last - (last_side < 0), -1, 1
            if (first, first_side) < (last, last_side):
                gaps.append(stretch((first, first_side), (last, last_side)))
        return [*said, Constraint(field, "not in", tuple(gaps))] if gaps else said


def _end(op: Bound, value: float) -> End:
    return (value, 1 if op in (">", "<=") else -1)
