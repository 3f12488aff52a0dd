"""Counts as of the time of each exposure: what a careful engineer keeps in a table and joins to a request. Strictly before the row, nothing of its own moment.

Dimension keys: X exposures, E events, T tasks.
"""

from __future__ import annotations

import numpy as np

from m6rec.baselines.counters import outcomes, rates_of_all
from m6rec.data.running_counts import earlier_sums
from task_rows import DAY_MS, MINUTE_MS, Rows, at

DECAYS = (60 * MINUTE_MS, 3 * DAY_MS)  # half-lives of the fading counts
LEAST_CODES = 10  # properties of an item with fewer values are not counted by


def faded_sums(keys: np.ndarray, times: np.ndarray, values: np.ndarray, half_life: int) -> np.ndarray:
    """As `earlier_sums`, each row counting half for every `half_life` ms that passed since."""
    order = np.argsort(at(keys, times), kind="stable")
    found = np.zeros((len(keys), values.shape[1]))
    state, pending = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    key, moment = None, 0
    for row in order.tolist():
        if keys[row] != key:
            key, state, pending, moment = keys[row], np.zeros_like(state), np.zeros_like(state), times[row]
        elif times[row] != moment:
            state = (state + pending) * 0.5 ** ((times[row] - moment) / half_life)
            pending, moment = np.zeros_like(state), times[row]
        found[row] = state
        pending = pending + values[row]
    return found


def event_sums(rows: Rows, of_events: np.ndarray, of_rows: np.ndarray) -> np.ndarray:
    """float64 (X, 1 + actions): events, and events of each action, of the same key strictly before the row."""
    events = rows.events
    known = of_events > 0
    values = np.eye(len(events.names))[events.actions[known]]
    moment = at(of_events[known], events.times[known])
    order = np.argsort(moment, kind="stable")
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values[order], axis=0)])
    ends = np.searchsorted(moment[order], at(of_rows, rows.times), side="left")
    starts = np.searchsorted(of_events[known][order], of_rows, side="left")
    found = np.where((of_rows > 0)[:, None], total[np.maximum(ends, starts)] - total[starts], 0.0)
    return np.concatenate([found.sum(axis=1, keepdims=True), found], axis=1)


def group_keys(rows: Rows) -> dict[str, np.ndarray]:
    """Keys by which exposures are counted: name -> int64 (X,). Unknown parts of a key are counted together."""
    keys = {}
    scenario = rows.codes.get("scenario")
    for name in ("user", *properties(rows)):
        keys[name] = rows.codes[name].values.astype(np.int64)
        if scenario is not None:
            keys[f"{name} x scenario"] = keys[name] * scenario.size + scenario.values
    for name in properties(rows):
        keys[f"user x {name}"] = keys["user"] * rows.codes[name].size + rows.codes[name].values
    if scenario is not None:
        keys["scenario"] = scenario.values.astype(np.int64)
    return {name: compact(key) for name, key in keys.items()}


def properties(rows: Rows) -> list[str]:
    """The item itself, and what of it has enough different values."""
    return [name for name, codes in rows.item_codes.items() if codes.size > LEAST_CODES]


def compact(keys: np.ndarray) -> np.ndarray:
    """The same groups, numbered from 1: `at` has room for two million."""
    return 1 + np.unique(keys, return_inverse=True)[1].astype(np.int64)


def counts(rows: Rows) -> dict[str, np.ndarray]:
    """Every count as float32 (X,): exposures and shrunk rates of each task for each key, fading ones, earlier events, gaps in time."""
    found: dict[str, np.ndarray] = {}
    values = outcomes(rows.labels)
    prior = rates_of_all(rows)
    for name, keys in group_keys(rows).items():
        _rates(found, name, earlier_sums(keys, rows.times, values), prior, rows.tasks)
    for name in ("user", "item"):
        for half_life in DECAYS:
            faded = faded_sums(rows.codes[name].values, rows.times, values, half_life)
            _rates(found, f"{name} {half_life // MINUTE_MS} min", faded, prior, rows.tasks)
    _past_events(rows, found)
    _gaps(rows, found)
    return found


def _rates(found: dict[str, np.ndarray], name: str, sums: np.ndarray, prior: np.ndarray, tasks: list[str], weight: float = 10.0) -> None:
    """Exposures, and positives shrunk to the rate of all with the weight of ten exposures."""
    found[f"{name}: n"] = sums[:, 0].astype(np.float32)
    for number, task in enumerate(tasks):
        rate = (sums[:, len(tasks) + number] + weight * prior[:, number]) / (sums[:, 0] + weight)
        found[f"{name}: {task}"] = rate.astype(np.float32)


def _past_events(rows: Rows, found: dict[str, np.ndarray]) -> None:
    """How often the user, the item, what the item is, and the user with what the item is were in the events; and shares of the actions."""
    events = rows.events
    of = {"user": (events.users, rows.users)}
    for name in properties(rows):
        values = rows.item_codes[name].values
        of[name] = (values[events.items], rows.codes[name].values)
        pair = [
            people.astype(np.int64) * rows.item_codes[name].size + code
            for people, code in ((events.users, of[name][0]), (rows.users, of[name][1]))
        ]
        both = compact(np.concatenate(pair))
        of[f"user x {name}"] = (both[: len(events.users)], both[len(events.users) :])
    for name, (of_events, of_rows) in of.items():
        sums = event_sums(rows, of_events, of_rows)
        found[f"events of {name}: n"] = sums[:, 0].astype(np.float32)
        for number, action in enumerate(events.names):
            found[f"events of {name}: {action}"] = ((sums[:, 1 + number] + 0.1) / (sums[:, 0] + 1)).astype(np.float32)


def _gaps(rows: Rows, found: dict[str, np.ndarray]) -> None:
    """Minutes since the user's and the item's previous exposure; exposures of the user in the last half hour."""
    for name in ("user", "item"):
        moment = at(rows.codes[name].values, rows.times)
        ordered = np.sort(moment, kind="stable")
        before = np.searchsorted(ordered, moment, side="left")
        previous = ordered[np.maximum(before - 1, 0)]
        same = (before > 0) & ((previous >> 42) == rows.codes[name].values)
        found[f"{name}: minutes since"] = np.where(same, (moment - previous) / MINUTE_MS, np.nan).astype(np.float32)
        if name == "user":
            since = np.searchsorted(ordered, moment - 30 * MINUTE_MS, side="left")
            found["user: exposures in 30 min"] = (before - since).astype(np.float32)
