"""A small stand-in for the service, over a real engine, with a store in memory: what the console's pages ask of a service and nothing else."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m6rec.serving.asked import Ask, Reason, Reply
from m6rec.serving.engine import Engine
from m6rec.serving.load_scorer import load_scorer


@dataclass(frozen=True)
class Key:
    id: str
    name: str
    roles: tuple[str, ...]
    created: float


@dataclass(frozen=True)
class Model:
    version: str
    folder: str
    note: str
    added: float
    active: bool


class MemoryStore:
    def __init__(self) -> None:
        self._keys: dict[str, tuple[Key, str]] = {}
        self._settings: dict[str, Any] = {}
        self._models: list[Model] = []

    def keys(self) -> list[Key]:
        return [key for key, _ in self._keys.values()]

    def add_key(self, name: str, roles: tuple[str, ...]) -> str:
        secret = secrets.token_urlsafe(12)
        self._keys[name] = (Key(name, name, tuple(roles), time.time()), hashlib.sha256(secret.encode()).hexdigest())
        return secret

    def find_key(self, secret: str) -> Key | None:
        digest = hashlib.sha256(secret.encode()).hexdigest()
        return next((key for key, kept in self._keys.values() if kept == digest), None)

    def drop_key(self, name: str) -> None:
        del self._keys[name]

    def setting(self, name: str) -> Any:
        return self._settings.get(name)

    def set_setting(self, name: str, value: Any) -> None:
        self._settings[name] = value

    def models(self) -> list[Model]:
        return self._models

    def shown(self, user_id: str | None = None, item_id: str | None = None, after: float = 0.0, most: int = 100) -> list[Any]:
        return []


class FakeService:
    def __init__(self, run: Path) -> None:
        self.run = run
        self.engine = Engine(load_scorer(run / "model"))
        self.store = MemoryStore()
        self.store._models = [Model("spring", str(run), "first", 1e9, True), Model("summer", str(run), "", 1.1e9, False)]

    def info(self) -> dict[str, Any]:
        return {
            "model_version": "spring",
            "items": len(self.engine.items),
            "users": len(self.engine.users),
            "newest_event": self.engine.newest,
        }

    def recommend(self, ask: Ask) -> Reply:
        began = time.perf_counter()
        found = self.engine.recommend(
            ask.user, None if ask.history is None else list(ask.history), ask.text, k=ask.k + len(ask.disliked), scenario=ask.scenario
        )
        answers = tuple([one for one in found if one.item_id not in ask.disliked][: ask.k])
        reasons = tuple((Reason("event", one.item_id, one.title, 0.6), Reason("prior", "graph", "graph", 0.4)) for one in answers)
        return Reply(answers, "spring", "r1", 1e3 * (time.perf_counter() - began), reasons=reasons)


def moved(reply: Reply) -> Reply:
    return replace(reply, answers=reply.answers[::-1], model_version="summer")
