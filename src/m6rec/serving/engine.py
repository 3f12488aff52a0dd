"""The engine: who is asking, what they had, what may be answered, the best k. Keeps catalogue and histories up to date.

Dimension keys: N items, K answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from m6rec.base.contracts import Requests, Scored
from m6rec.base.errors import UsageError, nearest
from m6rec.base.threads import threads_set
from m6rec.data.columns import Columns
from m6rec.data.dataset import Dataset, Table, Vocabulary
from m6rec.data.schema import shown
from m6rec.data.store import fingerprint
from m6rec.data.tables import empty_column
from m6rec.explanation.interests import Interests, Profile
from m6rec.index.exact import ExactIndex
from m6rec.serving.additions import read_new_events, read_new_items
from m6rec.serving.asking import Asking, Unknown
from m6rec.serving.field_values import FieldValues
from m6rec.serving.filters import allowed_items
from m6rec.serving.judging import classify, column_of, judge_part, judge_request, labelled, merit, moment, predict_rows, task_named
from m6rec.serving.many import MANY, best_allowed, best_of_many
from m6rec.serving.retrieval import Retrieval
from m6rec.tasks.choose_mixture import SOFTMAX_PART, ChooseMixture, Profiles
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.model_folder import ChooseScorer

Repeat = Literal["exclude", "allow"]
MINUTE = 60.0


class Engine(Asking):
    """Answers over one model folder; not tied to HTTP.

    unknown: what an id nobody has seen means. "raise": UnknownUserError for a user without events and without a row in the users
        table, UnknownItemError for an item of a history. "popular": such a user is answered like somebody nothing is known of, such
        an item is left out of the history.
    """

    def __init__(self, scorer: ChooseScorer, unknown: Unknown = "raise") -> None:
        super().__init__(scorer, unknown)
        self.retrieval = Retrieval(scorer)
        self._index: ExactIndex | None = None
        self._profiler: Interests | None = None
        self._titled: tuple[Table, list[str]] | None = None
        self._field_values: tuple[Table, dict[str, FieldValues]] | None = None

    @property
    def dataset(self) -> Dataset:
        """What is known now, added items and events included."""
        return self.scorer.dataset

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
        if k < 1:
            raise UsageError(f"k is {k}; ask for 1 or more items")
        if user is None and history is None and text is None and profile is None:
            raise UsageError("nobody to recommend to; give user, history, text or profile")
        requests = self._request(user, history, text, profile, scenario)
        scorer = self._answering(task)
        repeat = repeat or self.scorer.task.config.repeat
        where = self._offered(scenario, where)
        if of is not None:
            return self._values(scorer, requests, k, of, None if where is None else allowed_items(self.items, where), repeat == "exclude")
        allowed = None if where is None else allowed_items(self.items, where)
        if self.retrieval.active and scorer is self.scorer:
            best, values, given = self.retrieval.best(requests, k, allowed, repeat == "exclude")
            items = best[0, best[0] >= 0]
            parts = {name: part[0, : len(items)] for name, part in given.items()}
        else:
            scores, given = scorer.answer(requests)
            best, values = best_allowed(scores, requests, k, exclude=repeat == "exclude", allowed=allowed)
            items = best[0, best[0] >= 0]
            parts = {name: part[0, items] for name, part in given.items()}
        return self._scored(items, values[0], parts, self._said(requests, items, include, scenario, context, time))

    def recommend_many(
        self,
        users: Sequence[str] | None = None,
        *,
        k: int = 10,
        scenario: str | None = None,
        where: Mapping[str, Any] | None = None,
        repeat: Repeat | None = None,
        threads: int | None = None,
    ) -> pl.DataFrame:
        """The best k items of many users at once; see `Recommender.recommend_many`."""
        if k < 1:
            raise UsageError(f"k is {k}; ask for 1 or more items")
        if isinstance(users, str):
            raise UsageError(f"users is the text {shown(users)}; give a list of user ids, or None for everybody")
        names = self.users.ids.ids if users is None else list(users)
        rows = np.arange(len(names)) if users is None else np.array([self._user(name) for name in names], dtype=np.int64)
        where = self._offered(scenario, where)
        allowed = None if where is None else allowed_items(self.items, where)
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
        best, values = best_of_many(rows, lengths, len(self.items), answer, k, threads or threads_set())
        row, place = np.nonzero(best >= 0)
        return pl.DataFrame(
            {
                Columns.USER: pl.Series(names, dtype=pl.String)[row],
                "rank": (place + 1).astype(np.int32),
                Columns.ITEM: pl.Series(self.items.ids.ids, dtype=pl.String)[best[row, place]],
                "score": values[row, place],
            }
        )

    def _answering(self, task: str | None) -> ChooseMixture:
        """What answers a choose task, by name; None is the one that reads histories. Raises UsageError."""
        if task is None:
            return self.scorer
        tasks = self.choosing
        if task not in tasks:
            raise UsageError(f"there is no choose task {shown(task)}{nearest(task, list(tasks))}; choose tasks: {', '.join(tasks)}")
        return self.scorer.completing if tasks[task].get("of") == "basket" else self.scorer

    def _offered(self, scenario: str | None, where: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """`where`, and what the scenario that asks may offer (`scenarios.offers`); what the caller says of a field goes first."""
        offers = self.scorer.origin.training.get("scenarios", {}).get("offers", {}).get(scenario or "")
        return {**offers, **(where or {})} if offers else where

    def _values(
        self, scorer: ChooseMixture, requests: Requests, k: int, field: str, allowed: np.ndarray | None, exclude: bool
    ) -> list[Scored]:
        """`recommend` of values of a field: each has the probability of its items together."""
        if self._field_values is None or self._field_values[0] is not self.items:
            self._field_values = (self.items, {})
        known = self._field_values[1]
        if field not in known:
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
        """What is asked for of each answer: a field of the items, or a task; None where nothing is."""
        if not include:
            return None
        columns: dict[str, list[Any]] = {}
        tasks = [name for name in include if name not in self.items.fields]
        if tasks:
            part = judge_part(self.scorer)
            judged = judge_request(
                self.scorer, requests, items, [task_named(part, name) for name in tasks], scenario, context, moment(time, self.newest)
            )
            for name, answers in judged.items():
                columns |= {column: series.to_list() for column, series in labelled(part, name, answers).items()}
        columns |= {name: self.items.frame[name].gather(items).to_list() for name in include if name in self.items.fields}
        return [{name: column[row] for name, column in columns.items()} for row in range(len(items))]

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
        if isinstance(items, str) or not len(items):
            raise UsageError(f"items is {shown(items)}; give a list of item ids to rank")
        requests = self._request(user, history, text, profile, scenario)
        rows = self._items(items)
        if task is None or task in self.choosing:
            values = self._answering(task).scores(requests)[0, rows].astype(np.float64)
        else:
            part = judge_part(self.scorer)
            judged = judge_request(self.scorer, requests, rows, [task_named(part, task)], scenario, context, moment(time, self.newest))
            values = merit(part, task, judged[task])
        order = np.argsort(-values, kind="stable")
        labels = self._said(requests, rows[order], include, scenario, context, time)
        return self._scored(rows[order], values[order], {}, labels)

    def predict(self, frame: pl.DataFrame, tasks: Sequence[str] | None = None) -> pl.DataFrame:
        """The frame with the answers of tasks as columns; see `Recommender.predict`."""
        part = judge_part(self.scorer)
        wanted = [task_named(part, task) for task in (part.judge.configs if tasks is None else tasks)]
        users = np.array([self._user(user) for user in column_of(frame, Columns.USER)], dtype=np.int64)
        items = np.array([self._item(item) for item in column_of(frame, Columns.ITEM)], dtype=np.int64)
        answers = predict_rows(self.scorer, frame, wanted, users, items, self.histories.compact(), self.newest)
        columns = {name: series for task in wanted for name, series in labelled(part, task, answers[task]).items()}
        return frame.with_columns(series.alias(name) for name, series in columns.items())

    def classify(self, text: str | Sequence[str] | None = None, item: str | None = None, task: str | None = None) -> Any:
        """What a task says of texts or of an item alone; see `Recommender.classify`."""
        return classify(self.scorer, None if item is None else self._item(item), text, task)

    @property
    def newest(self) -> float:
        """When is now, where a request does not say: the next full minute, in seconds, after the newest event or exposure; NaN where no time is known."""
        judging = self.scorer.judging
        moments = (self.histories.newest, None if judging is None else judging.inputs.newest)
        times = [moment for moment in moments if moment is not None]
        return MINUTE * (math.floor(max(times) / MINUTE) + 1) if times else float("nan")

    @property
    def choosing(self) -> dict[str, Any]:
        """The choose tasks of the training by name."""
        return {name: facts for name, facts in self.scorer.origin.training["tasks"].items() if facts["answer"] == "choose"}

    def understands(self, text: str) -> bool:
        """Whether any word of `text` stands in an item or names one of its categories or tags."""
        return bool(self.scorer.catalogue.search[0].text(text).nnz)

    def similar_items(self, item: str, k: int = 10) -> list[Scored]:
        """The k items whose vectors are nearest to that of `item` by cosine."""
        row = self._item(item)
        if k < 1:
            raise UsageError(f"k is {k}; ask for 1 or more items")
        if self._index is None:
            vectors = self.scorer.vectors.numpy()
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            self._index = ExactIndex(vectors / np.where(norms > 0, norms, 1.0))
        allowed = np.ones(len(self.items), dtype=bool)
        allowed[row] = False
        best, values = self._index.search(self._index.vectors[row : row + 1], k, allowed)
        titles, ids = self._titles(), self.items.ids.ids
        return [Scored(ids[i], float(v), titles[i]) for i, v in zip(best[0], values[0], strict=True) if i >= 0]

    def profile(self, user: str, most: int = 5) -> Profile:
        """What is held about a user; see `Recommender.profile`. What is learned over everybody is learned once for each state of the data."""
        row = self._user(user)
        if self._profiler is None or self._profiler.dataset is not self.dataset or self._profiler.most != most:
            self._profiler = Interests(self.scorer, self.histories.compact(), most=most)
        return self._profiler.of(row, self.histories.row(row))

    def add_items(self, frame: pl.DataFrame) -> int:
        """Make new items recommendable at once; returns how many were added.

        Raises:
            DataError: no item_id, a wrong cell, or an id that the catalogue has already; nothing is added then.
        """
        scorer = self.scorer
        new = read_new_items(frame, self.items.fields, scorer.origin.training)
        scorer.add_items(new)
        self._changed(items=scorer.catalogue.items)
        packed = scorer.packed
        scorer.refresh()
        scorer.packed = packed  # the vectors of the older items, which is what these states read, are what they were
        self._index = None
        return len(new)

    def add_events(self, frame: pl.DataFrame) -> int:
        """Append events (user_id, item_id, and optionally time, order, action, scenario, value) and return how many.

        Columns may have their canonical names or those of the training's files. Without times, events follow each other as in the
        frame (or by order); with them, an event takes its place by time among those of the user. A user not seen before becomes known.

        Raises:
            DataError: a missing column or cell, an action or scenario that training did not know, a time in the future.
            UnknownItemError: an item that is not in the catalogue. Nothing is added then.
        """
        events = read_new_events(frame, self.scorer.origin.training)
        items = np.array([self._item(item) for item in events.items], dtype=np.int32)
        columns = self.histories.columns(events)
        known = self._with_users([user for user in dict.fromkeys(events.users) if user not in self.users.ids])
        self.histories.append(np.array([known.ids.dense(user) for user in events.users], dtype=np.int64), len(known), items, columns)
        if self.scorer.profiles is not None:
            self.scorer.profiles = _widened(self.scorer.profiles, len(known))
        self.users = known
        self._changed(users=known)
        return frame.height

    def save(self, folder: Path) -> None:
        """The model folder with everything added since it was loaded."""
        self._changed(histories=self.histories.compact())
        self.scorer.save(folder, beside=self.retrieval.save)

    def _changed(self, **parts: Any) -> None:
        plain = replace(self.dataset, **parts)
        # The fingerprint is made when the dataset is saved: hashing a catalogue for every event added would be wasted.
        self.scorer.dataset = replace(plain, fingerprint=fingerprint(plain)) if "histories" in parts else plain

    def _with_users(self, fresh: list[str]) -> Table:
        if not fresh:
            return self.users
        nothing = [empty_column(name, kind, len(fresh)) for name, kind in self.users.fields.items()]
        rows = pl.DataFrame([pl.Series(Columns.USER, fresh, dtype=pl.String), *nothing])
        frame = pl.concat([self.users.frame, rows.select(self.users.frame.columns)])
        return Table(Vocabulary([*self.users.ids.ids, *fresh]), frame, self.users.fields)

    def _titles(self) -> list[str]:
        """Titles of the catalogue, made once for each state of it."""
        if self._titled is None or self._titled[0] is not self.items:
            self._titled = (self.items, self.items.titles())
        return self._titled[1]


def _shares(parts: dict[str, float]) -> dict[str, float]:
    """Parts of a probability as shares of it; what no part knows is the softmax's alone."""
    total = sum(parts.values())
    if total > 0:
        return {name: part / total for name, part in parts.items()}
    return {name: float(name == SOFTMAX_PART) for name in parts}


def _widened(profiles: Profiles, users: int) -> Profiles:
    """With empty rows for the users that came after."""
    old = profiles.contents
    extra = users - len(old)
    contents = Contents(
        torch.cat([old.summaries, old.summaries.new_zeros(extra, old.summaries.shape[1])]),
        old.features,
        torch.cat([old.offsets, old.offsets[-1:].expand(extra)]),
        torch.cat([old.vectors, old.vectors.new_zeros(extra, old.vectors.shape[1])]),
    )
    return Profiles(contents, profiles.bag)
