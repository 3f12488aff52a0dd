"""Requests that bring events, items, users."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from m6rec.serving.http.values import MOST_EVENTS, MOST_ROWS, Context, Fields, Id, Labels, Name, Number, Seconds, Strict
from m6rec.serving.store.records import Event


class EventRow(Strict):
    """Somebody did something with an item."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"user_id": "u42", "item_id": "i7", "action": "buy", "time": 1_760_000_000, "event_id": "order-1-line-2"}]
        }
    )

    user_id: Id = Field(description="Id of the user; a new one becomes known.")
    item_id: Id = Field(description="Id of the item.")
    time: Seconds | None = Field(None, description="When it happened: seconds since 1970 or ISO 8601; now when left out.")
    action: Name | None = Field(None, description="What they did, one of the actions of the training.", examples=["click"])
    scenario: Name | None = Field(None, description="Where it happened.")
    value: Number | None = Field(None, description="A number that goes with it, for example a rating.")
    labels: Labels = Field(default_factory=dict, description="What came of an exposure, task label -> value.", examples=[{"clicked": 1}])
    context: Context = Field(default_factory=dict, description="Device, place, session and so on.")
    event_id: Id | None = Field(None, description="Names the event wherever it comes from; sent twice, it counts once.")

    def event(self) -> Event:
        """The same for the store."""
        return Event(
            self.user_id, self.item_id, self.time, self.action, self.scenario, self.value, self.labels, self.context, self.event_id
        )


class EventsRequest(Strict):
    """Events, in the order in which they happened."""

    events: Annotated[list[EventRow], Field(min_length=1, max_length=MOST_EVENTS)] = Field(description="The events.")


class ItemRow(Strict):
    """An item and its fields."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"item_id": "i900", "fields": {"title": "Trail shoes", "price": 89.0}}]})

    item_id: Id = Field(description="Id of the item; one that is known gets these fields.")
    fields: Fields = Field(default_factory=dict, description="Field -> value, as declared in the training.")

    def row(self) -> dict[str, Any]:
        """The same for the store: one flat row."""
        return {**self.fields, "item_id": self.item_id}


class ItemsRequest(Strict):
    """Items to add or to change."""

    items: Annotated[list[ItemRow], Field(min_length=1, max_length=MOST_ROWS)] = Field(description="The items.")


class UserRow(Strict):
    """A user and their fields."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": "u42", "fields": {"age": 30}}]})

    user_id: Id = Field(description="Id of the user; one that is known gets these fields.")
    fields: Fields = Field(default_factory=dict, description="Field -> value, as declared in the training.")

    def row(self) -> dict[str, Any]:
        """The same for the store: one flat row."""
        return {**self.fields, "user_id": self.user_id}


class UsersRequest(Strict):
    """Users to add or to change."""

    users: Annotated[list[UserRow], Field(min_length=1, max_length=MOST_ROWS)] = Field(description="The users.")
