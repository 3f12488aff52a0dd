"""Forgetting a person: what names them goes, what others rely on stays."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from m6rec.serving.store import tables
from m6rec.serving.store.audit import take_out
from m6rec.serving.store.database import Writing
from m6rec.serving.store.deeds import doing
from m6rec.serving.store.parts import Part, checked_name
from m6rec.serving.store.records import Forgotten


class Forgetting(Part):
    """The right to be forgotten."""

    def forget(self, user_id: str) -> Forgotten:
        """Delete a person's events, fields and reviews, and take them out of the audit; every worker is told by the log of changes.

        Whoever is unknown here may be known to a model from its training, so that is no error. What is left is a keyed hash of the id, so that a
        model trained before does not bring the person back after a restart (`was_forgotten`), and, until `retention.changes_days` have
        passed, the id in the log of changes, for workers that have yet to hear of it. Events that arrive later are a new person's.

        Raises:
            DataError: the id is no text.  StorageError: nothing was changed.
        """
        user = self.user_key(checked_name(user_id, "user_id"))
        who = self.secret.keyed("forgotten", user)
        deed = doing("forget")  # it names nobody: that is the point

        def work(writing: Writing) -> Forgotten:
            found = _forget(writing, user, who)
            deed.note(writing, f"{found.events} events")
            return found

        return self.database.write(work)

    def holds(self, user_id: str) -> bool:
        """Whether anything is kept of a person: events, fields, rows of the audit, reviews.

        Raises:
            DataError: the id is no text.  StorageError: the database is away.
        """
        user = self.user_key(checked_name(user_id, "user_id"))
        columns = (tables.users.c.id, tables.events.c.user_id, tables.audit.c.user_id, tables.reviews.c.user_id)
        with self.database.read() as connection:
            return any(connection.execute(select(column).where(column == user).limit(1)).first() is not None for column in columns)

    def was_forgotten(self, user_ids: Sequence[str]) -> list[bool]:
        """Of each of many users, whether they were forgotten at some time: what a model was trained on of them must not be used."""
        with self.database.read() as connection:
            forgotten = set(connection.execute(select(tables.forgotten.c.who)).scalars())
        return (
            [self.secret.keyed("forgotten", self.user_key(user)) in forgotten for user in user_ids]
            if forgotten
            else [False] * len(user_ids)
        )


def _forget(writing: Writing, user: str, who: str) -> Forgotten:
    run = writing.connection.execute
    events, changes = tables.events.c, tables.changes.c
    deleted = run(delete(tables.events).where(events.user_id == user)).rowcount
    audits = take_out(writing, user)
    profile = run(delete(tables.users).where(tables.users.c.id == user)).rowcount > 0
    reviews = run(delete(tables.reviews).where(tables.reviews.c.user_id == user)).rowcount
    seq = writing.note("forget", user)
    run(delete(tables.changes).where(changes.kind.in_(("user", "user_gone")), changes.key == user, changes.seq < seq))
    writing.put(tables.forgotten, ["who"], [{"who": who, "seq": seq, "time": writing.now}])
    written = run(select(tables.exports.c.folder).order_by(tables.exports.c.folder)).scalars().all() if deleted or profile else []
    return Forgotten(deleted, audits, profile, reviews, tuple(written), seq)
