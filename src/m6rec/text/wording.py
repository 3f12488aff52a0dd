"""Rows to words: items and profiles as one line of text each, by a template that is data.

An item's words say facts of the item only, so the same item is worded the same for everyone. A field that is missing is left out.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from m6rec.base.errors import ConfigError, DataError, nearest
from m6rec.data.dataset import Table
from m6rec.data.fields import FieldType
from m6rec.text.cues import Cues, cues_with
from m6rec.text.template import NAME, VALUE, Bands, Entity, Part, filled, load_template, placeholders

ROUND_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
Words = list[str | None]  # one entry a row; None: not known


class Wording:
    """The wording of one language, or of the user's own template file over it.

    Raises:
        ConfigError: no such language, or the template file says something it can't; a field or placeholder the data lacks is
            named, with the nearest field, when the first table is worded.
    """

    def __init__(self, language: str = "en", templates: Path | str | None = None) -> None:
        self.language = language
        self.templates = None if templates is None else Path(templates)
        self.template, self._own = load_template(templates, language)
        self._source = str(templates) if templates is not None else f"templates/{language}.yaml"
        self._missing = {value.casefold() for value in self.template.missing}

    @property
    def cues(self) -> Cues:
        """Cue words of typed text: the packaged ones, and those of the user's own template file."""
        return cues_with(self.template.cues)

    def items(self, table: Table) -> list[str]:
        """The words of every item, in the order of the table; a fixed phrase for an item with nothing known, never its id."""
        return self._table("item", table)

    def users(self, table: Table) -> list[str]:
        """The words of every user; "" where nothing is known."""
        return self._table("profile", table)

    def item(self, row: Mapping[str, Any], fields: Mapping[str, FieldType | str]) -> str:
        """The words of one item given as a dict; keys that are no declared field are not said."""
        return self.say("item", row, fields)

    def profile(self, values: Mapping[str, Any], fields: Mapping[str, FieldType | str] | None = None) -> str:
        """The words of a person described by `values`; "" for nothing.

        fields  the declared user fields; None or empty: types are taken from the values (list: tags, number: number, text: category).

        Raises:
            DataError: a value for a field that is not declared.
        """
        if fields:
            for name in values:
                if name not in fields:
                    raise DataError(
                        f"'{name}' is not a field of the users{nearest(name, list(fields)) or '; fields: ' + ', '.join(fields)}"
                    )
            return self.say("profile", values, fields)
        guessed = {name: _guess(value) for name, value in values.items()}
        return self._say("profile", {name: [_coerced(values[name], kind)] for name, kind in guessed.items()}, guessed, 1)[0]

    def say(self, entity: str, row: Mapping[str, Any], fields: Mapping[str, FieldType | str]) -> str:
        """The words of one `entity` (item, profile, query, review, ...). Raises ConfigError for an entity the template lacks."""
        typed = {name: FieldType(kind) for name, kind in fields.items()}
        self._check(entity, typed)
        return self._say(entity, {name: [_coerced(row.get(name), kind)] for name, kind in typed.items()}, typed, 1)[0]

    def _table(self, entity: str, table: Table) -> list[str]:
        self._check(entity, table.fields)
        fields = {name: kind for name, kind in table.fields.items() if name in table.frame.columns}
        said = [name for name, kind in fields.items() if kind != FieldType.VECTOR]
        return self._say(entity, {name: table.frame[name].to_list() for name in said}, fields, len(table))

    def _say(self, entity: str, columns: Mapping[str, Sequence[Any]], fields: Mapping[str, FieldType], rows: int) -> list[str]:
        form = self.template.entities[entity]
        said = self._columns(form, columns, fields)
        if not said:
            return [form.nothing] * rows
        return [form.joiner.join([words for words in row if words]) or form.nothing for row in zip(*said, strict=True)]

    def _check(self, entity: str, fields: Mapping[str, FieldType]) -> None:
        """The user's own file is written for the user's own data: a field it names must be declared. The built-in ones name what may be."""
        if entity not in self.template.entities:
            known = list(self.template.entities)
            raise ConfigError(f"{self._source} has no entity '{entity}'{nearest(entity, known) or '; it has: ' + ', '.join(known)}")
        for number, part in enumerate(self.template.entities[entity].parts if entity in self._own else (), 1):
            wanted = [part.field] if isinstance(part.field, str) else part.field or []
            unknown = [name for name in placeholders(part.say) if not part.single and name not in fields]
            if wanted and not any(name in fields for name in wanted):
                unknown = wanted
            if unknown:
                what = f"field '{unknown[0]}'" if part.single else f"placeholder '{{{unknown[0]}}}'"
                hint = nearest(unknown[0], list(fields)) or f"; declared fields: {', '.join(fields) or 'none'}"
                raise ConfigError(f"unknown {what} in part {number} of '{entity}' in {self._source}{hint}")

    def _columns(self, form: Entity, columns: Mapping[str, Sequence[Any]], fields: Mapping[str, FieldType]) -> list[Words]:
        """One column of words for every part and field that goes together, in the order of the parts."""
        done: set[str] = set()
        said: list[Words] = []
        for part in form.parts:
            if not part.single:
                names = placeholders(part.say)
                values = [self._values(part, fields[name], columns[name]) for name in names if name in columns]
                if len(values) == len(names):
                    said.append(_fill(part.say, names, values))
                    done.update(names)
                continue
            wanted = [part.field] if isinstance(part.field, str) else part.field
            for name in wanted if wanted is not None else [n for n, kind in fields.items() if kind == part.type]:
                if name in columns and name not in done:
                    done.add(name)
                    called = self.template.names.get(name, name.replace("_", " "))
                    words = self._values(part, fields[name], columns[name])
                    said.append(_fill(part.say, [NAME, VALUE], [[called] * len(words), words]))
        return said

    def _values(self, part: Part, kind: FieldType, column: Sequence[Any]) -> Words:
        """The values of one field in words, without what the template says around them."""
        if kind == FieldType.VECTOR:
            return [None] * len(column)
        if kind == FieldType.TEXT:
            return [None if value is None else _cut(value, part.longest) for value in column]
        known = {value.casefold(): words for value, words in part.values.items()}
        number: Callable[[float], str | None] = lru_cache(4096)(lambda value: self._number(part, value))

        def single(value: str) -> str | None:
            value = _cut(value, part.longest) or ""
            folded = value.casefold()
            if folded in self._missing and folded not in known:
                return None
            if folded in known:
                return known[folded]
            return number(float(value)) if part.bands and _is_number(value) else value

        one = lru_cache(4096)(single)
        if kind == FieldType.NUMBER:
            return [None if value is None else number(value) if isinstance(value, (int, float)) else one(value) for value in column]
        if kind == FieldType.TAGS:
            words = ([one(tag) for tag in value if tag is not None] if value else [] for value in column)
            return [part.joiner.join([tag for tag in row if tag][: part.most]) or None for row in words]
        return [None if value is None else one(value) for value in column]

    def _number(self, part: Part, value: float) -> str | None:
        if not math.isfinite(value):
            return None
        return plain_number(value, self.template.decimals) if part.bands is None else band(value, part.bands, self.template.decimals)


