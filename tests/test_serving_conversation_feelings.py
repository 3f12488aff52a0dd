"""What is said of items: every place and name is heard, each with its own feeling; negations turn cues round; near misses say nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from m6rec.base.errors import ConfigError
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.serving.conversation.naming import Names
from m6rec.serving.conversation.references import Before
from m6rec.serving.conversation.understanding import Turn, understand
from m6rec.text.phrases import Phrases, built_in_phrases, said

FILMS = ["Heat", "Up", "The Red Lantern", "Night Train", "红灯笼", "Crime, Love and Rain"]
FRAME = pl.DataFrame({"title": FILMS, "genre": ["crime", "family", "drama", "horror", "drama", "crime"]})
TABLE = Table(Vocabulary([f"f{row}" for row in range(len(FILMS))]), FRAME, {"title": FieldType.TEXT, "genre": FieldType.CATEGORY})
EN, ZH = built_in_phrases("en"), built_in_phrases("zh")
NAMES = Names(TABLE, FILMS, np.arange(len(FILMS)), EN.plain | ZH.plain)
SHOWN = Before(shown=(2, 3, 0), known={0, 2, 3}, offered=True)


def heard(text: str, before: Before = SHOWN, phrases: Phrases = EN) -> Turn:
    return understand(text, before, NAMES, phrases, None, TABLE.fields)


@pytest.mark.parametrize(
    ("text", "refused", "liked"),
    [
        ("I don't like the first and the second", [2, 3], []),
        ("the second does not convince me", [3], []),
        ("these don't excite me", [2, 3, 0], []),
        ("not the first and not the third", [2, 0], []),
        ("I like the first but not the second and third", [3, 0], [2]),
        ("I like the first and the third, but the second is not for me", [3], [2, 0]),
        ("the first is good, the second bad", [3], [2]),
        ("the second one is terrible, and so is the third", [3, 0], []),
        ("the first and the last are bad", [2, 0], []),
        ("I dislike numbers 1 and 3", [2, 0], []),
        ("I dislike numbers 1, 2 and 3", [2, 3, 0], []),
        ("not the first two", [2, 3], []),
        ("I like the last two", [], [3, 0]),
        ("neither the first nor the third", [2, 0], []),
        ("I like the first, the others are bad", [3, 0], [2]),
        ("not the first, show me the second", [2], []),  # what is asked for goes on with no refusal
        ("something for 3 people and 2 dogs", [], []),
        ("no more than 3 options for 20 dollars", [], []),
        ("boots that are not heavy", [], []),  # "that" points at nothing
        ("this sucks", [2, 3, 0], []),
        ("is the second one bad?", [], []),
        ("not the first one, too expensive", [2], []),
        ("not the first and the third, too expensive", [2, 0], []),
        ("The first one is not for me. Too expensive.", [2], []),
        ("not Heat, too expensive", [0], []),
        ("no, not the first one", [2], []),
        ("no, I like the second one", [], [3]),
        ("too expensive, the first one", [2], []),
        ("no, I loved Up", [2, 3, 0], [1]),  # which is none of those shown
        ("no, too expensive", [2, 3, 0], []),
    ],
)
def test_every_place_is_heard_with_its_own_feeling(text: str, refused: list[int], liked: list[int]) -> None:
    turn = heard(text)
    assert (list(turn.refused), list(turn.liked)) == (refused, liked)


@pytest.mark.parametrize(
    ("text", "refused", "liked"),
    [
        ("不要第一个和第三个", [2, 0], []),
        ("第一个不好，第三个也不好", [2, 0], []),
        ("我喜欢第一个，不喜欢第二个和第三个", [3, 0], [2]),
        ("第二个不错，其余的不要", [2, 0], [3]),
        ("前两个都不行", [2, 3], []),
        ("第1个和第3个不要", [2, 0], []),
        ("不是很喜欢第一个", [2], []),
        ("我不讨厌第一个", [], []),
        ("红灯笼不好", [4], []),
        ("红灯笼太差了", [4], []),
        ("红灯笼？没门", [4], []),
        ("别再推荐红灯笼", [4], []),
        ("红灯笼不错", [], [4]),
        ("红灯笼好不好？", [], []),
        ("不要第一个，太贵", [2], []),
        ("第一个不要，太贵了", [2], []),
        ("不，不要第一个", [2], []),
        ("太贵了", [2, 3, 0], []),
    ],
)
def test_chinese_places_and_names(text: str, refused: list[int], liked: list[int]) -> None:
    turn = heard(text, phrases=ZH)
    assert (list(turn.refused), list(turn.liked)) == (refused, liked)


REFUSING = (
    "{} sucks", "{} was rubbish", "stop recommending {}", "I can't bear {}", "neither {} nor {other}", "I would never buy {}", "please ban {}",
    "{}: thumbs down", "{}? No way", "what about {}? no", "get rid of {}", "I'm tired of {}", "{} is overpriced", "{} didn't impress me",
    "I don't really like {}", "I'm not a big fan of {}", "I don't think I like {}", "I never liked {}", "no films like {}", "I hate films like {}",
    "don't show me anything like {}", "{}. I hated it", "I'd never watch {} again", "{} is useless",
)  # fmt: skip
NOT_REFUSING = (
    "{} is not bad", "I don't dislike {}", "I don't hate {}", "I wouldn't say no to {}", "{} isn't boring", "is {} bad?", "why is {} so terrible?",
    "is {} not a horror?", "not only do I like {}", "I don't know {}", "I'm not sure if I like {}", "I want to avoid crowds, tell me about {}",
)  # fmt: skip


@pytest.mark.parametrize("text", REFUSING)
def test_a_named_refusal_is_heard(text: str) -> None:
    for named in ("Night Train", "The Red Lantern", "Crime, Love and Rain"):
        turn = heard(text.format(named, other="Heat"), Before())
        assert FILMS.index(named) in turn.refused
        assert turn.intent == "refuse"
        assert not turn.liked


@pytest.mark.parametrize("text", NOT_REFUSING)
def test_what_only_sounds_like_a_refusal_is_none(text: str) -> None:
    assert not heard(text.format("Night Train")).refused


def test_of_several_names_each_has_its_own() -> None:
    turn = heard("I like Heat and Night Train is terrible", Before())
    assert (turn.liked, turn.refused) == ((0,), (3,))
    turn = heard("I hate Heat and love Night Train", Before())
    assert (turn.liked, turn.refused) == ((3,), (0,))
    turn = heard("I didn't like Night Train, what about The Red Lantern?", Before())
    assert (turn.intent, turn.about, turn.refused) == ("ask_item", (2,), (3,))


def test_a_judged_item_makes_nobody_angry() -> None:
    assert heard("Night Train is ridiculous").intent == "refuse"
    assert heard("this is ridiculous").intent == "anger"
    assert heard("Night Train is useless and so are you idiots").intent == "anger"
    assert heard("is Night Train ridiculous?").intent == "anger"  # nothing judges it here


class Negative:
    """Knows nothing but that a text is negative."""

    def intent(self, text: str) -> str | None:
        return None

    def angry(self, text: str) -> bool:
        return "fell apart" in text


def test_a_sure_task_refuses_the_one_item_that_is_named() -> None:
    def judged(text: str) -> Turn:
        return understand(text, SHOWN, NAMES, EN, Negative(), TABLE.fields)

    assert judged("Night Train fell apart").refused == (3,)
    assert not judged("Night Train held well").refused
    assert not judged("Night Train and Heat fell apart").refused  # which of the two is not known
    assert not judged("who says that Night Train fell apart?").refused


def test_places_of_a_file_are_numbers() -> None:
    with pytest.raises(ConfigError, match="'places' has 'first'; a place is a number from 1"):
        Phrases({**EN.values, "language": "xx", "places": {"first": ["first"]}}, "xx.yaml")


BAGS = [
    "Trail backpack (Aurora collection)",
    "Trail pole (Ridge collection)",
    "Trail pole (Aurora collection)",
    "Heat (uncut)",
    "登山背包（极光）",
    "鞋（红）",
]
BAG_NAMES = Names(
    Table(Vocabulary([f"b{row}" for row in range(len(BAGS))]), pl.DataFrame({"title": BAGS}), {"title": FieldType.TEXT}),
    BAGS,
    np.ones(len(BAGS), np.int64),
    EN.plain | ZH.plain,
)


@pytest.mark.parametrize(
    ("text", "known", "refused"),
    [
        ("not the Trail backpack", set(), [0]),
        ("no Trail backpack (Aurora collection) please", set(), [0]),
        ("not the trail pole", set(), []),  # there are two
        ("not the trail pole", {0, 2}, [2]),  # of which one was shown
        ("not the trail pole (ridge collection)", {2}, [1]),
        ("I hated Heat", set(), [3]),
        ("not in this heat", {3}, []),
        ("不要登山背包", set(), [4]),
        ("不要鞋", set(), []),
    ],
)
def test_a_title_is_named_by_its_beginning_before_a_bracket(text: str, known: set[int], refused: list[int]) -> None:
    turn = understand(text, Before(known=known), BAG_NAMES, ZH if "不" in text else EN)
    assert list(turn.refused) == refused


def test_a_whole_title_goes_before_the_beginning_of_another() -> None:
    titles = ["Trail backpack", "Trail backpack (Aurora collection)"]
    table = Table(Vocabulary(["b0", "b1"]), pl.DataFrame({"title": titles}), {"title": FieldType.TEXT})
    named = Names(table, titles, np.ones(2, np.int64), EN.plain)
    assert [one.item for one in named.items(said("not the Trail backpack"), [1])] == [0]
