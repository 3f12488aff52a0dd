"""The draft that says what most drafts say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.tasks.drafts import by_agreement, least_words


def test_the_draft_that_shares_most_with_the_others_goes_first() -> None:
    drafts = ["a red lamp for the desk", "the boots are dry and warm", "the boots are warm", "these boots are dry and warm too"]
    order = by_agreement(drafts)
    assert order[0] == 1
    assert order[-1] == 0


def test_a_draft_that_leaves_out_what_the_others_say_loses_to_one_that_says_it() -> None:
    # By hand: of "warm boots" against "dry warm boots" (words and pairs) 3 are shared of 3 and of 5; recall counts nine times as much as precision.
    assert by_agreement(["warm boots", "dry warm boots", "dry warm boots"])[0] == 1


@pytest.mark.parametrize(("texts", "order"), [([], []), (["only"], [0]), (["", "", ""], [0, 1, 2]), (["好的鞋子", "帽子", "好的鞋"], None)])
def test_few_and_empty_drafts(texts: list[str], order: list[int] | None) -> None:
    assert by_agreement(texts) == order if order is not None else by_agreement(texts)[-1] == 1


@given(st.lists(st.text("ab c", max_size=8), max_size=6))
def test_every_draft_is_placed_once_and_doubling_one_never_lowers_it(texts: list[str]) -> None:
    order = by_agreement(texts)
    assert sorted(order) == list(range(len(texts)))
    if texts:
        last = texts[order[-1]]
        assert by_agreement([*texts, *[last] * len(texts)]).index(order[-1]) <= len(texts)


def test_the_least_length_follows_what_is_usual() -> None:
    assert [least_words(usual) for usual in (0.0, 1.0, 12.5, 37.0)] == [1, 1, 7, 22]
