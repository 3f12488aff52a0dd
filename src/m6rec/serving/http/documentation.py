"""The OpenAPI document and a page made of it that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response

from m6rec.serving.http.config import HttpConfig
from m6rec.serving.http.guarded_route import NOBODY
from m6rec.serving.http.problems import TITLES, Problem

# Every route may answer these; with a body 413 and 415 too, with a key 401 and 403.
ALWAYS = (400, 408, 422, 429, 503)
WITH_BODY = (413, 415)
WITH_KEY = (401, 403)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "code,pre{font:14px/1.45 ui-monospace,monospace}pre{overflow-x:auto;padding:.75rem;border:1px solid #8886;border-radius:.4rem}"
    "h3{margin:2rem 0 .2rem}.role{font-size:.85em;opacity:.8}table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;"
    "vertical-align:top}"
)


def add_documentation(app: FastAPI, http: HttpConfig) -> None:
    """Complete the OpenAPI document of `app`, and serve it where the configuration says so."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    if not http.docs:
        return

    written: dict[str, bytes] = {}  # made once: nobody is asked for a key here

    async def openapi_json(request: Request) -> Response:
        if "json" not in written:
            written["json"] = orjson.dumps(document())
        return Response(written["json"], media_type="application/json")

    async def docs(request: Request) -> Response:
        digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
        if "page" not in written:
            written["page"] = page(document()).encode()
        return Response(written["page"], media_type="text/html", headers={"Content-Security-Policy": policy})

    app.add_route("/openapi.json", openapi_json, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with the problems every route may answer and the ways to bring a key."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            _complete(operation)
    return document


def _complete(operation: dict[str, Any]) -> None:
    role = operation["x-role"]
    statuses = [*ALWAYS, *operation.pop("x-also", [])]
    if "requestBody" in operation:
        statuses += WITH_BODY
    if role != NOBODY:
        statuses += WITH_KEY
        operation["security"] = [{"bearer": []}, {"key": []}]
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if "x-text" in operation:
        operation["responses"]["200"]["content"] = {operation.pop("x-text"): {"schema": {"type": "string"}}}
    if operation.pop("x-streams", False):
        operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    for status in sorted(set(statuses)):
        operation["responses"][str(status)] = {"description": TITLES[status], "content": content}


def page(document: dict[str, Any]) -> str:
    """Every route with its role, its parameters and the model of its body, as plain HTML."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>m6rec</title><style>{STYLE}</style>"
    ]
    parts.append(f"<h1>m6rec {html.escape(document['info']['version'])}</h1><p>{html.escape(document['info']['description'])}")
    parts.append('<p>The same for programs: <a href="/openapi.json">/openapi.json</a>')
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h3><code>{method.upper()} {html.escape(path)}</code></h3>")
            parts.append(
                f"<div>{html.escape(operation.get('summary', ''))} <span class=role>role: {html.escape(operation['x-role'])}</span></div>"
            )
            parts.append(_parameters(document, operation))
    return "".join(parts)


def _parameters(document: dict[str, Any], operation: dict[str, Any]) -> str:
    rows = [(one["name"], one["in"], one.get("description", "")) for one in operation.get("parameters", [])]
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    model = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
    rows += [(name, "body", about.get("description", "")) for name, about in model.get("properties", {}).items()]
    cells = "".join(f"<tr><td><code>{html.escape(n)}</code><td>{html.escape(w)}<td>{html.escape(d)}" for n, w, d in rows)
    examples = "".join(f"<pre>{html.escape(orjson.dumps(one).decode())}</pre>" for one in model.get("examples", [])[:1])
    return (f"<table>{cells}</table>" if rows else "") + examples
