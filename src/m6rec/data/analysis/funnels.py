"""Funnels: how many of those who were shown something came to each later step, in every scenario.

Dimension keys: X exposures, E events, K steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.analysis.log import Log
from m6rec.data.exposures import Exposures

SHOWN = "shown"
EVERYWHERE = "all"
# Words that say which step of a funnel a label or an action is, from first to last; what has none is told apart, not a step.
STAGES = (
    ("shown", "impression", "exposure", "display", "view", "pv"),
    ("click", "open", "play", "tap"),
    ("cart", "basket", "add", "wish", "fav"),
    ("purchase", "buy", "bought", "order", "pay", "paid", "convert", "conversion", "checkout"),
)
LONG = {"long", "effective", "valid", "complete", "full", "finish"}  # long_view comes after the click that it is of


@dataclass(frozen=True)
class Step:
    """count: units that reached it; of_first, of_previous: as shares; skipped: units counted here that left out the step before."""

    name: str
    count: int
    of_first: float
    of_previous: float
    skipped: int


@dataclass(frozen=True)
class Funnel:
    """The steps in one scenario; `unit` says what is counted, `beside` are outcomes that are no step (share of the first step)."""

    scenario: str
    unit: str
    steps: list[Step]
    beside: dict[str, float]


def stage_of(name: str) -> int | None:
    """The place of a label or action among STAGES, None where its name says nothing, or says how long somebody stayed (long_view)."""
    words = name.lower().replace("-", "_").split("_")
    if LONG & set(words):
        return None
    for place, known in enumerate(STAGES):
        if any(word.startswith(start) for word in words for start in known if len(start) > 2 or word == start):
            return place
    return None


def steps_among(names: Sequence[str], wanted: Sequence[str] | None, what: str) -> list[str]:
    """The steps in order: those asked for, else those whose names say so.

    Raises:
        DataError: a step was asked for that there is not.
    """
    if wanted is not None:
        for name in wanted:
            if name not in names:
                raise DataError(f"there is no {what} '{name}' for a funnel{nearest(name, list(names)) or '; known: ' + ', '.join(names)}")
        return list(wanted)
    placed = [(stage, name) for name in names if (stage := stage_of(name)) is not None]
    return [name for _, name in sorted(placed, key=lambda one: one[0])]


def funnels_of_exposures(exposures: Exposures, scenario_names: Sequence[str], wanted: Sequence[str] | None = None) -> list[Funnel]:
    """Rows shown, then those whose label is positive, step by step; of all scenarios together first.

    A row reaches a step when that label or one of a later step is positive; `skipped` counts the rows where a step is positive and the
    label of the step before it is known to be negative. Labels that are numbers other than 0 and 1, or text, are no outcomes.
    """
    outcomes = {name: values for name in exposures.labels.columns if (values := binary(exposures.labels[name])) is not None}
    names = steps_among(list(outcomes), wanted, "binary label")
    found = []
    for scenario, rows in _parts(exposures.scenarios, scenario_names, len(exposures)):
        known = {name: values[rows] for name, values in outcomes.items() if not np.isnan(values[rows]).all()}  # not asked there: no step
        steps = [name for name in names if name in known]
        values = np.stack([np.ones(len(rows)), *(known[name] for name in steps)], axis=1)  # X K: every row reached the first step
        beside = {name: column for name, column in known.items() if name not in names}
        found.append(_funnel(scenario, "exposures", [SHOWN, *steps], values, beside))
    return found


def funnels_of_events(log: Log, wanted: Sequence[str] | None = None) -> list[Funnel]:
    """Pairs of a user and an item, by the actions between them; of all scenarios together first. [] where actions are unknown."""
    if log.actions is None or len(log.action_names) < 2:
        return []
    names = steps_among(log.action_names, wanted, "action")
    if len(names) < 2:
        return []
    found = []
    for scenario, rows in _parts(log.scenarios, log.scenario_names, len(log)):
        pairs, pair = np.unique(log.users[rows] * max(log.item_count, 1) + log.items[rows], return_inverse=True)
        did = np.zeros((len(pairs), len(log.action_names)), dtype=bool)
        did[pair, log.actions[rows]] = True
        there = [name for name in names if did[:, log.action_names.index(name)].any()]
        values = did[:, [log.action_names.index(name) for name in there]].astype(np.float64)
        values = values[values.any(axis=1)]
        others = [name for name in log.action_names if name not in names and did[:, log.action_names.index(name)].any()]
        beside = {name: did[:, log.action_names.index(name)].astype(np.float64) for name in others}
        found.append(_funnel(scenario, "pairs of user and item", there, values, beside))
    return found


def label_rates_by_position(exposures: Exposures, most: int = 20) -> dict[str, list[tuple[int, int, float]]]:
    """label -> (position, rows, share positive) of the first `most` positions: what is shown first is clicked more, liked or not."""
    if exposures.positions is None:
        return {}
    known = ~np.isnan(exposures.positions)
    found = {}
    for name in exposures.labels.columns:
        values = binary(exposures.labels[name])
        if values is None:
            continue
        rows = known & ~np.isnan(values)
        places = exposures.positions[rows].astype(np.int64)
        chosen = [int(place) for place in np.unique(places)[:most]]
        found[name] = [(p, int((places == p).sum()), float(values[rows][places == p].mean())) for p in chosen]
    return found


def binary(column: pl.Series) -> np.ndarray | None:
    """float64 (X,) of 0, 1 and NaN; None for a label that is anything else."""
    if column.dtype == pl.Boolean or column.dtype.is_numeric():
        values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        known = values[~np.isnan(values)]
        return np.array(values) if len(known) and np.isin(known, (0.0, 1.0)).all() else None
    return None


def _parts(codes: np.ndarray | None, names: Sequence[str], size: int) -> list[tuple[str, np.ndarray]]:
    parts = [(EVERYWHERE, np.arange(size))]
    if codes is not None and len(names) > 1:
        parts += [(name, rows) for code, name in enumerate(names) if len(rows := np.flatnonzero(codes == code))]
    return parts


def _funnel(scenario: str, unit: str, names: Sequence[str], values: np.ndarray, beside: dict[str, np.ndarray]) -> Funnel:
    """values: float (units, K) of 0, 1 and NaN."""
    positive = values == 1
    # reached: this step or a later one
    reached = np.flip(np.logical_or.accumulate(np.flip(positive, axis=1), axis=1), axis=1)
    counts = reached.sum(axis=0).tolist()
    steps = []
    for place, name in enumerate(names):
        skipped = int((positive[:, place] & (values[:, place - 1] == 0)).sum()) if place else 0
        before = counts[max(place - 1, 0)]
        steps.append(Step(name, counts[place], _share(counts[place], counts[0]), _share(counts[place], before), skipped))
    rates = {name: float(np.nanmean(column)) for name, column in beside.items() if (~np.isnan(column)).any()}
    return Funnel(scenario, unit, steps, rates)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
