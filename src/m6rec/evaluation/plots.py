"""Charts as inline SVG text: no scripts, no fonts or files from elsewhere. Colours come from the page's CSS classes.

Every chart is 380 units wide, so that its 12-unit letters stay readable on a phone, and carries a title and a
description for people who do not see it; the figures themselves stand in a table beside it.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH = 380
ROW = 24
LETTER = 6.6  # mean width of a 12-unit letter; wide (CJK) letters count twice
COLOURS = 8  # classes c0 .. c7 of the page's CSS


@dataclass(frozen=True)
class Bar:
    """One row: a value with its interval (NaN: unknown). `main` is drawn in the accent colour."""

    label: str
    mean: float
    low: float = math.nan
    high: float = math.nan
    main: bool = False


@dataclass(frozen=True)
class Line:
    """One curve. xs ascending; a NaN in ys leaves a gap. `marked` is the position of a point to ring, e.g. the best one."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    marked: int | None = None


class Axes:
    """The frame of a chart: where a value lies, and the lines and numbers around it.

    Args:
        xs, ys: all values to be shown.
        log_x: the horizontal axis is logarithmic (all x > 0), with ticks at 1, 2, 5, 10, ...
        from_zero: the vertical axis starts at 0; otherwise at the lowest value shown.
        x_words: what stands under the axis at these x, in place of round numbers.
    """

    top, bottom, right = 24.0, 216.0, WIDTH - 14.0

    def __init__(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        *,
        log_x: bool = False,
        from_zero: bool = False,
        x_words: dict[float, str] | None = None,
    ) -> None:
        xs, ys = list(xs) or [0.0, 1.0], list(ys) or [0.0, 1.0]
        self.y_ticks = nice_ticks(0.0 if from_zero else min(ys), max(ys), 5)
        self.x_low, self.x_high, self.log_x, self.x_words = min(xs), max(xs), log_x, x_words
        if self.x_low == self.x_high:
            self.x_low, self.x_high = (self.x_low / 2, self.x_high * 2) if log_x else (self.x_low - 0.5, self.x_high + 0.5)
        self.y_labels = [number(tick, self.y_ticks) for tick in self.y_ticks]
        self.left = 12 + LETTER * max(map(len, self.y_labels))
        if x_words:  # the first word is centred under its x and may be wider than what stands left of the axis
            self.left = max(self.left, LETTER * columns(next(iter(x_words.values()))) / 2 + 2)

    def across(self, x: float) -> float:
        low, high = self.x_low, self.x_high
        share = math.log(x / low) / math.log(high / low) if self.log_x else (x - low) / (high - low)
        return self.left + share * (self.right - self.left)

    def up(self, y: float) -> float:
        return self.bottom - (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0]) * (self.bottom - self.top)

    def drawn(self, x_label: str, y_label: str) -> list[str]:
        """Grid, axis, numbers and what they mean; 40 units below `bottom` are taken."""
        left, right, bottom = self.left, self.right, self.bottom
        parts = [f'<text class="tick" x="2" y="12">{escape(y_label)}</text>']
        for tick, label in zip(self.y_ticks, self.y_labels, strict=True):
            y = self.up(tick)
            parts.append(f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" text-anchor="end" x="{left - 6:.1f}" y="{y + 4:.1f}">{label}</text>')
        for x, word in self._x_ticks():
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
            # What would leave the chart on the right ends where the chart does.
            anchor = "end" if x + LETTER * columns(word) / 2 > WIDTH else "middle"
            parts.append(
                f'<text class="tick" text-anchor="{anchor}" x="{WIDTH - 1 if anchor == "end" else x:.1f}" y="{bottom + 17}">{escape(word)}</text>'
            )
        parts.append(f'<line class="axis" x1="{left:.1f}" x2="{right:.1f}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" text-anchor="middle" x="{(left + right) / 2:.1f}" y="{bottom + 34}">{escape(x_label)}</text>')
        return parts

    def _x_ticks(self) -> list[tuple[float, str]]:
        low, high = self.x_low, self.x_high
        if self.x_words is not None:
            return [(self.across(x), word) for x, word in self.x_words.items()]
        ticks = log_ticks(low, high) if self.log_x else []
        if len(ticks) < 3:  # a short logarithmic axis is read more easily with even steps than with one number
            ticks = [tick for tick in nice_ticks(low, high, 5) if low <= tick <= high and (tick > 0 or not self.log_x)]
        return [(self.across(tick), f"{tick:g}" if self.log_x and tick < 1 else number(tick, ticks)) for tick in ticks]


def bar_chart(key: str, title: str, description: str, groups: dict[str, list[Bar]], digits: int = 4) -> str:
    """Horizontal bars with 95 % whiskers, in named groups over one scale that starts at 0 (one group named "" has no heading).

    Args:
        key: unique on the page; becomes part of ids.
    """
    bars = [bar for group in groups.values() for bar in group]
    left = min(150.0, 28 + LETTER * max((columns(bar.label) for bar in bars), default=0))
    room = int((left - 24) / LETTER)
    right = 62.0
    ticks = nice_ticks(0.0, max((_finite(bar.high, bar.mean, 0.0) for bar in bars), default=0.0), 4)
    scale = (WIDTH - left - right) / (ticks[-1] or 1.0)
    heading = 22 if any(groups) else 4
    height = sum(heading + ROW * len(group) for group in groups.values()) + 26
    parts = [f'<text class="tick" text-anchor="middle" x="{left + t * scale:.1f}" y="{height - 7}">{t:g}</text>' for t in ticks]
    y = 0.0
    for name, group in groups.items():
        if name:
            parts.append(f'<text class="heading" x="2" y="{y + 16:.1f}">{escape(short(name, 56))}</text>')
        y += heading
        for x in (left + tick * scale for tick in ticks):
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y + ROW * len(group):.1f}"/>')
        for bar in group:
            middle = y + ROW / 2
            parts.append(
                f'<text class="label{" strong" if bar.main else ""}" text-anchor="end" x="{left - 8:.1f}" y="{middle + 4:.1f}">'
                f"{escape(short(bar.label, room))}</text>"
            )
            parts.append(_bar(bar, left, middle, scale, digits))
            y += ROW
    return svg(key, title, description, height, parts)


