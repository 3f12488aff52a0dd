"""How full the table of users and items is, and how much of it the most popular items take.

Dimension keys: E events, N items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.analysis.log import Log


@dataclass(frozen=True)
class Concentration:
    """density: share of all pairs of user and item that met. gini: of events over items (0 alike, 1 all on one item).

    top: share of the items -> share of the events on them. half: how many items hold half of the events. curve: (share of items, share
    of events), most popular first. user_events, item_events: quantiles of events a user and an item that has any.
    """

    users: int
    items: int
    events: int
    pairs: int
    density: float
    gini: float
    top: dict[str, float]
    half: int
    curve: list[tuple[float, float]]
    user_events: dict[str, float]
    item_events: dict[str, float]
    users_without: int
    items_without: int


def concentration(log: Log) -> Concentration:
    """Sparsity and popularity of the whole log."""
    counts = np.bincount(log.items, minlength=log.item_count)
    per_user = np.bincount(log.users, minlength=log.user_count)
    pairs = len(np.unique(log.users * max(log.item_count, 1) + log.items))
    order = np.sort(counts)[::-1]
    share = np.cumsum(order) / max(order.sum(), 1)
    places = np.unique(np.round(np.linspace(0, len(counts), 61)).astype(int))
    curve = [(place / max(len(counts), 1), float(share[place - 1]) if place else 0.0) for place in places]
    tops = {
        name: float(share[max(int(np.ceil(part * len(counts))), 1) - 1]) for name, part in (("1 %", 0.01), ("10 %", 0.1), ("20 %", 0.2))
    }
    return Concentration(
        users=log.user_count,
        items=log.item_count,
        events=len(log),
        pairs=pairs,
        density=pairs / max(log.user_count * log.item_count, 1),
        gini=gini(counts),
        top=tops,
        half=int(np.searchsorted(share, 0.5)) + 1,
        curve=curve,
        user_events=_quantiles(per_user),
        item_events=_quantiles(counts),
        users_without=int((per_user == 0).sum()),
        items_without=int((counts == 0).sum()),
    )


def gini(counts: np.ndarray) -> float:
    """Mean difference between two items over twice their mean; 0 where all are alike. NaN without any count."""
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    total = ordered.sum()
    if not total:
        return float("nan")
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def _quantiles(counts: np.ndarray) -> dict[str, float]:
    some = counts[counts > 0]
    if not len(some):
        return {}
    return {
        **dict(zip(("p10", "median", "p90", "most"), np.quantile(some, [0.1, 0.5, 0.9, 1.0]).tolist(), strict=True)),
        "mean": float(some.mean()),
    }
