"""The service: one request from end to end, over the models in memory, the store and the rules. No HTTP.

Every method may be called from any thread, and raises m6rec.base.errors only. Reads are answered from memory: a store that is away stops
writing (StorageError), never an answer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from m6rec.base.errors import UsageError
from m6rec.serving.asked import Ask, Reply
from m6rec.serving.config import ServeConfig
from m6rec.serving.service import answering
from m6rec.serving.service.answering import Answered
from m6rec.serving.service.configuration_file import state_of
from m6rec.serving.service.evidence import Explanation
from m6rec.serving.service.following import Following
from m6rec.serving.service.intake import checked_events, checked_items, checked_users
from m6rec.serving.service.loaded import LoadedModel, ModelFacts
from m6rec.serving.service.models import Models
from m6rec.serving.service.run_reports import Board, Training, quality_board, run_of, training_progress

if TYPE_CHECKING:
    from m6rec.serving.store.records import Change, Event, Receipt
    from m6rec.serving.store.store import Forgotten, Store


class Service:
    """What `m6rec serve` serves; http and console are built on this and on nothing below it.

    run: the run folder it was opened with.  state: where the store and everything else that has to outlive the process lies.
    """

    def __init__(self, run: Path, state: Path, config: ServeConfig, store: Store, model: LoadedModel) -> None:
        self.run, self.state, self.config, self.store = run, state, config, store
        self.loaded = Models(model)
        self.following = Following(store, lambda: self.loaded.all, self._changed)
        self.started = time.time()

    @classmethod
    def open(cls, run: Path, config: ServeConfig | None = None, state: Path | None = None) -> Service:
        """A service over a run folder or a model folder, brought up to what the store has.

        Args:
            state: folder of the store; None is RUN/serving (beside a bare model folder: NAME-serving).

        Raises:
            CheckpointError: no model, or a damaged one.  StorageError: the store can't be opened.
        """
        from m6rec.serving.store.store import Store

        run, config = Path(run), config or ServeConfig()
        state = state_of(run, state)
        model = LoadedModel.open(run)
        store = Store.open(config.store, state)
        service = cls(run, state, config, store, model)
        service.following.join(model, lambda one: None)
        model.warm()
        return service

    def close(self) -> None:
        """Write what is left to write and let go of the store."""
        self.store.close()

    # Answers

    def recommend(self, ask: Ask) -> Reply:
        """The best k of the catalogue for whoever asks, best first.

        Raises:
            UsageError: nobody to recommend to, k < 1, an unknown field, task or scenario.
            UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        return self._answer("recommend", ask, answering.recommend)

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
        return self._answer("similar", Ask(items=(item,), k=k, where=where, request_id=request_id), answering.similar)

    def search(
        self, text: str, k: int = 10, where: Mapping[str, Any] | None = None, scenario: str | None = None, *, request_id: str = ""
    ) -> Reply:
        """The k items that fit what was typed, for nobody in particular. Raises UsageError."""
        ask = Ask(text=text, k=k, where=where, scenario=scenario, repeat="allow", request_id=request_id)
        return self._answer("search", ask, answering.recommend)

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

    def user(self, user: str, most: int = 50) -> dict[str, Any]:
        """user_id, fields, and the newest events, newest first. Raises UnknownUserError."""
        self.following.catch_up()
        with self.loaded.use() as model:
            return model.user(user, most)

    # Models

    def models(self) -> list[ModelFacts]:
        """What is in memory, the active one first."""
        active = self.loaded.active
        return [
            model.facts("active" if model is active else "loaded") for model in sorted(self.loaded.all, key=lambda one: one is not active)
        ]

    def load_model(self, folder: Path, version: str | None = None, note: str = "") -> ModelFacts:
        """The model of a run or model folder beside the one that answers, warmed; nothing else changes.

        Raises:
            CheckpointError: no model, a damaged one, or one for other data.  StorageError: the store is away.
        """
        model = LoadedModel.open(Path(folder), version)
        self.following.join(model, self.loaded.add)
        with model.turns.reading():
            model.warm()
        return model.facts("loaded")

    def switch(self, version: str) -> ModelFacts:
        """Let a loaded model answer from the next request on; requests under way end with the model they began with. Raises UsageError."""
        before = self.loaded.active.version
        self.loaded.switch(version)
        self._before = before
        return self.loaded.active.facts("active")

    def roll_back(self) -> ModelFacts:
        """Back to the model that answered before the last switch. Raises UsageError: there was none."""
        before = getattr(self, "_before", None)
        if before is None:
            raise UsageError("there was no switch to roll back; name the version to switch to")
        return self.switch(before)

    def drop_model(self, version: str) -> None:
        """Out of memory. Raises UsageError: the one that answers."""
        self.loaded.drop(version)

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
        with self.loaded.active.turns.writing():
            name = self.loaded.active.load_option(Path(folder))
        self.store.save_option(name, {"folder": str(folder), "version": self.loaded.active.version})
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
        self.following.catch_up()
        if not ask.request_id:
            ask = replace(ask, request_id=uuid.uuid4().hex)
        with self.loaded.use() as model:
            found = answer(model, ask)
        return Reply(
            answers=found.answers,
            model_version=model.version,
            request_id=ask.request_id,
            took_ms=(time.perf_counter() - begun) * 1e3,
            cache=found.cache,
            degraded=found.degraded,
            reasons=found.reasons,
            propensities=found.propensities,
            left_out=found.left_out,
            notes=found.notes,
        )

    def _changed(self, change: Change) -> None:
        """A change of the store that is not the models' own."""
