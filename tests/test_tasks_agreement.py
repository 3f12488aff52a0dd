"""What items gain when counts and model agree: the formula by hand, and a search that finds a planted truth and never makes things worse."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from m6rec.tasks.agreement import Agreement, choose_agreement, typed_gain


def test_the_gain_by_hand() -> None:
    agreement = Agreement(weight=0.5, floor=0.1, shares={"forward": 1.0, "text": 3.0})
    counted = {"forward": np.array([[0.0, 0.2]]), "text": np.array([[0.1, 0.0]]), "unknown": np.array([[9.0, 9.0]])}
    np.testing.assert_allclose(agreement.gain(counted), [[0.5 * np.log1p(3.0), 0.5 * np.log1p(2.0)]], rtol=1e-6)
    assert not Agreement().gain(counted).any()


@pytest.mark.parametrize("useful", ["forward", "text"])
def test_the_search_finds_the_prior_that_knows(useful: str) -> None:
    """Of two priors one names the target, the other names a wrong item: the first gets a share, the second none."""
    generator = np.random.default_rng(0)
    cases, items = 200, 30
    target, wrong = generator.integers(items, size=cases), generator.integers(items, size=cases)
    model = generator.normal(size=(cases, items)).astype(np.float32)
    knows, misleads = np.zeros((2, cases, items), dtype=np.float32)
    knows[np.arange(cases), target] = 1.0
    misleads[np.arange(cases), wrong] = 1.0
    other = "text" if useful == "forward" else "forward"

    def counted(recency: float) -> Mapping[str, np.ndarray]:
        return {useful: knows, other: misleads}

    def quality(gain: np.ndarray | None) -> float:
        scores = model if gain is None else model + gain
        return float((scores.argmax(axis=1) == target).mean())

    found = choose_agreement(["forward", "text"], counted, quality)
    assert found.weight > 0
    assert found.shares[useful] > found.shares[other] == 0.0
    assert quality(found.gain(counted(found.recency))) > 0.9 > quality(None)


def test_useless_counts_leave_the_mixture_alone() -> None:
    def quality(gain: np.ndarray | None) -> float:
        return 1.0 if gain is None or not gain.any() else 0.5

    found = choose_agreement(["forward"], lambda recency: {"forward": np.ones((2, 3), dtype=np.float32) * [1, 2, 3]}, quality)
    assert found.weight == 0.0
    assert choose_agreement([], lambda recency: {}, quality) == Agreement()


def test_typed_words_gain_by_hand() -> None:
    np.testing.assert_allclose(typed_gain(np.array([[0.0, 0.01, 0.5]])), [[0.0, np.log(2), np.log(51)]], rtol=1e-6)
