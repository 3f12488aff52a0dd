"""Routes of events, items and users. Role: write, reading one: read, listing everybody: admin."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Header, Path, Query
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.http.calls import Calls
from m6rec.serving.http.guarded_route import route
from m6rec.serving.http.replies import Said, send
from m6rec.serving.http.rows import EventsRequest, ItemsRequest, UsersRequest
from m6rec.serving.http.values import ID_PATTERN, MOST_ID, Id, Strict, Text

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "data"
PathId = Annotated[str, Path(min_length=1, max_length=MOST_ID, pattern=ID_PATTERN, description="The id, percent-encoded.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of yours that names this request: sent again with it, the first receipt comes back and nothing is added.",
    ),
]


class EventsReply(Said):
    """Receipt: these events are on disk."""

    accepted: int = Field(description="Events written.")
    duplicates: int = Field(description="Events that were known by their event_id.")
    late: int = Field(description="Of the accepted ones, how many came long after their time.")
    first_seq: int = Field(description="Place of the first in the log of changes; 0 where none was written.")
    last_seq: int = Field(description="Place of the last.")
    repeated: bool = Field(description="True where the Idempotency-Key was known, and this is the receipt of the first time.")
    unread: list[str] = Field(description="Names of labels that no task of the active model reads; they are kept for a later training.")


class WrittenReply(Said):
    """How many rows were written."""

    written: int = Field(description="Rows written.")


class ItemReply(Said):
    """An item."""

    item: dict[str, Any] = Field(description="item_id, title and fields.")


class ItemsReply(Said):
    """A page of items."""

    items: list[dict[str, Any]] = Field(description="In the order of the catalogue.")
    after: str | None = Field(description="Give this as `after` for the next page; null on the last one.")


class UserReply(Said):
    """A user."""

    user: dict[str, Any] = Field(description="user_id, fields, and the newest events, newest first.")


class UsersReply(Said):
    """A page of users."""

    users: list[dict[str, Any]] = Field(description="In the order of their ids.")
    after: str | None = Field(description="Give this as `after` for the next page; null on the last one.")


class GoneReply(Said):
    """What is gone."""

    gone: dict[str, Any] = Field(description="What was deleted, and how much of it.")


class Page(Strict):
    """Which part of a list."""

    model_config = ConfigDict(strict=False)

    query: Text | None = Field(None, description="Only rows whose id or title holds this.")
    most: int = Field(50, ge=1, le=1000, description="Rows of a page.")
    after: Id | None = Field(None, description="Go on behind this id.")


def add_data_routes(app: FastAPI, service: Service, calls: Calls) -> None:
    """Add the routes to `app`."""

    async def add_events(request: Request, body: EventsRequest, key: IdempotencyKey = None) -> Response:
        """Events of users; the next answer knows them.

        The reply is a receipt: what it counts as accepted is on disk. All of the events are written or none.
        """
        receipt = await calls.run("write", service.add_events, [row.event() for row in body.events], key)
        return send(request, asdict(receipt))

    async def upsert_items(request: Request, body: ItemsRequest) -> Response:
        """Items to add or to change; they can be recommended from the next answer on."""
        return send(request, {"written": await calls.run("write", service.upsert_items, [row.row() for row in body.items])})

    async def list_items(request: Request, page: Annotated[Page, Query()]) -> Response:
        """Items of the catalogue, page by page, or those that a query finds."""
        rows = await calls.run("read", service.items, page.query, page.most, page.after)
        return send(request, {"items": rows, "after": _next(rows, page.most, "item_id")})

    async def get_item(request: Request, item_id: PathId) -> Response:
        """One item."""
        return send(request, {"item": await calls.run("read", service.item, item_id)})

    async def delete_item(request: Request, item_id: PathId) -> Response:
        """Take an item out: it is never answered again."""
        await calls.run("write", service.delete_item, item_id)
        return send(request, {"gone": {"items": 1}})

    async def upsert_users(request: Request, body: UsersRequest) -> Response:
        """Users to add or to change."""
        return send(request, {"written": await calls.run("write", service.upsert_users, [row.row() for row in body.users])})

    async def list_users(request: Request, page: Annotated[Page, Query()]) -> Response:
        """Users, page by page, or those that a query finds."""
        rows = await calls.run("read", service.users, page.query, page.most, page.after)
        return send(request, {"users": rows, "after": _next(rows, page.most, "user_id")})

    async def get_user(request: Request, user_id: PathId) -> Response:
        """One user: fields and newest events."""
        return send(request, {"user": await calls.run("read", service.user, user_id)})

    async def forget_user(request: Request, user_id: PathId) -> Response:
        """Forget a user: events, audit, caches, counts; the model is marked for retraining; 404 where nobody knows them."""
        return send(request, {"gone": asdict(await calls.run("write", service.forget, user_id))})

    route(app, "POST", "/v1/events", add_events, role="write", tag=TAG, reply=EventsReply, also=(404, 409))
    route(app, "POST", "/v1/items", upsert_items, role="write", tag=TAG, reply=WrittenReply, also=(404,))
    route(app, "GET", "/v1/items", list_items, role="read", tag=TAG, reply=ItemsReply, also=(404,))
    route(app, "GET", "/v1/items/{item_id:path}", get_item, role="read", tag=TAG, reply=ItemReply, also=(404,))
    route(app, "DELETE", "/v1/items/{item_id:path}", delete_item, role="write", tag=TAG, reply=GoneReply, also=(404,))
    route(app, "POST", "/v1/users", upsert_users, role="write", tag=TAG, reply=WrittenReply, also=(404,))
    # A list of everybody is more than any one request needs: an administrator's.
    route(app, "GET", "/v1/users", list_users, role="admin", tag=TAG, reply=UsersReply, also=(404,))
    route(app, "GET", "/v1/users/{user_id:path}", get_user, role="read", tag=TAG, reply=UserReply, also=(404,))
    route(app, "DELETE", "/v1/users/{user_id:path}", forget_user, role="write", tag=TAG, reply=GoneReply, also=(404,))


def _next(rows: list[dict[str, Any]], most: int, name: str) -> str | None:
    return str(rows[-1][name]) if len(rows) == most else None
