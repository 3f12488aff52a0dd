"""What the model holds about a person: interests by weight, time and scenario, with the events behind each.

The weight of an interest is the posterior taste of `habits`, whose prior is what the model expects of somebody with this profile and no history.
The model's own distribution over the next item says where the interest shows now, in each scenario, and, by leaving out one event after
the other (all in one batch), which events it rests on. The mass of the next item by itself is no taste: it is mostly about the last item.

Dimension keys: N items, V values of a field, B requests, L events of one person.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories, Requests
from m6rec.data.analysis.sessions import USUAL_GAP, natural_gap
from m6rec.data.dataset import FieldType, Table
from m6rec.data.splits import refusals, without_refusals
from m6rec.explanation.habits import Habits, Rows, learn_habits, rows_of
from m6rec.tasks.choose_mixture import SOFTMAX_PART
from m6rec.tasks.model_folder import ChooseScorer

CLUSTERS = "group of items"  # the field of clusters of item vectors
MOST_VALUES = 400  # of a field; the rarest beyond are left out
MOST_LEFT_OUT = 100  # newest events that are left out one by one
AVERAGED = 256  # people drawn by seed for the model's average
CELLS = 8_000_000  # requests x items at a time
FEW_EVENTS = 3.0  # of own taste, below which nothing is said of a trend
CHANGED = 1.5  # ratio of the newer to the older half that is a trend


@dataclass(frozen=True)
class Support:
    """One event behind an interest. change: how much the log mass of the interest falls without the event, in the model's next answer."""

    item_id: str
    title: str
    action: str
    scenario: str
    time: float | None
    change: float


@dataclass(frozen=True)
class Interest:
    """One value of a field.

    share      of the person's taste within the field, 0 to 1
    lift       log of the share over that of the average user
    now        log of the model's next-item mass on it over that of the average user
    trend      rising, falling, steady, or "" where too little is known
    scenarios  scenario -> share of the events behind it
    asked      scenario -> the model's mass on it when asked there
    """

    field: str
    value: str
    share: float
    lift: float
    now: float
    trend: str
    events: int
    scenarios: dict[str, float]
    asked: dict[str, float]
    support: list[Support]


@dataclass(frozen=True)
class Profile:
    """What is held about one person: interests of every field, the greatest share first; `declared` is what their profile says."""

    user: str
    events: int
    declared: dict[str, Any]
    interests: list[Interest]

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class _Field:
    """A field's values, which items have them (offsets, values), and the same as csr (N, V) whose rows sum to 1 (0 without a value)."""

    name: str
    values: list[str]
    of_items: tuple[np.ndarray, np.ndarray]
    matrix: csr_array


