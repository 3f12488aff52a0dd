"""Deeds: what people did to the service, when, to what. Rows are added and never changed, and a chain of hashes shows if somebody did.

A deed is written in the transaction of what it tells of: there is none without the other. What the service does by itself is no deed. No row
names a person who is recommended to, so that nothing of them is left behind when they are forgotten; only the reason of a block is free text.

Each row carries hash = SHA-256(hash of the row before, the row), as in the audit of what was shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, insert, select

from m6rec.serving.store import tables
from m6rec.serving.store.audit import CHUNK, START
from m6rec.serving.store.database import Writing
from m6rec.serving.store.parts import Part, is_text
from m6rec.serving.store.records import AuditCheck, AuditHead, Deed

LONGEST = 200  # characters of what is told of a deed
COLUMNS = ("time", "who", "did", "target", "before", "after")

_who: ContextVar[str | None] = ContextVar("m6rec_who", default=None)  # None: the service itself


@contextmanager
def acting(who: str) -> Iterator[None]:
    """What is written inside, by this thread or task, is a deed of `who`: the name of a key, "" for somebody on this machine without one."""
    token = _who.set(who)
    try:
        yield
    finally:
        _who.reset(token)


@dataclass(frozen=True)
class Doing:
    """A deed under way, made by the one who does it; `note` is called inside the transaction, which may be another thread's."""

    who: str | None
    did: str
    target: str

    def note(self, writing: Writing, before: str = "", after: str = "") -> None:
        """Put it into the record, with how things stood before and after in short; nothing where the service acts by itself."""
        if self.who is None:
            return
        head = _head(writing.connection)
        row = (head.seq + 1, writing.now, _short(self.who), self.did, _short(self.target), _short(before), _short(after))
        values = dict(zip(("seq", *COLUMNS), row, strict=True))
        writing.connection.execute(insert(tables.deeds).values(**values, hash=_hash(head.hash, row)))


def doing(did: str, target: str = "") -> Doing:
    """The deed `did` of whoever is acting now; ask before the transaction begins."""
    return Doing(_who.get(), did, target)


class Deeds(Part):
    """Who did what to the service."""

    def deeds(
        self, *, after: int = 0, most: int = 1_000, newest_first: bool = False, did: str | None = None, target: str | None = None
    ) -> list[Deed]:
        """Rows of the record after row `after` in their order (or, newest first, before row `after` where it is given).

        did, target: only the deeds of this kind, or on this.
        """
        table = tables.deeds
        query = select(table)
        if did is not None:
            query = query.where(table.c.did == did)
        if target is not None:
            query = query.where(table.c.target == _short(target))
        if newest_first:
            query = (query.where(table.c.seq < after) if after else query).order_by(table.c.seq.desc())
        else:
            query = query.where(table.c.seq > after).order_by(table.c.seq)
        with self.database.read() as connection:
            rows = connection.execute(query.limit(most))
            return [Deed(row.seq, *(getattr(row, name) for name in COLUMNS)) for row in rows]

    def note_deed(self, did: str, target: str, before: str = "", after: str = "") -> None:
        """Record what was done outside of the store. Raises StorageError: nothing was written."""
        deed = doing(did, target)
        if deed.who is not None:
            self.database.write(lambda writing: deed.note(writing, before, after))

    def verify_deeds(self) -> AuditCheck:
        """Read the whole record and follow the chain. A tail that was cut off can't be seen."""
        table = tables.deeds
        head, count = AuditHead(0, START), 0
        with self.database.read(snapshot=True) as connection:
            while rows := connection.execute(select(table).where(table.c.seq > head.seq).order_by(table.c.seq).limit(CHUNK)).all():
                for row in rows:
                    if row.seq != head.seq + 1:
                        return AuditCheck(count, head, f"deeds {head.seq + 1} to {row.seq - 1} are missing", row.seq)
                    if row.hash != _hash(head.hash, row[:-1]):
                        return AuditCheck(count, head, f"deed {row.seq} was changed, or the one before it", row.seq)
                    head, count = AuditHead(row.seq, row.hash), count + 1
        return AuditCheck(count, head)


def _head(connection: Connection) -> AuditHead:
    table = tables.deeds.c
    row = connection.execute(select(table.seq, table.hash).order_by(table.seq.desc()).limit(1)).first()
    return AuditHead(0, START) if row is None else AuditHead(*row)


def _hash(before: str, row: Any) -> str:
    return sha256(json.dumps([before, *row]).encode()).hexdigest()


def _short(text: str) -> str:
    known = text if is_text(text) else text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")
    return known if len(known) <= LONGEST else known[: LONGEST - 1] + "…"
