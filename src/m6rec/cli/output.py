"""What a command prints. Results go to standard output, everything else (progress, warnings, errors) to standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any
from unicodedata import east_asian_width


def print_json(value: Any) -> None:
    """One JSON value; what JSON has no number for (NaN, infinity) becomes null."""
    print(json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False))


def print_json_line(value: Any) -> None:
    """The same on a line of its own, at once: one of several, for whoever reads them line by line (JSON Lines)."""
    print(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False), flush=True)


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def columns(rows: Sequence[Sequence[str]], header: Sequence[str], *, right: Sequence[int] = ()) -> list[str]:
    """Aligned text columns, without control characters; those named in `right` are right-aligned. The last column is never padded."""
    table = [list(header), *[["".join(sign if sign.isprintable() else " " for sign in cell) for cell in row] for row in rows]]
    widths = [max(width(row[position]) for row in table) for position in range(len(header))]

    def cell(text: str, position: int) -> str:
        blanks = " " * (widths[position] - width(text))
        if position in right:
            return blanks + text
        return text if position == len(header) - 1 else text + blanks

    return ["  ".join(cell(text, position) for position, text in enumerate(row)).rstrip() for row in table]


def width(text: str) -> int:
    """Columns of a terminal: letters of Chinese, Japanese and Korean take two."""
    return len(text) if text.isascii() else sum(1 + (east_asian_width(letter) in "WF") for letter in text)


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
