"""Keeping up with the store: whatever any worker wrote is in the models of this one before its next answer.

The change log has a number for every change. Asking for the newest number costs microseconds; only when it has grown is anything read.
A store that is away is asked again after a second; answers go on from memory in the meantime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING

from m6rec.base.errors import M6RecError, StorageError
from m6rec.serving.service.loaded import LoadedModel, first_error

if TYPE_CHECKING:
    from m6rec.serving.store.records import Change
    from m6rec.serving.store.store import Store

MOST = 10_000  # changes read at a time
PAUSE = 1.0  # seconds between two attempts at a store that is away
OF_MODELS = ("events", "item", "item_gone", "user", "user_gone", "forget")


class Following:
    """The position in the change log, and the models that are kept there.

    models: those in memory now.
    on_change: told of every change of another kind (model, option, rule, experiment, setting), after the models were.
    applied: number of the newest change that is in the models.  away: what the store said when it was last away, "" when it is there.
    """

    def __init__(self, store: Store, models: Callable[[], Iterable[LoadedModel]], on_change: Callable[[Change], None]) -> None:
        self.store, self.models, self.on_change = store, models, on_change
        self.applied = 0
        self.away = ""
        self._again = 0.0
        self._one = Lock()

    def catch_up(self) -> None:
        """Bring every model up to the newest change. A store that is away changes nothing and raises nothing."""
        if self.away and time.monotonic() < self._again:
            return
        try:
            if self.store.newest_change() <= self.applied:
                self.away = ""
                return
            with self._one:
                self._read()
            self.away = ""
        except StorageError as error:
            self.away, self._again = first_error(error), time.monotonic() + PAUSE

    def join(self, model: LoadedModel, add: Callable[[LoadedModel], None]) -> None:
        """Replay the log onto a model, then let `add` put it beside the others; no change falls between.

        Raises:
            StorageError: the store is away.
        """
        done = 0
        while self.store.newest_change() > done + MOST:
            done = self._replay(model, done)
        with self._one:
            self._read()
            while done < self.applied:
                done = self._replay(model, done, self.applied)
            add(model)

    def _replay(self, model: LoadedModel, after: int, upto: int | None = None) -> int:
        changes = [change for change in self.store.changes(after, MOST) if upto is None or change.seq <= upto]
        if not changes:
            return after if upto is None else upto
        with model.turns.writing():
            apply(model, changes, replayed=True)
        return changes[-1].seq

    def _read(self) -> None:
        while changes := self.store.changes(self.applied, MOST):
            for model in self.models():
                with model.turns.writing():
                    apply(model, changes)
            self.applied = changes[-1].seq
            for change in changes:
                if change.kind not in OF_MODELS:
                    self.on_change(change)
            if len(changes) < MOST:
                return


def apply(model: LoadedModel, changes: Sequence[Change], *, replayed: bool = False) -> None:
    """Changes onto one model, in their order; neighbours of one kind together. What a model can't take is counted, and the rest goes on."""
    for _, group in groupby(changes, key=lambda change: change.kind):
        batch = list(group)
        try:
            _apply(model, batch, replayed)
        except M6RecError as error:
            model.skipped[first_error(error)[:200]] += len(batch)


def _apply(model: LoadedModel, changes: Sequence[Change], replayed: bool) -> None:
    """Changes of one kind."""
    kind = changes[0].kind
    if kind == "events":
        model.add_events([event for change in changes for event in change.payload["events"]], replayed=replayed)
    elif kind == "item":
        model.add_items([{**change.payload, "item_id": change.key} for change in changes])
    elif kind == "item_gone":
        model.gone.update(change.key for change in changes)
    elif kind == "user":
        model.people |= {change.key: {name: value for name, value in change.payload.items() if value is not None} for change in changes}
    elif kind in ("user_gone", "forget"):
        for change in changes:
            model.forget(change.key)
