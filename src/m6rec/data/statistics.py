"""Cross statistics: what happened before, counted strictly before the moment of asking, by one piece of code offline and online.

For every kind of key (user, item, scenario, value of an item field, and pairs of them): how often it was shown, the rate of every
label, both (but for item fields alone) also within the newest days, and how long ago the last time was. A rate is drawn to that of the parent kind,
(positives + m parent) / (shown + m), so that a pair seen twice says little more than the user alone; it is given as the distance of its log odds
from those of all rows. m is learned for every kind of key and label from the training rows (`shrinkage.py`).

Rows at the moment of asking are not before it: no row ever counts itself or what was shown with it. Where only an order is known,
the order is the time. Values of the training rows are made the same way, so a row's own label is in none of its statistics.

Shapes: X rows asked about, R rows of the log, K kinds of keys, V values of a kind a row may have, L labels, S statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from m6rec.data.running_counts import RunningCounts
from m6rec.data.shrinkage import strengths
from m6rec.data.statistic_keys import StatisticKeys

DAY = 86_400.0
SMOOTHING = 10.0  # rows that the parent's rate counts for where that was not learned
TAIL_SHARE = 0.1  # rows that came online are kept apart until they are so large a part of the log


@dataclass(frozen=True)
class OutcomeLog:
    """R rows of what was shown and what came of it.

    users, items int (R,); scenarios int (R,) or None; moments float64 (R,) seconds, or the order where no time is known;
    outcomes float32 (R, L), NaN where unknown.
    """

    users: np.ndarray
    items: np.ndarray
    scenarios: np.ndarray | None
    moments: np.ndarray
    outcomes: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def chosen(self, rows: np.ndarray) -> OutcomeLog:
        """The rows `rows` (ints)."""
        scenarios = None if self.scenarios is None else self.scenarios[rows]
        return OutcomeLog(self.users[rows], self.items[rows], scenarios, self.moments[rows], self.outcomes[rows])

    def joined(self, other: OutcomeLog) -> OutcomeLog:
        scenarios = None
        if self.scenarios is not None and other.scenarios is not None:
            scenarios = np.concatenate([self.scenarios, other.scenarios])
        pairs = ((self.users, other.users), (self.items, other.items), (self.moments, other.moments), (self.outcomes, other.outcomes))
        users, items, moments, outcomes = (np.concatenate(pair) for pair in pairs)
        return OutcomeLog(users, items, scenarios, moments, outcomes)


class _Part:
    """Running counts of one part of a log: columns are rows shown, then for every label known rows and their sum."""

    def __init__(self, keys: StatisticKeys, log: OutcomeLog) -> None:
        dated = np.flatnonzero(~np.isnan(log.moments))  # what has no time is before nothing
        self.moments = np.unique(log.moments[dated])
        ranks = np.searchsorted(self.moments, log.moments[dated])
        scenarios = None if log.scenarios is None else log.scenarios[dated]
        coded = keys.keys(log.users[dated], log.items[dated], scenarios)  # K R V
        outcomes = log.outcomes[dated]
        known = ~np.isnan(outcomes)
        self.groups = _distinct_columns(known)
        shown = [np.ones(len(dated), np.float32), *(known[:, column].astype(np.float32) for column, _ in self.groups)]
        columns = np.column_stack([*shown, np.nan_to_num(outcomes)]).astype(np.float32)
        rows = coded.shape[1]
        row = np.broadcast_to(np.arange(rows)[None, :, None], coded.shape).ravel()
        kept = np.flatnonzero(coded.ravel() >= 0)
        row = row[kept]
        self.counts = RunningCounts.build(coded.ravel()[kept], ranks[row], columns[row])

    def read(
        self, coded: np.ndarray, moments: np.ndarray, windows: list[float], windowed: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """coded int64 (K, X, V) -> sums (K, X, 1 + 2 L), the same of each window (K', X, 1 + 2 L), newest moment float64 (K, X), -inf for never.

        windowed: the kinds K' that windows are counted for.
        """
        shape, once = coded.shape, len(moments) > 1 and bool((moments == moments[0]).all())
        place = np.zeros(shape, dtype=np.int64)
        if once:  # one request: its candidates share most keys, and each is looked up once
            distinct, inverse = np.unique(coded, return_inverse=True)
            coded, place, moments = distinct[:, None, None], inverse.reshape(shape), moments[:1]
        numbers = self.counts.find(coded)
        asked = np.searchsorted(self.moments, moments)
        ends = self.counts.ends(numbers, np.broadcast_to(asked[None, :, None], coded.shape))
        whole = self.counts.until(numbers, ends)
        inside = []
        for days in windows:
            first = np.searchsorted(self.moments, moments - days * DAY)
            some = numbers if once else numbers[windowed]
            begin = self.counts.ends(some, np.broadcast_to(first[None, :, None], some.shape))
            counted = (whole if once else whole[windowed]) - self.counts.until(some, begin)
            inside.append(counted[place[windowed], 0, 0] if once else counted)
        last = self.counts.last(numbers, ends)
        if once:
            whole, last = whole[place, 0, 0], last[place, 0, 0]
        last = last.max(axis=2)
        newest = np.where(last >= 0, self.moments[np.maximum(last, 0)] if len(self.moments) else 0.0, -np.inf)
        return self._spread(_over_values(whole)), [self._spread(_over_values(counted)) for counted in inside], newest

    def _spread(self, sums: np.ndarray) -> np.ndarray:
        """Known rows of every label, where labels known in the same rows share a column: (..., 1 + G + L) -> (..., 1 + 2 L)."""
        labels = sums.shape[-1] - 1 - len(self.groups)
        owner = np.zeros(labels, dtype=np.int64)
        for number, (_, members) in enumerate(self.groups):
            owner[members] = 1 + number
        positive = 1 + len(self.groups) + np.arange(labels)
        return sums[..., np.concatenate([[0], owner, positive])]


def _over_values(sums: np.ndarray) -> np.ndarray:
    """(K, X, V, C) -> (K, X, C)."""
    return sums[:, :, 0] if sums.shape[2] == 1 else sums.sum(axis=2)


def _distinct_columns(known: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Columns that are equal, together: (first of them, all of them)."""
    groups: list[tuple[int, list[int]]] = []
    for column in range(known.shape[1]):
        same = next((group for group in groups if np.array_equal(known[:, group[0]], known[:, column])), None)
        if same is None:
            groups.append((column, [column]))
        else:
            same[1].append(column)
    return [(first, np.array(members)) for first, members in groups]


class Statistics:
    """Statistics of a log, to be read as of any moment; rows that come in later are appended."""

    def __init__(self, keys: StatisticKeys, labels: list[str], log: OutcomeLog, windows: list[float], smoothing: float = SMOOTHING) -> None:
        """windows: days; none where only an order is known. labels: a name for every column of the outcomes."""
        self.keys, self.labels, self.windows, self.smoothing = keys, labels, windows, smoothing
        self.strengths = np.full((len(keys.kinds), len(labels)), smoothing)  # K L
        self._logs, self._parts = [log], [_Part(keys, log)]  # rows that came in lately are a log and a part of their own
        known = ~np.isnan(log.outcomes)
        outcomes = log.outcomes.astype(np.float64)
        self.shares = np.array([bool(((column[k] >= 0) & (column[k] <= 1)).all()) for column, k in zip(outcomes.T, known.T, strict=True)])
        self.deviation = np.array([column[k].std() or 1.0 if k.any() else 1.0 for column, k in zip(outcomes.T, known.T, strict=True)])
        self.names = self._names()

    @property
    def timed(self) -> bool:
        return bool(self.windows)

    @property
    def log(self) -> OutcomeLog:
        """All rows."""
        return self._logs[0] if len(self._logs) == 1 else self._logs[0].joined(self._logs[1])

    @property
    def log_has_scenarios(self) -> bool:
        return self._logs[0].scenarios is not None

    @property
    def rows(self) -> int:
        """How many rows there are; it grows with every `append`."""
        return sum(map(len, self._logs))

    def settle(self, rows: np.ndarray) -> None:
        """Learn from `rows` (ints) of the log, those that may be trained on, how far rates are drawn to their parents'."""
        log = self.log.chosen(rows)
        coded = self.keys.keys(log.users, log.items, log.scenarios)
        self.strengths = strengths(coded, self.keys.parents, self.keys.levels, log.outcomes, self.smoothing)

    def without(self, user: int) -> Statistics:
        """The same without the rows of a user; scales and strengths stay as they were fitted."""
        log = self.log
        return self.of(log.chosen(np.flatnonzero(log.users != user)))

    def of(self, log: OutcomeLog) -> Statistics:
        """Statistics of another log of the same labels, by the scales and strengths of this one."""
        other = Statistics(self.keys, self.labels, log, self.windows, self.smoothing)
        other.shares, other.deviation, other.strengths = self.shares, self.deviation, self.strengths
        return other

    def append(self, rows: OutcomeLog) -> None:
        """Rows that came in since; they count from their own moments on."""
        newer = rows if len(self._logs) == 1 else self._logs[1].joined(rows)
        logs = [self._logs[0], newer]
        if len(newer) > TAIL_SHARE * len(self._logs[0]):
            logs = [logs[0].joined(newer)]
            self._parts = [_Part(self.keys, logs[0])]
        else:
            self._parts = [self._parts[0], _Part(self.keys, newer)]
        self._logs = logs

    def read(self, users: np.ndarray, items: np.ndarray, scenarios: np.ndarray | None, moments: np.ndarray) -> np.ndarray:
        """float32 (X, S) as of `moments` float64 (X,), in the unit of the log's (inf: after everything; NaN: nothing is before it)."""
        moments = np.where(np.isnan(moments), -np.inf, moments.astype(np.float64))
        coded = self.keys.keys(users, items, scenarios)
        windowed = self.keys.windowed
        sums, inside, newest = self._parts[0].read(coded, moments, self.windows, windowed)
        for part in self._parts[1:]:
            more, within, later = part.read(coded, moments, self.windows, windowed)
            sums, inside, newest = sums + more, [a + b for a, b in zip(inside, within, strict=True)], np.maximum(newest, later)
        labels = len(self.labels)
        rates = np.empty((*sums.shape[:2], labels), dtype=np.float32)  # K X L
        strength = self.strengths.astype(np.float32)[:, None, :]  # K 1 L
        for level in self.keys.levels:
            prior, weight = (rates[self.keys.parents[level]], strength[level]) if level[0] else (np.float32(0.5), 2.0)
            rates[level] = (sums[level, :, 1 + labels :] + weight * prior) / (sums[level, :, 1 : 1 + labels] + weight)
        columns = [np.concatenate([np.log1p(sums[..., :1]), self._lifts(rates, rates[0])], axis=-1)]
        columns[0][0, :, 1:] = self._levels(rates[0])
        for counted in inside:
            drawn = strength[windowed]
            recent = (counted[..., 1 + labels :] + drawn * rates[windowed]) / (counted[..., 1 : 1 + labels] + drawn)
            columns.append(np.concatenate([np.log1p(counted[..., :1]), self._lifts(recent, rates[0])], axis=-1))
        table = [column.transpose(1, 0, 2).reshape(len(users), -1) for column in columns]
        if self.timed:
            with np.errstate(invalid="ignore"):
                gaps = np.minimum(np.nan_to_num(moments - newest, nan=np.inf), 365 * DAY)  # K X
            table.append(np.log1p(np.maximum(gaps, 0.0) / 60).T)
        return np.concatenate(table, axis=1, dtype=np.float32)

    def _levels(self, rates: np.ndarray) -> np.ndarray:
        """Log odds of shares (a rare label's rates differ by factors), other means in deviations."""
        shares = np.minimum(np.maximum(rates, np.float32(1e-5)), np.float32(1 - 1e-5))
        if self.shares.all():
            return np.asarray(np.log(shares / (1 - shares)))
        return np.where(self.shares, np.log(shares / (1 - shares)), rates / self.deviation)

    def _lifts(self, rates: np.ndarray, everybody: np.ndarray) -> np.ndarray:
        """How far rates (K, X, L) are from that of all rows at the moment, (X, L)."""
        return self._levels(rates) - self._levels(everybody)

    def _names(self) -> list[str]:
        kinds = self.keys.kinds
        names = [f"{kind.name}: {what}" for kind in kinds for what in ("shown", *self.labels)]
        for days in self.windows:
            names += [f"{kinds[k].name}: {what} in {days:g} d" for k in self.keys.windowed for what in ("shown", *self.labels)]
        return names + ([f"{kind.name}: last" for kind in kinds] if self.timed else [])

    def arrays(self) -> dict[str, np.ndarray]:
        """The log, as arrays to save; `from_arrays` counts it again."""
        log = self.log
        arrays = {"users": log.users, "items": log.items, "moments": log.moments, "outcomes": log.outcomes}
        arrays |= {"shares": self.shares, "deviation": self.deviation, "strengths": self.strengths}
        return arrays if log.scenarios is None else {**arrays, "scenarios": log.scenarios}

    @classmethod
    def from_arrays(cls, keys: StatisticKeys, labels: list[str], windows: list[float], arrays: dict[str, np.ndarray]) -> Self:
        log = OutcomeLog(arrays["users"], arrays["items"], arrays.get("scenarios"), arrays["moments"], arrays["outcomes"])
        statistics = cls(keys, labels, log, windows)
        # As fitted: later rows do not change the scale.
        statistics.shares, statistics.deviation, statistics.strengths = (
            arrays["shares"],
            arrays["deviation"],
            arrays.get("strengths", statistics.strengths),
        )
        return statistics
