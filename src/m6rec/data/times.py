"""Times in whatever unit a file has them, to seconds since 1970 (UTC)."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.schema import MISSING_NUMBERS, more, numbers, shown

PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "day": 1 / 86_400}
# Magnitudes that tell units apart between 1973 and 5138: 1e11 s = year 5138, 1e11 ms = 1973, and so on by thousands.
MAGNITUDES = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (float("inf"), "ns"))
ISO_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M%#z", "%Y-%m-%d %H:%M", "%Y-%m-%d")
DAY = 86_400.0


def to_seconds(series: pl.Series, unit: str, source: str) -> tuple[pl.Series, str]:
    """Times as float64 seconds since 1970, and a sentence on how they were read.

    unit: s, ms, us, ns or day (since 1970), iso (text), or auto: dates by their type, text as ISO 8601 (without an offset: UTC),
    eight-digit whole numbers that are all dates as YYYYMMDD, other numbers by the magnitude of their median. Blank and NaN: null.

    Raises:
        DataError: a value that is no time, with its row.
    """
    if series.dtype.is_temporal() and series.dtype not in (pl.Duration, pl.Time):
        return series.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6, f"dates ({series.dtype}), UTC where no zone is given"
    if unit == "iso" or (unit == "auto" and _is_text_of_dates(series)):
        return _iso(series, source), "ISO 8601 text, UTC where no offset is given"
    found = numbers(series, source)
    if unit == "auto":
        calendar = _calendar_days(found)
        if calendar is not None:
            return calendar, "whole numbers YYYYMMDD (say data.time_unit: s if they are seconds)"
        unit = unit_by_magnitude(found)
        return found / PER_SECOND[unit], f"numbers taken for {unit} since 1970 by their magnitude (say data.time_unit if they are not)"
    return found / PER_SECOND[unit], f"numbers in {unit} since 1970"


def unit_by_magnitude(found: pl.Series) -> str:
    """s, ms, us or ns: what puts the median of `found` (numbers since 1970) between 1973 and 5138; s for smaller numbers."""
    median = found.abs().median()
    return next(name for bound, name in MAGNITUDES if not isinstance(median, float) or median < bound)


def future_rows(seconds: pl.Series, now: float) -> pl.Series:
    """Boolean: more than a day after `now` (clocks of several places differ by up to a day)."""
    return (seconds > now + DAY).fill_null(False)


def future_error(series: pl.Series, seconds: pl.Series, future: pl.Series, source: str) -> DataError:
    row = int(future.arg_true()[0])
    return DataError(
        f"{source}: row {row + 1}: {series.name} {shown(series[row])} is {spoken(seconds[row])}, in the future{more(future)}; "
        "if the unit was misread say data.time_unit: s, ms, us, ns or day; to leave such events out say data.future_times: drop"
    )


def spoken(seconds: float) -> str:
    """A moment as a person reads it; far years in words, because calendars end."""
    if not -62_000_000_000 < seconds < 253_000_000_000:
        return f"about the year {1970 + seconds / 31_556_952:.0f}"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _is_text_of_dates(series: pl.Series) -> bool:
    """Whether the first value that is there is no number: then the column is dates, and the rest is held to that."""
    if series.dtype != pl.String:
        return False
    text = series.str.strip_chars()
    known = text.filter(~text.is_in(MISSING_NUMBERS) & text.is_not_null())
    return known.len() > 0 and known.head(1).cast(pl.Float64, strict=False).null_count() > 0


def _iso(series: pl.Series, source: str) -> pl.Series:
    if series.dtype != pl.String:
        raise DataError(f"{source}: column '{series.name}' holds {series.dtype}, not ISO 8601 text; say data.time_unit: auto")
    text = series.str.strip_chars()
    text = text.set(text.is_in(MISSING_NUMBERS), None)
    plain = text.str.replace_all("/", "-", literal=True).str.replace(r"^(\S+?)[Tt]", "${1} ").str.replace(r"\s*(?:[Zz]|UTC|GMT)$", "+00:00")
    seconds = pl.Series(series.name, [None] * len(series), dtype=pl.Float64)
    for layout in ISO_FORMATS:
        if seconds.null_count() == text.null_count():
            break
        parsed = plain.str.to_datetime(layout, strict=False, time_unit="us").dt.epoch("us").cast(pl.Float64) / 1e6
        seconds = seconds.zip_with(seconds.is_not_null(), parsed)
    wrong = text.is_not_null() & seconds.is_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            f"{source}: row {row + 1}: {series.name} is {shown(series[row])}, not a time{more(wrong)}; "
            "allowed: a number since 1970, or ISO 8601 like 2024-05-01T10:00:00"
        )
    return seconds


def _calendar_days(found: pl.Series) -> pl.Series | None:
    """Midnight of YYYYMMDD where every value is such a date of 1900-2200, else None."""
    known = found.drop_nulls()
    if known.len() == 0 or not bool(((known >= 19_000_101) & (known <= 22_001_231) & (known == known.floor())).all()):
        return None
    days = found.cast(pl.Int64).cast(pl.String).str.to_date("%Y%m%d", strict=False)
    if days.null_count() != found.null_count():
        return None
    return days.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
