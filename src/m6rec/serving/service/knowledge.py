"""What comes into the service and what it knows: events, items, users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from m6rec.base.errors import UnknownUserError
from m6rec.data.schema import shown
from m6rec.serving.service.core import Core
from m6rec.serving.service.intake import changed_fields, checked_events, checked_items, checked_users, unread_labels

if TYPE_CHECKING:
    from m6rec.serving.store.records import Event, Forgotten, Receipt


class Knowledge(Core):
    """Writing goes to the store first; what it acknowledged is known to the next answer of every worker."""

    def add_events(self, events: Sequence[Event], key: str | None = None) -> Receipt:
        """Events into the store; the next answer of every worker knows them.

        Args:
            key: idempotency key; the same key again is answered like the first time, and nothing is added.

        Raises:
            DataError: an action that the model does not know, a wrong time.  UnknownItemError.  StorageError: the store is away.
        """
        self.following.catch_up()
        with self.loaded.use() as model:
            events = checked_events(model, events)
            unread = unread_labels(model, events)
            self.quality.seen(model, events, model.trained_users)
        receipt = self.store.add_events(events, key=key)
        self.traffic.counted("events", receipt.accepted)
        self.following.catch_up()
        return replace(receipt, unread=unread)

    def upsert_items(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """New items, or new fields of known ones; recommendable from the next answer on. Raises DataError, StorageError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            rows = checked_items(model, rows)
            told = changed_fields(model, rows[0]) if len(rows) == 1 else ("", "")
        self.store.upsert_items(rows, told=told)
        self.following.catch_up()
        return len(rows)

    def upsert_users(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """People and what is known of them. Raises DataError, StorageError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            rows = checked_users(model, rows)
        self.store.upsert_users(rows)
        self.following.catch_up()
        return len(rows)

    def delete_item(self, item: str) -> None:
        """Never answered again. Raises UnknownItemError, StorageError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            model.check_item(item)
        self.store.delete_item(item)
        self.following.catch_up()

    def forget(self, user: str) -> Forgotten:
        """Everything of a user: events, audit, histories, counts, caches; the model is marked for retraining.

        Raises:
            UnknownUserError: neither the store nor a model in memory has anything of this user.  StorageError: nothing was forgotten.
        """
        self.following.catch_up()
        models = self.loaded.all
        if not any(model.has(user) for model in models) and not self.store.holds(user):
            raise UnknownUserError(f"user {shown(user)} is not known: neither the store nor the model has anything of them to forget")
        trained = any(model.trained_on(user) for model in models)
        forgotten = replace(self.store.forget(user), trained=trained)
        self.following.catch_up()
        self.traffic.counted("forgotten")
        return forgotten

    def item(self, item: str) -> dict[str, Any]:
        """item_id, title and fields. Raises UnknownItemError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.item(item)

    def items(self, query: str | None = None, most: int = 50, after: str | None = None) -> list[dict[str, Any]]:
        """Items whose title or id holds `query` (all where None), in the order of the catalogue; after: go on behind this id."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.find_items(query, most, after)

    def search_items(self, query: str, most: int, skip: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Items whose id, title, tags or categories hold every word of `query`, from the `skip`-th on, and how many there are in all."""
        self.following.catch_up()
        with self.loaded.use() as model:
            names = model.engine.items.ids.ids
            rows = [row for row in self._searching.rows(model.engine.items, model.titles, query) if names[row] not in model.gone]
            return [model.item(names[row]) for row in rows[skip : skip + most]], len(rows)

    def users(self, query: str | None = None, most: int = 50, after: str | None = None) -> list[dict[str, Any]]:
        """Users whose id holds `query`: user_id, events, fields."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.find_users(query, most, after)

    def user(self, user: str, most: int = 50) -> dict[str, Any]:
        """user_id, fields, and the newest events, newest first. Raises UnknownUserError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.user(user, most)
