"""The texts benchmark: the pool of the parts on few labels, chance, and what is said of few labels."""

from __future__ import annotations

import numpy as np
import pytest

import texts
from m6rec.tasks.text_documents import TEST, TRAINING, VALIDATION, TextExamples


def examples_of(parts: list[int], labels: list[float]) -> TextExamples:
    return TextExamples([f"text {number}" for number in range(len(parts))], {"t": np.array(labels, np.float32)}, np.array(parts, np.int8))


def test_the_pool_leaves_the_test_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "POOL_VALIDATION", 5)
    whole = examples_of([TRAINING] * 40 + [VALIDATION] * 20 + [TEST] * 10, [0.0, 1.0] * 34 + [float("nan"), 1.0])
    pool = texts.pool_of(whole, "t", 0, 12)
    assert [int((pool.parts == part).sum()) for part in (TRAINING, VALIDATION, TEST)] == [12, 5, 9]  # the unlabelled one left out
    labels = dict(zip(whole.documents, whole.labels["t"], strict=True))
    assert all(labels[text] == label for text, label in zip(pool.documents, pool.labels["t"], strict=True))


def test_chance_is_the_label_that_most_training_texts_have() -> None:
    found = texts.chance(examples_of([TRAINING] * 3 + [VALIDATION] * 2 + [TEST] * 4, [1, 1, 0, 1, 0, 0, 0, 0, 1]), "t")
    assert found == {"validation": 0.5, "test": 0.25}


def test_what_few_labels_keep() -> None:
    """The way is chosen on validation; a share of the gain over chance: (.8 - .5) / (.9 - .5)."""
    figures = {
        "t | chance | 0": {"validation": 0.5, "test": 0.5},
        "t | all labels | 0": {"validation": 0.9, "test": 0.9},
        "t | 10% labels, ignore | 0": {"validation": 0.6, "test": 0.99},
        "t | 10% labels, pseudo | 0": {"validation": 0.7, "test": 0.8},
        "t | 10% labels chosen, spread | 0": {"validation": 0.7, "test": 0.86},
        "t | random at 5% | 0": {"validation": 0.5, "test": 0.60},
        "t | active at 5% | 0": {"validation": 0.5, "test": 0.62},
    }
    assert texts.shares(figures, "test") == [
        "t: 10% labels, pseudo keep 75.0% of what all labels gain over chance.",
        "t: 10% labels chosen, spread keep 90.0% of what all labels gain over chance.",
        "t: active against random labelling, points of accuracy: +2.0 at 5%.",
    ]
    assert texts.shares({"t | chance | 0": {"validation": 0.5, "test": 0.5}}, "test") == []
