"""Labels reach what is like the labelled, are what they were where nothing is near, and are refused for numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m6rec.base.errors import UsageError
from m6rec.tasks.judge_labels import LabelSize
from m6rec.tasks.label_spreading import ALPHA, spread_labels
from m6rec.tasks.text_unlabelled import Spread


def around(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows around as many centres as there are sizes, and the centre of each."""
    generator = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.eye(len(sizes), 8)[group] + 0.1 * generator.standard_normal((len(group), 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), group


def test_one_label_a_group_reaches_all_of_it() -> None:
    vectors, group = around([30, 50, 20])
    labels = np.full((100, 3), np.nan)
    for row in (3, 40, 90):
        labels[row] = np.eye(3)[group[row]]
    found = spread_labels(vectors, labels)
    np.testing.assert_array_equal(found.argmax(axis=1), group)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_two_texts_by_hand() -> None:
    """S is the swap: F = (1 - alpha) sum of alpha^n S^n Y, so the unlabelled one gets its neighbour's label and nothing else."""
    vectors = np.array([[1, 0], [0.8, 0.6]], dtype=np.float32)
    found = spread_labels(vectors, np.array([[1.0, 0.0], [np.nan, np.nan]]))
    np.testing.assert_allclose(found, [[1, 0], [1, 0]], atol=1e-6)
    contested = spread_labels(vectors, np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(contested[0], [1 / (1 + ALPHA), ALPHA / (1 + ALPHA)], atol=1e-3)


def test_what_nothing_is_near_to_is_left_alone() -> None:
    vectors = np.concatenate([around([10])[0], np.zeros((1, 8), np.float32)])
    labels = np.full((11, 2), np.nan)
    labels[0] = [0, 1]
    np.testing.assert_array_equal(spread_labels(vectors, labels)[-1], 0)


def test_the_order_of_texts_does_not_matter() -> None:
    vectors, group = around([12, 9], 3)
    labels = np.full((21, 2), np.nan)
    labels[[0, 1, 15]] = np.eye(2)[group[[0, 1, 15]]]
    order = np.random.default_rng(1).permutation(21)
    np.testing.assert_allclose(spread_labels(vectors[order], labels[order]), spread_labels(vectors, labels)[order], atol=1e-5)


@pytest.mark.parametrize("kind", ["binary", "classes", "tags"])
def test_surer_texts_count_more_and_held_out_ones_nothing(kind: str) -> None:
    vectors, group = around([20, 20])
    size = LabelSize(kind, [] if kind == "binary" else ["a", "b"])  # type: ignore[arg-type]
    labels = np.full((40, 2) if kind == "tags" else 40, np.nan, dtype=np.float32)
    for row in (0, 25):
        labels[row] = np.eye(2)[group[row]] if kind == "tags" else group[row]
    training = np.arange(40) != 30
    spread = Spread(vectors, training, labels, size)
    wrong, right = (torch.tensor(8.0 * (np.eye(2)[1 - group if flip else group] * 2 - 1), dtype=torch.float32) for flip in (True, False))
    if kind == "binary":
        wrong, right = wrong[:, 1:], right[:, 1:]
    rows = torch.arange(40)
    assert spread.loss(right[None], rows) < 0.1 < spread.loss(wrong[None], rows)
    assert spread.loss(wrong[None, 30:31], torch.tensor([30])) == 0


def test_numbers_are_refused() -> None:
    vectors, _ = around([4])
    with pytest.raises(UsageError, match="unlabelled is spread for a number; labels are spread of yes or no, classes and tags"):
        Spread(vectors, np.ones(4, bool), np.array([1.0, 2.0, np.nan, np.nan], np.float32), LabelSize("number"))
