"""A model that answers: the engine over its folder, and what the store has told it since.

A change log that is replayed from its start onto a folder that was trained on part of it must count nothing twice: an event that the folder
has already (same user, item, time and action) is left out.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from m6rec.base.errors import CheckpointError, M6RecError, UnknownItemError, UnknownUserError, nearest
from m6rec.base.memory import give_back, hold_what_is_loaded
from m6rec.data.columns import Columns
from m6rec.data.schema import shown
from m6rec.serving.engine.additions import read_new_items
from m6rec.serving.engine.asking import MOST_SUGGESTED
from m6rec.serving.engine.config import EngineConfig
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.load_scorer import load_scorer
from m6rec.serving.service.batching import Batches
from m6rec.serving.service.edits import edit_items
from m6rec.serving.service.outcomes import count_outcomes, counted_until
from m6rec.serving.service.warming import warm
from m6rec.tasks.model_folder import CONFIG
from m6rec.tasks.option_folder import drop_option, load_option

if TYPE_CHECKING:
    from m6rec.serving.store.records import StoredEvent
    from m6rec.serving.store.store import Store

EVENT_COLUMNS = (Columns.USER, Columns.ITEM, Columns.TIME, Columns.ACTION, Columns.SCENARIO, Columns.VALUE)


@dataclass(frozen=True)
class ModelFacts:
    """What is told of a model. status: active, loaded (beside the active one), or known (in the store, not in memory)."""

    version: str
    folder: str
    status: str
    loaded_at: float | None
    in_flight: int
    items: int
    users: int
    retrain: bool
    note: str = ""


class LoadedModel:
    """One version in memory.

    turns: the engine's; an answer is given under a reading turn, so that nothing changes within it.
    people: fields of users that came after the training, user id -> {field: value}.
    names: what the store calls a user -> what the training called them, where the two differ (`store.pseudonyms`).
    gone: item ids that are never answered, whether the model knows them or not.
    skipped: what of the store this model can't take, by reason (an action that its training did not know, ...).
    """

    def __init__(self, version: str, folder: Path, engine: Engine) -> None:
        self.version, self.folder, self.engine = version, folder, engine
        self.turns = engine.turns
        self.batches = Batches(engine, engine.config.batch)
        self.in_flight = 0
        self.people: dict[str, dict[str, Any]] = {}
        self.names: dict[str, str] = {}
        self._key_of: Callable[[str], str] | None = None
        self.gone: set[str] = set()
        self.skipped: Counter[str] = Counter()
        self.added_options: dict[str, str] = {}
        self.loaded_at = time.time()
        self.trained_users = len(engine.users)
        self.counted_until = counted_until(engine)
        self.retrain = False

    @classmethod
    def open(cls, folder: Path, version: str | None = None, config: EngineConfig | None = None) -> LoadedModel:
        """The model of a run folder or a model folder.

        Raises:
            CheckpointError: missing, truncated, from a newer version, or parts that do not belong together.
        """
        model = model_folder(folder)
        return cls(version or version_of(folder), folder, Engine(load_scorer(model), config=config))

    def warm(self) -> None:
        """Answer once of each kind, so that the first person does not wait for what is made when first asked for."""
        warm(self.engine)
        for problem in self.problems:
            print(f"m6rec: model {self.version}: {problem}", file=sys.stderr, flush=True)
        hold_what_is_loaded()

    @property
    def problems(self) -> list[str]:
        """What somebody should look after."""
        scorer = self.engine.scorer
        return [scorer.request_judge.hindrance] if scorer.judging is not None and not scorer.request_judge.able else []

    def take_names(self, store: Store) -> None:
        """Learn what the store calls the users of the training, where it writes hashes instead of ids."""
        if store.config.pseudonyms:
            self._key_of = store.user_key
            self.names = {store.user_key(user): user for user in self.engine.users.ids.ids}

    def named(self, key: str) -> str:
        """The user that the store calls `key`, as the engine calls them."""
        return self.names.get(key, key)

    def person(self, user: str) -> str:
        """The user that a caller calls `user`, as the engine calls them."""
        return user if self._key_of is None or user in self.engine.users.ids else self.named(self._key_of(user))

    def know(self, key: str, fields: Mapping[str, Any]) -> None:
        """What the store says of a user from now on."""
        self.people[self.named(key)] = {name: value for name, value in fields.items() if value is not None}

    def knows(self, user: str) -> bool:
        """Whether the engine has events or a row of the users table for `user`."""
        row = self.engine.users.ids.dense(user)
        return row >= 0 and row not in self.engine.forgotten

    def has(self, user: str) -> bool:
        """Whether anything is held of the user that a caller calls `user`."""
        return self.knows(person := self.person(user)) or person in self.people

    def trained_on(self, user: str) -> bool:
        """Whether the user that a caller calls `user` was in the training and is not forgotten."""
        return self.has(user) and 0 <= self.engine.users.ids.dense(self.person(user)) < self.trained_users

    def unknown_user(self, user: str) -> UnknownUserError:
        """What is raised of somebody nobody knows (any more)."""
        return UnknownUserError(
            f"user {shown(user)} is not known: no events and no row in the users table; give history, text or profile instead"
        )

    def check_item(self, item: str) -> int:
        """The dense row of an item that may be answered. Raises UnknownItemError."""
        row = self.engine.items.ids.dense(item)
        if item in self.gone:
            raise UnknownItemError(f"item {shown(item)} was deleted; add it again to show it again")
        if row < 0:
            hint = nearest(str(item)[:100], self.engine.items.ids.ids[:MOST_SUGGESTED])
            raise UnknownItemError(f"item {shown(item)} is not in the catalogue{hint}")
        return row

    @property
    def titles(self) -> list[str]:
        """Of the catalogue as it is now."""
        return self.engine._titles()

    def declared(self, user: str) -> dict[str, Any]:
        """The fields that are kept of a user, those of the training and what the store says since."""
        row = self.engine.users.ids.dense(user)
        frame = self.engine.users.frame
        told = frame.row(row, named=True) if 0 <= row < frame.height else {}
        fields = {name: value for name, value in told.items() if name in self.engine.users.fields and value is not None}
        return fields | self.people.get(user, {})

    def add_events(self, events: Sequence[StoredEvent], *, replayed: bool = False) -> int:
        """Append events of the store; what this model can't take is counted in `skipped`. Returns how many were taken.

        Labels of an event enter the counts that judging reads; one with labels and no action is nothing that its person did.

        replayed: the folder may have some of them already.
        """
        engine, dataset = self.engine, self.engine.dataset
        taken = []
        for event in events:
            if event.item_id not in engine.items.ids:
                self.skipped["unknown item"] += 1
            elif event.action is not None and dataset.action_names and event.action not in dataset.action_names:
                self.skipped["unknown action"] += 1
            else:
                known = event.scenario is None or event.scenario in dataset.scenario_names
                user = self.named(event.user_id)
                taken.append(
                    event if known and user == event.user_id else replace(event, user_id=user, scenario=event.scenario if known else None)
                )
        done = [event for event in taken if event.action is not None or not event.labels]
        if replayed:
            done = self._lacking(done)
        if done:
            engine.add_events(_frame(done))
        unread = count_outcomes(engine, taken, self.counted_until if replayed else float("-inf"))
        if unread:
            self.skipped["labels that are no task's"] += unread
        return len(done)

    def add_items(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Items of the store, recommendable from now on; those that the catalogue has get the fields given. Returns how many were new or changed."""
        engine = self.engine
        latest: dict[str, dict[str, Any]] = {}
        for row in rows:
            told = {name: value for name, value in row.items() if name == Columns.ITEM or name in engine.items.fields}
            latest[row["item_id"]] = told
        back = [item for item in latest if item in self.gone and item in engine.items.ids]
        if back:
            engine.restore_items(back)
        self.gone.difference_update(latest)
        fresh = [row for item, row in latest.items() if item not in engine.items.ids]
        known = [row for item, row in latest.items() if item in engine.items.ids]
        if fresh:
            engine.add_items(pl.DataFrame(fresh, infer_schema_length=None))
        changed = 0
        if known:
            table = read_new_items(pl.DataFrame(known, infer_schema_length=None), engine.items.fields, engine.scorer.origin.training)
            old = engine.items.frame[[engine.items.ids.dense(item) for item in table.ids.ids]]
            differing = [row for row in range(len(table)) if not table.frame[row].equals(old[row].select(table.frame.columns))]
            if differing:
                edit_items(engine, table.rows(differing))
                changed = len(differing)
        if fresh or changed:
            give_back()  # priors of everybody were made anew
        return len(fresh) + changed

    def drop_items(self, items: Iterable[str]) -> None:
        """Never answer these items again; ids that the model does not know are remembered."""
        items = list(items)
        self.gone.update(items)
        self.engine.drop_items(
            [item for item in items if item in self.engine.items.ids and self.engine.items.ids.dense(item) not in self.engine.gone]
        )

    def forget(self, key: str) -> None:
        """Nothing is held of a user in memory any more; the weights, which were trained on their events too, wait for the next training."""
        user = self.named(key)
        self.people.pop(user, None)
        if self.knows(user):
            self.engine.forget(user)
            self.retrain = True

    def _lacking(self, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """The events that the histories do not have: by time where there is one, else as many of a kind as are missing."""
        engine = self.engine
        base, names = engine.dataset.histories, engine.dataset.action_names
        have: dict[str, Counter[tuple[Any, ...]]] = {}
        kept = []
        for event in events:
            if event.user_id not in have:
                past = engine.histories.row(engine.users.ids.dense(event.user_id))
                actions: Sequence[Any] = [None] * len(past.items) if past.actions is None else [names[code] for code in past.actions]
                times = [None] * len(past.items) if past.times is None else [_moment(one) for one in past.times.tolist()]
                have[event.user_id] = Counter(zip((engine.items.ids.ids[item] for item in past.items), times, actions, strict=True))
            timeless = base.times is None
            key = (event.item_id, None if timeless else _moment(event.time), None if base.actions is None else event.action)
            counts = have[event.user_id]
            if counts[key] > 0:
                counts[key] -= timeless  # the same moment twice is one event; without times every one counts
            else:
                kept.append(event)
        return kept

    def item(self, item: str) -> dict[str, Any]:
        """item_id, title and fields. Raises UnknownItemError."""
        return self._item_facts(self.check_item(item))

    def find_items(self, query: str | None, most: int, after: str | None) -> list[dict[str, Any]]:
        """Items whose title or id holds `query`, in the order of the catalogue, behind the item `after`."""
        items = self.engine.items
        start = 0 if after is None else items.ids.dense(after) + 1
        words = (query or "").lower().split()
        found: list[dict[str, Any]] = []
        for row, (name, title) in enumerate(zip(items.ids.ids, self.titles, strict=True)):
            if row >= start and name not in self.gone and all(word in title.lower() or word in name.lower() for word in words):
                found.append(self._item_facts(row))
                if len(found) >= most:
                    break
        return found

    def user(self, user: str, most: int) -> dict[str, Any]:
        """user_id, fields, and the newest events, newest first. Raises UnknownUserError."""
        engine, asked = self.engine, user
        user = self.person(user)
        row = engine.users.ids.dense(user)
        if not self.knows(user) and user not in self.people:
            raise self.unknown_user(asked)
        past, names = engine.histories.row(row), engine.dataset
        titles, ids = self.titles, engine.items.ids.ids
        events = [
            {
                "item_id": ids[past.items[place]],
                "title": titles[past.items[place]],
                "time": None if past.times is None else _moment(float(past.times[place])),
                "action": None if past.actions is None else names.action_names[past.actions[place]],
                "scenario": None if past.scenarios is None else names.scenario_names[past.scenarios[place]],
            }
            for place in range(len(past.items) - 1, -1, -1)[:most]
        ]
        return {"user_id": asked, "fields": self.declared(user), "count": len(past.items), "events": events}

    def options(self) -> list[dict[str, Any]]:
        """Tasks on candidates and where they are asked; folder: what an option was loaded from, None for a task of the training."""
        part = self.engine.scorer.judging
        if part is None:
            return []
        names = list(part.judge.configs)
        return [{"task": name, "scenarios": part.judge.scenarios_of(name), "folder": self.added_options.get(name)} for name in names]

    def load_option(self, folder: Path) -> str:
        """See `Recommender.load_option`; under a writing turn."""
        name = load_option(folder, self.engine.scorer)
        self.added_options[name] = str(folder)
        return name

    def drop_option(self, task: str) -> None:
        """See `Recommender.drop_option`; under a writing turn."""
        drop_option(self.engine.scorer, task)
        self.added_options.pop(task, None)

    def find_users(self, query: str | None, most: int, after: str | None) -> list[dict[str, Any]]:
        """Users whose id holds `query`, in the order in which they became known, behind the user `after`: user_id, events, fields."""
        engine = self.engine
        names = [user for row, user in enumerate(engine.users.ids.ids) if row not in engine.forgotten]
        names += [user for user in self.people if not self.knows(user)]
        start = 0 if after is None else names.index(after) + 1 if after in names else len(names)
        word = (query or "").lower()
        found: list[dict[str, Any]] = []
        for name in itertools.islice(names, start, None):
            if word in name.lower():
                told = self.user(name, 0)
                found.append({"user_id": name, "events": told["count"], "fields": told["fields"]})
                if len(found) >= most:
                    break
        return found

    def facts(self, status: str) -> ModelFacts:
        """What is told of this model."""
        engine = self.engine
        sizes = (len(engine.items) - len(engine.gone), len(engine.users) - len(engine.forgotten))
        return ModelFacts(self.version, str(self.folder), status, self.loaded_at, self.in_flight, *sizes, self.retrain)

    def _item_facts(self, row: int) -> dict[str, Any]:
        items = self.engine.items
        told = items.frame.row(row, named=True)
        return {"item_id": items.ids.ids[row], "title": self.titles[row], "fields": {name: told[name] for name in items.fields}}


def model_folder(folder: Path) -> Path:
    """The model folder of a run, or the folder itself. Raises CheckpointError: a training that is not finished."""
    if (folder / "stages").is_dir() and not (folder / "model").is_dir():
        raise CheckpointError(f"the training in {folder} is not finished; run the same `m6rec train` command to go on")
    return folder / "model" if (folder / "model").is_dir() else folder


def version_of(folder: Path) -> str:
    """The name of a folder's content: that of the folder, and a hash of the model's configuration (seed and data are part of it).

    Raises:
        CheckpointError: no model folder.
    """
    path = model_folder(folder) / CONFIG
    try:
        digest = hashlib.blake2b(path.read_bytes(), digest_size=4).hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"{folder} is no model folder: {path.name} can't be read ({error.strerror or error}); give a finished run, or train one with m6rec train"
        ) from None
    name = folder.resolve().parent.name if folder.name == "model" else folder.resolve().name
    return f"{name}-{digest}"


