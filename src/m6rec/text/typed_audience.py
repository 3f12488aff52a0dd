"""Who something is for ("for a child", "for my 7 year old son", "给孩子"), as far as the fields of a catalogue can decide it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from m6rec.text.cues import Audience, Cues, Phrase, phrase
from m6rec.text.field_names import FieldNames
from m6rec.text.typed_numbers import ages
from m6rec.text.words import normalise, words

RATED = 0.6  # share of a field's values that are names of age ratings: then the field is one
LONGEST = 6  # tokens of a phrase
FEWEST, HUNDREDTH = 3, 100  # items, or a hundredth of them, that a value said in other words must have to decide: one odd tag does not
NEAR = 4  # tokens between "for" and whom it is for


@dataclass(frozen=True)
class Suiting:
    """The tokens first..last say whom something is for: `field` must be (`op`) `value`."""

    first: int
    last: int
    field: str
    op: Literal["in", "not in", "<=", ">="]
    value: tuple[str, ...] | float


def audience_constraints(
    text: str, sequence: Sequence[str], places: Sequence[tuple[int, int]], names: FieldNames, cues: Cues
) -> list[Suiting]:
    """What the fields say of those a text (small letters) is for; `sequence` and `places` are its tokens."""
    found: list[Suiting] = []
    aged = False
    for first, last, years in _aged(text, sequence, places, cues):
        aged = True
        decided = _by_age(years, names, cues) or _by_names(_of_age(years, cues), names)
        found += [Suiting(first, last, *one) for one in decided]
    for audience in cues.audiences.values():
        for first, last in _mentions(sequence, audience, cues):
            if aged and audience.age is not None:
                continue  # "for my 7 year old son": the age says more
            decided = [] if audience.age is None else _by_age(audience.age, names, cues)
            decided = decided or _by_names(audience, names)
            found += [Suiting(first, last, *one) for one in decided]
    return found


def _of_age(years: float, cues: Cues) -> Audience:
    """The audience that people of so many years belong to; nobody in particular from 18 on."""
    rising = sorted((one for one in cues.audiences.values() if one.age is not None), key=lambda one: one.age or 0.0)
    return next((one for one, after in zip(rising, [*(r.age or 0.0 for r in rising[1:]), 18.0], strict=True) if years < after), Audience())


def _aged(text: str, sequence: Sequence[str], places: Sequence[tuple[int, int]], cues: Cues) -> list[tuple[int, int, float]]:
    """Ages in tokens: (first, last, years)."""
    found = []
    for start, end, years in ages(text, cues):
        inside = [at for at, (first, last) in enumerate(places) if first < end and last > start]
        if inside:
            first = inside[0]
            length = next((size for size in (3, 2, 1) if tuple(sequence[max(0, first - size) : first]) in cues.phrases["for_"]), 0)
            found.append((first - length, inside[-1] + 1, years))
    return found


def _mentions(sequence: Sequence[str], audience: Audience, cues: Cues) -> list[tuple[int, int]]:
    """Tokens that say that something is for an audience: "for my daughter", "kid-friendly", "family-friendly"."""
    before, after = cues.phrases["for_"], cues.phrases["for_after"]
    called, phrases = set(map(phrase, audience.words)), set(map(phrase, audience.phrases))
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(sequence):
        end = _end(sequence, at, phrases)
        word = _end(sequence, at, called)
        if end is None and word is not None:
            end = _end(sequence, word, after)
        start = _end(sequence, at, before)
        if end is None and start is not None:
            ends = (_end(sequence, place, called) for place in range(start, min(start + NEAR, len(sequence))))
            end = next((one for one in ends if one is not None), None)
        if end is not None:
            found.append((at, end))
        at = at + 1 if end is None else end
    return found


def _end(sequence: Sequence[str], at: int, phrases: Collection[Phrase]) -> int | None:
    """Where the longest of some phrases that begins at a token ends; None where none does."""
    return next((at + size for size in range(min(LONGEST, len(sequence) - at), 0, -1) if tuple(sequence[at : at + size]) in phrases), None)


def _by_age(years: float, names: FieldNames, cues: Cues) -> list[tuple[str, Literal["in", "not in", "<=", ">="], tuple[str, ...] | float]]:
    """What fields that speak of an age say of somebody of so many years."""
    found: list[tuple[str, Literal["in", "not in", "<=", ">="], tuple[str, ...] | float]] = []
    least, most = names.number_field(cues.age_fields.least), names.number_field(cues.age_fields.most)
    if least is not None:
        found.append((least, "<=", years))
    if most is not None and most != least:
        found.append((most, ">=", years))
    rated = {normalise(name): age for name, age in cues.ratings.items()}
    for field, values in names.values.items():
        if not _may_rate(field, cues):
            continue
        ages_of = {value: _rated(value, rated) for value in values}
        known = {value: age for value, age in ages_of.items() if age is not None}
        if values and len(known) >= RATED * len(values):
            found.append((field, "in", tuple(sorted(value for value, age in known.items() if age <= years))))
    return found


def _may_rate(field: str, cues: Cues) -> bool:
    called = normalise(field).replace("_", " ")
    return any(normalise(name).replace("_", " ") in called for name in (*cues.age_fields.least, "rating", "age", "audience"))


def _rated(value: str, rated: dict[str, float]) -> float | None:
    """The age that the name of a rating speaks of: by the list, or a number in it ("12+", "PG-13")."""
    called = normalise(value)
    if called in rated:
        return rated[called]
    numbers = re.findall(r"\d+", called)
    return float(numbers[0]) if numbers and float(numbers[0]) <= 21 else None


def _by_names(audience: Audience, names: FieldNames) -> list[tuple[str, Literal["in", "not in", "<=", ">="], tuple[str, ...] | float]]:
    """Values that are meant for them; where fewer items have any than could be meant by it, values that are not for them."""
    suited = {field: (sum(names.values[field][value] for value in values), values) for field, values in names.like(audience.suits).items()}
    field, (count, values) = max(suited.items(), key=lambda pair: pair[1][0], default=("", (0, [])))
    if count >= max(min(FEWEST, math.ceil(len(names.items) / HUNDREDTH)), 1):
        return [(field, "in", tuple(sorted(values)))]
    return [(field, "not in", tuple(sorted(values))) for field, values in names.like(audience.unfit).items() if any(map(words, values))]
