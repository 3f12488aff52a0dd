"""Everything that people and machines get wrong, over real HTTP and the real service: a problem in one line, and no 5xx but the 503s of a store."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from m6rec.serving.config import ServeConfig
from m6rec.serving.service.service import Service
from m6rec.serving.store.sqlite import SqliteDatabase
from served_over_http import app_of, served

LATEST = 4_102_444_800  # 2100
CLICK = {"user_id": "u01", "item_id": "i03", "action": "click"}


@pytest.fixture(scope="module")
def service(judged_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("bad")
    shutil.copytree(judged_run, home / "runs" / "shop")
    service = Service.open(home / "runs" / "shop", ServeConfig.build({"store": {"timeout_s": 0.2}}), home / "state")
    yield service
    service.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with served(app_of(service, log=False)) as address, httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        yield client


def told(answer: httpx.Response, status: int, *parts: str) -> None:
    """A problem of this status whose one line says these parts."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert problem["status"] == status
    assert "\n" not in problem["detail"]
    assert len(problem["detail"]) < 600
    assert all(part in problem["detail"] for part in parts), problem["detail"]


WRONG: list[tuple[str, Any, int, str]] = [
    ("recommend", {"user": "nobody"}, 404, "nobody"),
    ("recommend", {"history": ["nothing"]}, 404, "nothing"),
    ("rank", {"user": "u01", "items": ["nothing"]}, 404, "nothing"),
    ("similar", {"item": "nothing"}, 404, "nothing"),
    ("explain", {"user": "u01", "item": "nothing"}, 404, "nothing"),
    ("predict", {"rows": [{"user_id": "u01", "item_id": "nothing"}]}, 404, "nothing"),
    ("recommend", {"user": "u01", "task": "clikc"}, 422, "clikc"),
    ("rank", {"user": "u01", "items": ["i03"], "task": "clikc"}, 422, "clikc"),
    ("predict", {"rows": [{"user_id": "u01", "item_id": "i03"}], "tasks": ["clikc"]}, 422, "clikc"),
    ("classify", {"text": "a", "task": "clikc"}, 422, "clikc"),
    ("write", {"kind": "reason", "item": "i03"}, 422, "no task that writes"),
    ("recommend", {"user": "u01", "scenario": "moon"}, 422, "moon"),
    ("search", {"text": "boots", "scenario": "moon"}, 422, "moon"),
    ("chat/completions", {"messages": [{"role": "user", "content": "boots"}], "scenario": "moon"}, 422, "moon"),
    ("chat/completions", {"model": "gpt", "messages": [{"role": "user", "content": "boots"}]}, 422, "no model 'gpt' is loaded"),
    ("recommend", {"user": "u01", "where": {"colour": "red"}}, 422, "colour"),
    ("recommend", {"user": "u01", "include": ["colour"]}, 422, "colour"),
    ("recommend", {"user": "u01", "of": "colour"}, 422, "colour"),
    ("recommend", {"user": "u01", "caps": {"colour": 1}}, 422, "colour"),
    ("recommend", {"user": "u01", "language": "xx"}, 422, "xx"),
    ("recommend", {"user": "u01", "language": "en", "reason_by": "poem"}, 422, "no task that writes"),
    ("recommend", {"user": "u01", "k": 0}, 422, "'k' is 0"),
    ("recommend", {"user": "u01", "k": 1_000_000}, 422, "'k' is 1000000"),
    ("recommend", b'{"user": "u01", "k": ', 400, "the body is no JSON"),
    ("recommend", b"\xff\xfe", 400, "the body is no JSON"),
    ("recommend", b'{"user": "u01", "diversity": NaN}', 400, "the body is no JSON"),
    ("recommend", b'{"user": "u01", "time": 1e999}', 400, "the body is no JSON"),
    ("events", b'{"events": [{"user_id": "u01", "item_id": "i03", "value": -Infinity}]}', 400, "the body is no JSON"),
    ("recommend", {"user": 7}, 422, "'user' is 7"),
    ("recommend", {"user": ["u01"]}, 422, "'user' is a list of 1"),
    ("recommend", {"user": "u01", "time": "soon"}, 422, "a time is seconds since 1970 or ISO 8601"),
    ("events", {"events": [CLICK] * 5001}, 422, "'events' is a list of 5001"),
    ("items", {"items": [{"item_id": f"n{number}"} for number in range(1001)]}, 422, "'items' is a list of 1001"),
    ("items", {"items": [{"item_id": "n1"}, {"item_id": "n1"}]}, 422, "twice"),
    ("items", {"items": [{"item_id": "n1", "fields": {"colour": "red"}}]}, 422, "colour"),
    ("users", {"users": [{"user_id": "n1", "fields": {"colour": "red"}}]}, 422, "colour"),
    ("events", {"events": [{**CLICK, "time": LATEST + 1}]}, 422, "'events.0.time' is 4102444801"),
    ("events", {"events": [{**CLICK, "time": LATEST}]}, 422, "ahead"),
    ("events", {"events": [{**CLICK, "time": -1}]}, 422, "'events.0.time' is -1"),
    ("events", {"events": [{**CLICK, "item_id": "nothing"}]}, 404, "nothing"),
    ("events", {"events": [{**CLICK, "action": "clikc"}]}, 422, "clikc"),
    ("events", {"events": [{**CLICK, "scenario": "moon"}]}, 422, "moon"),
    ("models", {"folder": "nowhere"}, 409, "nowhere"),
    ("models/switch", {"version": "nowhere"}, 422, "nowhere"),
]


