"""Every error as problem JSON (RFC 9457), one line each: the fact, the value received, what is allowed.

M6RecError's classes map to statuses here and nowhere else. What is no M6RecError is a defect of ours: 500, and not a word of it goes out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from m6rec.base.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    M6RecError,
    MissingExtraError,
    StorageError,
    UnknownItemError,
    UnknownUserError,
    UsageError,
    nearest,
)

# The first class that an error is an instance of decides.
STATUS: dict[type[M6RecError], int] = {
    UnknownUserError: 404,
    UnknownItemError: 404,
    StorageError: 503,
    CheckpointError: 409,
    MissingExtraError: 409,
    ConfigError: 422,
    DataError: 422,
    UsageError: 422,
    M6RecError: 400,
}
TITLES = {
    400: "Bad request",
    401: "Key missing or unknown",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request too slow",
    409: "Conflict",
    413: "Request too large",
    415: "Unsupported media type",
    421: "Unknown host",
    422: "Request not understood",
    429: "Too many requests",
    500: "Defect",
    503: "Not available",
}
RETRY_SECONDS = 1
ROUTES = {  # what an error tells a Python program to call -> what does the same over HTTP
    "; add it with add_items": "; add it with POST /v1/items",
    "; restore_items brings it back": "; POST /v1/items brings it back",
}
SHOWN = 80  # characters of a refused value that go back to its sender


class Problem(BaseModel):
    """What went wrong (RFC 9457, application/problem+json)."""

    type: str = Field(description="Kind of problem: urn:m6rec:problem:NAME.", examples=["urn:m6rec:problem:not-found"])
    title: str = Field(description="The kind in words.", examples=["Not found"])
    status: int = Field(description="HTTP status.", examples=[404])
    detail: str = Field(description="The fact, the value received, what is allowed.", examples=["there is no item 'i999'"])
    request_id: str = Field(description="Id of the request, also in the logs.")
    took_ms: float = Field(description="Time from arrival to this reply.")
    errors: list[dict[str, str]] = Field(default_factory=list, description="Each wrong place: JSON pointer and what is wrong there.")


class Refused(HTTPException):
    """A request that is not even looked at: no right, too large, too many, too slow."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))


def add_problem_handlers(app: FastAPI, hidden: Iterable[Path] = ()) -> None:
    """Make `app` answer every error as a problem.

    hidden: folders of this machine; where a message of ours names a place in one of them, only what lies below is told.
    """
    folders = sorted({str(form) for path in hidden for form in (path.parent, path.resolve().parent) if len(form.parts) > 1}, key=len)[::-1]

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, M6RecError)
        status = status_of(error)
        detail = " ".join(str(error).split())
        for method, address in ROUTES.items():
            detail = detail.replace(method, address)
        for folder in folders:
            detail = detail.replace(folder + "/", "")
        return problem(request, status, detail, {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else None)

    app.add_exception_handler(M6RecError, ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _defect)


def status_of(error: M6RecError) -> int:
    """The status that answers an error of ours. An error may bring its own `status` (409 for a key used twice, for example)."""
    own = getattr(error, "status", None)
    if isinstance(own, int) and own in TITLES:
        return own
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


def problem(
    request: Request,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> Response:
    """The reply for a problem."""
    title = TITLES.get(status, "Error")
    values: dict[str, Any] = {
        "type": f"urn:m6rec:problem:{title.lower().replace(' ', '-')}",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request.scope.get("request_id", ""),
        "took_ms": took_ms(request),
    }
    if errors:
        values["errors"] = errors
    # What could not be written as UTF-8 (half of a surrogate pair out of a URL) is replaced, so that the reply goes out.
    content = orjson.dumps(_printable(values))
    return Response(content, status, headers=dict(headers or {}), media_type="application/problem+json")


def took_ms(request: Request) -> float:
    """Milliseconds since the request arrived, to the microsecond."""
    began = request.scope.get("began")
    return 0.0 if began is None else round((time.perf_counter() - began) * 1000, 3)


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _printable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_printable(inner) for inner in value]
    return value


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = "there is no such route; see /docs or /openapi.json"
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", (error.headers or {}).get("allow", ""))
        detail = f"{request.method} is not offered here; allowed: {allowed}"
    return problem(request, error.status_code, detail, error.headers)


async def _defect(request: Request, error: Exception) -> Response:
    # Sent from outside the gate, which writes these headers for every other reply.
    headers = {"X-Request-ID": request.scope.get("request_id", ""), "Cache-Control": "no-store", "Connection": "close"}
    return problem(request, 500, "a defect of the service; its log tells more under this request_id", headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = list(error.errors())
    if any(one["type"] == "json_invalid" for one in found):
        return problem(request, 400, f"the body is no JSON: {found[0].get('ctx', {}).get('error', 'wrong syntax')}")
    if found and found[0]["loc"] == ("body",) and isinstance(found[0].get("input"), bytes):
        return problem(request, 415, "a body is sent as Content-Type: application/json")
    # An unknown key explains the most: a misspelt key also makes the right one "missing".
    found.sort(key=lambda one: one["type"] != "extra_forbidden")
    errors = [{"pointer": _pointer(one["loc"]), "detail": _one_line(request, one)} for one in found[:20]]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return problem(request, 422, errors[0]["detail"] + more, errors=errors)


def _pointer(place: tuple[int | str, ...]) -> str:
    return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in place)


def _one_line(request: Request, one: Mapping[str, Any]) -> str:
    place = [part for part in one["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    where, path = str(place[0]), place[1:]
    name = ".".join(str(part) for part in path) or f"the {where}"
    if one["type"] == "missing":
        return f"'{name}' is required" if path else "a JSON body is required"
    if one["type"] == "extra_forbidden":
        known = _fields_at(_model_of(request, where), path[:-1])
        if "fields" in known:  # a row of items or users, most likely written flat
            return (
                f"unknown key '{name}'; known keys: {', '.join(known)}; a field of the {known[-1].removesuffix('_id')} goes under 'fields'"
            )
        hint = nearest(str(path[-1]), known) or (f"; known keys: {', '.join(known)}" if known else "")
        return f"unknown key '{name}'{hint}"
    if one["type"] == "string_pattern_mismatch":
        wrong = (
            "a header takes letters, digits and signs of ASCII, no spaces" if where == "header" else "control characters are not allowed"
        )
        return f"'{name}' is {_short(one.get('input'))}: {wrong}"
    message = str(one["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    quoted = f"'{name}'" if path else name
    return f"{quoted} is {_short(one.get('input'))}: {message[:1].lower()}{message[1:]}"


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    shown = repr(value)
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 3] + "..."


def _model_of(request: Request, where: str) -> Any:
    """The annotation that a body or a query is read by, of the route that was asked."""
    route = request.scope.get("route")
    body = getattr(route, "body_field", None)
    if where == "body" and body is not None:
        return body.field_info.annotation
    queries = getattr(getattr(route, "dependant", None), "query_params", [])
    return queries[0].field_info.annotation if len(queries) == 1 else None


def _fields_at(annotation: Any, path: list[int | str]) -> list[str]:
    """Names of the fields of the model that `path` leads to inside an annotation."""
    models = _models_in(annotation)
    for part in path:
        inner = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        if inner:
            models = [found for one in inner for found in _models_in(one)]
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
