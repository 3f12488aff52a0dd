"""Known questions beside the wishes of a conversation: what they answer leaves no wish, and what is no question they do not answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from m6rec import Recommender
from m6rec.serving.conversation.config import ConversationConfig

KNOWN = {
    "Can I return running shoes under 50?": "Within 30 days.",
    "How do I send an item back?": "Within 30 days.",
    "I already have an account, where is it?": "Open Settings.",
    "I have another account, where is it?": "Open Settings.",
}


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


@pytest.fixture
def config(tmp_path: Path) -> ConversationConfig:
    rows = [json.dumps({"question": question, "answer": answer}) for question, answer in KNOWN.items()]
    (tmp_path / "faq.jsonl").write_text("\n".join(rows))
    return ConversationConfig(questions=0, faq=str(tmp_path / "faq.jsonl"))


def test_a_known_question_leaves_no_wish(rec: Recommender, config: ConversationConfig) -> None:
    talk = rec.conversation(config=config)
    talk.say("something over 10")
    assert talk.say("Can I return running shoes under 50?").text == "Within 30 days."
    assert [str(one) for one in talk.state.constraints] == ["price > 10"]
    assert "running" not in talk.state.wanted
    assert "running" not in talk.state.spoken
    assert "running" not in talk.say("show me something nice").wanted


def test_it_leaves_none_where_the_conversation_is_told_by_its_messages(rec: Recommender, config: ConversationConfig) -> None:
    talk = rec.conversation(config=config)
    talk.say("something over 10")
    talk.say("Can I return running shoes under 50?")
    messages = [{"role": one["role"], "content": one["content"]} for one in talk.messages]
    stateless = talk.talker.chat([*messages, {"role": "user", "content": "show me something nice"}])
    assert stateless.wanted == talk.say("show me something nice").wanted
    assert "running" not in stateless.wanted


def test_what_somebody_has_is_no_known_question(rec: Recommender, config: ConversationConfig) -> None:
    item = rec.engine.items.ids.ids[3]
    reply = rec.conversation(config=config).say(f"I have {item} already")
    assert reply.intent == "refuse"
    assert item not in [one.item_id for one in reply.items]


SHOP = {
    "Do you deliver abroad?": "To 27 countries.",
    "How can I pay?": "By card or with a gift card.",
    "How do I delete my account?": "Open Privacy.",
    "Can I watch videos offline?": "Press the arrow.",
    "Where is my invoice?": "Under Orders.",
    "How do I return an item?": "Print the label.",
    "送到国外吗？": "27个国家。",
    "怎么付款？": "信用卡。",
}


@pytest.fixture
def shop(tmp_path: Path) -> ConversationConfig:
    rows = [json.dumps({"question": question, "answer": answer}) for question, answer in SHOP.items()]
    (tmp_path / "shop.jsonl").write_text("\n".join(rows))
    return ConversationConfig(questions=0, faq=str(tmp_path / "shop.jsonl"))


@pytest.mark.parametrize(
    "text",
    [
        "which country is the biggest", "who invented the card?", "tell me who invented the credit card", "delete all videos",
        "what does refund mean in German", "what is the return type of a function", "why do people hate invoices",
        "translate invoice into Spanish", "哪个国家最大", "信用卡是谁发明的？",
    ],
)  # fmt: skip
def test_a_question_about_the_world_is_none_of_the_shop(rec: Recommender, shop: ConversationConfig, text: str) -> None:
    assert rec.conversation(config=shop).say(text).intent != "faq"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("which countries do you ship to?", "To 27 countries."),
        ("can you ship this to another country", "To 27 countries."),
        ("which ways of paying are there?", "By card or with a gift card."),
        ("tell me how to pay by card", "By card or with a gift card."),
        ("how do returns work?", "Print the label."),
        ("where are invoices kept?", "Under Orders."),
        ("delete my account", "Open Privacy."),
        ("能送到哪个国家", "27个国家。"),
    ],
)
def test_a_question_about_the_shop_is_answered(rec: Recommender, shop: ConversationConfig, text: str, answer: str) -> None:
    assert rec.conversation(config=shop).say(text).text == answer


def test_a_question_that_nobody_here_can_answer_is_no_wish(rec: Recommender, shop: ConversationConfig) -> None:
    talk = rec.conversation(config=shop)
    talk.say("something for hiking")
    for text in ("who invented the card?", "which country is the biggest"):
        talk.say(text)
        assert talk.state.wanted == "something for hiking"
