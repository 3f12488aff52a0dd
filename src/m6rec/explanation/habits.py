"""Which events speak of a person: each follows from the one before it, from what everybody does, or from the person's own taste.

For values v of one field (categories, tags, clusters), an event of user u after an event with value p has

    P(v) = follow F[p, v] + common b[v] + own (n_u[v] + a m_u[v]) / (n_u + a)

where n_u are the other events of u that came from their own taste (a Polya urn) and m_u is the prior of the person, with the weight of `a`
events; the shares of the three differ between first events, events that open a session, and events inside one. Fitted by collapsed
variational Bayes of order zero (CVB0; Asuncion et al., UAI 2009) over all users; what follows inside a session is then hardly counted as taste,
and a value met once is mostly counted as what everybody does. After Rendle et al., FPMC (WWW 2010), in what is told apart.

Dimension keys: V values, U users, R rows (event, value, value before), P prior of one person (V,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Histories

FIRST, OPENS, INSIDE = 0, 1, 2
FOLLOW, COMMON, OWN = 0, 1, 2
PRIOR_EVENTS = 0.1  # a: small, so that tastes are few
ROUNDS = 30
MOST_ROWS = 400_000  # of users drawn by seed, where there are more
SMALLEST = 1e-9


@dataclass(frozen=True)
class Rows:
    """R rows: user, value, before (-1: none) int64; kind: FIRST, OPENS or INSIDE; weight: 1 / (values of the item x of the one before).

    event: which event (numbered from 0) a row is of; events of items without a value have none.
    """

    user: np.ndarray
    value: np.ndarray
    before: np.ndarray
    kind: np.ndarray
    weight: np.ndarray
    event: np.ndarray

    def between(self, begin: int, end: int) -> Rows:
        """The rows `begin` to `end`."""
        return self.of(slice(begin, end))

    def of(self, chosen: np.ndarray | slice) -> Rows:
        """The rows `chosen` (bool (R,), or a slice)."""
        return Rows(*(getattr(self, name)[chosen] for name in ("user", "value", "before", "kind", "weight", "event")))


@dataclass(frozen=True)
class Habits:
    """The law of a field: follow (V, V) rows summing to 1, common (V,), shares (3 kinds, 3 sources), taste_share: of OWN in OWN and COMMON.

    average: float64 (V,), the taste of the average user, which a lift is told against.
    """

    follow: np.ndarray
    common: np.ndarray
    shares: np.ndarray
    taste_share: float
    average: np.ndarray

    def taste(self, rows: Rows, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of one person: the posterior taste float64 (V,), summing to 1, and for every row the chance that it came from it, (R,).

        Args:
            rows: of this person alone.  prior: float64 (V,), summing to 1.
        """
        chance = np.full(len(rows.value), 0.5)
        for _ in range(ROUNDS if len(chance) else 0):
            chance = _sources(rows, chance, np.zeros(len(chance), dtype=np.int64), prior[None], self)[:, OWN]
        own = np.bincount(rows.value, rows.weight * chance, minlength=len(self.common))
        taste = (own + PRIOR_EVENTS * prior) / (own.sum() + PRIOR_EVENTS)
        return self.taste_share * taste + (1 - self.taste_share) * self.common, chance


def rows_of(histories: Histories, items_of: tuple[np.ndarray, np.ndarray], gap: float) -> Rows:
    """Rows of all events.

    Args:
        items_of: compressed rows over the items: offsets int64 (N + 1,), values int64.
        gap: seconds after which an event opens a session; where times are unknown every event but the first is INSIDE.
    """
    offsets, values = items_of
    counts = np.diff(offsets)
    events = np.arange(len(histories.items))
    first = np.zeros(len(events), dtype=bool)
    first[histories.offsets[:-1][histories.lengths > 0]] = True
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    opens = np.zeros(len(events), dtype=bool)
    if histories.times is not None:
        opens[1:] = np.diff(histories.times) > gap  # NaN: not known to open one
    kinds = np.where(first, FIRST, np.where(opens, OPENS, INSIDE))
    items = histories.items.astype(np.int64)
    before = np.where(first, -1, np.concatenate([[-1], items[:-1]])[: len(items)])
    # one row for every (value of the item, value of the one before); a single row without a value before where there is none
    at = np.repeat(events, counts[items])
    value = values[np.repeat(offsets[items], counts[items]) + _within(counts[items])]
    ahead = np.where(before[at] >= 0, counts[np.maximum(before[at], 0)], 0)
    copies = np.maximum(ahead, 1)
    row = np.repeat(np.arange(len(at)), copies)
    known = ahead[row] > 0
    place = np.where(known, offsets[np.maximum(before[at[row]], 0)] + _within(copies), 0)
    return Rows(
        user=users[at[row]],
        value=value[row],
        before=np.where(known, values[np.minimum(place, max(len(values) - 1, 0))], -1) if len(values) else np.full(len(row), -1),
        kind=kinds[at[row]],
        weight=1.0 / (counts[items[at[row]]] * copies[row]),
        event=at[row],
    )


