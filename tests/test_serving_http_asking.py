"""Requests as people make them, over real uvicorn: what reaches the service, what comes back, how errors read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from m6rec.base.errors import ConfigError
from m6rec.serving.asked import Slate
from m6rec.serving.config import ServeConfig
from m6rec.serving.http.config import is_loopback
from m6rec.serving.http.token_bucket import TokenBuckets
from served_over_http import PlainService, client_of


@pytest.fixture(scope="module")
def service() -> PlainService:
    return PlainService()


@pytest.fixture(scope="module")
def client(service: PlainService) -> Iterator[httpx.Client]:
    with client_of(service, log=False) as client:
        yield client


EVERYTHING: dict[str, Any] = {
    "user": "u1",
    "history": ["i1", "i2"],
    "text": "something calm",
    "profile": {"age": 30},
    "k": 3,
    "scenario": "shop",
    "where": {"price": "<50", "brand": ["a", "b"]},
    "repeat": "model",
    "of": None,
    "task": "next",
    "dislike": ["i0"],
    "include": ["reasons", "price"],
    "language": "en",
    "reason_by": "reason",
    "context": {"device": "phone", "hour": 3},
    "time": "2026-03-01T12:00:00+01:00",
    "diversity": 0.5,
    "novelty": 0.25,
    "weights": {"brand=a": 2.0},
    "caps": {"brand": 2},
    "mix": {"kind": {"video": 0.3}},
    "budget_ms": 20,
    "variant": "b",
    "explore": False,
}


def test_all_of_ask_and_slate_reaches_the_service(client: httpx.Client, service: PlainService) -> None:
    answer = client.post("/v1/recommend", json=EVERYTHING, headers={"X-Request-ID": "mine-1"})
    assert answer.status_code == 200, answer.text
    ask = service.asked[-1]
    assert ask.slate == Slate(0.5, 0.25, {"brand=a": 2.0}, {"brand": 2}, {"kind": {"video": 0.3}})
    assert (ask.user, ask.history, ask.text, ask.profile) == ("u1", ("i1", "i2"), "something calm", {"age": 30})
    assert (ask.k, ask.scenario, ask.where, ask.repeat) == (3, "shop", {"price": "<50", "brand": ["a", "b"]}, "model")
    assert (ask.task, ask.disliked, ask.include, ask.context) == ("next", ("i0",), ("reasons", "price"), {"device": "phone", "hour": 3})
    assert (ask.language, ask.reason_by) == ("en", "reason")
    assert (ask.time, ask.budget_ms, ask.variant, ask.explore) == (1772362800.0, 20, "b", False)
    assert ask.request_id == "mine-1"
    said = answer.json()
    assert [one["item_id"] for one in said["answers"]] == ["i1", "i2", "i3"]
    assert said["answers"][0]["reasons"] == [{"kind": "event", "what": "i1", "title": "Item 1", "share": 0.5}]
    assert said["answers"][0]["reason"] == "Because of Item 1."
    assert (said["model_version"], said["request_id"], said["cache"]) == ("plain-1", "mine-1", "hit")
    assert said["took_ms"] > 0
    assert answer.headers["x-request-id"] == "mine-1"


def test_numbers_stay_what_they_are(client: httpx.Client, service: PlainService) -> None:
    """1999 is the category "1999": as 1999.0 it would name no item."""
    given = {"year": 1999, "any": [1, 2.5, True, "a"]}
    assert client.post("/v1/recommend", json={"user": "u1", "where": given, "context": {"hour": 3, "on": False}}).status_code == 200
    assert repr(service.asked[-1].where) == "{'year': 1999, 'any': [1, 2.5, True, 'a']}"
    assert repr(service.asked[-1].context) == "{'hour': 3, 'on': False}"
    client.post("/v1/items", json={"items": [{"item_id": "n", "fields": {"year": 1999, "price": 2.0, "sale": True, "gone": None}}]})
    assert repr(service.rows["n"]["fields"]) == "{'year': 1999, 'price': 2.0, 'sale': True, 'gone': None}"


def test_rank_keeps_the_items_in_question(client: httpx.Client, service: PlainService) -> None:
    answer = client.post("/v1/rank", json={"user": "u1", "items": ["i3", "i1"], "task": "click"})
    assert [one["item_id"] for one in answer.json()["answers"]] == ["i3", "i1"]
    assert (service.asked[-1].items, service.asked[-1].k, service.asked[-1].task) == (("i3", "i1"), 2, "click")


def test_events_carry_every_field_and_are_sent_once_by_key(client: httpx.Client, service: PlainService) -> None:
    row = {
        "user_id": "u1",
        "item_id": "i1",
        "time": 1.7e9,
        "action": "click",
        "scenario": "shop",
        "value": 4.5,
        "labels": {"bought": 1},
        "context": {"device": "tv"},
        "event_id": "e-1",
    }
    first = client.post("/v1/events", json={"events": [row]}, headers={"Idempotency-Key": "k1"}).json()
    again = client.post("/v1/events", json={"events": [row]}, headers={"Idempotency-Key": "k1"}).json()
    assert (first["accepted"], first["repeated"], again["accepted"], again["repeated"]) == (1, False, 1, True)
    event = service.events[-1]
    assert (event.time, event.value, event.labels, event.context, event.event_id) == (1.7e9, 4.5, {"bought": 1}, {"device": "tv"}, "e-1")


def test_items_and_users_come_and_go(client: httpx.Client, service: PlainService) -> None:
    rows = [{"item_id": "a/b ü", "fields": {"title": "New", "price": 3}}]
    assert client.post("/v1/items", json={"items": rows}).json()["written"] == 1
    found = client.get("/v1/items/a%2Fb%20%C3%BC").json()["item"]
    assert found == {"item_id": "a/b ü", "title": "New", "fields": {"title": "New", "price": 3}}
    assert client.delete("/v1/items/a%2Fb%20%C3%BC").status_code == 200
    assert client.get("/v1/items/a%2Fb%20%C3%BC").status_code == 404
    page = client.get("/v1/items", params={"most": 2}).json()
    assert [one["item_id"] for one in page["items"]] == ["i0", "i1"]
    following = client.get("/v1/items", params={"most": 2, "after": page["after"]}).json()
    assert [one["item_id"] for one in following["items"]] == ["i2", "i3"]
    client.post("/v1/users", json={"users": [{"user_id": "new", "fields": {"age": 3}}]})
    assert client.get("/v1/users/new").json()["user"]["fields"] == {"age": 3}
    assert client.delete("/v1/users/new").json()["gone"] == {"events": 1}
    assert client.get("/v1/users/new").status_code == 404


WRONG: list[tuple[str, str, int, str]] = [
    ("/v1/recommend", '{"user": "u1", "divrsity": 1}', 422, "unknown key 'divrsity'; did you mean 'diversity'?"),
    ("/v1/recommend", '{"user": "u1", "k": 0}', 422, "'k' is 0: input should be greater than or equal to 1"),
    ("/v1/recommend", '{"user": "u1", "k": 1000000}', 422, "'k' is 1000000: input should be less than or equal to 1000"),
    ("/v1/recommend", '{"user": "u1", "k": "3"}', 422, "'k' is '3': input should be a valid integer"),
    ("/v1/recommend", '{"user": "u1", "k": true}', 422, "'k' is True: input should be a valid integer"),
    ("/v1/recommend", '{"user": 7}', 422, "'user' is 7: input should be a valid string"),
    ("/v1/recommend", '{"user": ""}', 422, "'user' is '': string should have at least 1 character"),
    ("/v1/recommend", '{"user": "a\\u0000b"}', 422, "control characters are not allowed"),
    ("/v1/recommend", '{"user": "u1", "budget_ms": NaN}', 400, "the body is no JSON"),
    ("/v1/recommend", '{"user": "u1", "budget_ms": 1e400}', 400, "the body is no JSON: number is infinity"),
    ("/v1/recommend", '{"user": "u1", "time": "yesterday"}', 422, "a time is seconds since 1970 or ISO 8601"),
    ("/v1/recommend", '{"user": "u1", "time": 5e9}', 422, "'time' is 5000000000.0"),
    (
        "/v1/recommend",
        '{"user": "u1", "mix": {"kind": {"video": 2}}}',
        422,
        "'mix.kind.video' is 2: input should be less than or equal to 1",
    ),
    ("/v1/recommend", '{"k": 5}', 422, "nobody asks; give user, history, text or profile"),
    ("/v1/recommend", '{"user": "nobody"}', 404, "there is no user 'nobody'"),
    ("/v1/recommend", '{"user": "u1", "scenario": "moon"}', 422, "there is no scenario 'moon'; scenarios: shop"),
    ("/v1/recommend", '{"user": ', 400, "the body is no JSON"),
    ("/v1/recommend", "[]", 422, "the body is a list of 0"),
    ("/v1/recommend", "", 422, "a JSON body is required"),
    ("/v1/recommend", '{"a":' * 2000 + "1" + "}" * 2000, 400, "the body is no JSON"),
    ("/v1/rank", '{"user": "u1", "items": []}', 422, "'items' is a list of 0"),
    ("/v1/rank", '{"user": "u1", "items": ["zz"]}', 404, "there is no item 'zz'"),
    ("/v1/events", '{"events": [{"user_id": "u1", "item_id": "i1", "time": -1}]}', 422, "'events.0.time' is -1:"),
    (
        "/v1/events",
        '{"events": [{"user_id": "u1", "item_id": "i1", "acton": "x"}]}',
        422,
        "unknown key 'events.0.acton'; did you mean 'action'?",
    ),
    ("/v1/events", '{"events": [{"user_id": "u1", "item_id": "i1", "value": true}]}', 422, "a number is needed, not true or false"),
    (
        "/v1/items",
        '{"items": [{"item_id": "i1", "title": "x"}]}',
        422,
        "unknown key 'items.0.title'; known keys: fields, item_id; a field of the item goes under 'fields'",
    ),
    ("/v1/users", '{"users": [{"user_id": "u1", "age": 3}]}', 422, "a field of the user goes under 'fields'"),
    ("/v1/events", '{"events": []}', 422, "'events' is a list of 0"),
    ("/v1/events", json.dumps({"events": [{"user_id": "u", "item_id": "i"}] * 5001}), 422, "'events' is a list of 5001"),
    ("/v1/classify", '{"text": "a", "item": "i1"}', 422, "give text or item, one of the two"),
    ("/v1/classify", '{"text": "a", "task": "nonsense"}', 422, "there is no task 'nonsense'; tasks: sentiment"),
    ("/v1/similar", '{"item": "zz"}', 404, "there is no item 'zz'"),
    ("/v1/experiments", '{"name": "x", "arms": [{"name": "a", "share": 1}]}', 422, "'arms' is a list of 1"),
    ("/v1/models/roll-back", "", 422, "there was no switch to roll back"),
]


@pytest.mark.parametrize(("path", "body", "status", "said"), WRONG)
def test_wrong_requests_are_told_what_is_wrong(client: httpx.Client, path: str, body: str, status: int, said: str) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert said in problem["detail"]
    assert (problem["status"], problem["request_id"]) == (status, answer.headers["x-request-id"])
    assert "\n" not in problem["detail"]
    assert len(problem["detail"]) < 600


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/nothing", 404, "there is no such route"),
        ("GET", "/v1/recommend", 405, "GET is not offered here; allowed: POST"),
        ("GET", "/v1/items?mots=3", 422, "unknown key 'mots'; did you mean 'most'?"),
        ("GET", "/v1/items?most=many", 422, "'most' is 'many'"),
        ("GET", "/v1/experiments/none/readout", 404, "there is no experiment 'none'"),
    ],
)
def test_wrong_addresses(client: httpx.Client, method: str, path: str, status: int, said: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]


def test_a_body_of_another_kind_is_415(client: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post("/v1/recommend", content='{"user": "u1"}', headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["detail"]) == (415, "a body is sent as Content-Type: application/json"), kind


def test_a_review_is_found_and_decided_once(client: httpx.Client) -> None:
    page = client.get("/v1/reviews", params={"most": 1}).json()
    assert ([one["id"] for one in page["reviews"]], page["after"]) == ([3], 3)
    assert [one["id"] for one in client.get("/v1/reviews", params={"after": 3}).json()["reviews"]] == [5]
    decided = client.post("/v1/reviews/5", json={"verdict": "approved"}).json()["review"]
    assert (decided["state"], decided["by"], decided["content"]) == ("approved", "somebody of this machine", {"text": "Text 5"})
    assert client.get("/v1/reviews/5").json()["review"] == decided
    again = client.post("/v1/reviews/5", json={"verdict": "rejected"})
    assert (again.status_code, again.json()["detail"]) == (422, "review 5 was approved already")
    assert client.get("/v1/reviews/4").status_code == client.post("/v1/reviews/4", json={"verdict": "approved"}).status_code == 404
    assert client.post("/v1/reviews/3", json={"verdict": "maybe"}).status_code == 422
    assert client.get("/v1/reviews", params={"state": "approved"}).json()["reviews"] == [decided]


def test_an_experiment_is_set_up_read_and_stopped(client: httpx.Client, service: PlainService) -> None:
    arms = [{"name": "old", "share": 0.5}, {"name": "new", "share": 0.5, "slate": {"diversity": 0.4}}]
    made = client.post("/v1/experiments", json={"name": "more variety", "arms": arms}).json()["experiment"]
    assert (made["status"], made["arms"][1]["slate"]["diversity"]) == ("running", 0.4)
    assert client.get("/v1/experiments").json()["experiments"] == [made]
    assert client.get("/v1/experiments/more%20variety/readout").json()["readout"]["decision"] == {"action": "go on"}
    assert client.post("/v1/experiments/more%20variety/stop").json()["experiment"]["status"] == "stopped"
    assert service.store.saved["more variety"]["status"] == "stopped"
    wrong = client.post("/v1/experiments", json={"name": "x", "arms": [{**arms[0], "model": "none"}, arms[1]]})
    assert (wrong.status_code, wrong.json()["detail"]) == (422, "arm 'old' asks for the model 'none'; there are: plain-1")


def test_overload_is_answered_at_once_and_ends() -> None:
    """Two threads and two places to wait: the fifth request is turned away while the others come to their end."""
    service = PlainService()
    service.wait = threading.Event()
    with client_of(service, log=False, threads=2, waiting=2) as client, ThreadPoolExecutor(4) as pool:
        held = [pool.submit(client.post, "/v1/recommend", json={"user": "u1"}) for _ in range(4)]
        until = time.monotonic() + 10
        while len(service.asked) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        turned = client.post("/v1/recommend", json={"user": "u1"})
        while turned.status_code == 200 and time.monotonic() < until:
            turned = client.post("/v1/recommend", json={"user": "u1"})
        assert (turned.status_code, turned.headers["retry-after"]) == (503, "1")
        assert client.get("/health/live").status_code == 200, "the event loop is free"
        assert client.post("/v1/events", json={"events": [{"user_id": "u", "item_id": "i"}]}).status_code == 200, (
            "writing has a lane of its own"
        )
        service.wait.set()
        assert [one.result().status_code for one in held] == [200] * 4
        assert client.post("/v1/recommend", json={"user": "u1"}).status_code == 200


def test_a_store_that_is_away_stops_writing_only() -> None:
    service = PlainService()
    with client_of(service, log=False) as client:
        assert client.post("/v1/recommend", json={"user": "u1"}).status_code == 200
        service.store.away = True
        written = client.post("/v1/events", json={"events": [{"user_id": "u", "item_id": "i"}]})
        assert (written.status_code, written.headers["retry-after"]) == (503, "1")
        assert written.json()["detail"] == "the store does not answer; try again"
        assert client.post("/v1/recommend", json={"user": "u1"}).status_code == 200
        assert client.get("/health/ready").status_code == 200
        service.good = (False, "the service is stopping")
        assert client.get("/health/ready").json()["detail"] == "the service is stopping"


def test_metrics_count_requests_by_route_and_never_by_id(client: httpx.Client) -> None:
    client.get("/v1/users/somebody-private")
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'm6rec_http_requests_total{method="GET",route="/v1/users/{user_id}",status="404"}' in page.text
    assert 'm6rec_answers_total{cache="hit",degraded="none",kind="recommend"}' in page.text
    assert "m6rec_items{" in page.text
    assert "somebody" not in page.text


def test_tokens_come_back_at_the_rate() -> None:
    now = [0.0]
    buckets = TokenBuckets(rate=2.0, burst=3, most=2, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    now[0] = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 0.5]
    now[0] = 100.0
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5], "never more than the burst"
    buckets.take("b")
    buckets.take("c")
    assert len(buckets._buckets) == 2, "memory is bounded"
    now[0] = 50.0
    assert buckets.take("b") == 0.0, "a clock that goes back takes nothing away"
    assert TokenBuckets(0.0, 1).take("a") == 0.0


def test_which_addresses_are_this_machine_only() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.3.2.1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "shop.example", "localhost.evil.example", ""))
    with pytest.raises(ConfigError, match=r"'http.prot'; did you mean 'http.port'|unknown key"):
        ServeConfig.build({"http": {"prot": 1}})
