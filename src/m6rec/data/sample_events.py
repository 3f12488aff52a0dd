"""Drawing the built-in sample: the hidden truth from a seed, then everybody's events by its law, all users at once.

Dimension keys: U users, N items, T topics, S scenarios, P personas, E events, A users still drawing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.sample_tastes import (
    ACROSS,
    AGES,
    FIRST,
    INSIDE,
    KNOWN_PROFILE,
    LONGEST_PAUSE,
    MAJOR,
    MINOR,
    NEW_SESSION,
    REST,
    SAYS_MAJOR,
    SAYS_MINOR,
    SAYS_OTHER,
    SCENARIO_SHARE,
    SERIES,
    SUCCESSOR_SHARE,
    Truth,
    age_law,
    female_share,
    job_law,
    persona_topics,
)

DAY = 86400.0
START = 1704067200.0  # 2024-01-01T00:00:00Z; no event is later than END
RELEASES = 200 * DAY
END = START + 400 * DAY
# Draws at a time for whoever has no item yet; after the last, a user is taken to have had enough (small catalogues only).
TRIES = (1, 1, 2, 4, 8, 16, 48)


@dataclass(frozen=True)
class Draw:
    """E events ordered by user, then time: user, item int64; time float64 seconds; opens bool: first of a session."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    opens: np.ndarray


def plant(users: int, items: int, new_share: float, topics: int, generator: np.random.Generator) -> Truth:
    """The hidden truth for U users and N items over `topics` topics; `new_share` of the items are not released yet."""
    scenarios = 1 if items < 30 else 2 if items < 90 else len(SCENARIO_SHARE)
    order = generator.permutation(items)  # the position in the file says nothing
    topic, scenario = (np.empty(items, dtype=np.int64) for _ in range(2))
    topic[order] = np.arange(items) % topics
    scenario[order] = np.arange(items) // topics % scenarios
    cell = topic * scenarios + scenario
    rank = np.empty(items, dtype=np.int64)  # number of the item within its cell
    rank[order] = _number_within(cell[order])
    quality = generator.normal(size=items)
    weight = (1.0 + generator.permutation(items)) ** -0.6 * np.exp(0.4 * quality)
    share = weight / np.bincount(cell, weight)[cell]
    release = START - generator.uniform(0, 120 * DAY, items)
    late = generator.random(items) < 0.2
    release[late] = START + generator.uniform(0, RELEASES, int(late.sum()))
    release[generator.permutation(items)[: round(new_share * items)]] = np.inf

    major, minor = persona_topics(topics)
    fashion = (1.0 + generator.permutation(topics)) ** -0.5
    fashion /= fashion.sum()
    tastes = np.tile(REST * fashion, (len(major), 1))
    tastes[np.arange(len(major)), major] += MAJOR
    tastes[np.arange(len(major)), minor] += MINOR
    prior = fashion[major] * fashion[minor]
    prior /= prior.sum()
    persona = generator.choice(len(prior), size=users, p=prior)
    return Truth(
        topic=topic,
        scenario=scenario,
        series=rank // SERIES,
        part=rank % SERIES,
        quality=quality,
        share=share,
        release=np.round(release),
        successors=_successors(topic, scenario, cell, rank, topics, generator),
        scenario_share=SCENARIO_SHARE[:scenarios] / SCENARIO_SHARE[:scenarios].sum(),
        tastes=tastes,
        prior=prior,
        persona=persona,
        **_profiles(major[persona], minor[persona], topics, generator),
    )


def draw_events(truth: Truth, lengths: np.ndarray, generator: np.random.Generator) -> Draw:
    """Up to `lengths` (int64 (U,)) events of every user. A draw that the law forbids is drawn again, which is the law renormalised."""
    users, longest = len(lengths), int(lengths.max(initial=0))
    items = np.full((users, longest), -1, dtype=np.int32)
    times = np.zeros((users, longest))
    opens = np.zeros((users, longest), dtype=bool)
    # few sessions: days between them; many: hours, so that everybody is done before END
    pause = np.clip(140 * DAY / np.maximum(lengths * NEW_SESSION, 1), DAY / 4, 8 * DAY)
    clock = START + generator.uniform(0, RELEASES, users)
    place = np.zeros(users, dtype=np.int64)
    last = np.full(users, -1)
    done = np.zeros(users, dtype=np.int64)
    active = np.flatnonzero(lengths > 0)
    propose = _Proposals(truth)
    for step in range(longest):
        active = active[(lengths[active] > step) & (clock[active] < END - 41 * DAY)]
        new = generator.random(len(active)) < NEW_SESSION
        new |= step == 0
        between = np.clip(pause[active] * generator.lognormal(-0.5, 1.0, len(active)), 2 * LONGEST_PAUSE, 40 * DAY)
        within = np.clip(generator.exponential(480.0, len(active)), 20.0, 0.75 * LONGEST_PAUSE)
        clock[active] = np.round(clock[active] + np.where(new, between, within))
        drawn = generator.choice(len(truth.scenario_share), size=len(active), p=truth.scenario_share)
        place[active] = np.where(new, drawn, place[active])
        weights = np.array([FIRST]) if step == 0 else np.where(new[:, None], np.array(ACROSS), np.array(INSIDE))
        chosen = propose(active, place[active], last[active], weights, clock[active], items[active, :step], generator)
        active, new, chosen = active[chosen >= 0], new[chosen >= 0], chosen[chosen >= 0]
        items[active, step], times[active, step], opens[active, step] = chosen, clock[active], new
        last[active] = chosen
        done[active] = step + 1
    made = np.arange(longest) < done[:, None]  # U longest
    return Draw(user=np.repeat(np.arange(users), done), item=items[made].astype(np.int64), time=times[made], opens=opens[made])


