"""Candidates of one request with their scores: what rules and slates choose from.

Dimension keys: N items, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.serving.asked import Ask, CacheUse, Degraded
from m6rec.serving.engine import Engine
from m6rec.serving.filters import allowed_items
from m6rec.serving.many import best_allowed


@dataclass(frozen=True)
class Candidates:
    """items int64 (C,), best first; scores float32 (C,), log probabilities; parts: what each part of the mixture gives, name -> (C,)."""

    items: np.ndarray
    scores: np.ndarray
    parts: dict[str, np.ndarray]
    cache: CacheUse = "off"
    degraded: Degraded = ""

    def at(self, order: np.ndarray) -> Candidates:
        """Those at the positions `order`, in that order."""
        parts = {name: part[order] for name, part in self.parts.items()}
        return Candidates(self.items[order], self.scores[order], parts, self.cache, self.degraded)


def candidates(engine: Engine, ask: Ask, count: int, allowed: np.ndarray | None) -> Candidates:
    """The best `count` items for whoever asks, among the allowed ones (bool (N,)) that meet the request's conditions.

    Raises:
        UsageError, UnknownUserError, UnknownItemError: as `Engine.recommend`.
    """
    requests = engine._request(ask.user, ask.history, ask.text, ask.profile, ask.scenario)
    scorer = engine._answering(ask.task)
    where = engine._offered(ask.scenario, ask.where)
    if where is not None:
        met = allowed_items(engine.items, where)
        allowed = met if allowed is None else allowed & met
    exclude = (ask.repeat or engine.scorer.task.config.repeat) == "exclude"
    if engine.retrieval.active and scorer is engine.scorer:
        best, values, parts = engine.retrieval.best(requests, count, allowed, exclude)
        kept = int((best[0] >= 0).sum())
        return Candidates(best[0, :kept], values[0, :kept], {name: part[0, :kept] for name, part in parts.items()})
    scores, parts = scorer.answer(requests)
    best, values = best_allowed(scores, requests, count, exclude=exclude, allowed=allowed)
    items = best[0, best[0] >= 0]
    return Candidates(items, values[0, : len(items)], {name: part[0, items] for name, part in parts.items()})
