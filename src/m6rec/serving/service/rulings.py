"""The rule book of each model, made anew when its catalogue or the block list changes."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import numpy as np

from m6rec.base.errors import ConfigError
from m6rec.data.dataset import Table
from m6rec.serving.rules.config import RulesConfig
from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.serving.rules.filters import Blocked, RuleBook
from m6rec.serving.service.loaded import LoadedModel, first_error

if TYPE_CHECKING:
    from m6rec.serving.store.store import Store


class Rulings:
    """Rule books by model version.

    problem: why what moderation blocked could not be kept to in full, "" where it is.
    """

    def __init__(self, config: RulesConfig, store: Store) -> None:
        self.config, self.store = config, store
        self.problem = ""
        self._blocked: Blocked | None = None
        self._books: dict[str, tuple[Table, Blocked, RuleBook]] = {}
        self._lock = threading.Lock()

    def changed(self) -> None:
        """Something was blocked or unblocked."""
        self._blocked = None

    def check(self, blocked: Blocked, model: LoadedModel) -> None:
        """Raises ConfigError: with this block list there is no rule book."""
        RuleBook.build(self.config, blocked, CatalogueFacts(model.engine.items))

    def blocked(self) -> Blocked:
        """What moderation blocked. Raises StorageError where it was never read and the store is away."""
        found = self._blocked
        if found is None:
            rows = self.store.blocked()
            sets = {kind: frozenset(row.value for row in rows if row.kind == kind) for kind in ("item", "word", "provider")}
            found = self._blocked = Blocked(sets["item"], sets["word"], sets["provider"])
        return found

    def book(self, model: LoadedModel) -> RuleBook:
        """The rules over the catalogue of `model` as it is now. Raises ConfigError: a rule of the configuration does not suit the catalogue."""
        items, blocked = model.engine.items, self.blocked()
        held = self._books.get(model.version)
        if held is not None and held[0] is items and held[1] is blocked:
            return held[2]
        with self._lock:
            if held is not None and held[1] is blocked and not self.problem:
                book = held[2].caught_up(items, self._seen(model))
                self._books[model.version] = (items, blocked, book)
                return book
            facts = held[2].facts if held is not None and held[0] is items else CatalogueFacts(items, self._seen(model))
            try:
                book = RuleBook.build(self.config, blocked, facts)
                self.problem = ""
            except ConfigError as error:
                if not blocked.providers:
                    raise
                # A block list that does not suit the configuration must not stop every answer.
                self.problem = first_error(error)
                print(f"m6rec: blocked providers are not kept to: {self.problem}", file=sys.stderr, flush=True)
                book = RuleBook.build(self.config, Blocked(blocked.items, blocked.words), facts)
            self._books[model.version] = (items, blocked, book)
            return book

    def _seen(self, model: LoadedModel) -> np.ndarray:
        """int64 (N,): events of each item."""
        return np.bincount(model.engine.dataset.histories.items, minlength=len(model.engine.items))
