"""Who a key belongs to, remembered for a moment, so that a request need not ask the database.

The store keeps keys hashed; here they stand under their SHA-256, never as they came.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from m6rec.base.errors import StorageError
from m6rec.serving.http.calls import Calls
from m6rec.serving.store.records import Key

if TYPE_CHECKING:
    from m6rec.serving.store.store import Store

FRESH_SECONDS = 2.0  # a dropped key works no longer than this
STALE_SECONDS = 600.0  # how long a key that was good goes on being good while the store is away
MOST = 10_000


def may(holder: Key | None, role: str) -> bool:
    """Whether a key may do what a route of this role does: admin may everything, reading and writing are apart.

    None is whoever asks where no key is needed, who may everything.
    """
    return holder is None or role in holder.roles or "admin" in holder.roles


class KeyRing:
    """Keys as the store has them, at most two seconds late."""

    def __init__(self, store: Store, calls: Calls, clock: Callable[[], float] = time.monotonic) -> None:
        self.store, self.calls, self.clock = store, calls, clock
        self._known: OrderedDict[bytes, tuple[Key | None, float]] = OrderedDict()  # digest -> holder, when asked
        self._any: tuple[bool, float] | None = None

    def remembered(self, secret: str) -> Key | None:
        """The holder where it was asked for a moment ago."""
        found = self._known.get(_digest(secret))
        return found[0] if found is not None and self.clock() - found[1] <= FRESH_SECONDS else None

    async def who(self, secret: str) -> Key | None:
        """Whose key this is; None for nobody's. Raises StorageError when the store is away and the key was not used before."""
        digest, now = _digest(secret), self.clock()
        found = self._known.get(digest)
        if found is not None and now - found[1] <= FRESH_SECONDS:
            return found[0]
        try:
            holder = await self.calls.run("admin", self.store.find_key, secret)
        except StorageError:
            if found is not None and found[0] is not None and now - found[1] <= STALE_SECONDS:
                return found[0]
            raise
        self._known[digest] = (holder, now)
        self._known.move_to_end(digest)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return holder

    async def any_key(self) -> bool:
        """Whether there is a key at all. Raises StorageError when the store is away and this was never known."""
        now = self.clock()
        if self._any is not None and now - self._any[1] <= FRESH_SECONDS:
            return self._any[0]
        try:
            self._any = (bool(list(await self.calls.run("admin", self.store.keys))), now)
        except StorageError:
            if self._any is None:
                raise
        return self._any[0]

    def forget(self) -> None:
        """Ask the store again: after keys were added or dropped here."""
        self._known.clear()
        self._any = None


def _digest(secret: str) -> bytes:
    # A dictionary is searched by this digest, which nobody can aim at: how long it takes says nothing of a secret.
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
