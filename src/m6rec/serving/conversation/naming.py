"""Which items and which values of fields a text names, by their names in the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from m6rec.data.dataset import FieldType, Table
from m6rec.text.phrases import Said, said
from m6rec.text.words import is_spaceless, normalise, singular

OPENING = '"“«《'  # quotation marks that names stand in
BRACKETS = re.compile(r"[(（\[【]")
LONGEST_NAME = 40  # words of a name that are compared
LEAST_SIGNS = 3  # of a script without spaces in the beginning of a title that names it: fewer are a common word
MOST_VALUES = 20_000  # different values of one field; more are ids, and nobody says them
YEAR = range(1800, 2200)


@dataclass(frozen=True)
class Named:
    """Something a text names: words `first` to `last` (after the last one) of it."""

    first: int
    last: int
    item: int = -1
    field: str = ""
    value: str = ""


class Names:
    """The names of a catalogue: titles and ids of items, values of category and tags fields.

    The beginning of a title before a bracket ("Trail backpack" of "Trail backpack (Aurora collection)") names it, where it is of no other item; of several
    that begin so, the one that the conversation spoke of.
    """

    def __init__(self, items: Table, titles: list[str], seen: np.ndarray, plain: Iterable[str]) -> None:
        """titles: what items are called.  seen: int64 (N,), how often each was met; of several with one title the most frequent is meant.
        plain: words that are no name by themselves, unless written as the title is and not where a sentence begins."""
        self.plain = set(plain)
        self.titles = titles
        self._by_words: dict[tuple[str, ...], int] = {}
        self._by_beginning: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}  # beginning -> whole title -> item
        self._heads: dict[str, int] = {}  # first word of a name -> words of the longest name that begins with it
        for item in np.lexsort((np.arange(len(seen)), seen)).tolist():  # later ones replace earlier ones: the most frequent stays
            words = said(titles[item]).words
            for name in {words, _without_year(words)}:
                if 0 < len(name) <= LONGEST_NAME:
                    self._by_words[name] = item
                    self._heads[name[0]] = max(self._heads.get(name[0], 0), len(name))
            begins = _beginning(titles[item])
            if begins and begins != _without_year(words):
                self._by_beginning.setdefault(begins, {})[words] = item
                self._heads[begins[0]] = max(self._heads.get(begins[0], 0), len(begins))
        self._ids = {name.casefold(): row for row, name in enumerate(items.ids.ids) if _telling(name)}
        self._values: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        self._value_heads: dict[str, int] = {}
        for field, kind in items.fields.items():
            if kind in (FieldType.CATEGORY, FieldType.TAGS):
                self._add_values(field, items, kind)

    def _add_values(self, field: str, items: Table, kind: FieldType) -> None:
        column = items.frame[field]
        values = (
            (column.explode(empty_as_null=True) if kind == FieldType.TAGS else column).drop_nulls().unique(maintain_order=True).to_list()
        )
        if len(values) > MOST_VALUES:
            return
        for value in values:
            words = tuple(singular(word) for word in said(value).words)
            if 0 < len(words) <= LONGEST_NAME:
                self._values.setdefault(words, []).append((field, value))
                self._value_heads[words[0]] = max(self._value_heads.get(words[0], 0), len(words))

    def items(self, text: Said, known: Iterable[int] = ()) -> list[Named]:
        """Items that the text names, in order, the longest name first where several begin at one word.

        known: items of the conversation so far, which a single common word of theirs is enough to name.
        """
        found: list[Named] = []
        listed = set(known)
        place = 0
        while place < len(text.words):
            named = self._item_at(text, place, listed)
            if named is None:
                place += 1
            else:
                found.append(named)
                place = named.last
        return found

    def _item_at(self, text: Said, place: int, known: set[int]) -> Named | None:
        word = text.words[place]
        if word in self._ids:
            return Named(place, place + 1, self._ids[word])
        for length in range(min(self._heads.get(word, 0), len(text.words) - place), 0, -1):
            item = whole = self._by_words.get(text.words[place : place + length])
            if whole is None:
                item = self._begun(text.words[place : place + length], known)
            if item is None:
                continue
            last = place + length
            if length == 1 and (item not in known or whole is None) and not self._meant(text, place, item):
                continue
            if last < len(text.words) and text.words[last].isdigit() and int(text.words[last]) in YEAR and len(text.words[last]) == 4:
                item = self._by_words.get(text.words[place : last + 1], item)
                last += 1
            return Named(place, last, item)
        return None

    def _begun(self, words: tuple[str, ...], known: set[int]) -> int | None:
        """The one item whose title begins so before a bracket; of several the one of the conversation so far."""
        items = list(self._by_beginning.get(words, {}).values())
        spoken = [item for item in items if item in known]
        return items[0] if len(items) == 1 else spoken[0] if len(spoken) == 1 else None

    def _meant(self, text: Said, place: int, item: int) -> bool:
        """Whether a single word is the name of the item: written as the title is, and no common word at the start of a sentence."""
        start, end = text.starts[place], text.ends[place]
        as_written = text.text[start:end]
        title = self.titles[item]
        if not as_written[:1].isascii() or (as_written[:1].isdigit() and not title.isdigit()):
            return as_written in title and text.words[place] not in self.plain
        before = text.text[:start].rstrip()
        quoted = bool(before) and before[-1] in OPENING
        begins = not before or before[-1] in ".!?\n"
        if quoted or len(text.words) == 1:
            return True
        return title.startswith(as_written) and as_written[:1].isupper() and not begins and len(as_written) > 1

    def values(self, text: Said) -> list[Named]:
        """Values of category and tags fields that the text names, longest first where several begin at one word; of equal ones all fields."""
        words = tuple(singular(word) for word in text.words)
        found: list[Named] = []
        place = 0
        while place < len(words):
            for length in range(min(self._value_heads.get(words[place], 0), len(words) - place), 0, -1):
                values = self._values.get(words[place : place + length])
                if values and not (length == 1 and words[place] in self.plain):
                    found += [Named(place, place + length, -1, field, value) for field, value in values]
                    place += length - 1
                    break
            place += 1
        return found


def _without_year(words: tuple[str, ...]) -> tuple[str, ...]:
    if len(words) > 1 and words[-1].isdigit() and len(words[-1]) == 4 and int(words[-1]) in YEAR:
        return words[:-1]
    return words


def _beginning(title: str) -> tuple[str, ...]:
    """The words of a title before its first bracket; () where it has none, or too little stands before it."""
    bracket = BRACKETS.search(title)
    words = () if bracket is None else said(title[: bracket.start()]).words
    few = sum(is_spaceless(word) for word in words) == len(words) < LEAST_SIGNS
    return () if few or len(words) > LONGEST_NAME else words


def _telling(name: str) -> bool:
    """Whether an id is one that nobody types by accident: letters and digits."""
    plain = normalise(name)
    return any(sign.isdigit() for sign in plain) and any(sign.isalpha() for sign in plain)
