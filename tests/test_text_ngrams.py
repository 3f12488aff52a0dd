"""N-grams: what is counted, how it is weighted, and that nothing depends on what else is in the batch."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.text.ngrams import NGrams

TEXTS = ["card arrived", "card lost", "my card", "很好 card", "很好的手机", ""]


def test_counts_and_weights_by_hand() -> None:
    ngrams = NGrams.fit(["aa b", "aa c", "d"], characters=(1, 1), words=0, min_count=1)
    assert ngrams.size == 4
    row = ngrams.matrix(["aa b"]).toarray()[0]
    a, b = (1 + math.log(2)) * math.log1p(3 / 2), math.log1p(3 / 1)
    expected = np.array(sorted([a, b])) / math.hypot(a, b)
    np.testing.assert_allclose(np.sort(row[row > 0]), expected, rtol=1e-6)


def test_borders_of_words_count_and_blanks_inside_do_not() -> None:
    ngrams = NGrams.fit(["ab cd"], characters=(3, 3), words=0, min_count=1)
    assert ngrams.size == 4  # " ab", "ab ", " cd", "cd "; never "b c"
    assert NGrams.fit(["a b c"], characters=(1, 1), words=2, min_count=1).size == 3 + 3 + 2
    assert NGrams.fit(["很好的"], characters=(1, 2), words=2, min_count=1).size == 3 + 2  # no words in a script without spaces


def test_rare_ones_are_left_out_and_the_most_frequent_stay() -> None:
    assert NGrams.fit(TEXTS, characters=(4, 4), words=1, min_count=3).size == 3 + 0 + 1  # " car", "card", "ard " and the word
    assert NGrams.fit(TEXTS, max_features=5).size == 5


def test_each_family_has_length_one_and_case_and_width_fold() -> None:
    ngrams = NGrams.fit(TEXTS, min_count=1)
    matrix = ngrams.matrix(TEXTS)
    squares = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
    np.testing.assert_allclose(squares, [2, 2, 2, 2, 1, 0], atol=1e-5)
    np.testing.assert_array_equal(ngrams.matrix(["ＣＡＲＤ  Lost"]).toarray(), ngrams.matrix(["card lost"]).toarray())


def test_kept_and_restored_they_are_the_same() -> None:
    ngrams = NGrams.fit(TEXTS, characters=(1, 3), words=1)
    again = NGrams.restored(ngrams.tensors(), ngrams.settings())
    np.testing.assert_array_equal(again.matrix(TEXTS).toarray(), ngrams.matrix(TEXTS).toarray())


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_a_row_is_its_texts_alone(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    ngrams = NGrams.fit([*TEXTS, *texts], min_count=1)
    together = ngrams.matrix(texts).toarray()
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_allclose(row, ngrams.matrix([text]).toarray()[0], atol=1e-6)
