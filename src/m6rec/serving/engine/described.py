"""What a described person says that the model has nothing to go by: fields that users do not have, values that no user has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import polars as pl

from m6rec.base.errors import nearest
from m6rec.data.dataset import FieldType, Table

NAMED = 3  # notes on one person, at most
LISTED = 8  # values of a field that are all named
LONGEST = 80  # characters of a name or value in a note


class Described:
    """Fields and values of the users, as descriptions are held against them.

    Args:
        understands: whether a text has a word of the catalogue.
    """

    def __init__(self, users: Table, understands: Callable[[str], bool]) -> None:
        self.users, self._understands = users, understands
        self._values: dict[str, dict[str, str]] = {}

    def without_unknown_tags(self, profile: Mapping[str, Any]) -> dict[str, Any]:
        """The description without tags that no user has and no item has a word of: they say nothing, and what they are spelt like is chance."""
        kept: dict[str, Any] = {}
        for name, value in profile.items():
            if self.users.fields.get(name) != FieldType.TAGS or value is None:
                kept[name] = value
            elif left := [one for one in _several(value) if self._known(name, one) or self._understands(str(one))]:
                kept[name] = left
        return kept

    def notes(self, profile: Mapping[str, Any] | str | None, further: Collection[str] = ()) -> tuple[str, ...]:
        """One line for each field that users do not have, and each value of a category or tag that says nothing. further: other fields that count."""
        if not isinstance(profile, Mapping):
            return ()
        fields, found = self.users.fields, list[str]()
        for name, value in profile.items():
            if name not in fields and name not in further:
                near = nearest(str(name), [*fields, *further])
                found.append(f"{_shown(name)} of the profile is no field of users, and is read as words{near}")
            kind = fields.get(name)
            for one in _several(value) if kind in (FieldType.CATEGORY, FieldType.TAGS) and value is not None else ():
                if not self._known(name, one) and not (kind == FieldType.TAGS and self._understands(str(one))):
                    told = "is left out" if kind == FieldType.TAGS else "is read as words"
                    found.append(f"no user has {name} {_shown(one)}, so it {told}{self._hint(name, str(one))}")
        return tuple(found[:NAMED])

    def _known(self, field: str, value: Any) -> bool:
        values = self._of(field)
        return not values or str(value).casefold() in values

    def _hint(self, field: str, value: str) -> str:
        values = list(self._of(field).values())
        return nearest(value, values) or (f"; users have {', '.join(sorted(values))}" if len(values) <= LISTED else "")

    def _of(self, field: str) -> dict[str, str]:
        """The values that users have: folded -> as written; none where none is known."""
        found = self._values.get(field)
        if found is None:
            column = self.users.frame[field]
            column = column.explode() if isinstance(column.dtype, pl.List) else column
            found = self._values[field] = {str(one).casefold(): str(one) for one in column.drop_nulls().unique().to_list()}
        return found


def _shown(value: Any) -> str:
    """In quotes on one line, without characters that nobody sees."""
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    return f"'{' '.join(text.split())[:LONGEST]}'"


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set) else [value]
