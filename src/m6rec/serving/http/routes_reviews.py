"""Routes of the review queue: texts that wait for a person, and what was decided. Role: admin."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import FastAPI, Path, Query
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.http.calls import Calls
from m6rec.serving.http.guarded_route import route
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.replies import Said, send
from m6rec.serving.http.values import Strict

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "moderation"
MOST_NUMBER = 2**53
NOBODY = "somebody of this machine"  # who decides where no key exists
Number = Annotated[int, Path(ge=1, le=MOST_NUMBER, description="Number of the review, as `notes` of a text that is held back name it.")]


class Queue(Strict):
    """Which part of the queue."""

    model_config = ConfigDict(strict=False)

    state: Literal["waiting", "approved", "rejected"] = Field("waiting", description="What became of them.")
    most: int = Field(50, ge=1, le=1000, description="Rows of a page.")
    after: int = Field(0, ge=0, le=MOST_NUMBER, description="Go on behind this number.")


class VerdictRequest(Strict):
    """What a person decided."""

    verdict: Literal["approved", "rejected"] = Field(description="Whether the text may go out.")


class ReviewsReply(Said):
    """A page of the queue."""

    reviews: list[dict[str, Any]] = Field(description="id, kind, content, user_id, reason, state, created, decided, by; oldest first.")
    after: int | None = Field(description="Give this as `after` for the next page; null on the last one.")


class ReviewReply(Said):
    """One review."""

    review: dict[str, Any] = Field(description="id, kind, content, user_id, reason, state, created, decided, by.")


def add_review_routes(app: FastAPI, service: Service, calls: Calls) -> None:
    """Add the routes to `app`."""

    def one(number: int) -> dict[str, Any]:
        found = service.store.reviews(None, 1, number - 1)
        if not found or found[0].id != number:
            raise Refused(404, f"there is no review {number}")
        return asdict(found[0])

    def close(number: int, verdict: str, by: str) -> dict[str, Any]:
        one(number)
        service.store.decide(number, verdict, by)
        return one(number)

    async def list_reviews(request: Request, page: Annotated[Queue, Query()]) -> Response:
        """Texts that wait for a person, or that were decided on, oldest first."""
        rows = [asdict(found) for found in await calls.run("admin", service.store.reviews, page.state, page.most, page.after)]
        return send(request, {"reviews": rows, "after": rows[-1]["id"] if len(rows) == page.most else None})

    async def get_review(request: Request, number: Number) -> Response:
        """One text of the queue, with its state: whoever holds one back asks here whether it may go out."""
        return send(request, {"review": await calls.run("admin", one, number)})

    async def decide_review(request: Request, number: Number, body: VerdictRequest) -> Response:
        """Let a text go out, or not."""
        holder = request.scope["holder"]
        return send(request, {"review": await calls.run("admin", close, number, body.verdict, NOBODY if holder is None else holder.name)})

    route(app, "GET", "/v1/reviews", list_reviews, role="admin", tag=TAG, reply=ReviewsReply)
    route(app, "GET", "/v1/reviews/{number}", get_review, role="admin", tag=TAG, reply=ReviewReply, also=(404,))
    route(app, "POST", "/v1/reviews/{number}", decide_review, role="admin", tag=TAG, reply=ReviewReply, also=(404,))
