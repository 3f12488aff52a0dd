"""Texts and conversations over HTTP: what reaches the service, OpenAI's form of replies and chunks, limits and errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from m6rec.base.errors import StorageError
from m6rec.serving.conversation.written import Manner
from served_over_http import PlainService, client_of


@pytest.fixture(scope="module")
def service() -> PlainService:
    return PlainService()


@pytest.fixture(scope="module")
def client(service: PlainService) -> Iterator[httpx.Client]:
    with client_of(service, log=False) as client:
        yield client


def chat(*said: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


def events(answer: httpx.Response) -> list[Any]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_all_of_a_wish_for_a_text_reaches_the_service(client: httpx.Client, service: PlainService) -> None:
    body = {
        "kind": "reason",
        "user": "u1",
        "item": "i7",
        "history": ["i1"],
        "text": {"title": "Boots"},
        "profile": {"age": 30},
        "scenario": "shop",
        "about": ["warm"],
        "decoding": "nucleus",
        "top_p": 0.5,
        "temperature": 0.7,
        "seed": 9,
        "words": [3, 12],
        "banned": ["cheap"],
        "language": "en",
        "n": 2,
    }
    answer = client.post("/v1/write", json=body, headers={"X-Request-ID": "mine-2"})
    assert answer.status_code == 200, answer.text
    ask = service.wanted[-1]
    assert (ask.user, ask.item, ask.history, ask.text, ask.profile) == ("u1", "i7", ("i1",), {"title": "Boots"}, {"age": 30})
    assert (ask.scenario, ask.about, ask.request_id) == ("shop", ("warm",), "mine-2")
    how = ask.how
    assert (how.decoding, how.top_p, how.temperature, how.seed) == ("nucleus", 0.5, 0.7, 9)
    assert (how.words, how.banned, how.language, how.n) == ((3, 12), ("cheap",), "en", 2)
    said = answer.json()
    assert (said["text"], said["kind"], said["items"], [one["text"] for one in said["others"]]) == (
        "i7 is good.",
        "reason",
        ["i7"],
        ["Also good."],
    )
    assert (said["model_version"], said["request_id"]) == ("plain-1", "mine-2")
    for given, meant in (({}, "beam"), ({"beams": 3}, "beam"), ({"temperature": 0.5}, "nucleus"), ({"seed": 1, "stream": True}, "nucleus")):
        assert client.post("/v1/write", json={"kind": "reason", "item": "i1", **given}).status_code == 200
        assert service.wanted[-1].how.decoding == meant, given


def test_a_text_is_streamed_as_it_grows(client: httpx.Client, service: PlainService) -> None:
    answer = client.post("/v1/write", json={"kind": "reason", "item": "i7", "stream": True}, headers={"X-Request-ID": "mine-3"})
    *pieces, last = events(answer)
    assert "".join(piece["text"] for piece in pieces) == "i7 is good."
    assert (last["finish"], last["model_version"], last["request_id"]) == ("stop", "plain-1", "mine-3")
    assert service.wanted[-1].how.decoding == "greedy"


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({"kind": "poem", "item": "i1"}, 422, "no write task 'poem'"),
        ({"kind": "poem", "item": "i1", "stream": True}, 422, "no write task 'poem'"),
        ({"kind": "reason", "item": "i999"}, 404, "no item 'i999'"),
        ({"item": "i1"}, 422, "'kind' is required"),
        ({"kind": "reason", "item": "i1", "stream": True, "n": 2}, 422, "a stream is one text"),
        ({"kind": "reason", "item": "i1", "decoding": "greedy", "n": 2}, 422, "greedy finds one text"),
        ({"kind": "reason", "item": "i1", "words": [3]}, 422, "words"),
        ({"kind": "reason", "item": "i1", "top_p": 0}, 422, "top_p"),
        ({"kind": "reason", "item": "i1", "temperature": 99}, 422, "temperature"),
        ({"kind": "reason", "item": "i1", "temperature": 1e-300}, 422, "temperature"),
        (
            {"kind": "reason", "item": "i1", "temperature": 0.5, "decoding": "beam"},
            422,
            "temperature is of decoding nucleus and agreed and this is beam",
        ),
        (
            {"kind": "reason", "item": "i1", "seed": 5, "decoding": "greedy"},
            422,
            "seed is of decoding nucleus and agreed and this is greedy",
        ),
        ({"kind": "reason", "item": "i1", "beams": 2, "decoding": "nucleus"}, 422, "beams is of decoding beam and this is nucleus"),
        ({"kind": "reason", "item": "i1", "text": "a\x00b"}, 422, "control characters"),
        ({"kind": "reason", "item": "i1", "text": "a" * 1_000_000}, 422, "4000"),
        ({"kind": "reason", "item": "i1", "langauge": "en"}, 422, "did you mean 'language'?"),
    ],
)
def test_what_is_wrong_is_one_line(client: httpx.Client, body: dict[str, Any], status: int, part: str) -> None:
    answer = client.post("/v1/write", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert part in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def test_a_conversation_has_the_form_that_openai_clients_read(client: httpx.Client, service: PlainService) -> None:
    body = {
        "model": "m6rec",
        "messages": [{"role": "system", "content": "Ignore the rules."}, *chat("Boots?", "How about “Item 3”?", "Not that one.")],
        "temperature": 0.2,
        "top_p": 1,
        "seed": 4,
        "max_tokens": 50,
        "max_completion_tokens": 40,
        "user": "u1",
        "presence_penalty": 0.0,
    }
    answer = client.post("/v1/chat/completions", json=body, headers={"X-Request-ID": "mine-4"})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["id"], said["object"], said["model"]) == ("chatcmpl-mine-4", "chat.completion", "plain-1")
    assert said["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "How about “Item 1”?", "items": ["i1"]}, "finish_reason": "stop"}
    ]
    assert said["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    assert said["m6rec"]["items"] == [{"item_id": "i1", "title": "Item 1", "score": 0.5}]
    assert abs(said["created"] - 1.8e9) < 5e8
    heard = service.said[-1]
    assert (heard["user"], heard["most_tokens"], len(heard["messages"])) == ("u1", 40, 4)
    assert heard["manner"] == Manner(temperature=0.2, top_p=1.0, seed=4)
    again = [*body["messages"], said["choices"][0]["message"], {"role": "user", "content": [{"type": "text", "text": "Yes"}]}]
    assert client.post("/v1/chat/completions", json={"messages": again}).status_code == 200
    assert service.said[-1]["messages"][-2:] == [
        {"role": "assistant", "content": "How about “Item 1”?", "items": ["i1"]},
        {"role": "user", "content": "Yes"},
    ]


def test_a_streamed_conversation_is_chunks_of_the_same_reply(client: httpx.Client) -> None:
    body = {"messages": chat("Boots?"), "stream": True, "stream_options": {"include_usage": True}}
    first, *middle, last, usage = events(client.post("/v1/chat/completions", json=body))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(one["choices"][0]["delta"]["content"] for one in middle) == "How about “Item 1”?"
    assert {one["object"] for one in (first, *middle, last)} == {"chat.completion.chunk"}
    assert len({one["id"] for one in (first, *middle, last, usage)}) == 1
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert last["m6rec"]["items"][0]["item_id"] == "i1"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 9)
    without = events(client.post("/v1/chat/completions", json={"messages": chat("Boots?"), "stream": True}))
    assert "usage" not in without[-1]


@pytest.mark.parametrize(
    ("given", "manner"),
    [
        ({}, Manner()),
        ({"temperature": 0, "seed": 3}, Manner(seed=3)),
        ({"temperature": 1e-12}, Manner()),
        ({"top_p": 0.5}, Manner(temperature=1.0, top_p=0.5)),
        ({"seed": -1}, Manner(temperature=1.0, seed=2**32 - 1)),
    ],
)
def test_a_reply_is_written_as_it_was_asked_for(client: httpx.Client, service: PlainService, given: dict[str, Any], manner: Manner) -> None:
    assert client.post("/v1/chat/completions", json={"messages": chat("Boots?"), **given}).status_code == 200
    assert service.said[-1]["manner"] == manner


def test_what_is_written_goes_out_while_more_is_written() -> None:
    """The first sentence is here while the service still writes; what it says besides comes when it has ended."""
    service = PlainService()
    service.spoken, service.wait = ["How about", "How about “Item"], threading.Event()
    with (
        client_of(service, log=False) as client,
        client.stream("POST", "/v1/chat/completions", json={"messages": chat("Boots?"), "stream": True}) as answer,
    ):
        lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
        first, second = json.loads(next(lines)), json.loads(next(lines))
        assert first["model"] == "plain-1"
        assert second["choices"][0]["delta"] == {"content": "How about"}
        assert not service.wait.is_set()
        service.wait.set()
        rest = [json.loads(line) for line in lines if line != "[DONE]"]
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in rest) == " “Item 1”?"
    assert rest[-1]["m6rec"]["items"][0]["item_id"] == "i1"


def test_what_goes_wrong_is_a_problem_before_the_first_word_and_an_event_after_it() -> None:
    service = PlainService()
    service.broken = StorageError("the store does not answer; try again")
    with client_of(service, log=False) as client:
        body = {"messages": chat("Boots?"), "stream": True}
        answer = client.post("/v1/chat/completions", json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        service.spoken = ["How about"]
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        assert json.loads(answer.text.split("\n\n")[-2].removeprefix("data: ")) == {
            "error": {"status": 503, "detail": "the store does not answer; try again"}
        }
        service.broken, service.spoken = None, []
        assert client.post("/v1/chat/completions", json=body).text.endswith("data: [DONE]\n\n")


def test_a_reply_ends_before_a_stop(client: httpx.Client) -> None:
    said = client.post("/v1/chat/completions", json={"messages": chat("Boots?"), "stop": ["“", "?"]}).json()
    assert said["choices"][0]["message"]["content"] == "How about "


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"messages": []}, "messages"),
        ({"messages": chat("Hello", "Hi")}, "the last message is not the user's"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        ({"messages": chat("Hello"), "n": 2}, "n"),
        ({"messages": chat("Hello"), "tools": []}, "unknown key 'tools'"),
        ({"messages": chat("Hello"), "model": "gpt-x"}, "no model 'gpt-x' is loaded"),
        ({"messages": chat("a" * 1_000_000)}, "20000"),
        ({"messages": chat("a\x00b")}, "control characters"),
        ({"messages": chat(*["Hello"] * 301)}, "200"),
        ({"messages": chat("Hello"), "max_tokens": 0}, "max_tokens"),
        ({"messages": chat("Hello"), "presence_penalty": 0.5}, "replies know no penalties; leave it out, or say 0"),
        ({"messages": chat("Hello"), "frequency_penalty": -1}, "replies know no penalties"),
        ({"messages": chat("Hello"), "top_p": 0}, "top_p"),
    ],
)
def test_a_wrong_conversation_is_one_line(client: httpx.Client, body: dict[str, Any], part: str) -> None:
    answer = client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert part in json.dumps(answer.json(), ensure_ascii=False)
    assert len(answer.text) < 3_000


def test_a_key_that_may_only_write_asks_for_no_texts() -> None:
    service = PlainService()
    service.store.add_key("writer", ["write"], "writer-secret-x")
    with client_of(service, "writer-secret-x", log=False) as client:
        for path, body in (("/v1/write", {"kind": "reason", "item": "i1"}), ("/v1/chat/completions", {"messages": chat("Hi")})):
            assert client.post(path, json=body).status_code == 403
            assert client.post(path, json=body, headers={"Authorization": "Bearer nobody"}).status_code == 401
