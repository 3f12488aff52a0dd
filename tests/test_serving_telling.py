"""A reply that goes out while it is written: what was told stays, limits and rules hold in the middle of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.base.errors import StorageError
from m6rec.serving.config import ServeConfig
from m6rec.serving.console.chat import spoken_pieces
from m6rec.serving.conversation import policy
from m6rec.serving.conversation.reply import ChatReply
from m6rec.serving.conversation.written import Manner
from m6rec.serving.service.service import Service
from m6rec.serving.service.telling import Telling
from m6rec.serving.service.words import Talked


class Letters:
    """A tokenizer whose tokens are letters."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, tokens: list[int]) -> str:
        return "".join(map(chr, tokens))


def telling(most: int | None = None, stops: tuple[str, ...] = (), allowed: Callable[[str], bool] = lambda text: True) -> Telling:
    return Telling(Letters(), most, stops, allowed)  # type: ignore[arg-type]


@given(
    st.lists(st.text("ab .!", min_size=1, max_size=8), min_size=1, max_size=6),
    st.one_of(st.none(), st.integers(1, 30)),
    st.lists(st.text("ab.!", max_size=3), max_size=3),
)
def test_what_is_told_is_the_beginning_of_the_reply(parts: list[str], most: int | None, stops: list[str]) -> None:
    one, told = telling(most, tuple(stops)), list[str]()
    one.tell = told.append
    text = ""
    for part in parts:
        text += part
        one.hear(text)
    whole, tokens, finish = one.ended(text)
    assert all(whole.startswith(before) for before in told)
    assert told == sorted(set(told), key=len)
    assert most is None or tokens <= most
    assert finish in ("stop", "length")
    assert not any(stop in whole for stop in stops if stop)
    unheard = telling(most, tuple(stops)).ended(text)
    assert whole.startswith(unheard[0])
    assert (whole, tokens, finish) == unheard or (finish == "length" and whole == told[-1])  # parts that are no sentences may go further


def test_nothing_is_told_from_where_a_rule_forbids_it() -> None:
    told = list[str]()
    one = telling(allowed=lambda text: "secret" not in text)
    one.tell = told.append
    for text in ("Take these.", "Take these. The secret ones.", "Take these. The secret ones. Or not."):
        one.hear(text)
    assert told == ["Take these."]
    assert one.ended("I have nothing more.") == ("Take these.", 11, "content_filter")


SAID = [{"role": "user", "content": "surprise me"}]


