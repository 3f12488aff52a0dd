"""States of people who were answered a moment ago: a history that has not changed is not read again.

A state is found by what it was made of (who, which events, when, what, where), so a new event, a changed order or another profile
is another key and nothing has to be told to forget. Weights and item vectors are not in the key: `clear` is called when they change.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock

import numpy as np
from torch import Tensor

from m6rec.base.contracts import Histories, Requests

MOST_STATES = 100_000  # a state of width 64 takes about half a kilobyte with its key


class StateCache:
    """The newest `size` states by request, the longest unused dropped first; safe to use from several threads."""

    def __init__(self, size: int = MOST_STATES) -> None:
        self.size = size
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: bytes) -> Tensor | None:
        """The state (W,) kept under `key`."""
        with self._lock:
            state = self._states.get(key)
            if state is not None:
                self._states.move_to_end(key)
            return state

    def put(self, key: bytes, state: Tensor) -> None:
        with self._lock:
            self._states[key] = state
            self._states.move_to_end(key)
            while len(self._states) > self.size:
                self._states.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._states.clear()


def key_of(requests: Requests, read: Histories) -> bytes | None:
    """The key of one known person's request; None for several people, typed words and described profiles, which seldom come twice.

    read: the part of the histories that the model reads.
    """
    if len(requests) != 1 or any(requests.texts or ()) or any(requests.profiles or ()):
        return None
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.int64(-1 if requests.users is None else requests.users[0]).tobytes())
    for name in Histories.EVENT_COLUMNS:
        column = getattr(read, name)
        digest.update(name.encode() if column is None else np.ascontiguousarray(column).tobytes())
    return digest.digest()
