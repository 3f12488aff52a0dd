"""What the service says in English, in the language of the page, as far as the page has words for it."""

from __future__ import annotations

import re

from m6rec.serving.console.phrases import Phrases
from m6rec.text.constraints import Constraint

SAID = {
    "no_word": re.compile(r"no word of the text stands in any item; .*"),
    "no_item_left": re.compile(r"no item is left; .*"),
    "unknown_user": re.compile(r"user '(?P<id>.*)' is not known(?:: .*)?"),
    "unknown_item": re.compile(r"item '(?P<id>.*)' is not in the catalogue(?P<hint>.*)"),
    "deleted_item": re.compile(r"item '(?P<id>.*)' was deleted; .*"),
    "no_item_filtered": re.compile(r"no item that the filters leave has (?P<limits>.*?)(?: together)?"),
    "filters": re.compile(r"no item is left by the filters, .*"),
    "no_item": re.compile(r"no item has (?P<limits>.*?)(?: together)?"),
    "exclude": re.compile(r"(?P<first>.+) and (?P<second>.+) exclude each other"),
    "no_number": re.compile(r"'(?P<field>.*)' is a number, got '(?P<given>.*)'; .*"),
    "no_id": re.compile(r"item_id .*"),
}
HINT = re.compile(r"; did you mean '(.*)'\?")
SIGNS = {"<": "below", "<=": "at_most", ">": "above", ">=": "at_least", "in": "is", "not in": "is_not"}
LIMIT = re.compile(r"(?P<field>.+?) (?P<sign><=|>=|<|>) (?P<value>[-+.\de]+)")


def told(t: Phrases, message: str) -> str:
    """A sentence of the service in the words of the page; as it stands where the page has none."""
    for key, pattern in SAID.items():
        found = pattern.fullmatch(message)
        if found is not None:
            values = found.groupdict()
            if "hint" in values:
                near = HINT.fullmatch(values["hint"])
                values["hint"] = " " + t("told.near", id=near[1]) if near else ""
            return t(f"told.{key}", **{name: _limits(t, value) for name, value in values.items()})
    return message


def limit(t: Phrases, constraint: Constraint) -> str:
    """What was understood of a typed text, such as "price below 10"."""
    value = constraint.value
    said = t("limit.or").join(value) if isinstance(value, tuple) else f"{value:g}"
    return t(f"limit.{SIGNS[constraint.op]}", field=field_name(t, constraint.field), value=said)


def field_name(t: Phrases, field: str) -> str:
    """What a field of the items is called, by its name in the data where the page has no word for it."""
    return t.known(f"field.{field}", field)


def task_name(t: Phrases, task: str) -> str:
    """What a task is called, by its name in the configuration where the page has no word for it."""
    return t.known(f"task.{task}", task)


def _limits(t: Phrases, text: str) -> str:
    return LIMIT.sub(lambda found: t(f"limit.{SIGNS[found['sign']]}", field=field_name(t, found["field"]), value=found["value"]), text)