class _Proposals:
    """Accept-reject sampling of the next item, with the tables it needs."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        scenarios = len(truth.scenario_share)
        cell = truth.topic * scenarios + truth.scenario
        self.by_cell = np.argsort(cell, kind="stable")
        sizes = np.bincount(cell, minlength=truth.tastes.shape[1] * scenarios)
        self.ends = np.cumsum(sizes)
        self.starts = self.ends - sizes
        # cell c owns the interval [c, c + 1): one search finds an item of any cell by its share
        self.mass = np.cumsum(truth.share[self.by_cell]) - np.cumsum(sizes > 0)[cell[self.by_cell]] + 1 + cell[self.by_cell]
        self.taste_steps = np.cumsum(truth.tastes, axis=1)  # P T
        self.successor_steps = np.cumsum(SUCCESSOR_SHARE)

    def __call__(
        self,
        users: np.ndarray,
        place: np.ndarray,
        last: np.ndarray,
        weights: np.ndarray,
        now: np.ndarray,
        consumed: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """int64 (A,): one item each, the first draw the law allows; -1 where none of the TRIES was."""
        truth = self.truth
        parts = np.broadcast_to(np.cumsum(weights, axis=1), (len(users), 3))
        chosen = np.full(len(users), -1, dtype=np.int64)
        open_ = np.arange(len(users))
        for tries in TRIES:
            if not len(open_):
                break
            at = np.repeat(open_, tries)
            which, follower, topic_at, item_at, accept = generator.random((5, len(at)))
            before = last[at]
            sequel = which < parts[at, 0]
            same = ~sequel & (which < parts[at, 1])
            steps = self.taste_steps[truth.persona[users[at]]]  # A * tries, T
            topic = np.minimum((topic_at[:, None] > steps).sum(axis=1), steps.shape[1] - 1)
            topic = np.where(same, truth.topic[before], topic)
            item = self._of_cell(topic * len(truth.scenario_share) + place[at], item_at)
            column = np.minimum(np.searchsorted(self.successor_steps, follower, side="right"), len(self.successor_steps) - 1)
            item = np.where(sequel, truth.successors[before, column], item)
            good = (item >= 0) & (truth.scenario[item] == place[at]) & (accept < truth.trend(now[at], item))
            good &= ~(consumed[at] == item[:, None]).any(axis=1)
            first = good.reshape(-1, tries).argmax(axis=1) + np.arange(len(open_)) * tries
            chosen[open_[good[first]]] = item[first[good[first]]]
            open_ = open_[~good[first]]
        return chosen

    def _of_cell(self, cell: np.ndarray, at: np.ndarray) -> np.ndarray:
        """An item of each cell by its share, -1 for an empty cell."""
        slot = np.searchsorted(self.mass, cell + at, side="right")
        slot = np.clip(slot, self.starts[cell], np.maximum(self.ends[cell] - 1, 0))
        return np.where(self.ends[cell] > self.starts[cell], self.by_cell[np.minimum(slot, len(self.by_cell) - 1)], -1)


def _successors(
    topic: np.ndarray, scenario: np.ndarray, cell: np.ndarray, rank: np.ndarray, topics: int, generator: np.random.Generator
) -> np.ndarray:
    """int64 (N, 3): the next part of the series (after the last part: the next series), and two items of the related topic."""
    items = len(topic)
    successors = np.full((items, 3), -1, dtype=np.int64)
    scenarios = int(scenario.max()) + 1
    by_cell = np.lexsort((rank, cell))
    sizes = np.bincount(cell, minlength=topics * scenarios)
    starts = np.cumsum(sizes) - sizes
    following = by_cell[starts[cell] + (rank + 1) % sizes[cell]]
    successors[:, 0] = np.where(following != np.arange(items), following, -1)
    related = (topic + 1) % topics * scenarios + scenario  # the next topic of the list is the related one
    some = np.flatnonzero(sizes[related] > 0)
    for column in (1, 2):
        pick = generator.integers(0, np.maximum(sizes[related[some]], 1))
        successors[some, column] = by_cell[starts[related[some]] + pick]
    return successors


def _profiles(major: np.ndarray, minor: np.ndarray, topics: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    users = len(major)
    told = generator.random(users) < KNOWN_PROFILE
    gender = (generator.random(users) < female_share(topics)[major]).astype(np.int64)
    age = AGES[0] + _draw_rows(age_law(topics)[major], generator)
    job = _draw_rows(job_law(topics)[major], generator)
    says = np.full((users, topics), SAYS_OTHER)
    says[np.arange(users), minor], says[np.arange(users), major] = SAYS_MINOR, SAYS_MAJOR
    interests = (generator.random((users, topics)) < says) & told[:, None]
    return {
        "gender": np.where(told, gender, -1),
        "age": np.where(told, age, -1),
        "job": np.where(told, job, -1),
        "interests": interests,
    }


def _draw_rows(law: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One column index per row of probabilities."""
    drawn = (generator.random(len(law))[:, None] > np.cumsum(law, axis=1)).sum(axis=1)
    return np.minimum(drawn, law.shape[1] - 1)


def _number_within(group: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each group, in order of appearance."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    numbers = np.empty(len(group), dtype=np.int64)
    numbers[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return numbers
