"""Routes about the service itself: health (no key), info and metrics (role: read)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.http.calls import Calls
from m6rec.serving.http.guarded_route import NOBODY, route
from m6rec.serving.http.metrics import HttpMetrics
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.replies import Said, json_bytes, send

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

TAG = "state"


class Health(BaseModel):
    """State of a worker."""

    status: Literal["ok"] = Field(description="ok; anything else is a problem with status 503.")


class InfoReply(Said):
    """Versions, sizes, freshness."""

    info: dict[str, Any] = Field(description="What the service knows of itself.")


def add_state_routes(app: FastAPI, service: Service, calls: Calls, metrics: HttpMetrics) -> None:
    """Add the routes to `app`."""

    async def live(request: Request) -> Response:
        """Whether the process answers at all; if not, start it again."""
        if not service.alive():
            raise Refused(503, "the worker can't answer any more; start it again")
        return json_bytes({"status": "ok"})

    async def ready(request: Request) -> Response:
        """Whether requests should be sent here."""
        good, why = service.ready()
        if not good:
            raise Refused(503, why, {"Retry-After": "1"})
        return json_bytes({"status": "ok"})

    async def info(request: Request) -> Response:
        """Versions, sizes, freshness."""
        return send(request, {"info": await calls.run("read", service.info)})

    async def prometheus(request: Request) -> Response:
        """Counters for Prometheus, as text."""
        page = await calls.run("admin", metrics.page)
        return Response(page, media_type=metrics.content_type)

    route(app, "GET", "/health/live", live, role=NOBODY, tag=TAG, reply=Health)
    route(app, "GET", "/health/ready", ready, role=NOBODY, tag=TAG, reply=Health)
    route(app, "GET", "/info", info, role="read", tag=TAG, reply=InfoReply)
    route(app, "GET", "/metrics", prometheus, role="read", tag=TAG, media_type="text/plain")
