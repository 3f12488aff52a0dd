"""Who may come in: keys, roles, how often. Asked before the body of a request is read."""

from __future__ import annotations

import math
from urllib.parse import urlsplit

from starlette.requests import Request

from m6rec.serving.http.config import HttpConfig
from m6rec.serving.http.keyring import KeyRing, may
from m6rec.serving.http.problems import Refused
from m6rec.serving.http.token_bucket import TokenBuckets
from m6rec.serving.store.records import Key

MOST_SECRET = 512  # characters; longer ones are nobody's


class Doorkeeper:
    """Lets requests in by key and role. Where no key exists, everybody of this machine is let in, and nobody else."""

    def __init__(self, keyring: KeyRing, http: HttpConfig) -> None:
        self.keyring, self.http = keyring, http
        # Every worker counts for itself: of what all together may let in, each lets in its share.
        self.senders = TokenBuckets(http.rate / http.workers, http.burst / http.workers)
        self.strangers = TokenBuckets(http.address_rate / http.workers, max(10.0, 2 * http.address_rate / http.workers))

    async def admit(self, request: Request, role: str) -> Key | None:
        """Whose key asks, None where no key is needed. Raises Refused: 401, 403 or 429."""
        address = request.client.host if request.client else ""
        secret = presented(request)
        holder = await self.known(secret, address) if secret else None
        if holder is None:
            if not await self.is_open():
                if not secret:
                    self._slow_down(self.strangers, address)
                raise _unknown(secret)
            _local(request)
        elif not may(holder, role):
            roles = ", ".join(sorted(holder.roles))
            raise Refused(403, f"this key may {roles}; this route takes one that may {role}")
        self._slow_down(self.senders, address if holder is None else f"key {holder.name}")
        return holder

    async def known(self, secret: str, address: str) -> Key | None:
        """Whose key this is. Raises Refused (429) for an address that tries many."""
        if len(secret) > MOST_SECRET:
            return None
        holder = self.keyring.remembered(secret)
        if holder is None and await self.keyring.any_key():
            self._slow_down(self.strangers, address)
            holder = await self.keyring.who(secret)
        return holder

    async def is_open(self) -> bool:
        """Whether requests need no key: none exists, and only this machine can connect."""
        return self.http.loopback and not await self.keyring.any_key()

    def _slow_down(self, buckets: TokenBuckets, sender: str) -> None:
        wait = buckets.take(sender)
        if wait > 0:
            raise Refused(429, f"too many requests; {buckets.rate:g} a second are allowed", {"Retry-After": str(math.ceil(wait))})


def presented(request: Request) -> str:
    """The key a request brings, by `Authorization: Bearer` or `X-API-Key`; empty for none."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.headers.get("x-api-key", "").strip()


def _unknown(secret: str) -> Refused:
    said = "this key is unknown" if secret else "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
    return Refused(401, f"{said}; `m6rec keys add RUN NAME --role read` makes one", {"WWW-Authenticate": 'Bearer realm="m6rec"'})


def _local(request: Request) -> None:
    """Raises Refused for what comes without a key through a proxy or from a page of another site: this machine only carries it."""
    headers = request.headers
    if "x-forwarded-for" in headers or "forwarded" in headers:
        raise _unknown("")
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") == "cross-site" or (origin is not None and urlsplit(origin).netloc != headers.get("host")):
        raise Refused(403, "a page of another site asks; without keys only this machine's own programs and pages may")
