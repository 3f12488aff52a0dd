"""Events: written once, whatever is sent twice."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from m6rec.base.errors import DataError, M6RecError, UsageError
from m6rec.serving.store import tables
from m6rec.serving.store.database import Writing, as_json
from m6rec.serving.store.parts import Part, checked_id, checked_json, checked_name, from_json, is_text, refuse_controls
from m6rec.serving.store.records import Event, Receipt, StoredEvent

COLUMNS = tuple(column.name for column in tables.events.columns)
MOST_TEXT = 200  # characters of an action or a scenario


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one call, checked. rows: user, item, time or None, action, scenario, value, labels, context, event_id."""

    rows: list[tuple[Any, ...]]
    key: str | None
    digest: str
    late_after_s: float


class Events(Part):
    """What people did."""

    def add_events(self, events: Sequence[Event], *, key: str | None = None) -> Receipt:
        """Write events; when this returns they survive a killed process and a power cut.

        All of them are written or none. An event whose `event_id` is known is counted as a duplicate and not written again.

        Args:
            key: an idempotency key: a second call with it and the same events changes nothing and gets the first receipt.

        Raises:
            DataError: an event that can't be kept: its place in the list, the value, what is allowed.
            UsageError: too many at once, or a key that was used for other events.
            StorageError: the database is away, locked, read-only or full; nothing was written. Send them again with the same key.
        """
        if len(events) > self.config.most_events:
            raise UsageError(
                f"{len(events):,} events at once; at most {self.config.most_events:,} (store.most_events) are taken: send several lots"
            )
        if not events:
            return Receipt(0, 0, 0, 0, 0)
        ahead = time.time() + self.config.future_tolerance_s
        rows = [self._checked(event, place, ahead) for place, event in enumerate(events)]
        digest = ""
        if key is not None:
            checked_name(key, "the idempotency key")
            digest = sha256(as_json(rows).encode()).hexdigest()
        receipt: Receipt = self.database.write_together(_add, Batch(rows, key, digest, self.config.late_after_s))
        return receipt

    def events(
        self, user_id: str | None = None, *, after_seq: int = 0, upto_seq: int | None = None, most: int = 10_000
    ) -> list[StoredEvent]:
        """Events in the order in which they were committed, of one user or of everybody, from after `after_seq` up to `upto_seq`.

        Raises:
            StorageError: the database can't be read.
        """
        found = [tables.events.c.seq > after_seq]
        if upto_seq is not None:
            found.append(tables.events.c.seq <= upto_seq)
        if user_id is not None:
            found.append(tables.events.c.user_id == self.user_key(user_id))
        with self.database.read() as connection:
            return events_where(connection, *found, most=most)

    def latest_events(self, user_id: str, most: int) -> list[StoredEvent]:
        """The newest `most` events of a user by the time at which they happened, oldest first."""
        table = tables.events
        query = select(table).where(table.c.user_id == self.user_key(user_id)).order_by(table.c.time.desc(), table.c.seq.desc()).limit(most)
        with self.database.read() as connection:
            return [stored(row) for row in connection.execute(query)][::-1]

    def _checked(self, event: Event, place: int, ahead: float) -> tuple[Any, ...]:
        user, item, moment, value = event.user_id, event.item_id, event.time, event.value
        if not _is_plain(event):
            _refuse_odd(event, f"event {place}")
        row = (
            self.secret.pseudonym(user) if self.config.pseudonyms else user,
            item,
            moment if type(moment) is float and 0.0 <= moment <= ahead else _checked_time(moment, place, ahead),
            event.action,
            event.scenario,
            None if value is None else _checked_value(value, place),
            checked_json(event.labels, f"event {place}: labels") if event.labels else None,
            checked_json(event.context, f"event {place}: context") if event.context else None,
        )
        return (*row, self._event_id(event, row))

    def _event_id(self, event: Event, row: tuple[Any, ...]) -> str | None:
        if event.event_id is not None or event.time is None or not self.config.derive_ids:
            return event.event_id
        return "c-" + sha256(as_json(row).encode()).hexdigest()[:40]


def events_where(connection: Connection, *found: ColumnElement[bool], most: int) -> list[StoredEvent]:
    """Events for which all of `found` holds, at most `most`, in the order of their commits."""
    query = select(tables.events).where(*found).order_by(tables.events.c.seq).limit(most)
    return [stored(row) for row in connection.execute(query)]


def stored(row: Any) -> StoredEvent:
    seq, received, user, item, moment, action, scenario, value, labels, context, event_id = row
    return StoredEvent(seq, received, user, item, moment, action, scenario, value, from_json(labels), from_json(context), event_id)


