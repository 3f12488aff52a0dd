"""What a sentence could say of a catalogue's items: their names, the values of their fields, and which of these each item has.

Names and values are kept as phrases, units of words joined by blanks, in one dictionary; a text is read by looking up, at every unit, the
longest phrase that begins there. So a catalogue of 100,000 items is laid out in seconds, and a sentence is read in well under a millisecond.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from m6rec.data.dataset import FieldType, Table
from m6rec.explanation.phrases import language_of
from m6rec.text.template import base_template
from m6rec.text.words import placed_units, units

NAME = ""  # the field of an item's name
LONGEST = 24  # units of a phrase; a longer name is found by its beginning
MOST_TEXT = 4000  # characters of a text field that facts are read from
KEPT = 20_000  # items whose facts are kept
PARENTHESES = re.compile(r"\s*[(\[（【][^()\[\]（）【】]*[)\]）】]")
CUTS = re.compile(r"\s*(?:[:：;；,，]\s|：|，|\s[-–—|]\s|\.\s)")
NUMBER = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Said:
    """What is true of one thing. texts: the units of its texts, each text between bars.  numbers: (field, value), "" for one of a text."""

    phrases: frozenset[str] = frozenset()
    texts: str = ""
    numbers: tuple[tuple[str, float], ...] = ()

    def has(self, phrase: str) -> bool:
        """Whether it has the name or value, or its own texts say it."""
        return phrase in self.phrases or f" {phrase} " in self.texts

    def also(self, other: Said) -> Said:
        """What is true of either."""
        return Said(self.phrases | other.phrases, self.texts + other.texts, self.numbers + other.numbers)


@dataclass(frozen=True)
class Found:
    """A phrase in a text: units first..last (exclusive) of it."""

    phrase: str
    fields: tuple[str, ...]
    first: int
    last: int


class Lexicon:
    """Phrases of a catalogue, phrase -> the fields it may belong to (`NAME`: an item is called so).

    Args:
        language: whose rules cut text into units, and whose common words name nothing.
        before: the lexicon of the same catalogue when it was shorter; only what was added is read then.
    """

    def __init__(self, items: Table, language: str = "en", before: Lexicon | None = None) -> None:
        self.items, self.language = items, language
        self.words = language_of(language).claims
        self.common = {unit for word in self.words.common for unit in units(word, language)}
        self.missing = {" ".join(units(word, language)) for word in base_template(language).missing}
        self.articles = {unit for word in self.words.articles for unit in units(word, language)}
        self.number_fields = [name for name, kind in items.fields.items() if kind == FieldType.NUMBER]
        self.value_fields = [name for name, kind in items.fields.items() if kind in (FieldType.CATEGORY, FieldType.TAGS, FieldType.ID)]
        self.text_fields = [name for name, kind in items.fields.items() if kind == FieldType.TEXT]
        grown = (
            before is not None and before.language == language and before.items.fields == items.fields and len(before.items) <= len(items)
        )
        self.phrases: dict[str, tuple[str, ...]] = dict(before.phrases) if before is not None and grown else {}
        self.longest: dict[str, int] = dict(before.longest) if before is not None and grown else {}
        self.telling: frozenset[str] = before.telling if before is not None and grown else frozenset()  # as `telling.py` finds them
        self._facts: dict[int, Said] = {}
        self._learn(len(before.items) if before is not None and grown else 0)

    def _learn(self, start: int) -> None:
        """The names and values of the items from row `start` on."""
        self.titles = self.items.titles()
        for title in self.titles[start:]:
            for phrase in self.names(title):
                self._add(phrase, NAME)
        for field in self.value_fields:
            column = self.items.frame[field].slice(start)
            for value in (column.explode() if self.items.fields[field] == FieldType.TAGS else column).unique().drop_nulls().to_list():
                phrase = self.phrase(value)
                if phrase and phrase not in self.missing and not phrase.replace(" ", "").isdigit():
                    self._add(phrase, field)

    def _add(self, phrase: str, field: str) -> None:
        fields = self.phrases.get(phrase, ())
        if field not in fields:
            self.phrases[phrase] = (*fields, field)
            first, length = phrase.partition(" ")[0], phrase.count(" ") + 1
            if length > self.longest.get(first, 0):
                self.longest[first] = length

    def phrase(self, value: str) -> str:
        """A value as a phrase; "" for one without letters, digits, or of single common words, or too long to be said."""
        said = units(value[:400], self.language)
        if not said or len(said) > LONGEST or all(unit in self.common for unit in said) or (len(said) == 1 and len(said[0]) == 1):
            return ""
        return " ".join(said)

    def names(self, title: str) -> list[str]:
        """The phrases by which an item called `title` is named: whole, without parentheses, up to the first cut, with its article in front."""
        bare = PARENTHESES.sub("", title[:1000]).strip()
        head, _, article = bare.rpartition(", ")
        turned = f"{article} {head}" if head and article.casefold() in self.words.articles else bare
        first = CUTS.split(turned, maxsplit=1)[0]
        found = dict.fromkeys([title[:1000], bare, turned])
        # A beginning of one word is no name: "Star" of "Star: the making of".
        phrases = [units(name, self.language)[:LONGEST] for name in found]
        phrases += [short] if len(short := units(first, self.language)) > 1 else []
        return list(dict.fromkeys(" ".join(one) for one in phrases if one and not (len(one) == 1 and len(one[0]) == 1)))

    def find(self, said: list[tuple[str, int, int]]) -> list[Found]:
        """The longest phrases among placed units, from the left, none overlapping another."""
        sequence, place, found = [unit for unit, _, _ in said], 0, []
        while place < len(sequence):
            for length in range(min(self.longest.get(sequence[place], 0), len(sequence) - place), 0, -1):
                phrase = " ".join(sequence[place : place + length])
                fields = self.phrases.get(phrase)
                if fields is not None:
                    found.append(Found(phrase, fields, place, place + length))
                    place += length - 1
                    break
            place += 1
        return found

    def facts(self, row: int) -> Said:
        """What is true of the item in row `row`."""
        known = self._facts.get(row)
        if known is None:
            if len(self._facts) >= KEPT:
                self._facts.clear()
            frame = self.items.frame
            values = {name: frame[name][row] for name in self.items.fields if self.items.fields[name] != FieldType.VECTOR}
            values = {name: value.to_list() if hasattr(value, "to_list") else value for name, value in values.items()}
            known = self._facts[row] = self._read(values, self.items.fields, self.names(self.titles[row]))
        return known

    def person(self, profile: Mapping[str, Any] | str | None) -> Said:
        """What is true of a described person."""
        if profile is None or isinstance(profile, str):
            return self.typed(profile or "")
        kinds = {
            name: FieldType.NUMBER
            if isinstance(value, int | float)
            else FieldType.TAGS
            if isinstance(value, list | tuple | set)
            else FieldType.CATEGORY
            for name, value in profile.items()
        }
        return self._read(profile, kinds, [])

    def typed(self, text: str) -> Said:
        """What a text says, word for word."""
        return self._read({"": text}, {"": FieldType.TEXT}, [])

    def _read(self, values: Mapping[str, Any], kinds: Mapping[str, FieldType], names: Iterable[str]) -> Said:
        phrases, texts, numbers = set(names), [], []
        for field, value in values.items():
            if value is None:
                continue
            if kinds[field] == FieldType.NUMBER:
                if value == value:
                    numbers.append((field, float(value)))
                continue
            several = [str(one) for one in value if one is not None] if isinstance(value, list | tuple | set) else [str(value)]
            for one in several:
                said = [unit for unit, _, _ in placed_units(one[:MOST_TEXT], self.language)]
                texts.append(f"| {' '.join(said)} |")
                numbers += [("", float(number.replace(",", ""))) for number in NUMBER.findall(one[:MOST_TEXT])]
                if kinds[field] != FieldType.TEXT:
                    phrases.add(" ".join(said))
        return Said(frozenset(phrases), "".join(texts), tuple(numbers))
