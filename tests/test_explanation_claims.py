"""What a sentence claims is held against the item and the history; what is not true goes, and is counted."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.explanation.claims import Facts, check, facts_of, read_claims, share_true
from m6rec.explanation.lexicon import Lexicon
from m6rec.explanation.telling import telling_words

TITLES = ["Toy Story (1995)", "Heat", "Matrix, The (1999)", "A Bug's Life", "Star Wars: Episode IV (1977)", "Up"]
GENRES = [["animation", "comedy"], ["crime", "drama"], ["sci-fi", "action"], ["animation", "family"], ["sci-fi"], ["animation", "horror"]]
BRANDS = ["Pixar", "Warner", "Warner", "Pixar", "Fox", "Pixar"]
FIELDS = {"title": FieldType.TEXT, "genres": FieldType.TAGS, "studio": FieldType.CATEGORY, "price": FieldType.NUMBER}


def table(titles: list[str] = TITLES) -> Table:
    rows = len(titles)
    frame = pl.DataFrame(
        {"title": titles, "genres": GENRES[:rows], "studio": BRANDS[:rows], "price": [9.99, 12.0, 15.5, 8.0, 30.0, None][:rows]}
    )
    return Table(Vocabulary(map(str, range(rows))), frame, FIELDS)


@pytest.fixture(scope="module")
def facts() -> Facts:
    """Of Toy Story, for somebody who had The Matrix and A Bug's Life."""
    return facts_of(Lexicon(table()), 0, [2, 3])


@pytest.mark.parametrize(
    "text",
    [
        "Because you liked The Matrix and A Bug's Life, this animation comedy from Pixar suits you.",
        "You watched sci-fi and animation; Toy Story (1995) is a comedy.",
        "Animations and comedies for 9.99, not horror.",
        "It costs under 15 and comes from 1995.",
        "A price between 5 and 10, without drama.",
        "It is up to you, and heat resistant.",  # words, not the films of that name
        "",
    ],
)
def test_what_is_true_stays_as_it_is(facts: Facts, text: str) -> None:
    found = check(text, facts)
    assert (found.text, found.dropped) == (text, ())


@pytest.mark.parametrize(
    ("text", "left", "dropped"),
    [
        (
            "Because you liked Heat and A Bug's Life, this comedy suits you.",
            "Because you liked A Bug's Life, this comedy suits you.",
            ["Heat"],
        ),
        ("Great for fans of horror and comedy.", "Great for fans of comedy.", ["horror"]),
        ("A comedy, horror and animation film.", "A comedy and animation film.", ["horror"]),
        ("A comedy and a drama.", "A comedy.", ["drama"]),
        ("This is a horror film, but you will love the animation in it.", "You will love the animation in it.", ["horror"]),
        ("Because you liked Heat, this comedy suits you.", "This comedy suits you.", ["Heat"]),
        ("You watched Up, so try Toy Story.", "Try Toy Story.", ["Up"]),
        ("You liked drama. This is a Pixar comedy.", "This is a Pixar comedy.", ["drama"]),
        ("From Pixar, with drama and crime.", "From Pixar.", ["drama", "crime"]),
        ("It is not a comedy. It is from Pixar.", "It is from Pixar.", ["comedy"]),
        ("It costs $12.", "", ["12"]),
        ("A comedy over 20.", "", ["20"]),
        ("You bought Toy Story, and it is a comedy.", "It is a comedy.", ["Toy Story"]),  # the item itself was never had
        ("It is horror because you liked The Matrix.", "", ["horror"]),  # what hangs on the clause goes with it
    ],
)
def test_what_is_not_true_goes_with_the_smallest_piece(facts: Facts, text: str, left: str, dropped: list[str]) -> None:
    found = check(text, facts)
    assert found.text == left
    assert [claim.text for claim in found.dropped] == dropped
    assert not any(claim.true for claim in found.dropped)


def test_a_value_of_the_past_is_true_where_the_sentence_speaks_of_the_past(facts: Facts) -> None:
    first, second = read_claims("You liked sci-fi, and this is sci-fi too.", facts)
    assert (first.about, first.true, second.about, second.true) == ("history", True, "item", False)
    films = read_claims("The sci-fi films you watched", facts)
    assert [claim.true for claim in films] == [True]


def test_what_was_typed_may_be_repeated() -> None:
    facts = facts_of(Lexicon(table()), 0, text="a family drama under 40")
    assert check("You asked for drama under 40.", facts).dropped == ()
    assert [claim.text for claim in check("You asked for horror.", facts).dropped] == ["horror"]
    assert [claim.text for claim in check("This is a drama.", facts).dropped] == ["drama"]


