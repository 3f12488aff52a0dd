"""Rules: what nobody may be shown, who may be shown what, caps of a day, words however they are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import ConfigError, UsageError
from m6rec.data.dataset import FieldType, Table
from m6rec.data.tables import frame_to_table
from m6rec.serving.rules.audience import meets
from m6rec.serving.rules.config import RulesConfig
from m6rec.serving.rules.facts import CatalogueFacts
from m6rec.serving.rules.filters import Blocked, RuleBook, Verdict
from m6rec.text.blocked_words import BlockedWords, normalised

ROWS = {
    "item_id": ["a", "b", "c", "d", "e", "f"],
    "title": ["Casino night", "Classic boots", "ＣＡＳＩＮＯ royal", "网上赌博指南", "Red wine", None],
    "brand": ["North", "north", "South", "East", "South", None],
    "kind": ["film", "shop", "film", "text", "wine", "ad"],
    "tags": [["fun"], ["outdoor", "sale"], [], ["sale"], ["drink"], []],
    "limit": [18.0, None, 12.0, 0.0, 18.0, None],
    "look": [[1.0], [0.0], [1.0], None, None, None],
}
FIELDS = {
    "title": FieldType.TEXT,
    "brand": FieldType.CATEGORY,
    "kind": FieldType.CATEGORY,
    "tags": FieldType.TAGS,
    "limit": FieldType.NUMBER,
    "look": FieldType.VECTOR,
}


def catalogue() -> Table:
    return frame_to_table(pl.DataFrame(ROWS), FIELDS, "item_id")


def book(blocked: Blocked | None = None, **config: Any) -> RuleBook:
    return RuleBook.build(RulesConfig.build(config), blocked or Blocked(), CatalogueFacts(catalogue()))


def shown(verdict: Verdict) -> str:
    return "".join(np.array(ROWS["item_id"])[verdict.allows(np.arange(6))])


def test_no_rules_allow_everything_and_cost_no_mask() -> None:
    assert book().allowed("shop", {"age": 3}) == Verdict(None, {}, ())


def test_blocked_items_words_and_providers_are_counted_each() -> None:
    rules = book(
        Blocked(items=frozenset({"e", "gone"}), words=frozenset({"赌博"}), providers=frozenset({"NORTH"})),
        blocked_items=["f"],
        blocked_words=["casino"],
        provider_field="brand",
    )
    verdict = rules.allowed(None)
    assert shown(verdict) == ""
    assert verdict.left_out == {"blocked items": 2, "blocked words": 3, "blocked providers": 2}


def test_a_mask_cannot_be_changed_by_who_gets_it() -> None:
    mask = book(blocked_items=["a"]).allowed(None).mask
    assert mask is not None
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = True


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ({"age": 40}, "abcdef"),
        ({"age": 18}, "abcdef"),
        ({"age": "17.5"}, "bcdf"),
        ({"age": 5}, "bdf"),
        ({}, "bdf"),
        (None, "bdf"),
        ("a man of 40", "bdf"),
        ({"age": float("nan")}, "bdf"),
        ({"age": "twenty"}, "bdf"),
        ({"age": True}, "bdf"),
        ({"age": float("inf")}, "bdf"),
        ({"age": [40]}, "bdf"),
        ({"ages": 40}, "bdf"),
    ],
)
def test_an_age_limit_of_the_catalogue(profile: Any, expected: str) -> None:
    """Nothing known of the person: only what has no limit, or a limit of 0."""
    rules = book(audiences=[{"name": "age", "field": "limit", "least": "profile.age"}])
    assert shown(rules.allowed("shop", profile)) == expected


def test_an_age_limit_may_let_the_unknown_pass() -> None:
    rules = book(audiences=[{"name": "age", "field": "limit", "least": "age", "unknown": "allow"}])
    assert shown(rules.allowed("shop", {})) == "abcdef"
    assert shown(rules.allowed("shop", {"age": 17})) == "bcdf"


def test_a_category_for_some_people_and_a_category_for_no_place() -> None:
    rules = book(
        audiences=[
            {"name": "wine", "field": "kind", "values": ["WINE"], "only": {"profile.age": ">=18", "country": ["de", "at"]}},
            {"name": "no ads", "field": "kind", "values": ["ad"], "scenarios": ["kids", "school"]},
            {"name": "no tags", "field": "tags", "scenarios": ["school"]},
        ]
    )
    assert rules.reads == ("age", "country")
    assert shown(rules.allowed("shop", {"age": 30, "country": "DE"})) == "abcdef"
    assert shown(rules.allowed("shop", {"age": 30, "country": "fr"})) == "abcdf"
    assert shown(rules.allowed("shop", {"age": 30})) == "abcdf"
    assert shown(rules.allowed("kids", {"age": 30, "country": "at"})) == "abcde"
    verdict = rules.allowed("school", {"age": 30, "country": "at"})
    assert shown(verdict) == "c"
    assert verdict.left_out == {"no ads": 1, "no tags": 4}


def test_a_request_cannot_overrule_what_is_known_of_a_person() -> None:
    rules = book(audiences=[{"name": "age", "field": "limit", "least": "profile.age"}])
    assert rules.profile({"age": 12, "name": "x"}, {"age": 99}) == {"age": 12}
    assert rules.profile({"age": None}, {"age": 30, "admin": True}) == {"age": 30}
    assert rules.profile(None, "I am 99") == {}


def test_offers_of_scenarios() -> None:
    rules = book(offers={"cinema": {"kind": "film"}, "sale": {"tags": "sale"}})
    assert shown(rules.allowed("cinema")) == "ac"
    assert shown(rules.allowed("sale")) == "bd"
    assert shown(rules.allowed("other")) == "abcdef"
    assert rules.allowed("cinema").left_out == {"offers of cinema": 4}


def test_caps_of_a_day() -> None:
    rules = book(
        caps=[{"name": "brands", "field": "brand", "per_list": 2, "per_day": 3}, {"name": "item", "per_day": 2, "scenarios": ["feed"]}]
    )
    assert rules.counts_days
    fresh = rules.allowed("feed")
    assert fresh.mask is None
    assert [(limit.name, limit.field, limit.room.tolist()) for limit in fresh.limits] == [("brands", "brand", [2, 2, 2])]
    # North (a and b) was shown twice: one more; South three times: its day is over. c and d were shown twice, in the feed that is enough.
    later = rules.allowed("feed", None, np.array([0, 1, 2, 2, 4, 3, 3, -1, 99]))
    assert later.limits[0].room.tolist() == [1, 0, 1]
    assert shown(later) == "abf"
    assert later.left_out == {"brands": 2, "item": 2}
    assert shown(rules.allowed("shop", None, np.array([3, 3]))) == "abcdef"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"audiences": [{"name": "age", "field": "limt", "least": "profile.age"}]}, "did you mean 'limit'"),
        ({"audiences": [{"name": "age", "field": "kind", "least": "profile.age"}]}, "'kind' is a category field"),
        ({"audiences": [{"name": "x", "field": "kind", "only": {"age": ">=old"}}]}, "only.age is '>=old'"),
        ({"audiences": [{"name": "x", "field": "kind", "only": {"age": None}}]}, "only.age is None"),
        ({"caps": [{"name": "x", "field": "kind"}]}, "neither per_list nor per_day"),
        ({"caps": [{"name": "x", "per_list": 2}]}, "has per_list and no field"),
        ({"caps": [{"name": "x", "field": "limit", "per_day": 2}]}, "'limit' is a number field"),
        ({"offers": {"shop": {"prize": "<5"}}}, "rules.offers.shop: items have no field 'prize'"),
        ({"blocked_providers": ["x"]}, "provider_field is not set"),
        ({"blocked_providers": ["x"], "provider_field": "look"}, "'look' is a vector field"),
    ],
)
def test_wrong_rules_are_one_line(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        book(**config)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        (18, ">=18", True),
        ("18", ">=18", True),
        (17.9, ">=18", False),
        (17, "<18", True),
        (20, "18-25", True),
        (26, "18-25", False),
        (-3, "-5--1", True),
        ("25-34", "25-34", True),
        ("25-34", ">=18", None),
        ("DE", "de", True),
        ("DE", ["at", "de"], True),
        (["de", "at"], "at", True),
        ([], "at", None),
        ([30], ">=18", True),
        (3, "3", True),
        ("", "x", None),
        (None, "x", None),
        (True, "true", True),
    ],
)
def test_conditions_on_people(value: Any, wanted: Any, expected: bool | None) -> None:
    assert meets(value, wanted) is expected


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("ass", "First class seats", False),
        ("ass", "what an ASS!", True),
        ("casino", "ｃａｓｉｎｏ", True),
        ("casino", "ca\u200bsi\u00adno", True),
        ("casino", "casino赌场", True),
        ("casino", "casino_online", True),
        ("casino", "casinos", False),
        ("straße", "STRASSE", True),
        ("café", "cafe\u0301", True),
        ("bet now", "Bet \n NOW.", True),
        ("bet now", "bet nowhere", False),
        ("赌博", "网上赌博指南", True),
        ("赌博", "赌 博", True),
        ("赌博", "打赌 and 博弈", False),
        ("카지노", "카지노에서", True),
        ("vpn下载", "最好的VPN 下载", False),
        ("vpn下载", "myvpn下载", False),
        ("vpn下载", "快VPN下载吧", True),
        ("c++", "learn c++ now", True),
        ("a.c", "abc", False),
        ("ﬁsh", "fish", True),
    ],
)
def test_words_in_texts(word: str, text: str, found: bool) -> None:
    words = BlockedWords([word])
    assert bool(words.found(text)) is found
    assert words.rows(pl.Series(["", normalised(text)], dtype=pl.String)) == ([1] if found else [])


def test_found_words_are_told_as_they_were_given() -> None:
    assert BlockedWords(["Casino", "赌博", "dice"]).found("CASINO 赌博") == ["Casino", "赌博"]


def test_a_phrase_does_not_reach_from_one_field_into_the_next() -> None:
    table = frame_to_table(
        pl.DataFrame({"item_id": ["x"], "title": ["place your bet"], "kind": ["now"]}),
        {"title": FieldType.TEXT, "kind": FieldType.CATEGORY},
        "item_id",
    )
    assert BlockedWords(["bet now"]).rows(CatalogueFacts(table).texts) == []
    assert BlockedWords(["now"]).rows(CatalogueFacts(table).texts) == [0]


@pytest.mark.parametrize("word", ["", "  ", "...", "\u200b"])
def test_a_blocked_word_needs_a_letter(word: str) -> None:
    with pytest.raises(UsageError, match="without a letter or digit"):
        BlockedWords([word])


@given(st.text(max_size=30), st.text(max_size=8))
@settings(max_examples=80, deadline=None)
def test_a_word_standing_alone_is_always_found(text: str, word: str) -> None:
    """Whatever stands around it, as long as spaces part it; and any capitals or full-width letters change nothing."""
    if not any(letter.isalnum() for letter in normalised(word)):
        return
    words = BlockedWords([word])
    for written in (word, word.upper().lower(), word.swapcase() if normalised(word.swapcase()) == normalised(word) else word):
        if normalised(written) == normalised(word):
            assert words.found(f"{text} {written} {text}") == [word]
    assert words.rows(pl.Series([normalised(f"{text} {word} {text}")], dtype=pl.String)) == [0]


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=5), max_size=4))
@settings(max_examples=80, deadline=None)
def test_one_text_and_a_column_of_texts_agree(text: str, words: list[str]) -> None:
    blocked = BlockedWords([word for word in words if any(letter.isalnum() for letter in normalised(word))])
    assert bool(blocked.found(text)) == bool(blocked.rows(pl.Series([normalised(text)], dtype=pl.String)))