def check_alike(new: Engine, old: Engine) -> None:
    """Raises CheckpointError where `new` was trained for other data: not one item of `old` is in it."""
    if not any(item in new.items.ids for item in old.items.ids.ids):
        raise CheckpointError(
            f"the model is for other data: it knows none of the {len(old.items):,} items that are served now; serve it with a --state of its own"
        )


def first_error(error: M6RecError) -> str:
    return " ".join(str(error).split())


def _moment(value: float | None) -> float | None:
    """A time to the millisecond, None where it is not known."""
    return None if value is None or value != value else round(value, 3)


def _frame(events: Sequence[StoredEvent]) -> pl.DataFrame:
    """Events as a table whose times are dates, which the training's unit for numbers does not touch."""
    kinds = {Columns.VALUE: pl.Float64, Columns.TIME: pl.Float64}
    frame = pl.DataFrame(
        [pl.Series(name, [getattr(one, name) for one in events], dtype=kinds.get(name, pl.String)) for name in EVENT_COLUMNS]
    )
    when = (pl.col(Columns.TIME) * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us")).alias(Columns.TIME)
    lacking = [name for name in EVENT_COLUMNS if name not in (Columns.USER, Columns.ITEM) and frame[name].null_count() == len(frame)]
    return frame.with_columns(when).drop(lacking)
