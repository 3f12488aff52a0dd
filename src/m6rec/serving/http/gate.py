"""What every request passes: its id, its host, the size and pace of its body, headers of the reply, one line of log, the counters."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m6rec.serving.http.config import HttpConfig, is_loopback
from m6rec.serving.http.logs import AccessLog
from m6rec.serving.http.metrics import HttpMetrics
from m6rec.serving.http.problems import Refused, problem

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
CLOSE = {"Connection": "close"}
MOST_HOSTS = 100  # Host headers whose answer is kept
NO_CONTENT_POLICY = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Written where the reply does not say otherwise (the pages of the console and of /docs do).
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", NO_CONTENT_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
TRANSPORT_SECURITY = (b"strict-transport-security", b"max-age=31536000")


class Gate:
    """Outermost layer of the application (ASGI)."""

    def __init__(self, app: ASGIApp, http: HttpConfig, metrics: HttpMetrics, log: AccessLog) -> None:
        self.app, self.http, self.metrics, self.log = app, http, metrics, log
        self.most = int(http.max_body_mb * 1024 * 1024)
        self._hosts: dict[str, bool] = {}
        self.headers = (*SECURITY_HEADERS, TRANSPORT_SECURITY) if http.tls_certificate else SECURITY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["began"] = began = time.perf_counter()
        host, length, request_id = _headers(scope["headers"])
        scope["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _completed(message.get("headers", ()), self.headers, request_id)
            await send(message)

        try:
            refused = self._refused(host, length)
            if refused is not None:
                request = Request(scope)
                await problem(request, refused.status_code, refused.detail, refused.headers)(scope, receive, answer)
            else:
                await self.app(scope, self._bounded(receive, began), answer)
        finally:
            # 0: an error on its way to the outermost handler, which answers 500.
            seconds = time.perf_counter() - began
            route = _route(scope)
            self.metrics.request(scope["method"], route, status or 500, seconds)
            self.log.request(scope, route, status or 500, seconds)

    def _refused(self, host: str, length: int | None) -> Refused | None:
        trusted = self._hosts.get(host)
        if trusted is None:
            trusted = trusted_host(host, self.http)
            if len(self._hosts) < MOST_HOSTS:
                self._hosts[host] = trusted
        if not trusted:
            return Refused(400, "the Host header names no host of this service; see http.trusted_hosts", CLOSE)
        if length is not None and length > self.most:
            return self._too_large()
        return None

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self.http.max_body_mb:g} MB; send it in parts", CLOSE)

    def _bounded(self, receive: Receive, began: float) -> Receive:
        """`receive` that counts what comes, whatever the length that was announced, and waits no longer than allowed."""
        received, whole = 0, False
        loop = asyncio.get_running_loop()
        until = loop.time() + self.http.body_seconds

        async def bounded() -> Message:
            nonlocal received, whole
            if whole:
                return await receive()  # waits for the client to go: no haste
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise Refused(408, f"the body did not arrive within {self.http.body_seconds:g} s", CLOSE) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if received > self.most:
                    raise self._too_large()
            return message

        return bounded


def trusted_host(host: str, http: HttpConfig) -> bool:
    """Whether a Host header (its port set aside) names this service. Protects a service on loopback from pages of other sites."""
    name = host.rsplit("]", 1)[0] + "]" if host.startswith("[") else host.partition(":")[0]
    name = name.lower().rstrip(".")
    if is_loopback(name) or name in (http.host.lower(), f"[{http.host.lower()}]"):
        return True
    return any(
        pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        for pattern in map(str.lower, http.trusted_hosts)
    )


def _headers(headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, int | None, str]:
    """Host, announced length (-1 bytes are none), and the request's id: the caller's where it is one, else a new one."""
    host, length, request_id = "", None, ""
    for name, value in headers:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            request_id = value.decode()
    return host, length, request_id or uuid.uuid4().hex


def _completed(headers: Any, defaults: tuple[tuple[bytes, bytes], ...], request_id: str) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name.lower() for name, _ in given}
    return [*given, (b"x-request-id", request_id.encode()), *(pair for pair in defaults if pair[0] not in names)]


def _route(scope: Scope) -> str:
    """The template of the route, never the path: that holds ids of people."""
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    # root_path: where an application is mounted that the route belongs to (the console).
    return f"{scope.get('root_path', '')}{path}" if isinstance(path, str) and path else "-"
