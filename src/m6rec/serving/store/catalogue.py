"""Items and users: an id and fields of any names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import Table, func, select

from m6rec.base.errors import DataError
from m6rec.serving.store import tables
from m6rec.serving.store.database import Writing
from m6rec.serving.store.deeds import doing
from m6rec.serving.store.parts import Part, checked_id, checked_json, checked_name
from m6rec.serving.store.records import ChangeKind, Row

Kind = Literal["item", "user"]
TABLES: dict[str, Table] = {"item": tables.items, "user": tables.users}
TOLD = 5  # ids of many that a deed names
GONE: dict[str, ChangeKind] = {"item": "item_gone", "user": "user_gone"}


class Catalogue(Part):
    """The newest fields of items and users. A deleted one leaves its id behind, for models that still know it."""

    def upsert_items(self, rows: Sequence[Mapping[str, Any]], *, merge: bool = False, told: tuple[str, str] = ("", "")) -> int:
        """Add items or write their fields anew: rows of `item_id` and fields. All or none; returns the number of the newest change.

        Args:
            merge: True leaves the fields alone that a row does not name; one named with None goes.
            told: how things stood before and after, for the record of deeds.

        Raises:
            DataError: a row without a usable id, an id twice, a value that JSON can't say.
            StorageError: nothing was written.
        """
        return self._upsert("item", [_checked_row(row, "item_id", place) for place, row in enumerate(rows)], merge, told)

    def upsert_users(self, rows: Sequence[Mapping[str, Any]], *, merge: bool = False) -> int:
        """The same for users, by `user_id`."""
        checked = [_checked_row(row, "user_id", place) for place, row in enumerate(rows)]
        return self._upsert("user", [(self.user_key(id), fields) for id, fields in checked], merge)

    def item(self, item_id: str) -> Row | None:
        """An item, or None where the store has none of this id (a model may still know it from training)."""
        return self._one("item", item_id)

    def user(self, user_id: str) -> Row | None:
        return self._one("user", self.user_key(user_id))

    def items(self, query: str = "", most: int = 100, after: str = "") -> list[Row]:
        """Items by id, those after `after`; with a `query` those whose id or fields hold it, whatever the case of ASCII letters."""
        return self._many("item", query, most, after)

    def users(self, query: str = "", most: int = 100, after: str = "") -> list[Row]:
        return self._many("user", query, most, after)

    def count_items(self) -> int:
        return self._count("item")

    def count_users(self) -> int:
        return self._count("user")

    def delete_item(self, item_id: str) -> int:
        """Take an item out: it is gone from the store, and every worker stops showing it. Events with it stay. The number of the change.

        An id that the store does not know may be known to a model, so this is no error: it is remembered as gone.
        """
        return self._delete("item", checked_name(item_id, "item_id"))

    def delete_user(self, user_id: str) -> int:
        """Take a user's fields out. Their events stay: to delete those, `forget`."""
        return self._delete("user", self.user_key(checked_name(user_id, "user_id")))

    def gone_items(self) -> list[str]:
        """Ids that were deleted and did not come back: a model that was trained on them must not show them."""
        with self.database.read() as connection:
            return list(connection.execute(select(tables.items.c.id).where(tables.items.c.gone)).scalars())

    def items_since(self, seq: int, most: int = 10_000) -> list[Row]:
        """Items written after change `seq`, oldest first: what a model trained up to `seq` has to be told."""
        return self._since("item", seq, most)

    def users_since(self, seq: int, most: int = 10_000) -> list[Row]:
        return self._since("user", seq, most)

    def _upsert(self, kind: Kind, rows: list[tuple[str, dict[str, Any]]], merge: bool, told: tuple[str, str] = ("", "")) -> int:
        twice = len(rows) - len({id for id, _ in rows})
        if twice:
            raise DataError(f"{twice} {kind} ids stand twice among the rows; send one row for each {kind}")
        if not rows:
            return self.database.newest()
        worded = [(id, fields, checked_json(fields, f"{kind} '{id}'")) for id, fields in rows]
        deed = doing(f"{kind}s_write", _those([id for id, _ in rows]) if kind == "item" else str(len(rows)))

        def work(writing: Writing) -> int:
            deed.note(writing, *told)
            return _write_rows(writing, kind, worded, merge)

        return self.database.write(work)

    def _one(self, kind: Kind, id: str) -> Row | None:
        table = TABLES[kind]
        with self.database.read() as connection:
            found = connection.execute(select(table).where(table.c.id == id, ~table.c.gone)).first()
        return None if found is None else _row(found)

    def _many(self, kind: Kind, query: str, most: int, after: str) -> list[Row]:
        table = TABLES[kind]
        asked = select(table).where(~table.c.gone, table.c.id > after)
        if query:
            # The fields are JSON in ASCII: what is typed is looked for as it would be written there.
            worded = json.dumps(query)[1:-1]
            asked = asked.where(table.c.id.icontains(query, autoescape=True) | table.c.fields.icontains(worded, autoescape=True))
        with self.database.read() as connection:
            return [_row(row) for row in connection.execute(asked.order_by(table.c.id).limit(most))]

    def _since(self, kind: Kind, seq: int, most: int) -> list[Row]:
        table = TABLES[kind]
        asked = select(table).where(~table.c.gone, table.c.seq > seq).order_by(table.c.seq, table.c.id).limit(most)
        with self.database.read() as connection:
            return [_row(row) for row in connection.execute(asked)]

    def _count(self, kind: Kind) -> int:
        table = TABLES[kind]
        with self.database.read() as connection:
            return connection.execute(select(func.count()).select_from(table).where(~table.c.gone)).scalar_one()

    def _delete(self, kind: Kind, id: str) -> int:
        deed = doing(f"{kind}_delete", id if kind == "item" else "")

        def work(writing: Writing) -> int:
            deed.note(writing)
            return delete_row(writing, kind, id)

        return self.database.write(work)


