"""A reply that is given out while it is made: pieces come before the whole is known, and joined they are it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m6rec import Recommender
from m6rec.base.errors import StorageError, UsageError
from m6rec.serving.conversation import policy
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.reply import ChatReply
from m6rec.serving.conversation.speaking import ChatStream, Tell
from m6rec.serving.conversation.written import Manner

WAIT = 20.0  # seconds until a test that would hang fails instead
WRITTEN = ConversationConfig(questions=0, written=True)
SAID = [{"role": "user", "content": "surprise me"}]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=6), max_size=6), st.text(max_size=12))
def test_pieces_joined_are_the_reply(parts: list[str], rest: str) -> None:
    """Whatever was told of it, and as often as it is listened to."""

    def talk(tell: Tell) -> ChatReply:
        text = ""
        for part in parts:
            text += part
            tell(text)
        return ChatReply(text + rest)

    stream = ChatStream(talk)
    assert "".join(stream) == "".join(stream) == stream.reply.text == "".join(parts) + rest


def test_a_piece_comes_before_the_reply_is_made() -> None:
    heard = threading.Event()

    def talk(tell: Tell) -> ChatReply:
        tell("Try this.")
        assert heard.wait(WAIT)
        tell("Try this. Or that.")
        return ChatReply("Try this. Or that.", intent="more")

    pieces = iter(stream := ChatStream(talk))
    assert next(pieces) == "Try this."
    heard.set()
    assert "".join(pieces) == " Or that."
    assert stream.reply.intent == "more"


def test_what_goes_wrong_is_raised_by_the_call_or_where_it_happens() -> None:
    def at_once(tell: Tell) -> ChatReply:
        raise UsageError("no messages")

    def later(tell: Tell) -> ChatReply:
        tell("Try")
        raise StorageError("away")

    with pytest.raises(UsageError, match="no messages"):
        ChatStream(at_once)
    pieces = iter(stream := ChatStream(later))
    assert next(pieces) == "Try"
    with pytest.raises(StorageError, match="away"):
        next(pieces)
    with pytest.raises(StorageError, match="away"):
        _ = stream.reply


class Writes:
    """In place of a trained write task: two sentences, the second not begun before `heard` is set. `late`: somebody waited in vain."""

    def __init__(self) -> None:
        self.heard, self.late = threading.Event(), False

    def __call__(self, engine: Any, task: str, item: int, history: Any, turns: Any, how: Any, dropped: list[str]) -> Iterator[str]:
        yield f"Try {engine.items.titles()[item]}."
        self.late = not self.heard.wait(WAIT)
        yield " You will like it."


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    writer = Writes()
    monkeypatch.setattr(policy, "reply_task", lambda engine: "reply")
    monkeypatch.setattr(policy, "replies_in", lambda engine, task, language: True)
    monkeypatch.setattr(policy, "reply_sentences", writer)
    return writer


def test_chat_gives_a_sentence_while_the_next_is_written(writes: Writes, tiny_run: Path) -> None:
    rec = Recommender.from_pretrained(tiny_run)
    told: list[str] = []
    stream = rec.chat(SAID, stream=True, config=WRITTEN, manner=Manner(tell=told.append))
    pieces = iter(stream)
    first = next(pieces)
    writes.heard.set()
    assert first + "".join(pieces) == stream.reply.text
    title = stream.reply.items[0].title
    assert (first, stream.reply.written) == (f"Try {title}.", "model")
    assert told == [first, stream.reply.text]  # who was told before is told still
    assert not writes.late
    assert rec.chat(SAID, config=WRITTEN) == stream.reply
    assert rec.chat(SAID).written == "template"


def test_a_conversation_waits_for_the_end_of_what_it_says(writes: Writes, tiny_run: Path) -> None:
    talk = Recommender.from_pretrained(tiny_run).conversation(config=WRITTEN)
    stream = talk.stream("surprise me")
    threading.Timer(0.05, writes.heard.set).start()
    talk.say("thanks")
    assert [one["role"] for one in talk.messages] == ["user", "assistant"] * 2
    assert talk.messages[1] == stream.reply.message()


def test_the_terminal_shows_a_sentence_while_the_next_is_written(
    m6rec: Callable[..., Any], writes: Writes, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Screen(io.StringIO):
        def write(self, text: str) -> int:
            if "Try" in text:
                writes.heard.set()
            return super().write(text)

    monkeypatch.setattr("sys.stdin", io.StringIO("surprise me\n"))
    monkeypatch.setattr("sys.stdout", screen := Screen())
    assert m6rec("chat", tiny_run, "--written", "--questions", 0).code == 0
    assert not writes.late
    assert screen.getvalue().rstrip().endswith("You will like it.")
