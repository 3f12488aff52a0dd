"""The engine: who is asking, what they had, what may be answered, the best k. Keeps catalogue and histories up to date.

Dimension keys: N items, K answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl
from torch import Tensor

from m6rec.base.arguments import a_list, a_text, list_of_texts, refused, whole_number
from m6rec.base.contracts import Requests, Scored
from m6rec.base.errors import UsageError
from m6rec.base.threads import threads_set
from m6rec.data.columns import Columns
from m6rec.data.dataset import Table
from m6rec.explanation.explained import Explanation
from m6rec.explanation.interests import Interests, Profile
from m6rec.explanation.overall import Overall
from m6rec.index.exact import ExactIndex
from m6rec.serving.asked import HISTORY, ITEMS, Ask
from m6rec.serving.engine.asking import Unknown
from m6rec.serving.engine.classifying import classify, items_judged, judge_alone, tasks_of_table
from m6rec.serving.engine.config import EngineConfig
from m6rec.serving.engine.explaining import explain, overall
from m6rec.serving.engine.field_values import FieldValues
from m6rec.serving.engine.judging import (
    check_request,
    column_of,
    judge_part,
    judge_request,
    judged_columns,
    merit,
    moment,
    predict_rows,
    task_named,
    tasks_included,
    unseen_context,
)
from m6rec.serving.engine.many import MANY, best_allowed, best_of_many
from m6rec.serving.engine.plausible import score
from m6rec.serving.engine.rollout import LONGEST, Decoding, Policy, Rollout, Step
from m6rec.serving.engine.turns import reading
from m6rec.serving.engine.typed import why_unmet
from m6rec.serving.engine.writing import Writing
from m6rec.tasks.choose_mixture import SOFTMAX_PART, ChooseMixture
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.text.constraints import Typed

Repeat = Literal["exclude", "allow", "model"]
RANKED = "give a list of item ids to rank"


class Engine(Writing):
    """Answers over one model folder; not tied to HTTP.

    unknown: what an id nobody has seen means. "raise": UnknownUserError for a user without events and without a row in the users
        table, UnknownItemError for an item of a history. "popular": such a user is answered like somebody nothing is known of, such
        an item is left out of the history.
    """

    def __init__(self, scorer: ChooseScorer, unknown: Unknown = "raise", config: EngineConfig | None = None) -> None:
        """config: caches, time and candidates; None: the defaults."""
        super().__init__(scorer, unknown, config)
        self._directions: tuple[Tensor, ExactIndex] | None = None
        self._profiler: Interests | None = None
        self._field_values: tuple[Table, dict[str, FieldValues]] | None = None
        self._rollout: Rollout | None = None

    @reading
    def recommend(
        self,
        user: str | None = None,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        *,
        k: int = 10,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
        repeat: Repeat | None = None,
        of: str | None = None,
        task: str | None = None,
        include: Sequence[str] = (),
        context: Mapping[str, Any] | None = None,
        time: float | str | datetime | None = None,
    ) -> list[Scored]:
        """The best k items, or values of the field `of`; see `Recommender.recommend`."""
        if user is None and history is None and text is None and profile is None:
            raise UsageError("nobody to recommend to; give user, history, text or profile")
        told = None if history is None else tuple(a_list("history", history, HISTORY))
        ask = Ask(user, told, text, profile, None, task, k, scenario, where, repeat, context=context, time=time)
        include = _included(include)
        if of is not None:
            self._check(ask)
            requests, chooser = self._request(user, told, text, profile, scenario), self._answering(task)
            exclude = (repeat or self.scorer.task.config.repeat) == "exclude"
            return self._values(chooser, requests, k, of, self._without_gone(self._asked_for(text, profile, scenario, where)), exclude)
        found = self.answer(ask)
        found = found.at(np.arange(min(k, len(found))))
        said = (
            self._said(self._request(user, told, text, profile, scenario), found.items, include, scenario, context, time)
            if include
            else None
        )
        return self._scored(found.items, found.scores, found.parts, said)

    def _asked_for(
        self, text: str | None, profile: Mapping[str, Any] | str | None, scenario: str | None, where: Mapping[str, Any] | None
    ) -> np.ndarray | None:
        """bool (N,): the items that meet `where`, what the scenario offers and what was typed exactly; None for all."""
        met, typed = self._met(scenario, where), self._meeting(text, profile)
        return typed if met is None else met if typed is None else met & typed

    @reading
    def why_empty(
        self,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        *,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
        language: str = "en",
    ) -> str:
        """Why no item can be answered; see `Recommender.why_empty`."""
        constraints, left = self.understood(text, profile).constraints, self._met(scenario, where)
        left = None if left is None else self._without_gone(left)
        return why_unmet(self.items, constraints, self._without_gone(None), left, self._template(language))

    @reading
    def understand(self, text: str) -> Typed:
        """What was typed, taken apart; see `Recommender.understand`."""
        return self.understood(a_text("text", text, "give words"))

    @reading
    def recommend_many(
        self,
        users: Sequence[str] | None = None,
        *,
        k: int = 10,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
        repeat: Literal["exclude", "allow"] | None = None,
        threads: int | None = None,
    ) -> pl.DataFrame:
        """The best k items of many users at once; see `Recommender.recommend_many`."""
        k = whole_number("k", k, ITEMS, 1)
        threads = threads_set() if threads is None else whole_number("threads", threads, "give 1 or more, a whole number, or None", 1)
        if repeat not in (None, "exclude", "allow"):
            raise refused("repeat", repeat, "for many at once it is exclude or allow")
        names = self.users.ids.ids if users is None else a_list("users", users, "give a list of user ids, or None for everybody")
        rows = np.arange(len(names)) if users is None else np.array([self._user(name) for name in names], dtype=np.int64)
        allowed = self._without_gone(self._met(scenario, where))
        exclude = (repeat or self.scorer.task.config.repeat) == "exclude"
        asking = self._scenario(scenario)
        histories = self.histories.compact()
        if len(rows) >= MANY and not self.retrieval.active:
            self.scorer.densify()

        def answer(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            requests = Requests(self.histories.many(block), users=block, scenarios=np.full(len(block), asking, dtype=np.int64))
            if self.retrieval.active:
                return self.retrieval.best(requests, k, allowed, exclude)[:2]
            return best_allowed(self.scorer.scores(requests), requests, k, exclude=exclude, allowed=allowed)

        lengths = (
            np.where(rows < len(histories), histories.lengths[np.minimum(rows, len(histories) - 1)], 0) if len(histories) else rows * 0
        )
        best, values = best_of_many(rows, lengths, len(self.items), answer, k, threads)
        row, place = np.nonzero(best >= 0)
        return pl.DataFrame(
            {
                Columns.USER: pl.Series(names, dtype=pl.String)[row],
                "rank": (place + 1).astype(np.int32),
                Columns.ITEM: pl.Series(self.items.ids.ids, dtype=pl.String)[best[row, place]],
                "score": values[row, place],
            }
        )

    def _values(
        self, scorer: ChooseMixture, requests: Requests, k: int, field: str, allowed: np.ndarray | None, exclude: bool
    ) -> list[Scored]:
        """`recommend` of values of a field: each has the probability of its items together."""
        if self._field_values is None or self._field_values[0] is not self.items:
            self._field_values = (self.items, {})
        known = self._field_values[1]
        if a_text("of", field, "give the name of a field") not in known:
            known[field] = FieldValues.of(self.items, field)
        scores = scorer.scores(requests)[0]
        best, values = known[field].best(scores, k, allowed=allowed, known=requests.histories.items if exclude else None)
        return [
            Scored(known[field].names[value], score, known[field].names[value]) for value, score in zip(best, values.tolist(), strict=True)
        ]

    def _scored(
        self, items: np.ndarray, values: np.ndarray, parts: dict[str, np.ndarray], labels: list[dict[str, Any]] | None = None
    ) -> list[Scored]:
        """Answers of one request: items (K,), their scores (K or more), what each part gives to them (K,), what tasks say of them."""
        titles, ids = self._titles(), self.items.ids.ids
        if not parts and not labels:
            order = items.tolist()
            return Scored.many([ids[item] for item in order], values[: len(items)].tolist(), [titles[item] for item in order])
        rows = np.array(list(parts.values()), dtype=np.float64).reshape(len(parts), len(items)).T.tolist()
        return [
            Scored(ids[item], value, titles[item], _shares(dict(zip(parts, row, strict=True))) if parts else {}, said)
            for item, value, row, said in zip(items.tolist(), values[: len(items)].tolist(), rows, labels or [{}] * len(items), strict=True)
        ]

    def _said(
        self,
        requests: Requests,
        items: np.ndarray,
        include: Sequence[str],
        scenario: str | None,
        context: Mapping[str, Any] | None,
        time: float | str | datetime | None,
    ) -> list[dict[str, Any]] | None:
        """What is asked for of each answer: a task on candidates, a field of the items, or a task on items, which also fills in the field of its name
        where an item lacks it; None where nothing is."""
        if not include:
            return None
        fields, on_items = self.items.fields, items_judged(self.scorer)
        columns: dict[str, list[Any]] = {}
        tasks = tasks_included(self.scorer, include, fields, on_items)
        if tasks:
            part = judge_part(self.scorer)
            judged = judge_request(self.scorer, requests, items, tasks, scenario, context, moment(time, self.newest))
            columns |= {name: series.to_list() for name, series in judged_columns(part, judged, named=False).items()}
        known = {name: self.items.frame[name].gather(items) for name in include if name in fields}
        asked = [name for name in on_items if name in include and (name not in known or known[name].null_count())]
        for task in asked:
            said = judge_alone(
                self.scorer, pl.DataFrame({Columns.ITEM: [self.items.ids.ids[item] for item in items.tolist()]}), task, self._item
            )
            known |= {task: known[task].zip_with(known[task].is_not_null(), said[task])} if task in known else said
        columns |= {name: series.to_list() for name, series in known.items()}
        return [{name: column[row] for name, column in columns.items()} for row in range(len(items))]

    @reading
    def rank(
        self,
        user: str | None = None,
        items: Sequence[str] = (),
        task: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        scenario: str | None = None,
        time: float | str | datetime | None = None,
        include: Sequence[str] = (),
    ) -> list[Scored]:
        """The given items in order; see `Recommender.rank`."""
        if user is None and history is None and text is None and profile is None:
            raise UsageError("nobody to rank for; give user, history, text or profile")
        items = a_list("items", items, RANKED)
        if not items:
            raise refused("items", items, RANKED)
        include = _included(include)
        check_request(task, context, time)
        requests = self._request(user, history, text, profile, scenario)
        rows = self._items(items)
        if task is None or task in self.choosing:
            values = self._answering(task).scores(requests)[0, rows].astype(np.float64)
        else:
            part = judge_part(self.scorer)
            judged = judge_request(self.scorer, requests, rows, [task_named(part, task)], scenario, context, moment(time, self.newest))
            values = merit(part, task, judged[task])
        order = np.argsort(-values, kind="stable")
        met = self._meeting(text, profile)
        if met is not None:  # what is ruled out is ranked all the same, after the rest
            order = order[np.argsort(~met[rows[order]], kind="stable")]
        labels = self._said(requests, rows[order], include, scenario, context, time)
        return self._scored(rows[order], values[order], {}, labels)

    @reading
    def predict(self, frame: pl.DataFrame, tasks: Sequence[str] | None = None) -> pl.DataFrame:
        """The frame with the answers of tasks as columns; see `Recommender.predict`."""
        tasks = None if tasks is None else list_of_texts("tasks", tasks, "give a list of names of tasks")
        candidates, alone = tasks_of_table(self.scorer, frame.columns, tasks)
        columns: dict[str, pl.Series] = {}
        if candidates:
            users = np.array([self._user(user) for user in column_of(frame, Columns.USER)], dtype=np.int64)
            items = np.array([self._item(item) for item in column_of(frame, Columns.ITEM)], dtype=np.int64)
            answers = predict_rows(self.scorer, frame, candidates, users, items, self.histories.compact(), self.newest)
            columns = judged_columns(judge_part(self.scorer), answers, named=tasks is not None)
        for task in alone:
            columns |= judge_alone(self.scorer, frame, task, self._item)
        return frame.with_columns(series.alias(name) for name, series in columns.items())

    @reading
    def unseen_context(self, frame: pl.DataFrame) -> list[str]:
        """What of the context of rows training has not seen; see `Recommender.unseen_context`."""
        return unseen_context(self.scorer, frame)

    @reading
    def classify(self, text: str | Sequence[str] | None = None, item: str | None = None, task: str | None = None) -> Any:
        """What a task says of texts or of an item alone; see `Recommender.classify`."""
        return classify(self.scorer, None if item is None else self._item(item), text, task)

    @reading
    def similar_items(self, item: str, k: int = 10) -> list[Scored]:
        """The k items whose vectors are nearest to that of `item` by cosine."""
        row, k = self._item(item), whole_number("k", k, ITEMS, 1)
        held = self._directions
        if held is None or held[0] is not self.scorer.vectors:
            vectors = self.scorer.vectors.numpy()
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            held = self._directions = (self.scorer.vectors, ExactIndex(vectors / np.where(norms > 0, norms, 1.0)))
        index = held[1]
        allowed = np.ones(len(self.items), dtype=bool) if (open_to := self._without_gone(None)) is None else open_to.copy()
        allowed[row] = False
        best, values = index.search(index.vectors[row : row + 1], k, allowed)
        titles, ids = self._titles(), self.items.ids.ids
        return [Scored(ids[i], float(v), titles[i]) for i, v in zip(best[0], values[0], strict=True) if i >= 0]

    @reading
    def profile(self, user: str, most: int = 5) -> Profile:
        """What is held about a user; see `Recommender.profile`. What is learned over everybody is learned once for each state of the data."""
        row, most = self._user(user), whole_number("most", most, "give a whole number of interests, 1 or more", 1)
        if self._profiler is None or self._profiler.dataset is not self.dataset or self._profiler.most != most:
            self._profiler = Interests(self.scorer, self.histories.compact(), most=most)
        return self._profiler.of(row, self.histories.row(row))

    @reading
    def explain(self, item: str, **asked: Any) -> Explanation:
        """Why an item stands where it stands for somebody; see `Recommender.explain`."""
        return explain(self, item, **asked)

    @reading
    def explain_overall(self, task: str | None = None, **asked: Any) -> Overall:
        """What a task goes by; see `Recommender.explain_overall`."""
        return overall(self, task, **asked)

    @reading
    def continue_sequence(
        self,
        user: str | None = None,
        n: int = 10,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        *,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
        repeat: Repeat | None = None,
        decoding: Decoding = "sample",
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Step]:
        """Events that would follow; see `Recommender.continue_sequence`."""
        n = whole_number("n", n, f"ask for 1 to {LONGEST:,} events", 1, LONGEST)
        seed = whole_number("seed", seed, "give a whole number, 0 or more")
        if user is None and history is None and text is None and profile is None:
            raise UsageError("nobody to go on with; give user, history, text or profile")
        requests = self._request(user, history, text, profile, scenario)
        allowed = self._without_gone(self._asked_for(text, profile, scenario, where))
        policy = Policy(decoding, temperature, top_p, repeat or self.scorer.task.config.repeat, allowed).checked()
        if self._rollout is None or self._rollout.stale(self.scorer, self.histories):
            self._rollout = Rollout(self.scorer, self.histories, self.retrieval, self.returns)
        known = -1 if requests.users is None else int(requests.users[0])
        steps = self._rollout(requests, np.array([n]), policy, [[seed, max(known, 0)]])[0]
        titles, ids = self._titles(), self.items.ids.ids
        names, usual = self.dataset.scenario_names, self._rollout.scenarios_of([item for item, _, _ in steps], requests)
        return [
            Step(ids[item], titles[item], chance, moment, names[place] if place >= 0 else None)
            for (item, chance, moment), place in zip(steps, usual, strict=True)
        ]

    @reading
    def plausibility(self, rows: Sequence[str | tuple[str, str] | Mapping[str, Any]], recent: int = 4) -> list[float]:
        """How well words fit what stands before them; see `Recommender.plausibility`."""
        return score(self, rows, recent)


def _included(include: Sequence[str] | None) -> list[str]:
    return (
        [] if include is None else list_of_texts("include", include, "give a list of names of fields and tasks, for example ['category']")
    )


def _shares(parts: dict[str, float]) -> dict[str, float]:
    """Parts of a probability as shares of it; what no part knows is the softmax's alone."""
    total = sum(parts.values())
    if total > 0:
        return {name: part / total for name, part in parts.items()}
    return {name: float(name == SOFTMAX_PART) for name in parts}
