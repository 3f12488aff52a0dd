"""Switches, and options of tasks: a name and a JSON value each."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Table, delete, select

from m6rec.serving.store import tables
from m6rec.serving.store.database import Writing
from m6rec.serving.store.deeds import doing
from m6rec.serving.store.parts import Part, checked_json, checked_name
from m6rec.serving.store.records import ChangeKind

FINGERPRINT = "secret.fingerprint"  # which secret the database goes with


class Settings(Part):
    """What is switched while the service runs."""

    def setting(self, name: str, default: Any = None) -> Any:
        """The JSON value kept under `name`, or `default`.

        Raises:
            StorageError: the database can't be read.
        """
        with self.database.read() as connection:
            body = connection.execute(select(tables.settings.c.body).where(tables.settings.c.name == name)).scalar()
        return default if body is None else json.loads(body)

    def set_setting(self, name: str, value: Any, *, told: bool = True) -> None:
        """Keep a JSON value. told: whether it is a deed of its own; False where it goes with one that is recorded already.

        Raises:
            DataError: JSON can't say it.  StorageError: nothing was written.
        """
        checked_name(name, "the name of a setting")
        body = checked_json(value, f"the setting '{name}'")
        deed = doing("setting", name)

        def work(writing: Writing) -> None:
            before = _body(writing, tables.settings, name) if told else body
            if before != body:
                deed.note(writing, before or "", body)
            put_named(writing, tables.settings, name, body)
            writing.note("setting", name, {"value": value})

        self.database.write(work)

    def settings(self) -> dict[str, Any]:
        """Everything that was set."""
        return {name: value for name, value in self._named(tables.settings).items() if name != FINGERPRINT}

    def save_option(self, name: str, body: Any) -> None:
        """Keep what is known of a loaded option of a (scenario, task)."""
        self._save(tables.options, "option", name, body)

    def drop_option(self, name: str) -> bool:
        """False where there was none."""
        return self._drop(tables.options, "option", name)

    def options(self) -> dict[str, Any]:
        return self._named(tables.options)

    def _named(self, table: Table) -> dict[str, Any]:
        with self.database.read() as connection:
            rows = connection.execute(select(table.c.name, table.c.body).order_by(table.c.name))
            return {name: json.loads(body) for name, body in rows}

    def _save(self, table: Table, kind: ChangeKind, name: str, body: Any) -> None:
        checked_name(name, f"the name of an {kind}")
        text = checked_json(body, f"the {kind} '{name}'")
        deed = doing(kind, name)

        def work(writing: Writing) -> None:
            before = _body(writing, table, name)
            put_named(writing, table, name, text)
            writing.note(kind, name, body)
            deed.note(writing, _gist(before), _gist(text))

        self.database.write(work)

    def _drop(self, table: Table, kind: ChangeKind, name: str) -> bool:
        deed = doing(f"{kind}_drop", name)

        def work(writing: Writing) -> bool:
            before = _body(writing, table, name)
            dropped = writing.connection.execute(delete(table).where(table.c.name == name)).rowcount
            if dropped:
                writing.note(kind, name)
                deed.note(writing, _gist(before))
            return bool(dropped)

        return self.database.write(work)


def _body(writing: Writing, table: Table, name: str) -> str | None:
    found: str | None = writing.connection.execute(select(table.c.body).where(table.c.name == name)).scalar()
    return found


def _gist(body: str | None) -> str:
    """What a deed tells of an option or experiment: its status or its version of the model, where it has one."""
    told = None if body is None else json.loads(body)
    return str(told.get("status") or told.get("version") or "") if isinstance(told, dict) else ""


def put_named(writing: Writing, table: Table, name: str, body: str) -> None:
    """Write the row `name` of a table of names and JSON bodies."""
    writing.put(table, ["name"], [{"name": name, "body": body, "time": writing.now}])
