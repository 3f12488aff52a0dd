"""Arguments of the wrong kind are one UsageError with the value and what is allowed; numbers of numpy, arrays and series go on working."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.base.arguments import a_flag, a_list, real_number, whole_number
from m6rec.base.errors import DataError, UnknownItemError, UnknownUserError, UsageError, shown

THING = object()
HI = [{"role": "user", "content": "hi"}]
Wrong = Callable[[Recommender], Any]


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


@pytest.fixture(scope="module")
def judged(judged_run: Path) -> Recommender:
    return Recommender.from_pretrained(judged_run)


@pytest.fixture(scope="module")
def writer(writing_run: Path) -> Recommender:
    return Recommender.from_pretrained(writing_run)


WRONG: dict[str, tuple[Wrong, str]] = {
    "k": (lambda r: r.recommend("u05", k="x"), "k is 'x'; ask for 1 or more items"),
    "k of a half": (lambda r: r.recommend("u05", k=2.5), "k is 2.5; ask for 1 or more items"),
    "k of truth": (lambda r: r.recommend("u05", k=True), "k is True"),
    "no k": (lambda r: r.recommend("u05", k=None), "k is None"),
    "k of values": (lambda r: r.recommend("u05", of="category", k="x"), "k is 'x'"),
    "repeat of values": (lambda r: r.recommend("u05", of="category", repeat=5), "repeat is 5; it is exclude, allow or model"),
    "of": (lambda r: r.recommend("u05", of=["category"]), "of is ['category']; give the name of a field"),
    "text": (lambda r: r.recommend(text=5), "text is 5; give words"),
    "user": (lambda r: r.recommend(["u05"]), "user is ['u05']; give one id"),
    "history": (lambda r: r.recommend(history="i03"), "history is the text 'i03'; give a list"),
    "history of one": (lambda r: r.recommend(history=5), "history is 5; give a list"),
    "history of things": (lambda r: r.recommend(history=[["i03"]]), "item is ['i03']; give one id"),
    "profile": (lambda r: r.recommend(profile=["25"]), "profile is ['25']; give fields of a person, or words"),
    "profile by numbers": (lambda r: r.recommend(profile={5: 6}), "profile has a field 5"),
    "where": (lambda r: r.recommend("u05", where="price<5"), "where takes {field: value}, got 'price<5'"),
    "where by numbers": (lambda r: r.recommend("u05", where={5: 6}), "items have no field '5'"),
    "where a thing": (lambda r: r.recommend("u05", where={"category": {"a": 1}}), "where['category'] is {'a': 1}; give a value"),
    "include": (lambda r: r.recommend("u05", include="category"), "include is the text 'category'; give a list"),
    "include numbers": (lambda r: r.recommend("u05", include=[5]), "include holds 5; give a list of names"),
    "scenario": (lambda r: r.recommend("u05", scenario=5), "there is no scenario 5; scenarios: "),
    "context": (lambda r: r.recommend("u05", context=5), "context is 5; give declared fields"),
    "time": (lambda r: r.recommend("u05", time=[1]), "time is [1]; give seconds since 1970"),
    "time of nan": (lambda r: r.recommend("u05", time=float("nan")), "time is nan; give seconds since 1970"),
    "task": (lambda r: r.recommend("u05", task=["next"]), "task is ['next']; give the name of a task"),
    "similar k": (lambda r: r.similar_items("i03", k="x"), "k is 'x'"),
    "similar": (lambda r: r.similar_items(["i03"]), "item is ['i03']; give one id"),
    "rank": (lambda r: r.rank("u05", "i03"), "items is the text 'i03'; give a list of item ids to rank"),
    "rank one": (lambda r: r.rank("u05", 5), "items is 5; give a list"),
    "rank task": (lambda r: r.rank("u05", ["i03"], task=["next"]), "task is ['next']"),
    "rank context": (lambda r: r.rank("u05", ["i03"], context="phone"), "context is 'phone'"),
    "many": (lambda r: r.recommend_many("u05"), "users is the text 'u05'; give a list of user ids"),
    "many one": (lambda r: r.recommend_many(5), "users is 5; give a list of user ids"),
    "many k": (lambda r: r.recommend_many(k=1.5), "k is 1.5"),
    "threads": (lambda r: r.recommend_many(threads="x"), "threads is 'x'; give 1 or more"),
    "explained": (lambda r: r.explain("u05"), "no item to explain; give item"),
    "explain k": (lambda r: r.explain("u05", "i03", k="x"), "k is 'x'"),
    "explain language": (lambda r: r.explain("u05", "i03", language=["en"]), "language is ['en']; give the name of a language"),
    "explain by": (lambda r: r.explain("u05", "i03", by=5), "by is 5; give the name of a write task"),
    "people": (lambda r: r.explain_overall(people="x"), "people is 'x'; ask for a sample of 1 or more"),
    "overall seed": (lambda r: r.explain_overall(seed=-1), "seed is -1; give a whole number, 0 or more"),
    "n": (lambda r: r.continue_sequence("u05", n="x"), "n is 'x'; ask for 1 to 10,000 events"),
    "seed": (lambda r: r.continue_sequence("u05", seed="x"), "seed is 'x'; give a whole number, 0 or more"),
    "temperature": (lambda r: r.continue_sequence("u05", temperature="x"), "temperature is 'x'; give a number above 0"),
    "top_p": (lambda r: r.continue_sequence("u05", top_p="x"), "top_p is 'x'; give a share of the probability"),
    "most": (lambda r: r.profile("u05", most="x"), "most is 'x'; give a whole number of interests"),
    "most of none": (lambda r: r.profile("u05", most=0), "most is 0; give a whole number of interests, 1 or more"),
    "explained in words": (lambda r: r.explain("u05", "i03", words="no"), "words is 'no'; say True or False"),
    "explained by gradients": (lambda r: r.explain("u05", "i03", gradients=1), "gradients is 1; say True or False"),
    "counterfactuals": (lambda r: r.explain("u05", "i03", counterfactuals=None), "counterfactuals is None; say True or False"),
    "stream": (lambda r: r.chat(HI, stream="no"), "stream is 'no'; say True or False"),
    "profile of": (lambda r: r.profile(["u05"]), "user is ['u05']; give one id"),
    "understand": (lambda r: r.understand(5), "text is 5; give words"),
    "understands": (lambda r: r.understands(5), "text is 5; give words"),
    "why empty": (lambda r: r.why_empty(5), "text is 5; give words"),
    "why empty where": (lambda r: r.why_empty("boots", scenario=5), "there is no scenario 5"),
    "rows": (lambda r: r.plausibility(5), "rows is 5; give a list of texts"),
    "bare row": (lambda r: r.plausibility("boots"), "rows is the text 'boots'; give a list of texts"),
    "row": (lambda r: r.plausibility([5]), "row 1 is 5; a pair is (context, text)"),
    "row text": (lambda r: r.plausibility(["a", {"text": 5}]), "row 2: text is 5; give words"),
    "row history": (lambda r: r.plausibility([{"text": "a", "history": 5}]), "row 1: history is 5; give a list of item ids"),
    "row fields": (lambda r: r.plausibility([{5: 6}]), "row 1 says '5'"),
    "recent": (lambda r: r.plausibility(["a"], recent=None), "recent is None; give the number of newest events"),
    "tasks": (lambda r: r.predict({"text": ["a"]}, tasks="intent"), "tasks is the text 'intent'; give a list"),
    "messages": (lambda r: r.chat("hi"), "messages is 'hi'; give a list like"),
    "message": (lambda r: r.chat([5]), "message 1 is 5; give"),
    "chat scenario": (lambda r: r.chat(HI, scenario=5), "there is no scenario 5"),
    "chat config": (lambda r: r.chat(HI, config=5), "config is 5; give a m6rec.serving.conversation.config.ConversationConfig"),
    "chat manner": (lambda r: r.chat(HI, manner=5), "manner is 5; give a m6rec"),
    "split": (lambda r: r.measure_conversation("all"), "split is 'all'; it is validation or test"),
    "new scenario": (lambda r: r.add_scenario(5), "name is 5; give the name of a scenario"),
    "user of two lines": (lambda r: r.recommend("u05\nu06"), "user is 'u05\\nu06'; an id or a name is text without control characters"),
    "history with NUL": (lambda r: r.recommend(history=["i03", "i\0"]), "item is 'i\\x00'; an id or a name is text"),
    "ranked with ESC": (lambda r: r.rank("u05", ["\x1b[2J"]), "item is '\\x1b[2J'; an id or a name is text"),
    "scenario with tab": (lambda r: r.recommend("u05", scenario="a\tb"), "scenario is 'a\\tb'; an id or a name is text"),
    "new scenario with tab": (lambda r: r.add_scenario("a\tb"), "name is 'a\\tb'; an id or a name is text"),
    "saved to": (lambda r: r.save_pretrained(5), "folder is 5; give a path"),
    "loaded from": (lambda r: Recommender.from_pretrained(None), "folder is None; give a path"),
    "settings": (lambda r: Recommender.fit("c.yaml", settings="train.epochs=5"), "settings is the text 'train.epochs=5'; give a list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_argument_of_the_wrong_kind_is_one_line(case: str, rec: Recommender) -> None:
    ask, words = WRONG[case]
    with pytest.raises(UsageError) as caught:
        ask(rec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("one", [5, np.int64(5), 5.5, ""])
def test_an_id_that_could_be_one_is_unknown(one: Any, rec: Recommender) -> None:
    """Ids of numbers are looked up by their digits."""
    with pytest.raises(UnknownUserError, match="is not known"):
        rec.recommend(one)
    with pytest.raises(UnknownItemError, match="is not in the catalogue"):
        rec.similar_items(one)
    with pytest.raises(UnknownItemError, match="is not in the catalogue"):
        rec.recommend(history=["i03", one])


def test_control_characters_are_refused_where_the_unknown_are_let_in_and_where_rows_come(tiny_run: Path) -> None:
    lax = Recommender.from_pretrained(tiny_run, unknown="popular")
    assert lax.recommend("nobody", k=1)
    assert lax.recommend(history=["nothing"], k=1)
    for wrong in (lambda: lax.recommend("no\0body"), lambda: lax.recommend(history=["no\x1bthing"])):
        with pytest.raises(UsageError, match="without control characters"):
            wrong()
    items = len(lax.engine.items)
    for add, rows in (
        (lax.add_items, [{"item_id": "fine"}, {"item_id": "a\0b"}]),
        (lax.add_events, [{"user_id": "u\n1", "item_id": "i03"}]),
        (lax.add_events, [{"user_id": "u1", "item_id": "i03", "scenario": "a\x1b"}]),
    ):
        with pytest.raises(DataError, match=r"row \d: \w+ is '[^']*\\[^']*'; an id or a name is text without control characters"):
            add(rows)
    assert len(lax.engine.items) == items


WRONG_WRITING: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"kind": 5}, "there is no write task 5; those: "),
    "item": ({"item": ["i03"]}, "item is ['i03']; give one id"),
    "banned": ({"banned": [5]}, "banned holds 5; give a list of words"),
    "banned one": ({"banned": 5}, "banned is 5; give a list of words"),
    "about": ({"about": "x"}, "about is the text 'x'; give a list of words"),
    "about numbers": ({"about": [5]}, "about holds 5; give a list of words"),
    "words": ({"words": ("a", 2)}, "words[0] is 'a'; give least and most"),
    "one word": ({"words": 5}, "words are 5; give least and most"),
    "n": ({"n": "x"}, "n is 'x'; give a whole number of texts from 1 to 64"),
    "beams": ({"beams": 1.5}, "beams is 1.5; give a whole number"),
    "top_p": ({"top_p": "x"}, "top_p is 'x'; give a share"),
    "temperature": ({"temperature": "x"}, "temperature is 'x'; give a number"),
    "seed": ({"seed": "x"}, "seed is 'x'; give a whole number"),
    "check": ({"check": "yes"}, "check is 'yes'; say True or False"),
    "language": ({"language": ["en"]}, "language is ['en']; give the name of a language"),
    "text": ({"text": 5}, "text is 5; give words"),
    "history": ({"history": 5}, "history is 5; give a list"),
}


@pytest.mark.parametrize("case", WRONG_WRITING)
def test_what_is_wrong_for_a_writer_is_one_line(case: str, writer: Recommender) -> None:
    given, words = WRONG_WRITING[case]
    asked = {"kind": next(iter(writer.engine.scorer.writing.write.configs)), "item": writer.engine.items.ids.ids[0]} | given
    with pytest.raises(UsageError) as caught:
        writer.write(**asked)
    assert words in str(caught.value)


def test_a_judge_refuses_values_that_are_none(judged: Recommender) -> None:
    task = next(iter(judged.engine.scorer.judging.judge.configs))
    user, items = judged.engine.users.ids.ids[0], judged.engine.items.ids.ids[:2]
    for given, words in (
        ({"time": THING}, "time is <object"),
        ({"time": True}, "time is True"),
        ({"context": [1]}, "context is [1]"),
        ({"context": {5: 6}}, "context has a field 5"),
        ({"include": [["a"]]}, "include holds ['a']"),
    ):
        with pytest.raises(UsageError) as caught:
            judged.rank(user, items, task=task, scenario="shop", **given)
        assert words in str(caught.value)
    with pytest.raises(UsageError, match="text holds 5; give words, or a list of texts"):
        judged.classify([5])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="task is 5"):
        judged.classify("boots", task=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="task is 5"):
        judged.drop_option(5)  # type: ignore[arg-type]


def test_numbers_of_numpy_and_lists_of_any_kind_say_the_same(rec: Recommender, writer: Recommender) -> None:
    ids = ["i03", "i07"]
    plain = rec.recommend(history=ids, k=3)
    for history in (np.array(ids), pl.Series(ids), tuple(ids), (one for one in ids)):
        assert rec.recommend(history=history, k=np.int64(3)) == plain
    assert {one.item_id for one in rec.rank("u05", pl.Series(ids))} == set(ids)
    assert rec.recommend_many(np.array(["u05"]), k=np.int32(2)).equals(rec.recommend_many(["u05"], k=2))
    categories = rec.engine.items.frame["category"].unique().to_list()[:2]
    within = [one.item_id for one in rec.recommend("u05", where={"category": categories})]
    assert within
    assert [one.item_id for one in rec.recommend("u05", where={"category": np.array(categories)})] == within
    assert rec.recommend("u05", include=pl.Series(["category"]))[0].labels
    assert rec.continue_sequence("u05", np.int64(2), seed=np.int64(3)) == rec.continue_sequence("u05", 2, seed=3)
    assert rec.plausibility(pl.Series(["hiking boots"]), recent=np.int64(2)) == rec.plausibility(["hiking boots"])
    kind, item = next(iter(writer.engine.scorer.writing.write.configs)), writer.engine.items.ids.ids[0]
    drawn = writer.write(kind, item=item, decoding="nucleus", seed=3, temperature=0.5, words=(1, 9), banned=["boots"])
    again = writer.write(
        kind,
        item=item,
        decoding="nucleus",
        seed=np.int64(3),
        temperature=np.float32(0.5),
        words=np.array([1, 9]).tolist(),
        banned=pl.Series(["boots"]),
    )
    assert again == drawn


def test_checks_by_hand() -> None:
    assert whole_number("k", np.uint8(7), "", 1, 7) == 7
    assert type(whole_number("k", np.uint8(7), "")) is int
    assert real_number("p", np.float32(0.5), "", above=0, most=1) == 0.5
    for wrong in (0.0, 1.5, float("inf"), True, "0.5", None):
        with pytest.raises(UsageError, match=r"p is .*; a share"):
            real_number("p", wrong, "a share", above=0, most=1)
    for wrong in (0, 8, 3.0, np.True_, "3"):
        with pytest.raises(UsageError, match=r"k is .*; 1 to 7"):
            whole_number("k", wrong, "1 to 7", 1, 7)
    assert a_flag("check", np.True_) is True
    assert a_flag("check", False) is False
    for wrong in (1, 0.0, "no", None, np.uint8(1)):
        with pytest.raises(UsageError, match=r"check is .*; say True or False"):
            a_flag("check", wrong)
    assert a_list("ids", {"b": 1}.keys(), "") == ["b"]
    for wrong in ("ab", b"ab", {"a": 1}, 5, None, np.array("a")):
        with pytest.raises(UsageError):
            a_list("ids", wrong, "give ids")
    assert "\n" not in shown(pl.Series(["a", "b"]))


def test_no_rows_add_nothing_and_none_is_one_line(tiny_run: Path) -> None:
    rec = Recommender.from_pretrained(tiny_run)
    for add in (rec.add_items, rec.add_events):
        assert add([]) == 0
        with pytest.raises(DataError, match="there are no rows, but None; give"):
            add(None)  # type: ignore[arg-type]
