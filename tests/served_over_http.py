"""For the tests of HTTP: a small Service of plain dictionaries, and real uvicorn on loopback in a thread."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import polars as pl
import uvicorn
from fastapi import FastAPI

from m6rec.base.contracts import Scored
from m6rec.base.errors import CheckpointError, DataError, StorageError, UnknownItemError, UnknownUserError, UsageError
from m6rec.base.written import Written
from m6rec.serving.asked import Ask, Reason, Reply
from m6rec.serving.config import ServeConfig
from m6rec.serving.conversation.reply import ChatReply
from m6rec.serving.http.app import create_app
from m6rec.serving.http.listening import uvicorn_settings
from m6rec.serving.service.words import Talked, WriteAsk, WriteReply
from m6rec.serving.store.records import Deed, Event, Key, Receipt, Review, StoredEvent

READ, WRITE, ADMIN = "read-secret", "write-secret", "admin-secret"


@dataclass
class PlainStore:
    """Keys and blocked things, in memory; `away` makes it a database that is gone."""

    secrets: dict[str, Key] = field(default_factory=dict)
    away: bool = False
    asked: int = 0
    stopped: dict[tuple[str, str], str] = field(default_factory=dict)
    written: list[StoredEvent] = field(default_factory=list)
    saved: dict[str, dict[str, Any]] = field(default_factory=dict)
    queue: list[Review] = field(
        default_factory=lambda: [Review(n, "written", {"text": f"Text {n}"}, None, "generated", "waiting", 1.0, None, None) for n in (3, 5)]
    )

    def _here(self) -> None:
        if self.away:
            raise StorageError("the store does not answer; try again")

    def find_key(self, secret: str) -> Key | None:
        self.asked += 1
        self._here()
        return self.secrets.get(secret)

    def keys(self) -> list[Key]:
        self._here()
        return list(self.secrets.values())

    def add_key(self, name: str, roles: Sequence[str], secret: str = "") -> str:
        self.secrets[secret or f"{name}-secret"] = Key(name, name, tuple(roles), 0.0)
        return secret or f"{name}-secret"

    def blocked(self) -> list[Blocked]:
        return [Blocked(kind, value, reason) for (kind, value), reason in self.stopped.items()]

    def block(self, kind: str, value: str, reason: str) -> None:
        self._here()
        self.stopped[kind, value] = reason

    def unblock(self, kind: str, value: str) -> bool:
        return self.stopped.pop((kind, value), None) is not None

    def deeds(self, *, after: int = 0, most: int = 1_000, newest_first: bool = False) -> list[Deed]:
        self._here()
        told = [Deed(seq, 1.0, "boss", "block", f"i{seq}", "", "item") for seq in (3, 2, 1)]
        return [one for one in told if not after or one.seq < after][:most]

    def reviews(self, state: str | None = "waiting", most: int = 100, after: int = 0) -> list[Review]:
        self._here()
        return [one for one in self.queue if one.id > after and state in (None, one.state)][:most]

    def decide(self, id: int, verdict: str, by: str) -> None:
        self._here()
        place = next(place for place, one in enumerate(self.queue) if one.id == id)
        if self.queue[place].state != "waiting":
            raise UsageError(f"review {id} was {self.queue[place].state} already")
        self.queue[place] = replace(self.queue[place], state=verdict, by=by, decided=2.0)

    def save_experiment(self, body: dict[str, Any]) -> None:
        self._here()
        self.saved[body["name"]] = body

    def experiments(self) -> list[dict[str, Any]]:
        return list(self.saved.values())

    def events(self, user_id: str | None = None, *, after_seq: int = 0, most: int = 10_000) -> list[StoredEvent]:
        return [one for one in self.written if one.seq > after_seq and user_id in (None, one.user_id)][:most]


@dataclass(frozen=True)
class Blocked:
    kind: str
    value: str
    reason: str


@dataclass(frozen=True)
class Facts:
    version: str
    folder: str
    status: str


@dataclass(frozen=True)
class Explanation:
    item_id: str
    reasons: tuple[Reason, ...]
    model_version: str = "plain-1"


class PlainService:
    """Answers i0, i1, ... to everybody; remembers what it was asked and given."""

    def __init__(self, items: int = 20, users: int = 5) -> None:
        self.store = PlainStore()
        self.run = Path("/srv/runs/plain")
        self.state = self.run / "serving"
        self.config = ServeConfig()
        self.versions = {"plain-1": "/srv/runs/plain"}
        self.before: str | None = None
        self.tasks = ["click"]
        self.loaded = SimpleNamespace(active=SimpleNamespace(version="plain-1"))
        self.rows = {f"i{n}": {"item_id": f"i{n}", "title": f"Item {n}", "fields": {"category": "a"}} for n in range(items)}
        self.people = {f"u{n}": {"user_id": f"u{n}", "fields": {}, "events": []} for n in range(users)}
        self.events: list[Event] = []
        self.receipts: dict[str, Receipt] = {}
        self.asked: list[Ask] = []
        self.wanted: list[WriteAsk] = []
        self.said: list[dict[str, Any]] = []
        self.wait: threading.Event | None = None
        self.spoken: list[str] = []  # the reply of a conversation as far as it stands, time by time
        self.broken: Exception | None = None  # what goes wrong while it is spoken
        self.good = (True, "")

    def _list(self, ids: Sequence[str], ask: Ask) -> Reply:
        self.asked.append(ask)
        if self.wait is not None:
            self.wait.wait(10)
        answers = tuple(Scored(one, 1.0 / (place + 1), self.rows[one]["title"], {"softmax": 1.0}) for place, one in enumerate(ids))
        reasons = ((Reason("event", "i1", "Item 1", 0.5),),) * len(answers) if "reasons" in ask.include else ()
        words = ("Because of Item 1.",) * len(answers) if ask.language is not None else ()
        return Reply(answers, "plain-1", ask.request_id, 0.1, "hit", reasons=reasons, words=words, propensities=(1.0,) * len(answers))

    def _item(self, item: str) -> str:
        if item not in self.rows:
            raise UnknownItemError(f"there is no item '{item[:80]}' in the catalogue")
        return item

    def recommend(self, ask: Ask) -> Reply:
        if ask.user is not None and ask.user not in self.people:
            raise UnknownUserError(f"there is no user '{ask.user[:80]}'")
        if ask.scenario not in (None, "shop"):
            raise UsageError(f"there is no scenario '{ask.scenario}'; scenarios: shop")
        return self._list([one for one in self.rows if one not in ask.disliked][: ask.k], ask)

    def rank(self, ask: Ask) -> Reply:
        return self._list([self._item(one) for one in ask.items or ()], ask)

    def similar(self, item: str, k: int = 10, where: Mapping[str, Any] | None = None, *, request_id: str = "") -> Reply:
        return self._list([one for one in self.rows if one != self._item(item)][:k], Ask(items=(item,), k=k, request_id=request_id))

    def search(self, text: str, k: int = 10, where: Any = None, scenario: str | None = None, *, request_id: str = "") -> Reply:
        return self._list(list(self.rows)[:k], Ask(text=text, k=k, request_id=request_id))

    def predict(self, rows: Sequence[Mapping[str, Any]], tasks: Sequence[str] | None = None) -> pl.DataFrame:
        return pl.DataFrame([{"user_id": row["user_id"], "item_id": self._item(row["item_id"]), "click": 0.5} for row in rows])

    def classify(self, text: str | None = None, *, item: str | None = None, task: str | None = None) -> Any:
        if task not in (None, "sentiment"):
            raise UsageError(f"there is no task '{task}'; tasks: sentiment")
        return {"label": "good", "probabilities": {"good": 0.75, "bad": 0.25}}

    def explain(self, user: str | None = None, item: str = "", scenario: str | None = None, **who: Any) -> Explanation:
        return Explanation(self._item(item), (Reason("prior", "graph", "often next", 1.0),))

    def write(self, ask: WriteAsk) -> WriteReply:
        self._writes(ask)
        others = [Written("Also good.", ask.kind)] * (ask.how.n - 1)
        return WriteReply(
            Written(f"{ask.item} is good.", ask.kind, [1, 2], -0.5, others), (ask.item or "i0",), "plain-1", ask.request_id, 0.1
        )

    def write_stream(self, ask: WriteAsk) -> tuple[str, Iterator[str]]:
        self._writes(ask)
        return "plain-1", iter([f"{ask.item}", " is", " good."])

    def _writes(self, ask: WriteAsk) -> None:
        self.wanted.append(ask)
        if ask.kind != "reason":
            raise UsageError(f"there is no write task '{ask.kind[:80]}'; those: reason")
        if ask.item is not None:
            self._item(ask.item)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        version: str | None = None,
        request_id: str = "",
        tell: Callable[[str, str], None] | None = None,
        **who: Any,
    ) -> Talked:
        self.said.append({"messages": messages, **who})
        if version not in (None, *self.versions):
            raise UsageError(f"no model '{(version or '')[:80]}' is loaded; loaded: {', '.join(self.versions)[:200]}")
        if messages[-1]["role"] != "user":
            raise UsageError("the last message is not the user's")
        for text in self.spoken if tell is not None else ():
            tell("plain-1", text)
            if self.wait is not None:
                self.wait.wait(10)
        if self.broken is not None:
            raise self.broken
        text = "How about “Item 1”?"
        stop = min((place for one in who["stops"] if (place := text.find(one)) >= 0), default=len(text))
        reply = ChatReply(text[:stop], [Scored("i1", 0.5, "Item 1")], "recommend")
        return Talked(reply, "plain-1", request_id, 0.1, (5, 4))

    def add_events(self, events: Sequence[Event], key: str | None = None) -> Receipt:
        self.store._here()
        if key in self.receipts:
            found = self.receipts[key]
            return Receipt(found.accepted, found.duplicates, found.late, found.first_seq, found.last_seq, True)
        if any(event.action not in (None, "click", "like", "read") for event in events):
            raise DataError("event 1 has an action that training did not know; actions: click, like, read")
        known = {event.event_id for event in self.events if event.event_id}
        events = [event for event in events if event.event_id not in known]
        self.events.extend(events)
        for event in events:
            facts = (event.user_id, event.item_id, event.time or 1e9, event.action)
            self.store.written.append(StoredEvent(len(self.store.written) + 1, 1e9, *facts))
        receipt = Receipt(len(events), 0, 0, len(self.events) - len(events) + 1, len(self.events))
        if key:
            self.receipts[key] = receipt
        return receipt

    def upsert_items(self, rows: Sequence[Mapping[str, Any]]) -> int:
        self.store._here()
        for row in rows:
            fields = {name: value for name, value in row.items() if name != "item_id"}
            self.rows[row["item_id"]] = {"item_id": row["item_id"], "title": str(fields.get("title", "")), "fields": fields}
        return len(rows)

    def upsert_users(self, rows: Sequence[Mapping[str, Any]]) -> int:
        self.store._here()
        for row in rows:
            fields = {name: value for name, value in row.items() if name != "user_id"}
            self.people[row["user_id"]] = {"user_id": row["user_id"], "fields": fields, "events": []}
        return len(rows)

    def items(self, query: str | None = None, most: int = 50, after: str | None = None) -> list[dict[str, Any]]:
        ids = [one for one in self.rows if query is None or query in one]
        begin = ids.index(after) + 1 if after in ids else 0
        return [self.rows[one] for one in ids[begin : begin + most]]

    def users(self, query: str | None = None, most: int = 50, after: str | None = None) -> list[dict[str, Any]]:
        ids = sorted(one for one in self.people if (query is None or query in one) and (after is None or one > after))
        return [self.people[one] for one in ids[:most]]

    def set_experiment(self, experiment: Any) -> Any:
        self.store.save_experiment(experiment.plain())
        return experiment

    def look(self, name: str) -> Any:
        return SimpleNamespace(plain=lambda: {"experiment": self.store.saved[name], "readout": {}, "decision": {"action": "go on"}})

    def item(self, item: str) -> dict[str, Any]:
        return self.rows[self._item(item)]

    def user(self, user: str, most: int = 50) -> dict[str, Any]:
        if user not in self.people:
            raise UnknownUserError("there is no such user")
        return self.people[user]

    def delete_item(self, item: str) -> None:
        self.store._here()
        del self.rows[self._item(item)]

    def forget(self, user: str) -> Any:
        self.store._here()
        self.people.pop(user, None)
        return Forgotten(1)

    def alive(self) -> bool:
        return True

    def ready(self) -> tuple[bool, str]:
        return self.good

    def info(self) -> dict[str, Any]:
        fields = {"title": "text", "category": "category", "tags": "tags", "price": "number"}
        return {"model_version": "plain-1", "items": len(self.rows), "item_fields": fields, "user_fields": {"age": "number"}}

    def models(self) -> list[Facts]:
        active = self.loaded.active.version
        return [Facts(one, folder, "active" if one == active else "loaded") for one, folder in self.versions.items()]

    def load_model(self, folder: Path, version: str | None = None, note: str = "") -> Facts:
        if not folder.name.startswith("good"):
            raise CheckpointError(f"{folder} is no model folder; give a finished run")
        self.versions[version or folder.name] = str(folder)
        return Facts(version or folder.name, str(folder), "loaded")

    def switch(self, version: str) -> Facts:
        if version not in self.versions:
            raise UsageError(f"no model '{version[:80]}' is loaded; loaded: {', '.join(self.versions)[:200]}")
        self.before, self.loaded.active.version = self.loaded.active.version, version
        return Facts(version, self.versions[version], "active")

    def roll_back(self) -> Facts:
        if self.before is None:
            raise UsageError("there was no switch to roll back; name the version to switch to")
        return self.switch(self.before)

    def drop_model(self, version: str) -> None:
        if version not in self.versions or version == self.loaded.active.version:
            raise UsageError(f"no model '{version[:80]}' that could be dropped")
        del self.versions[version]

    def options(self) -> list[dict[str, Any]]:
        return [{"task": task, "scenarios": ["shop"], "folder": None} for task in self.tasks]

    def load_option(self, folder: Path) -> str:
        raise CheckpointError(f"{folder} holds no option; m6rec add-task writes one")

    def drop_option(self, task: str) -> None:
        raise UsageError(f"there is no option '{task[:80]}'")


@dataclass
class Forgotten:
    events: int


def app_of(service: Any, **http: Any) -> FastAPI:
    return create_app(service, ServeConfig.build({"http": http}))


@contextmanager
def served(app: FastAPI, **settings: Any) -> Iterator[str]:
    """Real uvicorn in a thread; gives its address, http://127.0.0.1:PORT."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, **uvicorn_settings(app.state.config.http) | {"loop": "asyncio", "log_config": None} | settings)
    )
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listening]),), daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


@contextmanager
def client_of(service: Any, key: str = "", **http: Any) -> Iterator[httpx.Client]:
    """A client of a served service, with a key or without."""
    with served(app_of(service, **http)) as address:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(base_url=address, headers=headers, timeout=20, trust_env=False) as client:
            yield client
