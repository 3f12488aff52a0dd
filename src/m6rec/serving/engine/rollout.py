"""Sequence roll-out: what people would go on to, event after event, each drawn from the choose task's mixture and read before the next.

A drawn item is appended to the history with a moment, its usual action and scenario; filters and the repeat policy hold at every step. A person
draws by a generator of their own, so that people rolled out together get what each would get alone.

Shapes: B people, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from m6rec.base.arguments import real_number
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import UsageError
from m6rec.data.schema import shown
from m6rec.serving.asked import RepeatPolicy
from m6rec.serving.engine.answering import joined
from m6rec.serving.engine.histories import HistoryStore
from m6rec.serving.engine.retrieval import Retrieval
from m6rec.serving.engine.returns import Returns
from m6rec.tasks.choose_mixture import LEAST
from m6rec.tasks.model_folder import ChooseScorer

Decoding = Literal["sample", "greedy"]
CANDIDATES = 500  # of a catalogue too large to be scored whole
LONGEST = 10_000


@dataclass(frozen=True)
class Step:
    """One event of a continuation: `probability` of the item among those that were allowed; `time` in seconds, NaN where no times are known."""

    item_id: str
    title: str
    probability: float
    time: float
    scenario: str | None


@dataclass(frozen=True)
class Policy:
    """How items are drawn.

    decoding     greedy: what `recommend` puts first; sample: by the probabilities of the mixture
    temperature  of sampling: probabilities to the power 1 / temperature
    top_p        sampling draws out of the fewest items whose probabilities add up to this
    repeat       whether items of the history, drawn ones among them, come again
    allowed      bool (N,), None: every item
    """

    decoding: Decoding = "sample"
    temperature: float = 1.0
    top_p: float = 1.0
    repeat: RepeatPolicy = "exclude"
    allowed: np.ndarray | None = None

    def checked(self) -> Policy:
        """Itself. Raises UsageError for a value outside its range."""
        if self.decoding not in ("sample", "greedy"):
            raise UsageError(f"decoding is {shown(self.decoding)}; it is sample or greedy")
        real_number("temperature", self.temperature, "give a number above 0 and at most 100", above=0, most=100)
        real_number("top_p", self.top_p, "give a share of the probability above 0 and at most 1", above=0, most=1)
        if self.repeat not in ("exclude", "allow", "model"):
            raise UsageError(f"repeat is {shown(self.repeat)}; it is exclude, allow or model")
        return self


class Habits:
    """What the logs say of an event beside its item: the usual scenario and action of every item, and the gaps between events."""

    def __init__(self, histories: Histories, items: int) -> None:
        self.histories, self.items = histories, items

    def usual(self, column: Literal["scenarios", "actions"]) -> np.ndarray:
        """int64 (N,): the commonest code of each item, -1 for items without events."""
        codes = getattr(self.histories, column)
        width = int(codes.max(initial=0)) + 1
        pairs, counts = np.unique(self.histories.items.astype(np.int64) * width + codes, return_counts=True)
        order = np.argsort(counts, kind="stable")
        found = np.full(self.items, -1, dtype=np.int64)
        found[pairs[order] // width] = pairs[order] % width  # the last one written is the commonest
        return found

    @cached_property
    def scenarios(self) -> np.ndarray:
        return self.usual("scenarios")

    @cached_property
    def actions(self) -> np.ndarray:
        return self.usual("actions")

    @cached_property
    def gaps(self) -> np.ndarray:
        """float64, ascending: seconds between neighbouring events of a person, all people together; never empty."""
        times, rows = self.histories.times, np.repeat(np.arange(len(self.histories)), self.histories.lengths)
        if times is None:
            return np.zeros(1)
        found = np.diff(times)[np.diff(rows) == 0]
        found = np.sort(found[~np.isnan(found) & (found >= 0)])
        return found if len(found) else np.zeros(1)


class Rollout:
    """Continues histories of a served model."""

    def __init__(self, scorer: ChooseScorer, store: HistoryStore, retrieval: Retrieval, returns: Returns) -> None:
        self.scorer, self.store, self.retrieval, self.returns = scorer, store, retrieval, returns
        self.habits = Habits(store.compact(), len(scorer.catalogue))

    def stale(self, scorer: ChooseScorer, store: HistoryStore) -> bool:
        """Whether the catalogue or the histories are others than when this was made."""
        return self.scorer is not scorer or self.habits.histories is not store.compact() or self.habits.items != len(scorer.catalogue)

    def __call__(self, requests: Requests, steps: np.ndarray, policy: Policy, seeds: Sequence[Any]) -> list[list[tuple[int, float, float]]]:
        """(item, probability, time) of every step of each of B people; fewer where nothing is left that is allowed.

        Args:
            steps: int (B,), events wanted.  seeds: of each person's generator.
        """
        generators = [np.random.default_rng(seed) for seed in seeds]
        people = [requests.rows(np.array([row])) for row in range(len(requests))]
        found: list[list[tuple[int, float, float]]] = [[] for _ in people]
        going = [row for row in range(len(people)) if steps[row] > 0]
        while going:
            chances = self._chances(joined([people[row] for row in going]), policy)
            on = []
            for row, (items, chance) in zip(going, chances, strict=True):
                drawn = _draw(items, chance, policy, generators[row])
                if drawn is None:
                    continue
                moment = self._moment(people[row].histories, policy, generators[row])
                found[row].append((*drawn, moment))
                people[row] = self._after(people[row], drawn[0], moment)
                if len(found[row]) < steps[row]:
                    on.append(row)
            going = on
        return found

    def _chances(self, requests: Requests, policy: Policy) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each person the items that may come, and what they are worth: probabilities to sample by, or scores as probabilities."""
        exclude = policy.repeat == "exclude"
        if self.retrieval.active:
            items, scores, parts = self.retrieval.best(requests, CANDIDATES, policy.allowed, exclude)
            worth = sum(parts.values(), np.zeros_like(scores)) if policy.decoding == "sample" else np.exp(scores - scores[:, :1])
            rows = [(one[one >= 0], value[one >= 0].astype(np.float64)) for one, value in zip(items, worth, strict=True)]
        else:
            every = np.arange(len(self.scorer.catalogue))
            if policy.decoding == "sample":
                parts = self.scorer.alone(requests)[1]
                worth = np.sum(list(parts.values()), axis=0, dtype=np.float64)
            else:
                scores = self.scorer.scores(requests).astype(np.float64)
                worth = np.exp(scores - scores.max(axis=1, keepdims=True))
            rows = [(every, row) for row in np.maximum(worth, LEAST)]
        return [self._open(one, policy, requests.histories.row(row)) for row, one in enumerate(rows)]

    def _open(self, found: tuple[np.ndarray, np.ndarray], policy: Policy, had: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        items, worth = found
        if policy.repeat == "model":
            worth = worth * np.where(np.isin(items, had), np.exp(self.returns.log_rates(items)), 1.0)
        keep = np.ones(len(items), dtype=bool) if policy.allowed is None else policy.allowed[items].copy()
        if policy.repeat == "exclude":
            keep &= ~np.isin(items, had)
        return items[keep], worth[keep]

    def _moment(self, history: Histories, policy: Policy, generator: np.random.Generator) -> float:
        """The moment of the next event: a gap as they are in the log after the newest event; the median one where nothing is left to chance."""
        if history.times is None:
            return float("nan")
        gaps = self.habits.gaps
        place = generator.random() if policy.decoding == "sample" else 0.5
        known = history.times[~np.isnan(history.times)]
        newest = float(known[-1]) if len(known) else (self.store.newest or 0.0)
        return newest + float(gaps[int(place * len(gaps))])

    def scenarios_of(self, items: Sequence[int], person: Requests) -> list[int]:
        """Codes of where events with these items happen: where the person asks from, else where the item usually is; -1 where nothing is known."""
        if self.store.base.scenarios is None:
            return [-1] * len(items)
        asking = -1 if person.scenarios is None else int(person.scenarios[0])
        return [asking if asking >= 0 else int(self.habits.scenarios[item]) for item in items]

    def _after(self, person: Requests, item: int, moment: float) -> Requests:
        """The request once the event is in the history."""
        columns: dict[str, np.ndarray] = {}
        base = self.store.base
        if base.times is not None:
            columns["times"] = np.array([moment])
        if base.scenarios is not None:
            code = self.scenarios_of([item], person)[0]
            columns["scenarios"] = np.array([code if code >= 0 else self.store.usual["scenarios"]], dtype=base.scenarios.dtype)
        if base.actions is not None:
            usual = self.habits.actions[item]
            columns["actions"] = np.array([usual if usual >= 0 else self.store.usual["actions"]], dtype=base.actions.dtype)
        event = Histories(offsets=np.array([0, 1]), items=np.array([item], dtype=np.int32), **columns)
        history = self.store.joined(person.histories, event)
        return Requests(history, person.users, person.texts, person.profiles, person.now, person.scenarios)


def _draw(items: np.ndarray, worth: np.ndarray, policy: Policy, generator: np.random.Generator) -> tuple[int, float] | None:
    """The item and its probability among those there are; None where there is none."""
    if not len(items):
        return None
    chance = worth / worth.sum()
    if policy.decoding == "greedy":
        best = int(chance.argmax())
        return int(items[best]), float(chance[best])
    if policy.temperature != 1.0:
        log = np.log(chance) / policy.temperature
        chance = np.exp(log - log.max())
        chance /= chance.sum()
    order = np.argsort(-chance, kind="stable")
    total = np.cumsum(chance[order])
    kept = order[: int(np.searchsorted(total, policy.top_p - 1e-12)) + 1]
    total = total[: len(kept)]
    place = min(int(np.searchsorted(total, generator.random() * total[-1], side="right")), len(kept) - 1)
    return int(items[kept[place]]), float(chance[kept[place]] / total[-1])
