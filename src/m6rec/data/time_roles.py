"""Which columns of a table are times of its events, in which unit, and which only look like it."""

from __future__ import annotations

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.roles import NO_TIMES, TIME_WORDS, Role, TimeRole, tokens
from m6rec.data.schema import numbers
from m6rec.data.times import DAY, PER_SECOND, to_seconds, unit_by_magnitude

EARLIEST = 631_152_000.0  # 1990; an older time is a misread number
EXAMINED = 5_000  # values a time is tried on
KNOWN = 0.95  # share of the rows that must have a time, where time decides
SPOKEN_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "day": "days"}


def time_roles(
    frame: pl.DataFrame, free: list[str], item: str | None, user: str | None, now: float, source: str
) -> tuple[list[TimeRole], Role | None]:
    """Columns that read as times, the best first; and a small number called a time, which can still order events."""
    rated: list[tuple[tuple[bool, bool, int, bool], TimeRole]] = []
    relative = None
    for name in free:
        series = frame[name]
        if isinstance(series.dtype, (pl.List, pl.Array)) or series.dtype == pl.Boolean:
            continue
        words = tokens(name)
        named = any(word in TIME_WORDS for word in words) and not any(word in NO_TIMES for word in words)
        known = series.drop_nulls()
        reading = _reading(known.head(EXAMINED), named, now, source)
        if reading is None:
            if named and relative is None and _is_relative(known.head(EXAMINED), source):
                why = "numbers too small for a time since 1970: they order the events, and say no dates"
                relative = Role(name, why, "are these times on a clock of its own? then nothing is lost but gaps")
            continue
        unit, how = reading
        try:
            seconds, _ = to_seconds(series, unit, source)
        except DataError:
            continue  # the first values read as times, others do not
        present = seconds.drop_nulls()
        share = 1 - seconds.null_count() / series.len()
        first, last = float(present.min()), float(present.max())  # type: ignore[arg-type]
        fact = how if share == 1 else f"{how}; known for {share:.0%} of the rows"
        days_only = bool((present % DAY == 0).all())
        check = "a day is all that is known: events of one day keep the order of the file (split.shuffle_ties)" if days_only else ""
        if share < KNOWN:
            check = f"{1 - share:.0%} of the rows have no time and are dropped, unless an order column places them"
        if last > now + DAY:
            check = "some times lie in the future"
        role = TimeRole(name, fact, check, unit=unit if unit in PER_SECOND else "auto", first=first, last=last, days_only=days_only)
        if is_property(frame, item, name):
            continue
        of_user = is_property(frame, user, name)
        if of_user:
            role = TimeRole(**{**vars(role), "check": "the same for all events of a user: is it a date of the user, and not of the event?"})
        rated.append(((of_user, share < KNOWN, -present.n_unique(), not named), role))
    rated.sort(key=lambda entry: entry[0])
    if not rated:
        return [], relative
    best, *rest = (role for _, role in rated)
    return [TimeRole(**{**vars(best), "others": tuple(role.column for role in rest)}), *rest], relative


def _reading(known: pl.Series, named: bool, now: float, source: str) -> tuple[str, str] | None:
    """Unit and words for values that are times between 1990 and now; None where they are not. Numbers need a name that says time."""
    if known.len() == 0:
        return None
    try:
        seconds, how = to_seconds(known, "auto", source)
    except DataError:
        return None
    is_number = how.startswith(("numbers", "whole numbers"))
    if is_number and not named:
        return None
    if how.startswith("numbers"):
        found = numbers(known, source)
        unit = unit_by_magnitude(found)
        day = float(found.median() or 0) * DAY  # type: ignore[arg-type]
        if unit == "s" and EARLIEST < day < now + DAY and bool((found == found.round()).all()):
            return "day", f"{float(found.median() or 0):,.0f}: days since 1970"  # type: ignore[arg-type]
        how = f"{float(found.median() or 0):.2g}: {SPOKEN_UNITS[unit]}".replace("e+", "e")  # type: ignore[arg-type]
    else:
        unit, how = "auto", "YYYYMMDD" if is_number else "ISO dates" if how.startswith("ISO") else "dates"
    middle = seconds.median()
    return (unit, how) if isinstance(middle, float) and EARLIEST < middle < now + DAY else None


def _is_relative(known: pl.Series, source: str) -> bool:
    try:
        found = numbers(known, source).drop_nulls()
    except DataError:
        return False
    return found.len() > 0 and found.n_unique() > 2 and bool((found >= 0).all()) and float(found.max()) < EARLIEST  # type: ignore[arg-type]


def is_property(frame: pl.DataFrame, key: str | None, name: str) -> bool:
    """Whether the column says the same of an item (or a user) every time, and not of all of them: then it is not of the event."""
    if key is None or frame[key].n_unique() * 2 > frame.height or frame[name].n_unique() == 1:
        return False
    return bool(frame.group_by(key).agg(pl.col(name).n_unique()).select((pl.col(name) == 1).all()).item())
