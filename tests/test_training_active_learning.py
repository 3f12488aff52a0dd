"""Which rows to label next: the undecided, the unlike, never the same twice; reasons say so."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.base.errors import UsageError
from m6rec.tasks.label_spreading import text_vectors
from m6rec.text.ngrams import NGrams
from m6rec.training.active_learning import suggest


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def groups(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around as many centres as there are sizes, and the centre of each."""
    generator = np.random.default_rng(seed)
    centres = np.eye(len(sizes), 12)
    group = np.repeat(np.arange(len(sizes)), sizes)
    return unit(centres[group] + 0.05 * generator.standard_normal((len(group), 12))), group


def test_without_a_model_every_group_is_visited_before_any_twice() -> None:
    vectors, group = groups([50, 30, 20, 40, 25])
    rows = [one.row for one in suggest(vectors, None, [], vectors[:0], 5, labels_per_class=0)]
    assert sorted(group[rows]) == [0, 1, 2, 3, 4]


def test_a_group_with_labels_waits() -> None:
    vectors, group = groups([50, 50])
    chosen = suggest(vectors, None, [], vectors[group == 0][:3], 1, labels_per_class=1)
    assert group[chosen[0].row] == 1
    assert "unlike anything labelled" in chosen[0].reason


def test_the_undecided_come_first_and_the_reason_names_both_classes() -> None:
    vectors, _ = groups([20])
    probabilities = np.full((20, 3), [0.9, 0.05, 0.05])
    probabilities[7] = [0.45, 0.41, 0.14]
    chosen = suggest(vectors, probabilities, ["card_arrival", "card_delivery", "fee"], vectors[:1], 2, labels_per_class=30)
    assert chosen[0].row == 7
    assert chosen[0].guess == "card_arrival"
    assert chosen[0].reason.startswith("between card_arrival (0.45) and card_delivery (0.41)")
    assert chosen[0].worth == 1.0 > chosen[1].worth


def test_yes_or_no_and_tags_are_understood() -> None:
    vectors, _ = groups([10])
    yes = np.array([[0.51], *[[0.97]] * 9])
    first = suggest(vectors, yes, ["yes"], vectors[-1:], 1, labels_per_class=30)[0]
    assert (first.row, first.guess) == (0, "yes")
    assert first.reason.startswith("undecided (0.51)")
    tags = np.tile([0.9, 0.8], (10, 1))
    tags[3] = [0.9, 0.48]
    assert suggest(vectors, tags, ["red", "blue"], vectors[:1], 1, labels_per_class=30)[0].reason.startswith("undecided about blue (0.48)")


def test_few_labels_trust_the_model_little() -> None:
    vectors, group = groups([5, 60])
    probabilities = np.where((group == 0)[:, None], [0.5, 0.5], [0.9, 0.1])
    early = suggest(vectors, probabilities, ["a", "b"], vectors[:0], 1, labels_per_class=0.1)
    late = suggest(vectors, probabilities, ["a", "b"], vectors[:0], 1, labels_per_class=50)
    assert group[early[0].row] == 1
    assert group[late[0].row] == 0


def test_doubt_draws_but_does_not_crowd() -> None:
    """The group that is in doubt gives most rows; the one that is sure is not forgotten, and equal rows are not taken for different ones."""
    vectors, group = groups([40, 40, 40])
    vectors[group == 2] = vectors[group == 2][0]
    lead = np.array([0.1, 0.5, 0.5])[group]
    probabilities = np.stack([(1 + lead) / 2, (1 - lead) / 2], axis=1)
    chosen = suggest(vectors, probabilities, ["a", "b"], vectors[:0], 12, labels_per_class=50)
    drawn = np.bincount(group[[one.row for one in chosen]], minlength=3)
    assert drawn[0] > drawn[1] >= 1
    assert drawn[2] == 1
    assert [one.worth for one in chosen] == sorted((one.worth for one in chosen), reverse=True)


def test_rows_are_chosen_once_and_a_seed_decides() -> None:
    vectors, _ = groups([4, 3])
    chosen = suggest(vectors, None, [], vectors[:0], 50, labels_per_class=0, seed=3)
    assert sorted(one.row for one in chosen) == list(range(7))
    assert chosen == suggest(vectors, None, [], vectors[:0], 50, labels_per_class=0, seed=3)
    with pytest.raises(UsageError, match="count is 0; ask for at least 1 row"):
        suggest(vectors, None, [], vectors[:0], 0, labels_per_class=0)


def test_like_texts_have_like_vectors() -> None:
    texts = [f"my {thing} {number} arrived" for thing in ("card", "refund") for number in range(30)] + [""]
    ngrams = NGrams.fit(texts)
    vectors = text_vectors(ngrams.matrix(texts), dimensions=8)
    cosines = vectors @ vectors.T
    assert cosines[:30, :30].mean() > cosines[:30, 30:60].mean() + 0.2
    np.testing.assert_array_equal(vectors[-1], 0)
