"""What each column of a table is, guessed from its name and its values: user, item, time, order, action, scenario, value, outcomes, text.

A name alone decides nothing: a column that is called a time must read as one, an order must place the events of every user, a date that
never changes for an item is a property of the item.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.data.fields import FieldType
from m6rec.data.guessing import explain_type
from m6rec.data.roles import (
    ACTION_WORDS,
    ID_ENDINGS,
    ORDER_WORDS,
    OUTCOMES,
    SCENARIO_WORDS,
    TEXT_WORDS,
    VALUE_WORDS,
    Role,
    TimeRole,
    subject,
    tokens,
)
from m6rec.data.sampling import FileSample
from m6rec.data.schema import id_values, numbers
from m6rec.data.time_roles import is_property, time_roles
from m6rec.data.times import to_seconds

EXAMINED = 5_000  # values looked at where the first will do
MOST_STEPS = 200  # different values of a rating
FEW = 50  # values of an action or a scenario at most
PLACED = 0.99  # share of events that an order must tell apart


@dataclass
class Sketch:
    """One file and the parts its columns play."""

    sample: FileSample
    user: Role | None = None
    item: Role | None = None
    time: TimeRole | None = None
    order: Role | None = None
    action: Role | None = None
    scenario: Role | None = None
    value: Role | None = None
    text: Role | None = None
    outcomes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.sample.path.name

    @property
    def frame(self) -> pl.DataFrame:
        return self.sample.frame

    def ids(self, column: str) -> pl.Series:
        return id_values(self.frame[column], self.name)


def sketch(sample: FileSample, *, now: float | None = None) -> Sketch:
    """The parts that the columns of one file could play."""
    now = time.time() if now is None else now
    found = Sketch(sample)
    found.user, found.item = _subject(sample, Columns.USER), _subject(sample, Columns.ITEM)
    taken = {role.column for role in (found.user, found.item) if role}
    free = [name for name in sample.frame.columns if name.strip() and name not in taken and name not in sample.nested]
    item, user = (role.column if role else None for role in (found.item, found.user))
    times, relative = time_roles(sample.frame, free, item, user, now, found.name)
    found.time = times[0] if times else None
    found.order = _order(found, free) or (relative if found.time is None else None)
    dated = {name for role in times for name in (role.column, *role.others)}
    free = [name for name in free if name not in dated and (found.order is None or name != found.order.column)]
    found.text = _text(sample, free)
    if item is None and user is None:
        return found
    found.value = _value(found, free)
    free = [name for name in free if found.value is None or name != found.value.column]
    found.outcomes = _outcomes(found, free)
    free = [name for name in free if name not in found.outcomes]
    found.action = _named_few(found, free, ACTION_WORDS, first=True)
    free = [name for name in free if found.action is None or name != found.action.column]
    found.scenario = _named_few(found, free, SCENARIO_WORDS, first=False)
    return found


def is_id_like(series: pl.Series) -> bool:
    """Whole numbers, or words that are not sentences."""
    known = series.drop_nulls()
    if known.len() == 0:
        return False
    if series.dtype == pl.String:
        blanks = known.head(EXAMINED).str.strip_chars().str.count_matches(r"\s").mean()
        return isinstance(blanks, float) and blanks < 2
    if series.dtype.is_float():
        return bool((known == known.round()).all())
    return series.dtype.is_integer() or series.dtype in (pl.Categorical, pl.Enum)


def _subject(sample: FileSample, wanted: str) -> Role | None:
    """The column of users or items, by its name; among several the surest name, then the one with the most values."""
    rated = []
    for name in sample.frame.columns:
        role, surety = subject(name)
        if role == wanted and name not in sample.nested and is_id_like(sample.frame[name]):
            rated.append((surety, sample.frame[name].n_unique(), name))
    if not rated:
        return None
    rated.sort(key=lambda entry: (-entry[0], -entry[1]))
    surety, distinct, name = rated[0]
    others = tuple(other for _, _, other in rated[1:])
    check = "a session or device, not a person: what one of them does later is not joined" if surety == 1 else ""
    return Role(name, f"{distinct:,} different values in {sample.frame.height:,} rows, and its name", check, others)


def _order(found: Sketch, free: list[str]) -> Role | None:
    """A whole number that tells a user's events apart, and where times are known goes with them."""
    if found.user is None:
        return None
    for name in free:
        if not set(tokens(name)) & ORDER_WORDS or (found.time and name == found.time.column):
            continue
        try:
            places = numbers(found.frame[name], found.name)
        except DataError:
            continue
        if places.null_count() or not bool((places == places.round()).all()):
            continue
        table = pl.DataFrame({"user": found.ids(found.user.column), "place": places})
        if table.n_unique() < PLACED * table.height or places.n_unique() < 2:
            continue
        fact = "a whole number that is different for every event of a user"
        if found.time is not None:
            if not _goes_with_time(found, table, found.time):
                continue
            fact += ", and never against the times that are known"
        return Role(name, fact)
    return None


