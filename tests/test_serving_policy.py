"""Rules and experiments in the running service: what a request claims, items that come, arms asked for by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from m6rec.serving.asked import Ask
from m6rec.serving.config import ServeConfig
from m6rec.serving.experiments.assignment import assign
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.service.service import Service

SLATES = {
    "name": "slates",
    "arms": [{"name": "plain", "share": 0.5}, {"name": "mixed", "share": 0.5, "slate": {"diversity": 0.5}}],
}
SETTINGS = {
    "engine": {"quality_per_s": 0},
    "rules": {
        "blocked_words": ["giraffe"],
        "audiences": [{"name": "adults", "field": "category", "values": ["home"], "only": {"age": ">=18"}}],
    },
    "experiments": {"running": [SLATES]},
}


@pytest.fixture
def service(judged_run: Path, tmp_path: Path) -> Iterator[Service]:
    opened = Service.open(judged_run, ServeConfig.build(SETTINGS), tmp_path / "state")
    yield opened
    opened.close()


def shown(service: Service, ask: Ask) -> set[str]:
    return {answer.labels["category"] for answer in service.recommend(ask).answers}


def test_a_request_cannot_make_a_child_older(service: Service) -> None:
    """What the store keeps of a person goes before what is said of them, whether the model knows the person or not."""
    everything: dict[str, Any] = {"k": 60, "include": ("category",), "explore": False}
    service.upsert_users([{"user_id": "child", "age": 12}, {"user_id": "u02", "age": 12}])
    for user in ("child", "u02"):
        assert "home" not in shown(service, Ask(user=user, **everything))
        assert "home" not in shown(service, Ask(user=user, profile={"age": 40}, **everything))
        assert "home" not in shown(service, Ask(user=user, profile="a man of 40", **everything))
    assert "home" in shown(service, Ask(profile={"age": 40}, **everything))


def test_an_item_that_comes_is_held_against_the_rules_at_once(service: Service) -> None:
    service.upsert_items([{"item_id": "fine", "title": "green lamp"}, {"item_id": "not fine", "title": "green GIRAFFE lamp"}])
    found = [answer.item_id for answer in service.recommend(Ask(text="green lamp", k=100, explore=False)).answers]
    assert "fine" in found
    assert "not fine" not in found
    service.upsert_items([{"item_id": "fine", "title": "green giraffe"}, {"item_id": "not fine", "title": "green lamp"}])
    found = [answer.item_id for answer in service.recommend(Ask(text="green lamp", k=100, explore=False)).answers]
    assert "fine" not in found
    assert "not fine" in found


def test_an_arm_asked_for_by_name_is_no_part_of_the_experiment(service: Service) -> None:
    tried = Experiment.build(SLATES)
    for user in ("u01", "u02", "u03"):
        dealt = assign(tried, user)
        assert dealt is not None
        assert service.recommend(Ask(user=user, k=3, request_id=f"by chance {user}")).variant == dealt.name
        assert service.recommend(Ask(user=user, k=3, variant="mixed", request_id=f"by name {user}")).variant == "mixed"
    deadline = time.monotonic() + 10
    while service.shown.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    service.shown.close()
    outcomes = service.store.outcomes("slates", 60.0)
    assert set(outcomes["request_id"]) == {f"by chance {user}" for user in ("u01", "u02", "u03")}
    assert len(service.store.shown("u01")) == 6
