"""HTTP over the real service: a trained run, a real store, real uvicorn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from m6rec.serving.config import ServeConfig
from m6rec.serving.service.service import Service
from served_over_http import app_of, served


@pytest.fixture(scope="module")
def service(judged_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service.open(judged_run, ServeConfig(), tmp_path_factory.mktemp("state"))
    yield service
    service.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with served(app_of(service, log=False)) as address, httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        yield client


def test_a_message_names_routes_and_no_methods_of_a_program(client: httpx.Client) -> None:
    for path, body in (("rank", {"history": [], "items": ["nowhere"]}), ("recommend", {"history": ["nowhere"]})):
        told = client.post(f"/v1/{path}", json=body)
        assert told.status_code == 404
        assert "add_items" not in told.text
    assert "; add it with POST /v1/items" in told.json()["detail"]


def test_a_search_is_for_words(client: httpx.Client) -> None:
    assert client.post("/v1/search", json={"text": "   "}).status_code == 422
    assert client.post("/v1/search", json={"text": "qqqqzzzz"}).json()["notes"]


def test_a_person_from_first_click_to_forgotten(client: httpx.Client, service: Service) -> None:
    info = client.get("/info").json()["info"]
    action, scenario = info["actions"][0], (info["scenarios"] or [None])[0]
    item = client.get("/v1/items", params={"most": 1}).json()["items"][0]["item_id"]
    assert client.post("/v1/recommend", json={"user": "brand new"}).status_code == 404
    event = {"user_id": "brand new", "item_id": item, "action": action} | ({"scenario": scenario} if scenario else {})
    receipt = client.post("/v1/events", json={"events": [event]}, headers={"Idempotency-Key": "one"}).json()
    assert (receipt["accepted"], receipt["repeated"]) == (1, False)
    assert client.post("/v1/events", json={"events": [event]}, headers={"Idempotency-Key": "one"}).json()["repeated"] is True
    other = client.post("/v1/events", json={"events": [{**event, "value": 2.0}]}, headers={"Idempotency-Key": "one"})
    assert other.status_code == 422, "the key names another request"
    answer = client.post("/v1/recommend", json={"user": "brand new", "k": 3, "include": ["reasons"], "repeat": "exclude", "diversity": 0.3})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["model_version"] == info["model_version"]
    assert len(said["answers"]) == 3
    assert item not in [one["item_id"] for one in said["answers"]]
    assert any(reason["what"] == item for one in said["answers"] for reason in one["reasons"])
    assert client.get("/v1/users/brand%20new").json()["user"]["events"][0]["item_id"] == item
    assert client.post("/v1/explain", json={"user": "brand new", "item": said["answers"][0]["item_id"]}).json()["explanation"]["rank"] >= 1
    told = client.post("/v1/explain", json={"history": ["i03", "i07"], "item": "i12", "language": "zh"}).json()["explanation"]
    assert set(told["cited"]) <= {"i03", "i07"}
    assert told["reason"].endswith("。")
    assert client.post("/v1/explain", json={"history": ["i03"], "item": "i12", "language": "xx"}).status_code in (400, 422)
    assert client.delete("/v1/users/brand%20new").json()["gone"]["events"] == 1
    assert client.post("/v1/recommend", json={"user": "brand new"}).status_code == 404


def test_a_new_item_is_found_blocked_and_taken_out(client: httpx.Client) -> None:
    known = client.get("/v1/items", params={"most": 1}).json()["items"][0]
    fields = {name: value for name, value in known["fields"].items() if value is not None}
    assert client.post("/v1/items", json={"items": [{"item_id": "fresh", "fields": fields}]}).json()["written"] == 1
    likes = client.post("/v1/similar", json={"item": known["item_id"], "k": 50}).json()["answers"]
    assert "fresh" in [one["item_id"] for one in likes]
    assert client.post("/v1/blocked", json={"kind": "item", "value": "fresh", "reason": "recall"}).status_code == 200
    everything = {"history": [known["item_id"]], "k": 1000}
    assert "fresh" not in [one["item_id"] for one in client.post("/v1/recommend", json=everything).json()["answers"]]
    assert client.get("/v1/blocked").json()["blocked"][0]["reason"] == "recall"
    assert client.delete("/v1/blocked/item/fresh").status_code == 200
    assert "fresh" in [one["item_id"] for one in client.post("/v1/recommend", json=everything).json()["answers"]]
    assert client.delete("/v1/items/fresh").status_code == 200
    assert client.get("/v1/items/fresh").status_code == 404


def test_tasks_are_asked_by_name(client: httpx.Client, service: Service) -> None:
    options = client.get("/v1/options").json()["options"]
    assert options
    user, items = service.users(None, 1)[0]["user_id"], [one["item_id"] for one in service.items(None, 3)]
    task = options[0]["task"]
    scenario = (options[0]["scenarios"] or [None])[0]
    told = {"user": user, "items": items, "task": task} | ({"scenario": scenario} if scenario else {})
    ranked = client.post("/v1/rank", json=told)
    assert ranked.status_code == 200, ranked.text
    assert sorted(one["item_id"] for one in ranked.json()["answers"]) == sorted(items)
    rows = [{"user_id": user, "item_id": item} | ({"scenario": scenario} if scenario else {}) for item in items]
    predicted = client.post("/v1/predict", json={"rows": rows, "tasks": [task]})
    assert predicted.status_code == 200, predicted.text
    assert [row["item_id"] for row in predicted.json()["rows"]] == items
    assert client.post("/v1/rank", json={**told, "task": "nonsense"}).status_code == 422


def test_models_stand_beside_each_other(client: httpx.Client, service: Service) -> None:
    first = client.get("/v1/models").json()["models"][0]
    assert first["status"] == "active"
    assert not Path(first["folder"]).is_absolute()
    loaded = client.post("/v1/models", json={"folder": service.run.name, "version": "second"})
    assert loaded.status_code == 200, loaded.text
    assert client.post("/v1/models/switch", json={"version": "second"}).json()["model_version"] == "second"
    assert client.post("/v1/models/roll-back").json()["model_version"] == first["version"]
    assert client.delete("/v1/models/second").status_code == 200
    assert client.post("/v1/models", json={"folder": "no such folder"}).status_code == 409


def test_an_experiment_over_the_real_store(client: httpx.Client) -> None:
    arms = [{"name": "as it is", "share": 0.5}, {"name": "varied", "share": 0.5, "slate": {"diversity": 0.5}}]
    assert client.post("/v1/experiments", json={"name": "variety", "arms": arms}).status_code == 200
    answer = client.post("/v1/recommend", json={"user": "no", "history": [], "k": 3})
    assert answer.status_code in (200, 404)
    told = client.get("/v1/experiments/variety/readout")
    assert told.status_code == 200, told.text
    assert told.json()["readout"]["experiment"]["name"] == "variety"
    assert client.post("/v1/experiments/variety/stop").json()["experiment"]["status"] == "stopped"


def test_a_gorse_client_over_the_real_service(client: httpx.Client, service: Service) -> None:
    user, action = service.users(None, 1)[0]["user_id"], service.info()["actions"][0]
    ids = client.get(f"/api/recommend/{user}/", params={"n": 3}).json()
    assert len(ids) == 3
    row = {"FeedbackType": action, "UserId": user, "ItemId": ids[0], "Timestamp": "2026-01-01T00:00:00Z"}
    assert client.post("/api/feedback", json=[row]).json() == {"RowAffected": 1}
    assert client.get(f"/api/user/{user}/feedback/{action}").json() == [{**row, "Comment": ""}]
    assert client.get(f"/api/item/{ids[0]}").json()["ItemId"] == ids[0]
    assert len(client.get(f"/api/item/{ids[0]}/neighbors", params={"n": 2}).json()) == 2
    assert len(client.get("/api/popular", params={"n": 2}).json()) == 2
    assert client.get(f"/api/user/{user}").json()["UserId"] == user
    assert "m6rec_items{" in client.get("/metrics").text
