"""Activity and newcomers over time: events, users, and how much of a window is about items or people nobody had met before.

Dimension keys: E events, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.analysis.log import Calendar, Log

FEW = 5  # events: an item or user with fewer before the window is hardly known


@dataclass(frozen=True)
class Activity:
    """Per window: events, active users and items; hours: events of each hour of the week, int64 (7, 24), Monday first, UTC."""

    starts: np.ndarray
    events: np.ndarray
    users: np.ndarray
    items: np.ndarray
    hours: np.ndarray


@dataclass(frozen=True)
class Cold:
    """Share of a window's events, float64 (W,): NaN without events. new: none before the window; few: fewer than 5 before it."""

    new_items: np.ndarray
    few_items: np.ndarray
    new_users: np.ndarray
    few_users: np.ndarray


def activity(log: Log, calendar: Calendar) -> Activity:
    """What happened when; the log has times."""
    assert log.times is not None
    windows = calendar.windows(log.times)
    rows = windows >= 0
    hour = np.floor((log.times[rows] - 4 * 86_400.0) / 3600).astype(np.int64) % 168
    return Activity(
        starts=calendar.starts,
        events=np.bincount(windows[rows], minlength=calendar.count),
        users=_distinct(log.users[rows], windows[rows], calendar.count),
        items=_distinct(log.items[rows], windows[rows], calendar.count),
        hours=np.bincount(hour, minlength=168).reshape(7, 24),
    )


def cold_shares(log: Log, calendar: Calendar) -> Cold:
    """How cold each window is to somebody who knows everything before it and nothing of it."""
    assert log.times is not None
    windows = calendar.windows(log.times)
    parts = {}
    for name, ids in (("items", log.items), ("users", log.users)):
        before = _before_window(ids, windows)
        for kind, bound in (("new", 1), ("few", FEW)):
            rows = windows >= 0
            total = np.bincount(windows[rows], minlength=calendar.count)
            cold = np.bincount(windows[rows], (before[rows] < bound).astype(np.float64), minlength=calendar.count)
            parts[f"{kind}_{name}"] = np.divide(cold, total, out=np.full(calendar.count, np.nan), where=total > 0)
    return Cold(**parts)


def _before_window(ids: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """int64 (E,): events of the same id in earlier windows."""
    order = np.lexsort((windows, ids))
    sorted_ids, sorted_windows = ids[order], windows[order]
    new_id = np.concatenate([[True], sorted_ids[1:] != sorted_ids[:-1]])[: len(ids)]
    new_block = new_id | np.concatenate([[True], sorted_windows[1:] != sorted_windows[:-1]])[: len(ids)]
    place = np.arange(len(ids))
    first_of_id = np.maximum.accumulate(np.where(new_id, place, 0))
    first_of_block = np.maximum.accumulate(np.where(new_block, place, 0))
    before = np.empty(len(ids), dtype=np.int64)
    before[order] = first_of_block - first_of_id
    return before


def _distinct(ids: np.ndarray, windows: np.ndarray, count: int) -> np.ndarray:
    pairs = np.unique(windows * (int(ids.max(initial=0)) + 1) + ids)
    return np.bincount(pairs // (int(ids.max(initial=0)) + 1), minlength=count)
