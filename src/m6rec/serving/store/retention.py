"""Nothing is kept longer than said."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import delete, func, select

from m6rec.serving.store import tables
from m6rec.serving.store.audit import prune_audit
from m6rec.serving.store.database import Writing
from m6rec.serving.store.parts import Part
from m6rec.serving.store.records import Pruned

DAY = 86_400.0
CHUNK = 5_000  # rows deleted in one transaction, so that whoever writes meanwhile waits for some milliseconds
JUMP_S = 3600.0  # a clock that went so much further than time did is not to be trusted with deleting


class Retention(Part):
    """Deleting what is too old."""

    clock: Clock

    def enforce_retention(self) -> Pruned:
        """Delete what is older than `store.retention` allows; to be called every `retention.every_s`.

        A clock that jumped while this store was open deletes nothing: a wrong date must not cost a year of events.

        Raises:
            StorageError: the database is away; what was deleted so far is deleted.
        """
        kept = self.config.retention
        jumped = self.clock.jumped()
        if abs(jumped) > JUMP_S:
            return Pruned(skipped=f"the clock jumped by {jumped:,.0f} s since the store was opened; set it right and start again")
        now = time.time()
        counts = {
            name: 0 if days is None else self._prune(work, now - days * DAY)
            for name, days, work in (
                ("events", kept.events_days, _prune_events),
                ("audits", kept.audit_days, prune_audit),
                ("requests", kept.requests_days, _prune_requests),
                ("changes", kept.changes_days, _prune_changes),
            )
        }
        if counts["events"] and kept.events_days is not None:
            before = now - kept.events_days * DAY
            self.database.write(lambda writing: writing.note("setting", "retention", {"events_before": before}))
        return Pruned(counts["events"], counts["audits"], counts["requests"], counts["changes"])

    def _prune(self, work: Callable[[Writing, float], int], older_than: float) -> int:
        total = 0
        while count := self.database.write(lambda writing: work(writing, older_than)):
            total += count
        return total


class Clock:
    """Wall clock against the time since the machine was started, which nobody can set."""

    def __init__(self) -> None:
        self._begin = time.time() - _running()

    def jumped(self) -> float:
        """Seconds by which the wall clock has moved on its own since this object was made."""
        return time.time() - _running() - self._begin


def _running() -> float:
    """Seconds since the machine started, asleep or not where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _prune_events(writing: Writing, older_than: float) -> int:
    table = tables.events
    old = select(table.c.seq).where(table.c.time < older_than).order_by(table.c.time).limit(CHUNK)
    return writing.connection.execute(delete(table).where(table.c.seq.in_(old))).rowcount


def _prune_requests(writing: Writing, older_than: float) -> int:
    table = tables.requests
    old = select(table.c.key).where(table.c.time < older_than).order_by(table.c.time).limit(CHUNK)
    return writing.connection.execute(delete(table).where(table.c.key.in_(old))).rowcount


def _prune_changes(writing: Writing, older_than: float) -> int:
    """The newest change stays: the next number follows from it."""
    table = tables.changes
    newest = select(func.max(table.c.seq)).scalar_subquery()
    oldest = select(table.c.seq).order_by(table.c.seq).limit(CHUNK)
    where = (table.c.seq.in_(oldest), table.c.time < older_than, table.c.seq < newest)
    return writing.connection.execute(delete(table).where(*where)).rowcount
