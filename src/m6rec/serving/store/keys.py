"""Access keys. A secret is shown once and nowhere kept: only its keyed hash is.

A secret holds 256 random bits, so nobody guesses one however fast the hash is; the key of the hash lies in a file outside the database, so a
stolen database is of no use to somebody who wants to try. A slow hash would only give callers with wrong keys a way to keep the service busy.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterable

from sqlalchemy import delete, insert, select

from m6rec.base.errors import StorageError, UsageError, nearest
from m6rec.serving.store import tables
from m6rec.serving.store.database import Writing, as_json
from m6rec.serving.store.deeds import doing
from m6rec.serving.store.parts import Part, checked_name
from m6rec.serving.store.records import Key

ROLES = ("read", "write", "admin")
PREFIX = "m6r"
MOST_SECRET = 200  # characters worth looking at


class Keys(Part):
    """Who may do what."""

    _keys_read: tuple[int, dict[str, tuple[str, Key]]] = (-1, {})  # newest change when they were read; id -> hash and key

    def add_key(self, name: str, roles: Iterable[str]) -> str:
        """Make a key and return its secret, which can't be read again.

        Raises:
            UsageError: the name is taken, a role is unknown, or there is none.
            StorageError: nothing was written.
        """
        checked_name(name, "the name of a key")
        given = tuple(dict.fromkeys(roles))
        for role in given:
            if role not in ROLES:
                raise UsageError(f"unknown role '{role}'{nearest(str(role), ROLES)}; roles are {', '.join(ROLES)}")
        if not given:
            raise UsageError(f"the key '{name}' has no role; give some of {', '.join(ROLES)}")
        id = secrets.token_hex(6)
        secret = f"{PREFIX}_{id}_{secrets.token_urlsafe(32)}"
        deed = doing("key_add", name)

        def work(writing: Writing) -> None:
            table = tables.keys
            if writing.connection.execute(select(table.c.id).where(table.c.name == name)).first() is not None:
                raise UsageError(f"there is a key named '{name}'; drop it first, or take another name")
            row = {"id": id, "name": name, "roles": as_json(given), "hash": self._hash(secret), "created": writing.now}
            writing.connection.execute(insert(table).values(row))
            writing.note("setting", "keys")
            deed.note(writing, "", ", ".join(given))

        self.database.write(work)
        return secret

    def find_key(self, secret: str) -> Key | None:
        """The key with this secret; None for a wrong one. Compared in constant time; some ten microseconds while no key changes.

        Raises:
            StorageError: the keys were never read and can't be now. Keys read before go on working while the database is away.
        """
        parts = secret.split("_", 2) if len(secret) <= MOST_SECRET else []
        if len(parts) != 3 or parts[0] != PREFIX:
            return None
        kept, key = self._all_keys().get(parts[1], ("", None))
        return key if hmac.compare_digest(kept, self._hash(secret)) else None

    def keys(self) -> list[Key]:
        """All keys, by name."""
        with self.database.read() as connection:
            rows = connection.execute(select(tables.keys).order_by(tables.keys.c.name))
            return [Key(row.id, row.name, tuple(json.loads(row.roles)), row.created) for row in rows]

    def drop_key(self, name: str) -> None:
        """From the next call on the key opens nothing, in any process.

        Raises:
            UsageError: there is no key of this name.
        """
        deed = doing("key_drop", name)

        def work(writing: Writing) -> None:
            roles = writing.connection.execute(select(tables.keys.c.roles).where(tables.keys.c.name == name)).scalar()
            if roles is None:
                raise UsageError(f"there is no key named '{name}'; see the list of keys")
            writing.connection.execute(delete(tables.keys).where(tables.keys.c.name == name))
            writing.note("setting", "keys")
            deed.note(writing, ", ".join(json.loads(roles)))

        self.database.write(work)

    def _all_keys(self) -> dict[str, tuple[str, Key]]:
        """Hash and key by id, read again whenever anything was committed; the last ones read while the database is away."""
        try:
            newest = self.database.newest()
            if newest != self._keys_read[0]:
                with self.database.read() as connection:
                    rows = connection.execute(select(tables.keys))
                    found = {row.id: (row.hash, Key(row.id, row.name, tuple(json.loads(row.roles)), row.created)) for row in rows}
                self._keys_read = (newest, found)
        except StorageError:
            if self._keys_read[0] < 0:
                raise
        return self._keys_read[1]

    def _hash(self, secret: str) -> str:
        return self.secret.keyed("key", secret)