def _goes_with_time(found: Sketch, table: pl.DataFrame, role: TimeRole) -> bool:
    seconds = to_seconds(found.frame[role.column], role.unit, found.name)[0]
    dated = table.with_columns(seconds.alias("time")).drop_nulls("time").sort("user", "place")
    same = dated["user"] == dated["user"].shift(1)
    backwards = int(((dated["time"].diff() < 0) & same).fill_null(False).sum())
    return backwards <= (1 - PLACED) * max(int(same.fill_null(False).sum()), 1)


def _value(found: Sketch, free: list[str]) -> Role | None:
    for word in VALUE_WORDS:
        for name in free:
            if word not in tokens(name):
                continue
            try:
                values = numbers(found.frame[name], found.name).drop_nulls().to_numpy()
            except DataError:
                continue
            if len(values) and 2 < len(np.unique(values)) <= MOST_STEPS:
                return Role(name, f"numbers from {values.min():g} to {values.max():g}, mean {values.mean():.2g}")
    return None


def _outcomes(found: Sketch, free: list[str]) -> list[str]:
    """Columns of 0 and 1 whose name says what somebody did, the most telling first."""
    rated: list[tuple[int, int, str]] = []
    for name in free:
        places = [OUTCOMES.index(word) for word in tokens(name) if word in OUTCOMES]
        if not places:
            continue
        values = found.frame[name].drop_nulls()
        as_text = set(values.unique().cast(pl.String).str.to_lowercase().to_list()) if values.n_unique() <= 2 else {"many"}
        if as_text <= {"0", "1"} or as_text <= {"0.0", "1.0"} or as_text <= {"true", "false"}:
            rated.append((min(places), len(rated), name))
    return [name for _, _, name in sorted(rated)]


def _named_few(found: Sketch, free: list[str], words: set[str], *, first: bool) -> Role | None:
    """A column of a few values whose name begins (`first`) or ends with one of the words; the name made of that word alone goes first.

    What begins with it is an action, and never the same for an item (that is a type of item); a scenario may be.
    """
    rated: list[tuple[int, str, int]] = []
    for name in free:
        series, parts = found.frame[name], tokens(name)
        core = parts[:-1] if parts and parts[-1] in ID_ENDINGS else parts
        if not core or core[0 if first else -1] not in words or isinstance(series.dtype, (pl.List, pl.Array)):
            continue
        distinct = series.drop_nulls().n_unique()
        if 2 <= distinct <= FEW and distinct * 4 <= series.len() and not (first and _is_constant_of(found, name)):
            rated.append((len(core), name, distinct))
    if not rated:
        return None
    _, name, distinct = min(rated)
    shown = [str(value) for value in found.frame[name].drop_nulls().value_counts(sort=True)[name].head(6).to_list()]
    return Role(
        name, f"{distinct} values, most often first: {', '.join(shown)}", others=tuple(other for _, other, _ in rated if other != name)
    )


def _is_constant_of(found: Sketch, name: str) -> bool:
    return any(is_property(found.frame, role.column, name) for role in (found.item, found.user) if role)


def _text(sample: FileSample, free: list[str]) -> Role | None:
    """The column people wrote in: among the texts one with a telling name, then the longest."""
    rated = []
    for name in free:
        kind, _ = explain_type(sample.frame[name].head(EXAMINED))
        if kind != FieldType.TEXT:
            continue
        length = sample.frame[name].head(EXAMINED).cast(pl.String).str.len_chars().mean()
        telling = any(word in tokens(name) for word in TEXT_WORDS)
        if isinstance(length, float) and length >= 8:
            rated.append((not telling, -length, name))
    if not rated:
        return None
    rated.sort()
    _, length, name = rated[0]
    return Role(name, f"text of {-length:.0f} characters on average", others=tuple(other for _, _, other in rated[1:]))
