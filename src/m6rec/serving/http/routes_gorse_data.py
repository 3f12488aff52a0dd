"""Routes under /api that bring and read data as a gorse client does: feedback, items, users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Body, FastAPI, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.http.calls import Calls
from m6rec.serving.http.config import GorseConfig
from m6rec.serving.http.gorse_data import GorseData
from m6rec.serving.http.gorse_rows import (
    FeedbackIn,
    FeedbackOut,
    FeedbackPage,
    FeedbackPageAsked,
    ItemIn,
    ItemOut,
    ItemPage,
    ItemPatch,
    PageAsked,
    Success,
    UserIn,
    UserOut,
    UserPage,
    UserPatch,
    feedback,
)
from m6rec.serving.http.guarded_route import route
from m6rec.serving.http.replies import json_bytes
from m6rec.serving.http.values import ID_PATTERN, MOST_EVENTS, MOST_ID, MOST_ROWS

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "gorse"
PathId = Annotated[str, Path(min_length=1, max_length=MOST_ID, pattern=ID_PATTERN, description="Percent-encoded; without a slash.")]
FeedbackRows = Annotated[list[FeedbackIn], Body(min_length=1, max_length=MOST_EVENTS)]
ItemRows = Annotated[list[ItemIn], Body(min_length=1, max_length=MOST_ROWS)]
UserRows = Annotated[list[UserIn], Body(min_length=1, max_length=MOST_ROWS)]


def add_gorse_data_routes(app: FastAPI, service: Service, calls: Calls, names: GorseConfig) -> None:
    """Add the routes to `app`."""

    data = GorseData(service, names)

    async def insert_feedback(request: Request, rows: FeedbackRows) -> Response:
        """Insert feedback; what is there already is passed over."""
        await calls.run("write", service.add_events, [row.event(overwrite=False) for row in rows])
        return json_bytes({"RowAffected": len(rows)})

    async def put_feedback(request: Request, rows: FeedbackRows) -> Response:
        """Insert feedback, also where it is there with another time."""
        await calls.run("write", service.add_events, [row.event(overwrite=True) for row in rows])
        return json_bytes({"RowAffected": len(rows)})

    async def list_feedback(request: Request, asked: Annotated[FeedbackPageAsked, Query()]) -> Response:
        """Feedback in the order in which it came."""
        return json_bytes(await calls.run("read", data.feedback_page, None, int(asked.cursor or 0), asked.n))

    async def list_typed_feedback(request: Request, feedback_type: PathId, asked: Annotated[FeedbackPageAsked, Query()]) -> Response:
        """Feedback of one type in the order in which it came."""
        return json_bytes(await calls.run("read", data.feedback_page, feedback_type, int(asked.cursor or 0), asked.n))

    async def user_feedback(request: Request, user_id: PathId) -> Response:
        """Feedback of a user."""
        return json_bytes([feedback(event) for event in await calls.run("read", service.store.events, user_id)])

    async def typed_user_feedback(request: Request, user_id: PathId, feedback_type: PathId) -> Response:
        """Feedback of a user, of one type."""
        found = await calls.run("read", service.store.events, user_id)
        return json_bytes([feedback(event) for event in found if event.action == feedback_type])

    async def insert_item(request: Request, row: ItemIn) -> Response:
        """Insert an item, over one that is there."""
        return json_bytes({"RowAffected": await calls.run("write", data.write_items, [row])})

    async def insert_items(request: Request, rows: ItemRows) -> Response:
        """Insert items, over those that are there."""
        return json_bytes({"RowAffected": await calls.run("write", data.write_items, rows)})

    async def modify_item(request: Request, item_id: PathId, row: ItemPatch) -> Response:
        """Change what is given of an item."""
        await calls.run("write", data.patch_item, item_id, row)
        return json_bytes({"RowAffected": 1})

    async def get_gorse_item(request: Request, item_id: PathId) -> Response:
        """An item."""
        return json_bytes(await calls.run("read", data.read_item, item_id))

    async def list_gorse_items(request: Request, asked: Annotated[PageAsked, Query()]) -> Response:
        """Items, page by page."""
        found = await calls.run("read", data.read_items, asked.n, asked.cursor or None)
        return json_bytes({"Cursor": found[-1]["ItemId"] if len(found) == asked.n else "", "Items": found})

    async def delete_gorse_item(request: Request, item_id: PathId) -> Response:
        """Take an item out."""
        await calls.run("write", service.delete_item, item_id)
        return json_bytes({"RowAffected": 1})

    async def insert_user(request: Request, row: UserIn) -> Response:
        """Insert a user, over one that is there."""
        return json_bytes({"RowAffected": await calls.run("write", data.write_users, [row])})

    async def insert_users(request: Request, rows: UserRows) -> Response:
        """Insert users, over those that are there."""
        return json_bytes({"RowAffected": await calls.run("write", data.write_users, rows)})

    async def modify_user(request: Request, user_id: PathId, row: UserPatch) -> Response:
        """Change what is given of a user."""
        await calls.run("write", data.patch_user, user_id, row)
        return json_bytes({"RowAffected": 1})

    async def get_gorse_user(request: Request, user_id: PathId) -> Response:
        """A user."""
        return json_bytes(await calls.run("read", data.read_user, user_id))

    async def list_gorse_users(request: Request, asked: Annotated[PageAsked, Query()]) -> Response:
        """Users, page by page."""
        found = await calls.run("read", data.read_users, asked.n, asked.cursor)
        return json_bytes({"Cursor": found[-1]["UserId"] if len(found) == asked.n else "", "Users": found})

    async def delete_gorse_user(request: Request, user_id: PathId) -> Response:
        """Forget a user and their feedback."""
        await calls.run("write", service.forget, user_id)
        return json_bytes({"RowAffected": 1})

    for method, path, function, role, reply in (
        ("POST", "/api/feedback", insert_feedback, "write", Success),
        ("PUT", "/api/feedback", put_feedback, "write", Success),
        ("GET", "/api/feedback", list_feedback, "admin", FeedbackPage),
        ("GET", "/api/feedback/{feedback_type}", list_typed_feedback, "admin", FeedbackPage),
        ("GET", "/api/user/{user_id}/feedback", user_feedback, "read", list[FeedbackOut]),
        ("GET", "/api/user/{user_id}/feedback/{feedback_type}", typed_user_feedback, "read", list[FeedbackOut]),
        ("POST", "/api/item", insert_item, "write", Success),
        ("POST", "/api/items", insert_items, "write", Success),
        ("GET", "/api/items", list_gorse_items, "read", ItemPage),
        ("GET", "/api/item/{item_id}", get_gorse_item, "read", ItemOut),
        ("PATCH", "/api/item/{item_id}", modify_item, "write", Success),
        ("DELETE", "/api/item/{item_id}", delete_gorse_item, "write", Success),
        ("POST", "/api/user", insert_user, "write", Success),
        ("POST", "/api/users", insert_users, "write", Success),
        ("GET", "/api/users", list_gorse_users, "admin", UserPage),
        ("GET", "/api/user/{user_id}", get_gorse_user, "read", UserOut),
        ("PATCH", "/api/user/{user_id}", modify_user, "write", Success),
        ("DELETE", "/api/user/{user_id}", delete_gorse_user, "write", Success),
    ):
        route(app, method, path, function, role=role, tag=TAG, reply=reply, also=(404,))
