"""Random conversations: what was refused, by a place or by a name, never returns and is no reason; a reason is only what is true of the person."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from m6rec import Recommender
from m6rec.explanation.evidence import Evidence
from m6rec.serving.conversation.questions import ItemFacts
from m6rec.serving.conversation.reasons import Told, _said
from m6rec.serving.conversation.state import State
from m6rec.serving.conversation.understanding import Turn
from m6rec.text.phrases import built_in_phrases

QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # a failing conversation is short as it is
SAYINGS = ("I need something for hiking", "show me more", "more", "under 60", "surprise me", "I liked {0}", "tell me more about {0}", "hello", "{0}",
           "what about {0}?", "I've changed my mind, {0}", "I have seen {0}", "why this one?", "why these?",
           "有没有便宜一点的", "再来几个", "{0} is not bad")  # fmt: skip
NAMED_REFUSALS = ("I hate {0}", "{0} sucks", "neither {0} nor {1}", "stop recommending {0}", "{0}? No way", "{0}: thumbs down", "I'd never buy {0}",
                  "I'm tired of {0} and {1}", "I don't really like {0}", "please ban {0}", "{0}不好", "别再推荐{0}", "不要{0}和{1}")  # fmt: skip
PLACED_REFUSALS = {"no": (1, 2, 3), "none of these": (1, 2, 3), "not the second one": (2,), "not the first and not the third": (1, 3),
                   "not the first two": (1, 2),
                   "I like the first but not the second and third": (2, 3), "numbers 1 and 3 are bad": (1, 3), "不要第一个和第三个": (1, 3),
                   "我喜欢第二个，第一个和第三个都不好": (1, 3)}  # fmt: skip
REASONS = re.compile(r"because (?:of|you liked|you know) “(.+?)”|因为(?:您喜欢|您已经有)?《(.+?)》")


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


TURNS = st.tuples(st.sampled_from([*SAYINGS, *NAMED_REFUSALS, *PLACED_REFUSALS, *PLACED_REFUSALS]), st.integers(0, 39), st.integers(0, 39))


@settings(max_examples=12, deadline=None, phases=QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TURNS, min_size=2, max_size=6), st.sampled_from([None, 0, 3]))
def test_a_refused_item_never_returns_and_stateless_is_stateful(
    rec: Recommender, turns: list[tuple[str, int, int]], user: int | None
) -> None:
    titles, ids = rec.engine.items.titles(), rec.engine.items.ids.ids
    name = None if user is None else rec.engine.users.ids.ids[user]
    events = set() if user is None else {titles[item] for item in rec.engine.histories.row(user).items.tolist()}
    talk = rec.conversation(user=name)
    messages: list[dict[str, Any]] = []
    shown: list[str] = []
    refused: set[str] = set()
    for saying, one, other in turns:
        text = saying.format(titles[one], titles[other])
        if saying in NAMED_REFUSALS:
            refused |= {ids[item] for item, mark in ((one, "{0}"), (other, "{1}")) if mark in saying}
        refused |= {shown[place - 1] for place in PLACED_REFUSALS.get(saying, ()) if place <= len(shown)}
        messages.append({"role": "user", "content": text})
        reply = talk.say(text)
        again = rec.chat(messages, user=name)
        assert (again.text, [item.item_id for item in again.items]) == (reply.text, [item.item_id for item in reply.items])
        assert refused <= set(talk.refused)
        assert not {item.item_id for item in reply.items} & set(talk.refused)
        theirs = events | {titles[row] for row in (*talk.state.liked, *talk.state.had)}
        cited = {first or second for first, second in REASONS.findall(reply.text)}
        assert cited <= theirs - {titles[row] for row in talk.state.refused}
        shown = [item.item_id for item in reply.items] or shown
        # As other programs keep it: without the ids. The reasons for somebody known name what they had, which is told from offers by ids alone.
        messages.append({"role": "assistant", "content": reply.text} if user is None else reply.message())


def test_what_moved_a_score_is_only_said_where_it_is_true_of_the_person(rec: Recommender) -> None:
    facts, phrases = ItemFacts(rec.engine.items, rec.engine.items.titles()), built_in_phrases("en")
    ids, titles = rec.engine.items.ids.ids, rec.engine.items.titles()
    word = max((part for part in titles[0].split() if part.isalpha()), key=len)
    lifting = [
        *(Evidence("event", ids[row], titles[row], 1.0, 0.3) for row in (0, 1, 2, 3)),
        Evidence("typed", word, word, 1.0, 0.3),
        Evidence("prior", "next", "next", 0.5, 0.5),
    ]

    def said_of(told: Told) -> list[str]:
        return _said(rec.engine, facts, 0, lifting, told, phrases)

    assert said_of(Told([], (), {}, ())) == []  # 1, 2 and 3 were merely shown; nobody's taste is known; the word was not wished for
    assert said_of(Told([], (), {1: None}, (2,))) == [f"because you liked “{titles[1]}”", f"because of “{titles[2]}”"]
    assert said_of(Told([], (), {}, (2,), (2,))) == [f"because you know “{titles[2]}” already"]  # they said so, and praised nothing
    assert said_of(Told([], (), {0: None}, ())) == ["people with a taste like yours chose it"]  # no item is a reason for itself
    assert said_of(Told([], (word.casefold(),), {}, ())) == [f"it fits ‘{word}’"]


def test_offers_that_another_wish_leaves_behind_are_no_history() -> None:
    def turn(intent: Any, wish: str = "", **facts: Any) -> Turn:
        return Turn(intent, "words", "en", wish=wish, **facts)

    state = State()
    state.tell([4, 5], False)
    state.hear(turn("more"), None)
    assert not state.passed
    state.hear(turn("like", liked=(5,)), None)
    state.hear(turn("refine", "boots"), None)
    assert list(state.passed) == [4]
    state.hear(turn("ask_item", items=(4,)), None)  # taken up again
    assert not state.passed


def test_a_question_why_is_answered_of_what_was_recommended(rec: Recommender) -> None:
    title = rec.engine.items.titles()[7]
    talk = rec.conversation()
    talk.say(f"how much is {title}?")
    told = talk.say("why this one?")
    assert told.intent == "why"
    assert "I named" not in told.text  # nobody recommended it
    assert not np.any([title in cited for cited in REASONS.findall(told.text)])
