"""The log as flat columns: one row an event, of all users, with names of the codes. What every analysis reads.

Dimension keys: E events, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.dataset import Dataset

DAY = 86_400.0
WINDOWS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY}
MONDAY = 4 * DAY  # 1970-01-05 was a Monday: weeks start there


@dataclass(frozen=True)
class Log:
    """E events in the order of the users' rows, oldest first within a user.

    users, items  int64 (E,)
    times         float64 (E,), NaN unknown; None where only the order is known
    actions, scenarios  int64 (E,) codes of the names, or None
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    actions: np.ndarray | None
    scenarios: np.ndarray | None
    action_names: list[str]
    scenario_names: list[str]
    user_count: int
    item_count: int

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def of(cls, dataset: Dataset) -> Log:
        """The events of a prepared dataset."""
        past = dataset.histories
        known = past.times is not None and bool((~np.isnan(past.times)).any())
        return cls(
            users=np.repeat(np.arange(len(past)), past.lengths),
            items=past.items.astype(np.int64),
            times=np.asarray(past.times, dtype=np.float64) if known and past.times is not None else None,
            actions=None if past.actions is None else past.actions.astype(np.int64),
            scenarios=None if past.scenarios is None else past.scenarios.astype(np.int64),
            action_names=list(dataset.action_names),
            scenario_names=list(dataset.scenario_names),
            user_count=len(dataset.users),
            item_count=len(dataset.items),
        )


@dataclass(frozen=True)
class Calendar:
    """Equal windows of time: window w begins at `start + w * seconds` (UTC; weeks begin on Monday)."""

    start: float
    seconds: float
    count: int

    @classmethod
    def over(cls, times: np.ndarray, seconds: float) -> Calendar:
        """The windows that hold all known `times` (at least one is known)."""
        known = times[~np.isnan(times)]
        begin = MONDAY if seconds % (7 * DAY) == 0 else 0.0
        first, last = np.floor((known.min() - begin) / seconds), np.floor((known.max() - begin) / seconds)
        return cls(float(begin + first * seconds), seconds, int(last - first) + 1)

    def windows(self, times: np.ndarray) -> np.ndarray:
        """int64, the window of each time; -1 where it is unknown."""
        known = ~np.isnan(times)
        found = np.full(len(times), -1, dtype=np.int64)
        found[known] = np.floor((times[known] - self.start) / self.seconds).astype(np.int64)
        return found

    @property
    def starts(self) -> np.ndarray:
        """float64 (W,): seconds since 1970."""
        return self.start + self.seconds * np.arange(self.count)
