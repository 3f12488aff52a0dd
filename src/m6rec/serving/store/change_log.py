"""The log of changes: what every process follows to know what the others have written."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from m6rec.serving.store import tables
from m6rec.serving.store.events import events_where
from m6rec.serving.store.parts import Part
from m6rec.serving.store.records import Change, StoredEvent


class ChangeLog(Part):
    """Following what was committed."""

    def newest_change(self) -> int:
        """Number of the newest change of any process, 0 for none. Tens of microseconds: to be asked before every request.

        With PostgreSQL it is what the database has told this process so far (some milliseconds late, the last known one while the database is away);
        a process always sees its own changes.

        Raises:
            StorageError: the file of the database can't be read.
        """
        return self.database.newest()

    @property
    def away(self) -> str:
        """Why the database could not be read or written by this process the last time, in one line; "" once it was written again."""
        return self.database.away

    def oldest_change(self) -> int:
        """Number of the oldest change that is still in the log (`retention.changes_days`), 0 for an empty one.

        A follower that has seen less than the one before it has missed something, and starts again from the tables.
        """
        with self.database.read() as connection:
            return connection.execute(select(tables.changes.c.seq).order_by(tables.changes.c.seq).limit(1)).scalar() or 0

    def changes(self, after: int, most: int = 10_000) -> list[Change]:
        """What was committed after change `after`, oldest first: about `most` changes and events in all.

        Raises:
            StorageError: the database can't be read.
        """
        table = tables.changes
        query = select(table.c.seq, table.c.kind, table.c.key, table.c.payload).where(table.c.seq > after).order_by(table.c.seq).limit(most)
        with self.database.read(snapshot=True) as connection:
            rows = [(seq, kind, key, json.loads(payload)) for seq, kind, key, payload in connection.execute(query)]
            rows = _cut(rows, most)
            spans = [payload for _, kind, _, payload in rows if kind == "events"]
            events: list[StoredEvent] = []
            if spans:
                seq = tables.events.c.seq
                between = (seq >= spans[0]["first"], seq <= spans[-1]["last"])
                events = events_where(connection, *between, most=spans[-1]["last"])
        return _with_events(rows, events)


def _cut(rows: list[tuple[Any, ...]], most: int) -> list[tuple[Any, ...]]:
    """At least one change, and no more once they hold `most` events."""
    held = 0
    for place, (_, kind, _, payload) in enumerate(rows):
        held += payload["last"] - payload["first"] + 1 if kind == "events" else 1
        if held >= most:
            return rows[: place + 1]
    return rows


def _with_events(rows: list[tuple[Any, ...]], events: list[StoredEvent]) -> list[Change]:
    """Every span of events replaced by the events in it; those that were forgotten since are not among them."""
    found = []
    begin = 0
    for seq, kind, key, payload in rows:
        if kind == "events":
            end = begin
            while end < len(events) and events[end].seq <= payload["last"]:
                end += 1
            payload = {"events": events[begin:end]}
            begin = end
        found.append(Change(seq, kind, key, payload))
    return found
