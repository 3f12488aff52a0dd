"""Turns beside the talk of items: never mind, is a person there, that one again, what somebody wants to do with what they have, Japanese."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.references import Before
from m6rec.serving.conversation.understanding import language_of, understand
from m6rec.text.phrases import built_in_phrases

EN, ZH = built_in_phrases("en"), built_in_phrases("zh")
BACK, PAID = "Print the label.", "By card."
FAQ = pl.DataFrame(
    {
        "question": ["How do I return an item?", "Can I return an order?", "How do I pay?", "Can I pay by card?",
                     "怎么退货？", "可以退货吗？", "多久送到？", "多久能送到我家？"],
        "answer": [BACK, BACK, PAID, PAID, "贴上标签。", "贴上标签。", "三天。", "三天。"],
        "lang": ["en"] * 4 + ["zh"] * 4,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


@pytest.mark.parametrize(
    "text",
    [
        "never mind",
        "nothing",
        "no, nothing else",
        "no thanks, nothing else",
        "no thank you, I'm done",
        "No, that's it, thanks",
        "nothing, thanks",
        "forget it",
        "算了",
        "没什么",
        "不用了，谢谢",
        "不用，谢谢",
        "不要了，谢谢",
        "我不要了",
    ],
)
def test_who_gives_up_is_let_go(rec: Recommender, text: str) -> None:
    for first in ([], ["something for hiking", "anything"]):
        talk = rec.conversation()
        for turn in first:
            talk.say(turn)
        replies = [talk.say(text) for _ in range(3)]
        assert [(one.intent, one.hand_over, one.items) for one in replies] == [("never_mind", False, [])] * 3
        assert not talk.refused


@pytest.mark.parametrize("text", ["no thanks, that's all", "no, bye", "No thank you, goodbye!", "不，再见"])
def test_who_takes_leave_refuses_nothing(rec: Recommender, text: str) -> None:
    talk = rec.conversation()
    talk.say("something for running, anything")
    reply = talk.say(text)
    assert (reply.intent, reply.items, talk.refused) == ("bye", [], [])


@pytest.mark.parametrize("text", ["I don't want that, I'm done", "都不要了", "no"])
def test_what_is_said_of_items_beside_is_heard(rec: Recommender, text: str) -> None:
    talk = rec.conversation(config=ConversationConfig(questions=0))
    shown = [one.item_id for one in talk.say("something for hiking").items]
    assert talk.say(text).intent == "refuse"
    assert talk.refused == shown


@pytest.mark.parametrize(
    "text",
    [
        "are you a human?",
        "are you human",
        "am I talking to a real person?",
        "hi, are you a person or a bot?",
        "你是真人吗",
        "我在跟真人说话吗？",
    ],
)
def test_asked_whether_a_person_answers_it_says_that_it_is_a_program(rec: Recommender, text: str) -> None:
    talk = rec.conversation()
    reply = talk.say(text)
    assert not reply.hand_over
    assert "I am a program" in reply.text or "我是程序" in reply.text
    agreed = talk.say("yes please" if text.isascii() else "好的")
    assert agreed.hand_over
    assert agreed.reason in ("they asked for a person", "用户要求人工")
    assert not rec.conversation().say("yes please").hand_over


@pytest.mark.parametrize("text", ["can I talk to a human?", "are you a human? I want to talk to a person", "转人工", "有真人吗"])
def test_who_asks_for_a_person_gets_one(rec: Recommender, text: str) -> None:
    assert rec.conversation().say(text).hand_over


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("show me the first one again", [0]),
        ("can you show me the last two again?", [1, 2]),
        ("show those once more", [0, 1, 2]),
        ("再给我看一下第二个", [1]),
    ],
)
def test_what_was_shown_is_shown_again(rec: Recommender, text: str, places: list[int]) -> None:
    talk = rec.conversation(config=ConversationConfig(questions=0))
    shown = [one.item_id for one in talk.say("something for hiking").items]
    assert [one.item_id for one in talk.say(text).items] == [shown[place] for place in places]


def test_what_was_refused_is_not_shown_again(rec: Recommender) -> None:
    talk = rec.conversation(config=ConversationConfig(questions=0))
    shown = talk.say("something for hiking").items
    talk.state.refused[rec.engine.items.ids.dense(shown[0].item_id)] = None
    assert talk.say("show me the first one again").items == []
    assert [one.item_id for one in talk.say("show me those again").items] == [one.item_id for one in shown[1:]]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("I want to return my boots", BACK),
        ("I would like to return the boots", BACK),
        ("我要退货", "贴上标签。"),
        ("I want to buy boots", None),
        ("I want to order a lamp", None),
        ("something for hiking", None),
        ("我要买灯", None),
    ],
)
def test_what_somebody_wants_to_do_may_be_a_known_question(rec: Recommender, tmp_path: Path, text: str, answer: str | None) -> None:
    FAQ.write_ndjson(tmp_path / "faq.jsonl")
    reply = rec.conversation(config=ConversationConfig(faq=str(tmp_path / "faq.jsonl"))).say(text)
    assert (reply.text if reply.intent == "faq" else None) == answer


def test_japanese_is_not_chinese(rec: Recommender) -> None:
    for text in ("ハイキング用のものを探しています", "おすすめは何ですか", "こんにちは"):
        assert language_of(text, [EN, ZH], "en") is EN
        assert rec.conversation().say(text).language == "en"
    assert language_of("推荐一本书", [EN, ZH], "en") is ZH


def test_a_title_that_begins_like_a_question_asks_nothing() -> None:
    titles = ["Why we run", "Night lamp"]
    table = Table(Vocabulary(["a", "b"]), pl.DataFrame({"title": titles}), {"title": FieldType.TEXT})
    names = Names(table, titles, np.ones(2, np.int64), EN.plain)
    assert understand("Why we run sucks", Before(), names, EN).refused == (0,)
    assert understand("why does Night lamp suck?", Before(), names, EN).refused == ()