@pytest.mark.parametrize(("path", "body", "status", "part"), WRONG)
def test_what_is_wrong_is_a_problem_that_says_it(client: httpx.Client, path: str, body: Any, status: int, part: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    told(client.post(f"/v1/{path}", content=content, headers={"Content-Type": "application/json"}), status, part)


def test_a_key_that_is_no_header_is_refused(client: httpx.Client) -> None:
    told(
        client.post("/v1/events", json={"events": [CLICK]}, headers={"Idempotency-Key": "a key"}),
        422,
        "'Idempotency-Key' is 'a key'",
        "no spaces",
    )


def test_an_event_of_1970_is_late_and_taken(client: httpx.Client) -> None:
    receipt = client.post("/v1/events", json={"events": [{**CLICK, "time": 0}, {**CLICK, "labels": {"clikced": 1}}]}).json()
    assert (receipt["accepted"], receipt["late"], receipt["unread"]) == (2, 1, ["clikced"])
    assert client.post("/v1/recommend", json={"user": "u01", "k": 3}).status_code == 200


def test_a_deleted_user_is_not_found_again(client: httpx.Client) -> None:
    assert client.post("/v1/events", json={"events": [{**CLICK, "user_id": "gone"}]}).status_code == 200
    assert client.post("/v1/recommend", json={"user": "gone"}).status_code == 200
    assert client.delete("/v1/users/gone").status_code == 200
    told(client.post("/v1/recommend", json={"user": "gone"}), 404, "gone")
    told(client.get("/v1/users/gone"), 404, "gone")
    told(client.delete("/v1/users/gone"), 404, "gone")
    chatted = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "boots"}], "user": "gone"})
    assert "not known" in chatted.json()["m6rec"]["notes"][0]


def test_a_broken_model_folder_and_one_of_other_data_change_nothing(client: httpx.Client, service: Service, tiny_run: Path) -> None:
    runs = service.run.parent
    version = client.get("/info").json()["model_version"]
    broken = Path(shutil.copytree(service.run / "model", runs / "broken"))
    (broken / "model.safetensors").write_bytes(b"broken")
    told(client.post("/v1/models", json={"folder": "broken"}), 409, "damaged")
    (runs / "empty").mkdir()
    told(client.post("/v1/models", json={"folder": "empty"}), 409, "empty")
    told(client.post("/v1/options", json={"folder": "empty"}), 409, "empty")
    assert client.get("/info").json()["model_version"] == version
    assert client.post("/v1/recommend", json={"user": "u01", "k": 3}).status_code == 200


def test_a_locked_or_read_only_store_takes_nothing_and_lists_go_on(client: httpx.Client, service: Service) -> None:
    database = service.store.database
    assert isinstance(database, SqliteDatabase)
    holder = sqlite3.connect(database.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    answer = client.post("/v1/events", json={"events": [CLICK]}, headers={"Idempotency-Key": "while-locked"})
    told(answer, 503, "was locked by another program for more than 0.2 s; nothing was written")
    assert answer.headers["retry-after"] == "1"
    assert client.post("/v1/recommend", json={"user": "u01", "k": 3}).status_code == 200
    assert "was locked" in client.get("/info").json()["info"]["store"]
    assert "m6rec_store_away{" in (metrics := client.get("/metrics").text)
    assert next(line for line in metrics.splitlines() if line.startswith("m6rec_store_away{")).endswith(" 1.0")
    holder.execute("ROLLBACK")
    holder.close()
    for path in ("items/i03", "users/u01"):
        assert client.get(f"/v1/{path}").status_code == 200
    again = client.post("/v1/events", json={"events": [CLICK]}, headers={"Idempotency-Key": "while-locked"}).json()
    assert (again["accepted"], again["repeated"]) == (1, False)  # nothing of the first time was there
    assert client.get("/info").json()["info"]["store"] == "ok"
    assert database._writer is not None
    database._writer.exec_driver_sql("PRAGMA query_only = ON")  # what SQLite says of a file that it may not write
    told(client.post("/v1/events", json={"events": [CLICK]}), 503, "is read-only; nothing was written")
    assert client.post("/v1/recommend", json={"user": "u01", "k": 3}).status_code == 200
    database._writing.dispose()  # it may write again
    assert client.post("/v1/events", json={"events": [CLICK]}).status_code == 200


def test_a_clock_that_jumps_loses_no_event_and_breaks_no_list(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    seqs = []
    for jump in (0.0, 10 * 365 * 86_400.0, -10 * 365 * 86_400.0, 0.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: now() + jump)
        receipt = client.post("/v1/events", json={"events": [{**CLICK, "user_id": "clock"}]})
        assert receipt.status_code == 200, receipt.text
        seqs.append(receipt.json()["first_seq"])
        answer = client.post("/v1/recommend", json={"user": "clock", "k": 3})
        assert (answer.status_code, len(answer.json()["answers"])) == (200, 3)
        assert service.store.enforce_retention().events == 0
    assert seqs == sorted(seqs)
    assert client.get("/v1/users/clock").json()["user"]["count"] == 4
