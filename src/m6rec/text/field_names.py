"""What the fields of a catalogue are called in words: names of values with their other forms, and the ranges of numbers.

A value is found by its name ("Sci-Fi"), joined or apart ("scifi", "sci fi"), in the singular or plural, by an abbreviation of it or by
what it abbreviates ("science fiction", "rpg"), and by a word of the same stem that the catalogue's own texts use with it ("romantic"
for Romance): form proposes, the catalogue confirms.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from m6rec.data.dataset import FieldType, Table
from m6rec.text.words import normalise, singular, units, words

Unit = tuple[str, ...]
LONGEST_NAME = 8  # units of a value's name at most
LEAST_STEM, MOST_ENDING = 5, 4  # letters that two forms of a word share at least; letters after that at most
CONFIRMING_ITEMS, CONFIRMING_LIFT = 3, 2.0  # what a catalogue must show for a word of the same stem to be a name
MOST_STEMMED = 2_000  # values of a field whose other forms are looked for: names of brands and people have none
JOINING = frozenset("-'’&/.+")  # signs that may stand inside a name


@dataclass(frozen=True)
class Named:
    """A value of a field that was named by the words first..last (exclusive) of a text."""

    field: str
    value: str
    first: int
    last: int


class FieldNames:
    """Names of the values of N items' category, tags and id fields, and ranges of their number fields.

    values   field -> value as the table has it -> how many items have it
    numbers  field -> (lowest, highest); fields without any number are left out
    """

    def __init__(self, items: Table, language: str = "en") -> None:
        self.items, self.language = items, language
        self.values: dict[str, Counter[str]] = {}
        self.numbers: dict[str, tuple[float, float]] = {}
        for name, kind in items.fields.items():
            if kind == FieldType.NUMBER:
                column = items.frame[name].to_numpy().astype(np.float64)
                if np.isfinite(column).any():
                    self.numbers[name] = (float(np.nanmin(column)), float(np.nanmax(column)))
            elif kind in (FieldType.CATEGORY, FieldType.TAGS, FieldType.ID):
                self.values[name] = _counted(items, name)
        self._of_stem: dict[str, list[tuple[str, str]]] = {}

    def number_field(self, candidates: Iterable[str]) -> str | None:
        """The number field that is called like one of `candidates`: just so, or with it among its words."""
        return _called(candidates, self.numbers)

    def value_field(self, candidates: Iterable[str]) -> str | None:
        """The field of values that is called like one of `candidates`."""
        return _called(candidates, self.values)

    def like(self, names: Iterable[str]) -> dict[str, list[str]]:
        """field -> its values that are called like one of `names` (capitals, signs and plurals make no difference)."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in dict.fromkeys(_key(name, self.language) for name in names):
            for field, value in self._names.get(name, ()):
                if self.items.fields[field] != FieldType.ID and _key(value, self.language) == name:
                    found[field].append(value)
        return dict(found)

    def named(self, sequence: Sequence[str], *, ids: bool = True) -> list[Named]:
        """The values that words name, longest first, none over another; ids: also values of id fields.

        sequence: words in their order, None-like gaps ("") where a sign stands that no name may run across.
        """
        stems = [singular(word) if word and self.language == "en" else word for word in sequence]
        found: list[Named] = []
        start = 0
        while start < len(stems):
            step = 1
            for length in range(min(LONGEST_NAME, len(stems) - start), 0, -1):
                key = tuple(stems[start : start + length])
                if not all(key):
                    continue
                values = self._look_up(key, tuple(sequence[start : start + length]))
                values = [pair for pair in values if ids or self.items.fields[pair[0]] != FieldType.ID]
                if values:
                    found.extend(Named(field, value, start, start + length) for field, value in values)
                    step = length
                    break
            start += step
        return found

    def _look_up(self, key: Unit, typed: Unit) -> list[tuple[str, str]]:
        exact = self._names.get(key)
        if exact:
            return exact
        if len(key) == 1:
            return self._same_stem(key[0])
        # Abbreviations of every unit: "science fiction" of "Sci-Fi" and the other way round.
        for name, values in self._abbreviable.get(len(key), ()):
            if all(_abbreviates(part, word) for part, word in zip(name, typed, strict=True)):
                return values
        return []

    @cached_property
    def _names(self) -> dict[Unit, list[tuple[str, str]]]:
        names: dict[Unit, list[tuple[str, str]]] = defaultdict(list)
        for field, values in self.values.items():
            called = _key(field, self.language)
            for value in values:
                key = _key(value, self.language)
                if not key or len(key) > LONGEST_NAME:
                    continue
                forms = {called + key}
                if words(value, self.language) and not all(unit.isdigit() for unit in key):
                    forms.add(key)
                    if 1 < len(key) <= 4 and not any(len(unit) == 1 and not unit.isascii() for unit in key):
                        forms.add((singular("".join(key)),))
                    if len(key) > 2 and all(unit.isascii() for unit in key):
                        forms.add(("".join(unit[0] for unit in key),))
                for form in forms:
                    names[form].append((field, value))
        return dict(names)

    @cached_property
    def _abbreviable(self) -> dict[int, list[tuple[Unit, list[tuple[str, str]]]]]:
        """By number of units: names of several units, of fields whose values are few enough to look at."""
        found: dict[int, list[tuple[Unit, list[tuple[str, str]]]]] = defaultdict(list)
        for key, values in self._names.items():
            few = [pair for pair in values if len(self.values[pair[0]]) <= MOST_STEMMED]
            if 1 < len(key) <= 3 and few and all(unit.isascii() for unit in key):
                found[len(key)].append((key, few))
        return dict(found)

    def _same_stem(self, word: str) -> list[tuple[str, str]]:
        """Values whose one-word name has the stem of `word`, where the texts of the catalogue use the word with them."""
        if len(word) < LEAST_STEM or not word.isascii():
            return []
        if word not in self._of_stem:
            self._of_stem[word] = [
                pair
                for key, pairs in self._names.items()
                if len(key) == 1 and _one_stem(word, key[0])
                for pair in pairs
                if len(self.values[pair[0]]) <= MOST_STEMMED and self._confirmed(word, *pair)
            ]
        return self._of_stem[word]

    def _confirmed(self, word: str, field: str, value: str) -> bool:
        """Whether items whose text says `word` have the value more often than others; where too few say it, whether the forms are close."""
        rows = self._sayers.get(word, ())
        if len(rows) < CONFIRMING_ITEMS:
            name = _key(value, self.language)[0]
            return abs(len(name) - len(word)) < MOST_ENDING and _common(name, word) >= max(LEAST_STEM, 0.6 * len(word))
        having = sum(value in _several(self._columns[field][row]) for row in rows)
        return having / len(rows) >= CONFIRMING_LIFT * self.values[field][value] / max(len(self.items), 1)

    @cached_property
    def _columns(self) -> dict[str, list[object]]:
        return {field: self.items.frame[field].to_list() for field in self.values}

    @cached_property
    def _sayers(self) -> dict[str, list[int]]:
        """Word of a text field -> items that say it, for words that share a stem with some value."""
        starts = {key[0][:LEAST_STEM] for key in self._names if len(key) == 1 and len(key[0]) >= LEAST_STEM}
        found: dict[str, list[int]] = defaultdict(list)
        for name, kind in self.items.fields.items():
            if kind == FieldType.TEXT:
                for row, text in enumerate(self.items.frame[name].to_list()):
                    for word in set(units(text or "", self.language)):
                        if word[:LEAST_STEM] in starts:
                            found[word].append(row)
        return dict(found)


