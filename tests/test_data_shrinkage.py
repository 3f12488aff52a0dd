"""How far rates are drawn to their parents': planted laws are found, and little data says little."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.data.shrinkage import LEAST, MOST, strengths

PARENTS, LEVELS = np.array([0, 0]), [np.array([0]), np.array([1])]


def found(keys: np.ndarray, outcomes: np.ndarray, usual: float = 10.0) -> float:
    coded = np.stack([np.zeros_like(keys), keys])[:, :, None]
    return float(strengths(coded, PARENTS, LEVELS, outcomes[:, None], usual)[1, 0])


@pytest.mark.parametrize("planted", [5.0, 30.0, 150.0])
def test_the_strength_of_a_beta_binomial_law_is_found(planted: float) -> None:
    """Rates drawn from Beta(p m, (1 - p) m): m is what their mean counts for in the posterior."""
    generator = np.random.default_rng(0)
    keys = np.repeat(np.arange(600), generator.integers(1, 400, 600))
    rates = generator.beta(0.1 * planted, 0.9 * planted, 600)
    outcomes = (generator.random(len(keys)) < rates[keys]).astype(np.float32)
    assert found(keys, outcomes) == pytest.approx(planted, rel=0.25)


def test_keys_that_are_alike_are_drawn_wholly_and_unlike_ones_hardly() -> None:
    generator = np.random.default_rng(1)
    keys = np.repeat(np.arange(300), 100)
    assert found(keys, (generator.random(len(keys)) < 0.2).astype(np.float32)) > 300
    assert found(keys, (keys % 2).astype(np.float32)) == pytest.approx(LEAST)
    assert found(keys, (generator.random(300) * 40)[keys].astype(np.float32)) == pytest.approx(LEAST)  # numbers are no shares


def test_few_rows_say_little() -> None:
    assert found(np.arange(50), (np.arange(50) % 2).astype(np.float32)) == pytest.approx(10.0)  # no key twice: nothing to compare
    assert found(np.full(9, -1), np.ones(9, np.float32), 7.0) == 7.0
    assert found(np.zeros(9, np.int64), np.full(9, np.nan, np.float32), 7.0) == 7.0
    assert LEAST <= found(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0], np.float32)) <= MOST


def test_rows_with_several_keys() -> None:
    """A row whose second value is missing counts for its first alone; the order of rows changes nothing."""
    generator = np.random.default_rng(2)
    keys = generator.integers(-1, 20, (500, 2))
    outcomes = generator.random((500, 1)).round().astype(np.float32)
    coded = np.stack([np.zeros((500, 2), np.int64), keys])
    order = generator.permutation(500)
    first = strengths(coded, PARENTS, LEVELS, outcomes, 10.0)
    np.testing.assert_allclose(strengths(coded[:, order], PARENTS, LEVELS, outcomes[order], 10.0), first)
