"""What a gorse client brings and reads, in the words of the service: items, users, feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from m6rec.serving.http.config import GorseConfig
from m6rec.serving.http.gorse_rows import Fieldwise, ItemIn, ItemPatch, UserIn, UserPatch, feedback
from m6rec.serving.store.records import StoredEvent

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

LOOKED_AT = 20_000  # stored events that one page of feedback of a type looks through at the most


class GorseData:
    """gorse's items, users and feedback over the service's own. Blocking calls, all of them."""

    def __init__(self, service: Service, names: GorseConfig) -> None:
        self.service, self.names = service, names

    def _fieldwise(self, kind: str) -> Fieldwise:
        return Fieldwise(self.names, self.service.info()[f"{kind}_fields"])

    def _hidden(self) -> set[str]:
        return {one.value for one in self.service.store.blocked() if one.kind == "item"}

    def write_items(self, rows: list[ItemIn]) -> int:
        """Items written over those that are there, and shown or hidden as each says; returns how many."""
        words = self._fieldwise("item")
        self.service.upsert_items([{**words.fields(row, row.Categories), "item_id": row.ItemId} for row in rows])
        before = self._hidden()
        for row in rows:
            self._hide(row.ItemId, row.IsHidden, before)
        return len(rows)

    def _hide(self, item: str, wanted: bool, before: set[str]) -> None:
        if wanted and item not in before:
            self.service.store.block("item", item, "IsHidden, by a client of gorse")
        elif not wanted and item in before:
            self.service.store.unblock("item", item)

    def patch_item(self, item: str, row: ItemPatch) -> None:
        """Change what is given of an item, and nothing else."""
        fields = self._fieldwise("item").fields(row, row.Categories)
        old = self.service.item(item)["fields"]
        if fields:
            self.service.upsert_items([{**{name: value for name, value in old.items() if value is not None}, **fields, "item_id": item}])
        if row.IsHidden is not None:
            self._hide(item, row.IsHidden, self._hidden())

    def read_items(self, most: int, after: str | None) -> list[dict[str, Any]]:
        """A page of items after an id."""
        words, away = self._fieldwise("item"), self._hidden()
        return [words.item(row, row["item_id"] in away) for row in self.service.items(None, most, after)]

    def read_item(self, item: str) -> dict[str, Any]:
        """One item. Raises UnknownItemError."""
        return self._fieldwise("item").item(self.service.item(item), item in self._hidden())

    def write_users(self, rows: list[UserIn]) -> int:
        """Users written over those that are there; returns how many."""
        words = self._fieldwise("user")
        return self.service.upsert_users([{**words.fields(row), "user_id": row.UserId} for row in rows])

    def patch_user(self, user: str, row: UserPatch) -> None:
        """Change what is given of a user, and nothing else."""
        self.service.upsert_users([{**self.service.user(user, 0)["fields"], **self._fieldwise("user").fields(row), "user_id": user}])

    def read_user(self, user: str) -> dict[str, Any]:
        """One user. Raises UnknownUserError."""
        return self._fieldwise("user").user(user, self.service.user(user, 0)["fields"])

    def read_users(self, most: int, after: str) -> list[dict[str, Any]]:
        """A page of users after an id."""
        words = self._fieldwise("user")
        return [words.user(row["user_id"], row.get("fields", {})) for row in self.service.users(None, most, after or None)]

    def feedback_page(self, kind: str | None, after: int, n: int) -> dict[str, Any]:
        """The next n events, of one action where one is asked for. The cursor goes on where looking stopped."""
        found: list[StoredEvent] = []
        looked = 0
        while len(found) < n and looked < LOOKED_AT:
            block = self.service.store.events(after_seq=after, most=n if kind is None else 2000)
            looked += len(block)
            for event in block:
                after = event.seq
                if kind is None or event.action == kind:
                    found.append(event)
                    if len(found) == n:
                        break
            if len(block) < (n if kind is None else 2000) and len(found) < n:
                return {"Cursor": "", "Feedback": [feedback(event) for event in found]}
        return {"Cursor": str(after), "Feedback": [feedback(event) for event in found]}