def _add(writing: Writing, batches: list[Batch]) -> list[Receipt | M6RecError]:
    """Batches of several callers in one go: what is known is asked once, what is new is written once."""
    receipts = _receipts(writing, [batch.key for batch in batches if batch.key is not None])
    named = [row[-1] for batch in batches for row in batch.rows if row[-1] is not None]
    seen = {name for (name,) in writing.rows_with(tables.events, ("event_id",), named)}
    new: list[tuple[Any, ...]] = []
    requests: list[tuple[Any, ...]] = []
    outcomes: list[Receipt | M6RecError] = []
    begin = writing.newest + 1
    for batch in batches:
        if batch.key in receipts:
            digest, receipt = receipts[batch.key]
            same = digest == batch.digest
            outcomes.append(replace(receipt, repeated=True) if same else UsageError(_OTHER_EVENTS.format(batch.key)))
            continue
        receipt = _place(writing, batch, seen, new)
        outcomes.append(receipt)
        if batch.key is not None:
            receipts[batch.key] = (batch.digest, receipt)
            requests.append((batch.key, batch.digest, as_json(asdict(receipt)), writing.now))
    writing.insert(tables.events, COLUMNS, new)
    writing.insert(tables.requests, ("key", "digest", "receipt", "time"), requests)
    if new:
        writing.note("events", payload={"first": begin, "last": writing.newest}, seq=writing.newest)
    return outcomes


def _place(writing: Writing, batch: Batch, seen: set[str], new: list[tuple[Any, ...]]) -> Receipt:
    """Number the events of a batch that are not in `seen`, and put them into `new`."""
    now, first = writing.now, writing.newest + 1
    in_time = now - batch.late_after_s
    seq, late = first, 0
    for row in batch.rows:
        name, moment = row[-1], row[2]
        if name is not None:
            if name in seen:
                continue
            seen.add(name)
        if moment is None:
            moment = now
        elif moment < in_time:
            late += 1
        new.append((seq, now, row[0], row[1], moment, *row[3:]))
        seq += 1
    accepted = seq - first
    writing.take(accepted)
    return Receipt(accepted, len(batch.rows) - accepted, late, first if accepted else 0, seq - 1 if accepted else 0)


def _receipts(writing: Writing, keys: list[str]) -> dict[str | None, tuple[str, Receipt]]:
    found = writing.rows_with(tables.requests, ("key", "digest", "receipt"), keys)
    return {key: (digest, Receipt(**json.loads(receipt))) for key, digest, receipt in found}


_OTHER_EVENTS = "the idempotency key '{}' was used for other events; use a new key for new events, the same one only to send the same again"


def _is_plain(event: Event) -> bool:
    """True for texts that need no second look: ASCII, not long. Some that are fine are not plain."""
    user, item, action, scenario, name = event.user_id, event.item_id, event.action, event.scenario, event.event_id
    if type(user) is not str or type(item) is not str or not user or not item or name == "":
        return False
    for text in (action, scenario, name):
        if text is not None and type(text) is not str:
            return False
    together = f"{user}{item}{action}{scenario}{name}"
    return len(together) <= MOST_TEXT and together.isascii() and together.isprintable()


def _refuse_odd(event: Event, what: str) -> None:
    """Raises DataError for a text that can't be kept."""
    checked_id(event.user_id, f"{what}: user_id")
    checked_id(event.item_id, f"{what}: item_id")
    for name, text in (("action", event.action), ("scenario", event.scenario)):
        if text is not None and not (isinstance(text, str) and len(text) <= MOST_TEXT and is_text(text)):
            raise DataError(f"{what}: {name} is {text!r:.60}; it is text of at most {MOST_TEXT} characters, or nothing")
        refuse_controls(text, f"{what}: {name}")
    if event.event_id is not None:
        checked_name(event.event_id, f"{what}: event_id")


def _checked_time(value: Any, place: int, ahead: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise DataError(f"event {place}: time is {value!r:.60}; it is seconds since 1970, or nothing for now")
    if value > ahead:
        hint = "; these look like milliseconds: divide by 1000" if 1e12 < value < 1e13 else ""
        days = (value - ahead) / 86_400
        raise DataError(f"event {place}: time is {value!r}, {days:,.1f} days further ahead of this machine's clock than allowed{hint}")
    return float(value)


def _checked_value(value: Any, place: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e300:
        raise DataError(f"event {place}: value is {value!r:.60}; it is a finite number, or nothing")
    return float(value)
