"""Input that means harm: sizes, pace, headers, paths, SQL and HTML in every field, and logs that stay clean."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from m6rec.serving.http.logs import JsonLines
from served_over_http import PlainService, app_of, client_of, served

SQL = "x'; DROP TABLE events; --"
HTML = "<script>alert(1)</script>\"'&"
TRAVERSAL = "../../../etc/passwd"
LOG = 'x", "level": "critical'
UNICODE = "\u202egnp.exe \u0130 \U0001f600 %s %n {0} ${jndi:ldap://x}"


@pytest.fixture(scope="module")
def service() -> PlainService:
    return PlainService()


@pytest.fixture(scope="module")
def client(service: PlainService) -> Iterator[httpx.Client]:
    with client_of(service, log=False, max_body_mb=0.25, body_seconds=0.6, head_seconds=0.6, max_head_kb=8) as client:
        yield client


def raw(client: httpx.Client, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What comes back for bytes as they are, sent in pieces."""
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as line:
        for piece in pieces:
            try:
                line.sendall(piece)
            except OSError:
                break  # it hung up on us, which is its right; what it said before is still read
            time.sleep(pause)
        found = b""
        try:
            while piece := line.recv(65536):
                found += piece
        except OSError:
            pass
        return found


HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def test_a_body_that_is_announced_too_large_is_not_read(client: httpx.Client) -> None:
    answer = raw(client, HEAD + b"Content-Length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert b"the body is larger than 0.25 MB" in answer


def test_a_body_in_chunks_is_counted(client: httpx.Client) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    answer = raw(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 8)
    assert answer.startswith(b"HTTP/1.1 413 ")
    body = json.dumps({"user": "u1"}).encode()
    fine = raw(client, HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert fine.startswith(b"HTTP/1.1 200 ")


def test_a_slow_body_and_a_slow_head_are_ended(client: httpx.Client) -> None:
    begun = time.monotonic()
    assert raw(client, HEAD + b"Content-Length: 100\r\n\r\n", b"{").startswith(b"HTTP/1.1 408 ")
    assert raw(client, b"POST /v1/recommend HTTP/1.1\r\nHost: 127", b".0", pause=0.1) == b"", "closed without a word"
    assert raw(client) == b"", "so is a connection on which nothing comes"
    assert time.monotonic() - begun < 8
    assert client.get("/health/live").status_code == 200


def test_an_endless_head_is_ended(client: httpx.Client) -> None:
    assert raw(client, b"GET / HTTP/1.1\r\nX-A: ", *[b"a" * 4096] * 40).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: a\r\n X-Folded: b\r\n\r\n",
    ],
)
def test_requests_that_are_none(client: httpx.Client, request_bytes: bytes) -> None:
    answer = raw(client, request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404", b""), answer[:200]
    assert b"Traceback" not in answer


def test_nothing_of_a_request_becomes_a_header(client: httpx.Client) -> None:
    for given in (b"a\x00b", b"x" * 65, b"a b", b"<b>", b"a,b", b'"', b"\xc3\xa4"):
        answer = raw(client, b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-Request-ID: " + given + b"\r\n\r\n")
        assert given not in answer.split(b"\r\n\r\n")[0], given
    for path in ("/v1/items/a%0d%0aSet-Cookie:%20x=1", "/api/item/a%0d%0aSet-Cookie:%20x=1", "/v1/items/a%00b"):
        answer = client.get(path)
        assert "set-cookie" not in answer.headers
        assert answer.status_code in (404, 422), path


@pytest.mark.parametrize("value", [SQL, HTML, TRAVERSAL, LOG, UNICODE])
def test_words_are_words_in_every_field(client: httpx.Client, service: PlainService, value: str) -> None:
    """They come through as they are or are refused; nothing is carried out, nothing comes back as HTML."""
    asks: list[tuple[str, dict[str, Any]]] = [
        ("/v1/recommend", {"user": value}),
        (
            "/v1/recommend",
            {"text": value, "context": {value: value}, "where": {value: value}, "weights": {value: 1}, "mix": {value: {value: 1}}},
        ),
        (
            "/v1/recommend",
            {"history": [value], "profile": {value: value}, "dislike": [value], "include": [value], "variant": value, "of": value},
        ),
        ("/v1/recommend", {"user": "u1", "scenario": value}),
        ("/v1/rank", {"user": "u1", "items": [value]}),
        ("/v1/predict", {"rows": [{"user_id": value, "item_id": value, value: value}], "tasks": [value]}),
        ("/v1/classify", {"text": value, "task": value}),
        ("/v1/similar", {"item": value}),
        ("/v1/search", {"text": value}),
        ("/v1/explain", {"user": value, "item": value}),
        ("/v1/recommend", {"user": "u1", "language": value, "reason_by": value}),
        ("/v1/write", {"kind": value, "user": value, "item": value, "about": [value], "banned": [value], "text": {value: value}}),
        ("/v1/write", {"kind": "reason", "history": [value], "profile": {value: value}, "scenario": value, "language": value}),
        ("/v1/write", {"kind": "reason", "item": "i1", "text": value, "about": [value], "banned": [value]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": value, "name": value}], "user": value, "stop": [value]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": value}]}], "scenario": value}),
        ("/v1/chat/completions", {"model": value, "messages": [{"role": "user", "content": "a"}], "metadata": {value: value}}),
        ("/v1/reviews/3", {"verdict": value}),
        (
            "/v1/events",
            {"events": [{"user_id": value, "item_id": value, "action": value, "labels": {value: value}, "context": {value: value}}]},
        ),
        ("/v1/events", {"events": [{"user_id": value, "item_id": value, "event_id": value}]}),
        ("/v1/items", {"items": [{"item_id": value, "fields": {"title": value, value: value}}]}),
        ("/v1/users", {"users": [{"user_id": value, "fields": {value: value}}]}),
        ("/v1/models", {"folder": value, "version": value, "note": value}),
        ("/v1/models/switch", {"version": value}),
        ("/v1/options", {"folder": value}),
        ("/v1/blocked", {"kind": "item", "value": value, "reason": value}),
        ("/v1/experiments", {"name": value, "arms": [{"name": value, "share": 0.5}, {"name": "b", "share": 0.5}]}),
    ]
    for path, body in asks:
        answer = client.post(path, json=body)
        assert answer.status_code in (200, 404, 409, 422), (path, answer.text)
        assert answer.headers["content-type"] in ("application/json", "application/problem+json")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "Traceback" not in answer.text
        assert "/srv/runs" not in answer.text, "no folder of this machine"
    quoted = (
        httpx.URL(f"http://x/{httpx.QueryParams({'q': value})}".replace("?", "")).raw_path.decode().partition("=")[2].replace("+", "%20")
    )
    for path in ("/v1/items/", "/v1/users/", "/api/item/", "/api/user/", "/api/recommend/", "/v1/experiments/", "/v1/blocked/item/"):
        answer = client.request("DELETE" if "blocked" in path else "GET", path + quoted)
        assert answer.status_code in (200, 404, 405, 422), (path, answer.text)
    assert client.get("/v1/items", params={"query": value}).status_code == 200
    kept = client.get("/v1/items/" + quoted)
    assert kept.json()["item"]["title"] == value, "what was written comes back to the letter"


