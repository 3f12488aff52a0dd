"""The service over a trained folder and a real store: what one worker wrote is in the next answer of another, and outlives both."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from m6rec.base.errors import DataError, StorageError, UnknownItemError, UnknownUserError, UsageError
from m6rec.serving.asked import Ask, Reply, Slate
from m6rec.serving.config import ServeConfig
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.load_scorer import load_scorer
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.service.service import Service
from m6rec.serving.store.records import Event, Shown

Opener = Callable[..., Service]


@pytest.fixture
def opened(judged_run: Path, tmp_path: Path) -> Iterator[Opener]:
    """`opened()`: a service over the judged run; several share one store, as several workers do."""
    services: list[Service] = []

    def make(settings: dict[str, Any] | None = None, state: str = "state") -> Service:
        service = Service.open(judged_run, ServeConfig.build({"engine": {"quality_per_s": 0}, **(settings or {})}), tmp_path / state)
        services.append(service)
        return service

    yield make
    for service in services:
        service.close()


@pytest.fixture(scope="module")
def engine(judged_run: Path) -> Engine:
    """The same folder without a service around it. Read only."""
    return Engine(load_scorer(judged_run / "model"))


def ids(reply: Reply) -> list[str]:
    return [answer.item_id for answer in reply.answers]


def items(service: Service) -> list[str]:
    return service.loaded.active.engine.items.ids.ids


def test_a_plain_question_is_answered_as_the_engine_answers_it(opened: Opener, engine: Engine) -> None:
    service = opened()
    user = engine.users.ids.ids[3]
    reply = service.recommend(Ask(user=user, k=5, scenario="shop", include=("category",), request_id="r1"))
    expected = engine.recommend(user=user, k=5, scenario="shop", include=["category"])
    assert ids(reply) == [one.item_id for one in expected]
    assert [one.score for one in reply.answers] == pytest.approx([one.score for one in expected], abs=1e-5)
    assert [one.labels for one in reply.answers] == [one.labels for one in expected]
    assert (reply.request_id, reply.model_version, reply.propensities) == ("r1", service.loaded.active.version, (1.0,) * 5)
    ranked = service.rank(Ask(user=user, items=tuple(items(service)[:6]), task="click", scenario="shop"))
    assert ids(ranked) == [one.item_id for one in engine.rank(user, items(service)[:6], "click", scenario="shop")]
    assert ids(service.similar(items(service)[0], 3)) == [one.item_id for one in engine.similar_items(items(service)[0], 3)]


def test_an_event_at_one_worker_is_in_the_next_answer_of_the_other(opened: Opener) -> None:
    one, other = opened(), opened()
    wanted = items(one)[7]
    with pytest.raises(UnknownUserError):
        other.recommend(Ask(user="somebody new"))
    receipt = one.add_events([Event("somebody new", wanted, action="click", scenario="shop")])
    assert (receipt.accepted, receipt.duplicates) == (1, 0)
    assert ids(other.recommend(Ask(user="somebody new", k=3))) == ids(one.recommend(Ask(user="somebody new", k=3)))
    assert other.user("somebody new")["events"][0]["item_id"] == wanted
    other.add_events([Event("somebody new", items(one)[8], action="buy")])
    assert [event["item_id"] for event in one.user("somebody new")["events"]] == [items(one)[8], wanted]


def test_what_was_acknowledged_is_there_after_a_start_and_nothing_twice(opened: Opener, engine: Engine) -> None:
    user = engine.users.ids.ids[0]
    past = engine.histories.row(0)
    assert past.times is not None
    assert past.actions is not None
    before = len(past.items)
    known = Event(
        user, engine.items.ids.ids[past.items[-1]], time=float(past.times[-1]), action=engine.dataset.action_names[past.actions[-1]]
    )
    service = opened()
    service.add_events([Event(user, items(service)[1], action="click"), Event(user, items(service)[2], action="view")], key="k1")
    assert service.add_events(
        [Event(user, items(service)[1], action="click"), Event(user, items(service)[2], action="view")], key="k1"
    ).repeated
    service.store.add_events([known])  # what an export and a training have already brought into the folder
    service.upsert_items([{"item_id": "new", "title": "purple zebra"}])
    service.upsert_users([{"user_id": "described", "age": 31}])
    service.delete_item(items(service)[5])
    again = opened()
    assert again.user(user)["count"] == before + 2
    assert again.item("new")["title"] == "purple zebra"
    assert again.user("described")["fields"]["age"] == 31
    with pytest.raises(UnknownItemError):
        again.item(items(service)[5])


def test_outcomes_of_what_was_shown_count_in_the_next_answer_and_are_no_events(opened: Opener) -> None:
    first, second = opened(), opened()
    users, shown = [one["user_id"] for one in first.users(None, 60, None)], items(first)[:30]
    ask = Ask(user=users[0], items=tuple(shown), task="click", scenario="shop")
    before = {one.item_id: one.score for one in first.rank(ask).answers}
    refused = max(before, key=before.__getitem__)
    now = first.info()["newest_event"]
    seen = [Event(user_id=users[1 + n % 50], item_id=refused, time=now - n, scenario="shop", labels={"clicked": 0}) for n in range(200)]
    held = first.user(users[1], 5)["count"]
    first.add_events(seen)
    for service in (first, second):
        after = {one.item_id: one.score for one in service.rank(ask).answers}
        assert after[refused] < before[refused]
        assert service.user(users[1], 5)["count"] == held


def test_items_come_change_and_go_in_every_worker(opened: Opener) -> None:
    one, other = opened(), opened()
    one.upsert_items([{"item_id": "new", "title": "purple zebra"}])
    assert ids(other.search("purple zebra", 1)) == ["new"]
    other.upsert_items([{"item_id": "new", "title": "green giraffe", "category": "home"}])
    assert one.item("new")["fields"]["category"] == "home"
    assert ids(one.search("green giraffe", 1)) == ["new"]
    assert "new" not in ids(one.search("purple zebra", 60))[:1]
    assert one.items("giraffe")[0]["item_id"] == "new"
    one.delete_item("new")
    assert "new" not in ids(other.search("green giraffe", 60))
    assert other.items("giraffe") == []
    with pytest.raises(UnknownItemError, match="was deleted"):
        other.add_events([Event("u01", "new", action="click")])
    one.upsert_items([{"item_id": "new", "title": "green giraffe"}])
    assert ids(other.search("green giraffe", 1)) == ["new"]


def test_a_person_nobody_has_events_of_is_answered_by_what_the_store_knows(opened: Opener) -> None:
    service = opened()
    service.upsert_users([{"user_id": "gardener", "interests": ["gardening"], "age": 50}])
    told = service.recommend(Ask(user="gardener", k=5))
    assert ids(told) == ids(service.recommend(Ask(profile={"interests": ["gardening"], "age": 50}, k=5)))
    assert "gardener" in [row["user_id"] for row in service.users("gard")]


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (Ask(), UsageError),
        (Ask(user="u01", k=0), UsageError),
        (Ask(user="nobody"), UnknownUserError),
        (Ask(history=("nothing",)), UnknownItemError),
        (Ask(user="u01", scenario="shpo"), UsageError),
        (Ask(user="u01", where={"colour": "red"}), UsageError),
        (Ask(user="u01", include=("colour",)), UsageError),
        (Ask(user="u01", slate=Slate(diversity=2.0)), UsageError),
        (Ask(user="u01", variant="nowhere"), UsageError),
        (Ask(user="u01", task="nothing"), UsageError),
    ],
)
def test_a_wrong_question_is_one_line(opened: Opener, ask: Ask, error: type[Exception]) -> None:
    service = opened()
    with pytest.raises(error) as caught:
        service.recommend(ask)
    assert "\n" not in str(caught.value)
    assert service.traffic.total()["counts"]["errors recommend"] == 1


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (Event("u01", "nothing"), UnknownItemError),
        (Event("", "i01"), DataError),
        (Event("u01", "i01", action="bought"), DataError),
        (Event("u01", "i01", scenario="shpo"), DataError),
        (Event("u01", "i01", time=4e9), DataError),
        (Event("u01", "i01", time=float("nan")), DataError),
        (Event("u01", "i01", value=float("inf")), DataError),
    ],
)
def test_an_event_that_no_model_can_take_is_refused_whole(opened: Opener, event: Event, error: type[Exception]) -> None:
    service = opened()
    with pytest.raises(error):
        service.add_events([Event("u01", "i01", action="click"), event])
    assert service.store.events() == []


def test_a_million_answers_are_as_many_as_there_are(opened: Opener) -> None:
    service = opened()
    reply = service.recommend(Ask(text="boots", k=1_000_000))
    assert len(reply.answers) == len(items(service))


def test_rules_and_blocks_hold_in_every_worker(opened: Opener) -> None:
    rules = {"audiences": [{"name": "adults", "field": "category", "values": ["home"], "only": {"age": ">=18"}}]}
    one, other = opened({"rules": rules}), opened({"rules": rules})
    young = one.recommend(Ask(profile={"age": 12}, k=60, include=("category",)))
    grown = one.recommend(Ask(profile={"age": 40}, k=60, include=("category",)))
    assert "home" not in [answer.labels["category"] for answer in young.answers]
    assert "home" in [answer.labels["category"] for answer in grown.answers]
    assert young.left_out["adults"] == sum(answer.labels["category"] == "home" for answer in grown.answers)
    first = ids(grown)[0]
    other.store.block("item", first, "recalled")
    assert first not in ids(one.recommend(Ask(profile={"age": 40}, k=60)))
    other.store.unblock("item", first)
    assert first in ids(one.recommend(Ask(profile={"age": 40}, k=60)))


def test_a_slate_is_put_together_from_the_candidates(opened: Opener) -> None:
    service = opened()
    reply = service.recommend(Ask(user="u01", k=6, slate=Slate(diversity=0.4, caps={"brand": 1}), include=("brand",)))
    brands = [answer.labels["brand"] for answer in reply.answers if answer.labels["brand"]]
    assert len(brands) == len(set(brands))
    assert reply.left_out["cap brand"] > 0


def test_what_was_shown_is_in_the_audit_with_place_propensity_and_arm(opened: Opener) -> None:
    arms = [{"name": "plain", "share": 0.5}, {"name": "mixed", "share": 0.5, "slate": {"diversity": 0.5}}]
    service = opened({"experiments": {"running": [{"name": "slates", "arms": arms}], "exploration": 0.2}})
    replies = [service.recommend(Ask(user=user, k=4, request_id=f"r-{user}")) for user in ("u01", "u02", "u03", "u04", "u05", "u06")]
    assert {reply.variant for reply in replies} == {"plain", "mixed"}
    assert all(reply.experiment == "slates" for reply in replies)
    assert service.recommend(Ask(user="u01", k=4)).variant == replies[0].variant
    assert service.recommend(Ask(user="u01", k=4, variant="mixed", explore=False)).variant == "mixed"
    quiet = service.recommend(Ask(user="u01", k=4, explore=False))
    assert (quiet.variant, quiet.propensities) == (None, (1.0,) * 4)
    deadline = time.monotonic() + 10
    while service.shown.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    service.shown.close()
    rows = service.store.shown("u02")
    assert [(row.position, row.item_id, row.propensity) for row in rows] == [
        (place + 1, answer.item_id, propensity)
        for place, (answer, propensity) in enumerate(zip(replies[1].answers, replies[1].propensities, strict=True))
    ]
    assert {row.variant for row in rows} == {replies[1].variant}
    assert service.store.verify_audit().problem == ""


def test_a_person_stays_in_their_arm_when_another_experiment_starts(opened: Opener) -> None:
    """Set up in the store, or added to the configuration later: names decide nothing, also in another worker."""
    people = [f"person{number}" for number in range(12)]

    def arms_of(service: Service) -> list[tuple[str | None, str | None]]:
        service.following.catch_up()
        routes = [service.routing.route(Ask(user=user)) for user in people]
        return [(route.experiment, route.variant) for route in routes]

    def shaped(name: str) -> dict[str, Any]:
        return {"name": name, "arms": [{"name": "plain", "share": 0.5}, {"name": "mixed", "share": 0.5, "slate": {"diversity": 0.5}}]}

    configured = {"experiments": {"running": [shaped("m")]}}
    one, other = opened(configured), opened(configured)
    before = arms_of(one)
    assert {name for name, _ in before} == {"m"}
    kept = one.set_experiment(Experiment.build(shaped("a")))
    assert kept.started is not None
    assert arms_of(one) == arms_of(other) == before
    one.set_experiment(Experiment.build(shaped("m") | {"status": "paused"}))
    taken = arms_of(other)
    assert {name for name, _ in taken} == {"a"}
    one.set_experiment(Experiment.build(shaped("m")))  # it comes behind the one that has its people now
    assert arms_of(one) == arms_of(other) == taken
    later = opened({"experiments": {"running": [shaped("0"), shaped("m")]}})
    assert arms_of(later) == taken
    assert arms_of(opened({"experiments": {"running": [shaped("0"), shaped("m")]}})) == taken


def test_the_share_of_chance_is_switched_while_it_runs(opened: Opener) -> None:
    one, other = opened(), opened()
    assert set(one.recommend(Ask(user="u01", k=8)).propensities) == {1.0}
    other.store.set_setting("exploration", 0.5)
    seen = [propensity for _ in range(5) for propensity in one.recommend(Ask(user="u01", k=8)).propensities]
    assert max(seen) == 0.5
    assert 0 < min(seen) < 0.5


def test_reads_go_on_while_the_store_is_locked_and_writes_say_so(opened: Opener, tmp_path: Path) -> None:
    service = opened({"store": {"timeout_s": 0.2}})
    before = ids(service.recommend(Ask(user="u01", k=5)))
    locker = sqlite3.connect(tmp_path / "state" / "store.db", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StorageError):
            service.add_events([Event("u01", "i01", action="click")])
        assert ids(service.recommend(Ask(user="u01", k=5))) == before
        assert service.ready() == (True, "")
    finally:
        locker.execute("ROLLBACK")
        locker.close()
    assert service.add_events([Event("u01", "i01", action="click")]).accepted == 1
    assert service.user("u01")["events"][0]["item_id"] == "i01"


def test_an_unknown_field_of_a_profile_is_named(opened: Opener) -> None:
    service = opened()
    field = next(iter(service.info()["user_fields"]))
    value = next(value for user in service.users(most=50) for value in [user["fields"].get(field)] if value is not None)
    for ask in (Ask(profile={field: value, field + "x": "1"}, k=2), Ask(profile={field + "x": "1"}, items=("i01", "i02"))):
        reply = service.recommend(ask) if ask.items is None else service.rank(ask)
        assert reply.notes == (f"'{field}x' of the profile is no field of users, and is read as words; did you mean '{field}'?",)
    assert service.recommend(Ask(profile={field: value}, k=2)).notes == ()
    assert service.recommend(Ask(profile="likes tents", k=2)).notes == ()


def test_a_search_for_words_that_no_item_has_says_so(opened: Opener) -> None:
    service = opened()
    title = service.items(most=1)[0]["title"]
    assert not any("no word of the text" in note for note in service.search(title, 3).notes)
    found = service.search("qqqqzzzz xxyyzz", 3)
    assert any("no word of the text stands in any item" in note or "no text prior" in note for note in found.notes), found
    for blank in ("", "  ", "\t\n"):
        with pytest.raises(UsageError, match="give a word or more"):
            service.search(blank)


def test_a_forgotten_person_is_nowhere_and_stays_so(opened: Opener) -> None:
    one, other = opened(), opened()
    one.recommend(Ask(user="u02", k=3))
    one.add_events([Event("u02", "i03", action="click")])
    forgotten = one.forget("u02")
    assert forgotten.events == 1
    for service in (one, other, opened()):
        with pytest.raises(UnknownUserError):
            service.recommend(Ask(user="u02", k=3))
        assert service.info()["retrain"]
    other.add_events([Event("u02", "i04", action="click")])
    assert [event["item_id"] for event in one.user("u02")["events"]] == ["i04"]
    assert opened().user("u02")["count"] == 1


@pytest.mark.parametrize("pseudonyms", [False, True])
def test_only_somebody_who_is_known_can_be_forgotten(opened: Opener, pseudonyms: bool) -> None:
    service = opened({"store": {"pseudonyms": pseudonyms}})
    before = service.store.newest_change()
    with pytest.raises(UnknownUserError, match="neither the store nor the model"):
        service.forget("never seen")
    assert service.store.newest_change() == before, "nothing is written of somebody nobody knows"
    trained = service.forget("u04")
    assert (trained.events, trained.trained) == (0, True)
    with pytest.raises(UnknownUserError):
        service.forget("u04")
    service.store.record_shown([Shown("r", "only shown", "i01", 1, "v")])
    assert service.store.holds("only shown")
    seen = service.forget("only shown")
    assert (seen.audits, seen.trained) == (1, False)
    assert not service.store.holds("only shown")


def test_pseudonyms_in_the_store_are_the_same_people_in_the_model(opened: Opener) -> None:
    hidden = {"store": {"pseudonyms": True}}
    one = opened(hidden)
    before = one.user("u03")["count"]
    one.add_events([Event("u03", "i03", action="click"), Event("fresh", "i05", action="click")])
    assert {event.user_id for event in one.store.events()}.isdisjoint({"u03", "fresh"})
    for service in (one, opened(hidden)):
        assert service.user("u03")["count"] == before + 1
        assert service.user("fresh")["count"] == 1
        assert ids(service.recommend(Ask(user="fresh", k=2))) == ids(one.recommend(Ask(user="fresh", k=2)))


def test_info_says_what_there_is(opened: Opener) -> None:
    service = opened()
    info = service.info()
    assert (info["model_version"], info["store"], info["retrain"], info["problems"]) == (service.loaded.active.version, "ok", False, [])
    assert info["item_fields"]["price"] == "number"
    assert info["tasks"]["click"] == "judge"
    newest = info["newest_event"]
    service.add_events([Event("u01", "i01", action="click")])
    assert service.info()["newest_event"] > newest
    board = service.board()
    assert set(board.tasks) >= {"next", "click", "category"}
    assert {"shop", "feed"} <= set(board.scenarios)
    assert service.training().status == "finished"
