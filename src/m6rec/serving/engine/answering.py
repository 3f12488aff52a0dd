"""One answer: read who asks, find candidates, let a task order them, and leave out what there is no time for.

Dimension keys: N items, C candidates, B requests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from m6rec.base.arguments import a_text, whole_number
from m6rec.base.contracts import Requests
from m6rec.base.errors import UsageError, nearest
from m6rec.data.own_events import found_in
from m6rec.data.schema import shown
from m6rec.serving.asked import ITEMS, Ask, CacheUse, Degraded, RepeatPolicy
from m6rec.serving.engine.asking import Asking, Unknown, check_words
from m6rec.serving.engine.budget import Costs, Step
from m6rec.serving.engine.candidates import Candidates
from m6rec.serving.engine.config import EngineConfig
from m6rec.serving.engine.filters import allowed_items
from m6rec.serving.engine.judging import check_request, judge_part, judge_request, merit, moment, task_named
from m6rec.serving.engine.likeness import Likeness
from m6rec.serving.engine.many import best_allowed
from m6rec.serving.engine.retrieval import Found, Retrieval
from m6rec.serving.engine.returns import Returns
from m6rec.serving.engine.turns import EngineTurns, reading
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.text.phrases import built_in, built_in_phrases
from m6rec.text.words import words


class Answering(Asking):
    """What answers requests. turns: who reads and who writes; costs: what steps take here."""

    def __init__(self, scorer: ChooseScorer, unknown: Unknown = "raise", config: EngineConfig | None = None) -> None:
        super().__init__(scorer, unknown)
        self.config = EngineConfig() if config is None else config
        self.turns, self.costs = EngineTurns(), Costs()
        self.retrieval = Retrieval(scorer, 1e6 * self.config.found_cache_mb)
        scorer.keep_histories(1e6 * self.config.history_cache_mb)
        self.returns = Returns(self.histories)
        self._likeness: Likeness | None = None
        self.degraded = dict.fromkeys(("fewer candidates", "earlier layers", "index only"), 0)  # answers that were cut short

    @reading
    def answer(self, ask: Ask, *, allowed: np.ndarray | None = None, count: int | None = None) -> Candidates:
        """Candidates for whoever asks, best first: those that `ask.items` names, else the best of the catalogue.

        Args:
            ask: see `Ask`. With a task on candidates, what the choose task retrieves is ordered by it; with a choose task, that one chooses.
            allowed: bool (N,), items that may be answered, beside what the request itself says.
            count: candidates wanted; None: `ask.k`, or with a task on candidates as many as the configuration says, if that is more.

        Raises:
            UsageError: nobody asks, k < 1, an unknown field, scenario or task.  UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        return self._answers([ask], [allowed], [count])[0]

    @reading
    def answer_many(
        self, asks: Sequence[Ask], *, allowed: Sequence[np.ndarray | None] | None = None, counts: Sequence[int | None] | None = None
    ) -> list[Candidates]:
        """`answer` of each, what can be done together done together: finding in a large catalogue costs a batch little more than one."""
        return self._answers(asks, allowed or [None] * len(asks), counts or [None] * len(asks))

    def cache_report(self) -> dict[str, dict[str, float]]:
        """What is kept, how often it was of use, how many answers were cut short, and what steps take."""
        return {
            **self.scorer.cache_report(),
            "candidates": self.retrieval.report(),
            "degraded": dict(self.degraded),
            "milliseconds": self.costs.plain(),
        }

    # ---- steps

    def _answers(
        self,
        asks: Sequence[Ask],
        allowed: Sequence[np.ndarray | None],
        counts: Sequence[int | None],
        requests: Sequence[Requests] | None = None,
    ) -> list[Candidates]:
        """requests: what the asks are read as, where that is known; None: they are read here."""
        for ask in asks:
            self._check(ask)
        if requests is None:
            requests = [self._request(ask.user, ask.history, ask.text, ask.profile, ask.scenario) for ask in asks]
        budgets = [ask.budget_ms if ask.budget_ms is not None else self.config.budget_ms for ask in asks]
        ways = [self._way(ask, one, budget) for ask, one, budget in zip(asks, requests, budgets, strict=True)]
        together = [
            number
            for number, ask in enumerate(asks)
            if ask.items is None and ways[number] != "index only" and self.retrieval.active and self._chooser(ask.task) is self.scorer
        ]
        found: dict[int, tuple[Found, CacheUse]] = {}
        for way in dict.fromkeys(ways[number] for number in together):
            mine = [number for number in together if ways[number] == way]
            found |= dict(zip(mine, self._found([requests[number] for number in mine], way), strict=True))
        return [
            self._finished(ask, one, mask, count, way, found.get(number))
            for number, (ask, one, mask, count, way) in enumerate(zip(asks, requests, allowed, counts, ways, strict=True))
        ]

    def _check(self, ask: Ask) -> None:
        whole_number("k", ask.k, ITEMS, 1)
        if ask.user is None and ask.history is None and ask.text is None and ask.profile is None:
            raise UsageError("nobody to answer; give user, history, text or profile")
        if ask.items is not None and (isinstance(ask.items, str) or not len(ask.items)):
            raise UsageError(f"items is {shown(ask.items)}; give a list of item ids to rank, or none to have them retrieved")
        if ask.repeat not in (None, "exclude", "allow", "model"):
            raise UsageError(f"repeat is {shown(ask.repeat)}; it is exclude, allow or model")
        check_request(ask.task, ask.context, ask.time)

    def _way(self, ask: Ask, requests: Requests, budget: float | None) -> Degraded:
        """How much of the answer there is time for."""
        if budget is None:
            return ""
        steps: list[Step] = ["find"] if ask.items is None else []
        if not self.scorer.has_read(requests):
            steps.append("read")
        if self._judges(ask.task):
            steps.append("judge")
        way = self.costs.way(steps, budget)
        if way and not (self.retrieval.active and ask.items is None):
            way = "" if way == "fewer candidates" and not self._judges(ask.task) else way
        if way:
            self.degraded[way] += 1
        return way

    def _found(self, requests: list[Requests], way: Degraded) -> list[tuple[Found, CacheUse]]:
        """Candidates of each request, those kept from before looked up, the others found together."""
        kept = [self.retrieval.kept(one, 0, way) for one in requests]
        missing = [number for number, (_, found) in enumerate(kept) if found is None]
        fresh: dict[int, Found] = {}
        if missing:
            with self.costs.measured("read", way):
                states = torch.cat([self._state(requests[number], way) for number in missing])
            count = None if not way else max(self.retrieval.config.candidates // 10, self.config.ranked_in_haste)
            with self.costs.measured("find", way):
                asked = requests[missing[0]] if len(missing) == 1 else joined([requests[number] for number in missing])
                fresh = dict(zip(missing, self.retrieval.find(asked, states, count), strict=True))
        answers: list[tuple[Found, CacheUse]] = []
        for number, (key, found) in enumerate(kept):
            if found is None:
                found = fresh[number]
                self.retrieval.keep(key, found)
                answers.append((found, "miss" if key is not None else "off"))
            else:
                answers.append((found, "hit"))
        return answers

    def _state(self, requests: Requests, way: Degraded) -> torch.Tensor:
        """(1, W)."""
        if way == "earlier layers":
            return self.scorer.early_state(requests)
        return self.scorer.last_states(requests, self.scorer.typed_rows(requests))

    def _finished(
        self,
        ask: Ask,
        requests: Requests,
        allowed: np.ndarray | None,
        count: int | None,
        way: Degraded,
        found: tuple[Found, CacheUse] | None,
    ) -> Candidates:
        met = self._met(ask.scenario, ask.where) if ask.items is None else None
        if met is not None:
            allowed = met if allowed is None else allowed & met
        typed = self._meeting(ask.text, ask.profile) if ask.items is None else None
        if typed is not None:
            allowed = typed if allowed is None else allowed & typed
        allowed = self._without_gone(allowed)
        judging = self._judges(ask.task)
        ranked = self.config.ranked_in_haste if way else self.config.ranked
        wanted = min(count or ask.k, max(len(self.items), 1))
        if judging and ask.items is None and way != "index only":
            wanted = max(wanted, ranked) if not way else min(max(ask.k, ranked), max(wanted, ranked))
        candidates = self._chosen(ask, requests, allowed, wanted, way, found)
        if not judging or way == "index only":
            return candidates
        with self.costs.measured("judge", way):
            return self._judged(ask, requests, candidates, way)

    def _chosen(
        self, ask: Ask, requests: Requests, allowed: np.ndarray | None, wanted: int, way: Degraded, found: tuple[Found, CacheUse] | None
    ) -> Candidates:
        """By the choose task: the items named, what was found, or out of the scores of the whole catalogue."""
        if ask.items is not None:
            items = self._items(ask.items)
            if self._judges(ask.task):
                return self._made(items, np.zeros(len(items), np.float32), {}, "off", way)
            scores = self._chooser(ask.task).scores(requests)[0, items]
            return self._ordered(ask, requests, Candidates(items, scores), len(items), way)
        if way == "index only":
            return self._of_index(ask, requests, allowed, wanted)
        repeat = ask.repeat or self.scorer.task.config.repeat
        if found is not None:
            left_out = len(requests.histories.items) if repeat == "exclude" else 0
            some = self.retrieval.among(found[0], wanted, allowed, left_out + len(ask.disliked))
            return self._ordered(ask, requests, Candidates(some.items, some.scores, some.parts, cache=found[1]), wanted, way, repeat)
        read = self.scorer.has_read(requests)
        with self.costs.measured("find", way):
            scores, parts = self._chooser(ask.task).answer(requests)
        gain = self._gain(ask, requests, np.arange(len(self.items)), repeat)
        if gain is not None:
            scores += gain
        best, values = best_allowed(scores, requests, wanted, exclude=repeat == "exclude", allowed=allowed)
        items = best[0, best[0] >= 0]
        use: CacheUse = "off" if requests.texts or requests.profiles else "hit" if read else "miss"
        return self._made(items, values[0, : len(items)], {name: part[0, items] for name, part in parts.items()}, use, way)

    def _ordered(
        self, ask: Ask, requests: Requests, found: Candidates, wanted: int, way: Degraded, repeat: RepeatPolicy = "allow"
    ) -> Candidates:
        """The best `wanted` of what was found, with what a dislike takes and a return costs."""
        gain = self._gain(ask, requests, found.items, repeat)
        scores = found.scores if gain is None else found.scores + gain
        if repeat == "exclude":
            had = found_in(np.sort(requests.histories.items), found.items)[0]
            scores = np.where(had, np.float32(-np.inf), scores)
        plain = gain is None and ask.items is None  # found are in order already
        order = np.arange(len(scores)) if plain else np.argsort(-scores, kind="stable")
        order = order[scores[order] > -np.inf][:wanted] if ask.items is None else order
        return self._made(found.items[order], scores[order], {n: p[order] for n, p in found.parts.items()}, found.cache, way)

    def _of_index(self, ask: Ask, requests: Requests, allowed: np.ndarray | None, wanted: int) -> Candidates:
        """Nearest to the last state that is known without reading anything, by inner product."""
        state = self.scorer.state_at_hand(requests)
        repeat = ask.repeat or self.scorer.task.config.repeat
        gone = np.unique(requests.histories.items) if repeat == "exclude" else np.zeros(0, np.int64)
        if self.retrieval.active:
            items, values = self.retrieval.index.search(state, min(wanted + len(gone), len(self.items)), allowed)
            found = Candidates(items[0, items[0] >= 0], values[0, items[0] >= 0])
        else:
            scores = state @ self.scorer.vectors.numpy().T
            best, values = best_allowed(scores, requests, wanted + len(gone), exclude=False, allowed=allowed)
            found = Candidates(best[0, best[0] >= 0], values[0, best[0] >= 0])
        return self._ordered(ask, requests, found, wanted, "index only", repeat)

    def _judged(self, ask: Ask, requests: Requests, found: Candidates, way: Degraded) -> Candidates:
        """Candidates ordered by the task on candidates."""
        part, task = judge_part(self.scorer), str(ask.task)
        layers = 0 if way == "earlier layers" else None
        when = moment(ask.time, self.newest)
        judged = judge_request(self.scorer, requests, found.items, [task_named(part, task)], ask.scenario, ask.context, when, layers)
        values = merit(part, task, judged[task])
        scores = np.log(np.maximum(values, 1e-30)) if part.judge.sizes.labels[task].kind == "binary" else values
        gain = self._gain(ask, requests, found.items, ask.repeat or "allow")
        scores = (scores if gain is None else scores + gain).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > -np.inf] if ask.items is None else order
        return replace(found, scores=scores, labels=judged).at(order)

    # ---- what is said of a question beside its answer

    @reading
    def understands(self, text: str) -> bool:
        """Whether any word of `text` stands in an item or names one of its categories or tags."""
        return self._stands(a_text("text", text, "give words"))

    @reading
    def profile_notes(self, profile: Mapping[str, Any] | str | None, further: Collection[str] = ()) -> tuple[str, ...]:
        """What of a described person says nothing, or is read as words alone, a line each. further: fields that count beside those of the users."""
        check_words(None, profile)
        return self._people.notes(profile, further)

    @reading
    def typed_notes(self, text: str | None, profile: Mapping[str, Any] | str | None = None, k: int = 1) -> tuple[str, ...]:
        """What of a typed text is asked for and ruled out as well, and that less than k items meet it, a line each."""
        if not text:
            return ()
        typed, notes = self.understood(text, profile), list[str]()
        plain = {word for name in built_in() for word in built_in_phrases(name).plain}
        wanted = set(words(typed.wanted))
        both = [word for word in dict.fromkeys(words(typed.unwanted)) if word in wanted and word not in plain and self._stands(word)]
        if both and not typed.contradiction:  # which `why_empty` tells
            notes.append(
                f"{', '.join(map(shown, both))} is asked for and ruled out as well, so neither counts for much; say which is meant"
            )
        met = self._without_gone(self._meeting(text, profile)) if typed.constraints else None
        if met is not None and 0 < int(met.sum()) < k:
            limits = " and ".join(map(str, typed.constraints))
            notes.append(f"{int(met.sum())} of {len(self.items):,} items meet what was typed, read as {limits}")
        return tuple(notes)

    @reading
    def goes_by(self, text: str) -> bool:
        """Whether a list goes by `text` at all: some word of it stands in an item, or it is nothing but limits."""
        return self.understands(text) or bool((typed := self.understood(text)).constraints and not typed.wanted.strip())

    # ---- what changes a score

    def _gain(self, ask: Ask, requests: Requests, items: np.ndarray, repeat: RepeatPolicy) -> np.ndarray | None:
        """float32 (C,) to add to log probabilities of `items`: for returns and dislikes; -inf for what is disliked itself; None for nothing."""
        total: np.ndarray | None = None
        if repeat == "model":
            had = np.isin(items, requests.histories.items)
            total = np.where(had, self.returns.log_rates(items), np.float32(0)).astype(np.float32)
        disliked = self._disliked(ask, requests)
        if len(disliked):
            if self._likeness is None or self._likeness.vectors is not self.scorer.vectors:
                self._likeness = Likeness(self.scorer.vectors)
            lowered = -np.float32(self.config.similar_dislikes) * self._likeness.of(items, disliked)
            lowered = np.where(np.isin(items, disliked), np.float32(-np.inf) if ask.items is None else lowered, lowered).astype(np.float32)
            total = lowered if total is None else total + lowered
        return total

    def _disliked(self, ask: Ask, requests: Requests) -> np.ndarray:
        """int64: items that are disliked by this request or by events of the history."""
        named = self._items(ask.disliked) if ask.disliked else np.zeros(0, np.int64)
        names = self.scorer.dataset.action_names
        codes = [number for number, name in enumerate(names) if name in self.config.disliked_actions]
        actions = requests.histories.actions
        if codes and actions is not None:
            events = np.isin(actions, codes)
            named = np.concatenate([named, requests.histories.items[events].astype(np.int64)])
        return np.unique(named)

    # ---- small things

    def _made(self, items: np.ndarray, scores: np.ndarray, parts: dict[str, np.ndarray], use: CacheUse, way: Degraded) -> Candidates:
        vectors = self.scorer.vectors.numpy()[items]
        return Candidates(items.astype(np.int64), scores.astype(np.float32), parts, {}, vectors, use, way)

    def _judges(self, task: str | None) -> bool:
        """Whether a task is one on candidates; an unknown one is not, and is complained of where it is asked."""
        return task is not None and self.scorer.judging is not None and task in self.scorer.judging.judge.configs

    def _chooser(self, task: str | None) -> ChooseMixture:
        """What finds candidates for a task."""
        return self.scorer if self._judges(task) else self._answering(task)

    def _answering(self, task: str | None) -> ChooseMixture:
        """What answers a choose task, by name; None is the one that reads histories. Raises UsageError."""
        if task is None:
            return self.scorer
        tasks = self.choosing
        if task not in tasks:
            raise UsageError(f"there is no choose task {shown(task)}{nearest(task, list(tasks))}; choose tasks: {', '.join(tasks)}")
        of = tasks[task].get("of")
        return self.scorer.completing if of == "basket" else self.scorer.talking if of == "dialogue" else self.scorer

    @property
    def choosing(self) -> dict[str, Any]:
        """The choose tasks of the training by name."""
        return {name: facts for name, facts in self.scorer.origin.training["tasks"].items() if facts["answer"] == "choose"}

    def _met(self, scenario: str | None, where: Mapping[str, Any] | None) -> np.ndarray | None:
        """bool (N,): the items that the scenario that asks may recommend and that meet `where`; None for all. Raises UsageError."""
        self._scenario(scenario)
        offers = self.scorer.origin.training.get("scenarios", {}).get("offers", {}).get(scenario or "")
        met = None if where is None else allowed_items(self.items, where)
        if not offers:
            return met
        offered = allowed_items(self.items, offers)
        return offered if met is None else offered & met


def joined(requests: list[Requests]) -> Requests:
    """Single requests as one batch."""
    first = requests[0].histories
    columns: dict[str, Any] = {
        name: None if getattr(first, name) is None else np.concatenate([getattr(one.histories, name) for one in requests])
        for name in first.EVENT_COLUMNS
    }
    offsets = np.concatenate([[0], np.cumsum([len(one.histories.items) for one in requests])])
    texts = [one.texts[0] if one.texts else "" for one in requests]
    profiles = [one.profiles[0] if one.profiles else "" for one in requests]
    return Requests(
        histories=type(first)(offsets=offsets, **columns),
        users=np.concatenate([one.users for one in requests if one.users is not None]),
        texts=texts if any(texts) else None,
        profiles=profiles if any(profiles) else None,
        scenarios=np.concatenate([one.scenarios for one in requests if one.scenarios is not None]),
        unwanted=[one.unwanted[0] if one.unwanted else "" for one in requests] if any(one.unwanted for one in requests) else None,
    )
