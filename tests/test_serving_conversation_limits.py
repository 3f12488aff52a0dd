"""Limits of a conversation: those that exclude each other, an answer that settles them, and a limit that is moved by its number alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from m6rec import Recommender
from m6rec.serving.conversation.config import ConversationConfig
from m6rec.serving.conversation.conversation import Conversation
from m6rec.serving.conversation.limits import Limits, excluding, merged, tightest
from m6rec.text.constraints import Constraint, Typed

UNDER, OVER = Constraint("price", "<", 10.0), Constraint("price", ">", 50.0)
BORN = Constraint("year", ">=", 1990.0)
BOTH = {"en": "something under 10 and over 50", "zh": "10以下50以上的东西"}


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


@pytest.fixture
def talk(rec: Recommender) -> Conversation:
    return rec.conversation(config=ConversationConfig(questions=0))


def limits(talk: Conversation) -> list[str]:
    return [str(one) for one in talk.state.constraints]


def test_those_that_exclude_each_other_are_told_from_the_others() -> None:
    only, never = Constraint("brand", "in", ("Borea",)), Constraint("brand", "not in", ("Borea", "Alpina"))
    assert excluding((UNDER, BORN, OVER)) == (UNDER, OVER)
    assert excluding((only, BORN, never, UNDER)) == (only, never)
    assert excluding((UNDER, BORN, Constraint("price", ">", 5.0))) == ()


@pytest.mark.parametrize(
    ("held", "new", "left"),
    [
        ((UNDER, BORN), OVER, (BORN, OVER)),
        ((UNDER, BORN, OVER), OVER, (BORN, OVER)),
        ((UNDER,), Constraint("price", ">", 5.0), (UNDER, Constraint("price", ">", 5.0))),
        ((Constraint("brand", "in", ("Borea",)),), Constraint("brand", "not in", ("Borea",)), (Constraint("brand", "not in", ("Borea",)),)),
    ],
)
def test_what_is_said_last_counts(held: tuple[Constraint, ...], new: Constraint, left: tuple[Constraint, ...]) -> None:
    assert merged(held, Typed("", "", (new,), "")) == left


def test_of_bounds_of_one_side_the_tightest_is_said() -> None:
    assert tightest((UNDER, BORN, Constraint("price", "<=", 10.0), Constraint("price", "<", 12.0), OVER)) == (UNDER, BORN, OVER)


def test_a_comparison_stands_beside_what_was_typed_until_another_takes_its_place() -> None:
    cheaper, dearer, wish = Constraint("price", "<", 7.0), Constraint("price", ">", 3.0), Constraint("price", "<", 5.0)
    held = Limits((UNDER, BORN)).beside([cheaper])
    assert held.all == (UNDER, BORN, cheaper)
    assert held.beside([dearer]).all == (UNDER, BORN, dearer)
    assert held.turned([dearer]) == Limits((UNDER, BORN))
    assert held.turned([cheaper]) == held
    assert held.after(Typed("", "", (wish,), "")) == Limits((BORN, wish))
    assert held.beside([dearer]).after(Typed("", "", (wish,), "")) == Limits((BORN, wish), (dearer,))
    assert held.only([BORN, cheaper]) == Limits((BORN,), (cheaper,))


@pytest.mark.parametrize(
    ("limit", "turns"),
    [("under 60", ["cheaper", "more expensive", "more expensive"]), ("60以下的东西", ["便宜一点的", "贵一点的", "更贵的"])],
)
def test_a_limit_that_was_typed_holds_through_comparisons(talk: Conversation, limit: str, turns: list[str]) -> None:
    prices, ids = talk.talker.engine.items.frame["price"], talk.talker.engine.items.ids
    replies = [talk.say(limit), *(talk.say(turn) for turn in turns)]
    assert all(reply.items for reply in replies[:3])
    assert all(prices[ids.dense(one.item_id)] <= 60 for reply in replies for one in reply.items)
    assert limits(talk)[0].startswith("price <")
    assert limits(talk)[0].endswith(" 60")
    talk.say("make it 40")
    assert next(one for one in limits(talk) if "<" in one).endswith(" 40")
    talk.say("drop the price limit")
    assert limits(talk) == []


def test_what_can_not_be_joined_with_a_limit_is_said(talk: Conversation) -> None:
    items = talk.talker.engine.items
    dearest = items.ids.ids[int(items.frame["price"].arg_max() or 0)]
    talk.say("something under 20")
    assert "price under 20 and price over" in talk.say(f"more expensive than {dearest}").text
    assert limits(talk) == ["price < 20"]


def test_a_refusal_is_heard_where_nothing_is_cheaper(talk: Conversation) -> None:
    items = talk.talker.engine.items
    row = int(items.frame["price"].arg_min() or 0)
    reply = talk.say(f"not {items.ids.ids[row]}, too expensive")
    assert talk.refused == [items.ids.ids[row]]
    assert talk.talker.facts.title(row) in reply.text.partition("I find nothing else")[0]


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("over 50", ["price > 50"]),
        ("over 50 counts", ["price > 50"]),
        ("under 10 please", ["price < 10"]),
        ("the second", ["price > 50"]),
        ("the former", ["price < 10"]),
        ("not the second one", ["price < 10"]),
        ("make it 30", ["price > 30"]),
        ("drop both limits", []),
        ("ok then drop both", []),
        ("drop both of them", []),
        ("neither", []),
        ("either one", []),
        ("forget the limits", []),
    ],
)
def test_the_answer_settles_which_limit_counts(talk: Conversation, answer: str, left: list[str]) -> None:
    asked = talk.say(BOTH["en"])
    assert "Which of them counts?" in asked.text
    reply = talk.say(answer)
    assert "Which of them counts?" not in reply.text
    assert not reply.hand_over
    assert limits(talk) == left
    assert not talk.refused
    assert "Which of them counts?" not in talk.say("something else").text


@pytest.mark.parametrize(
    ("answer", "left"),
    [("50以上", ["price >= 50"]), ("第一个", ["price <= 10"]), ("后者", ["price >= 50"]), ("两个都取消", []), ("都不要了", [])],
)
def test_the_answer_settles_it_in_chinese(talk: Conversation, answer: str, left: list[str]) -> None:
    assert "以哪一个为准" in talk.say(BOTH["zh"]).text
    assert "以哪一个为准" not in talk.say(answer).text
    assert limits(talk) == left


def test_limits_on_other_fields_stay_when_those_that_exclude_each_other_go(talk: Conversation) -> None:
    brand = next(value for value in talk.talker.engine.items.frame["brand"] if value)
    asked = talk.say(f"not from {brand}. under 10 and over 50")
    assert brand not in asked.text
    talk.say("drop both")
    assert [one.field for one in talk.state.constraints] == ["brand"]


@pytest.mark.parametrize(
    ("turn", "left"),
    [
        ("make it 50", ["price < 50"]),
        ("make it under 50", ["price < 50"]),
        ("up to 100 then", ["price <= 100"]),
        ("raise it to 1,000 dollars", ["price < 1000"]),
        ("50 then", ["price < 50"]),
        ("改成50元", ["price < 50"]),
        ("5 more please", ["price < 40"]),
        ("give me 50", ["price < 40"]),
        ("2", ["price < 40"]),
    ],
)
def test_a_limit_is_moved_by_its_number(talk: Conversation, turn: str, left: list[str]) -> None:
    talk.say("something under 40")
    assert not talk.say(turn).hand_over
    assert limits(talk) == left


def test_a_number_is_no_limit_where_none_was_held(talk: Conversation) -> None:
    talk.say("something nice")
    talk.say("make it 50")
    assert limits(talk) == []


def test_a_moved_limit_keeps_the_wish(talk: Conversation) -> None:
    talk.say("something for hiking under 1")
    moved = talk.say("make it under 500").items
    items = talk.talker.engine.items
    assert moved
    assert "hiking" in str(items.frame.row(items.ids.dense(moved[0].item_id))).casefold()


@pytest.mark.parametrize("words", ["forget both limits", "drop both limits", "drop these limits", "forget all the limits"])
def test_limits_taken_back_refuse_nothing_that_was_shown(talk: Conversation, words: str) -> None:
    assert talk.say("something under 60").items
    assert limits(talk)
    talk.say(words)
    assert not limits(talk)
    assert not talk.refused


@pytest.mark.parametrize("words", ["no brand preference", "whatever brand", "not picky about the brand", "什么牌子都行", "牌子无所谓"])
def test_who_leaves_a_field_open_gets_any_value_of_it_and_the_rest_of_the_wish(talk: Conversation, words: str) -> None:
    items = talk.talker.engine.items
    brand = items.frame.filter(items.frame["category"] == "outdoors")["brand"].drop_nulls()[0]

    def brands() -> set[str]:
        return {items.frame["brand"][items.ids.dense(one.item_id)] for one in reply.items}

    reply = talk.say(f"something from {brand} for running, under 500")
    assert brands() == {brand}
    reply = talk.say(words)
    assert reply.intent == "anything"
    assert brands() - {brand}
    assert all(f"brand {brand}" not in talk.say(turn).text for turn in ("more", "why?"))  # nobody asks for it any longer
    assert limits(talk) == ["price < 500"]
    assert not talk.refused
    assert brand.casefold() not in f"{talk.state.wanted} {talk.state.spoken}".casefold()
    assert "running" in talk.state.wanted


def test_which_brand_is_asked_takes_nothing_back(talk: Conversation) -> None:
    brand = talk.talker.engine.items.frame["brand"].drop_nulls()[0]
    talk.say(f"something from {brand}")
    assert talk.say("什么牌子都行吗？").intent != "anything"
    assert talk.say("what brand is it?").intent == "ask_item"
    assert limits(talk) == [f"brand is {brand}"]


@pytest.mark.parametrize(("answer", "wanted"), [("the first", False), ("the second", True)])
def test_of_a_value_wanted_and_ruled_out_the_one_picked_counts(talk: Conversation, answer: str, wanted: bool) -> None:
    items = talk.talker.engine.items
    value = items.frame["brand"].drop_nulls()[0]
    assert "Which of them counts?" in talk.say(f"only {value} but no {value}").text
    reply = talk.say(answer)
    found = [items.ids.dense(one.item_id) for one in reply.items]
    assert found
    assert all((items.frame["brand"][row] == value) == wanted for row in found)


def test_a_comparison_in_the_other_direction_takes_the_place_of_the_one_before(talk: Conversation) -> None:
    prices = talk.talker.engine.items.frame["price"]
    talk.say("something under 1000")
    reply = talk.say("cheaper")
    while "nothing goes further" not in reply.text:
        lowest = min(prices[talk.talker.engine.items.ids.dense(one.item_id)] for one in reply.items)
        reply = talk.say("cheaper")
    turned = talk.say("more expensive")
    assert "nothing goes further" not in turned.text
    assert turned.items
    assert all(prices[talk.talker.engine.items.ids.dense(one.item_id)] > lowest for one in turned.items)
    assert limits(talk) == ["price < 1000", f"price > {lowest:g}"]


def test_what_was_shown_and_goes_further_is_named_where_nothing_else_is_left(talk: Conversation) -> None:
    rows = [int(row) for row in talk.talker.engine.items.frame["price"].arg_sort(nulls_last=True)[:6]]
    ids, bound = talk.talker.engine.items.ids.ids, talk.talker.engine.items.frame["price"][rows[5]]
    talk.say(f"something under {bound + 0.001:g}")
    for _ in range(3):
        talk.say("something else")
    talk.state.shown, talk.state.focus = (rows[0],), rows[0]
    talk.state.offered |= dict.fromkeys(rows)
    reply = talk.say("more expensive")
    assert "nothing goes further" not in reply.text
    assert reply.items
    assert {one.item_id for one in reply.items} <= {ids[row] for row in rows[1:]}


def test_an_older_limit_that_keeps_out_what_goes_further_is_said(talk: Conversation) -> None:
    prices = talk.talker.engine.items.frame["price"].drop_nulls().sort().to_list()
    talk.say(f"something under {prices[1]:.2f}")
    assert talk.state.shown
    assert f"price under {prices[1]:g} and price over" in talk.say("more expensive").text


@pytest.mark.parametrize(("saying", "answer"), [("en", "none of these"), ("en", "no, neither of them"), ("zh", "都不要")])
def test_none_of_the_values_offered_rules_them_out(talk: Conversation, saying: str, answer: str) -> None:
    items = talk.talker.engine.items
    offered = items.frame["brand"].drop_nulls().unique().sort().to_list()[:2]
    words = next(one for one in talk.talker.phrases if one.language == saying)
    talk.hear("something")
    talk.tell(words.say("ask_field", 0, values=words.several(offered, "last")))
    reply = talk.say(answer)
    assert reply.items
    assert not talk.refused
    assert not {items.frame["brand"][items.ids.dense(one.item_id)] for one in reply.items} & set(offered)


def test_none_of_all_that_there_is_goes_on_with_anything(talk: Conversation) -> None:
    brands = talk.talker.engine.items.frame["brand"].drop_nulls().unique().sort().to_list()
    talk.hear("something")
    talk.tell(f"Do you prefer {', '.join(brands)}?")
    assert talk.say("none of these").items
    assert limits(talk) == []


@pytest.mark.parametrize(
    "turn",
    [
        "not {id}, under 20",
        "not {id} under 20",
        "under 20 but not {id}",
        "not {title}, under 20",
        "not {title} and under 20",
        "not the second one, under 20",
        "I hate the second one. Under 20 please",
        "I already have {id}, and nothing over 20",
        "不要{id}，20以下",
        "不要{id}，要20以下的",
        "20以下，不要{title}",
        "{title}不要，预算20",
        "不要第二个，20块以内",
    ],
)
def test_a_refusal_and_a_limit_in_one_turn_both_count(talk: Conversation, turn: str) -> None:
    items = talk.talker.engine.items
    second = talk.say("something for hiking").items[1]
    reply = talk.say(turn.format(id=second.item_id, title=second.title))
    assert [items.ids.ids[row] for row in (*talk.state.refused, *talk.state.had)] == [second.item_id]
    assert [str(one).replace("=", "") for one in talk.state.constraints] == ["price < 20"]
    assert reply.items
    assert all(items.frame["price"][items.ids.dense(one.item_id)] <= 20 for one in reply.items)


@pytest.mark.parametrize("turn", ["no, under 20", "none of these, under 20", "none of these under 20", "都不要，20以下"])
def test_a_limit_beside_a_refused_list_counts(talk: Conversation, turn: str) -> None:
    shown = [one.item_id for one in talk.say("something for hiking").items]
    talk.say(turn)
    assert sorted(talk.refused) == sorted(shown)
    assert [str(one).replace("=", "") for one in talk.state.constraints] == ["price < 20"]


@pytest.mark.parametrize(
    "turn",
    ["not the second one, it is over 5", "not the second one, costs over 5", "not the second one, is over 5", "第二个不要，卖5块以上"],
)
def test_what_a_refused_item_costs_is_no_limit(talk: Conversation, turn: str) -> None:
    second = talk.say("something for hiking").items[1].item_id
    talk.say(turn)
    assert talk.refused == [second]
    assert limits(talk) == []


def test_a_wish_is_kept_through_turns_that_only_compare_and_limit(talk: Conversation) -> None:
    talk.say("something for hiking")
    for turn in ("cheaper", "even cheaper", "under 90", "much cheaper", "more expensive", "over 1", "cheaper please"):
        talk.say(turn)
    assert "hiking" in talk.state.wanted
    assert "cheaper" not in talk.state.wanted


def test_too_cheap_asks_for_something_dearer(talk: Conversation) -> None:
    first = talk.say("something for hiking under 1000").items[0].item_id
    items = talk.talker.engine.items
    talk.say("not the first one, too cheap")
    assert talk.refused == [first]
    assert limits(talk)[-1] == f"price > {items.frame['price'][items.ids.dense(first)]:g}"


@pytest.mark.parametrize("turn", ["I like the second but cheaper", "however, cheaper", "but not the first one", "可是要便宜一点的"])
def test_words_that_only_join_clauses_are_no_wish(talk: Conversation, turn: str) -> None:
    talk.say("something for hiking")
    talk.say(turn)
    assert talk.talker.policy.offers.fit(talk.state).known == ["hiking"]
    assert not talk.talker.policy.offers.fit(talk.state).unknown