def plain_number(value: float, decimals: int = 2) -> str:
    """60.0 -> "60", 3.14159 -> "3.14"; a small number keeps two significant digits, so that it is not read as 0."""
    if value != 0 and abs(value) < 10.0**-decimals:
        return f"{value:.2g}"
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def band(value: float, bands: Bands, decimals: int = 2) -> str:
    """The words for the band of `value`: 65 -> "60-80" with round edges, 30 -> "25-34" with whole ages."""
    if bands.edges == "round":
        if value <= 0:
            return plain_number(value, decimals)
        exponent = f"{value:.16e}".partition("e")[2]  # exact, where log10(1000) may fall short of 3
        edges = [float(f"{step}e{exponent}") for step in ROUND_STEPS]
    else:
        edges = list(bands.edges)
    place = bisect.bisect_right(edges, value)
    low = plain_number(edges[place - 1], decimals) if place else ""
    if place == len(edges):
        return filled(bands.above, {"low": low})
    if place == 0:
        return filled(bands.below, {"high": plain_number(edges[0], decimals)})
    high = plain_number(edges[place] - 1 if bands.whole else edges[place], decimals)
    return filled(bands.between, {"low": low, "high": high})


def _fill(words: str, names: Sequence[str], columns: Sequence[Words]) -> Words:
    """`words` with its placeholders replaced row by row, see `filled`; None where one of them is not known."""
    rows = zip(*columns, strict=True)
    return [filled(words, dict(zip(names, row, strict=True))) if all(row) else None for row in rows]


def _cut(value: str, longest: int) -> str | None:
    """Blanks collapsed, at most `longest` characters, cut at the last blank of the second half where there is one."""
    text = " ".join(value[: 4 * longest].split())
    if len(text) > longest:
        blank = text.rfind(" ", longest // 2, longest + 1)
        text = text[: blank if blank > 0 else longest]
    return text or None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _guess(value: Any) -> FieldType:
    if isinstance(value, (list, tuple, set, frozenset)):
        return FieldType.TAGS
    return FieldType.NUMBER if isinstance(value, (int, float)) and not isinstance(value, bool) else FieldType.CATEGORY


def _coerced(value: Any, kind: FieldType) -> Any:
    """A value as typed into a dict, in the form a prepared table has it."""
    if value is None or kind == FieldType.VECTOR:
        return None
    if kind == FieldType.TAGS:
        several = isinstance(value, (list, tuple, set, frozenset))
        return [str(tag) for tag in (sorted(value) if isinstance(value, (set, frozenset)) else value)] if several else [str(value)]
    if isinstance(value, (list, tuple)):
        return ", ".join(str(one) for one in value)
    if kind == FieldType.NUMBER and not isinstance(value, bool) and _is_number(str(value)):
        return float(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return plain_number(value) if isinstance(value, float) else str(value)


def without_field(table: Table, name: str) -> Table:
    """The table without one field: what is asked for must not be said."""
    return Table(table.ids, table.frame.drop(name), {field: kind for field, kind in table.fields.items() if field != name})
