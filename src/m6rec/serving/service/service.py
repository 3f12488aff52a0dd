"""The service: one request from end to end, over the models in memory, the store and the rules. No HTTP.

Every method may be called from any thread, and raises m6rec.base.errors only. Reads are answered from memory: a store that is away stops
writing (StorageError), never an answer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from m6rec.base.errors import M6RecError, StorageError
from m6rec.serving.asked import Ask, Reply
from m6rec.serving.config import ServeConfig
from m6rec.serving.rules.filters import RuleBook
from m6rec.serving.service import answering
from m6rec.serving.service.answering import Answered, Chance
from m6rec.serving.service.configuration_file import state_of
from m6rec.serving.service.evidence import Explanation
from m6rec.serving.service.following import Following
from m6rec.serving.service.intake import checked_events, checked_items, checked_users
from m6rec.serving.service.loaded import LoadedModel, ModelFacts
from m6rec.serving.service.models import Models
from m6rec.serving.service.routing import EXPLORATION, Route, Routing
from m6rec.serving.service.rulings import Rulings
from m6rec.serving.service.run_reports import Board, Training, quality_board, run_of, training_progress
from m6rec.serving.service.shown_log import ShownLog, rows_shown
from m6rec.serving.service.switching import BESIDE, Switching, take_options, watermark_of
from m6rec.serving.service.traffic import Traffic

if TYPE_CHECKING:
    from m6rec.serving.store.records import Change, Event, Receipt
    from m6rec.serving.store.store import Forgotten, Store


MOST_TODAY = 5_000  # exposures of one person that a day's caps look back at


class Service:
    """What `m6rec serve` serves; http and console are built on this and on nothing below it.

    run: the run folder it was opened with.  state: where the store and everything else that has to outlive the process lies.
    """

    def __init__(self, run: Path, state: Path, config: ServeConfig, store: Store, model: LoadedModel) -> None:
        self.run, self.state, self.config, self.store = run, state, config, store
        self.loaded = Models(model)
        self.following = Following(store, lambda: self.loaded.all, self._changed)
        self.switching = Switching(self.loaded, self.following, store)
        self.rulings = Rulings(config.rules, store)
        self.routing = Routing(config.experiments, store)
        self.shown = ShownLog(store, config.engine.audit_every_ms)
        self.traffic = Traffic(state / "traffic")
        self.started = time.time()
        self._closing = False
        self._chance = np.random.default_rng()

    @classmethod
    def open(cls, run: Path, config: ServeConfig | None = None, state: Path | None = None) -> Service:
        """A service over a run folder or a model folder, brought up to what the store has.

        Args:
            state: folder of the store; None is RUN/serving (beside a bare model folder: NAME-serving).

        Raises:
            CheckpointError: no model, or a damaged one.  StorageError: the store can't be opened.  ConfigError: a rule that suits no item field.
        """
        from m6rec.serving.store.store import Store

        run, config = Path(run), config or ServeConfig()
        state = state_of(run, state)
        model = LoadedModel.open(run)
        store = Store.open(config.store, state)
        service = cls(run, state, config, store, model)
        try:
            model.take_names(store)
            service.following.join(model, lambda one: None, watermark_of(run))
            take_options(model, store)
            model.warm()
            service.switching.begin(run, model.version)
            service.routing.read()
            service.rulings.book(service.loaded.active)
        except M6RecError:
            service.close()
            raise
        return service

    def close(self) -> None:
        """Write what is left to write and let go of the store."""
        self._closing = True
        self.switching.close()
        self.shown.close()
        self.traffic.write()
        self.store.close()

    # Answers

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
                found = answering.recommend(model, route.ask, book, chance, self._shown_today(model, book, ask))
                reply = self._reply(model, ask, found, begun, route.experiment, route.variant)
            self._record(ask, reply)
        return reply

    def rank(self, ask: Ask) -> Reply:
        """`ask.items` in order, best first. Raises as `recommend`."""
        return self._answer("rank", ask, answering.rank)

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
        """The k items that fit what was typed, for nobody in particular. Raises UsageError."""
        ask = Ask(text=text, k=k, where=where, scenario=scenario, repeat="allow", request_id=request_id)
        nothing = Chance(0.0, 0, None)
        return self._answer("search", ask, lambda model, asked: answering.recommend(model, asked, self.rulings.book(model), nothing))

    def explain(
        self,
        user: str | None = None,
        item: str = "",
        scenario: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
        profile: Mapping[str, Any] | str | None = None,
        request_id: str = "",
    ) -> Explanation:
        """Why `item` stands where it stands for somebody: exact lifts of every event, word and field. Raises as `recommend`."""
        begun = time.perf_counter()
        self.following.catch_up()
        past = None if history is None else tuple(history)
        ask = Ask(user=user, history=past, text=text, profile=profile, items=(item,), scenario=scenario)
        with self.loaded.use() as model:
            found = answering.explain(model, ask)
        took = (time.perf_counter() - begun) * 1e3
        return replace(found, model_version=model.version, request_id=request_id or uuid.uuid4().hex, took_ms=took)

    # What is known

    def add_events(self, events: Sequence[Event], key: str | None = None) -> Receipt:
        """Events into the store; the next answer of every worker knows them.

        Args:
            key: idempotency key; the same key again is answered like the first time, and nothing is added.

        Raises:
            DataError: an action that the model does not know, a wrong time.  UnknownItemError.  StorageError: the store is away.
        """
        self.following.catch_up()
        with self.loaded.use() as model:
            events = checked_events(model, events)
        receipt = self.store.add_events(events, key=key)
        self.traffic.counted("events", receipt.accepted)
        self.following.catch_up()
        return receipt

    def upsert_items(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """New items, or new fields of known ones; recommendable from the next answer on. Raises DataError, StorageError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            rows = checked_items(model, rows)
        self.store.upsert_items(rows)
        self.following.catch_up()
        return len(rows)

    def upsert_users(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """People and what is known of them. Raises DataError, StorageError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            rows = checked_users(model, rows)
        self.store.upsert_users(rows)
        self.following.catch_up()
        return len(rows)

    def delete_item(self, item: str) -> None:
        """Never answered again. Raises UnknownItemError, StorageError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            model.check_item(item)
        self.store.delete_item(item)
        self.following.catch_up()

    def forget(self, user: str) -> Forgotten:
        """Everything of a user: events, audit, histories, counts, caches; the model is marked for retraining. Raises StorageError."""
        forgotten = self.store.forget(user)
        self.following.catch_up()
        return forgotten

    def item(self, item: str) -> dict[str, Any]:
        """item_id, title and fields. Raises UnknownItemError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.item(item)

    def items(self, query: str | None = None, most: int = 50, after: str | None = None) -> list[dict[str, Any]]:
        """Items whose title or id holds `query` (all where None), in the order of the catalogue; after: go on behind this id."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.find_items(query, most, after)

    def users(self, query: str | None = None, most: int = 50, after: str | None = None) -> list[dict[str, Any]]:
        """Users whose id holds `query`: user_id, events, fields."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.find_users(query, most, after)

    def user(self, user: str, most: int = 50) -> dict[str, Any]:
        """user_id, fields, and the newest events, newest first. Raises UnknownUserError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.user(user, most)

    # Models

    def models(self) -> list[ModelFacts]:
        """The active model, those in memory beside it, and those that the store knows, in this order."""
        return self.switching.facts()

    def load_model(self, folder: Path, version: str | None = None, note: str = "") -> ModelFacts:
        """The model of a run or model folder beside the one that answers, warmed, in every worker; nothing else changes.

        Raises:
            CheckpointError: no model, a damaged one, or one for other data.  StorageError: the store is away.
        """
        return self.switching.load(Path(folder), version, note)

    def switch(self, version: str) -> ModelFacts:
        """Let a model answer from the next request on; requests under way end with the model they began with.

        Raises:
            UsageError: no such model.  CheckpointError: its folder can't be read any more.  StorageError: the store is away.
        """
        return self.switching.switch(version)

    def roll_back(self) -> ModelFacts:
        """Back to the model that answered before the last switch. Raises UsageError: there was none."""
        return self.switching.roll_back()

    def drop_model(self, version: str) -> None:
        """Out of the memory of every worker. Raises UsageError: the one that answers."""
        self.switching.drop(version)

    def options(self) -> list[dict[str, Any]]:
        """Tasks on candidates: name, scenarios, and whether it was loaded on top of the model (and from where)."""
        with self.loaded.use() as model:
            return model.options()

    def load_option(self, folder: Path) -> str:
        """A task that `m6rec add-task` trained on this model's backbone, in every worker; returns its name. Other answers keep their bits.

        Raises:
            CheckpointError: missing, damaged, or trained for another backbone.  UsageError: a task of that name is there already.
        """
        self.following.catch_up()
        model = self.loaded.active
        with model.turns.writing():
            name = model.load_option(Path(folder))
        self.store.save_option(name, {"folder": str(Path(folder).resolve()), "version": model.version})
        return name

    def drop_option(self, task: str) -> None:
        """Take a task on candidates out again, in every worker. Raises UsageError: no such task, or another one comes after it."""
        self.following.catch_up()
        with self.loaded.active.turns.writing():
            self.loaded.active.drop_option(task)
        self.store.drop_option(task)

    # The state of things

    def alive(self) -> bool:
        """Whether the process can answer at all."""
        return True

    def ready(self) -> tuple[bool, str]:
        """Whether requests should be sent here, and if not, why."""
        return True, ""

    def info(self) -> dict[str, Any]:
        """Versions, sizes, freshness, for people and programs."""
        active = self.loaded.active
        engine = active.engine
        return {
            "model_version": active.version,
            "items": len(engine.items) - len(active.gone),
            "users": len(engine.users),
            "scenarios": list(engine.dataset.scenario_names),
            "actions": list(engine.dataset.action_names),
            "item_fields": {name: str(kind.value) for name, kind in engine.items.fields.items()},
            "user_fields": {name: str(kind.value) for name, kind in engine.users.fields.items()},
            "tasks": {name: facts.get("answer", "") for name, facts in engine.scorer.origin.training["tasks"].items()},
            "newest_event": None if engine.newest != engine.newest else engine.newest,
            "retrain": active.retrain,
            "store": self.following.away or "ok",
            "started": self.started,
        }

    def board(self) -> Board:
        """Quality of the active model's run: tasks by scenarios, from its last evaluation."""
        return quality_board(run_of(self.loaded.active.folder))

    def training(self, run: Path | None = None) -> Training:
        """How far a training has come; of the run that was served first, unless another folder is named."""
        return training_progress(run_of(self.run) if run is None else Path(run))

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
            propensities=found.propensities,
            left_out=found.left_out,
            notes=found.notes,
        )

    @contextmanager
    def _counted(self, operation: str) -> Iterator[None]:
        try:
            yield
        except M6RecError as error:
            self.traffic.failed(operation, type(error).__name__)
            raise

    def _record(self, ask: Ask, reply: Reply) -> None:
        """Counts, and the audit. A list of a field's values shows no items."""
        self.traffic.answered("recommend", reply.model_version, reply.took_ms, reply.cache, reply.degraded)
        if self.config.engine.audit and ask.of is None:
            self.shown.add(rows_shown(ask, reply))

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

    def _changed(self, change: Change) -> None:
        """A change of the store that is not the models' own. Called while the change log is read."""
        if change.kind == "model" or (change.kind == "setting" and change.key == BESIDE):
            self.switching.follow()
        elif change.kind == "rule":
            self.rulings.changed()
        elif change.kind == "experiment" or (change.kind == "setting" and change.key == EXPLORATION):
            self.routing.read()
        elif change.kind == "option":
            self.switching.follow()
