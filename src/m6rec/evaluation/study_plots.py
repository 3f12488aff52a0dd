"""Charts of many trials: points against a value or their number, and learning curves, as inline SVG in the style of `plots.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from m6rec.evaluation.plots import WIDTH, Axes, svg

Kind = Literal["trial", "pruned", "default", "best"]
NAMES: dict[Kind, str] = {"trial": "finished", "pruned": "stopped early", "default": "as configured", "best": "best"}


@dataclass(frozen=True)
class Point:
    """One trial: a mark at (x, y) of its kind, with words that a pointer shows."""

    x: float
    y: float
    kind: Kind
    words: str


@dataclass(frozen=True)
class TrialCurve:
    """The validation curve of one trial; xs ascending."""

    xs: Sequence[float]
    ys: Sequence[float]
    kind: Kind
    words: str


def point_chart(
    key: str,
    title: str,
    description: str,
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    x_words: dict[float, str] | None = None,
    floor: float = -math.inf,
    steps: Sequence[tuple[float, float]] = (),
) -> str:
    """Marks, with a legend of the kinds there are.

    Args:
        floor: lower points are drawn at this height, so that a few hopeless trials do not press the others together.
        steps: (x, y) of a line that keeps its height until the next x, e.g. the best so far.
    """
    heights = [max(point.y, floor) for point in points]
    axes = Axes([point.x for point in points], [*heights, *(y for _, y in steps)], log_x=log_x, x_words=x_words)
    parts = axes.drawn(x_label, y_label)
    if steps:
        path = "".join(
            f"{'M' if not place else 'H'}{axes.across(x):.1f}{' ' if not place else 'V'}{axes.up(y):.1f}"
            for place, (x, y) in enumerate(steps)
        )
        end = max(point.x for point in points)
        parts.append(f'<path class="line best" d="{path}H{axes.across(end):.1f}"/>')
    order: list[Kind] = ["pruned", "trial", "default", "best"]  # what is looked for lies on top
    for point in sorted(points, key=lambda one: order.index(one.kind)):
        parts.append(_mark(axes.across(point.x), axes.up(max(point.y, floor)), point.kind, point.words))
    kinds = {point.kind for point in points}
    return svg(key, title, description, axes.bottom + 62, [*parts, *_legend(kinds, axes.bottom + 54)])


def curve_chart(
    key: str, title: str, description: str, curves: Sequence[TrialCurve], *, x_label: str, y_label: str, floor: float = -math.inf
) -> str:
    """One line a trial; `floor` as in `point_chart`."""
    xs = [x for curve in curves for x in curve.xs]
    ys = [max(y, floor) for curve in curves for y in curve.ys]
    axes = Axes(xs, ys)
    parts = axes.drawn(x_label, y_label)
    order: list[Kind] = ["pruned", "trial", "default", "best"]
    for curve in sorted(curves, key=lambda one: order.index(one.kind)):
        places = [(axes.across(x), axes.up(max(y, floor))) for x, y in zip(curve.xs, curve.ys, strict=True)]
        words = f"<title>{escape(curve.words)}</title>"
        if len(places) == 1:  # a path of one point draws nothing
            parts.append(_mark(*places[0], curve.kind, curve.words))
            continue
        path = "".join(f"{'L' if place else 'M'}{x:.1f} {y:.1f}" for place, (x, y) in enumerate(places))
        parts.append(f'<path class="line {curve.kind}" d="{path}">{words}</path>')
    kinds = {curve.kind for curve in curves}
    return svg(key, title, description, axes.bottom + 62, [*parts, *_legend(kinds, axes.bottom + 54, lines=True)])


def _mark(x: float, y: float, kind: Kind, words: str = "") -> str:
    title = f"<title>{escape(words)}</title>" if words else ""
    if kind == "default":
        return f'<path class="point default" d="M{x - 5:.1f} {y:.1f}L{x:.1f} {y - 5:.1f}L{x + 5:.1f} {y:.1f}L{x:.1f} {y + 5:.1f}Z">{title}</path>'
    if kind == "pruned":
        return f'<path class="point pruned" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6">{title}</path>'
    return f'<circle class="point {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{6 if kind == "best" else 3.6}">{title}</circle>'


def _legend(kinds: set[Kind], y: float, lines: bool = False) -> list[str]:
    parts, x = [], 6.0
    for kind in (kind for kind in NAMES if kind in kinds):
        if lines:
            parts.append(f'<line class="line {kind}" x1="{x:.0f}" x2="{x + 18:.0f}" y1="{y - 4:.0f}" y2="{y - 4:.0f}"/>')
        else:
            parts.append(_mark(x + 9, y - 4, kind))
        parts.append(f'<text class="label" x="{x + 24:.0f}" y="{y:.0f}">{NAMES[kind]}</text>')
        x += 36 + 6.3 * len(NAMES[kind])
        assert x <= WIDTH + 20
    return parts
