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
from m6rec.serving.experiments.outcomes import Outcomes
from m6rec.serving.service.chores import exposures_of
from m6rec.serving.service.service import Service
from m6rec.serving.store.records import Event

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
NEW_MODEL = {"name": "versions", "arms": [{"name": "old", "share": 0.0}, {"name": "new", "share": 1.0, "model": "v9"}], "traffic": 1.0}


@pytest.fixture
def service(judged_run: Path, tmp_path: Path) -> Iterator[Service]:
    opened = Service.open(judged_run, ServeConfig.build(SETTINGS), tmp_path / "state")
    yield opened
    opened.close()


def written(service: Service) -> None:
    """Wait until the audit is on disk."""
    deadline = time.monotonic() + 10
    while service.shown.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    service.shown.close()


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
    written(service)
    outcomes = service.store.outcomes("slates", 60.0)
    assert set(outcomes["request_id"]) == {f"by chance {user}" for user in ("u01", "u02", "u03")}
    assert len(service.store.shown("u01")) == 6


def test_a_session_is_one_unit_and_the_time_of_an_answer_can_be_guarded(service: Service) -> None:
    for number in range(3):
        service.recommend(Ask(text="green lamp", k=2, context={"session": "secret"}, request_id=f"list {number}"))
    service.recommend(Ask(text="green lamp", k=2, request_id="no session"))
    written(service)
    rows = exposures_of(service.store.outcomes("slates", 60.0))
    assert rows["unit"].n_unique() == 2
    assert rows.filter(rows["unit"] == "no session").height == 2
    assert "secret" not in str(rows.rows())
    assert (rows["took_ms"] > 0).all()
    assert Outcomes.of(rows).ratio(rows["arm"][0], "took_ms").mean > 0


def test_an_answer_of_another_model_than_the_arms_is_no_part_of_the_experiment(judged_run: Path, tmp_path: Path) -> None:
    opened = Service.open(judged_run, ServeConfig.build({"experiments": {"running": [NEW_MODEL]}}), tmp_path / "state")
    try:
        reply = opened.recommend(Ask(user="u01", k=3, request_id="r"))
        assert (reply.experiment, reply.variant) == (None, None)
        assert "the model 'v9' of the arm is not loaded; another one answered" in reply.notes
        written(opened)
        assert len(opened.store.shown("u01")) == 3
        assert opened.store.outcomes("versions", 60.0).is_empty()
    finally:
        opened.close()


def test_a_label_that_no_task_reads_is_kept_and_named(service: Service) -> None:
    receipt = service.add_events([Event("u01", "i01", time=1.7e9, labels={"clikced": 1})])
    assert (receipt.accepted, receipt.unread) == (1, ("clikced",))
    assert service.store.events("u01")[-1].labels == {"clikced": 1}
