"""What is ruled out by a field of an item, and not by its name: "not that brand"; which value is meant is asked where several are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.conversation import Conversation
from m6rec.serving.conversation.field_pointing import Pointed, pointed_out
from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.questions import ItemFacts
from m6rec.serving.conversation.references import Before
from m6rec.text.phrases import built_in_phrases

EN, ZH = built_in_phrases("en"), built_in_phrases("zh")
TITLES = ["Alpine boots", "Harbour kettle", "Night lamp", "Trail socks"]
TABLE = Table(
    Vocabulary(["i1", "i2", "i3", "i4"]),
    pl.DataFrame(
        {
            "title": TITLES,
            "brand": ["Borea", "Copperfield", "Borea", None],
            "colour": ["red", "blue", "black", "red"],
            "tags": [["snow", "rock"], ["tea"], ["tea"], None],
            "price": [80.0, 30.0, 12.0, 5.0],
        }
    ),
    {
        "title": FieldType.TEXT,
        "brand": FieldType.CATEGORY,
        "colour": FieldType.CATEGORY,
        "tags": FieldType.TAGS,
        "price": FieldType.NUMBER,
    },
)
NAMES, FACTS = Names(TABLE, TITLES, np.ones(4, np.int64), EN.plain | ZH.plain), ItemFacts(TABLE, TITLES)


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


def pointed(text: str, *shown: int, focus: int | None = None) -> Pointed | None:
    before = Before(shown=shown, focus=focus, known=set(shown), offered=True)
    return pointed_out(text, before, NAMES, FACTS, ZH if any(ord(sign) > 0x3000 for sign in text) else EN)


@pytest.mark.parametrize(
    ("text", "field", "values", "rest"),
    [
        ("not that brand", "brand", ("Borea",), ""),
        ("no, not that brand please", "brand", ("Borea",), ""),
        ("I don't like that brand", "brand", ("Borea",), ""),
        ("nothing from that maker", "brand", ("Borea",), ""),
        ("that brand is terrible", "brand", ("Borea",), ""),
        ("I'm not fond of this brand", "brand", ("Borea",), ""),
        ("not that brand, under 50", "brand", ("Borea",), "under 50"),
        ("not that color", "colour", ("red",), ""),
        ("不要这个牌子", "brand", ("Borea",), ""),
        ("不喜欢这个颜色", "colour", ("red",), ""),
        ("不要这个牌子，50以下", "brand", ("Borea",), "50以下"),
    ],
)
def test_the_value_of_the_item_spoken_of_last_is_ruled_out(text: str, field: str, values: tuple[str, ...], rest: str) -> None:
    assert pointed(text, 0, 1, focus=0) == Pointed(field, values, True, rest)


def test_what_the_turn_names_before_goes_before_what_was_spoken_of_last() -> None:
    said_so = pointed("Harbour kettle is nice but not that brand", 0, 1, focus=0)
    assert said_so is not None
    assert said_so.values == ("Copperfield",)


def test_of_several_values_all_are_ruled_out_only_where_the_words_say_so() -> None:
    for text, sure in [("not that brand", False), ("not those brands", True)]:
        assert pointed(text, 0, 1, 2) == Pointed("brand", ("Borea", "Copperfield"), sure, "")
    assert pointed("not that brand", 0, 2) == Pointed("brand", ("Borea",), True, "")
    assert pointed("not that tag", 0) == Pointed("tags", ("snow", "rock"), False, "")


@pytest.mark.parametrize(
    "text",
    [
        "not that one",
        "what is that brand?",
        "why not that brand?",
        "I like that brand",
        "more of that brand",
        "not that price",
        "not a bad brand",
    ],
)
def test_other_turns_rule_out_no_value(text: str) -> None:
    assert pointed(text, 0) is None


def test_what_is_not_known_of_an_item_is_not_ruled_out() -> None:
    assert pointed("not that brand", 3) is None


@pytest.fixture
def talk(rec: Recommender) -> Conversation:
    return rec.conversation(config=ConversationConfig(questions=0))


def brands(talk: Conversation, text: str) -> set[str]:
    items = talk.talker.engine.items
    found = {items.frame["brand"][items.ids.dense(one.item_id)] for one in talk.say(text).items}
    assert found
    return found


@pytest.mark.parametrize("words", ["not that brand", "nothing from that brand", "不要这个牌子"])
def test_a_brand_that_was_wished_for_is_ruled_out_and_no_item_refused(talk: Conversation, words: str) -> None:
    frame = talk.talker.engine.items.frame
    brand = frame.filter(frame["category"] == "outdoors")["brand"].drop_nulls()[0]
    assert brands(talk, f"something from {brand}") == {brand}
    for turn in (words, "more"):
        assert brand not in brands(talk, turn)
    assert [str(one) for one in talk.state.constraints] == [f"brand is not {brand}"]
    assert not talk.refused


@pytest.mark.parametrize(
    ("words", "answer", "gone"),
    [
        ("not that brand", "{first}", [0]),
        ("not that brand", "the second one", [1]),
        ("not that brand", "both", [0, 1]),
        ("不要这个牌子", "第一个", [0]),
        ("not that brand, under 500", "{first} please", [0]),
    ],
)
def test_which_of_several_is_meant_is_asked(talk: Conversation, words: str, answer: str, gone: list[int]) -> None:
    items = talk.talker.engine.items
    frame = items.frame.with_row_index().unique("brand", maintain_order=True).drop_nulls("brand")[:2]
    talk.tell("Two.", [items.ids.ids[row] for row in frame["index"].to_list()])
    both = frame["brand"].to_list()
    asked = talk.say(words)
    assert (asked.items, asked.asked) == ([], True)
    assert all(brand in asked.text for brand in both)
    shown = brands(talk, answer.format(first=both[0]))
    assert shown.isdisjoint(both[place] for place in gone)
    limit = talk.state.constraints[0] if len(gone) == 2 or "500" not in words else talk.state.constraints[-1]
    assert (limit.field, limit.op, limit.value) == ("brand", "not in", tuple(both[place] for place in gone))
    assert not talk.refused


def test_a_caller_without_state_gets_the_same_answer(rec: Recommender, talk: Conversation) -> None:
    messages: list[dict[str, object]] = []
    for text in ("something for running", "not that brand", "the first"):
        messages.append({"role": "user", "content": text})
        alone, kept = rec.chat(messages, config=ConversationConfig(questions=0)), talk.say(text)
        assert (alone.text, alone.items) == (kept.text, kept.items)
        messages.append(alone.message())
