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
BESIDE_MODELS = ("model", "option", "rule", "experiment", "setting")  # kinds of change that are not in a model
ASLEEP = 3600.0  # seconds without a look after which the log may have been cut behind us


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
        self._looked = time.monotonic()
        self._one = Lock()

    def catch_up(self) -> None:
        """Bring every model up to the newest change. A store that is away changes nothing and raises nothing."""
        if self.away and time.monotonic() < self._again:
            return
        try:
            if self.store.newest_change() > self.applied:
                with self._one:
                    self._read()
            self.away = ""
        except StorageError as error:
            self.away, self._again = first_error(error), time.monotonic() + PAUSE

    def join(self, model: LoadedModel, add: Callable[[LoadedModel], None], watermark: int = 0) -> None:
        """Tell a model everything that the store has and its folder lacks, then let `add` put it beside the others; no change falls between.

        watermark: newest change that the model's training data held.

        Raises:
            StorageError: the store is away.
        """
        done = self._tell_all(model, watermark)
        with self._one:
            if not self.applied:
                self.applied = done
            self._read()
            while done < self.applied:
                changes = [change for change in self.store.changes(done, MOST) if change.seq <= self.applied]
                apply(model, changes)
                done = changes[-1].seq if changes else self.applied
            add(model)

    def _tell_all(self, model: LoadedModel, after: int) -> int:
        """Everything in the tables that came after a change; the number of the newest change that is in it."""
        newest = self.store.newest_change()
        users_known = model.engine.users.ids.ids
        forgotten = [user for user, gone in zip(users_known, self.store.was_forgotten(users_known), strict=True) if gone]
        for user in forgotten:
            model.forget(user)
            if after:  # whoever came back since is a new person: their events are not among those of the training any more
                model.add_events(self.store.events(user, upto_seq=after, most=MOST))
        place = after
        while items := self.store.items_since(place, MOST):
            model.add_items([{**row.fields, "item_id": row.id} for row in items])
            place = items[-1].seq
        model.drop_items(self.store.gone_items())
        place = after
        while users := self.store.users_since(place, MOST):
            for row in users:
                model.know(row.id, row.fields)
            place = users[-1].seq
        place = after
        while events := self.store.events(after_seq=place, upto_seq=newest, most=MOST):
            model.add_events(events, replayed=True)
            place = events[-1].seq
        return newest

    def _read(self) -> None:
        if time.monotonic() - self._looked > ASLEEP and self.store.oldest_change() > self.applied + 1:
            self.applied = min(self._tell_all(model, self.applied) for model in self.models())
        self._looked = time.monotonic()
        while changes := self.store.changes(self.applied, MOST):
            of_models = [change for change in changes if change.kind not in BESIDE_MODELS]
            for model in self.models() if of_models else ():
                apply(model, of_models)
            self.applied = changes[-1].seq
            for change in changes:
                if change.kind in BESIDE_MODELS:
                    self.on_change(change)


def apply(model: LoadedModel, changes: Sequence[Change]) -> None:
    """Changes onto one model, in their order; neighbours of one kind together. What a model can't take is counted, and the rest goes on."""
    for _, group in groupby(changes, key=lambda change: change.kind):
        batch = list(group)
        try:
            _apply(model, batch)
        except M6RecError as error:
            model.skipped[first_error(error)[:200]] += len(batch)


def _apply(model: LoadedModel, changes: Sequence[Change]) -> None:
    """Changes of one kind."""
    kind = changes[0].kind
    if kind == "events":
        model.add_events([event for change in changes for event in change.payload["events"]])
    elif kind == "item":
        model.add_items([{**change.payload, "item_id": change.key} for change in changes])
    elif kind == "item_gone":
        model.drop_items(change.key for change in changes)
    elif kind == "user":
        for change in changes:
            model.know(change.key, change.payload)
    elif kind == "user_gone":
        for change in changes:
            model.people.pop(model.named(change.key), None)
    elif kind == "forget":
        for change in changes:
            model.forget(change.key)
