"""The counts of words: what tells items apart outweighs what everybody says, how often a word stands counts, more items are known at once."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.text.lexical import ANSWERED, Lexical


def catalogue(titles: list[str]) -> Table:
    return Table(Vocabulary([f"i{place}" for place in range(len(titles))]), pl.DataFrame({"title": titles}), {"title": FieldType.TEXT})


def reviewed() -> Lexical:
    """Four items; of each, texts with its own word, twice as many with a word of everybody's."""
    names = ("capo", "strap", "tuner", "reed")
    texts = [f"great {name} love it" for name in names for _ in range(3)] + ["great great great"] * 8
    about = np.array([place for place in range(4) for _ in range(3)] + [0] * 8)
    return Lexical.fit(catalogue([""] * 4), texts, about)


def test_the_word_that_tells_is_heard() -> None:
    counts = reviewed()
    scores = counts.scores(["a great strap", "great great reed", "nothing of this"])
    assert scores[0].argmax() == 1
    assert scores[1].argmax() == 3, "item 0 says great far more often than anybody"
    assert scores.max(axis=1).tolist() == [1.0, 1.0, 0.0]
    weight = dict(zip(counts.columns, counts.weights.tolist(), strict=True))
    assert weight["strap"] > 2 * weight["great"] > 0
    assert weight["love it"] == 0, "pairs are counted by BM25 alone"


def test_how_often_a_word_stands_counts() -> None:
    counts = Lexical.fit(catalogue(["oak table", "oak table oak shelf oak", "pine shelf and table", "pine bed"]))
    scores = counts.scores(["oak"])[0]
    assert scores[1] == 1 > scores[0] > scores[2] == scores[3] == 0


def test_a_batch_is_its_rows_and_order_changes_nothing() -> None:
    counts = reviewed()
    texts = ["a tuner and a reed", "strap", "great"]
    np.testing.assert_allclose(counts.scores(texts), np.concatenate([counts.scores([text]) for text in texts]), atol=1e-6)
    assert counts.scores([]).shape == (0, 4)


def test_more_items_are_known_by_what_they_say() -> None:
    counts = Lexical.fit(catalogue(["red lamp", "red chair", "blue chair", "blue lamp"]))
    counts.extend(catalogue(["lamp lamp blue"]))
    assert counts.scores(["blue lamp"]).shape == (1, 5)
    assert counts.scores(["a lamp"])[0].argmax() == 4
    whole = Lexical.fit(catalogue(["red lamp", "red chair", "blue chair", "blue lamp"]))
    np.testing.assert_allclose(counts.alike.toarray()[:4], whole.alike.toarray())


def test_a_catalogue_without_words_answers_nothing() -> None:
    counts = Lexical.fit(catalogue(["", ""]))
    assert counts.scores(["anything at all"]).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("size", [ANSWERED + 50])
def test_no_more_items_are_answered_than_are_read(size: int) -> None:
    counts = Lexical.fit(catalogue([f"lamp {'lamp ' * (place % 7)}number {place}" for place in range(size)]))
    assert (counts.scores(["lamp"]) > 0).sum() >= ANSWERED
    assert (counts.scores(["lamp number 7"]) > 0).sum() <= size