def _counted(items: Table, name: str) -> Counter[str]:
    column = items.frame[name]
    if items.fields[name] == FieldType.TAGS:
        column = column.list.explode()
    counts = column.drop_nulls().cast(pl.String).value_counts()
    return Counter(dict(zip(counts[name].to_list(), counts["count"].to_list(), strict=True)))


def _several(cell: object) -> list[str]:
    if cell is None:
        return []
    return [str(one) for one in cell if one is not None] if isinstance(cell, list) else [str(cell)]


def _key(name: str, language: str) -> Unit:
    return tuple(units(name, language))


def _called(candidates: Iterable[str], fields: Iterable[str]) -> str | None:
    known = {name: normalise(name).replace("_", " ") for name in fields}
    wanted = [normalise(candidate).replace("_", " ") for candidate in candidates]
    for candidate in wanted:
        for name, called in known.items():
            if called == candidate:
                return name
    for candidate in wanted:
        for name, called in known.items():
            if candidate in called.split() or (not candidate.isascii() and candidate in called):
                return name
    return None


def _abbreviates(part: str, word: str) -> bool:
    """Whether one of two words begins the other: "sci" and "science"; at least two letters, and not the same letters plus an s."""
    short, long = (part, word) if len(part) <= len(word) else (word, part)
    return len(short) >= 2 and long.startswith(short) and (len(short) <= 4 or len(short) == len(long) or long == short + "s")


def _one_stem(first: str, second: str) -> bool:
    common = _common(first, second)
    return first != second and common >= LEAST_STEM and max(len(first), len(second)) - common <= MOST_ENDING


def _common(first: str, second: str) -> int:
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
