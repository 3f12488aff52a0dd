"""What a command prints. Results go to standard output, everything else (progress, warnings, errors) to standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def print_json(value: Any) -> None:
    """One JSON value; what JSON has no number for (NaN, infinity) becomes null."""
    print(json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False))


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def columns(rows: Sequence[Sequence[str]], header: Sequence[str], *, right: Sequence[int] = ()) -> list[str]:
    """Aligned text columns; those named in `right` are right-aligned. The last column is never padded, so it may hold any script."""
    table = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[position]) for row in table) for position in range(len(header))]

    def cell(text: str, position: int) -> str:
        if position in right:
            return text.rjust(widths[position])
        return text if position == len(header) - 1 else text.ljust(widths[position])

    return ["  ".join(cell(text, position) for position, text in enumerate(row)).rstrip() for row in table]


def wants_progress(asked: bool | None) -> bool:
    """What was asked for, else whether standard error is a terminal."""
    return sys.stderr.isatty() if asked is None else asked


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