def learn_habits(rows: Rows, values: int, seed: int = 0) -> Habits:
    """The law of the field over all users; its prior of a person is the taste of all together."""
    if len(rows.value) > MOST_ROWS:
        kept = np.random.default_rng([seed, 41]).random(int(rows.user.max()) + 1) < MOST_ROWS / len(rows.value)
        rows = rows.of(kept[rows.user])
    people, user = np.unique(rows.user, return_inverse=True)
    pair = np.unique(rows.event * values + rows.value, return_inverse=True)[1]
    common = np.bincount(rows.value, rows.weight, minlength=values) + 1.0
    common /= common.sum()
    follow = np.tile(common, (values, 1))
    law = Habits(follow, common, np.tile([0.3, 0.2, 0.5], (3, 1)), 0.7, common)
    source = np.tile([0.3, 0.2, 0.5], (len(rows.value), 1))
    for _ in range(ROUNDS):
        everybody = np.bincount(rows.value, rows.weight * source[:, 1:].sum(axis=1), minlength=values) + 0.5
        everybody /= everybody.sum()
        source = _sources(rows, source[:, OWN], user, everybody[None], law, pairs=pair)
        law = _maximised(rows, source, everybody, values)
    own = np.bincount(user * values + rows.value, rows.weight * source[:, OWN], minlength=len(people) * values).reshape(-1, values)
    taste = (own + PRIOR_EVENTS * everybody) / (own.sum(axis=1, keepdims=True) + PRIOR_EVENTS)
    average = law.taste_share * taste.mean(axis=0) + (1 - law.taste_share) * law.common
    return Habits(law.follow, law.common, law.shares, law.taste_share, average)


def _sources(rows: Rows, own: np.ndarray, user: np.ndarray, prior: np.ndarray, law: Habits, pairs: np.ndarray | None = None) -> np.ndarray:
    """float64 (R, 3): the chance of each source of each row; prior (1, V); user: 0.. within these rows."""
    values = len(law.common)
    mass = rows.weight * own
    counted = np.bincount(user * values + rows.value, mass)
    total = np.bincount(user, mass)
    pair = np.unique(rows.event * values + rows.value, return_inverse=True)[1] if pairs is None else pairs
    itself = np.bincount(pair, mass)[pair]  # the event does not speak for itself
    expected = PRIOR_EVENTS * prior[0, rows.value]
    taste = (np.maximum(counted[user * values + rows.value] - itself, 0) + expected) / (np.maximum(total[user] - itself, 0) + PRIOR_EVENTS)
    followed = np.where(rows.before >= 0, law.follow[np.maximum(rows.before, 0), rows.value], 0.0)
    likely = np.stack([followed, law.common[rows.value], taste], axis=1) * law.shares[rows.kind] + SMALLEST
    return np.asarray(likely / likely.sum(axis=1, keepdims=True))


def _maximised(rows: Rows, source: np.ndarray, everybody: np.ndarray, values: int) -> Habits:
    mass = rows.weight[:, None] * source
    common = np.bincount(rows.value, mass[:, COMMON], minlength=values)
    common = (
        common + (common.sum() + 0.5) * everybody
    )  # half from what is common, half from all tastes: alike, and far more is known of those
    common /= common.sum()
    after = rows.before >= 0
    pairs = rows.before[after] * values + rows.value[after]
    follow = np.bincount(pairs, mass[after, FOLLOW], minlength=values * values).reshape(values, values) + 2.0 * common
    shares = np.ones((3, 3))
    for kind in (FIRST, OPENS, INSIDE):
        shares[kind] += mass[rows.kind == kind].sum(axis=0)
    shares[FIRST, FOLLOW] = 0.0
    totals = mass.sum(axis=0)
    taste_share = float((totals[OWN] + 1) / (totals[OWN] + totals[COMMON] + 2))
    return Habits(follow / follow.sum(axis=1, keepdims=True), common, shares / shares.sum(axis=1, keepdims=True), taste_share, common)


def _within(counts: np.ndarray) -> np.ndarray:
    """0 .. counts[0] - 1, 0 .. counts[1] - 1, ..."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(starts, counts)
