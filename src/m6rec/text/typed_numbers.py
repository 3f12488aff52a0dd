"""Numbers in what somebody typed, as bounds of number fields: "under 50", "at least 4 stars", "between 20 and 40", "1990s", "50元以下".

A number goes to the field that its unit, or the field's name beside it, points to; without either, to the field that the cues name (`unsaid`) (a
price), to a year where it reads like one, or to the only number field whose range holds it. A number that no field can hold bounds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from m6rec.text.cues import Bound, Cues
from m6rec.text.field_names import FieldNames
from m6rec.text.words import SPACELESS

FLIPPED: dict[Bound, Bound] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
NAMED_WITHIN = 24  # characters before a bound in which its field may be named
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
    bounds: tuple[tuple[Bound, re.Pattern[str]], ...]
    years: tuple[tuple[Bound, re.Pattern[str]], ...]
    decades: tuple[re.Pattern[str], ...]
    ages: tuple[re.Pattern[str], ...]
    number: re.Pattern[str]


def number_spans(text: str, names: FieldNames, cues: Cues, taken: Sequence[tuple[int, int]] = ()) -> list[NumberSpan]:
    """The bounds that `text` (normalised, small letters) puts on number fields, in order, none over another or over what is `taken`."""
    found: list[NumberSpan] = []
    busy = list(taken)
    patterns = _patterns(_Key(cues))
    if not names.numbers or not patterns.number.search(text):
        return found
    year = names.number_field(cues.year_fields)

    def take(match: re.Match[str], field: str | None, bounds: Sequence[tuple[Bound, float]]) -> None:
        start, end = match.start(), match.end()
        if field is not None and not any(start < last and end > first for first, last in busy):
            start = _with_name(text, start, field)
            busy.append((start, end))
            found.append(NumberSpan(start, end, field, tuple(bounds)))

    if year is not None:
        low, high = names.numbers[year]
        for decades in patterns.decades:
            for match in decades.finditer(text):
                first = _decade(match["d"])
                if first is not None and low - 10 <= first <= high + 10:
                    take(match, year, [(">=", first), ("<=", first + 9)])
        for bound, pattern in patterns.years:
            for match in pattern.finditer(text):
                value = _value(match["n"], cues)
                if value is not None and _like_year(value, names.numbers[year]):
                    take(match, year, [(bound, value)] if bound != "=" else [(">=", value), ("<=", value)])
    for bound, pattern in patterns.bounds:
        for match in pattern.finditer(text):
            value = _value(match["n"], cues)
            other = _value(match["m"], cues) if bound == "between" else value
            if value is None or other is None:
                continue
            unit = next((match[name] for name in ("u1", "u2", "u3", "u4") if name in match.groupdict() and match[name]), None)
            sure = bound != "between" or match.group()[:1].isalpha()
            take(match, _field(text, match, unit, (value, other), names, cues, sure=sure), _said(bound, value, other))
    return sorted(found, key=lambda span: span.start)


def ages(text: str, cues: Cues) -> list[tuple[int, int, float]]:
    """(start, end, years) of the ages of people that `text` names."""
    found = []
    for pattern in _patterns(_Key(cues)).ages:
        for match in pattern.finditer(text):
            value = _value(match["n"], cues)
            if value is not None:
                found.append((match.start(), match.end(), value))
    return found


def _said(bound: Bound, value: float, other: float) -> list[tuple[Bound, float]]:
    if bound == "between":
        return [(">=", min(value, other)), ("<=", max(value, other))]
    return [(">=", value), ("<=", value)] if bound == "=" else [(bound, value)]


def _field(
    text: str, match: re.Match[str], unit: str | None, values: tuple[float, float], names: FieldNames, cues: Cues, *, sure: bool
) -> str | None:
    """The number field that a bound is of, None where none can be meant."""
    if unit is not None:
        return names.number_field(cues.units[unit])
    before = text[max(0, match.start() - NAMED_WITHIN) : match.start()]
    for field in names.numbers:
        called = re.escape(field.casefold().replace("_", " "))
        if re.search(rf"(?<!\w){called}\W{{0,3}}(?:is |of |was |are )?$", before) or re.match(
            rf"\W{{0,2}}{called}(?!\w)", text[match.end() :]
        ):
            return field
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


def _with_name(text: str, start: int, field: str) -> int:
    """Where a bound begins, with the name of its field where that stands right before it."""
    called = re.escape(field.casefold().replace("_", " "))
    match = re.search(rf"(?<!\w){called}\W{{0,3}}(?:is |of |was |are )?$", text[max(0, start - NAMED_WITHIN) : start])
    return start if match is None else start - len(match.group())


def _like_year(value: float, known: tuple[float, float]) -> bool:
    return value == int(value) and 1000 <= value <= 2999 and known[0] - 100 <= value <= known[1] + 100


def _decade(digits: str) -> float | None:
    value = int(digits)
    if value % 10:
        return None
    if value >= 1000:
        return float(value)
    return float((1900 if value >= RECENT else 2000) + value) if value < 100 else None


def _value(text: str, cues: Cues) -> float | None:
    if text in cues.number_words:
        return cues.number_words[text]
    factor = 1000.0 if text.endswith("k") else 1.0
    try:
        return float(text.rstrip("k").replace(",", "")) * factor
    except ValueError:
        return None


class _Key:
    """A set of cues as a key: compiling its patterns once is enough."""

    def __init__(self, cues: Cues) -> None:
        self.cues = cues

    def __hash__(self) -> int:
        return id(self.cues)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.cues is self.cues


@cache
def _patterns(key: _Key) -> _Patterns:
    cues = key.cues
    units = sorted(cues.units, key=len, reverse=True)
    bounds = [(bound, _compiled(pattern, cues, units)) for bound, some in cues.numbers.items() for pattern in some]
    years = [(bound, _compiled(pattern, cues, ())) for bound, some in cues.years.items() for pattern in some]
    # Both ends first, then the longest words: "no more than 50" is not "more than 50".
    bounds.sort(key=lambda pair: (pair[0] != "between", -len(pair[1].pattern)))
    years.sort(key=lambda pair: (pair[0] == "=", -len(pair[1].pattern)))
    decades = tuple(
        re.compile(_edge(pattern, pattern.replace("D", r"(?<!her )(?<!his )(?<!my )'?(?P<d>\d{4}|\d{2})"))) for pattern in cues.decades
    )
    ages = tuple(_compiled(pattern, cues, ()) for pattern in cues.ages)
    return _Patterns(tuple(bounds), tuple(years), decades, ages, re.compile(rf"\d|{_spelled(cues)}"))


def _compiled(pattern: str, cues: Cues, units: Sequence[str]) -> re.Pattern[str]:
    """A pattern of a cue file: N and M are numbers with an optional unit on either side."""
    number = rf"\d[\d,]*(?:\.\d+)?k?(?!\d)|{_spelled(cues)}"
    unit = "|".join(re.escape(one) + ("" if _spaceless(one) or not one[-1].isalnum() else r"(?!\w)") for one in units) or r"(?!)"
    body = re.escape(pattern).replace(r"\ ", r"\s+")
    for place, (name, before, after) in enumerate((("n", "u1", "u2"), ("m", "u3", "u4"))):
        said = rf"(?:(?P<{before}>{unit})\s*)?(?P<{name}>{number})(?:\s*-?\s*(?P<{after}>{unit}))?" if units else rf"(?P<{name}>{number})"
        body = re.sub(rf"(?<![A-Za-z?<]){'NM'[place]}(?![A-Za-z>])", said.replace("\\", r"\\"), body)
    if units and "u4" not in body:
        body += rf"(?:\s*-?\s*(?P<u3>{unit}))?"  # "4+ stars"
    return re.compile(_edge(pattern, body))


def _spelled(cues: Cues) -> str:
    """Pattern of a number in words, whole ones."""
    words = sorted(cues.number_words, key=len, reverse=True)
    plain = "|".join(re.escape(word) for word in words if not _spaceless(word)) or "(?!)"
    spaceless = "|".join(re.escape(word) for word in words if _spaceless(word)) or "(?!)"
    return rf"(?<!\w)(?:{plain})(?!\w)|(?:{spaceless})"


def _edge(pattern: str, body: str) -> str:
    """Words begin and end where words do; what is written without blanks may stand anywhere."""
    head = "" if _spaceless(pattern[0]) else r"(?<![\d.])" if pattern[0] in "ND" else rf"(?<![^\W{SPACELESS}])"
    tail = rf"(?![^\W{SPACELESS}])" if pattern[-1].isalnum() and not _spaceless(pattern[-1]) else ""
    return head + body + tail


def _spaceless(text: str) -> bool:
    return re.match(f"[{SPACELESS}]", text) is not None
