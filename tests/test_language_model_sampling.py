"""Texts drawn under no rule: against the model's own probabilities, alone and in a batch, and how they end."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from babbler import LETTERS, Babbler
from m6rec.language_model.sampling import sample
from m6rec.language_model.spelling import Spelling

SMALL = Spelling([b"", b"a", b"b", b"c"], 0)


def test_texts_come_as_often_as_the_model_says_them() -> None:
    speaker, draws, row = Babbler(len(SMALL), seed=4), 20_000, 1
    expected: dict[str, float] = {}
    for first in range(len(SMALL)):
        begun = float(torch.softmax(speaker.after((row,)).double(), 0)[first])
        if first == SMALL.end:
            expected[""] = begun
            continue
        for second in range(len(SMALL)):
            expected[SMALL.text([first, second])] = begun * float(torch.softmax(speaker.after((row, first)).double(), 0)[second])
    found = Counter(sample(speaker, 2, draws, spelling=SMALL, most=2, seed=0)[row])
    assert sum(expected.values()) == pytest.approx(1)
    for text, share in expected.items():
        assert found[text] / draws == pytest.approx(share, abs=5 * (share / draws) ** 0.5), text


def test_a_row_is_drawn_alone_as_in_a_batch_and_as_its_seed_says() -> None:
    speaker = Babbler(len(LETTERS), seed=2)
    together = sample(speaker, 3, 8, spelling=LETTERS, most=12, seed=5)
    assert [len(texts) for texts in together] == [8, 8, 8]
    assert sample(speaker, 1, 8, spelling=LETTERS, most=12, seed=5)[0] == together[0]
    assert sample(speaker, 1, 3, spelling=LETTERS, most=12, seed=5)[0] == together[0][:3]
    assert sample(speaker, 1, 8, spelling=LETTERS, most=12, seed=6)[0] != together[0]


@pytest.mark.parametrize("most", [1, 3])
def test_a_text_is_over_at_its_end_or_at_the_most_tokens(most: int) -> None:
    def never(logits: object) -> None:
        logits[SMALL.end] = -50.0  # type: ignore[index]

    endless = sample(Babbler(len(SMALL), change=never), 2, 5, spelling=SMALL, most=most, seed=0)
    assert {len(text) for texts in endless for text in texts} == {most}

    def at_once(logits: object) -> None:
        logits[SMALL.end] = 50.0  # type: ignore[index]

    assert sample(Babbler(len(SMALL), change=at_once), 1, 4, spelling=SMALL, most=most, seed=0) == [[""] * 4]
