"""Label delays: how long after something was shown, or first touched, its outcome comes. What is younger than that has no label yet.

Dimension keys: X exposures, E events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.analysis.log import Log
from m6rec.data.exposures import Exposures

QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Delay:
    """after -> outcome: `count` cases, quantiles of the delay in seconds, and the share of starts younger than the 95 % quantile."""

    after: str
    outcome: str
    count: int
    seconds: dict[str, float]
    within: dict[str, float]
    unripe: float


def delays_of_exposures(exposures: Exposures, log: Log) -> list[Delay]:
    """From an exposure to the first later event of the same user and item, by action; [] where times are unknown.

    The event at the very moment of the exposure is the exposure itself and does not count.
    """
    if exposures.times is None or log.times is None:
        return []
    starts = ~np.isnan(exposures.times)
    users, items, times = exposures.users[starts].astype(np.int64), exposures.items[starts].astype(np.int64), exposures.times[starts]
    names = log.action_names or ["event"]
    actions = np.zeros(len(log), dtype=np.int64) if log.actions is None else log.actions
    found = []
    for code, name in enumerate(names):
        rows = (actions == code) & ~np.isnan(log.times)
        delay = _first_after(users, items, times, log.users[rows], log.items[rows], log.times[rows], log.item_count)
        if (~np.isnan(delay)).sum():
            found.append(_delay("exposure", name, delay, times, float(np.nanmax(log.times))))
    return found


def delays_of_events(log: Log) -> list[Delay]:
    """From the first event of a user and an item to its first event of every later action; [] where times or actions are unknown."""
    if log.times is None or log.actions is None:
        return []
    known = ~np.isnan(log.times)
    users, items, times, actions = log.users[known], log.items[known], log.times[known], log.actions[known]
    pairs, pair = np.unique(users * max(log.item_count, 1) + items, return_inverse=True)
    first = np.full(len(pairs), np.inf)
    np.minimum.at(first, pair, times)
    began = np.full(len(pairs), len(log.action_names))
    at_first = times == first[pair]
    np.minimum.at(began, pair[at_first], actions[at_first])
    found = []
    for code, name in enumerate(log.action_names):
        outcome = np.full(len(pairs), np.inf)
        np.minimum.at(outcome, pair[actions == code], times[actions == code])
        later = np.isfinite(outcome) & (outcome > first)
        if later.sum():
            delay = np.where(later, outcome - first, np.nan)
            found.append(_delay("first event", name, delay, first, float(times.max())))
    return found


def _first_after(
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    event_users: np.ndarray,
    event_items: np.ndarray,
    event_times: np.ndarray,
    size: int,
) -> np.ndarray:
    """float64 (X,): seconds from each start to the first event of its user and item after it; NaN where there is none."""
    keys = event_users * max(size, 1) + event_items
    order = np.lexsort((event_times, keys))
    keys, event_times = keys[order], event_times[order]
    wanted = users * max(size, 1) + items
    low, high = np.searchsorted(keys, wanted, side="left"), np.searchsorted(keys, wanted, side="right")
    at = low.copy()
    for _ in range(64):  # a pair has few events: walking is quicker than a search in each
        behind = (at < high) & (event_times[np.minimum(at, max(len(keys) - 1, 0))] <= times) if len(keys) else np.zeros(len(at), dtype=bool)
        if not behind.any():
            break
        at[behind] += 1
    found = (at < high) & (event_times[np.minimum(at, max(len(keys) - 1, 0))] > times) if len(keys) else np.zeros(len(at), dtype=bool)
    result = np.full(len(users), np.nan)
    result[found] = event_times[at[found]] - times[found]
    return result


def _delay(after: str, outcome: str, delay: np.ndarray, starts: np.ndarray, end: float) -> Delay:
    known = delay[~np.isnan(delay)]
    values = np.quantile(known, QUANTILES)
    seconds = {f"p{round(100 * q)}": float(v) for q, v in zip(QUANTILES, values, strict=True)}
    within = {word: float((known <= limit).mean()) for word, limit in (("1 hour", 3600.0), ("1 day", 86_400.0), ("7 days", 604_800.0))}
    return Delay(after, outcome, len(known), seconds, within, float((starts > end - values[QUANTILES.index(0.95)]).mean()))
