"""The draft that comes closest to what could be said."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.tasks.drafts import BETA, by_agreement, least_words
from m6rec.text.words import units

SAID = ["the boots are dry and warm", "the boots are warm", "these boots are dry and warm too"]
TEXTS = st.lists(st.text("ab c", max_size=8), max_size=6)


def test_the_draft_that_shares_most_with_what_could_be_said_goes_first() -> None:
    assert by_agreement(["a red lamp for the desk", "boots are warm", "the boots are dry and warm"], SAID) == [2, 1, 0]


def test_a_draft_that_leaves_out_what_is_said_loses_to_one_that_says_it() -> None:
    # By hand, of words and pairs, 10 both / (draft + 9 text): 10 x 2/29 + 10 x 1/19 = 1.216 against 10 x 3/34 + 10 x 2/24 = 1.716. With recall as
    # heavy as precision, 2 both / (draft + text), the first would lead: 2 x 2/5 + 2 x 1/3 = 1.467 against 2 x 3/10 + 2 x 2/8 = 1.1.
    assert by_agreement(["warm boots", "dry warm boots at no charge today"], ["dry warm boots"]) == [1, 0]
    # Twice the length, all of what is said in it: the surplus counts against it all the same.
    assert by_agreement(["dry warm boots and a lamp on the desk by night", "dry warm boots"], ["dry warm boots"]) == [1, 0]


@given(TEXTS, TEXTS)
def test_the_order_is_that_of_the_formula(drafts: list[str], said: list[str]) -> None:
    def measure(one: str, other: str) -> float:
        total = 0.0
        for grams in (set, lambda words: set(pairwise(words))):
            ours, theirs = grams(units(one)), grams(units(other))
            both = len(ours & theirs)
            if both:
                precision, recall = both / len(ours), both / len(theirs)
                total += (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
        return total

    gains = [sum(measure(one, other) for other in said) for one in drafts]
    order = by_agreement(drafts, said)
    assert sorted(order) == list(range(len(drafts)))
    for first, second in pairwise(order):
        assert gains[first] >= gains[second] - 1e-4
        if drafts[first] == drafts[second]:
            assert first < second


@pytest.mark.parametrize(("texts", "order"), [([], []), (["only"], [0]), (["", "", ""], [0, 1, 2]), (["帽子", "好的鞋子"], [1, 0])])
def test_few_and_empty_drafts(texts: list[str], order: list[int]) -> None:
    assert by_agreement(texts, ["好的鞋", ""]) == order
    assert by_agreement(texts, []) == list(range(len(texts)))


def test_the_least_length_follows_what_is_usual() -> None:
    assert [least_words(usual) for usual in (0.0, 1.0, 12.5, 37.0)] == [1, 1, 7, 22]
