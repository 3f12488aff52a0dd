"""Questions about items, answered from their fields: "who directed it?", "how much is it?", "is it a comedy?"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m6rec.data.dataset import FieldType, Table
from m6rec.serving.conversation.understanding import Turn
from m6rec.text.constraints import Constraint
from m6rec.text.phrases import Phrases

MOST_ITEMS = 5
LONGEST_VALUE = 400  # characters of a text field that are read out
SHOWN_TITLE = 200


class ItemFacts:
    """What is known of the items, in words."""

    def __init__(self, items: Table, titles: list[str]) -> None:
        self.items = items
        self.titles = titles
        self.told = [name for name, kind in items.fields.items() if kind not in (FieldType.VECTOR, FieldType.ID)]

    def title(self, item: int) -> str:
        """What the item is called, on one line."""
        return plain_line(self.titles[item], SHOWN_TITLE)

    def bound(self, field: str, sign: str, items: Sequence[int]) -> Constraint | None:
        """Less ("<") or more (">") of a number field than `items` have; None where it is no such field, or not known of any."""
        if self.items.fields.get(field) != FieldType.NUMBER:
            return None
        known = [value for value in self.items.frame[field].gather(list(items)).to_list() if value is not None]
        return Constraint(field, "<" if sign == "<" else ">", float(min(known) if sign == "<" else max(known))) if known else None

    def value(self, item: int, field: str, phrases: Phrases) -> str | None:
        """The value of a field in words; None where it is not known."""
        value = self.items.frame[field][item]
        if value is None or (self.items.fields[field] == FieldType.TAGS and not len(value)):
            return None
        kind = self.items.fields[field]
        if kind == FieldType.TAGS:
            return phrases.several([plain_line(str(one), SHOWN_TITLE) for one in value])
        if kind == FieldType.NUMBER:
            return f"{value:.12g}"
        return plain_line(str(value), LONGEST_VALUE)

    def has(self, item: int, field: str, value: str) -> bool | None:
        """Whether the item has a value in a category or tags field; None where the field is not known of it."""
        held: Any = self.items.frame[field][item]
        if held is None or (self.items.fields[field] == FieldType.TAGS and not len(held)):
            return None
        return value in held.to_list() if self.items.fields[field] == FieldType.TAGS else held == value

    def values(self, items: Sequence[int], field: str) -> tuple[str, ...]:
        """The values of a category or tags field that `items` have, each once."""
        held: list[Any] = self.items.frame[field].gather(list(items)).to_list()
        return tuple(dict.fromkeys(one for value in held for one in (value if isinstance(value, list) else [value]) if one is not None))

    def answer(self, turn: Turn, phrases: Phrases, number: int) -> str:
        """The answer to a question about items. number: of the turn, which decides the wording."""
        said = []
        for item in turn.about[:MOST_ITEMS]:
            if turn.values:
                said.append(self._yes_or_no(item, turn, phrases, number))
            elif not turn.asked:
                said.append(self._all_of(item, phrases, number))
            else:
                said.append(" ".join(self._field(item, name, phrases, number) for name in self._known_first(item, turn.asked, phrases)))
        return "\n".join(said)

    def _all_of(self, item: int, phrases: Phrases, number: int) -> str:
        """Everything short that is known of an item: the answer to a question about it that no field is called by."""
        told = []
        for name in self.told:
            value = None if self.items.fields[name] == FieldType.TEXT else self.value(item, name, phrases)
            if value is not None:
                told.append(f"{name.replace('_', ' ')} {value}")
        if not told:
            return phrases.say("unknown_item", number)
        words = {"title": self.title(item), "name": "", "value": phrases.values["sayings"]["reason_join"].join(told)}
        return phrases.say("known", number, **words)

    def _known_first(self, item: int, asked: tuple[str, ...], phrases: Phrases) -> tuple[str, ...]:
        """Of several fields that answer one question, one that is known of the item."""
        known = [name for name in asked if self.value(item, name, phrases) is not None]
        return tuple(known[:1] or asked[:1])

    def _field(self, item: int, name: str, phrases: Phrases, number: int) -> str:
        value = self.value(item, name, phrases)
        said = {"title": self.title(item), "name": name.replace("_", " ")}
        if value is None:
            return phrases.say("unknown_field", number, **said)
        saying = "text_field" if self.items.fields[name] == FieldType.TEXT else "field"
        return phrases.say(saying, number, **said, value=value)

    def _yes_or_no(self, item: int, turn: Turn, phrases: Phrases, number: int) -> str:
        """One value asked after: the fields that know it decide; yes as soon as one has it."""
        named = {one.value.casefold(): one for one in turn.values}
        said = []
        for one in named.values():
            fields = [other.field for other in turn.values if other.value.casefold() == one.value.casefold()]
            held = {field: self.has(item, field, one.value) for field in fields}
            words = {"title": self.title(item), "value": plain_line(one.value, SHOWN_TITLE)}
            if any(held.values()):
                field = next(name for name, known in held.items() if known)
                said.append(phrases.say("yes", number, **words, name=field.replace("_", " ")))
            elif any(known is False for known in held.values()):
                field = next(name for name, known in held.items() if known is False)
                actual = self.value(item, field, phrases) or ""
                said.append(phrases.say("no", number, **words, name=field.replace("_", " "), actual=actual))
            else:
                said.append(phrases.say("no_unknown", number, **words))
        return " ".join(said)


def plain_line(text: str, longest: int) -> str:
    """Text of the catalogue on one line, without characters that nobody sees."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
