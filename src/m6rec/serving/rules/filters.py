"""The rule book: what may be shown to whom, whatever a request says.

Rules are built once for a catalogue and a block list; asking is a look into what was built. Dimension keys: N items, V values of a field.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from m6rec.data.dataset import Table
from m6rec.serving.rules.config import CapRule, RulesConfig
from m6rec.serving.rules.facts import CatalogueFacts, rows_changed
from m6rec.serving.rules.masks import Blocked, Masks
from m6rec.text.blocked_words import BlockedWords

__all__ = ["Blocked", "Limit", "RuleBook", "Verdict"]

KEPT = 64  # masks of kinds of people kept, N bytes each
UNLIMITED = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Limit:
    """room int64 (V,): how many more items of each value of `field` a list may take."""

    name: str
    field: str
    room: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """What may be shown to one person in one scenario.

    mask      bool (N,), read only; None: everything
    left_out  rule -> items of the catalogue that it takes out (an item with two reasons counts for both)
    limits    what a list as a whole must keep to, for `slate.put_together`
    """

    mask: np.ndarray | None
    left_out: Mapping[str, int]
    limits: tuple[Limit, ...] = ()

    def allows(self, items: np.ndarray) -> np.ndarray:
        """bool, of dense items."""
        return np.ones(len(items), dtype=bool) if self.mask is None else self.mask[items]


@dataclass
class _Held:
    """Masks of kinds of people, the newest last."""

    lock: Lock = field(default_factory=Lock)
    masks: OrderedDict[tuple[Any, ...], tuple[np.ndarray | None, dict[str, int]]] = field(default_factory=OrderedDict)


class RuleBook:
    """Rules over one catalogue; never changes, so any number of threads may ask. A new catalogue or block list is a new book.

    facts: the catalogue that it is about.  words: the blocked words; `words.found(text)` says which stand in a text.
    """

    def __init__(self, config: RulesConfig, blocked: Blocked, facts: CatalogueFacts, words: BlockedWords, masks: Masks) -> None:
        """Of parts made already; see `build`."""
        self.config, self.blocked, self.facts, self.words, self.masks = config, blocked, facts, words, masks
        self._read = tuple(dict.fromkeys(name for audience in masks.audiences for name in audience.fields))
        self._held = _Held()

    @classmethod
    def build(cls, config: RulesConfig, blocked: Blocked, facts: CatalogueFacts) -> RuleBook:
        """Rules of the configuration and of moderation over a catalogue.

        Raises:
            ConfigError: a rule names a field that items don't have, or that does not suit it. Ids and values that no item has are
                no error: they may come.
            UsageError: a blocked word without a letter.
        """
        words = BlockedWords([*config.blocked_words, *sorted(blocked.words)])
        return cls(config, blocked, facts, words, Masks.of(config, blocked, words, facts))

    def updated(self, facts: CatalogueFacts, rows: np.ndarray) -> RuleBook:
        """The same rules where items came (at the end) or changed: only their rows are looked at.

        Args:
            facts: of the catalogue as it is now, `self.facts.updated(...)`.
            rows: int (R,), dense items that came or changed.
        """
        rows = np.unique(np.asarray(rows, dtype=np.int64))
        part = Masks.of(self.config, self.blocked, self.words, facts.some(rows))
        return RuleBook(self.config, self.blocked, facts, self.words, self.masks.updated(part, rows, len(facts)))

    def caught_up(self, items: Table, seen: np.ndarray | None = None) -> RuleBook:
        """The same rules over the catalogue as it is now; what came or changed is found by comparing, and alone is looked at.

        Args:
            items, seen: see `CatalogueFacts`.
        """
        rows = rows_changed(self.facts.items, items)
        if rows is None:
            return RuleBook.build(self.config, self.blocked, CatalogueFacts(items, seen))
        facts = self.facts.updated(items, rows, seen)
        return self.updated(facts, rows) if len(rows) else RuleBook(self.config, self.blocked, facts, self.words, self.masks)

    @property
    def reads(self) -> tuple[str, ...]:
        """Fields of a profile that any rule reads."""
        return self._read

    @property
    def counts_days(self) -> bool:
        """Whether a rule needs to know what a person was shown today."""
        return any(cap.per_day is not None for cap in self.config.caps)

    def profile(self, known: Mapping[str, Any] | None, said: Mapping[str, Any] | str | None) -> dict[str, Any]:
        """The facts that rules go by: what is kept of a person, and what the request says of them only where nothing is kept."""
        facts = {name: value for name, value in (said if isinstance(said, Mapping) else {}).items() if name in self._read}
        return facts | {name: value for name, value in (known or {}).items() if name in self._read and value is not None}

    def allowed(
        self, scenario: str | None, profile: Mapping[str, Any] | str | None = None, shown_today: np.ndarray | None = None
    ) -> Verdict:
        """What may be shown.

        Args:
            scenario: where; None is a place of its own that no rule names.
            profile: facts of the person (see `profile`); a text, like None, says nothing that a rule can read.
            shown_today: int (S,), dense items shown to the person today, one for each exposure; None: nothing.
        """
        facts = profile if isinstance(profile, Mapping) else {}
        mask, left_out = self._mask(scenario, facts)
        limits = []
        for cap in self.config.caps:
            if not _holds(cap.scenarios, scenario):
                continue
            limit, gone = self._cap(cap, shown_today)
            if limit is not None:
                limits.append(limit)
            if gone is not None:
                mask = ~gone if mask is None else mask & ~gone
                left_out = left_out | {cap.name: left_out.get(cap.name, 0) + int(np.count_nonzero(gone))}
        return Verdict(mask, left_out, tuple(limits))

    def _mask(self, scenario: str | None, profile: Mapping[str, Any]) -> tuple[np.ndarray | None, dict[str, int]]:
        masks = self.masks
        named = scenario if scenario in masks.offers or any(scenario in one.rule.scenarios for one in masks.audiences) else None
        key = (named, *(_key(profile.get(name)) for name in self._read))
        with self._held.lock:
            if key in self._held.masks:
                self._held.masks.move_to_end(key)
                return self._held.masks[key]
        rules = list(masks.blocked.items())
        if scenario is not None and scenario in masks.offers:
            rules.append((f"offers of {scenario}", ~masks.offers[scenario]))
        for audience in masks.audiences:
            forbidden = audience.forbidden(profile) if _holds(audience.rule.scenarios, scenario) else None
            if forbidden is not None:
                rules.append((audience.rule.name, forbidden))
        gone = np.zeros(len(self.facts), dtype=bool)
        left_out: dict[str, int] = {}
        for name, rows in rules:
            gone |= rows
            left_out[name] = left_out.get(name, 0) + int(np.count_nonzero(rows))
        mask = ~gone if gone.any() else None
        if mask is not None:
            mask.setflags(write=False)
        found = mask, {name: count for name, count in left_out.items() if count}
        with self._held.lock:
            self._held.masks[key] = found
            while len(self._held.masks) > KEPT:
                self._held.masks.popitem(last=False)
        return found

    def _cap(self, cap: CapRule, shown_today: np.ndarray | None) -> tuple[Limit | None, np.ndarray | None]:
        """(what a list may take, bool (N,) items whose day is over) of one rule, None where there is nothing to say."""
        shown = np.zeros(0, dtype=np.int64) if shown_today is None or cap.per_day is None else np.asarray(shown_today, dtype=np.int64)
        shown = shown[(shown >= 0) & (shown < len(self.facts))]
        if cap.field is None:
            gone = np.bincount(shown, minlength=len(self.facts)) >= (UNLIMITED if cap.per_day is None else cap.per_day)
            return None, gone if gone.any() else None
        values = self.facts.values(cap.field)
        room = np.full(len(values), UNLIMITED if cap.per_list is None else cap.per_list, dtype=np.int64)
        if cap.per_day is not None:
            room = np.minimum(room, cap.per_day - np.bincount(values.pairs(shown)[1], minlength=len(values)))
        spent = np.flatnonzero(room <= 0)
        return Limit(cap.name, cap.field, np.maximum(room, 0)), values.having(spent) if len(spent) else None


def _key(value: Any) -> str:
    """What tells one fact from another, short whatever somebody sends."""
    text = repr(value)
    return text if len(text) <= 64 else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _holds(scenarios: Sequence[str], scenario: str | None) -> bool:
    return not scenarios or scenario in scenarios
