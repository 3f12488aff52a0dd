"""Who may touch the engine when: many readers at once, or one writer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, local
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class EngineTurns:
    """Readers share, a writer is alone; a writer that waits goes before readers that come later. A thread that has a turn has it for what it calls."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._held = local()  # .depth: turns within turns of this thread
        self._readers = self._waiting = 0
        self._writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The block runs beside other readers, never beside a writer."""
        if getattr(self._held, "depth", 0):
            yield
            return
        with self._changed:
            while self._writing or self._waiting:
                self._changed.wait()
            self._readers += 1
        self._held.depth = 1
        try:
            yield
        finally:
            self._held.depth = 0
            with self._changed:
                self._readers -= 1
                if not self._readers:
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The block runs alone. Not to be asked for by a reader, who would wait for itself."""
        if getattr(self._held, "depth", 0) > 1:
            yield
            return
        with self._changed:
            self._waiting += 1
            try:
                while self._writing or self._readers:
                    self._changed.wait()
            finally:
                self._waiting -= 1
            self._writing = True
        self._held.depth = 2
        try:
            yield
        finally:
            self._held.depth = 0
            with self._changed:
                self._writing = False
                self._changed.notify_all()


class _HasTurns(Protocol):
    turns: EngineTurns


S = TypeVar("S", bound=_HasTurns)


def reading(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that runs beside other readers."""

    @functools.wraps(method)
    def taken(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.turns.reading():
            return method(self, *args, **kwargs)

    return taken


def writing(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that runs alone."""

    @functools.wraps(method)
    def taken(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.turns.writing():
            return method(self, *args, **kwargs)

    return taken
