"""Moderation: what must not be shown, and what a person should look at."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import delete, insert, select, update

from m6rec.base.errors import UsageError, nearest
from m6rec.serving.store import tables
from m6rec.serving.store.database import Writing
from m6rec.serving.store.deeds import doing
from m6rec.serving.store.parts import Part, checked_json, checked_name, is_text
from m6rec.serving.store.records import Block, Review

KINDS = ("item", "word", "provider")
STATES = ("waiting", "approved", "rejected")


class Moderation(Part):
    """Block lists and the review queue."""

    def block(self, kind: str, value: str, reason: str = "") -> None:
        """Never show an item, anything with a word, or a provider's items. Blocking again writes the reason anew.

        Raises:
            UsageError: an unknown kind.  StorageError: nothing was written.
        """
        _check_kind(kind)
        checked_name(value, f"the blocked {kind}")
        text = _line(reason)
        deed = doing("block", value)

        def work(writing: Writing) -> None:
            deed.note(writing, "", f"{kind}: {text}" if text else kind)
            writing.put(tables.blocked, ["kind", "value"], [{"kind": kind, "value": value, "reason": text, "time": writing.now}])
            writing.note("rule", f"{kind}:{value}", {"blocked": True})

        self.database.write(work)

    def unblock(self, kind: str, value: str) -> bool:
        """False where it was not blocked."""
        _check_kind(kind)
        table = tables.blocked.c
        deed = doing("unblock", value)

        def work(writing: Writing) -> bool:
            gone = writing.connection.execute(delete(tables.blocked).where(table.kind == kind, table.value == value)).rowcount
            if gone:
                deed.note(writing, kind)
                writing.note("rule", f"{kind}:{value}", {"blocked": False})
            return bool(gone)

        return self.database.write(work)

    def blocked(self) -> list[Block]:
        """Everything that is blocked, newest first."""
        table = tables.blocked
        with self.database.read() as connection:
            rows = connection.execute(select(table).order_by(table.c.time.desc(), table.c.kind, table.c.value))
            return [Block(row.kind, row.value, row.reason, row.time) for row in rows]

    def queue_review(self, kind: str, content: Any, reason: str = "", *, user_id: str | None = None) -> int:
        """Let a person look at something: its number in the queue.

        Args:
            content: anything JSON can say.
            user_id: whose words these are; forgetting that person takes the review out.
        """
        checked_name(kind, "the kind of a review")
        body = checked_json(content, "the content of a review")
        text = _line(reason)
        user = None if user_id is None else self.user_key(checked_name(user_id, "user_id"))

        def work(writing: Writing) -> int:
            seq = writing.take()
            row = {"id": seq, "kind": kind, "content": body, "user_id": user, "reason": text, "state": "waiting", "created": writing.now}
            writing.connection.execute(insert(tables.reviews).values(row))
            writing.note("rule", f"review:{seq}", {"state": "waiting"}, seq=seq)
            return seq

        return self.database.write(work)

    def reviews(self, state: str | None = "waiting", most: int = 100, after: int = 0) -> list[Review]:
        """Reviews in a state (None: in any), oldest first."""
        table = tables.reviews
        query = select(table).where(table.c.id > after)
        if state is not None:
            query = query.where(table.c.state == state)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(table.c.id).limit(most))
            return [
                Review(row.id, row.kind, json.loads(row.content), row.user_id, row.reason, row.state, row.created, row.decided, row.by)
                for row in rows
            ]

    def decide(self, id: int, verdict: str, by: str) -> None:
        """Close a review. verdict: approved or rejected.  by: the name of the key or person.

        Raises:
            UsageError: no such review, it was decided already, or an unknown verdict.
        """
        if verdict not in STATES[1:]:
            raise UsageError(f"unknown verdict '{verdict}'{nearest(str(verdict), STATES[1:])}; a review is approved or rejected")
        table = tables.reviews
        name = _line(by)
        deed = doing("review", str(id))

        def work(writing: Writing) -> None:
            state = writing.connection.execute(select(table.c.state).where(table.c.id == id)).scalar()
            if state != "waiting":
                raise UsageError(f"review {id} is not in the queue" if state is None else f"review {id} was {state} already")
            writing.connection.execute(update(table).where(table.c.id == id).values(state=verdict, decided=writing.now, by=name))
            writing.note("rule", f"review:{id}", {"state": verdict})
            deed.note(writing, state, verdict)

        self.database.write(work)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"unknown kind '{kind}' to block{nearest(str(kind), KINDS)}; kinds are {', '.join(KINDS)}")


def _line(text: str) -> str:
    """Free text that both databases can hold, in a length that a list can show."""
    return text[:1000] if is_text(text) else text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")[:1000]
