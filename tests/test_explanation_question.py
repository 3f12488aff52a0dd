"""What of a question can be taken away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from m6rec.base.contracts import Histories, Requests
from m6rec.explanation.question import TYPED, WORD, Question, parts_of


def typed_parts(text: str) -> list[tuple[str, str, str | None]]:
    """(kind, what, the text that is left) of what was typed."""
    whole = Requests(histories=Histories(offsets=np.zeros(2, np.int64), items=np.zeros(0, np.int64)))
    left: dict[int, str | None] = {}

    def asked(text: str | None, profile: Any) -> Requests:
        one = Requests(histories=whole.histories)
        left[id(one)] = text
        kept.append(one)
        return one

    kept: list[Requests] = []
    parts = parts_of(Question(whole, text, None, asked), [], [])
    return [(part.kind, part.what, left[id(part.without)]) for part in parts]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("something for a child who likes drawing, under 30", ["child", "drawing"]),
        ("Boots, not shoes (warm boots!)", ["Boots", "shoes", "warm"]),
        ("who are you", ["who", "are", "you"]),  # nothing else was typed
        ("我 想要 靴子", ["靴子"]),
    ],
)
def test_words_of_talking_signs_and_limits_are_no_evidence(text: str, words: list[str]) -> None:
    parts = typed_parts(text)
    assert parts[0] == (TYPED, text, None)
    assert [what for kind, what, _ in parts[1:] if kind == WORD] == words
    for _, what, left in parts[1:]:
        assert what.casefold() not in (left or "").casefold().split()


def test_a_word_goes_with_its_signs_wherever_it_stands() -> None:
    assert [left for _, what, left in typed_parts("boots, warm boots and more boots!") if what == "boots"] == ["warm and more"]


def test_one_word_is_all_that_was_typed() -> None:
    assert typed_parts("boots") == [(WORD, "boots", None)]
