"""States of people that need not be read again: those answered a moment ago, and those packed with the model.

A state is found by what it was made of (who, which events, when, what, where), so a new event, a changed order or another profile
is another key and nothing has to be told to forget. Weights and item vectors are not in the key: the cache is cleared when they change,
and packed states name the weights they were made by.

Dimension keys: B requests, P packed people, W width.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Histories, Requests

MOST_STATES = 100_000  # a state of width 64 takes about half a kilobyte with its key
DIGEST = 16  # bytes of a key
NOBODY = bytes(DIGEST)  # the key of nobody
Kept = TypeVar("Kept")


class StateCache:
    """The newest `size` states by request, the longest unused dropped first; safe to use from several threads."""

    def __init__(self, size: int = MOST_STATES) -> None:
        self.size = size
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, key: bytes) -> bool:
        return key in self._states

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


class BytesCache(Generic[Kept]):
    """Things by key, at most `size` bytes of them together, the longest unused dropped first; safe to use from several threads."""

    def __init__(self, size: int) -> None:
        self.size, self.bytes, self.hits, self.misses = size, 0, 0, 0
        self._kept: OrderedDict[bytes, tuple[Kept, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> Kept | None:
        """What is kept under `key`; counted as a hit or a miss."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            self._kept.move_to_end(key)
            return found[0]

    def find(self, key: bytes | None) -> Kept | None:
        """As `get`, without counting."""
        with self._lock:
            found = None if key is None else self._kept.get(key)
            return None if found is None else found[0]

    def put(self, key: bytes, value: Kept, size: int) -> None:
        """Keep `value` of `size` bytes."""
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self.bytes -= old[1]
            self._kept[key] = (value, size)
            self.bytes += size
            while self.bytes > self.size and self._kept:
                self.bytes -= self._kept.popitem(last=False)[1][1]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def report(self) -> dict[str, float]:
        """hits, misses, entries, megabytes."""
        with self._lock:
            return {"hits": self.hits, "misses": self.misses, "entries": len(self._kept), "megabytes": round(self.bytes / 1e6, 3)}


@dataclass(frozen=True)
class PackedStates:
    """States computed when the model was packed: `users` int64 (P,) ascending, `digests` uint8 (P, 16) their keys, `states` float32 (P, W).

    The arrays may lie in a mapped file: only the rows that are asked for are read.
    """

    users: np.ndarray
    digests: np.ndarray
    states: Tensor

    def find(self, users: np.ndarray, keys: Sequence[bytes | None]) -> np.ndarray:
        """int64 (B,): the place of each request's state, -1 where the person is not packed or has changed since; users int64 (B,)."""
        if not len(self.users):
            return np.full(len(users), -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.users, users), len(self.users) - 1)
        keyed = np.frombuffer(b"".join(NOBODY if key is None else key for key in keys), dtype=np.uint8).reshape(-1, DIGEST)
        same = (self.digests[places] == keyed).all(axis=1)
        same &= self.users[places] == users
        return np.where(same, places, -1)

    def tensors(self) -> dict[str, Tensor]:
        """What is written into the model folder."""
        return {"users": torch.from_numpy(self.users), "digests": torch.from_numpy(self.digests), "states": self.states}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], width: int) -> PackedStates | None:
        """What `tensors` gave; None where it is something else."""
        users, digests, states = (tensors.get(name) for name in ("users", "digests", "states"))
        if users is None or digests is None or states is None or users.ndim != 1:
            return None
        fits = digests.shape == (len(users), DIGEST) and states.shape == (len(users), width)
        typed = (users.dtype, digests.dtype, states.dtype) == (torch.int64, torch.uint8, torch.float32)
        return cls(users.numpy(), digests.numpy(), states) if fits and typed else None


def keys_of(requests: Requests, read: Histories) -> list[bytes | None]:
    """(B,): the key of each request; None for typed words and described profiles, which seldom come twice.

    read: the part of the histories that the model reads.
    """
    users = np.full(len(requests), -1, dtype=np.int64) if requests.users is None else requests.users.astype(np.int64, copy=False)
    columns = [(name.encode(), getattr(read, name)) for name in Histories.EVENT_COLUMNS]
    columns = [(name, None if values is None else np.ascontiguousarray(values)) for name, values in columns]
    offsets = read.offsets.tolist()
    result: list[bytes | None] = []
    for row in range(len(requests)):
        if (requests.texts and requests.texts[row]) or (requests.profiles and requests.profiles[row]):
            result.append(None)
            continue
        digest = hashlib.blake2b(users[row].tobytes(), digest_size=DIGEST)
        begin, end = offsets[row], offsets[row + 1]
        for name, values in columns:
            digest.update(name if values is None else values[begin:end].tobytes())
        result.append(digest.digest())
    return result
