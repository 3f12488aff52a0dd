"""Discovery of plug-ins: built-ins and a user's own classes are found the same two ways.

1. every module of the owning room's package is imported once and decorates its class with `registry.register`;
2. installed packages name theirs under the entry-point group `m6rec.<kind>`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from m6rec.base.errors import ConfigError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Named classes of one kind. `kind` is the singular noun shown in messages, `package` the room that holds the built-ins."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._known: dict[str, type[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator. Raises ConfigError when another class already has `name`."""

        def add(cls: type[T]) -> type[T]:
            other = self._known.get(name)
            if other is not None and other.__qualname__ != cls.__qualname__:
                raise ConfigError(f"{self.kind} '{name}' is registered twice: {other.__module__} and {cls.__module__}")
            self._known[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        self._load()
        return sorted(self._known)

    def get(self, name: str) -> type[T]:
        """The class called `name`. Raises ConfigError naming the nearest known one."""
        self._load()
        try:
            return self._known[name]
        except KeyError:
            hint = nearest(name, list(self._known)) or f"; known: {', '.join(sorted(self._known))}"
            raise ConfigError(f"unknown {self.kind} '{name}'{hint}") from None

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for entry in importlib.metadata.entry_points(group=f"m6rec.{self.kind.replace(' ', '_')}"):
            self._known.setdefault(entry.name, entry.load())
