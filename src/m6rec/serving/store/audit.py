"""The audit: what was shown to whom, when, where, why. Rows are added and never changed, and a chain of hashes shows if somebody did.

Each row carries hash = SHA-256(hash of the row before, the row without what is personal, its seal), and seal = SHA-256(salt, user, why). Forgetting
a person takes user, why and the salt (128 random bits) out of the row. The seal stays and says nothing any more, and the chain still holds.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, insert, select

from m6rec.base.errors import DataError
from m6rec.serving.store import tables
from m6rec.serving.store.database import Writing
from m6rec.serving.store.parts import Part, checked_json, checked_name
from m6rec.serving.store.records import AuditCheck, AuditHead, Shown, StoredShown

COLUMNS = tuple(column.name for column in tables.audit.columns)
GONE = "gone-"
START = "0" * 64  # the hash before the first row
CHUNK = 5_000


class Audit(Part):
    """What was shown."""

    def record_shown(self, rows: Sequence[Shown]) -> int:
        """Add rows to the audit; the number of the last one (0 for no rows). All or none.

        Raises:
            DataError: a row that can't be kept.  StorageError: nothing was written.
        """
        if not rows:
            return 0
        keys: dict[str, str] = {}
        for place, row in enumerate(rows):
            if row.user_id is not None and row.user_id not in keys:
                keys[row.user_id] = self.user_key(checked_name(row.user_id, f"shown row {place}: user_id"))
        who = {key: self.secret.keyed("forgotten", key) for key in keys.values()}
        checked = [self._checked_shown(row, place, keys, who) for place, row in enumerate(rows)]
        last: int = self.database.write_together(_append, checked)
        return last

    def shown(
        self,
        user_id: str | None = None,
        item_id: str | None = None,
        *,
        request_id: str | None = None,
        after: int = 0,
        most: int = 1_000,
        newest_first: bool = False,
    ) -> list[StoredShown]:
        """Rows of the audit after row `after` in their order (or, newest first, before row `after` where it is given)."""
        table = tables.audit
        query = select(table)
        if user_id is not None:
            query = query.where(table.c.user_id == (user_id if user_id.startswith(GONE) else self.user_key(user_id)))
        if item_id is not None:
            query = query.where(table.c.item_id == item_id)
        if request_id is not None:
            query = query.where(table.c.request_id == request_id)
        if newest_first:
            query = (query.where(table.c.seq < after) if after else query).order_by(table.c.seq.desc())
        else:
            query = query.where(table.c.seq > after).order_by(table.c.seq)
        with self.database.read() as connection:
            return [_stored(row) for row in connection.execute(query.limit(most))]

    def audit_head(self) -> AuditHead:
        """The newest row and its hash."""
        with self.database.read() as connection:
            return _head(connection)

    def verify_audit(self, expected: AuditHead | None = None) -> AuditCheck:
        """Read the whole audit and follow the chain.

        What it can't see by itself is a tail that was cut off: for that, give it a head that was noted elsewhere.

        Args:
            expected: an earlier `audit_head()`; it has to be on the chain.
        """
        table = tables.audit
        with self.database.read(snapshot=True) as connection:
            anchor = _anchor(connection)
            head, count = anchor, 0
            met = expected is None or (expected.seq == anchor.seq and expected.hash == anchor.hash) or expected.seq < anchor.seq
            while rows := connection.execute(select(table).where(table.c.seq > head.seq).order_by(table.c.seq).limit(CHUNK)).all():
                for row in rows:
                    problem = _problem(row, head)
                    if problem:
                        return AuditCheck(count, head, problem, row.seq)
                    head, count = AuditHead(row.seq, row.hash), count + 1
                    met = met or head == expected
        if not met and expected is not None:
            return AuditCheck(
                count,
                head,
                f"row {expected.seq} with the hash noted elsewhere is not there: rows were cut off or written anew",
                expected.seq,
            )
        return AuditCheck(count, head)

    def _checked_shown(self, row: Shown, place: int, keys: Mapping[str, str], who: Mapping[str, str]) -> tuple[Any, ...]:
        """time or None, then the columns from request_id to why, then what the person would be remembered by when forgotten.

        keys: id of a person -> what they are called here.  who: that -> what is left of somebody who was forgotten.
        """
        what = f"shown row {place}"
        for name, text in (("request_id", row.request_id), ("item_id", row.item_id), ("model_version", row.model_version)):
            checked_name(text, f"{what}: {name}")
        for name, maybe in (("scenario", row.scenario), ("experiment", row.experiment), ("variant", row.variant)):
            if maybe is not None:
                checked_name(maybe, f"{what}: {name}")
        if row.position < 1 or not 0 <= row.propensity <= 1:
            raise DataError(f"{what}: position {row.position}, propensity {row.propensity}; a position is 1 or more, a propensity 0 to 1")
        why = None if row.why is None else checked_json(row.why, f"{what}: why")
        user = None if row.user_id is None else keys[row.user_id]
        position, propensity = int(row.position), float(row.propensity)
        moment = None if row.time is None else float(row.time)
        return (
            *(moment, row.request_id, user, row.item_id, position, row.model_version, row.scenario, propensity),
            *(row.experiment, row.variant, why, "" if user is None else who[user]),
        )


def _append(writing: Writing, calls: list[list[tuple[Any, ...]]]) -> list[int]:
    """Rows of somebody who was forgotten after they were shown (they waited in memory meanwhile) say no longer whom they were about."""
    head = _head(writing.connection)
    rows, lasts = [], []
    people = list({row[-1] for call in calls for row in call if row[-1]})
    forgotten: dict[str, float] = dict(writing.rows_with(tables.forgotten, ("who", "time"), people))
    names = {who: GONE + secrets.token_hex(8) for who in forgotten}
    for call in calls:
        for moment, request, user, item, position, model, scenario, propensity, experiment, variant, why, who in call:
            salt: str | None = secrets.token_hex(16)
            public = (
                head.seq + 1,
                writing.now if moment is None else moment,
                request,
                item,
                position,
                model,
                scenario,
                propensity,
                experiment,
                variant,
            )
            seal = _seal(salt, user, why)
            if public[1] <= forgotten.get(who, -1.0):
                user, why, salt = names[who], None, None
            head = AuditHead(head.seq + 1, _hash(head.hash, public, seal))
            rows.append((*public[:3], user, *public[3:], why, salt, seal, head.hash))
        lasts.append(head.seq)
    writing.insert(tables.audit, COLUMNS, rows)
    return lasts


def _seal(salt: str | None, user: str | None, why: str | None) -> str:
    return sha256(json.dumps([salt, user, why]).encode()).hexdigest()


def _hash(before: str, public: Sequence[Any], seal: str) -> str:
    return sha256(json.dumps([before, *public, seal]).encode()).hexdigest()


def _problem(row: Any, before: AuditHead) -> str:
    """What is wrong with a row, given the one before it."""
    if row.seq != before.seq + 1:
        return f"rows {before.seq + 1} to {row.seq - 1} are missing"
    public = (
        row.seq,
        row.time,
        row.request_id,
        row.item_id,
        row.position,
        row.model_version,
        row.scenario,
        row.propensity,
        row.experiment,
        row.variant,
    )
    if row.hash != _hash(before.hash, public, row.seal):
        return f"row {row.seq} was changed, or the one before it"
    forgotten = row.salt is None and row.why is None and (row.user_id or "").startswith(GONE)
    if not forgotten and (row.salt is None or row.seal != _seal(row.salt, row.user_id, row.why)):
        return f"row {row.seq}: the user or the reasons were changed"
    return ""


def _anchor(connection: Connection) -> AuditHead:
    """The last row that retention took out, from which the chain goes on."""
    table = tables.audit_anchors.c
    row = connection.execute(select(table.upto, table.hash).order_by(table.upto.desc()).limit(1)).first()
    return AuditHead(0, START) if row is None else AuditHead(*row)


def _head(connection: Connection) -> AuditHead:
    table = tables.audit.c
    row = connection.execute(select(table.seq, table.hash).order_by(table.seq.desc()).limit(1)).first()
    return _anchor(connection) if row is None else AuditHead(*row)


def prune_audit(writing: Writing, older_than: float) -> int:
    """Take out the oldest rows, at most one chunk, and note where the chain goes on. Rows taken out."""
    table = tables.audit
    rows = writing.connection.execute(select(table.c.seq, table.c.time, table.c.hash).order_by(table.c.seq).limit(CHUNK)).all()
    last = next((row for row in reversed(rows) if row.time < older_than), None)
    if last is None:
        return 0
    writing.connection.execute(insert(tables.audit_anchors).values(upto=last.seq, hash=last.hash, time=writing.now))
    return writing.connection.execute(table.delete().where(table.c.seq <= last.seq)).rowcount


def take_out(writing: Writing, user: str) -> int:
    """Let the rows of a user no longer say whom they were about. Rows changed."""
    table = tables.audit
    values = {"user_id": GONE + secrets.token_hex(8), "salt": None, "why": None}
    return writing.connection.execute(table.update().where(table.c.user_id == user).values(values)).rowcount


def _stored(row: Any) -> StoredShown:
    return StoredShown(
        *(row.seq, row.time, row.request_id, row.user_id, row.item_id, row.position, row.model_version, row.scenario, row.propensity),
        *(row.experiment, row.variant, None if row.why is None else json.loads(row.why)),
    )
