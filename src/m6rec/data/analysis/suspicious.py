"""Repeats and users who behave like programs: what to look at before it is learned from. Nothing is removed here.

Dimension keys: E events, U users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.analysis.log import DAY, Log

FEWEST = 20  # events of a user, below which nothing is said
FAR = 6.0  # robust standard deviations of log(events per active day)
FAST = 2.0  # seconds: a median pause that no person keeps up
REGULAR = 0.1  # spread of the pauses over their mean: a clock
ONE_ITEM = 0.8  # share of the events on one item
MOST_NAMED = 20


@dataclass(frozen=True)
class Suspect:
    """A dense user, how many events they have, and why they stand out."""

    user: int
    events: int
    reasons: list[str]


@dataclass(frozen=True)
class Suspicious:
    """repeats: events equal to an earlier one in user, item, time and action; repeated_pairs: share of events on an item met before.

    suspects: all of them, the busiest first; events: how many events are theirs.
    """

    repeats: int | None
    repeated_pairs: float
    suspects: list[Suspect]
    events: int


def suspicious(log: Log) -> Suspicious:
    """Repeats and suspects of the whole log; what needs times is left out where there are none (`repeats` is None then)."""
    pairs = len(np.unique(log.users * max(log.item_count, 1) + log.items))
    suspects = _suspects(log)
    return Suspicious(_repeats(log), 1 - pairs / max(len(log), 1), suspects, sum(one.events for one in suspects))


def _repeats(log: Log) -> int | None:
    if log.times is None:
        return None
    known = ~np.isnan(log.times)
    columns = [log.users[known], log.items[known], log.times[known]] + ([] if log.actions is None else [log.actions[known]])
    order = np.lexsort(columns)
    same = np.ones(max(int(known.sum()) - 1, 0), dtype=bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    return int(same.sum())


def _suspects(log: Log) -> list[Suspect]:
    counts = np.bincount(log.users, minlength=log.user_count)
    reasons: dict[int, list[str]] = {}
    busy = counts >= FEWEST
    rate, per = (counts.astype(np.float64), "in all") if log.times is None else (_per_active_day(log), "on an active day")
    for user in _far_above(rate, busy):
        reasons.setdefault(int(user), []).append(f"{rate[user]:,.0f} events {per}, the median is {np.median(rate[counts > 0]):.3g}")
    if log.times is not None:
        for user, words in _like_a_clock(log, busy):
            reasons.setdefault(user, []).append(words)
    pairs, sizes = np.unique(log.users * max(log.item_count, 1) + log.items, return_counts=True)
    owner = pairs // max(log.item_count, 1)
    most = np.zeros(log.user_count)
    np.maximum.at(most, owner, sizes)
    for user in np.flatnonzero(busy & (most > ONE_ITEM * counts)):
        reasons.setdefault(int(user), []).append(f"{most[user] / counts[user]:.0%} of the events on one item")
    found = [Suspect(user, int(counts[user]), words) for user, words in reasons.items()]
    return sorted(found, key=lambda one: (-one.events, one.user))


def _far_above(rate: np.ndarray, busy: np.ndarray) -> np.ndarray:
    """Users whose rate is more than FAR robust standard deviations above the median, on a log scale."""
    some = rate > 0
    if not some.any():
        return np.zeros(0, dtype=np.int64)
    logs = np.log(rate, out=np.zeros(len(rate)), where=some)
    middle = np.median(logs[some])
    spread = max(1.4826 * float(np.median(np.abs(logs[some] - middle))), 0.5)
    return np.flatnonzero(busy & some & (logs > middle + FAR * spread))


def _per_active_day(log: Log) -> np.ndarray:
    assert log.times is not None
    known = ~np.isnan(log.times)
    days = np.floor(log.times[known] / DAY).astype(np.int64)
    users = log.users[known]
    span = int(days.max() - days.min()) + 1
    active = np.bincount(np.unique(users * span + days - days.min()) // span, minlength=log.user_count)
    events = np.bincount(users, minlength=log.user_count)
    return np.divide(events, active, out=np.zeros(log.user_count), where=active > 0)


def _like_a_clock(log: Log, busy: np.ndarray) -> list[tuple[int, str]]:
    assert log.times is not None
    rows = np.flatnonzero(busy[log.users] & ~np.isnan(log.times))
    order = rows[np.lexsort((log.times[rows], log.users[rows]))]
    users, times = log.users[order], log.times[order]
    found = []
    starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]])) if len(users) else np.zeros(0, dtype=np.int64)
    for begin, end in zip(starts, np.append(starts[1:], len(users)), strict=True):
        pauses = np.diff(times[begin:end])
        if len(pauses) < FEWEST - 1 or not pauses.max() > 0:
            continue
        middle, mean = float(np.median(pauses)), float(pauses.mean())
        if 0 < middle < FAST:
            found.append((int(users[begin]), f"a median pause of {middle:.2g} s"))
        elif pauses.std() < REGULAR * mean:
            found.append((int(users[begin]), f"pauses of {mean:.3g} s as regular as a clock"))
    return found