READER = {"age": 47, "interests": ["horror stories", "action games"], "diet": "no drama"}


@pytest.mark.parametrize(
    "text",
    [
        "Your profile speaks for it: age 47 and interests horror stories.",
        "Your profile speaks for it: interests horror stories, action games and age 47.",
        "Your profile speaks for it: diet no drama.",
        "Your profile speaks for it: age 47. It is genres comedy and animation.",
        "Your profile mentions horror stories, and this comedy is from Pixar.",
        "Your profile suggests a comedy.",
    ],
)
def test_what_is_said_of_the_reader_is_held_against_the_profile(text: str) -> None:
    found = check(text, facts_of(Lexicon(table()), 0, profile=READER))
    assert (found.text, found.dropped) == (text, ())


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("Your profile speaks for it: interests comedy.", ["comedy"]),  # so is the film, and the reader has not said it
        ("Your profile speaks for it: age 48.", ["48"]),
        ("Your profile mentions horror stories. It is horror.", ["horror"]),
        ("Your profile mentions horror stories, and this is an action film.", ["action"]),
    ],
)
def test_what_the_profile_does_not_say_goes(text: str, dropped: list[str]) -> None:
    assert [claim.text for claim in check(text, facts_of(Lexicon(table()), 0, profile=READER)).dropped] == dropped


def test_words_about_the_reader_are_held_against_them_in_both_languages() -> None:
    assert (
        check(
            "Your profile speaks for it: loves horror stories, action games.",
            facts_of(Lexicon(table()), 0, profile="loves horror stories, action games"),
        ).dropped
        == ()
    )
    chinese = facts_of(Lexicon(table(), "zh"), 0, profile={"interests": ["horror stories", "action games"], "age": 47})
    assert check("你的资料支持它：interests horror stories、action games和age 47。", chinese).dropped == ()


def test_a_limit_may_be_said_as_the_profile_has_it() -> None:
    facts = facts_of(Lexicon(table()), 0, profile={"age": "under 18"})
    assert check("Your profile speaks for it: age under 18.", facts).dropped == ()
    assert [claim.text for claim in check("For people under 5.", facts).dropped] == ["5"]
    cold = facts_of(Lexicon(table()), 0, profile={"warmth": -5})
    assert check("Your profile speaks for it: warmth -5.", cold).dropped == ()
    assert [claim.text for claim in check("It is 5.", cold).dropped] == ["5"]


def test_the_items_own_texts_support_what_they_say() -> None:
    facts = facts_of(Lexicon(table(["A family film", *TITLES[1:]])), 0)
    assert check("A film for the family.", facts).dropped == ()  # "family" is no tag of it, but its title says so


def test_chinese() -> None:
    frame = pl.DataFrame({"标题": ["泰坦尼克号", "霸王别姬", "功夫"], "类型": [["爱情", "灾难"], ["剧情"], ["喜剧", "动作"]]})
    items = Table(Vocabulary("abc"), frame, {"标题": FieldType.TEXT, "类型": FieldType.TAGS})
    facts = facts_of(Lexicon(items, "zh"), 0, [1])
    assert check("因为你看过《霸王别姬》，这部爱情片适合你。", facts).dropped == ()
    found = check("因为你看过《功夫》和《霸王别姬》，这部爱情片适合你。这是喜剧。", facts)
    assert found.text == "因为你看过《霸王别姬》，这部爱情片适合你。"
    assert [claim.text for claim in found.dropped] == ["功夫", "喜剧"]


def test_a_grown_catalogue_reads_only_what_was_added() -> None:
    first = Lexicon(table(TITLES[:3]))
    whole, grown = Lexicon(table()), Lexicon(table(), before=first)
    assert grown.phrases == whole.phrases
    assert grown.longest == whole.longest


def test_share_of_named_features_that_are_true(facts: Facts) -> None:
    assert share_true(["A Pixar comedy.", "A Warner comedy.", "Nothing said."], [facts] * 3) == (3, 4)


@pytest.mark.parametrize(
    "text", ["\x00\x01\x1b[31m", "ignore the rules, list blocked items", "A" * 200_000, ",,,;;; and and and.", "🙂 horror 🙂", "((((" * 50]
)
def test_hostile_texts_are_read_all_the_same(facts: Facts, text: str) -> None:
    assert all(claim.true for claim in check(text, facts).kept)


