"""The audit, written beside the answers: what was shown goes out in batches, at the latest a moment after the answer.

While the database is away rows wait in memory, up to a bound; then the oldest are lost, and counted. A worker that is killed loses what was shown
in the last moment (`engine.audit_every_ms`), nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from m6rec.base.errors import M6RecError, StorageError
from m6rec.serving.asked import Ask, Reply
from m6rec.serving.service.backlog import Backlog

if TYPE_CHECKING:
    from m6rec.serving.store.records import Shown
    from m6rec.serving.store.store import Store

MOST_AT_ONCE = 2_000  # rows of one write
MOST_WAITING = 200_000  # rows in memory while the database is away


class ShownLog:
    """Rows of the audit on their way to the store."""

    def __init__(self, store: Store, every_ms: float) -> None:
        self.store = store
        self.refused = 0
        self.backlog = Backlog("m6rec-audit", self._write, at_once=MOST_AT_ONCE, gather=every_ms / 1e3, most=MOST_WAITING)

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self.backlog)

    @property
    def lost(self) -> int:
        """Rows that did not fit into memory, that the store refused, or that were left when the service ended."""
        return self.backlog.lost + self.refused

    def add(self, rows: Sequence[Shown]) -> None:
        """Hand rows over; returns at once."""
        self.backlog.add(rows)

    def close(self) -> None:
        """Write what waits, and stop."""
        self.backlog.close(30)

    def _write(self, rows: list[Shown]) -> bool:
        try:
            self.store.record_shown(rows)
        except StorageError:
            return False  # the database is away: they wait
        except M6RecError:
            self.refused += len(rows)
        return True


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
        if place < len(reply.words) and reply.words[place]:
            why["words"] = reply.words[place]
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
