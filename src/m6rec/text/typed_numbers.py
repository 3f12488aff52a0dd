"""Numbers in what somebody typed, as bounds of number fields: "under 50", "at least 4 stars", "between 20 and 40", "1990s", "50元以下".

A number goes to the field that its unit, or the field's name beside it, points to; without either, to the field that the cues name (`unsaid`) (a
price), to a year where it reads like one, or to the only number field whose range holds it. A number that no field can hold bounds nothing, nor does
one that may be two ("1.000"), unless it is money or only one of them lies among the values of its field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest

from m6rec.text.cues import Bound, Cues
from m6rec.text.field_names import FieldNames
from m6rec.text.spelled_numbers import NumberWords, SpelledNumber, either
from m6rec.text.words import SPACELESS

NAMED_WITHIN = 24  # characters before a bound in which its field may be named
SIGN, MONEY, FIELD = "\ue000", "\ue001", "\ue002"  # of the private use area: nothing that is typed
SIGNS = (SIGN, MONEY)
CLAUSE_END = r"(?=\s*(?:$|[.,;!?\n]))"
ATTACHED = re.compile(r"(?<=\d)(?!s\b)[a-z]")  # "50gb", "4x4": a number of something that no field holds; "90s" is none
NOBODYS = r"(?<!\bher )(?<!\bhis )(?<!\bmy )"  # "in her 90s" is no decade of the calendar
RECENT = 30  # "90s" is a decade of the twentieth century from here on, "10s" one of this century below


@dataclass(frozen=True)
class NumberSpan:
    """Characters start..end of a text bound `field`: low and high with whether each end counts; None is open."""

    start: int
    end: int
    field: str
    bounds: tuple[tuple[Bound, float], ...]


@dataclass(frozen=True)
class _Patterns:
    """Compiled cues. In what the patterns of `bounds`, `years`, `ages` and those of decades read, every number with its unit is one sign: MONEY for an
    amount of what a price is in, SIGN for any other."""

    bounds: tuple[tuple[Bound, re.Pattern[str]], ...]
    years: tuple[tuple[Bound, re.Pattern[str]], ...]
    ages: tuple[re.Pattern[str], ...]
    decades: tuple[re.Pattern[str], ...]
    decade_years: tuple[tuple[Bound, re.Pattern[str]], ...]
    decade_words: re.Pattern[str]
    joined: re.Pattern[str]  # words that join the numbers of one list
    numbers: NumberWords
    unit: re.Pattern[str]
    unit_before: re.Pattern[str]


@dataclass(frozen=True)
class _Number:
    """grouped: its value if its point parts thousands, None where that is no question."""

    value: float
    unit: str | None
    scale: float
    grouped: float | None = None


@dataclass(frozen=True)
class _Signs:
    """A text with every number as one sign: `places` are the characters of the original each sign begins at, with the end as the last."""

    text: str
    places: list[int]
    numbers: dict[int, _Number]  # by position of the sign

    def inside(self, match: re.Match[str]) -> list[_Number]:
        return [self.numbers[at] for at in range(match.start(), match.end()) if at in self.numbers]


def number_spans(text: str, names: FieldNames, cues: Cues, taken: Sequence[tuple[int, int]] = ()) -> list[NumberSpan]:
    """The bounds that `text` (normalised, small letters) puts on number fields, in order, none over another or over what is `taken`."""
    found: list[NumberSpan] = []
    busy = list(taken)
    patterns = _patterns(_Key(cues))
    if not names.numbers:
        return found
    signs = _signs(text, patterns, cues, names)
    year = names.number_field(cues.year_fields)

    def take(start: int, end: int, field: str | None, bounds: Sequence[tuple[Bound, float]]) -> None:
        if field is not None and not any(start < last and end > first for first, last in busy):
            named = _with_name(text, start, field)
            if named == start and text[start:end] in cues.spared:
                return  # "I <3 this"
            start = named
            busy.append((start, end))
            found.append(NumberSpan(start, end, field, tuple(bounds)))

    if year is not None:
        low, high = names.numbers[year]
        for bound, pattern in patterns.decade_years:
            for match in pattern.finditer(signs.text):
                decade = _decade(signs.inside(match)[0].value)
                if decade is not None and low - 10 <= decade <= high + 10:
                    end_of_it = decade + (9 if bound in (">", "<=") else 0)
                    take(signs.places[match.start()], signs.places[match.end()], year, _said(bound, end_of_it, end_of_it))
        matches = [match for pattern in patterns.decades for match in pattern.finditer(signs.text)]
        matches.sort(key=lambda match: -len(match.group()))
        decades = [(signs.places[m.start()], signs.places[m.end()], [_decade(one.value) for one in signs.inside(m)]) for m in matches]
        for start, end, firsts in decades:
            known = [first for first in firsts if first is not None and low - 10 <= first <= high + 10]
            if known and len(known) == len(firsts):
                take(start, end, year, [(">=", min(known)), ("<=", max(known) + 9)])
        for bound, pattern in patterns.years:
            for match in pattern.finditer(signs.text):
                said_years = [number.value for number in signs.inside(match)]
                if all(_like_year(value, names.numbers[year]) for value in said_years):
                    take(signs.places[match.start()], signs.places[match.end()], year, _said(bound, said_years[0], said_years[-1]))
        single = [match for bound, pattern in patterns.years if bound == "=" for match in pattern.finditer(signs.text)]
        for at in dict.fromkeys(at for match in single for at in _joined(signs, match, patterns.joined)):  # "from 1990, 1995 or 2000"
            other = signs.numbers[at]
            if other.unit is None and _like_year(other.value, names.numbers[year]):
                take(signs.places[at], signs.places[at + 1], year, _said("=", other.value, other.value))
    # Both ends first, then what begins first, the longest of it: "no more than 50" is not "more than 50", "under 20 or more than 50" not "20 or more".
    matches_of = [(bound, match) for bound, pattern in patterns.bounds for match in pattern.finditer(signs.text)]
    for bound, match in sorted(matches_of, key=lambda pair: (pair[0] != "between", pair[1].start(), -pair[1].end())):
        numbers = signs.inside(match)
        start, end = signs.places[match.start()], signs.places[match.end()]
        unit = next((number.unit for number in numbers if number.unit is not None), None)
        following = None if unit is not None else patterns.unit.match(text, end)  # "4+ stars"
        if following is not None:
            unit, end = following[1], following.end()
        said = match.group()
        sure = bound != "between" or said[0] not in SIGNS or said[-1] not in SIGNS  # "50-100" may be anything
        called = match.groupdict().get("field")
        begins, readings = start, []
        for one in _readings(numbers, money=unit is not None and not set(cues.units[unit]).isdisjoint(cues.unsaid)):
            values = _scaled(one[0], one[-1])
            if called is None:
                field = _field(text, start, end, unit, values, names, cues, sure=sure)
            else:
                name, field = _called(called, names, cues)
                field = names.number_field(cues.units[unit]) if unit is not None and field is not None else field
                if match.start("field") == match.start():
                    begins = signs.places[match.end("field") - len(name)]  # not "not price 20-40"
            readings.append((field, values))
        if len(readings) > 1:
            readings = [(field, values) for field, values in readings if field is not None and _among(values, names.numbers[field])]
        if len(readings) == 1:
            take(begins, end, readings[0][0], _said(bound, *readings[0][1]))
    return sorted(found, key=lambda span: span.start)


def ages(text: str, cues: Cues) -> list[tuple[int, int, float]]:
    """(start, end, years) of the ages of people that `text` names."""
    patterns = _patterns(_Key(cues))
    signs = _signs(text, patterns, cues, None)
    return [
        (signs.places[match.start()], signs.places[match.end()], signs.inside(match)[0].value)
        for pattern in patterns.ages
        for match in pattern.finditer(signs.text)
    ]


def _joined(signs: _Signs, match: re.Match[str], joined: re.Pattern[str]) -> list[int]:
    """The places of the numbers that words like "or" join to those of a match, before and behind it."""
    found: list[int] = []
    rising = sorted(signs.numbers)
    end = match.end()
    while (after := next((at for at in rising if at >= end), None)) is not None and joined.fullmatch(signs.text, end, after):
        found.append(after)
        end = after + 1
    start = match.start()
    while (before := next((at for at in reversed(rising) if at < start), None)) is not None and joined.fullmatch(
        signs.text, before + 1, start
    ):
        found.append(before)
        start = before
    return found


def _readings(numbers: Sequence[_Number], *, money: bool) -> list[list[_Number]]:
    """What the numbers of a bound may say: of money a point before three digits parts thousands, of anything else nobody knows."""
    if all(number.grouped is None for number in numbers):
        return [list(numbers)]
    grouped = [number if number.grouped is None else replace(number, value=number.grouped) for number in numbers]
    return [grouped] if money else [list(numbers), grouped]


def _among(values: Sequence[float], known: tuple[float, float]) -> bool:
    return all(known[0] <= value <= known[1] for value in values)


def _scaled(first: _Number, last: _Number) -> tuple[float, float]:
    """Two numbers, the scale of the last given to the first too: "two to three hundred"."""
    shared = first.scale == 1.0 < last.scale and first.value < last.value / last.scale
    return first.value * (last.scale if shared else 1.0), last.value


def _said(bound: Bound, value: float, other: float) -> list[tuple[Bound, float]]:
    if bound == "between":
        return [(">=", min(value, other)), ("<=", max(value, other))]
    return [(">=", value), ("<=", value)] if bound == "=" else [(bound, value)]


def _field(
    text: str, start: int, end: int, unit: str | None, values: tuple[float, float], names: FieldNames, cues: Cues, *, sure: bool
) -> str | None:
    """The number field that a bound is of, None where none can be meant."""
    if unit is not None:
        return names.number_field(cues.units[unit])
    before = text[max(0, start - NAMED_WITHIN) : start]
    for field in names.numbers:
        called = re.escape(field.casefold().replace("_", " "))
        if re.search(rf"(?<!\w){called}\W{{0,3}}(?:is |of |was |are )?$", before) or re.match(rf"\W{{0,2}}{called}(?!\w)", text[end:]):
            return field
    beside = next(
        (fields for word, fields in cues.beside.items() if re.search(rf"(?:{either([word])})\s*(?:\w{{1,3}}\s+)?$", before)), None
    )
    if beside is not None:
        return names.number_field(beside)
    year = names.number_field(cues.year_fields)
    if year is not None and all(_like_year(value, names.numbers[year]) for value in values):
        return year
    if not sure:
        return None
    plain = names.number_field(cues.unsaid)
    if plain is not None:
        return plain
    able = [field for field, (low, high) in names.numbers.items() if field != year and all(low <= value <= high for value in values)]
    return able[0] if len(able) == 1 else None


def _called(name: str, names: FieldNames, cues: Cues) -> tuple[str, str | None]:
    """The end of `name` that names a number field, or what `unsaid` means, and that field; None where it names neither."""
    known = {field.casefold().replace("_", " "): field for field in names.numbers}
    plain = names.number_field(cues.unsaid)
    known = {**(dict.fromkeys(cues.unsaid, plain) if plain is not None else {}), **known}
    # What stands before the name is read along with it.
    ends = [name, *(word for word in known if name.endswith(word) and (_spaceless(word) or name.endswith(f" {word}")))]
    return next(((word, known[word]) for word in ends if word in known), (name, None))


def _with_name(text: str, start: int, field: str) -> int:
    """Where a bound begins, with the name of its field where that stands right before it."""
    called = re.escape(field.casefold().replace("_", " "))
    match = re.search(rf"(?<!\w){called}\W{{0,3}}(?:is |of |was |are )?$", text[max(0, start - NAMED_WITHIN) : start])
    return start if match is None else start - len(match.group())


def _like_year(value: float, known: tuple[float, float]) -> bool:
    return value == int(value) and 1000 <= value <= 2999 and known[0] - 100 <= value <= known[1] + 100


def _decade(value: float) -> float | None:
    if value % 10:
        return None
    if value >= 1000:
        return value
    return (1900 if value >= RECENT else 2000) + value if value < 100 else None


class _Key:
    """A set of cues as a key: compiling its patterns once is enough."""

    def __init__(self, cues: Cues) -> None:
        self.cues = cues

    def __hash__(self) -> int:
        return id(self.cues)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.cues is self.cues


def _signs(text: str, patterns: _Patterns, cues: Cues, names: FieldNames | None) -> _Signs:
    said: list[str] = []
    places: list[int] = []
    numbers: dict[int, _Number] = {}
    plain = None if names is None else names.number_field(cues.unsaid)
    last = 0
    # A decade in words is read as one in digits: "nineties" as "1990s".
    words = [SpelledNumber(m.start(), m.end(), cues.decade_words[m.group()]) for m in patterns.decade_words.finditer(text)]
    spelled = sorted([*patterns.numbers.found(text), *words], key=lambda number: number.start)
    ending = next((pattern[1:] for pattern in cues.decades if pattern[0] == "D"), "")
    for number, following in zip_longest(spelled, spelled[1:]):
        before, after = patterns.unit_before.search(text, last, number.start), patterns.unit.match(text, number.end)
        if number.start < last or number.value is None or (after is None and ATTACHED.match(text, number.end)):
            continue
        unit = before[1] if before is not None else after[1] if after is not None else None
        start, end = number.start if before is None else before.start(), number.end if after is None else after.end()
        value = number.value
        if (
            following is not None
            and following.start == end
            and unit in cues.tenths
            and following.value is not None
            and following.value in range(1, 10)
        ):
            value, end = value + following.value / 10, following.end  # "九块九"
        said += text[last:start]
        places += range(last, start)
        numbers[len(said)] = _Number(value, unit, number.scale, number.grouped)
        money = unit is not None and names is not None and plain is not None and names.number_field(cues.units[unit]) == plain
        said.append(MONEY if money else SIGN)
        places.append(start)
        if number in words:
            said += ending
            places += [start] * len(ending)
        last = end
    said += text[last:]
    places += range(last, len(text) + 1)
    return _Signs("".join(said), places, numbers)


@cache
def _patterns(key: _Key) -> _Patterns:
    cues = key.cues
    bounds = [(bound, _compiled(pattern)) for bound, some in cues.numbers.items() for pattern in some]
    years = [(bound, _compiled(pattern)) for bound, some in cues.years.items() for pattern in some]
    years.sort(key=lambda pair: (pair[0] != "between", pair[0] == "=", -len(pair[1].pattern)))
    prices = [
        unit for unit, fields in cues.units.items() if not set(fields).isdisjoint(cues.unsaid) or not unit.isalnum() or _spaceless(unit)
    ]
    return _Patterns(
        tuple(bounds),
        tuple(years),
        tuple(_compiled(pattern) for pattern in cues.ages),
        tuple(_compiled(pattern) for pattern in cues.decades),
        tuple((bound, _compiled(pattern)) for bound, some in cues.decade_years.items() for pattern in some),
        re.compile(rf"{NOBODYS}(?:{either(cues.decade_words)})"),
        re.compile(rf"(?:\s*(?:{either([*cues.or_, *cues.and_])})\s*)+"),
        NumberWords(cues),
        re.compile(rf"\s*-?\s*({either(cues.units)})"),
        re.compile(rf"({either(prices)})\s*$"),
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of a cue file: N and M stand for the sign of a number, D for that of a decade, U for that of an amount of money, F for the name of a
    field; a full stop at the end for the end of a clause."""
    # "20 and over 50": what another number follows belongs to that one.
    following = rf"(?!\s+[{SIGN}{MONEY}])" if pattern[0] == "N" and "M" not in pattern else CLAUSE_END if pattern[-1] == "." else ""
    pattern = pattern.removesuffix(".")
    body = re.sub(r"(?<![A-Za-z])F(?=[NM]?(?![A-Za-z]))", FIELD, re.escape(pattern).replace(r"\ ", r"\s+"))
    body = re.sub(r"(?<![A-Za-z])U(?![A-Za-z])", MONEY, body)
    body = re.sub(r"(?<![A-Za-z])D(?![A-Z])", lambda _: rf"{NOBODYS}'?{SIGN}", body)
    body = re.sub(r"(?<![A-Za-z])[NM](?![A-Za-z])", f"[{SIGN}{MONEY}]", body).replace(FIELD, r"(?P<field>\w+(?: \w+)?)")
    return re.compile(_edge(pattern, body) + following)


def _edge(pattern: str, body: str) -> str:
    """Words begin and end where words do; what is written without blanks may stand anywhere."""
    head = r"(?<![\d.])" if pattern[0] in "ND" else r"(?<!\w)" if pattern[0].isalnum() and not _spaceless(pattern[0]) else ""
    tail = r"(?!\w)" if pattern[-1].isalnum() and not _spaceless(pattern[-1]) and pattern[-1] not in "NM" else ""
    return head + body + tail


def _spaceless(text: str) -> bool:
    return re.match(f"[{SPACELESS}]", text) is not None
