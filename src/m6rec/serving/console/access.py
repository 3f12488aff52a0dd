"""Who may open the console and do what: a key entered once becomes a signed cookie; every form carries a token of that cookie.

The cookie holds the key's name and id, never the key. It is signed with the store's secret, which every worker has; whether the key still exists
is looked up at each request, so a revoked key is out at once, and a new key of an old name is another key.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from m6rec.serving.http.config import is_loopback

if TYPE_CHECKING:
    from m6rec.serving.store.records import Key
    from m6rec.serving.store.store import Store

COOKIE = "m6rec_session"
PURPOSE = "console"  # of what is signed
HOURS = 12
ROLES = ("read", "write", "admin")


@dataclass(frozen=True)
class Session:
    """One browser. key, id: of the key that was entered, "" for none.  nonce: drawn when the session began.  roles: what the key may now."""

    key: str
    id: str
    nonce: str
    expires: float
    roles: tuple[str, ...] = ()
    fresh: bool = False

    def may(self, role: str) -> bool:
        """Whether this session may do what `role` may: admin may everything, reading and writing are apart, as over HTTP."""
        return role in self.roles or "admin" in self.roles


class Access:
    """Sessions of one service. Methods block on the store for a moment, raise StorageError where it is away, and nothing for what a browser sent."""

    def __init__(self, store: Store, host: str) -> None:
        self.store = store
        self.loopback = is_loopback(host)

    def session(self, cookie: str, *, through_proxy: bool = False) -> Session:
        """The session of a cookie; a new one without rights where the cookie is missing, forged, too old or of a revoked key.

        Where no key exists and only this machine can connect, everybody on it may do everything; what a proxy carries comes from elsewhere.
        """
        held = self._opened(cookie) or _new()
        keys = self.store.keys()
        if not keys and self.loopback and not through_proxy:
            return replace(held, key="", id="", roles=("admin",))
        key = next((one for one in keys if one.id == held.id), None)
        return replace(held, key="", id="", roles=()) if key is None else replace(held, roles=tuple(key.roles))

    def of_key(self, key: Key) -> Session:
        """A new session of whoever has shown this key."""
        return replace(_new(), key=key.name, id=key.id, roles=tuple(key.roles))

    def cookie(self, session: Session) -> str:
        """What the browser keeps."""
        body = base64.urlsafe_b64encode(json.dumps([session.key, session.id, session.nonce, session.expires]).encode()).decode().rstrip("=")
        return f"{body}.{self._signed(body)}"

    def token(self, session: Session) -> str:
        """What every form of this session carries."""
        return self._signed(f"form {session.nonce}")

    def holds(self, session: Session, token: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(self.token(session).encode(), token.encode("utf-8", "replace"))

    def _opened(self, cookie: str) -> Session | None:
        body, _, signature = cookie.partition(".")
        if not hmac.compare_digest(self._signed(body).encode(), signature.encode("utf-8", "replace")):
            return None
        key, id, nonce, expires = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return Session(key, id, nonce, expires) if expires > time.time() else None

    def _signed(self, text: str) -> str:
        return self.store.secret.keyed(PURPOSE, text)


def _new() -> Session:
    return Session("", "", secrets.token_urlsafe(16), time.time() + HOURS * 3600, fresh=True)