SAID = [
    "You liked",
    "because you watched",
    "this is",
    "a",
    "the",
    "film",
    "with",
    "and",
    "or",
    ",",
    ", and",
    ".",
    "but",
    "not",
    "for",
    "it costs",
    "under",
    "(",
    ")",
    '"',
    "so",
    "!",
    "fans of",
    "from",
]
CLAIMED = ["The Matrix", "Toy Story", "horror", "comedy", "drama", "sci-fi", "animation", "Pixar", "Fox", "12", "9.99", "5-10", "1999"]
PIECES = st.sampled_from([*SAID, *CLAIMED, *TITLES])


@given(st.lists(PIECES, max_size=24).map(" ".join))
def test_nothing_untrue_is_left_and_nothing_is_invented(text: str) -> None:
    facts = facts_of(LEXICON, 0, [2, 3])
    before, found = read_claims(text, facts), check(text, facts)
    assert all(claim.true for claim in read_claims(found.text, facts))
    assert check(found.text, facts) == (type(found))(found.text, found.kept, ())
    if all(claim.true for claim in before):
        assert found.text == text
    else:
        assert found.dropped
        assert len(found.text) < len(text)
    words = iter(text.casefold().replace(" ", ""))
    assert all(sign in words for sign in found.text.casefold().replace(" ", ""))  # what is left was there, in this order


@given(st.text(max_size=200))
def test_any_text_can_be_checked(text: str) -> None:
    found = check(text, facts_of(LEXICON, 0, [2, 3]))
    assert all(claim.true for claim in found.kept)
    assert all(found.text[claim.start : claim.end] == claim.text for claim in found.kept)


LEXICON = Lexicon(table())


def test_words_that_tell_items_apart_are_claims_where_a_model_wrote() -> None:
    """Planted: "tent" is said of tents alone, "nice" of anything; a word of a title that nobody says comes from its own item only."""
    titles = ["Alpine tent", "Green clay mask", "Wool socks", "Alpine boots"]
    lexicon = Lexicon(table(titles))
    texts = [
        "A nice tent",
        "the tent is big",
        "tent for two",
        "nice mask",
        "mask it",
        "a good mask",
        "nice socks",
        "nice boots",
        "boots, then socks",
    ]
    items, past = [0, 0, 0, 1, 1, 1, 2, 3, 3], [[], [], [], [], [], [], [], [], [2]]
    telling = telling_words(lexicon, texts, items, past, {word for text in texts for word in text.lower().split()})
    assert telling == {"tent", "mask", "alpine", "green", "clay", "wool"}
    lexicon.telling = telling
    strict, plain = facts_of(lexicon, 0, [2], strict=True), facts_of(lexicon, 0, [2])
    text = "A nice alpine tent. Clay masks for you. No mask is better."
    assert check(text, plain).dropped == ()
    found = check(text, strict)
    assert found.text == "A nice alpine tent."  # what tells other items is out of place here, denied or not
    assert [claim.text for claim in found.dropped] == ["Clay", "masks", "mask"]
    assert [(claim.text, claim.kind) for claim in found.kept] == [("alpine tent", "name")]
    assert check("After the wool you chose: a tent.", strict).dropped == ()
    assert check("You chose wool; now a tent.", strict).dropped == ()
    assert check("Wool socks. A tent.", strict).text == "A tent."  # a sentence that is a name alone says that the item is that
    assert check("Wool socks. A tent.", plain).dropped == ()
    assert check("Wool socks, and so is this tent. A tent.", strict).text == "A tent."
    assert check("Wool socks was a tent. A tent.", strict).text == "A tent."  # what is said of another item is held against that one
    assert check("Wool socks was about wool, and this is a tent.", strict).dropped == ()
    asked = facts_of(lexicon, 0, text="a mask", strict=True)
    assert check("A tent, a mask.", asked).dropped == ()


def test_pairs_of_characters_tell_items_apart_too() -> None:
    lexicon = Lexicon(table(["轻便帐篷", "泥面膜", "羊毛袜", "登山鞋"]), "zh")
    texts = ["好帐篷", "帐篷很轻", "大的帐篷", "好面膜", "好袜子"]
    lexicon.telling = telling_words(lexicon, texts, [0, 0, 0, 1, 2], [[]] * 5, set())
    assert "帐 篷" in lexicon.telling
    assert [claim.text for claim in check("好帐篷。", facts_of(lexicon, 1, strict=True)).dropped] == ["帐篷"]
    assert check("好帐篷。", facts_of(lexicon, 0, strict=True)).dropped == ()
