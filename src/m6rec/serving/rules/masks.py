"""The rules laid over a catalogue: for each rule, which items it is about. Made once, and again only for items that come or change.

Dimension keys: N items, R rows that came or changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from m6rec.base.errors import ConfigError, UsageError
from m6rec.serving.engine.filters import allowed_items
from m6rec.serving.rules.audience import Audience
from m6rec.serving.rules.config import CapRule, RulesConfig
from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.text.blocked_words import BlockedWords


@dataclass(frozen=True)
class Blocked:
    """What moderation blocked while the service runs, beside the configuration: item ids, words, providers."""

    items: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Masks:
    """blocked: why -> bool (N,), shown to nobody.  audiences: shown to some.  offers: scenario -> bool (N,), what it offers."""

    blocked: dict[str, np.ndarray]
    audiences: tuple[Audience, ...]
    offers: dict[str, np.ndarray]

    @classmethod
    def of(cls, config: RulesConfig, blocked: Blocked, words: BlockedWords, facts: CatalogueFacts) -> Masks:
        """Raises ConfigError: a rule names a field that items don't have, or that does not suit it."""
        for cap in config.caps:
            _check_cap(cap, facts)
        return cls(
            _blocked(config, blocked, words, facts),
            tuple(Audience.of(rule, facts) for rule in config.audiences),
            {scenario: _offer(facts, scenario, where) for scenario, where in config.offers.items()},
        )

    def updated(self, part: Masks, rows: np.ndarray, size: int) -> Masks:
        """With the masks `part` (R,) of the rows `rows` (R,) of a catalogue that now has `size` items."""
        audiences = tuple(
            replace(
                old,
                about=_scattered(old.about, new.about, rows, size),
                limits=None if old.limits is None or new.limits is None else _scattered(old.limits, new.limits, rows, size),
            )
            for old, new in zip(self.audiences, part.audiences, strict=True)
        )
        return Masks(
            {name: _scattered(mask, part.blocked[name], rows, size) for name, mask in self.blocked.items()},
            audiences,
            {name: _scattered(mask, part.offers[name], rows, size) for name, mask in self.offers.items()},
        )


def _blocked(config: RulesConfig, blocked: Blocked, words: BlockedWords, facts: CatalogueFacts) -> dict[str, np.ndarray]:
    named = [facts.dense(item) for item in {*config.blocked_items, *blocked.items}]
    found = {
        "blocked items": _marked(len(facts), [row for row in named if row >= 0]),
        "blocked words": _marked(len(facts), words.rows(facts.texts) if len(words) else []),
        "blocked providers": np.zeros(len(facts), dtype=bool),
    }
    providers = {str(value).lower() for value in (*config.blocked_providers, *blocked.providers)}
    if providers:
        if config.provider_field is None:
            raise ConfigError(
                "providers are blocked, but rules.provider_field is not set; name the item field that says who offers an item"
            )
        try:
            values = facts.values(config.provider_field)
        except UsageError as error:
            raise ConfigError(f"rules.provider_field: {error}") from None
        found["blocked providers"] = values.having(
            np.array([values.code[value] for value in providers if value in values.code], dtype=np.int64)
        )
    return found


def _offer(facts: CatalogueFacts, scenario: str, where: Mapping[str, Any]) -> np.ndarray:
    try:
        return allowed_items(facts.items, where)
    except UsageError as error:
        raise ConfigError(f"rules.offers.{scenario}: {error}") from None


def _check_cap(cap: CapRule, facts: CatalogueFacts) -> None:
    if cap.per_list is None and cap.per_day is None:
        raise ConfigError(f"rules.caps '{cap.name}' has neither per_list nor per_day; give at least one")
    if cap.field is None and cap.per_list is not None:
        raise ConfigError(
            f"rules.caps '{cap.name}' has per_list and no field; an item stands once in a list anyway, name the field to count"
        )
    if cap.field is not None:
        try:
            facts.values(cap.field)
        except UsageError as error:
            raise ConfigError(f"rules.caps '{cap.name}': {error}") from None


def _marked(size: int, rows: Sequence[int]) -> np.ndarray:
    marked = np.zeros(size, dtype=bool)
    marked[list(rows)] = True
    return marked


def _scattered(old: np.ndarray, new: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros(size, dtype=old.dtype)
    found[: len(old)] = old
    found[rows] = new
    return found
