"""Exploration: a small share of places is filled by chance, with a probability that is known exactly.

Each open place is given to chance with probability e, independently. The places given to chance take candidates of the pool, drawn
uniformly without replacement. So the answer that would stand at a place stands there with probability 1 - e, and each of the S
candidates of the pool stands there with probability e / S, whatever happened at the other places: these are the marginal
probabilities that inverse propensity weighting needs (Horvitz & Thompson 1952), not those given the rest of the list.

Dimension keys: K places, S candidates of the pool.
"""

from __future__ import annotations

import numpy as np


def explored(
    order: np.ndarray, pool: np.ndarray, open_: np.ndarray, share: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The list with some places filled by chance.

    Args:
        order: int (K,), the list without chance.
        pool: int (S,), none of them in `order`; any of them must be able to stand at any place.
        open_: bool (K,), places that chance may take. With fewer candidates than such places, the last ones are open.
        share: e, 0 to 1.

    Returns:
        int64 (K,) the list, float64 (K,) probability of each answer at its place, bool (K,) filled by chance.
    """
    places = np.flatnonzero(open_)
    places = places[max(len(places) - len(pool), 0) :]
    filled, propensities = order.astype(np.int64, copy=True), np.ones(len(order))
    by_chance = np.zeros(len(order), dtype=bool)
    if not len(places) or share <= 0:
        return filled, propensities, by_chance
    drawn = generator.random(len(places)) < share
    propensities[places] = 1.0 - share
    taken = places[drawn]
    filled[taken] = generator.choice(pool, size=len(taken), replace=False)
    propensities[taken] = share / len(pool)
    by_chance[taken] = True
    return filled, propensities, by_chance
