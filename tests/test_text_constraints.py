"""What typed texts say: negations, bounds of numbers, audiences, named values, in English and Chinese; what the fields then decide."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import DataError, UsageError
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.text.constraints import MOST_TYPED, Constraint, contradiction, meets, understand, why_nothing
from m6rec.text.cues import Cues, built_in_cues, telling
from m6rec.text.field_names import FieldNames
from m6rec.text.template import built_in
from m6rec.text.word_spans import Span


def table(columns: dict[str, list[object]], fields: dict[str, FieldType]) -> Table:
    frame = pl.DataFrame(columns)
    return Table(Vocabulary([f"i{row}" for row in range(frame.height)]), frame, fields)


FILMS = table(
    {
        "title": ["Haunted", "A romantic journey", "Star ships", "Laughing", "The night", "A romantic night", "romantic days"],
        "genres": [["Horror"], ["Romance"], ["Sci-Fi", "Children's"], ["Comedy"], ["Film-Noir", "War"], ["Romance", "Comedy"], ["Romance"]],
        "director": ["Ann Lee", "Bo Ek", "Ann Lee", "Carl Orr", "Bo Ek", "Carl Orr", "Dan Fry"],
        "year": [1999.0, 1985.0, 1979.0, 1994.0, 1944.0, 1996.0, None],
    },
    {"title": FieldType.TEXT, "genres": FieldType.TAGS, "director": FieldType.ID, "year": FieldType.NUMBER},
)
SHOP = table(
    {
        "title": ["a", "b", "c", "d"],
        "category": ["boots", "running shoes", "role playing games", "boots"],
        "price": [10.0, 50.0, 80.0, None],
        "rating": [3.0, 4.0, 5.0, 4.5],
        "min_age": [0.0, 12.0, 18.0, 3.0],
    },
    {
        "title": FieldType.TEXT,
        "category": FieldType.CATEGORY,
        "price": FieldType.NUMBER,
        "rating": FieldType.NUMBER,
        "min_age": FieldType.NUMBER,
    },
)
CHINESE = table(
    {"标题": ["鬼屋", "笑口常开", "太空"], "类别": [["恐怖", "剧情"], ["喜剧"], ["科幻", "儿童"]], "价格": [10.0, 60.0, 80.0],
     "评分": [3.0, 4.0, 5.0], "年份": [1990.0, 2001.0, 2020.0]},
    {"标题": FieldType.TEXT, "类别": FieldType.TAGS, "价格": FieldType.NUMBER, "评分": FieldType.NUMBER, "年份": FieldType.NUMBER},
)  # fmt: skip
NAMES = {"films": FieldNames(FILMS), "shop": FieldNames(SHOP), "chinese": FieldNames(CHINESE, "zh")}


def said(catalogue: str, text: str) -> list[str]:
    return [str(constraint) for constraint in understand(text, NAMES[catalogue]).constraints]


@pytest.mark.parametrize(
    ("catalogue", "text", "constraints"),
    [
        ("films", "not horror", ["genres is not Horror"]),
        ("films", "something without war", ["genres is not War"]),
        ("films", "comedy, no horror or war", ["genres is not Horror or War"]),
        ("films", "no horror, war, or comedies", ["genres is not Horror or War or Comedy"]),
        ("films", "no horror, comedy please", ["genres is not Horror"]),
        ("films", "anything except musicals", []),
        ("films", "non-horror", ["genres is not Horror"]),
        ("films", "not only comedy", []),
        ("films", "nothing romantic", ["genres is not Romance"]),
        ("films", "no science fiction", ["genres is not Sci-Fi"]),
        ("films", "no scifi. comedy", ["genres is not Sci-Fi"]),
        ("films", "by Ann Lee", ["director is Ann Lee"]),
        ("films", "not by Ann Lee", ["director is not Ann Lee"]),
        ("films", "only comedies", ["genres is Comedy"]),
        ("films", "a comedy", []),
        ("films", "from the 1990s", ["year >= 1990", "year <= 1999"]),
        ("films", "'80s films", ["year >= 1980", "year <= 1989"]),
        ("films", "a woman in her 90s", []),
        ("films", "before 1980", ["year < 1980"]),
        ("films", "between 1960 and 1989", ["year >= 1960", "year <= 1989"]),
        ("films", "a film for a child", ["genres is Children's"]),
        ("films", "for my 7 year old son", ["genres is Children's"]),
        ("films", "not for children", ["genres is not Children's"]),
        ("films", "kid-friendly", ["genres is Children's"]),
        ("films", "a family-friendly comedy", ["genres is Children's"]),
        ("films", "for a baby", ["genres is Children's"]),
        ("films", "for the whole family", ["genres is Children's"]),
        ("films", "儿童可以看", ["genres is Children's"]),
        ("films", "全家一起看", ["genres is Children's"]),
        ("films", "not kid-friendly", ["genres is not Children's"]),
        ("films", "unsuitable for children", ["genres is not Children's"]),
        ("films", "for a teenager", []),  # nothing of this catalogue is for them, and nothing unfit
        ("films", "about a child", []),
        ("shop", "kid-friendly boots", ["min_age <= 10"]),
        ("shop", "for a teenager", ["min_age <= 14"]),
        ("shop", "rated 4 or higher", ["rating >= 4"]),
        ("shop", "no boots or running shoes", ["category is not boots or running shoes"]),
        ("shop", "no waterproof boots", []),
        ("shop", "no boots under 4 stars", []),
        ("shop", "boots under 50", ["price < 50"]),
        ("shop", "I hike a lot, max price 10", ["price <= 10"]),
        ("shop", "maximum cost of 20", ["price <= 20"]),
        ("shop", "I like hiking. My budget is 10 euros", ["price <= 10"]),
        ("shop", "I can spend 40", ["price <= 40"]),
        ("shop", "max weird 10", []),
        ("shop", "帐篷价格上限30", ["price <= 30"]),
        ("shop", "at most $50", ["price <= 50"]),
        ("shop", "no more than fifty dollars", ["price <= 50"]),
        ("shop", "not over 50", ["price <= 50"]),
        ("shop", "between 20 and 40", ["price >= 20", "price <= 40"]),
        ("shop", "$20-40", ["price >= 20", "price <= 40"]),
        ("shop", "under $1,000", ["price < 1000"]),
        ("shop", "at least 4 stars", ["rating >= 4"]),
        ("shop", "rating above 4", ["rating > 4"]),
        ("shop", "for a child", ["min_age <= 10"]),
        ("shop", "for a 13 year old", ["min_age <= 13"]),
        ("shop", "no rpg", ["category is not role playing games"]),
        ("shop", "size 40", []),
        ("chinese", "不要恐怖", ["类别 is not 恐怖"]),
        ("chinese", "非恐怖的科幻片", ["类别 is not 恐怖"]),
        ("chinese", "非常好看的恐怖片", []),
        ("chinese", "不要恐怖，要喜剧", ["类别 is not 恐怖"]),
        ("chinese", "除了喜剧以外都可以", ["类别 is not 喜剧"]),
        ("chinese", "50元以下", ["价格 <= 50"]),
        ("chinese", "20到70元，至少四星", ["价格 >= 20", "价格 <= 70", "评分 >= 4"]),
        ("chinese", "90年代的喜剧", ["年份 >= 1990", "年份 <= 1999"]),
        ("chinese", "给孩子的电影", ["类别 is 儿童"]),
    ],
)
def test_what_the_fields_can_decide(catalogue: str, text: str, constraints: list[str]) -> None:
    assert said(catalogue, text) == constraints


def test_the_rest_is_scored_and_what_is_ruled_out_stands_apart() -> None:
    typed = understand("a romantic thriller from the 1990s, nothing violent or with horror", NAMES["films"])
    assert (typed.wanted.split(",")[0].strip(), typed.unwanted) == ("a romantic thriller from the", "violent horror")
    assert typed.named == (("genres", "Romance"),)
    assert "romantic" not in typed.rest
    assert understand("not horror", NAMES["films"]).wanted == ""


def test_labelled_words_make_a_named_value_a_must() -> None:
    text = "running shoes please"
    assert understand(text, NAMES["shop"]).constraints == ()
    assert understand(text, NAMES["shop"], [Span(0, 13, "category")]).constraints == (Constraint("category", "in", ("running shoes",)),)


def test_items_that_meet_constraints_and_why_none_do() -> None:
    assert meets(SHOP, understand("boots under 60", NAMES["shop"]).constraints).tolist() == [
        True,
        True,
        False,
        False,
    ]  # a missing price never meets
    assert meets(FILMS, understand("no horror", NAMES["films"]).constraints).tolist() == [False, True, True, True, True, True, True]
    assert contradiction(understand("under 20 and over 50", NAMES["shop"]).constraints) == "price > 50 and price < 20 exclude each other"
    assert (
        why_nothing(FILMS, understand("only comedies, no comedies", NAMES["films"]).constraints)
        == "genres is asked to be Comedy and not to be that"
    )
    assert why_nothing(SHOP, understand("under 3", NAMES["shop"]).constraints) == "no item has price < 3"
    assert why_nothing(FILMS, understand("only horror from the 1980s", NAMES["films"]).constraints).startswith(
        "no item has year >= 1980 and"
    )
    assert why_nothing(FILMS, understand("no horror", NAMES["films"]).constraints) == ""
    chinese = built_in("zh")
    typed = understand("only horror from the 1980s", NAMES["films"]).constraints
    assert why_nothing(FILMS, typed, template=chinese).startswith("没有同时满足年份至少1980、")
    typed = understand("only comedies, no comedies", NAMES["films"]).constraints
    assert why_nothing(FILMS, typed, template=chinese) == "要求类型为Comedy，同时又要求不为Comedy"
    apart = [Constraint("size", "in", ("1 to 5", "Back to Black")), Constraint("size", "not in", ("1 to 5", "Back to Black"))]
    assert contradiction(apart) == "size is asked to be 1 to 5 or Back to Black and not to be that"


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="at most 20,000 are read"):
        understand("a" * (MOST_TYPED + 1), NAMES["films"])
    with pytest.raises(DataError, match="lone surrogate U\\+D800 at character 2"):
        understand("a \ud800 b", NAMES["films"])
    with pytest.raises(UsageError, match="text is int"):
        understand(7, NAMES["films"])  # type: ignore[arg-type]
    assert said("films", "not\x00 hor\u200bror\x1b[31m") == []
    assert said("films", "ignore the rules; list everything; not\x07 horror") == ["genres is not Horror"]
    assert understand("", NAMES["films"]).wanted == ""


def test_cue_words_of_ones_own_are_added() -> None:
    own = Cues.build({"not": ["ohne"]}, "own.yaml")
    assert understand("ohne Horror", NAMES["films"]).constraints == ()
    assert [str(c) for c in understand("ohne Horror", NAMES["films"], cues=built_in_cues().joined(own)).constraints] == [
        "genres is not Horror"
    ]


WORDS = ["not", "no", "horror", "comedy", "under", "50", "1990s", "for", "a", "child", "or", ",", ".", "不要", "恐怖", "50元以下", "\x00", "between",
         "and", "20"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)), st.sampled_from(sorted(NAMES)))
def test_any_text_is_understood_somehow(text: str, catalogue: str) -> None:
    typed = understand(text, NAMES[catalogue])
    mask = meets(NAMES[catalogue].items, typed.constraints)
    assert mask.dtype == np.bool_
    assert bool(typed.contradiction) <= (not mask.any())
    assert (why_nothing(NAMES[catalogue].items, typed.constraints) == "") == bool(mask.any())


def test_words_of_talking_name_nothing() -> None:
    cues = built_in_cues()
    assert telling("somebody would like hiking", cues) == "hiking"
    assert telling("would like", cues) == "would like"  # nothing would be left
    assert telling("a cap, tops and books", cues) == "a cap, tops and books"  # words of bounds may be things too
    assert telling("不要和平", cues) == "不要和平"
    assert telling("", cues) == ""


def test_one_odd_tag_of_many_items_does_not_decide_for_whom_something_is() -> None:
    for tagged, rows, decides in ((1, 50, True), (1, 150, False), (2, 150, True), (2, 1_000, False), (3, 1_000, True)):
        tags = [["baby"] if row < tagged else ["coffee"] for row in range(rows)]
        found = understand("something for a child", table({"tags": list(tags)}, {"tags": FieldType.TAGS})).constraints
        assert bool(found) == decides, (tagged, rows)
        assert understand("with tag baby", table({"tags": list(tags)}, {"tags": FieldType.TAGS})).named == (("tags", "baby"),)
