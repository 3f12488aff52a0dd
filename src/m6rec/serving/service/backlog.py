"""Work that is done beside the answers: what waits, oldest first, and the one thread that does it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

PAUSE = 1.0  # seconds between two attempts at what could not be done


class Backlog(Generic[T]):
    """Things on their way to a thread that starts when the first of them comes.

    do: takes up to `at_once` of them; False: it could not be done now, they stay where they were and are tried again.
    gather: seconds that a lot may wait for company.  most: what may wait; beyond it the oldest are lost.
    lost: how many did not fit, or were left when it was closed.
    """

    def __init__(self, name: str, do: Callable[[list[T]], bool], *, at_once: int = 1, gather: float = 0.0, most: int | None = None) -> None:
        self.name, self.do, self.at_once, self.gather, self.most = name, do, at_once, gather, most
        self.lost = 0
        self._things: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """Things that wait."""
        return len(self._things)

    def add(self, things: Iterable[T]) -> None:
        """Hand things over; returns at once."""
        with self._changed:
            self._things.extend(things)
            while self.most is not None and len(self._things) > self.most:
                self._things.popleft()
                self.lost += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._go_on, name=self.name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, seconds: float, *, finish: bool = True) -> None:
        """Stop. finish: what waits is done first, as far as that goes at once; else it is left."""
        with self._changed:
            self._closing = True
            if not finish:
                self._things.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=seconds)

    def _go_on(self) -> None:
        while lot := self._next():
            if self.do(lot):
                continue
            with self._changed:
                if self._closing:
                    self.lost += len(lot) + len(self._things)
                    self._things.clear()
                    return
                self._things.extendleft(reversed(lot))
                self._changed.wait_for(lambda: self._closing, timeout=PAUSE)

    def _next(self) -> list[T]:
        """The next lot; [] when it is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._things or self._closing)
            if self._things and self.gather and not self._closing:
                self._changed.wait_for(lambda: self._closing or len(self._things) >= self.at_once, timeout=self.gather)
            return [self._things.popleft() for _ in range(min(len(self._things), self.at_once))]
