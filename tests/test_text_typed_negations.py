"""How far negations reach in typed texts: what is ruled out is filtered or left in doubt, and never a must."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.serving.conversation.limits import merged
from m6rec.text.constraints import meets, understand, why_nothing
from m6rec.text.cues import built_in_cues
from m6rec.text.field_names import FieldNames

GENRES = ["Horror", "Comedy", "War", "Children's"]
SHELF = Table(
    Vocabulary([f"i{row}" for row in range(4)]),
    pl.DataFrame(
        {
            "title": ["a", "b", "c", "d"],
            "genres": [[genre] for genre in GENRES],
            "brand": ["Northwind", "Alpina"] * 2,
            "price": [5.0, 30.0, 60.0, 120.0],
            "year": [1985.0, 1990.0, 1999.0, 2005.0],
        }
    ),
    {"title": FieldType.TEXT, "genres": FieldType.TAGS, "brand": FieldType.CATEGORY, "price": FieldType.NUMBER, "year": FieldType.NUMBER},
)
NAMES = FieldNames(SHELF)
NO_HORROR, NO_ALPINA, NEITHER = "genres is not Horror", "brand is not Alpina", "brand is not Northwind or Alpina"


def said(text: str) -> list[str]:
    return [str(constraint) for constraint in understand(text, NAMES).constraints]


@pytest.mark.parametrize(
    "text",
    [
        "I don't want anything from Alpina", "no products from Alpina", "avoid anything from Alpina", "no films by Alpina",
        "I hate everything from Alpina", "nothing at all from Alpina, please", "I refuse to watch anything by Alpina", "never anything from Alpina",
        "don't show me items made by Alpina", "nothing made by Alpina", "I would not buy anything from Alpina", "no more things from Alpina",
        "remove anything from Alpina", "ban everything by Alpina", "anything unless it's from Alpina", "from anyone but Alpina", "any brand but Alpina",
        "any brand besides Alpina",
        "brand != Alpina", "Alpina is banned", "I don't trust Alpina", "if it's not from Alpina",
        "from Alpina? no thanks", "Alpina excluded", "skip the ones from Alpina", "it can't be from Alpina", "please leave out Alpina",
        "不要来自Alpina的", "不要任何来自Alpina的东西", "我不想要Alpina的", "来自Alpina的不要", "除了Alpina都可以", "Alpina除外", "别推荐Alpina",
    ],
)  # fmt: skip
def test_what_a_brand_is_refused_by(text: str) -> None:
    assert said(text) == [NO_ALPINA]


@pytest.mark.parametrize(
    ("text", "liked"),
    [
        ("no horror please, except by Alpina", "Alpina"),
        ("no horror except from Alpina", "Alpina"),
        ("I don't like horror, except from Alpina", "Alpina"),
        ("nothing from Alpina except comedies", "Comedy"),
        ("not from Alpina, apart from comedies", "Comedy"),
        ("no horror or war except by Alpina", "Alpina"),
        ("不要恐怖，除了Alpina", "Alpina"),
        ("except comedies nothing from Alpina", "Comedy"),
        ("Except for comedies, nothing from Alpina please", "Comedy"),
        ("apart from comedies I want nothing from Alpina", "Comedy"),
        ("except from Alpina, no horror", "Alpina"),
        ("except comedies nothing over 50", "Comedy"),
        ("unless it's a comedy, nothing from Alpina", "Comedy"),
        ("除了Comedy，不要Alpina的", "Comedy"),
        ("除了Comedy以外，Alpina的都不要", "Comedy"),
    ],
)
def test_an_exception_to_what_is_ruled_out_is_scored(text: str, liked: str) -> None:
    typed = understand(text, NAMES)
    assert typed.constraints == ()
    assert liked not in typed.unwanted
    assert liked in {value for _, value in typed.named}


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("nothing over 50 except comedies", []),
        ("no horror. anything except Alpina", [NO_HORROR, NO_ALPINA]),
        ("under 50, except horror", ["price < 50", NO_HORROR]),
        ("except horror, no war", ["genres is not Horror or War"]),  # of one field: a list
        ("excluding Alpina, no horror", [NO_ALPINA, NO_HORROR]),
        ("anything except Alpina, no horror", [NO_ALPINA, NO_HORROR]),
        ("except Alpina, also no horror", [NO_ALPINA, NO_HORROR]),
        ("except horror, under 50 and nothing from Alpina", [NO_HORROR, "price < 50", NO_ALPINA]),
        ("除了Horror，也不要Alpina的", [NO_HORROR, NO_ALPINA]),
        ("除了Horror都可以，不要Alpina的", [NO_HORROR, NO_ALPINA]),
    ],
)
def test_an_exception_to_something_else_is_ruled_out(text: str, constraints: list[str]) -> None:
    assert sorted(said(text)) == sorted(constraints)


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("neither from Northwind nor from Alpina", [NEITHER]),
        ("not from Northwind, not from Alpina", [NEITHER]),
        ("not from Northwind and not from Alpina", [NEITHER]),
        ("nothing from Northwind or from Alpina", [NEITHER]),
        ("不要来自Northwind的也不要来自Alpina的", [NEITHER]),
        ("no horror and not from Alpina", [NO_HORROR, NO_ALPINA]),
        ("no horror, nothing from Alpina", [NO_HORROR, NO_ALPINA]),
        ("no war or with horror", ["genres is not War or Horror"]),
        ("no films with horror", [NO_HORROR]),
        ("I don't want horror and I don't like war", ["genres is not Horror or War"]),
        ("I hate horror films and love comedies", [NO_HORROR]),
        ("I don't like horror but I want comedies", [NO_HORROR]),
        ("I love comedy and horror is out", [NO_HORROR]),
        ("no I want horror", []),
        # What stands after the noun of a description is wanted; after that of a refusal it is refused together with it, and may be fine without it.
        ("comedy without horror from Northwind", [NO_HORROR]),
        ("no horror from Northwind", []),
        ("no Northwind comedy", []),
        ("no war or Northwind comedy", []),  # as "no red or blue boots"
        ("no scary horror", []),
        ("no horror with clowns", []),
        ("no horror stuff", [NO_HORROR]),
        ("no war or anything with clowns", ["genres is not War"]),
        ("Northwind的Comedy不要", []),
        ("nothing scary, from Alpina", ["brand is Alpina"]),
        ("comedy. no horror. from Alpina.", [NO_HORROR, "brand is Alpina"]),
        ("exclude: horror, war", ["genres is not Horror or War"]),
        ("anything except horror, no war", ["genres is not Horror or War"]),
        ("Horror、War都不要", ["genres is not Horror or War"]),
        ("Comedy可以，Horror和War都不行", ["genres is not Horror or War"]),
        ("no war only comedies", ["genres is not War", "genres is Comedy"]),
        ("不喜欢Horror但是喜欢Comedy", [NO_HORROR]),
        ("不要Horror要Comedy", [NO_HORROR]),
        ("没有Horror的Comedy", [NO_HORROR]),
        ("Comedy可以，Horror不行", [NO_HORROR]),
    ],
)
def test_where_a_negation_ends(text: str, constraints: list[str]) -> None:
    assert said(text) == constraints


@pytest.mark.parametrize(
    "text",
    [
        "spare me the horror", "I've had it with horror", "horror bores me", "horror is a hard no", "not a big fan of horror", "不会再看Horror",
        "not exactly a horror person", "I'm not really in the mood for horror", "千万别是Horror", "别再给我看Horror了", "我最烦Horror",
        "I don't enjoy horror", "don't give me any horror", "please don't recommend horror", "it can't be horror", "it mustn't be horror",
        "shouldn't be horror", "cannot be horror", "I won't watch horror", "skip horror", "leave out the horror", "hide horror", "w/o horror",
        "zero horror", "horror-free", "free from horror", "horror? no thanks", "I can't bear horror", "can't handle horror", "steer clear of horror",
        "keep away from horror", "horror is out", "I don't really like horror", "I would not recommend horror", "doesn't include horror",
        "filter out horror", "exclude: horror", "something nice -horror", "I don't do horror", "horror isn't really my thing",
        "horror isn't for me", "horror excluded", "horror? no", "stay away from horror please", "I'm afraid of horror",
        "Horror除外", "除Horror以外", "Horror就算了", "Horror不行", "Horror不要", "别来Horror", "厌恶Horror", "怕Horror", "Horror以外的都行",
        "我对Horror没兴趣",
        "不太想看Horror", "不怎么喜欢Horror", "对Horror过敏", "不要：Horror", "不能是Horror", "Horror我不喜欢",
        "再也不想看Horror", "受不了Horror", "请不要推荐Horror",
    ],
)  # fmt: skip
def test_words_that_refuse(text: str) -> None:
    assert said(text) == [NO_HORROR]
    assert "orror" not in understand(text, NAMES).wanted


@pytest.mark.parametrize(
    "text",
    [
        "not without horror", "not that I dislike horror", "never say no to horror", "I wouldn't say no to horror", "I don't hate horror",
        "nothing except horror", "not horror-free", "I don't mind horror", "I can't live without horror", "I can't wait to watch horror",
        "why don't you show me horror", "it doesn't have to be horror", "I don't know about horror", "I haven't seen horror yet",
        "I don't want to miss horror", "don't show me only horror", "not only horror", "not all horror is bad", "never seen horror",
        "I didn't watch horror yet", "can't decide on horror", "horror is out of this world", "nothing wrong with horror",
        "not limited to horror", "except horror, nothing", "something - horror", "非Horror不看", "非Horror不可", "除了Horror不看", "除了Horror，什么都不看",
        "除了Horror以外都不要",
        "不是不喜欢Horror", "不要Horror以外的", "有没有Horror", "Horror行不行", "能不能来Horror", "我不怕Horror", "不得不看Horror", "不必是Horror",
        "不要只看Horror", "不介意Horror", "没有不喜欢Horror",
        "horror never bores me", "nothing besides horror", "麻烦推荐Horror", "给别人的Horror",
    ],
)  # fmt: skip
def test_what_rules_nothing_out(text: str) -> None:
    assert said(text) == []


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("I don't want to spend more than 50", ["price <= 50"]),
        ("don't spend more than 50", ["price <= 50"]),
        ("it does not cost more than 50", ["price <= 50"]),
        ("without going over 50", ["price <= 50"]),
        ("I can't go over 50", ["price <= 50"]),
        ("I wouldn't pay more than 50 dollars", ["price <= 50"]),
        ("do not exceed 50", ["price <= 50"]),
        ("I don't have more than fifty", ["price <= 50"]),
        ("no more than 50", ["price <= 50"]),
        ("not before the 90s", ["year >= 1990"]),
        ("不要90年代以前的", ["year >= 1990"]),
        ("no horror or over 50", ["price <= 50", NO_HORROR]),
        ("no horror and under 50", ["price < 50", NO_HORROR]),
        ("not leather, under 50", ["price < 50"]),
        ("not leather under 50", ["price < 50"]),
        ("no shoes over 50", []),  # shoes over 50 are refused, not shoes
        ("I can't decide on something over 50", []),
        ("not from the 1990s", ["year is not 1990 to 1999"]),
        ("not 1990s", ["year is not 1990 to 1999"]),
        ("anything but the 90s", ["year is not 1990 to 1999"]),
        ("nothing made in the nineties", ["year is not 1990 to 1999"]),
        ("not in the 80s or 90s", ["year is not 1980 to 1989 or 1990 to 1999"]),
        ("no comedy older than 1990", []),
        ("over 50? no thanks", ["price <= 50"]),
        ("50以上的不要", ["price < 50"]),
        ("no films from before 1990", ["year >= 1990"]),
        ("nothing before 1990", ["year >= 1990"]),
        ("not between 20 and 40", ["price is not 20 to 40"]),
        ("not under 20 or over 50", ["price >= 20", "price <= 50"]),
        ("neither under 20 nor over 50", ["price >= 20", "price <= 50"]),
        ("不要1990年代", ["year is not 1990 to 1999"]),
        ("除了90年代", ["year is not 1990 to 1999"]),
        ("不要九十年代的", ["year is not 1990 to 1999"]),
        ("不要1990年以前的", ["year >= 1990"]),
        ("不能超过50", ["price <= 50"]),
        ("不大于50", ["price <= 50"]),
        ("不想花超过50元", ["price <= 50"]),
        ("二十到四十元以外", ["price is not 20 to 40"]),
        ("不要50元以下的", ["price > 50"]),
        ("能不能50元以下", ["price <= 50"]),
        ("not 20-40 dollars", ["price is not 20 to 40"]),
        ("not price 20-40", ["price is not 20 to 40"]),
        ("nothing more expensive than 50", ["price <= 50"]),
        ("neither 80s nor 90s", ["year is not 1980 to 1989 or 1990 to 1999"]),
        ("不要贵于50元", ["price <= 50"]),
        ("不要1985到1995年的", ["year is not 1985 to 1995"]),
        ("不锈钢50元以下", ["price <= 50"]),
    ],
)
def test_bounds_that_are_negated(text: str, constraints: list[str]) -> None:
    assert said(text) == constraints


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("from Northwind or Alpina", ["brand is Northwind or Alpina"]),
        ("from Northwind or from Alpina", ["brand is Northwind or Alpina"]),
        ("by Northwind, Alpina", ["brand is Northwind or Alpina"]),
        ("from Northwind and comedy", ["brand is Northwind"]),
        ("from Northwind or something red", []),
        ("only from Northwind or Alpina", ["brand is Northwind or Alpina"]),
        ("from either Northwind or Alpina", ["brand is Northwind or Alpina"]),
        ("not necessarily from Northwind", []),
        ("even if it's from Northwind", []),
        ("来自Northwind或Alpina", ["brand is Northwind or Alpina"]),
        ("来自Northwind或者便宜的", []),
        ("under 50 or over 100", ["price is not 50 to 100"]),
        ("50以下或100以上", ["price is not >50 to <100"]),
        ("between 20 and 40 or over 100", ["price >= 20", "price is not >40 to 100"]),
        ("less than $20 or more than $100", ["price is not 20 to 100"]),
        ("comedies under 50 or horror over 100", ["price is not 50 to 100"]),
        ("80s comedies or 90s horror", ["year >= 1980", "year <= 1999"]),
        ("80s and 2000s", ["year >= 1980", "year <= 2009", "year is not 1990 to 1999"]),
        ("90s comedies or anything under 5", []),  # neither holds of all that is wanted
        ("八十年代和九十年代", ["year >= 1980", "year <= 1999"]),
        ("80年代到90年代", ["year >= 1980", "year <= 1999"]),
        ("1980s or 1990s", ["year >= 1980", "year <= 1999"]),
        ("from the 1980s or the 2000s", ["year >= 1980", "year <= 2009", "year is not 1990 to 1999"]),
        ("comedies or over 50", []),
        ("under 50 or so", ["price < 50"]),
    ],
)
def test_alternatives(text: str, constraints: list[str]) -> None:
    assert said(text) == constraints


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("brand Northwind not Northwind", "brand is asked to be Northwind and not to be that"),
        ("horror or not horror", "genres is asked to be Horror and not to be that"),
        ("comedy but no comedy", "genres is asked to be Comedy and not to be that"),
        ("Comedy但不要Comedy", "genres is asked to be Comedy and not to be that"),
        ("from the 1990s but not from the 1990s", "year is asked to be 1990 to 1999 and not to be that"),
        ("under 20 and over 50", "price > 50 and price < 20 exclude each other"),
        ("comedy. not comedy", ""),
        ("I watched a lot of comedy last year, this time no comedy", ""),
        ("comedy, no horror", ""),
    ],
)
def test_what_is_wanted_and_ruled_out_in_one_breath_is_a_contradiction(text: str, why: str) -> None:
    typed = understand(text, NAMES)
    assert typed.contradiction == why
    assert why_nothing(SHELF, typed.constraints) == why
    assert bool(meets(SHELF, typed.constraints).any()) == (not why)


def test_a_newer_bound_of_a_conversation_takes_the_place_of_a_stretch_that_was_ruled_out() -> None:
    first, second = understand("not from the 1990s, no horror", NAMES), understand("from the 1990s", NAMES)
    assert [str(constraint) for constraint in merged(first.constraints, second)] == [NO_HORROR, "year >= 1990", "year <= 1999"]


def test_items_outside_a_stretch_of_numbers() -> None:
    shelf = Table(Vocabulary(["a", "b", "c", "d"]), pl.DataFrame({"price": [19.0, 20.0, 41.0, None]}), {"price": FieldType.NUMBER})
    constraints = understand("not between 20 and 40", FieldNames(shelf)).constraints
    assert meets(shelf, constraints).tolist() == [True, False, True, False]  # a missing price meets nothing
    for text, met in (("20以下或者41以上", [True, True, True, False]), ("under 20 or over 41", [True, False, False, False])):
        assert meets(shelf, understand(text, FieldNames(shelf)).constraints).tolist() == met


CUES = built_in_cues()
DESCRIBING = {*CUES.describes, *CUES.lacks}
REFUSALS = sorted({*DESCRIBING, *CUES.not_, *CUES.except_, *CUES.unclear, *(f"{a} {v}" for a in CUES.auxiliary for v in CUES.verbs)})
BETWEEN = ["", "any", "anything", "films", "shoes", "cheap", "to watch", "more than", "任何", "的"]
BEFORE = ["", "comedy,", "a nice one,", "war and", "I want", "我要"]
NAMING = [
    "Alpina",
    "from Alpina",
    "by Alpina",
    "films from Alpina",
    "来自Alpina",
    "horror or from Alpina",
    "with horror from Alpina",
    "only Alpina",
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BEFORE), st.sampled_from(REFUSALS), st.sampled_from(BETWEEN), st.sampled_from(NAMING))
def test_a_value_stated_only_inside_a_negation_is_never_a_must(before: str, refusal: str, between: str, naming: str) -> None:
    if naming == "only Alpina" and between not in ("", "any", "anything"):
        return  # "no shoes only Alpina" asks for Alpina
    if refusal in DESCRIBING and naming.startswith("with"):
        return  # "not leather with horror from Alpina" does too
    typed = understand(" ".join(f"{before} {refusal} {between} {naming}".split()), NAMES)
    assert not [one for one in typed.constraints if one.field == "brand" and one.op == "in"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(BEFORE), st.sampled_from(REFUSALS), st.sampled_from(BETWEEN), st.sampled_from(["over 50", "50元以上", "from 1990 on"])
)
def test_a_bound_inside_a_negation_is_never_met_as_it_stands(before: str, refusal: str, between: str, bound: str) -> None:
    typed = understand(" ".join(f"{before} {refusal} {between} {bound}".split()), NAMES)
    assert not [one for one in typed.constraints if one.op in (">", ">=")]


JOINS = ["and", "or", "and also", "nor", "plus", ",", ", and", "with", "", "和", "也", "，也", "或", "并且"]
BOUNDS = [
    "over 50",
    "at least 50",
    "50元以上",
    "under 20",
    "50元以下",
    "before 1990",
    "from 1990 on",
    "in the 1990s",
    "1990年以前",
    "between 20 and 40",
]
VALUES = ["horror", "from Alpina", "films from Alpina", "war or horror", "too long", "shoes", "恐怖的", "a video", "Alpina products"]


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(BEFORE),
    st.lists(st.tuples(st.sampled_from(REFUSALS), st.sampled_from(VALUES), st.sampled_from(JOINS)), min_size=1, max_size=3),
    st.sampled_from(["", *REFUSALS]),
    st.sampled_from(["", "any", "films", "anything", "的"]),
    st.sampled_from(BOUNDS),
)
def test_no_list_of_negations_keeps_only_what_it_refuses(
    before: str, refused: list[tuple[str, str, str]], last: str, between: str, bound: str
) -> None:
    if not last and ("," in refused[-1][2] or "，" in refused[-1][2] or bound in ("under 20", "50元以下")):
        return  # a clause of its own, or what somebody will spend at most
    text = " ".join(" ".join((before, *(word for piece in refused for word in piece), last, between, bound)).split())
    assert not set(said(bound)) & set(said(text)), text


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("not horror and not over 50", ["price <= 50", NO_HORROR]),
        ("not horror, not over 50", ["price <= 50", NO_HORROR]),
        ("not from Northwind, not from Alpina and not over 50", ["price <= 50", NEITHER]),
        ("isn't horror and isn't over 50", ["price <= 50", NO_HORROR]),
        ("not too long and not over 50", ["price <= 50"]),
        ("no, not over 40 please", ["price <= 40"]),
        ("not horror and not before 1990", ["year >= 1990", NO_HORROR]),
        ("without horror and over 50", [NO_HORROR]),
        ("no horror and no more than 50", ["price <= 50", NO_HORROR]),
        ("hide horror over 50", []),
        ("non-horror over 50", ["price > 50", NO_HORROR]),
        ("no shoes with a price over 50", []),
        ("不要Horror也不要50以上的", ["price < 50", NO_HORROR]),
        ("不要Horror和50以上的", [NO_HORROR]),
        ("不买Alpina，不买50以上", ["price < 50", NO_ALPINA]),
        ("Horror和50以上的都不要", ["price < 50", NO_HORROR]),
        ("没有Horror并且不低于20", ["price >= 20", NO_HORROR]),
        ("不给小孩看的", ["genres is not Children's"]),
        ("给成年人看的，不给儿童", ["genres is not Children's"]),
        ("不为孩子", ["genres is not Children's"]),
    ],
)
def test_every_negation_of_a_list_reaches_its_own(text: str, constraints: list[str]) -> None:
    assert said(text) == constraints


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted", "constraints"),
    [
        ("I'd rather watch comedy than horror", "I'd rather watch comedy", "horror", []),
        ("I prefer comedy to horror or war", "I prefer comedy or", "horror war", []),
        ("more comedy over 50 than horror", "more comedy", "horror", ["price > 50"]),
        ("I prefer to watch horror", "I prefer to watch horror", "", []),
        ("unlike horror I love war", "I love war", "horror", []),
        ("比起Horror更喜欢Comedy", "更喜欢Comedy", "Horror", []),
        ("I'd rather not see horror", "I'd", "horror", [NO_HORROR]),
        ("horror gives me nightmares", "", "horror", [NO_HORROR]),
    ],
)
def test_what_something_else_is_liked_more_than_is_scored_against(text: str, wanted: str, unwanted: str, constraints: list[str]) -> None:
    typed = understand(text, NAMES)
    assert (typed.wanted, typed.unwanted, said(text)) == (wanted, unwanted, constraints)