@pytest.fixture
def speaking(judged_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    """`speaking(settings, *sentences)`: a service whose model writes these sentences; {0} is the title of its first offer."""
    services: list[Service] = []

    def make(settings: dict[str, Any], *sentences: str) -> Service:
        def write(engine: Any, task: str, item: int, history: Any, turns: Any, how: Any, dropped: list[str]) -> Iterator[str]:
            make.how = how  # type: ignore[attr-defined]
            return (sentence.format(engine.items.titles()[item]) for sentence in sentences)

        monkeypatch.setattr(policy, "reply_task", lambda engine: "reply")
        monkeypatch.setattr(policy, "replies_in", lambda engine, task, language: True)
        monkeypatch.setattr(policy, "reply_sentences", write)
        config = {"engine": {"quality_per_s": 0}, "conversation": {"written": True, "questions": 0}, **settings}
        services.append(Service.open(judged_run, ServeConfig.build(config), tmp_path / f"state{len(services)}"))
        return services[-1]

    yield make
    for service in services:
        service.close()


def test_sentences_are_told_from_the_first_that_names_an_item(speaking: Callable[..., Service]) -> None:
    service = speaking({}, "Good choice.", " Try {0}.", " You will like it.")
    told: list[tuple[str, str]] = []
    manner = Manner(temperature=0.5, top_p=0.8, seed=3)
    talked = service.chat(SAID, user="u03", manner=manner, tell=lambda version, text: told.append((version, text)))
    title = talked.reply.items[0].title
    assert [text for _, text in told] == [f"Good choice. Try {title}.", f"Good choice. Try {title}. You will like it."]
    assert {version for version, _ in told} == {service.loaded.active.version}
    assert (talked.reply.text, talked.reply.written, talked.finish, talked.notes) == (told[-1][1], "model", "stop", ())
    how = speaking.how  # type: ignore[attr-defined]
    assert (how.decoding, how.temperature, how.top_p, how.seed) == ("nucleus", 0.5, 0.8, 3)
    assert service.chat(SAID, user="u03").reply.text == talked.reply.text
    assert speaking.how.decoding == "greedy"  # type: ignore[attr-defined]


def test_without_an_item_the_templates_answer_and_nothing_was_told(speaking: Callable[..., Service]) -> None:
    told: list[str] = []
    service = speaking({}, "Good choice.", " You will like it.")
    talked = service.chat(SAID, user="u03", manner=Manner(temperature=1.0), tell=lambda version, text: told.append(text))
    assert (talked.reply.written, told) == ("template", [])
    assert talked.notes == ("this reply is made of templates, so temperature, top_p and seed change nothing of it",)


def test_a_sentence_about_something_else_ends_the_reply_before_it(speaking: Callable[..., Service]) -> None:
    service = speaking({}, "Try {0}.")
    engine = service.loaded.active.engine
    first = service.chat(SAID, user="u03").reply
    other = next(title for title in engine.items.titles() if title not in [one.title for one in first.items])
    told: list[str] = []
    again = speaking({}, "Try {0}.", f" Or “{other}”.").chat(SAID, user="u03", tell=lambda version, text: told.append(text))
    assert (again.reply.text, told) == (first.text, [first.text])


def test_blocked_words_break_a_reply_off(speaking: Callable[..., Service]) -> None:
    """The writer is told not to write them; should it do so, they do not go out."""
    service = speaking({}, "Try {0}.", " It is a bargain.")
    service.store.block("word", "bargain")
    service.following.catch_up()
    told: list[str] = []
    talked = service.chat(SAID, user="u03", tell=lambda version, text: told.append(text))
    assert "bargain" in speaking.how.banned  # type: ignore[attr-defined]
    assert (talked.finish, talked.reply.text, talked.reply.items) == ("content_filter", told[-1], [])
    assert "bargain" not in talked.reply.text
    assert "bargain" not in service.chat(SAID, user="u03").reply.text


def test_a_reply_that_waits_for_a_person_is_not_told(speaking: Callable[..., Service]) -> None:
    told: list[str] = []
    service = speaking({"rules": {"written": "hold"}}, "Try {0}.", " You will like it.")
    talked = service.chat(SAID, user="u03", tell=lambda version, text: told.append(text))
    assert told == []
    assert talked.reply.text == talked.reply.items[0].title
    (review,) = service.store.reviews()
    assert (review.kind, review.content["text"]) == ("chat", f"Try {talked.reply.text}. You will like it.")
    watched = speaking({"rules": {"written": "watch"}}, "Try {0}.", " You will like it.")
    whole = watched.chat(SAID, user="u03", tell=lambda version, text: told.append(text))
    assert told[-1] == whole.reply.text == watched.store.reviews()[0].content["text"]


def test_a_reply_is_told_no_further_than_its_tokens_and_its_stop(speaking: Callable[..., Service]) -> None:
    service = speaking({}, "Try {0}.", " You will like it.", " Everybody does.")
    whole = service.chat(SAID, user="u03")
    told: list[str] = []
    short = service.chat(SAID, user="u03", most_tokens=whole.tokens[1] - 1, tell=lambda version, text: told.append(text))
    assert short.finish == "length"
    assert all(short.reply.text.startswith(text) for text in told)
    stopped = service.chat(SAID, user="u03", stops=[" will like"])
    assert stopped.reply.text.endswith("You")
    assert stopped.finish == "stop"


def test_a_page_shows_what_was_told_before_the_reply_is_whole() -> None:
    """`spoken_pieces` gives each sentence while the next one is still written, then the rest, then the reply."""
    written = threading.Event()

    def talk(tell: Callable[[str, str], None]) -> Talked:
        tell("v", "Try this.")
        assert written.wait(10)
        return Talked(ChatReply("Try this. Or that one."), "v", "r", 1.0, (1, 1))

    spoken = spoken_pieces(talk)
    assert next(spoken) == "Try this."
    written.set()
    *pieces, last = spoken
    assert "".join(str(piece) for piece in pieces) == " Or that one."
    assert isinstance(last, Talked)

    def fail(tell: Callable[[str, str], None]) -> Talked:
        raise StorageError("away")

    with pytest.raises(StorageError, match="away"):
        next(spoken_pieces(fail))
