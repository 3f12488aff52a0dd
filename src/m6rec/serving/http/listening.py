"""uvicorn as the service runs it: what of a connection comes before any request, bounded in time and size."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from m6rec.serving.http.config import HttpConfig
from m6rec.serving.http.logs import LOGGING

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n"


class BoundedConnection(HttpToolsProtocol):
    """A connection whose request line and headers arrive in time and are not endless; uvicorn itself waits and collects for ever."""

    head_seconds = 10.0
    most_head = 32 * 1024

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        carrier = transport.get_extra_info("socket")
        if carrier is not None and carrier.family != socket.AF_UNIX:
            # Head and body of a reply are two writes. asyncio sees to this only for sockets that were made with IPPROTO_TCP by name, which
            # those that workers share are not: every reply would wait 40 ms for an acknowledgement.
            carrier.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head_bytes = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(self.head_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:  # still, after this piece
            self._head_bytes += len(data)
            if self._head_bytes > self.most_head and not self.transport.is_closing():
                self.transport.write(TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes, self._in_head = 0, True
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0  # what follows is the head of the next request

    def _too_slow(self) -> None:
        self._timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def uvicorn_settings(http: HttpConfig, grace: float = 30.0) -> dict[str, Any]:
    """Arguments of `uvicorn.Config`. grace: seconds that requests under way get when the service stops."""
    bounds = {"head_seconds": http.head_seconds, "most_head": http.max_head_kb * 1024}
    return {
        "loop": "uvloop",
        "http": type("BoundedConnection", (BoundedConnection,), bounds),
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_config": LOGGING,
        "server_header": False,
        "timeout_keep_alive": http.idle_seconds,
        "timeout_graceful_shutdown": max(int(grace), 1),
        "proxy_headers": bool(http.trusted_proxies),
        "forwarded_allow_ips": http.trusted_proxies,
        "ssl_certfile": http.tls_certificate or None,
        "ssl_keyfile": http.tls_key or None,
    }
