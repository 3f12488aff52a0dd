"""Turns as people really type them: small talk, half sentences, limits taken back, other languages, words next to those of the catalogue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.faq import Faq
from m6rec.serving.conversation.fitting import ruled_out
from m6rec.serving.conversation.judged import TaskJudge
from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.policy import _joined
from m6rec.serving.conversation.references import Before
from m6rec.serving.conversation.state import State
from m6rec.serving.conversation.understanding import Turn, understand
from m6rec.text.phrases import built_in_phrases

EN, ZH = built_in_phrases("en"), built_in_phrases("zh")
TITLES = ["Alpine boots", "Harbour kettle", "Night lamp"]
TABLE = Table(
    Vocabulary(["i1", "i2", "i3"]),
    pl.DataFrame({"title": TITLES, "brand": ["Borea", "Copperfield", "Borea"], "price": [80.0, 30.0, 12.0]}),
    {"title": FieldType.TEXT, "brand": FieldType.CATEGORY, "price": FieldType.NUMBER},
)
NAMES = Names(TABLE, TITLES, np.ones(3, np.int64), EN.plain)
NOTHING = Before()
SHOWN = Before(shown=(0, 1, 2), known={0, 1, 2}, offered=True, language="en")
FAQ = pl.DataFrame(
    {
        "question": ["How long does a parcel take?", "When will my parcel come?", "Where does my parcel go?", "Can a parcel go to another address?",
                     "How do I get an invoice?", "Where are my invoices?", "How do I pay?", "Can I pay by card?"],
        "answer": ["Three days.", "Three days.", "Set an address.", "Set an address.", "Under Orders.", "Under Orders.", "By card.", "By card."],
        "lang": ["en"] * 8,
    }
)  # fmt: skip


class Told:
    """A task that is sure of one intent, whatever is said."""

    def __init__(self, intent: str) -> None:
        self.told = intent

    def intent(self, text: str) -> str | None:
        return self.told

    def angry(self, text: str) -> bool:
        return False


def heard(text: str, before: Before = NOTHING, told: str | None = None, **more: Any) -> Turn:
    phrases = ZH if any(ord(sign) > 0x3000 for sign in text) else EN
    return understand(text, before, NAMES, phrases, None if told is None else Told(told), TABLE.fields, **more)


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


@pytest.mark.parametrize(
    ("text", "before", "intent"),
    [
        ("hey there", NOTHING, "greet"),
        ("再见", SHOWN, "bye"),
        ("can you help me?", NOTHING, "help"),
        ("who are you", NOTHING, "help"),
        ("Who makes the Alpine boots?", NOTHING, "ask_item"),
        ("is the first one good?", SHOWN, "ask_item"),
        ("surprise me", NOTHING, "anything"),
        ("more", SHOWN, "more"),
        ("more please, thanks", SHOWN, "more"),
        ("再来几个", SHOWN, "more"),
        ("not too expensive", SHOWN, "refine"),
    ],
)
@pytest.mark.parametrize("told", [None, "faq", "recommend", "hand_over"])
def test_what_the_words_say_beyond_doubt_no_task_changes(text: str, before: Before, intent: str, told: str | None) -> None:
    if told == "hand_over" and intent not in ("refine", "more", "anything"):
        told = None  # a task for handing over is believed before small talk
    assert heard(text, before, told).intent == intent


@pytest.mark.parametrize(
    ("text", "before", "about", "asked"),
    [
        ("tell me about Night lamp", NOTHING, (2,), ()),
        ("the price of the second one", SHOWN, (1,), ("price",)),
        ("which of these is the cheapest?", SHOWN, (0, 1, 2), ("price",)),
        ("which one is from Borea?", SHOWN, (0, 1, 2), ()),
        ("what does it cost?", NOTHING, (), ("price",)),
        ("who is the maker", SHOWN, (0, 1, 2), ("brand",)),
        ("多少钱", SHOWN, (0, 1, 2), ("price",)),
    ],
)
def test_what_is_asked_of_items(text: str, before: Before, about: tuple[int, ...], asked: tuple[str, ...]) -> None:
    turn = heard(text, before)
    assert (turn.about, turn.asked) == (about, asked)
    assert turn.intent == "ask_item"


def test_words_that_are_met_nowhere_are_not_understood() -> None:
    strange = heard("lorem ipsum dolor sit amet", told="faq", unseen=lambda text: True, knows=lambda text: False)
    assert strange.unseen
    assert strange.intent == "unclear"
    assert strange.told is None
    assert heard("Alpine boots lorem ipsum dolor", unseen=lambda text: True).unseen is False  # it names an item


def test_hard_words_about_nothing_that_was_shown_are_anger() -> None:
    assert heard("this is terrible, nothing works").intent == "anger"
    assert heard("this is terrible", SHOWN).intent == "refuse"


@pytest.mark.parametrize(
    ("text", "answer"),
    [("where is my parcel", None), ("how do I get it?", None), ("an invoice please", "Under Orders."), ("how do I pay", "By card.")],
)
def test_a_word_of_several_answers_decides_nothing(text: str, answer: str | None) -> None:
    known = Faq(FAQ, plain=EN.plain).find(text, sure=True)
    assert (known and known.answer) == answer


@pytest.mark.parametrize(
    "turn", ["ok drop the price limit", "no price limit please", "forget the limits", "取消价格限制", "any price is fine"]
)
def test_a_limit_is_taken_back(rec: Recommender, turn: str) -> None:
    talk = rec.conversation(config=ConversationConfig(questions=0))
    assert not talk.say("something under 0.01").items
    assert talk.say(turn).items
    assert not talk.state.constraints
    assert not talk.say("under 0.01, without a doubt").items  # says more than that


@pytest.mark.parametrize(
    ("text", "reason", "praise"),
    [("I already have {item}", "because you know “", "because you liked"), ("我已经有{item}了", "因为您已经有《", "因为您喜欢")],
)
def test_what_somebody_has_is_no_praise_where_it_is_a_reason(rec: Recommender, text: str, reason: str, praise: str) -> None:
    talk = rec.conversation(config=ConversationConfig(questions=0))
    reply = talk.say(text.format(item=rec.engine.items.ids.ids[7]))
    assert reason in reply.text
    assert praise not in reply.text
    assert f"because of “{rec.engine.items.titles()[7]}" not in reply.text
    assert not talk.liked


def test_a_newer_limit_takes_the_place_of_the_older_one_in_all_that_is_scored(rec: Recommender) -> None:
    talk = rec.conversation(config=ConversationConfig(questions=0))
    talk.say("something under 0.01")
    items = talk.say("under 60 then").items
    prices = rec.engine.items.frame["price"].gather(rec.engine.items.ids.many([one.item_id for one in items]))
    assert items
    assert prices.max() < 60
    assert "60" not in talk.state.spoken


def test_what_was_said_is_read_as_far_as_it_can_be() -> None:
    state = State()
    for number in range(9):
        state.said.append(f"{number} " + "word " * 600)
    assert len(state.spoken) <= 20_000
    assert state.spoken.endswith(state.said[-1])
    assert not state.spoken.startswith("0")


@pytest.mark.parametrize("text", ["a gift for my mum's 60th birthday", "a present for a friend", "送妈妈的生日礼物"])
def test_for_whom_something_is_says_not_what_it_should_be(rec: Recommender, text: str) -> None:
    reply = rec.conversation().say(text)
    assert reply.asked
    assert not reply.items
    assert not reply.hand_over
    assert not [word for word in ("birthday", "mum", "生日") if word in reply.text]


def test_items_with_every_word_of_the_wish_come_first(rec: Recommender) -> None:
    items = rec.engine.items
    title = next(title for title, kind in zip(items.titles(), items.frame["kind"], strict=True) if kind == "product")
    words = [word for word in title.split() if word.isalpha()][-2:]
    both = [title for title in items.titles() if all(word.casefold() in title.casefold().split() for word in words)]
    talk = rec.conversation(config=ConversationConfig(questions=0))
    found = talk.say(f"I am looking for {' '.join(words)}").items
    assert all(word.casefold() in str(items.frame.row(items.ids.dense(found[0].item_id))).casefold() for word in words)
    assert both


def test_what_is_ruled_out_later_is_wanted_no_more(rec: Recommender) -> None:
    text = rec.engine.items.frame["title"].str.to_lowercase() + " " + rec.engine.items.frame["description"].str.to_lowercase().fill_null("")
    talk = rec.conversation(config=ConversationConfig(questions=0))
    assert talk.say("something for hiking").items
    found = talk.say("I hate hiking").items
    assert found
    assert not any("hiking" in text[rec.engine.items.ids.dense(one.item_id)] for one in found)
    assert ruled_out(talk.state.wishes, [EN]) == ["hiking"]
    talk.say("hiking after all")
    assert ruled_out(talk.state.wishes, [EN]) == []


def test_cheaper_than_what_is_named(rec: Recommender) -> None:
    items = rec.engine.items
    row = int(items.frame["price"].arg_max() or 0)
    talk = rec.conversation(config=ConversationConfig(questions=0))
    found = talk.say(f"is there anything cheaper than {items.titles()[row]}?").items
    prices = items.frame["price"].gather(items.ids.many([one.item_id for one in found]))
    assert found
    assert prices.null_count() == 0
    assert (prices < items.frame["price"][row]).all()


def test_where_nothing_is_cheaper_it_is_said_once_and_holds_no_longer(rec: Recommender) -> None:
    items = rec.engine.items
    cheapest = items.titles()[int(items.frame["price"].arg_min() or 0)]
    talk = rec.conversation(config=ConversationConfig(questions=0))
    assert talk.say("something for hiking").items
    reply = talk.say(f"anything cheaper than {cheapest}?")
    assert not reply.items
    assert cheapest in reply.text
    assert not talk.state.constraints
    assert talk.say("more").text != reply.text


def test_no_item_without_a_word_of_the_wish_stands_beside_those_with_one(rec: Recommender) -> None:
    items = rec.engine.items
    text = (items.frame["title"] + " " + items.frame["description"].fill_null("")).str.to_lowercase()
    tags = items.frame["tags"].list.join(" ").fill_null("").str.to_lowercase()
    talk = rec.conversation(config=ConversationConfig(questions=0, items=20))
    found = items.ids.many([one.item_id for one in talk.say("something for hiking").items])
    assert len(found) > 0
    assert all("hik" in text[row] or "hik" in tags[row] for row in found.tolist())


@pytest.mark.parametrize(("text", "said_so"), [("I hate the second one", True), ("I like the first one", True), ("first aid kit", False)])
def test_a_place_of_a_list_that_nobody_saw(rec: Recommender, text: str, said_so: bool) -> None:
    reply = rec.conversation(config=ConversationConfig(questions=0)).say(text)
    assert (EN.values["sayings"]["none_shown"][0] == reply.text) == said_so


def test_a_question_that_one_cannot_tell_is_asked_for_once_more_before_a_person_is(rec: Recommender, tmp_path: Path) -> None:
    FAQ.write_ndjson(tmp_path / "faq.jsonl")
    talk = rec.conversation(config=ConversationConfig(faq=str(tmp_path / "faq.jsonl")))
    talk.talker.judge = cast(TaskJudge, Told("faq"))
    first, second = talk.say("where is my parcel?"), talk.say("where is my parcel?")
    assert (first.asked, first.hand_over, second.hand_over) == (True, False, True)


def test_no_preference_for_a_field_that_has_no_limit_is_no_wish(rec: Recommender) -> None:
    talk = rec.conversation(config=ConversationConfig(questions=0))
    assert talk.say("the brand does not matter").intent == "anything"
    assert heard("maybe", told="faq").intent == "unclear"


@pytest.mark.parametrize("words", ["anything but {}", "something nice, everything but {}", "all but {}, please", "something, but not {}"])
def test_what_is_ruled_out_by_words_that_begin_a_clause_elsewhere(rec: Recommender, words: str) -> None:
    talk = rec.conversation(config=ConversationConfig(questions=0))
    brand = next(value for value in rec.engine.items.frame["brand"] if value)
    talk.say(words.format(brand))
    assert [str(one) for one in talk.state.constraints] == [f"brand is not {brand}"]


@pytest.mark.parametrize("text", ["not i2, something warm under 60", "not the Harbour kettle, I need something warm under 60"])
def test_a_wish_behind_a_refused_item_is_no_word_of_that_item(text: str) -> None:
    turn = heard(text)
    assert (turn.refused, turn.intent) == ((1,), "refuse")
    assert "warm under 60" in turn.wish


def test_a_value_wished_for_behind_a_refused_item_is_not_ruled_out() -> None:
    assert "Borea" in heard("not i2, something from Borea").wish
    assert heard("not i2, too sad").wish == ""  # said of the item still


@pytest.mark.parametrize("text", ["I have i2 already", "I have the Harbour kettle already", "got i2 already"])
def test_what_somebody_has_already_is_no_wish(text: str) -> None:
    turn = heard(text)
    assert (turn.had, turn.wish) == ((1,), "")


@pytest.mark.parametrize(
    ("text", "angry"),
    [
        ("you guys are awful, I'll sue you", True),
        ("you lot are pathetic", True),
        ("I want my money back", False),
        ("money back for the kettle", False),
    ],
)
def test_whoever_answers_is_spoken_badly_of_and_money_wanted_back_is_no_anger(text: str, angry: bool) -> None:
    assert (heard(text).intent == "anger") == angry


def test_sentences_are_joined_as_their_script_does() -> None:
    assert _joined("好的，换别的。", "", "我推荐《A》。") == "好的，换别的。我推荐《A》。"
    assert _joined("All right.", "", "How about “A”?") == "All right. How about “A”?"
    assert ZH.say("offer", 2, items=ZH.several(["《A》", "《B》", "《C》"], "last")) == "我推荐《A》、《B》或《C》。"


@pytest.mark.parametrize(
    "text", ["tell me about number 7", "how much is the ninth?", "how much is the fifth one please", "第七个多少钱？", "explain option 4"]
)
def test_a_place_beyond_the_list_is_none_of_the_list(text: str) -> None:
    assert heard(text, SHOWN).beyond


@pytest.mark.parametrize("text", ["tell me about number 3", "how much is the third?", "第三个多少钱？"])
def test_a_place_of_the_list_is_asked_about(text: str) -> None:
    turn = heard(text, SHOWN)
    assert (turn.intent, turn.about, turn.beyond) == ("ask_item", (2,), False)


@pytest.mark.parametrize("text", ["i2", "Harbour kettle", "Harbour kettle!", "“Harbour kettle”"])
def test_a_name_alone_asks_what_is_known_of_the_item(text: str) -> None:
    for before in (NOTHING, SHOWN, Before(waiting=True)):
        turn = heard(text, before)
        assert (turn.intent, turn.about, turn.wish) == ("ask_item", (1,), "")
    assert heard("I love the Harbour kettle").intent == "like"


@pytest.mark.parametrize(
    "text", ["is there anything cheaper than these?", "anything cheaper than that?", "more expensive than Harbour kettle"]
)
def test_asking_for_something_cheaper_asks_nothing_of_what_was_shown(text: str) -> None:
    assert heard(text, SHOWN).intent == "refine"


@pytest.mark.parametrize(
    "text", ["which is the cheapest?", "is Alpine boots more expensive than Harbour kettle?", "which of these is cheaper?"]
)
def test_which_is_cheaper_is_asked_of_what_was_shown(text: str) -> None:
    assert heard(text, SHOWN).intent == "ask_item"


@pytest.mark.parametrize(
    ("text", "against"),
    [
        ("cheaper", (0, 1, 2)),
        ("cheaper than the second one", (1,)),
        ("not the first one, too expensive", (0,)),
        ("I hate Alpine boots, something cheaper than Night lamp", (2,)),
        ("something cheaper, not the first", (0,)),
        ("I like the first and the third, but cheaper please", (0, 2)),
        ("something nice", ()),
        ("第一个太贵", (0,)),
        ("便宜一点的", (0, 1, 2)),
    ],
)
def test_cheaper_is_held_against_what_stands_beside_it(text: str, against: tuple[int, ...]) -> None:
    assert heard(text, SHOWN).against == against
    assert heard("cheaper", replace(SHOWN, focus=1)).against == (1,)