def line_chart(
    key: str,
    title: str,
    description: str,
    lines: list[Line],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    from_zero: bool = False,
    x_words: dict[float, str] | None = None,
) -> str:
    """Curves with a legend under them.

    Args:
        log_x: the horizontal axis is logarithmic (all x > 0), with ticks at 1, 2, 5, 10, ...
        from_zero: the vertical axis starts at 0; otherwise at the lowest value shown.
        x_words: what stands under the axis at these x, in place of round numbers.
    """
    points = [(x, y) for line in lines for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)]
    axes = Axes([x for x, _ in points], [y for _, y in points], log_x=log_x, from_zero=from_zero, x_words=x_words)
    parts, bottom = axes.drawn(x_label, y_label), axes.bottom
    # Drawn from the last to the first: the first line is the one the page is about and lies on top.
    for index, line in reversed(list(enumerate(lines))):
        parts.append(_path(line, index, axes.across, axes.up))
    y = bottom + 56
    for index, line in enumerate(lines):
        x = 4 + (index % 2) * (WIDTH / 2)
        parts.append(f'<line class="line {_style(index)}" x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}"/>')
        strong = " strong" if index == 0 and len(lines) > 1 else ""
        parts.append(f'<text class="label{strong}" x="{x + 31}" y="{y}">{escape(short(line.label, 23))}</text>')
        if index % 2 or index == len(lines) - 1:
            y += 19
    return svg(key, title, description, y - 8, parts)


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """About so many round numbers (steps of 1, 2 or 5 times a power of ten) from at or under `low` to at or above `high`."""
    if not high - low > 1e-9 * max(abs(low), abs(high)):  # one value, as far as a chart can tell
        low, high = (low, low + 1.0) if low == 0 else (low - abs(low) / 2, low + abs(low) / 2)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(s for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, 2 - math.floor(math.log10(step)))  # 3 * 0.1 is 0.3
    return [round(i * step, decimals) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, 50, ... between `low` and `high`; powers of ten only where that makes more than eight."""
    powers = [10.0**p for p in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    dense = [p * f for p in powers for f in (1, 2, 5) if low <= p * f <= high]
    return dense if len(dense) <= 8 else [p for p in powers if low <= p <= high]


def number(value: float, ticks: Sequence[float]) -> str:
    """`value` with as many decimals as the spacing of `ticks` asks for; 12,000 as 12k."""
    spacing = min((b - a for a, b in pairwise(ticks)), default=abs(value) or 1.0)
    if spacing >= 1000 and max(abs(t) for t in ticks) >= 10_000:
        return f"{value / 1000:g}k"
    decimals = max(0, -math.floor(math.log10(spacing) + 1e-9))
    return f"{value:.{decimals}f}"


def columns(text: str) -> int:
    """Width of `text` in letters: wide (CJK) ones count twice, combining ones not at all."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def short(text: str, room: int) -> str:
    """`text`, cut with an ellipsis to at most `room` letters."""
    text = " ".join(text[: 8 * room + 8].split())
    if columns(text) <= room:
        return text
    while text and columns(text) > room - 1:
        text = text[:-1]
    return text.rstrip() + "…"


def _bar(bar: Bar, left: float, middle: float, scale: float, digits: int) -> str:
    if not math.isfinite(bar.mean):
        return f'<text class="tick" x="{left + 6:.1f}" y="{middle + 4:.1f}">no cases</text>'
    kind = "bar main" if bar.main else "bar"
    parts = [f'<rect class="{kind}" x="{left:.1f}" y="{middle - 7:.1f}" width="{max(bar.mean * scale, 0):.1f}" height="14" rx="2"/>']
    end = left + bar.mean * scale
    if math.isfinite(bar.low) and math.isfinite(bar.high):
        low, high = left + bar.low * scale, left + bar.high * scale
        parts.append(
            f'<path class="whisker" d="M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 4:.1f}v8M{high:.1f} {middle - 4:.1f}v8"/>'
        )
        end = high
    parts.append(f'<text class="value{" strong" if bar.main else ""}" x="{end + 6:.1f}" y="{middle + 4:.1f}">{bar.mean:.{digits}f}</text>')
    return "".join(parts)


def _path(line: Line, index: int, across: Callable[[float], float], up: Callable[[float], float]) -> str:
    steps, pen_down = [], False
    for x, y in zip(line.xs, line.ys, strict=True):
        if math.isfinite(y):
            steps.append(f"{'L' if pen_down else 'M'}{across(x):.1f} {up(y):.1f}")
        pen_down = math.isfinite(y)
    drawn = f'<path class="line {_style(index)}" d="{"".join(steps)}"/>'
    known = [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)]
    if len(known) == 1:  # a path of one point draws nothing
        drawn += f'<circle class="dot {_style(index)}" cx="{across(known[0][0]):.1f}" cy="{up(known[0][1]):.1f}" r="3"/>'
    if line.marked is not None and math.isfinite(line.ys[line.marked]):
        drawn += f'<circle class="ring {_style(index)}" cx="{across(line.xs[line.marked]):.1f}" cy="{up(line.ys[line.marked]):.1f}" r="5"/>'
    return drawn


def _style(index: int) -> str:
    """Colour class and, beyond the first line, a dash class: lines differ without colour as well."""
    return f"c{index % COLOURS} d{index % 5}" + (" first" if index == 0 else "")


def svg(key: str, title: str, description: str, height: float, parts: Sequence[str], width: float = WIDTH) -> str:
    """The whole picture, with a title and a description for people who do not see it; `key` is unique on the page."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="{key}-title {key}-desc" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-desc">{escape(description)}</desc>{"".join(parts)}</svg>'
    )


def _finite(*values: float) -> float:
    """The first of `values` that is a number."""
    return next(value for value in values if math.isfinite(value))
