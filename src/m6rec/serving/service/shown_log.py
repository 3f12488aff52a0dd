"""The audit, written beside the answers: what was shown goes out in batches, at the latest a moment after the answer.

While the database is away rows wait in memory, up to a bound; then the oldest are lost, and counted. A worker that is killed loses what was shown
in the last moment (`engine.audit_every_ms`), nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from m6rec.base.errors import M6RecError, StorageError
from m6rec.serving.asked import Ask, Reply

if TYPE_CHECKING:
    from m6rec.serving.store.records import Shown
    from m6rec.serving.store.store import Store

MOST_AT_ONCE = 2_000  # rows of one write
MOST_WAITING = 200_000  # rows in memory while the database is away
PAUSE = 1.0  # seconds between two attempts at a database that is away


class ShownLog:
    """Rows of the audit on their way to the store.

    lost: rows that did not fit into memory, or that the store refused.
    """

    def __init__(self, store: Store, every_ms: float) -> None:
        self.store, self.every = store, every_ms / 1e3
        self.lost = 0
        self._rows: deque[Shown] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._rows)

    def add(self, rows: Sequence[Shown]) -> None:
        """Hand rows over; returns at once."""
        with self._changed:
            self._rows.extend(rows)
            while len(self._rows) > MOST_WAITING:
                self._rows.popleft()
                self.lost += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="m6rec-audit", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                while not self._rows and not self._closing:
                    self._changed.wait()
                if not self._rows:
                    return
                if not self._closing:
                    self._changed.wait_for(lambda: self._closing or len(self._rows) >= MOST_AT_ONCE, timeout=self.every)
                rows = [self._rows.popleft() for _ in range(min(len(self._rows), MOST_AT_ONCE))]
            try:
                self.store.record_shown(rows)
            except StorageError:
                if self._closing:
                    self.lost += len(rows) + len(self._rows)
                    return
                with self._changed:
                    self._rows.extendleft(reversed(rows))
                    self._changed.wait_for(lambda: self._closing, timeout=PAUSE)
            except M6RecError:
                self.lost += len(rows)


def rows_shown(ask: Ask, reply: Reply, unit: str | None = None) -> list[Shown]:
    """The places of one list as the audit keeps them; why: the score, its parts, the reasons that were given with it, and what experiments
    read: how long the answer took and who was dealt the arm (`unit`) where no user is known."""
    from m6rec.serving.store.records import Shown

    now = time.time()
    rows = []
    for place, answer in enumerate(reply.answers):
        why: dict[str, Any] = {"score": _short(answer.score), "parts": {name: _short(share) for name, share in answer.parts.items()}}
        if reply.experiment is not None:
            why["took_ms"] = _short(reply.took_ms)
        if unit is not None:
            why["unit"] = unit
        if place < len(reply.reasons):
            why["reasons"] = [[one.kind, one.what, _short(one.share)] for one in reply.reasons[place]]
        propensity = reply.propensities[place] if place < len(reply.propensities) else 1.0
        rows.append(
            Shown(
                request_id=reply.request_id,
                user_id=ask.user,
                item_id=answer.item_id,
                position=place + 1,
                model_version=reply.model_version,
                time=now,
                scenario=ask.scenario,
                propensity=propensity,
                experiment=reply.experiment if ask.variant is None else None,  # an arm asked for by name was not dealt out by chance
                variant=reply.variant,
                why=why,
            )
        )
    return rows


def _short(value: float) -> float:
    return float(f"{value:.4g}")
