"""A route that asks the doorkeeper first, and reads JSON strictly: no NaN, no infinity, nothing but UTF-8."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.store.deeds import acting

NOBODY = "none"  # the role of routes that need no key


class StrictRequest(Request):
    """A request whose JSON is read by orjson: faster than the standard library's reader, and without its NaN."""

    async def json(self) -> Any:
        return orjson.loads(await self.body())


class GuardedRoute(APIRoute):
    """Admission before anything of the body is read. The role stands in the OpenAPI document as `x-role`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        role = (self.openapi_extra or {}).get("x-role", "admin")

        async def guarded(request: Request) -> Response:
            if role == NOBODY:
                return await handle(StrictRequest(request.scope, request.receive))
            holder = request.scope["holder"] = await request.app.state.doorkeeper.admit(request, role)
            with acting("" if holder is None else holder.name):
                return await handle(StrictRequest(request.scope, request.receive))

        return guarded


def route(
    app: FastAPI,
    method: str,
    path: str,
    function: Callable[..., Coroutine[Any, Any, Response]],
    *,
    role: str,
    tag: str,
    reply: type[BaseModel] | Any = None,
    also: tuple[int, ...] = (),
    documented: bool = True,
    media_type: str = "",
    streams: bool = False,
) -> None:
    """Add a route. The first line of the function's docstring is its summary.

    role: read, write, admin or NOBODY.  reply: model of the body of 200.  also: statuses beside those that every route may answer.
    media_type: of a reply that is not JSON.  streams: whether the reply may also come as server-sent events.
    documented: False for another spelling of a path that is documented already.
    """
    text = (function.__doc__ or "").strip()
    summary, _, rest = text.partition("\n")
    app.add_api_route(
        path,
        function,
        methods=[method],
        response_model=reply,
        summary=summary.rstrip("."),
        description=" ".join(rest.split()) or None,
        tags=[tag],
        operation_id=function.__name__,
        include_in_schema=documented,
        openapi_extra={"x-role": role, "x-also": list(also)}
        | ({"x-text": media_type} if media_type else {})
        | ({"x-streams": True} if streams else {}),
    )
