"""Questions to the service: lists, ranks, labels, evidence."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.errors import StorageError, UsageError
from m6rec.serving.asked import Ask, Reply
from m6rec.serving.engine.explaining import REASON, TEMPLATES
from m6rec.serving.rules.filters import RuleBook
from m6rec.serving.service import answering
from m6rec.serving.service.answering import Answered, Chance
from m6rec.serving.service.core import Core
from m6rec.serving.service.evidence import Explanation
from m6rec.serving.service.loaded import LoadedModel
from m6rec.serving.service.routing import Route
from m6rec.serving.service.shown_log import rows_shown

MOST_TODAY = 5_000  # exposures of one person that a day's caps look back at


class Answers(Core):
    """What is asked. Every answer knows everything that any worker wrote before it."""

    def recommend(self, ask: Ask, version: str | None = None) -> Reply:
        """The best k of the catalogue for whoever asks, best first.

        Args:
            version: a loaded model that answers in place of the active one; the request is in no experiment then.

        Raises:
            UsageError: nobody to recommend to, k < 1, an unknown field, task or scenario.
            UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        begun = time.perf_counter()
        with self._counted("recommend"):
            self.following.catch_up()
            if not ask.request_id:
                ask = replace(ask, request_id=uuid.uuid4().hex)
            route = Route(ask, version, 0.0) if version is not None else self.routing.route(ask)
            with self.loaded.use(route.version, lenient=version is None) as model:
                book = self.rulings.book(model)
                generator = self._chance if route.exploration > 0 else None
                chance = Chance(route.exploration, self.config.experiments.exploration_pool, generator)
                found = answering.recommend(model, self._worded_by(route.ask), book, chance, self._shown_today(model, book, ask))
                if route.version not in (None, model.version):  # the arm's model is not in memory: this answer says nothing of the arm
                    found = replace(
                        found, notes=(*found.notes, f"the model '{route.version}' of the arm is not loaded; another one answered")
                    )
                    route = replace(route, experiment=None, variant=None)
                reply = self._reply(model, ask, found, begun, route.experiment, route.variant)
            self._record(ask, reply, route.unit)
        return reply

    def rank(self, ask: Ask) -> Reply:
        """`ask.items` in order, best first. Raises as `recommend`."""
        return self._answer("rank", ask, lambda model, asked: answering.rank(model, self._worded_by(asked), self.rulings.book(model)))

    def predict(self, rows: Sequence[Mapping[str, Any]] | pl.DataFrame, tasks: Sequence[str] | None = None) -> pl.DataFrame:
        """Rows of users and items with the answers of tasks as columns; see `Recommender.predict`."""
        self.following.catch_up()
        frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(list(rows), infer_schema_length=None)
        with self.loaded.use() as model:
            return model.engine.predict(frame, tasks)

    def classify(self, text: str | Sequence[str] | None = None, *, item: str | None = None, task: str | None = None) -> Any:
        """What a task says of a text, of several, or of an item; see `Recommender.classify`."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.engine.classify(text, item, task)

    def similar(self, item: str, k: int = 10, where: Mapping[str, Any] | None = None, *, request_id: str = "") -> Reply:
        """The k items most like `item`. Raises UnknownItemError, UsageError."""
        ask = Ask(items=(item,), k=k, where=where, request_id=request_id)
        return self._answer("similar", ask, lambda model, asked: answering.similar(model, asked, self.rulings.book(model)))

    def search(
        self, text: str, k: int = 10, where: Mapping[str, Any] | None = None, scenario: str | None = None, *, request_id: str = ""
    ) -> Reply:
        """The k items that fit what was typed, for nobody in particular; a note says so where no word of it stands in any item.

        Raises:
            UsageError: a text of blanks only, k < 1, an unknown field or scenario.
        """
        if not text.strip():
            raise UsageError(f"text is {text[:20]!r}; give a word or more to search for")
        ask = Ask(text=text, k=k, where=where, scenario=scenario, repeat="allow", request_id=request_id)
        return self._answer("search", ask, lambda model, asked: answering.search(model, asked, self.rulings.book(model)))

    def explain(
        self,
        user: str | None = None,
        item: str = "",
        scenario: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        language: str | None = None,
        reason_by: str | None = None,
        request_id: str = "",
    ) -> Explanation:
        """Why `item` stands where it stands for somebody: exact lifts of every event, word and field. Raises as `recommend`.

        language: of a reason in words, "en" or "zh"; None: no words.
        reason_by: the write task that words it, or "template"; None: one that learned to give reasons, where there is one.
        """
        begun = time.perf_counter()
        self.following.catch_up()
        past = None if history is None else tuple(history)
        ask = Ask(user, past, text, profile, (item,), scenario=scenario, language=language, reason_by=reason_by)
        ask = self._worded_by(ask)
        with self.loaded.use() as model:
            found, written = answering.explain(model, ask, self.rulings.book(model))
        if written:
            self._watch(ask, [(found.item_id, found.reason)])
        took = (time.perf_counter() - begun) * 1e3
        return replace(found, model_version=model.version, request_id=request_id or uuid.uuid4().hex, took_ms=took)

    def _answer(self, operation: str, ask: Ask, answer: Callable[[LoadedModel, Ask], Answered]) -> Reply:
        begun = time.perf_counter()
        with self._counted(operation):
            self.following.catch_up()
            if not ask.request_id:
                ask = replace(ask, request_id=uuid.uuid4().hex)
            with self.loaded.use() as model:
                reply = self._reply(model, ask, answer(model, ask), begun)
            self.traffic.answered(operation, reply.model_version, reply.took_ms, reply.cache, reply.degraded)
        return reply

    def _reply(
        self, model: LoadedModel, ask: Ask, found: Answered, begun: float, experiment: str | None = None, variant: str | None = None
    ) -> Reply:
        self._watch(ask, [(found.answers[place].item_id, found.words[place]) for place in found.written])
        return Reply(
            answers=found.answers,
            model_version=model.version,
            request_id=ask.request_id,
            took_ms=(time.perf_counter() - begun) * 1e3,
            cache=found.cache,
            degraded=found.degraded,
            experiment=experiment,
            variant=variant,
            reasons=found.reasons,
            words=found.words,
            propensities=found.propensities,
            left_out=found.left_out,
            notes=found.notes,
        )

    def _worded_by(self, ask: Ask) -> Ask:
        """Where written texts wait for a person, reasons are those of templates: a list can't wait."""
        held = ask.language is not None and self.config.rules.written == "hold"
        return replace(ask, reason_by=TEMPLATES) if held else ask

    def _watch(self, ask: Ask, written: Sequence[tuple[str, str]]) -> None:
        """Reasons (item, text) that a task wrote, into the review queue where moderation asks for it. Raises StorageError: nobody could look at them."""
        for item, text in written if self.config.rules.written == "watch" else ():
            self.store.queue_review(REASON, {"item": item, "text": text}, "generated", user_id=ask.user)

    def _record(self, ask: Ask, reply: Reply, unit: str | None) -> None:
        """Counts, and the audit. A list of a field's values shows no items, and one that was only tried out is shown to nobody."""
        self.traffic.answered("recommend", reply.model_version, reply.took_ms, reply.cache, reply.degraded)
        if self.config.engine.audit and ask.of is None and ask.explore:
            self.shown.add(rows_shown(ask, reply, unit))

    def _shown_today(self, model: LoadedModel, book: RuleBook, ask: Ask) -> np.ndarray | None:
        """Dense items shown to the person since a day ago, one for each exposure, where a rule counts them."""
        if not book.counts_days or ask.user is None:
            return None
        try:
            rows = self.store.shown(ask.user, newest_first=True, most=MOST_TODAY)
        except StorageError:
            return None
        since = time.time() - 86_400.0
        ids = model.engine.items.ids
        return np.array([row for one in rows if one.time >= since and (row := ids.dense(one.item_id)) >= 0], dtype=np.int64)
