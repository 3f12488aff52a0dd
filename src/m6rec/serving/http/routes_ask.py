"""Routes that ask: lists, order, judgements, likeness, words, reasons. Role: read."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.http.asks import (
    ClassifyRequest,
    ExplainRequest,
    PredictRequest,
    RankRequest,
    RecommendRequest,
    SearchRequest,
    SimilarRequest,
)
from m6rec.serving.http.calls import Calls
from m6rec.serving.http.guarded_route import route
from m6rec.serving.http.replies import ListReply, Said, send, send_list

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "ask"


class PredictReply(Said):
    """The rows with the answers of tasks as columns."""

    rows: list[dict[str, Any]] = Field(description="The rows as they were asked, with the answers of tasks.")


class ClassifyReply(Said):
    """What a task says."""

    answer: Any = Field(description="Label and probabilities, a number, or words, as the task is.")


class ExplainReply(Said):
    """Why an item for somebody."""

    explanation: dict[str, Any] = Field(description="Score, evidence, largest share first, and what would change it.")


def add_ask_routes(app: FastAPI, service: Service, calls: Calls) -> None:
    """Add the routes to `app`."""

    async def recommend(request: Request, body: RecommendRequest) -> Response:
        """The best of the catalogue for somebody.

        Give at least one of user, history, text and profile. Everything else has a default.
        """
        ask = body.ask(request.scope["request_id"])
        return send_list(request, "recommend", await calls.run("read", service.recommend, ask))

    async def rank(request: Request, body: RankRequest) -> Response:
        """Given items in order, best first."""
        ask = body.ask(request.scope["request_id"])
        return send_list(request, "rank", await calls.run("read", service.rank, ask))

    async def predict(request: Request, body: PredictRequest) -> Response:
        """What tasks say of pairs of a user and an item."""
        rows = [row.model_dump(exclude_none=True) for row in body.rows]
        frame = await calls.run("read", service.predict, rows, body.tasks)
        return send(request, {"rows": frame.to_dicts()})

    async def classify(request: Request, body: ClassifyRequest) -> Response:
        """What a task says of a text or of an item alone."""
        answer = await calls.run("read", service.classify, body.text, item=body.item, task=body.task)
        return send(request, {"answer": answer})

    async def similar(request: Request, body: SimilarRequest) -> Response:
        """Items like one item."""
        request_id = request.scope["request_id"]
        return send_list(request, "similar", await calls.run("read", service.similar, body.item, body.k, body.where, request_id=request_id))

    async def search(request: Request, body: SearchRequest) -> Response:
        """Items by words, for nobody in particular."""
        request_id = request.scope["request_id"]
        found = await calls.run("read", service.search, body.text, body.k, body.where, body.scenario, request_id=request_id)
        return send_list(request, "search", found)

    async def explain(request: Request, body: ExplainRequest) -> Response:
        """Why an item for somebody, with the evidence."""
        found = await calls.run(
            "read",
            service.explain,
            body.user,
            body.item,
            body.scenario,
            history=body.history,
            text=body.text,
            profile=body.profile,
            language=body.language,
            reason_by=body.reason_by,
        )
        said = {one.name: getattr(found, one.name) for one in fields(found) if one.name not in Said.model_fields}
        return send(request, {"explanation": said})

    replies: dict[Any, type[BaseModel]] = {
        recommend: ListReply,
        rank: ListReply,
        predict: PredictReply,
        classify: ClassifyReply,
        similar: ListReply,
        search: ListReply,
        explain: ExplainReply,
    }
    for function, reply in replies.items():
        route(app, "POST", f"/v1/{function.__name__}", function, role="read", tag=TAG, reply=reply, also=(404, 409))
