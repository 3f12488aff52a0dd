"""What comes in, checked against the model before it is written: a store must hold nothing that no model can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.columns import Columns
from m6rec.data.schema import shown
from m6rec.serving.engine.additions import read_new_items
from m6rec.serving.service.loaded import LoadedModel

if TYPE_CHECKING:
    from m6rec.serving.store.records import Event

MOST_CHARACTERS = 512  # of an id
GIST = 40  # characters of a value that a deed tells


def checked_events(model: LoadedModel, events: Sequence[Event]) -> list[Event]:
    """The events, all of which the model can take; times and values are the store's to check.

    Raises:
        DataError: an id that is empty or too long, an action or scenario that training did not know.
        UnknownItemError: an item that is not in the catalogue.
    """
    dataset = model.engine.dataset
    known: dict[str, tuple[str, Sequence[str]]] = {
        "action": ("actions", dataset.action_names),
        "scenario": ("scenarios", dataset.scenario_names),
    }
    for number, event in enumerate(events, start=1):
        where = f"event {number}"
        check_id(event.user_id, "user_id", where)
        check_id(event.item_id, "item_id", where)
        model.check_item(event.item_id)
        for name, (several, names) in known.items():
            given = getattr(event, name)
            if given is not None and names and given not in names:
                hint = nearest(str(given), list(names)) or f"; {several}: {', '.join(names)}"
                raise DataError(f"{where} has the {name} {shown(given)}, which training did not know{hint}")
    return list(events)


def unread_labels(model: LoadedModel, events: Sequence[Event]) -> tuple[str, ...]:
    """Names of labels in `events` that no task on candidates reads, in the order in which they come."""
    judging = model.engine.scorer.judging
    read = set() if judging is None else {config.label for config in judging.judge.configs.values()}
    return tuple(dict.fromkeys(name for event in events for name in event.labels if name not in read))


def checked_items(model: LoadedModel, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Items as the store keeps them. Raises DataError: no item_id, an unknown field, a wrong cell."""
    fields = model.engine.items.fields
    for number, row in enumerate(rows, start=1):
        check_id(row.get(Columns.ITEM), Columns.ITEM, f"item {number}")
        _known_fields(row, Columns.ITEM, list(fields), "items", f"item {number}")
    if rows:
        read_new_items(pl.DataFrame([dict(row) for row in rows], infer_schema_length=None), fields, model.engine.scorer.origin.training)
    return [dict(row) for row in rows]


def changed_fields(model: LoadedModel, row: Mapping[str, Any]) -> tuple[str, str]:
    """The fields of an item that a new row changes, before and after, in short; nothing before of a new one."""
    item = row[Columns.ITEM]
    there = model.engine.items.ids.dense(item) >= 0 and item not in model.gone
    known = model.item(item)["fields"] if there else {}
    new = {name: value for name, value in row.items() if name != Columns.ITEM and value is not None}
    names = [name for name in {**known, **new} if known.get(name) != new.get(name)]

    def told(fields: Mapping[str, Any]) -> str:
        return "; ".join(f"{name}: {str(fields[name])[:GIST]}" for name in names if fields.get(name) is not None)

    return told(known), told(new)


def checked_users(model: LoadedModel, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Users as the store keeps them. Raises DataError: no user_id, an unknown field."""
    fields = list(model.engine.users.fields)
    for number, row in enumerate(rows, start=1):
        check_id(row.get(Columns.USER), Columns.USER, f"user {number}")
        _known_fields(row, Columns.USER, fields, "users", f"user {number}")
    return [dict(row) for row in rows]


def check_id(value: Any, name: str, where: str) -> None:
    """Raises DataError: an id that is no text, is empty, or is longer than any id should be."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name} is {shown(value)}; it takes a text that is not empty")
    if len(value) > MOST_CHARACTERS:
        raise DataError(f"{where}: {name} has {len(value)} characters; {MOST_CHARACTERS} are allowed")


def _known_fields(row: Mapping[str, Any], own: str, fields: list[str], table: str, where: str) -> None:
    strange = next((name for name in row if name != own and name not in fields), None)
    if strange is not None:
        hint = nearest(strange, fields) or f"; fields: {', '.join(fields) or 'none'}"
        raise DataError(f"{where} has '{strange}', which is no field of {table}{hint}")