class Interests:
    """Profiles over one model; what is learned over everybody is learned once.

    Args:
        most: interests of a field that are told.  seed: of whatever is drawn.
    """

    def __init__(self, scorer: ChooseScorer, histories: Histories | None = None, *, most: int = 5, support: int = 3, seed: int = 0) -> None:
        self.scorer, self.most, self.support, self.seed = scorer, most, support, seed
        self.dataset = scorer.dataset
        self.refused = refusals(self.dataset.action_names)  # what people said no to is no interest of theirs
        self.histories = without_refusals(self.dataset.histories if histories is None else histories, self.refused)
        self.titles = self.dataset.items.titles()

    @cached_property
    def fields(self) -> list[_Field]:
        """Categories and tags of the items, and clusters of their vectors."""
        found = [one for name, kind in self.dataset.items.fields.items() if (one := _field(self.dataset.items, name, kind)) is not None]
        clusters = _clusters(self.scorer.vectors.numpy(), self.titles, self.seed)
        return found if clusters is None else [*found, clusters]

    @cached_property
    def gap(self) -> float:
        """Seconds that part two sessions."""
        times = self.histories.times
        if times is None:
            return USUAL_GAP
        pauses = np.diff(times)
        inside = np.ones(len(pauses), dtype=bool)
        ends = self.histories.offsets[1:-1]
        inside[ends[(ends > 0) & (ends <= len(pauses))] - 1] = False
        return natural_gap(pauses[inside & ~np.isnan(pauses)]) or USUAL_GAP

    @cached_property
    def habits(self) -> dict[str, Habits]:
        """The law of every field."""
        return {one.name: learn_habits(rows_of(self.histories, one.of_items, self.gap), len(one.values), self.seed) for one in self.fields}

    @cached_property
    def average(self) -> tuple[np.ndarray, np.ndarray]:
        """float64 (N,) each: the model's mean distribution over people drawn by seed, with their histories and with their profile alone."""
        people = np.arange(len(self.histories))
        if len(people) > AVERAGED:
            people = np.sort(np.random.default_rng([self.seed, 42]).choice(people, AVERAGED, replace=False))
        return self._mass(self.requests(people)).mean(axis=0), self._prior_mass(people).mean(axis=0)

    def of(self, user: int, history: Histories) -> Profile:
        """The profile of the dense user (-1: nobody known), whose events are the one row `history`."""
        names, history = self.dataset.users.ids.ids, without_refusals(history, self.refused)
        left_out = self._left_out(user, history)
        asked = self._asked(user, history)
        prior = self._prior_mass(np.array([user]))[0]
        found = [interest for field in self.fields for interest in self._of_field(field, history, prior, left_out, asked)]
        return Profile(names[user] if 0 <= user < len(names) else "", len(history.items), self._declared(user), found)

    def weights(self, name: str, users: np.ndarray) -> np.ndarray:
        """float64 (B, V): the taste of several users over the values of the field `name`; what `of` tells of each."""
        field = next(one for one in self.fields if one.name == name)
        law, priors, past = self.habits[name], self._prior_mass(users), self.histories.rows(users)
        rows = rows_of(past, field.of_items, self.gap)
        bounds = np.searchsorted(rows.user, np.arange(len(users) + 1))
        own = [rows.between(begin, end) for begin, end in itertools.pairwise(bounds)]
        return np.stack([law.taste(one, self._prior(field, prior))[0] for one, prior in zip(own, priors, strict=True)])

    def requests(self, users: np.ndarray) -> Requests:
        """What these users would ask for next, each with their history."""
        return Requests(self.histories.rows(users), users=users)

    def _of_field(
        self, field: _Field, history: Histories, prior: np.ndarray, left_out: tuple[np.ndarray, np.ndarray], asked: dict[str, np.ndarray]
    ) -> list[Interest]:
        law, rows = self.habits[field.name], rows_of(history, field.of_items, self.gap)
        taste, chance = law.taste(rows, self._prior(field, prior))
        lift = np.log(taste / law.average)
        whole, usual = left_out[0][0] @ field.matrix, self.average[0] @ field.matrix
        now = np.log(np.maximum(whole, 1e-12) / np.maximum(usual, 1e-12))
        without = left_out[0][1:] @ field.matrix  # L V
        changes = np.log(np.maximum(whole, 1e-12)) - np.log(np.maximum(without, 1e-12))
        at_event = {int(event): place for place, event in enumerate(left_out[1])}
        told = []
        for value in np.argsort(-taste, kind="stable")[: self.most]:
            mine = rows.value == value
            events = np.unique(rows.event[mine])
            if not len(events) and lift[value] <= 0:
                continue  # what everybody likes, and nothing speaks for this person
            by_change = sorted(events, key=lambda event: -changes[at_event[event], value] if event in at_event else math.inf)
            mass = np.bincount(rows.event[mine], rows.weight[mine], minlength=len(history.items))
            told.append(
                Interest(
                    field=field.name,
                    value=field.values[value],
                    share=float(taste[value]),
                    lift=float(lift[value]),
                    now=float(now[value]),
                    trend=_trend(rows, chance, mine, float(law.average[value]), len(history.items)),
                    events=len(events),
                    scenarios=self._by_scenario(history, mass),
                    asked={name: float(answer @ field.matrix[:, [value]].toarray()[:, 0]) for name, answer in asked.items()},
                    support=[
                        self._support(history, int(event), float(changes[at_event[event], value]) if event in at_event else 0.0)
                        for event in by_change[: self.support]
                    ],
                )
            )
        return told

    def _prior(self, field: _Field, mass: np.ndarray) -> np.ndarray:
        """float64 (V,): the average taste, moved by what the model makes of the profile."""
        usual = self.average[1] @ field.matrix
        prior = self.habits[field.name].average * (mass @ field.matrix + 1e-9) / (usual + 1e-9)
        return np.asarray(prior / prior.sum())

    def _left_out(self, user: int, history: Histories) -> tuple[np.ndarray, np.ndarray]:
        """The model's mass float64 (1 + L, N), whole and without each of the newest events; and which events those are, (L,)."""
        size = len(history.items)
        events = np.arange(max(size - MOST_LEFT_OUT, 0), size)
        kept = [np.arange(size), *(np.delete(np.arange(size), event) for event in events)]
        rows = history.pick(np.concatenate(kept).astype(np.int64), np.concatenate([[0], np.cumsum([len(one) for one in kept])]))
        return self._mass(Requests(rows, users=np.full(len(kept), user))), events

    def _asked(self, user: int, history: Histories) -> dict[str, np.ndarray]:
        names = self.dataset.scenario_names
        if len(names) < 2:
            return {}
        past = history.rows(np.zeros(len(names), dtype=np.int64))
        answers = self._mass(Requests(past, users=np.full(len(names), user), scenarios=np.arange(len(names))))
        return dict(zip(names, answers, strict=True))

    def _prior_mass(self, users: np.ndarray) -> np.ndarray:
        """float64 (B, N): the softmax alone, of people with their profile and no history."""
        nothing = self.histories.rows(np.zeros(len(users), dtype=np.int64)).window(keep=0)
        found = []
        for first in range(0, len(users), max(1, CELLS // len(self.titles))):
            part = slice(first, first + max(1, CELLS // len(self.titles)))
            asking = Requests(nothing.rows(np.arange(len(users))[part]), users=users[part])
            given = self.scorer.alone(asking)[1][SOFTMAX_PART].astype(np.float64)
            found.append(given / given.sum(axis=1, keepdims=True))
        return np.concatenate(found)

    def _mass(self, requests: Requests) -> np.ndarray:
        """float64 (B, N): the softmax of the scores."""
        found = []
        for first in range(0, len(requests), max(1, CELLS // len(self.titles))):
            scores = self.scorer.scores(requests.rows(np.arange(len(requests))[first : first + max(1, CELLS // len(self.titles))]))
            mass = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
            found.append(mass / mass.sum(axis=1, keepdims=True))
        return np.concatenate(found)

    def _by_scenario(self, history: Histories, mass: np.ndarray) -> dict[str, float]:
        if history.scenarios is None or not mass.sum():
            return {}
        sums = np.bincount(history.scenarios.astype(np.int64), mass, minlength=len(self.dataset.scenario_names)) / mass.sum()
        return {name: float(share) for name, share in zip(self.dataset.scenario_names, sums, strict=True) if share > 0}

    def _support(self, history: Histories, event: int, change: float) -> Support:
        item = int(history.items[event])
        action = "" if history.actions is None else self.dataset.action_names[history.actions[event]]
        scenario = "" if history.scenarios is None else self.dataset.scenario_names[history.scenarios[event]]
        time = None if history.times is None or np.isnan(history.times[event]) else float(history.times[event])
        return Support(self.dataset.items.ids.ids[item], self.titles[item], action, scenario, time, change)

    def _declared(self, user: int) -> dict[str, Any]:
        users = self.dataset.users
        if not 0 <= user < users.frame.height:
            return {}
        kinds = (FieldType.CATEGORY, FieldType.TAGS, FieldType.NUMBER, FieldType.TEXT)
        row = {name: users.frame[name][user] for name, kind in users.fields.items() if kind in kinds}
        values = {name: list(value) if hasattr(value, "to_list") else value for name, value in row.items()}
        return {name: value for name, value in values.items() if value not in (None, [])}


def _trend(rows: Rows, chance: np.ndarray, mine: np.ndarray, usual: float, events: int) -> str:
    """The newer half of the person's own events against the older half, each share drawn to the average by one event."""
    mass = rows.weight * chance
    if mass.sum() < FEW_EVENTS or not mine.any():
        return ""
    newer = rows.event >= np.flatnonzero(np.cumsum(np.bincount(rows.event, mass, minlength=events)) >= mass.sum() / 2)[0]
    shares = [(mass[side & mine].sum() + usual) / (mass[side].sum() + 1.0) for side in (newer, ~newer)]
    ratio = shares[0] / shares[1]
    return "rising" if ratio > CHANGED else "falling" if ratio < 1 / CHANGED else "steady"


def _field(table: Table, name: str, kind: FieldType) -> _Field | None:
    """None for a field that is neither a category nor tags, or has fewer than two values."""
    if kind not in (FieldType.CATEGORY, FieldType.TAGS):
        return None
    column = table.frame[name].to_list()
    lists = [[value] if isinstance(value, str) else list(dict.fromkeys(value or [])) for value in column]
    return _indexed(name, lists)


def _indexed(name: str, lists: Sequence[Sequence[str]]) -> _Field | None:
    names, counts = np.unique(np.array([value for values in lists for value in values], dtype=object).astype(str), return_counts=True)
    kept = sorted(names[np.argsort(-counts, kind="stable")[:MOST_VALUES]].tolist())
    if len(kept) < 2:
        return None
    place = {value: number for number, value in enumerate(kept)}
    codes = [[place[value] for value in values if value in place] for values in lists]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in codes])]).astype(np.int64)
    values = np.array([code for one in codes for code in one], dtype=np.int64)
    share = np.repeat(1 / np.maximum(np.diff(offsets), 1), np.diff(offsets))
    return _Field(name, kept, (offsets, values), csr_array((share, values, offsets), shape=(len(lists), len(kept))))


def _clusters(vectors: np.ndarray, titles: list[str], seed: int, rounds: int = 25) -> _Field | None:
    """Spherical k-means of the item vectors; a cluster is named by the two titles nearest to its middle."""
    size = len(vectors)
    number = min(24, size // 12)
    if number < 2:
        return None
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1.0)
    generator = np.random.default_rng([seed, 43])
    middles = unit[generator.choice(size, number, replace=False)]
    for _ in range(rounds):
        nearest = (unit @ middles.T).argmax(axis=1)
        sums = np.zeros_like(middles)
        np.add.at(sums, nearest, unit)
        empty = np.bincount(nearest, minlength=number) == 0
        sums[empty] = unit[generator.choice(size, int(empty.sum()), replace=False)]
        middles = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    likeness = unit @ middles.T
    nearest = likeness.argmax(axis=1)
    names = {}
    for cluster in np.unique(nearest):
        members = np.flatnonzero(nearest == cluster)
        best = members[np.argsort(-likeness[members, cluster], kind="stable")[:2]]
        names[int(cluster)] = " / ".join(titles[item] for item in best)
    return _indexed(CLUSTERS, [[names[int(cluster)]] for cluster in nearest])
