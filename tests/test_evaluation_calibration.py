"""Calibration: planted distortions are undone, the order stays, little data changes nothing, JSON there and back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import CheckpointError, UsageError
from m6rec.evaluation.calibration import Calibration, fit_calibration
from m6rec.evaluation.calibration_curves import Curve, fit_isotonic, fit_platt, fit_temperature, logits, sigmoid
from m6rec.evaluation.judged import Judged


def drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """truth, true rates, users."""
    rng = np.random.default_rng(seed)
    rates = sigmoid(rng.normal(-1, 1.5, rows))
    return (rng.random(rows) < rates).astype(np.float32), rates, rng.integers(0, 300, rows)


def test_platt_finds_the_planted_slope_and_shift() -> None:
    truth, rates, _ = drawn(20_000)
    curve = fit_platt(truth, sigmoid((logits(rates) - 0.7) / 0.5))
    assert (curve.slope, curve.shift) == pytest.approx((0.5, 0.7), abs=0.04)
    assert fit_platt(truth, 1 - rates).slope == pytest.approx(1e-3)  # never turned round


def test_isotonic_by_hand() -> None:
    truth, p = np.array([0, 1, 0, 0, 1, 1, 1, 1]), np.repeat([0.1, 0.2, 0.3, 0.9], 2)
    curve = fit_isotonic(truth, p)
    # shares 1/2, 0, 1, 1: the first two are pooled to 1/4 of 4 rows, the last two to 1 of 4; each smoothed by half a row a side
    assert sigmoid(np.array(curve.y)) == pytest.approx([1.5 / 5, 4.5 / 5])
    assert curve.x == pytest.approx([(logits(np.float64(0.1)) + logits(np.float64(0.2))) / 2, (logits(0.3) + logits(0.9)) / 2])


def test_temperature_finds_the_planted_one() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(8000, 5))
    right = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    codes = (rng.random((8000, 1)) > right.cumsum(axis=1)).sum(axis=1)
    sharp = np.exp(3 * scores) / np.exp(3 * scores).sum(axis=1, keepdims=True)
    curve = fit_temperature(codes, sharp)
    assert curve.slope == pytest.approx(1 / 3, rel=0.05)
    assert curve.apply(sharp) == pytest.approx(right, abs=0.03)
    judged = Judged("m", "topic", "classes", codes, sharp, names=list("abcde"))
    fitted = fit_calibration(judged)
    assert fitted.curve.way == "temperature"
    after = fitted.applied(judged)
    assert after.value("accuracy") == judged.value("accuracy")
    assert after.value("ece") < judged.value("ece") / 4


@pytest.mark.parametrize(("bend", "way"), [(lambda r: r, "none"), (lambda r: sigmoid(2 * logits(r) + 1), "platt")])
def test_the_right_way_is_chosen(bend: object, way: str) -> None:
    truth, rates, users = drawn(6000)
    assert callable(bend)
    validation = Judged("m", "click", "binary", truth, bend(rates), users=users)
    fitted = fit_calibration(validation)
    assert fitted.curve.way == way
    assert fitted.rows == 6000
    truth, rates, users = drawn(6000, seed=1)
    test = Judged("m", "click", "binary", truth, bend(rates), users=users)
    after = fitted.applied(test)
    assert after.value("ece") < 0.02
    assert after.value("auc") == pytest.approx(test.value("auc"), abs=1e-6)


def test_a_step_is_left_to_isotonic() -> None:
    truth, rates, users = drawn(8000)
    stepped = np.where(rates > 0.3, 0.5 + 0.01 * rates, 0.01 * rates)
    fitted = fit_calibration(Judged("m", "click", "binary", truth, stepped, users=users))
    assert fitted.curve.way == "isotonic"
    assert fitted.losses["isotonic"] < min(fitted.losses["none"], fitted.losses["platt"])


def test_scenarios_with_many_rows_have_their_own_curve() -> None:
    truth, rates, users = drawn(12_000)
    where = np.random.default_rng(3).choice(3, 12_000, p=[0.6, 0.38, 0.02]).astype(np.int16)
    wrong = np.where(where == 1, sigmoid(logits(rates) + 1.5), rates)  # the feed is read too high, the small one as the shop
    validation = Judged("m", "click", "binary", truth, wrong, users=users, scenarios=where, scenario_names=["shop", "feed", "small"])
    fitted = fit_calibration(validation)
    assert set(fitted.scenarios) == {"shop", "feed"}
    p = fitted.apply(wrong.astype(np.float32), where, validation.scenario_names)
    for code in (0, 1):
        assert p[where == code].mean() == pytest.approx(truth[where == code].mean(), abs=0.01)
    assert (fitted.apply(wrong) == fitted.curve.apply(wrong)).all()
    assert Calibration.from_plain(json.loads(json.dumps(fitted.plain()))) == fitted


def test_tags_are_calibrated_each() -> None:
    truth, rates, _ = drawn(4000)
    other, other_rates, _ = drawn(4000, seed=2)
    predicted = np.stack([sigmoid(2 * logits(rates)), sigmoid(logits(other_rates) + 2)], axis=1)
    judged = Judged("m", "tags", "tags", np.stack([truth, other], axis=1), predicted, names=["x", "y"])
    fitted = fit_calibration(judged)
    assert set(fitted.scenarios) == {"x", "y"}
    assert fitted.applied(judged).value("log_loss") < judged.value("log_loss") - 0.05


def test_too_little_to_go_by_changes_nothing() -> None:
    truth, rates, _ = drawn(100)
    few = Judged("m", "click", "binary", truth, rates)
    assert fit_calibration(few) == Calibration(rows=100)
    assert (fit_calibration(few).applied(few).predicted == few.predicted).all()
    one_class = Judged("m", "click", "binary", np.zeros(5000), np.random.default_rng(0).random(5000))
    assert fit_calibration(one_class) == Calibration(rows=5000)
    truth, rates, _ = drawn(5000)
    one_person = Judged("m", "click", "binary", truth, rates, users=np.zeros(5000, dtype=int))
    assert fit_calibration(one_person) == Calibration(rows=5000)
    number = Judged("m", "stars", "number", truth, rates)
    assert fit_calibration(number) == Calibration(rows=5000)
    with pytest.raises(UsageError, match="at least 2 folds, not 1"):
        fit_calibration(number, folds=1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=4, max_size=40))
def test_every_curve_rises(rows: list[tuple[bool, float]]) -> None:
    truth, p = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    grid = np.linspace(0.001, 0.999, 300)
    for fit in (fit_platt, fit_isotonic):
        curve = fit(truth, p)
        found = curve.apply(grid)
        assert (np.diff(found) >= 0).all()
        assert ((found >= 0) & (found <= 1)).all()
        assert Curve.from_plain(json.loads(json.dumps(curve.plain()))) == curve


def test_damage_is_reported() -> None:
    whole = Curve("isotonic", x=[0.0, 1.0], y=[0.0, 2.0]).plain()
    for broken in (
        {"y": [2.0, 0.0]},
        {"x": [0.0]},
        {"slope": -1.0},
        {"slope": math.inf},
        {"way": "magic"},
        {"x": [], "y": []},
        {"x": "no"},
    ):
        with pytest.raises(CheckpointError, match="a calibration is damaged"):
            Curve.from_plain(whole | broken)
    for missing in ("curve", "scenarios", "losses", "rows"):
        plain = Calibration().plain()
        del plain[missing]
        with pytest.raises(CheckpointError, match=f"KeyError: '{missing}'"):
            Calibration.from_plain(plain)
