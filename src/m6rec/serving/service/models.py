"""The models in memory: one answers, others stand beside it; which one answers changes between two requests, never within one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from m6rec.base.errors import UsageError, nearest
from m6rec.serving.service.loaded import LoadedModel, check_alike


class Models:
    """Versions in memory. A request holds the model that it began with; a dropped model leaves memory when its last request has ended."""

    def __init__(self, active: LoadedModel) -> None:
        self._lock = Lock()
        self._loaded = {active.version: active}
        self._active = active

    @property
    def active(self) -> LoadedModel:
        """The one that answers now."""
        return self._active

    @property
    def all(self) -> list[LoadedModel]:
        """In the order in which they were loaded."""
        with self._lock:
            return list(self._loaded.values())

    def find(self, version: str) -> LoadedModel | None:
        """The model of that version, None where it is not in memory."""
        return self._loaded.get(version)

    @contextmanager
    def use(self, version: str | None = None, *, lenient: bool = False) -> Iterator[LoadedModel]:
        """The model of one request, kept from changing until the block ends; None is the active one.

        lenient: a version that is not in memory (yet) is answered by the active one.

        Raises:
            UsageError: no such version in memory.
        """
        named = None if version is None else self._loaded.get(version) if lenient else self.named(version)
        model = self._active if named is None else named
        with self._lock:
            model.in_flight += 1
        try:
            with model.turns.reading():
                yield model
        finally:
            with self._lock:
                model.in_flight -= 1

    def named(self, version: str) -> LoadedModel:
        """Raises UsageError: no such version in memory."""
        found = self._loaded.get(version)
        if found is None:
            known = list(self._loaded)
            raise UsageError(f"no model '{version}' is loaded{nearest(version, known) or '; loaded: ' + ', '.join(known)}")
        return found

    def check(self, model: LoadedModel) -> None:
        """Raises CheckpointError: a model for other data than the one that answers."""
        check_alike(model.engine, self._active.engine)

    def add(self, model: LoadedModel) -> None:
        """Stand beside the others."""
        with self._lock:
            self._loaded[model.version] = model

    def switch(self, version: str) -> None:
        """Let `version` answer from the next request on. Raises UsageError: not in memory."""
        model = self.named(version)
        with self._lock:
            self._active = model

    def drop(self, version: str) -> None:
        """Out of memory, once its requests have ended. Raises UsageError: the one that answers, or none in memory."""
        model = self.named(version)
        with self._lock:
            if model is self._active:
                raise UsageError(f"'{version}' is the model that answers; switch to another one first, then drop it")
            del self._loaded[version]
