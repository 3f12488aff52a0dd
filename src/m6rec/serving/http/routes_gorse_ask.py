"""Routes under /api that ask as a gorse client does: recommend, session, neighbours, popular. Role: read.

What gorse computes beforehand is computed here when asked: /api/recommend is /v1/recommend.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Body, FastAPI, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from m6rec.base.errors import UnknownUserError
from m6rec.serving.asked import Ask, Reply
from m6rec.serving.http.calls import Calls
from m6rec.serving.http.config import GorseConfig
from m6rec.serving.http.gorse_rows import FeedbackIn, RecommendAsked, ScoreOut, ScoresAsked, seconds_of
from m6rec.serving.http.guarded_route import route
from m6rec.serving.http.keyring import may
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.replies import json_bytes
from m6rec.serving.http.values import ID_PATTERN, MOST_HISTORY, MOST_ID
from m6rec.serving.store.records import Event

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "gorse"
PathId = Annotated[str, Path(min_length=1, max_length=MOST_ID, pattern=ID_PATTERN, description="Percent-encoded; without a slash.")]
Session = Annotated[list[FeedbackIn], Body(max_length=MOST_HISTORY)]


def add_gorse_ask_routes(app: FastAPI, service: Service, calls: Calls, names: GorseConfig) -> None:
    """Add the routes to `app`."""

    def ask(request: Request, asked: ScoresAsked, category: list[str] | None, **who: Any) -> Ask:
        where = {names.categories: category} if category else None
        return Ask(k=asked.k, where=where, request_id=request.scope["request_id"], **who)

    def scores(reply: Reply, offset: int) -> Response:
        found = [{"Id": one.item_id, "Score": one.score} for one in reply.answers[offset:]]
        return json_bytes(found, headers={"X-Model-Version": reply.model_version})

    async def gorse_recommend(request: Request, user_id: PathId, asked: Annotated[RecommendAsked, Query()]) -> Response:
        """Items for a user, a list of ids; for a user nobody knows, what is good for anybody."""
        if asked.write_back_type and not may(request.scope["holder"], "write"):
            raise Refused(403, "write-back-type takes a key that may write")
        try:
            reply = await calls.run("read", service.recommend, ask(request, asked, asked.category, user=user_id))
        except UnknownUserError:
            reply = await calls.run("read", service.recommend, ask(request, asked, asked.category, history=()))
        ids = [one.item_id for one in reply.answers[asked.offset :]]
        if asked.write_back_type and ids:
            moment = time.time() + seconds_of(asked.write_back_delay)
            await calls.run("write", service.add_events, [Event(user_id, item, moment, asked.write_back_type) for item in ids])
        return json_bytes(ids, headers={"X-Model-Version": reply.model_version})

    async def gorse_recommend_category(
        request: Request, user_id: PathId, category: PathId, asked: Annotated[RecommendAsked, Query()]
    ) -> Response:
        """Items of a category for a user, a list of ids."""
        return await gorse_recommend(request, user_id, asked.model_copy(update={"category": [category]}))

    async def gorse_session(request: Request, rows: Session, asked: Annotated[ScoresAsked, Query()]) -> Response:
        """Items for a session: what goes with this feedback."""
        return scores(await calls.run("read", service.recommend, ask(request, asked, None, history=_items(rows))), asked.offset)

    async def gorse_session_category(request: Request, category: PathId, rows: Session, asked: Annotated[ScoresAsked, Query()]) -> Response:
        """Items of a category for a session."""
        return scores(await calls.run("read", service.recommend, ask(request, asked, [category], history=_items(rows))), asked.offset)

    async def gorse_neighbors(request: Request, item_id: PathId, asked: Annotated[ScoresAsked, Query()]) -> Response:
        """Items like an item."""
        reply = await calls.run("read", service.similar, item_id, asked.k, None, request_id=request.scope["request_id"])
        return scores(reply, asked.offset)

    async def gorse_neighbors_category(
        request: Request, item_id: PathId, category: PathId, asked: Annotated[ScoresAsked, Query()]
    ) -> Response:
        """Items of a category like an item."""
        where = {names.categories: [category]}
        reply = await calls.run("read", service.similar, item_id, asked.k, where, request_id=request.scope["request_id"])
        return scores(reply, asked.offset)

    async def gorse_popular(request: Request, asked: Annotated[ScoresAsked, Query()]) -> Response:
        """What is good for anybody: the answer to an empty history."""
        return scores(await calls.run("read", service.recommend, ask(request, asked, None, history=())), asked.offset)

    async def gorse_popular_category(request: Request, category: PathId, asked: Annotated[ScoresAsked, Query()]) -> Response:
        """What of a category is good for anybody."""
        return scores(await calls.run("read", service.recommend, ask(request, asked, [category], history=())), asked.offset)

    for method, path, function, reply in (
        ("GET", "/api/recommend/{user_id}", gorse_recommend, list[str]),
        ("GET", "/api/recommend/{user_id}/", gorse_recommend, None),
        ("GET", "/api/recommend/{user_id}/{category}", gorse_recommend_category, list[str]),
        ("POST", "/api/session/recommend", gorse_session, list[ScoreOut]),
        ("POST", "/api/session/recommend/{category}", gorse_session_category, list[ScoreOut]),
        ("GET", "/api/item/{item_id}/neighbors", gorse_neighbors, list[ScoreOut]),
        ("GET", "/api/item/{item_id}/neighbors/", gorse_neighbors, None),
        ("GET", "/api/item/{item_id}/neighbors/{category}", gorse_neighbors_category, list[ScoreOut]),
        ("GET", "/api/popular", gorse_popular, list[ScoreOut]),
        ("GET", "/api/popular/{category}", gorse_popular_category, list[ScoreOut]),
    ):
        # A client that adds an empty category ends its path in a slash.
        route(app, method, path, function, role="read", tag=TAG, reply=reply, also=(404,), documented=not path.endswith("/"))


def _items(rows: list[FeedbackIn]) -> tuple[str, ...]:
    """Items of a session, oldest first; those without a time keep their place."""
    timed = sorted(rows, key=lambda row: row.Timestamp or 0.0)
    return tuple(row.ItemId for row in timed)
