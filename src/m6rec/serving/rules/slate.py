"""Slates: a list put together out of scored candidates, place by place.

Every place goes to the candidate with the highest merit among those that the list may still take:

    merit = (1 - diversity) * ((1 - novelty) * relevance + novelty * rarity) - diversity * likeness

relevance: log-probability plus log of the weights, 1 for the best candidate and 0 for the one at rank 5 k.  rarity: self-information
(-log2 popularity), 0 to 1 over the candidates.  likeness: the largest cosine to what stands above (maximal marginal relevance,
Carbonell & Goldstein 1998). Caps and rules are never broken. A mix is kept place by place: among the first n, at least floor(n * share)
(the constraint of Geyik et al. 2019, "Fairness-aware ranking"), and round(k * share) of the whole list, as far as candidates go.

Dimension keys: N items, C candidates, W width, K places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.base.errors import UsageError, nearest
from m6rec.serving.asked import Slate
from m6rec.serving.rules.exploration import explored
from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.serving.rules.filters import Limit
from m6rec.serving.rules.mixing import Mix, Room

DEPTH = 5  # relevance 0 is what the candidate at rank DEPTH * k has
PLAIN = Slate()


@dataclass(frozen=True)
class Placed:
    """A list.

    order         int64 (K,): positions among the candidates, best first
    propensities  float64 (K,): probability with which the answer came to stand where it stands, 1 where nothing is left to chance
    left_out      why -> candidates that did not come in: a weight of 0, the name of a cap or rule
    explored      bool (K,): filled by chance
    """

    order: np.ndarray
    propensities: np.ndarray
    left_out: Mapping[str, int]
    explored: np.ndarray


def put_together(
    slate: Slate,
    items: np.ndarray,
    log_probabilities: np.ndarray,
    vectors: np.ndarray | None,
    popularity: np.ndarray | None,
    fields: CatalogueFacts,
    k: int,
    generator: np.random.Generator | None = None,
    *,
    limits: Sequence[Limit] = (),
    exploration: float = 0.0,
    pool: int = 100,
) -> Placed:
    """The best list of at most k of the candidates. With the defaults and no limits: the candidates by probability.

    Args:
        items: int (C,), dense, each once.
        log_probabilities: float (C,), or any score whose differences mean something; -inf is no candidate.
        vectors: float (C, W), any length each; read with diversity only.
        popularity: float (C,), share of all events; None takes that of `fields`. Read with novelty only.
        generator: what chance is drawn from; None leaves nothing to chance.
        limits: of the verdict of the rules; they hold beside the slate's own caps.
        exploration: probability with which a place is filled by chance, see `exploration.explored`.
        pool: most candidates that chance chooses from.

    Raises:
        UsageError: a setting out of its range, an unknown field or item.
    """
    check(slate, fields)
    if k < 1:
        raise UsageError(f"k is {k}; ask for 1 or more items")
    items = np.asarray(items, dtype=np.int64)
    scores = np.asarray(log_probabilities, dtype=np.float64)
    left_out: dict[str, int] = {}
    if slate.weights:
        factors = weights_of(slate.weights, items, fields)
        refused = (factors == 0) & (scores > -np.inf)
        if refused.any():
            left_out["weights"] = int(np.count_nonzero(refused))
        with np.errstate(divide="ignore"):
            scores = scores + np.log(factors)
    rank = np.argsort(-scores, kind="stable")
    rank = rank[scores[rank] > -np.inf]
    items, scores = items[rank], scores[rank]  # from here on in the order of the scores
    room = Room([*limits, *slate_limits(slate, fields)], items, fields)
    mix = Mix(slate.mix, items, fields, k)
    if slate.diversity > 0 or slate.novelty > 0:
        merit = _merit(slate, scores, (fields.popularity[items] if popularity is None else np.asarray(popularity)[rank]), k)
        unit = _unit(vectors, rank) if slate.diversity > 0 and vectors is not None else None
        places = _greedy(merit, unit, slate.diversity, room, mix, k)
    elif room.free and mix.free:
        places = np.arange(min(k, len(rank)))
    else:
        places = _greedy(scores, None, 0.0, room, mix, k)
    left_out |= room.refused(places)
    if generator is None or exploration <= 0 or not len(places):
        return Placed(rank[places], np.ones(len(places)), left_out, np.zeros(len(places), dtype=bool))
    spare = room.spare(places, pool)
    filled, propensities, by_chance = explored(places, spare, ~mix.needed(places), exploration, generator)
    return Placed(rank[filled], propensities, left_out, by_chance)


def check(slate: Slate, fields: CatalogueFacts) -> None:
    """Raises UsageError: a setting out of its range, an unknown field or item."""
    if slate == PLAIN:
        return
    for name, value in (("diversity", slate.diversity), ("novelty", slate.novelty)):
        if not 0 <= value <= 1:
            raise UsageError(f"slate.{name} is {value}; give a number from 0 to 1")
    for name, factor in slate.weights.items():
        if not (factor >= 0 and math.isfinite(factor)):
            raise UsageError(f"slate.weights: '{name}' is {factor}; give a factor of 0 or more, 0 leaves out")
        _weighed(name, fields)
    for field, most in slate.caps.items():
        fields.values(field)
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise UsageError(f"slate.caps: '{field}' is {most!r}; give the most items of one value, 0 or more")
    for field, shares in slate.mix.items():
        fields.values(field)
        if not all(0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
            given = ", ".join(f"{value}: {share:g}" for value, share in shares.items())
            raise UsageError(f"slate.mix: the shares of '{field}' are {given}; give shares from 0 to 1, together at most 1")


def weights_of(weights: Mapping[str, float], items: np.ndarray, fields: CatalogueFacts) -> np.ndarray:
    """float64 (C,): the product of the factors that concern each item: its own, and those of its values ("field=value")."""
    factors = np.ones(len(items))
    for name, factor in weights.items():
        field, value = _weighed(name, fields)
        if field is None:
            factors[items == fields.dense(name)] *= factor
            continue
        values = fields.values(field)
        position, codes = values.pairs(items)
        factors[position[codes == values.code.get(value.lower(), -1)]] *= factor
    return factors


def slate_limits(slate: Slate, fields: CatalogueFacts) -> list[Limit]:
    """The caps of a slate as limits, named "cap FIELD"."""
    return [Limit(f"cap {field}", field, np.full(len(fields.values(field)), most, dtype=np.int64)) for field, most in slate.caps.items()]


def _weighed(name: str, fields: CatalogueFacts) -> tuple[str | None, str]:
    """(field, value) of "field=value", (None, id) of an item; an id goes first, for ids may hold a "="."""
    if fields.dense(name) >= 0:
        return None, name
    field, equals, value = name.partition("=")
    if equals:
        fields.values(field)
        return field, value
    hint = nearest(name, list(fields.items.fields))
    raise UsageError(f"slate.weights: there is no item '{name}'{hint}; give an item id, or field=value")


def _merit(slate: Slate, scores: np.ndarray, popularity: np.ndarray, k: int) -> np.ndarray:
    """float64 (C,): the part of the merit that does not depend on what stands above. Scores fall."""
    if not len(scores):
        return scores
    top, floor = scores[0], scores[min(DEPTH * k, len(scores)) - 1]
    relevance = 1.0 + (scores - top) / (top - floor) if top > floor else np.ones(len(scores))
    bits = -np.log2(np.maximum(popularity.astype(np.float64), 1e-12))
    low, high = bits.min(), bits.max()
    rarity = (bits - low) / (high - low) if high > low else np.zeros(len(scores))
    return np.asarray((1.0 - slate.diversity) * ((1.0 - slate.novelty) * relevance + slate.novelty * rarity))


def _unit(vectors: np.ndarray, rank: np.ndarray) -> np.ndarray:
    rows = np.asarray(vectors, dtype=np.float32)[rank]
    norms = np.sqrt(np.einsum("cw,cw->c", rows, rows))
    rows /= np.where(norms > 0, norms, 1.0)[:, None]
    return rows


def _greedy(merit: np.ndarray, unit: np.ndarray | None, diversity: float, room: Room, mix: Mix, k: int) -> np.ndarray:
    """int64 (K,): one place after the other. Equal merit: the more probable candidate, then the one given first."""
    value = np.where(room.open, merit, -np.inf)
    likeness: np.ndarray | None = None
    order: list[int] = []
    while len(order) < min(k, len(value)):
        here = value if likeness is None else value - likeness
        wanted = None if mix.free else mix.wanted(value, k - len(order))
        chosen = int(here.argmax()) if wanted is None else int(wanted[here[wanted].argmax()])
        if value[chosen] == -np.inf:
            break
        order.append(chosen)
        value[chosen] = -np.inf
        for gone in room.take(chosen):
            value[gone] = -np.inf
        mix.take(chosen)
        if unit is not None:
            like = unit @ (unit[chosen] * np.float32(diversity))
            likeness = like if likeness is None else np.maximum(likeness, like, out=likeness)
    return np.array(order, dtype=np.int64)
