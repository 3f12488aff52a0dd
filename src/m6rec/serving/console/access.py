"""Who may open the console and do what: a key entered once becomes a signed cookie; every form carries a token of that cookie.

The cookie holds the key's name, never the key. Its signature is made with a secret kept among the store's settings, so that every worker
knows it; whether the key still exists is looked up at each request, so a revoked key is out at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

COOKIE = "m6rec_session"
SECRET = "console.secret"
HOURS = 12
ROLES = ("read", "write", "admin")  # each may do what those before it may
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Session:
    """One browser. key: the name of its key, "" for none.  nonce: drawn when the session began.  role: the highest one, "" for nothing."""

    key: str
    nonce: str
    expires: float
    role: str = ""
    fresh: bool = False

    def may(self, role: str) -> bool:
        """Whether this session may do what `role` may."""
        return self.role in ROLES and ROLES.index(self.role) >= ROLES.index(role)


class Access:
    """Sessions of one service. Methods block on the store for a moment, raise M6RecError where it is away, and nothing for what a browser sent."""

    def __init__(self, store: Any, host: str) -> None:
        self.store = store
        self.loopback = host in LOOPBACK
        self._secret = ""

    def is_open(self) -> bool:
        """Whether no key is needed: none exists, and the service listens on loopback alone."""
        return self.loopback and not self.store.keys()

    def session(self, cookie: str) -> Session:
        """The session of a cookie; a new one without rights where the cookie is missing, forged, too old or of a revoked key."""
        held = self._opened(cookie) or _new("")
        if self.is_open():
            return replace(held, role="admin")
        key = next((one for one in self.store.keys() if one.name == held.key), None) if held.key else None
        return replace(held, role="" if key is None else highest(key.roles))

    def sign_in(self, secret: str) -> Session | None:
        """The session of whoever holds this key; None for a wrong one."""
        key = self.store.find_key(secret) if secret else None
        return None if key is None else replace(_new(key.name), role=highest(key.roles))

    def cookie(self, session: Session) -> str:
        """What the browser keeps."""
        body = base64.urlsafe_b64encode(json.dumps([session.key, session.nonce, session.expires]).encode()).decode().rstrip("=")
        return f"{body}.{self._signed(body)}"

    def token(self, session: Session) -> str:
        """What every form of this session carries."""
        return self._signed(f"form {session.nonce}")

    def holds(self, session: Session, token: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(self.token(session).encode(), token.encode())

    def _opened(self, cookie: str) -> Session | None:
        body, dot, signature = cookie.partition(".")
        if not dot:
            return None
        if not self._is_signed(body, signature):
            self._secret = ""  # two workers that started at once: what the store holds counts for both
            if not self._is_signed(body, signature):
                return None
        key, nonce, expires = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return Session(key, nonce, expires) if expires > time.time() else None

    def _is_signed(self, body: str, signature: str) -> bool:
        return hmac.compare_digest(self._signed(body).encode(), signature.encode())

    def _signed(self, text: str) -> str:
        if not self._secret:
            if not self.store.setting(SECRET):
                self.store.set_setting(SECRET, secrets.token_hex(32))
            self._secret = self.store.setting(SECRET)
        return hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def highest(roles: Iterable[str]) -> str:
    """The highest of a key's roles; "" where it has none that is known."""
    return max((role for role in roles if role in ROLES), key=ROLES.index, default="")


def _new(key: str) -> Session:
    return Session(key, secrets.token_urlsafe(16), time.time() + HOURS * 3600, fresh=True)