def test_folders_elsewhere_are_refused_whether_they_are_there_or_not(client: httpx.Client) -> None:
    for folder in (
        "/etc",
        "..",
        "../..",
        "/nowhere",
        "../runs2/x",
        "a/../../b",
        "/srv/runs-other/x",
        ".",
        "/srv/runs",
        "\\\\host\\share/../../../x",
    ):
        answer = client.post("/v1/models", json={"folder": folder})
        assert (answer.status_code, answer.json()["detail"]) == (422, "folder lies outside the folder of runs; see http.model_folders"), (
            folder
        )
    assert client.post("/v1/models", json={"folder": "bad"}).json()["detail"] == "bad is no model folder; give a finished run"


class Memory(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def memory() -> Iterator[Memory]:
    handler = Memory()
    loggers = [logging.getLogger(name) for name in ("m6rec.http", "uvicorn.error")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_logs_hold_routes_and_no_people(memory: Memory) -> None:
    service = PlainService()
    secret = service.store.add_key("website", ["read", "write"])
    with client_of(service, secret) as client:
        client.post("/v1/recommend", json={"user": "anna@example.org", "text": "a very private wish"}, headers={"X-Request-ID": "r-1"})
        client.get("/v1/users/anna@example.org?x=anna")
        client.get("/nowhere/anna%0a{}")
        client.post("/v1/events", json={"events": [{"user_id": "anna@example.org", "item_id": "i1", "action": "anna"}]})
    lines = [json.loads(line) for line in memory.lines]
    requests = [line for line in lines if line["message"] == "request"]
    assert [(one["route"], one["status"], one["key"]) for one in requests] == [
        ("/v1/recommend", 404, "website"),
        ("/v1/users/{user_id}", 404, "website"),
        ("-", 404, ""),
        ("/v1/events", 422, "website"),
    ]
    assert requests[0]["request_id"] == "r-1"
    everything = "\n".join(memory.lines)
    assert not any(word in everything for word in ("anna", "private", secret, "127.0.0.1"))


def test_a_defect_tells_nothing_outside_and_no_words_inside(memory: Memory, service: PlainService) -> None:
    broken = PlainService()
    broken.recommend = lambda ask: {}[f"key of {ask.user}"]  # type: ignore[method-assign, assignment]
    with served(app_of(broken, log=False)) as address, httpx.Client(base_url=address, trust_env=False) as client:
        answer = client.post("/v1/recommend", json={"user": "anna"}, headers={"X-Request-ID": "r-2"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "r-2")
    assert answer.json()["detail"] == "a defect of the service; its log tells more under this request_id"
    told = next(json.loads(line) for line in memory.lines if '"error"' in line)
    assert told["error"] == "KeyError"
    assert any("test_serving_http_hostile.py" in frame for frame in told["at"])
    assert "anna" not in "\n".join(memory.lines)


def test_tls_by_two_files(tmp_path: Path) -> None:
    """With a certificate nobody gets an answer in clear, and replies say that it stays so."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = [*("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"), *subject, "-keyout", "key.pem", "-out", "chain.pem"]
    subprocess.run(["openssl", *made], cwd=tmp_path, check=True, capture_output=True)
    files = {"tls_certificate": str(tmp_path / "chain.pem"), "tls_key": str(tmp_path / "key.pem")}
    trusted = ssl.create_default_context(cafile=str(tmp_path / "chain.pem"))
    with served(app_of(PlainService(), log=False, **files)) as address, httpx.Client(verify=trusted, trust_env=False) as client:
        answer = client.get(address.replace("http://", "https://") + "/health/live")
        assert (answer.status_code, answer.headers["strict-transport-security"]) == (200, "max-age=31536000")
        with pytest.raises(httpx.TransportError):
            client.get(address + "/health/live")
