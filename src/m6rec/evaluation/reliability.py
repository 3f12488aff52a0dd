"""Whether probabilities come true: what was predicted against what happened, in bins of equally many rows, as a table and a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from m6rec.evaluation import class_metrics
from m6rec.evaluation.intervals import NORMAL_95, wilson
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.label_metrics import equal_mass_bins
from m6rec.evaluation.plots import COLOURS, Axes, short, svg


class ReliabilityBin(NamedTuple):
    """Rows of like predictions: how many, the mean prediction, the mean of what came true and its 95 % interval (rows taken as apart)."""

    rows: int
    predicted: float
    observed: float
    low: float
    high: float


def reliability(judged: Judged, bins: int = 10) -> list[ReliabilityBin]:
    """Bins by rising prediction. Of classes and words: the probability of the likeliest class, and whether it is right.

    Shares carry Wilson's interval (1927), means of numbers that of a normal.
    """
    truth, predicted = judged_pairs(judged)
    place = equal_mass_bins(predicted, bins)
    shares = judged.kind not in ("number", "ordinal") or judged.predicted.ndim == 2
    table = []
    for one in np.unique(place):
        yes, p = truth[place == one].astype(np.float64), predicted[place == one].astype(np.float64)
        mean = float(yes.mean())
        low, high = wilson(mean, len(yes)) if shares else _normal(yes)
        table.append(ReliabilityBin(len(yes), float(p.mean()), mean, low, high))
    return table


def judged_pairs(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """(what came true, what was predicted), one number each: float (X,), of tags one a row and tag."""
    if judged.kind == "tags":
        return judged.truth.ravel(), judged.predicted.ravel()
    if judged.predicted.ndim == 2:
        return class_metrics.accuracies(judged.truth, judged.predicted), judged.predicted.max(axis=1, initial=0.0)
    return judged.truth, judged.predicted


def reliability_chart(key: str, judged: Sequence[Judged], bins: int = 10) -> str:
    """Inline SVG: a line a scorer, the first with the interval of each bin; on the dashed line probabilities come true."""
    tables = [reliability(one, bins) for one in judged]
    points = [(b.predicted, b.observed) for table in tables for b in table]
    first = tables[0] if tables else []
    both = [*(value for point in points for value in point), *(b.high for b in first), *(b.low for b in first)]
    low, high = (min(both), max(both)) if both else (0.0, 1.0)
    low = 0.0 if low >= 0 else low
    axes = Axes([low, high], [low, high])
    measured = bool(judged) and judged[0].kind in ("number", "ordinal") and judged[0].predicted.ndim == 1
    parts = axes.drawn("predicted", "observed mean" if measured else "share that came true")
    top = min(axes.x_high, axes.y_ticks[-1])
    start = max(axes.x_low, axes.y_ticks[0])
    parts.append(f'<path class="line even" d="M{axes.across(start):.1f} {axes.up(start):.1f}L{axes.across(top):.1f} {axes.up(top):.1f}"/>')
    for index, table in reversed(list(enumerate(tables))):
        style = f"c{index % COLOURS} d{index % 5}" + (" first" if index == 0 else "")
        places = [(axes.across(b.predicted), axes.up(b.observed)) for b in table]
        if index == 0:
            parts += [
                f'<path class="whisker c0" d="M{axes.across(b.predicted):.1f} {axes.up(b.low):.1f}V{axes.up(b.high):.1f}"/>' for b in table
            ]
        if places:
            parts.append(f'<path class="line {style}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>')
        if index == 0:
            parts += [f'<circle class="dot c0" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    y = axes.bottom + 56
    for index, one in enumerate(judged):
        x = 4 + (index % 2) * 190
        style = f"c{index % COLOURS} d{index % 5}" + (" first" if index == 0 else "")
        parts.append(f'<line class="line {style}" x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}"/>')
        parts.append(f'<text class="label{" strong" if index == 0 else ""}" x="{x + 31}" y="{y}">{escape(short(one.name, 23))}</text>')
        if index % 2 or index == len(judged) - 1:
            y += 19
    words = "; ".join(f"{b.predicted:.3g} came to {b.observed:.3g} in {b.rows:,} rows" for b in first)
    return svg(key, "What was predicted against what came true", (words or "No rows") + ".", y - 8, parts)


def _normal(values: np.ndarray) -> tuple[float, float]:
    half = NORMAL_95 * float(values.std()) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half
