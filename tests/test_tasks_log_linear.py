"""The log-linear pool: a planted truth is found, the prior holds, what is left out is not ranked, the gradient is that of the loss."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.tasks.log_linear import MIXTURE, LogLinear, fit_log_linear

NONE = np.zeros(0, dtype=np.int64)


def planted(cases: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Targets drawn from softmax(log p + 2 good); `noise` tells nothing."""
    rng = np.random.default_rng(seed)
    log_p, good, noise = rng.normal(size=(3, cases, 30)).astype(np.float32)
    scores = log_p + 2 * good + rng.gumbel(size=log_p.shape)
    return log_p, {"good": good, "noise": noise}, scores.argmax(axis=1)


def test_planted_weights_are_found() -> None:
    log_p, signals, targets = planted(4000)
    pool = fit_log_linear(log_p, signals, targets, [NONE] * len(targets))
    assert pool.weights[MIXTURE] == pytest.approx(1, abs=0.1)
    assert pool.weights["good"] == pytest.approx(2, abs=0.12)
    assert pool.weights["noise"] == pytest.approx(0, abs=0.06)


def test_a_handful_of_cases_moves_the_weights_little() -> None:
    log_p, signals, targets = planted(3)
    few = fit_log_linear(log_p, signals, targets, [NONE] * 3, ridge=10.0)
    assert abs(few.weights[MIXTURE] - 1) < 0.2
    assert abs(few.weights["good"]) < 0.5
    none = fit_log_linear(log_p[:0], {name: one[:0] for name, one in signals.items()}, targets[:0], [])
    assert none.weights == {MIXTURE: 1, "good": 0, "noise": 0}


def test_by_hand_with_one_item_left_out() -> None:
    """Two items are ranked, the signal is 1 for the target: 1 / (1 + e^w) = 2 * ridge * w at the best w."""
    log_p = np.zeros((1, 3), dtype=np.float32)
    signal = np.array([[1.0, 0.0, 50.0]], dtype=np.float32)
    weight = fit_log_linear(log_p, {"one": signal}, np.array([0]), [np.array([2])], ridge=0.1).weights["one"]
    assert 1 / (1 + np.exp(weight)) == pytest.approx(0.2 * weight, abs=1e-4)
    own = fit_log_linear(log_p, {"one": signal}, np.array([0]), [np.array([0, 2])], ridge=0.1).weights["one"]
    assert own == pytest.approx(weight, abs=1e-6)  # the target is ranked, whatever was named before


def test_scores_are_the_weighed_sum_and_a_missing_signal_counts_nothing() -> None:
    log_p, signal = np.array([[-1.0, -2.0]], dtype=np.float32), np.array([[0.5, 4.0]], dtype=np.float32)
    pool = LogLinear({MIXTURE: 2.0, "one": 0.5, "gone": 9.0})
    np.testing.assert_allclose(pool.scores(log_p, {"one": signal}), [[-1.75, -2.0]])
    np.testing.assert_array_equal(log_p, [[-1.0, -2.0]])
    assert not LogLinear()
    np.testing.assert_array_equal(LogLinear().scores(log_p, {"one": signal}), log_p)
    assert LogLinear(pool.plain()) == pool
