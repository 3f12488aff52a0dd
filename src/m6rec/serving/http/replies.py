"""What goes out: models for the OpenAPI document, and the one way in which a reply is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.asked import Reply
from m6rec.serving.http.problems import took_ms

WRITE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Said(BaseModel):
    """What every reply says of itself."""

    model_version: str = Field(description="Version of the model that answered.", examples=["shop-1a2b3c4d"])
    request_id: str = Field(description="X-Request-ID of the request, or a new one.")
    took_ms: float = Field(description="Milliseconds from arrival to this reply.")
    cache: Literal["hit", "miss", "off"] = Field(description="Whether states of this person were at hand.")


class ReasonOut(BaseModel):
    """Evidence for an answer."""

    kind: str = Field(description="event, field, prior or typed.")
    what: str = Field(description="Item id of the history, name=value, name of the prior, the word.")
    title: str = Field(description="The same for people.")
    share: float = Field(description="Of what lifts the score, 0 to 1.")


class Answer(BaseModel):
    """One answer."""

    item_id: str = Field(description="Id of the item, or value of the field asked for by `of`.")
    score: float = Field(description="What the list is ordered by, before rules and slate.")
    title: str = Field(description="Title of the item.")
    parts: dict[str, float] = Field(description="What the score is made of, shares.")
    labels: dict[str, Any] = Field(description="Fields and tasks asked for by `include`.")
    propensity: float = Field(description="Probability with which it came to stand here; 1 where nothing was left to chance.")
    reasons: list[ReasonOut] = Field(description='Evidence, largest share first; empty without "reasons" in `include`.')
    reason: str = Field(description="The reason in words; empty without `language`.")


class ListReply(Said):
    """A list, best first."""

    answers: list[Answer] = Field(description="Best first.")
    degraded: str = Field(description='What was saved to keep the time: "", "fewer candidates", "earlier layers" or "index only".')
    experiment: str | None = Field(description="The experiment this answer belongs to.")
    variant: str | None = Field(description="The arm of it.")
    left_out: dict[str, int] = Field(description="Rule -> how many candidates it took out.")
    notes: list[str] = Field(description="What else should be known.")


def send_list(request: Request, kind: str, reply: Reply) -> Response:
    """The reply to an ask, counted."""
    answers = []
    for place, answer in enumerate(reply.answers):
        answers.append(
            {
                "item_id": answer.item_id,
                "score": answer.score,
                "title": answer.title,
                "parts": answer.parts,
                "labels": answer.labels,
                "propensity": reply.propensities[place] if place < len(reply.propensities) else 1.0,
                "reasons": reply.reasons[place] if place < len(reply.reasons) else (),
                "reason": reply.words[place] if place < len(reply.words) else "",
            }
        )
    request.app.state.metrics.answer(kind, reply.cache, reply.degraded)
    values = {
        "answers": answers,
        "degraded": reply.degraded,
        "experiment": reply.experiment,
        "variant": reply.variant,
        "left_out": reply.left_out,
        "notes": reply.notes,
    }
    return _written(request, values, reply.model_version, reply.cache)


def send(request: Request, values: Mapping[str, Any], status: int = 200) -> Response:
    """Any other reply."""
    return _written(request, values, active_version(request), "off", status)


def active_version(request: Request) -> str:
    """Version of the model that answers now."""
    return str(request.app.state.service.loaded.active.version)


def _written(request: Request, values: Mapping[str, Any], version: str, cache: str, status: int = 200) -> Response:
    said = {"model_version": version, "request_id": request.scope["request_id"], "took_ms": took_ms(request), "cache": cache}
    return json_bytes({**values, **said}, status)


def json_bytes(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON as it is; NaN and infinity become null."""
    return Response(orjson.dumps(value, option=WRITE), status, headers=dict(headers or {}), media_type="application/json")
