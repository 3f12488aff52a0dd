"""The late interaction curve: quality and latency against the number of joint upper layers, beside recomputing everything. Inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from m6rec.evaluation.plots import LETTER, WIDTH, Axes, nice_ticks, number, svg


class LatePoint(NamedTuple):
    """One setting: what stands under the axis (joint layers, or e.g. "all anew"), quality with its interval, milliseconds a request."""

    label: str
    quality: float
    milliseconds: float
    low: float = math.nan
    high: float = math.nan


def late_curve_svg(
    points: Sequence[LatePoint],
    *,
    title: str = "Late interaction",
    quality: str = "AUC",
    key: str = "late",
    x_label: str = "joint upper layers",
) -> str:
    """Quality on the left axis (solid, rings), latency on the right axis from 0 (dashed, squares).

    Args:
        points: from left to right.
        quality: name of the left axis.
        key: unique on the page; becomes part of ids.
    """
    heights = [v for p in points for v in (p.quality, p.low, p.high) if math.isfinite(v)]
    pad = 0.08 * max(len(points), 2)  # marks of the outermost points stay clear of the axes
    axes = Axes([-pad, len(points) - 1 + pad], heights, x_words={float(place): point.label for place, point in enumerate(points)})
    costs = [p.milliseconds for p in points if math.isfinite(p.milliseconds)]
    ticks = nice_ticks(0.0, max(costs, default=1.0), 5)
    words = [number(tick, ticks) for tick in ticks]
    axes.right = WIDTH - 18 - LETTER * max(map(len, words))

    def cost(value: float) -> float:
        return axes.bottom - value / ticks[-1] * (axes.bottom - axes.top)

    parts = axes.drawn(x_label, "")
    parts.append(f'<text class="tick word c0" x="2" y="12">{escape(quality)} ●</text>')
    parts.append(f'<text class="tick word c1" text-anchor="end" x="{WIDTH - 2}" y="12">■ ms per request</text>')
    for tick, word in zip(ticks, words, strict=True):
        parts.append(f'<text class="tick" x="{axes.right + 6:.1f}" y="{cost(tick) + 4:.1f}">{word}</text>')
    for place, point in enumerate(points):
        if math.isfinite(point.low) and math.isfinite(point.high):
            parts.append(f'<path class="whisker c0" d="M{axes.across(place):.1f} {axes.up(point.low):.1f}V{axes.up(point.high):.1f}"/>')
    dear = [(axes.across(place), cost(p.milliseconds)) for place, p in enumerate(points) if math.isfinite(p.milliseconds)]
    good = [(axes.across(place), axes.up(p.quality)) for place, p in enumerate(points) if math.isfinite(p.quality)]
    if dear:
        parts.append(f'<path class="line c1 d1" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in dear)}"/>')
        parts += [f'<rect class="dot c1" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>' for x, y in dear]
    if good:
        parts.append(f'<path class="line c0 first" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in good)}"/>')
        parts += [f'<circle class="dot c0" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in good]
    worded = "; ".join(f"{p.label}: {quality} {p.quality:.4f}, {p.milliseconds:.2f} ms" for p in points)
    return svg(key, title, (worded or "No points") + ".", axes.bottom + 44, parts)