def _those(ids: Sequence[str]) -> str:
    """The first ids and how many there are more."""
    return ", ".join(ids[:TOLD]) + (f" + {len(ids) - TOLD:,}" if len(ids) > TOLD else "")


def delete_row(writing: Writing, kind: Kind, id: str) -> int:
    """Leave the id, marked as gone."""
    seq = writing.note(GONE[kind], id)
    writing.put(TABLES[kind], ["id"], [{"id": id, "fields": "{}", "gone": True, "seq": seq, "time": writing.now}])
    return seq


def _write_rows(writing: Writing, kind: Kind, rows: list[tuple[str, dict[str, Any], str]], merge: bool) -> int:
    table = TABLES[kind]
    if merge:
        before: dict[str, dict[str, Any]] = {}
        for begin in range(0, len(rows), 500):
            ids = [id for id, _, _ in rows[begin : begin + 500]]
            found = writing.connection.execute(select(table.c.id, table.c.fields).where(table.c.id.in_(ids)))
            before.update({id: json.loads(fields) for id, fields in found})
        merged = [(id, {k: v for k, v in {**before.get(id, {}), **fields}.items() if v is not None}) for id, fields, _ in rows]
        rows = [(id, fields, checked_json(fields, f"{kind} '{id}'")) for id, fields in merged]
    written = []
    for id, fields, worded in rows:
        seq = writing.note(kind, id, fields)
        written.append({"id": id, "fields": worded, "gone": False, "seq": seq, "time": writing.now})
    writing.put(table, ["id"], written)
    return writing.newest


def _row(found: Any) -> Row:
    return Row(found.id, json.loads(found.fields), found.seq, found.time)


def _checked_row(row: Mapping[str, Any], id_column: str, place: int) -> tuple[str, dict[str, Any]]:
    if not isinstance(row, Mapping) or id_column not in row:
        raise DataError(f"row {place} has no '{id_column}'; a row is {{'{id_column}': ..., field: value, ...}}")
    fields = {name: value for name, value in row.items() if name != id_column}
    wrong = next((name for name in fields if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise DataError(f"row {place}: the field name {wrong!r:.60} is no text")
    return checked_id(row[id_column], f"row {place}: {id_column}"), fields
