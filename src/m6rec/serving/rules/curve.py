"""What a slider costs: accuracy of lists against their diversity and novelty, over people of whom it is known what they took next.

Dimension keys: N items, C candidates, W width, K places, P people, S slates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.evaluation.intervals import bootstrap_columns
from m6rec.evaluation.plots import Line, line_chart
from m6rec.serving.asked import Slate
from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.serving.rules.slate import put_together


@dataclass(frozen=True)
class Case:
    """One person: items int (C,) candidates, log_probabilities float (C,), target the item that was taken next (maybe no candidate)."""

    items: np.ndarray
    log_probabilities: np.ndarray
    target: int


@dataclass(frozen=True)
class CurvePoint:
    """Lists of one slate. Means over people with 95 % intervals (mean, low, high).

    unlikeness  1 - the mean cosine of the pairs of a list.  novelty: mean self-information of its items, bits.
    coverage    share of the catalogue that stands in any list
    """

    slate: Slate
    ndcg: tuple[float, float, float]
    hit: tuple[float, float, float]
    unlikeness: tuple[float, float, float]
    novelty: tuple[float, float, float]
    coverage: float


def accuracy_diversity(
    cases: Iterable[Case], slates: Sequence[Slate], fields: CatalogueFacts, vectors: np.ndarray, k: int = 10, seed: int = 0
) -> list[CurvePoint]:
    """One point for each slate, all over the same people, so that their differences are those of the slates.

    Args:
        vectors: float (N, W), what likeness is measured by, here and in the slates.
    """
    unit = np.asarray(vectors, dtype=np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    bits = -np.log2(fields.popularity)
    found: list[list[np.ndarray]] = []  # P times (S, 4)
    shown = np.zeros((len(slates), len(fields)), dtype=bool)
    for case in cases:
        rows = []
        for place, slate in enumerate(slates):
            order = put_together(slate, case.items, case.log_probabilities, unit[case.items], None, fields, k).order
            chosen = case.items[order]
            shown[place, chosen] = True
            rows.append(_figures(chosen, case.target, unit[chosen], bits[chosen]))
        found.append(rows)
    values = np.array(found, dtype=np.float64).reshape(len(found), len(slates) * 4)
    means, lows, highs = (part.reshape(len(slates), 4) for part in bootstrap_columns(values, seed=seed))

    def figure(place: int, column: int) -> tuple[float, float, float]:
        return float(means[place, column]), float(lows[place, column]), float(highs[place, column])

    return [
        CurvePoint(slate, figure(place, 0), figure(place, 1), figure(place, 2), figure(place, 3), float(shown[place].mean()))
        for place, slate in enumerate(slates)
    ]


def _figures(chosen: np.ndarray, target: int, unit: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """float64 (4,): NDCG, hit, unlikeness (NaN for a list of fewer than two), novelty (NaN for an empty list)."""
    place = np.flatnonzero(chosen == target)
    count = len(chosen)
    gain = 1 / np.log2(place[0] + 2) if len(place) else 0.0
    pairs = count * (count - 1)
    alike = float(np.square(unit.sum(axis=0)).sum() - np.square(unit).sum()) / pairs if pairs else np.nan
    return np.array([gain, float(len(place) > 0), 1 - alike, bits.mean() if count else np.nan])


def curve_svg(lines: Mapping[str, Sequence[CurvePoint]], *, against: str = "unlikeness", title: str = "", k: int = 10) -> str:
    """NDCG against unlikeness or novelty, a line a slider, as inline SVG.

    Args:
        lines: name -> points in the order of the slider.
        against: "unlikeness" or "novelty".
    """
    drawn = [
        Line(name, [getattr(point, against)[0] for point in points], [point.ndcg[0] for point in points]) for name, points in lines.items()
    ]
    label = "unlikeness within a list" if against == "unlikeness" else "novelty of a list, bits"
    said = "; ".join(f"{one.label}: " + ", ".join(f"{x:.3f} {y:.4f}" for x, y in zip(one.xs, one.ys, strict=True)) for one in drawn)
    key, heading = f"slates-{against}", title or f"NDCG@{k} and {against}"
    return line_chart(key, heading, said + ".", drawn, x_label=label, y_label=f"NDCG@{k}", from_zero=True)
