"""A table of differences as coloured cells: blue where it helps, orange where it hurts, with the number in every cell.

Colours say nothing that the numbers and frames do not say too; they come from the page's CSS, light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from m6rec.evaluation.plots import LETTER, WIDTH, short, svg
from m6rec.evaluation.plots import columns as letters

ROW, NARROWEST, LABEL_ROOM = 26, 54.0, 24
STRONGEST = 0.48  # opacity of the largest value: the page's ink stays readable on it, light and dark


def heat_map_svg(
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    significant: np.ndarray | None = None,
    title: str = "",
    *,
    key: str = "heat",
    digits: int = 3,
    row_label: str = "",
    column_label: str = "",
    legend: Sequence[str] = ("Blue: better. Orange: worse.",),
) -> str:
    """Inline SVG text.

    Args:
        rows, columns: what stands beside and above the cells.
        values: float (rows, columns), more is better; NaN: an empty cell.
        significant: bool (rows, columns), True where the interval is without 0: framed and bold. None: nowhere.
        key: unique on the page; becomes part of ids.
        digits: decimals shown.
        row_label, column_label: what rows and columns are, e.g. "left out" and "judged".
        legend: what the two colours say, line by line.
    """
    values = np.asarray(values, dtype=np.float64).reshape(len(rows), len(columns))
    sure = np.zeros(values.shape, dtype=bool) if significant is None else np.asarray(significant, dtype=bool).reshape(values.shape)
    names, heads = [short(row, LABEL_ROOM) for row in rows], [short(column, LABEL_ROOM) for column in columns]
    left = 10 + LETTER * max([letters(name) for name in [*names, row_label]], default=0)
    longest = max((letters(head) for head in heads), default=0)
    cell = max(NARROWEST, 7.6 * (digits + 4), (WIDTH - left - 6) / max(len(heads), 1) if len(heads) < 6 else 0)
    cell = min(cell, 96.0)
    steep = longest * LETTER > cell - 6  # labels that do not fit over a cell are written upwards
    top = 16 + (LETTER * longest * 0.72 if steep else 12) + (18 if column_label else 0)
    width = max(WIDTH, left + cell * len(heads) + (LETTER * longest * 0.72 - cell / 2 + 12 if steep else 6))
    most = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    parts = []
    if column_label:
        parts.append(f'<text class="tick" x="{left:.1f}" y="12">{escape(column_label)} →</text>')
    if row_label:
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 8:.1f}" y="{top - 6:.1f}">{escape(row_label)} ↓</text>')
    for place, head in enumerate(heads):
        x = left + cell * (place + 0.5)
        turned = f' transform="rotate(-45 {x:.1f} {top - 8:.1f})"' if steep else ""
        anchor = "start" if steep else "middle"
        parts.append(f'<text class="label" text-anchor="{anchor}" x="{x:.1f}" y="{top - 8:.1f}"{turned}>{escape(head)}</text>')
    for i, name in enumerate(names):
        y = top + ROW * i
        parts.append(f'<text class="label" text-anchor="end" x="{left - 8:.1f}" y="{y + ROW / 2 + 4:.1f}">{escape(name)}</text>')
        for j in range(len(heads)):
            parts.append(_cell(left + cell * j, y, cell, values[i, j], bool(sure[i, j]), most, digits, f"{rows[i]}, {columns[j]}"))
    bottom = top + ROW * len(names) + 5
    for line in [*legend, *(["Framed and bold: beyond the 95 % interval."] if sure.any() else [])]:
        bottom += 15
        parts.append(f'<text class="tick" x="2" y="{bottom:.1f}">{escape(line)}</text>')
    return svg(key, title, _worded(rows, columns, values, sure, digits), bottom + 8, parts, width)


def _cell(x: float, y: float, width: float, value: float, sure: bool, most: float, digits: int, where: str) -> str:
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{ROW}"'
    middle = f'x="{x + width / 2:.1f}" y="{y + ROW / 2 + 4:.1f}" text-anchor="middle"'
    if not math.isfinite(value):
        return f'<rect class="heat none" {box}/><text class="tick" {middle}>–</text>'
    word = _signed(value, digits)
    share = STRONGEST * min(abs(value) / most, 1.0) if most > 0 else 0.0
    drawn = f'<rect class="heat {"up" if value >= 0 else "down"}" {box} fill-opacity="{share:.3f}"><title>{escape(where)}: {word}</title></rect>'
    if sure:
        drawn += f'<rect class="sure" x="{x + 2:.1f}" y="{y + 2:.1f}" width="{width - 4:.1f}" height="{ROW - 4}" rx="2"/>'
    return drawn + f'<text class="value{" strong" if sure else ""}" {middle}>{word}</text>'


def _signed(value: float, digits: int) -> str:
    word = f"{value:+.{digits}f}"
    return word.replace("-", "−") if float(word) else f"{0:.{digits}f}"


def _worded(rows: Sequence[str], heads: Sequence[str], values: np.ndarray, sure: np.ndarray, digits: int) -> str:
    """The cells in words, at most the 60 that differ most."""
    found = [(i, j) for i in range(len(rows)) for j in range(len(heads)) if math.isfinite(values[i, j])]
    found.sort(key=lambda place: -abs(values[place]))
    words = [f"{rows[i]}, {heads[j]}: {_signed(values[i, j], digits)}{' (clear)' if sure[i, j] else ''}" for i, j in found[:60]]
    return "; ".join(words) + "." if words else "No values."
