"""All that the logs say, put together: one object that the terminal, the JSON and the page read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import polars as pl

from m6rec.data.analysis.arrivals import Activity, Cold, activity, cold_shares
from m6rec.data.analysis.concentration import Concentration, concentration
from m6rec.data.analysis.delays import Delay, delays_of_events, delays_of_exposures
from m6rec.data.analysis.drift import Drift, drift
from m6rec.data.analysis.funnels import Funnel, binary, funnels_of_events, funnels_of_exposures, label_rates_by_position
from m6rec.data.analysis.log import WINDOWS, Calendar, Log
from m6rec.data.analysis.sessions import Sessions, sessions
from m6rec.data.analysis.suspicious import Suspicious, suspicious
from m6rec.data.dataset import Dataset, FieldType

MOST_WINDOWS = 400
FEW_CATEGORIES = 300  # a field with more values is not followed over time


@dataclass(frozen=True)
class Analysis:
    """What was found. None or [] where the data can't say; `unknown` then says why, one sentence each.

    window: name of the windows of time; calendar: where they lie.  drift: of the events; label_drift: of the exposures' labels.
    leaks: one sentence a suspicion.
    """

    concentration: Concentration
    funnels: list[Funnel]
    event_funnels: list[Funnel]
    positions: dict[str, list[tuple[int, int, float]]]
    sessions: Sessions | None
    window: str
    calendar: Calendar | None
    activity: Activity | None
    cold: Cold | None
    drift: list[Drift]
    label_calendar: Calendar | None
    label_drift: list[Drift]
    delays: list[Delay]
    suspicious: Suspicious
    suspects: list[str]
    leaks: list[str]
    unknown: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """JSON-ready: arrays as lists, dataclasses as objects."""
        value: dict[str, Any] = _plain(self)
        if self.sessions is not None:
            value["sessions"] = {
                "gap_seconds": self.sessions.gap,
                "gap_reason": self.sessions.reason,
                "count": len(self.sessions.lengths),
                "per_user": self.sessions.per_user,
                **self.sessions.quantiles(),
                "lengths": dict(self.sessions.histogram()),
                "pauses": dict(self.sessions.gap_bands),
            }
        for name in ("drift", "label_drift"):
            for one, row in zip(getattr(self, name), value[name], strict=True):
                row |= {"drifted": one.drifted.tolist(), "changed": one.changed.tolist()}
        for who, row in zip(self.suspects, value["suspicious"]["suspects"], strict=True):
            row["user"] = who
        del value["suspects"]
        return value


def analyse(
    dataset: Dataset,
    *,
    gap: float | None = None,
    window: str = "week",
    steps: Sequence[str] | None = None,
    permutations: int = 200,
    seed: int = 0,
    leaks: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Analysis:
    """Everything at once.

    Args:
        gap: seconds between two events of one session; None lets the data decide (see `sessions`).
        window: day, week or month (30 days).
        steps: labels (of exposures) or actions (of events) that make the funnel, in order; None goes by their names.
        permutations: of the band around drift.
        leaks: which columns seem to know the answer, one sentence each (see `data.leaks`).
        notes: what else can't be known.

    Raises:
        DataError: a step that is neither a label nor an action.
    """
    log = Log.of(dataset)
    shown = dataset.exposures
    unknown = [*_unknown(log, dataset), *notes]
    calendar = None if log.times is None else _calendar(log.times, window)
    label_calendar = None if shown is None or shown.times is None else _calendar(shown.times, window)
    found = suspicious(log)
    by_events = [] if shown is not None and steps is not None else funnels_of_events(log, steps)
    return Analysis(
        concentration=concentration(log),
        funnels=[] if shown is None else funnels_of_exposures(shown, dataset.scenario_names, steps),
        event_funnels=by_events,
        positions={} if shown is None else label_rates_by_position(shown),
        sessions=sessions(log, gap),
        window=window,
        calendar=calendar,
        activity=None if calendar is None else activity(log, calendar),
        cold=None if calendar is None else cold_shares(log, calendar),
        drift=[] if calendar is None else _drifts(dataset, log, calendar, permutations, seed),
        label_calendar=label_calendar,
        label_drift=[] if label_calendar is None else _label_drifts(dataset, label_calendar, permutations, seed),
        delays=[*([] if shown is None else delays_of_exposures(shown, log)), *delays_of_events(log)],
        suspicious=found,
        suspects=[dataset.users.ids.ids[one.user] for one in found.suspects],
        leaks=list(leaks),
        unknown=unknown,
    )


def _calendar(times: np.ndarray, window: str) -> Calendar | None:
    """Windows of the size asked for, made longer where there would be too many of them."""
    if not (~np.isnan(times)).any():
        return None
    calendar = Calendar.over(times, WINDOWS[window])
    while calendar.count > MOST_WINDOWS:
        calendar = Calendar.over(times, calendar.seconds * 4)
    return calendar


def _unknown(log: Log, dataset: Dataset) -> list[str]:
    found = []
    if log.times is None:
        found.append("no times, only an order: sessions, activity, drift, cold shares over time and delays can't be known")
    elif np.isnan(log.times).any():
        found.append(f"{np.isnan(log.times).mean():.1%} of the events have no time; what is told over time is about the others")
    if dataset.exposures is None:
        found.append("no exposures: what was shown and ignored can't be known; funnels count from the first logged action")
    if log.actions is None:
        found.append("no actions: every event is alike, there is no funnel of events")
    if log.scenarios is None:
        found.append("no scenarios: everything is told of the log as a whole")
    return found


def _drifts(dataset: Dataset, log: Log, calendar: Calendar, permutations: int, seed: int) -> list[Drift]:
    """Of items, of every category of them, of actions and scenarios."""
    assert log.times is not None
    windows = calendar.windows(log.times)
    quantities: list[tuple[str, np.ndarray, list[str]]] = [("items", log.items, dataset.items.titles())]
    for name, kind in dataset.items.fields.items():
        if kind == FieldType.CATEGORY:
            codes, names = _codes(dataset.items.frame[name])
            if 1 < len(names) <= FEW_CATEGORIES:
                quantities.append((name, codes[log.items], names))
    for name, known, names in (("action", log.actions, log.action_names), ("scenario", log.scenarios, log.scenario_names)):
        if known is not None and len(names) > 1:
            quantities.append((name, known, names))
    drifts = (
        drift(name, values, names, log.users, windows, calendar.count, permutations=permutations, seed=seed)
        for name, values, names in quantities
    )
    return [one for one in drifts if one is not None]


def _label_drifts(dataset: Dataset, calendar: Calendar, permutations: int, seed: int) -> list[Drift]:
    """Of every label of the exposures: yes or no, its class, or the fifth of the numbers that it lies in."""
    shown = dataset.exposures
    assert shown is not None
    assert shown.times is not None
    windows = calendar.windows(shown.times)
    drifts = []
    for name in shown.labels.columns:
        codes, names = _label_codes(shown.labels[name])
        if len(names) < 2 or len(names) > FEW_CATEGORIES:
            continue
        users = shown.users.astype(np.int64)
        drifts.append(drift(name, codes, names, users, windows, calendar.count, permutations=permutations, seed=seed))
    return [one for one in drifts if one is not None]


def _label_codes(column: pl.Series) -> tuple[np.ndarray, list[str]]:
    values = binary(column)
    if values is not None:
        return np.where(np.isnan(values), -1, np.nan_to_num(values)).astype(np.int64), ["no", "yes"]
    if column.dtype.is_numeric():
        numbers = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        known = ~np.isnan(numbers)
        bounds = np.unique(np.quantile(numbers[known], [0.2, 0.4, 0.6, 0.8])) if known.any() else np.zeros(0)
        names = [f"up to {bound:.4g}" for bound in bounds] + ([f"over {bounds[-1]:.4g}"] if len(bounds) else [])
        return np.where(known, np.searchsorted(bounds, np.nan_to_num(numbers)), -1), names
    if column.dtype == pl.List(pl.String):
        column = column.list.join(", ")
    return _codes(column)


def _codes(column: pl.Series) -> tuple[np.ndarray, list[str]]:
    """int64 codes of a text column, -1 for missing, and the names."""
    names = column.drop_nulls().unique(maintain_order=True)
    if not names.len():
        return np.full(column.len(), -1, dtype=np.int64), []
    codes = column.replace_strict(names, pl.int_range(names.len(), eager=True), default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy(), names.to_list()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in (one.name for one in fields(value))}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
