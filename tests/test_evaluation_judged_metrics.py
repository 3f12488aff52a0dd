"""Metrics of judged labels: by hand fractions, with ties and one class only, and against scikit-learn on anything hypothesis thinks of."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from m6rec.base.errors import ConfigError, UsageError
from m6rec.evaluation import class_metrics, label_metrics
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_metrics import prepared
from m6rec.evaluation.list_metrics import ndcg_of_lists, satisfaction_of_lists, worth_of
from m6rec.evaluation.metric_names import DEFAULTS, KINDS, METRIC_NAMES, higher_is_better, metric_label, metrics_of
from m6rec.evaluation.rank_metrics import auc, auc_by_group, pr_auc, spearman

YES = np.array([1, 0, 1, 0, 0], dtype=np.float32)
SCORES = np.array([0.9, 0.9, 0.5, 0.3, 0.1], dtype=np.float32)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


# order


def test_auc_by_hand_with_a_tie() -> None:
    # six pairs: .9 beats .3 and .1 and ties with .9; .5 beats .3 and .1 and loses to .9
    assert auc(YES, SCORES) == pytest.approx((2 + 1 / 2 + 2) / 6)
    assert auc(YES, np.zeros(5)) == 0.5
    assert auc(YES, -SCORES) == pytest.approx(1 - (2 + 1 / 2 + 2) / 6)


def test_average_precision_by_hand_with_a_tie() -> None:
    # at .9: 1 right of 2, recall 1/2; at .5: 2 right of 3, recall 1
    assert pr_auc(YES, SCORES) == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 3)


def test_one_class_is_undefined() -> None:
    ones, zeros, p = np.ones(3), np.zeros(3), array(0.1, 0.5, 0.9)
    assert math.isnan(auc(ones, p))
    assert math.isnan(auc(zeros, p))
    assert math.isnan(pr_auc(zeros, p))
    assert pr_auc(ones, p) == 1.0
    assert math.isnan(label_metrics.relative_information(ones, p))
    assert math.isnan(label_metrics.r2(ones, p))
    assert math.isnan(spearman(ones, p))
    assert math.isnan(label_metrics.f1_at(0.95)(zeros, p))
    for metric in (auc, pr_auc, spearman, label_metrics.log_loss, label_metrics.ece, label_metrics.rmse, label_metrics.r2):
        assert math.isnan(metric(zeros[:0], p[:0]))


def test_auc_inside_each_user_by_hand() -> None:
    truth = array(1, 0, 0, 1, 0, 1, 1)
    scores = array(0.6, 0.4, 0.6, 0.9, 0.1, 0.2, 0.1)
    users = np.array([7, 7, 7, 2, 2, 5, 5])  # user 5 has one class only
    who, values, rows = auc_by_group(truth, scores, users)
    assert who.tolist() == [2, 7]
    assert values.tolist() == [1.0, 0.75]
    assert rows.tolist() == [2, 3]
    judged = Judged("m", "click", "binary", truth, scores, users=users)
    assert judged.value("gauc") == pytest.approx((2 * 1 + 3 * 0.75) / 5)
    assert judged.value("user_auc") == pytest.approx((1 + 0.75) / 2)


def test_rows_of_nobody_are_not_a_user() -> None:
    judged = Judged("m", "click", "binary", YES, SCORES, users=np.full(5, -1))
    assert math.isnan(judged.value("gauc"))
    assert math.isnan(judged.value("ndcg"))


RATES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.7001, 1.0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), RATES, st.integers(1, 4)), min_size=2, max_size=40))
def test_order_metrics_agree_with_scikit_learn(rows: list[tuple[bool, float, int]]) -> None:
    truth, scores, weights = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    repeated = np.repeat(np.arange(len(rows)), weights.astype(int))  # a weight is a row that stands there several times
    for given_weights, index in ((None, np.arange(len(rows))), (weights, repeated)):
        if truth.any():
            expected = reference.average_precision_score(truth[index], scores[index])
            assert pr_auc(truth, scores, given_weights) == pytest.approx(expected)
        if 0 < truth.sum() < len(truth):
            assert auc(truth, scores, given_weights) == pytest.approx(reference.roc_auc_score(truth[index], scores[index]))
        one = spearman(truth, scores, given_weights)
        ranks = [_mean_ranks(side[index]) for side in (truth, scores)]
        expected = np.corrcoef(*ranks)[0, 1] if min(np.ptp(rank) for rank in ranks) > 0 else math.nan
        assert one == pytest.approx(expected, nan_ok=True)


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


# probabilities and numbers


def test_log_loss_and_relative_information_by_hand() -> None:
    truth, p = array(1, 0, 0, 0), array(0.5, 0.25, 0.25, 0.25)
    loss = (-math.log(1 / 2) - 3 * math.log(3 / 4)) / 4
    entropy = -(1 / 4 * math.log(1 / 4) + 3 / 4 * math.log(3 / 4))
    assert label_metrics.log_loss(truth, p) == pytest.approx(loss)
    assert label_metrics.normalised_entropy(truth, p) == pytest.approx(loss / entropy)
    assert label_metrics.relative_information(truth, np.full(4, 0.25)) == pytest.approx(0)
    assert label_metrics.log_loss(array(1), array(0)) == pytest.approx(-math.log(1e-7), rel=1e-3)  # and not infinite


def test_calibration_error_by_hand() -> None:
    truth, p = array(0, 1, 1, 1), array(0.2, 0.4, 0.6, 0.8)
    # two bins: |0.6 - 1| and |1.4 - 2|, over 4 rows
    assert label_metrics.calibration_error(2)(truth, p) == pytest.approx((0.4 + 0.6) / 4)
    assert label_metrics.calibration_error(4)(truth, p) == pytest.approx((0.2 + 0.6 + 0.4 + 0.2) / 4)
    assert label_metrics.ece(array(1, 0), array(0.5, 0.5)) == 0.0  # equal predictions share a bin


def test_bins_hold_equally_many_rows() -> None:
    p = np.random.default_rng(0).random(1000)
    assert np.bincount(label_metrics.equal_mass_bins(p, 10)).tolist() == pytest.approx([100] * 10, abs=2)
    assert len(set(label_metrics.equal_mass_bins(np.repeat([0.1, 0.9], 50), 10))) == 2


def test_best_threshold_by_hand() -> None:
    # F1 from .9: 2/4, from .5: 4/5, from .3: 4/6
    assert label_metrics.best_threshold(YES, SCORES) == pytest.approx(0.4)
    assert label_metrics.f1_at(0.4)(YES, SCORES) == pytest.approx(4 / 5)
    assert label_metrics.best_threshold(np.zeros(3), array(0.1, 0.2, 0.3)) == 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), RATES), min_size=1, max_size=40))
def test_the_best_threshold_is_the_best(rows: list[tuple[bool, float]]) -> None:
    truth, scores = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    if truth.any():
        best = label_metrics.f1_at(label_metrics.best_threshold(truth, scores))(truth, scores)
        assert best == pytest.approx(max(label_metrics.f1_at(score)(truth, scores) for score in scores))
        assert best == pytest.approx(reference.f1_score(truth, scores >= label_metrics.best_threshold(truth, scores)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.999)), min_size=2, max_size=40))
def test_sums_agree_with_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    truth, p = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    assert label_metrics.log_loss(truth, p) == pytest.approx(reference.log_loss(truth, p, labels=[0, 1]))
    assert label_metrics.brier(truth, p) == pytest.approx(np.mean((truth - p) ** 2))
    assert label_metrics.accuracy_at(0.5)(truth, p) == pytest.approx(reference.accuracy_score(truth, p >= 0.5))
    target = truth + p**2
    assert label_metrics.rmse(target, p) == pytest.approx(reference.root_mean_squared_error(target, p))
    assert label_metrics.mae(target, p) == pytest.approx(reference.mean_absolute_error(target, p))
    if np.ptp(target) > 1e-3:
        assert label_metrics.r2(target, p) == pytest.approx(reference.r2_score(target, p))


# classes


def table(codes: list[int], width: int) -> np.ndarray:
    """Probabilities that name `codes`."""
    return (0.7 * np.eye(width)[codes] + 0.3 / width).astype(np.float32)


def test_class_figures_by_hand() -> None:
    judged = Judged("m", "topic", "classes", array(0, 0, 1, 2), table([0, 1, 1, 1], 4), names=["a", "b", "c", "d"])
    assert judged.value("accuracy") == 2 / 4
    a, b, c, d = judged.class_figures()
    assert a[:4] == ("a", 1.0, 0.5, pytest.approx(2 / 3))
    assert b[:4] == ("b", pytest.approx(1 / 3), 1.0, 0.5)
    assert math.isnan(c.precision)
    assert (c.recall, c.f1, c.rows, c.called) == (0.0, 0.0, 1, 0)
    assert math.isnan(d.f1)
    assert judged.value("macro_f1") == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)  # d is nowhere and is left out
    assert judged.value("log_loss") == pytest.approx(-(2 * math.log(0.775) + 2 * math.log(0.075)) / 4, rel=1e-5)
    assert judged.value("ece") == pytest.approx(abs(4 * 0.775 - 2) / 4, rel=1e-5)
    assert judged.value("accuracy@1") == 2 / 4
    assert judged.value("accuracy@4") == 1.0


def test_accuracy_at_k_does_not_profit_from_ties() -> None:
    even = np.full((1, 4), 0.25, dtype=np.float32)
    assert [class_metrics.accuracies(array(0), even, k)[0] for k in (1, 2, 3)] == [0, 0, 1]  # rank 2.5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_classes_and_levels_agree_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, said = (np.array(column) for column in zip(*rows, strict=True))
    judged = Judged("m", "t", "classes", truth, table(said.tolist(), 4), names=list("abcd"))
    assert judged.value("macro_f1") == pytest.approx(reference.f1_score(truth, said, average="macro", zero_division=0))
    precision, recall, f1, _ = reference.precision_recall_fscore_support(truth, said, labels=range(4), zero_division=np.nan)
    for place, one in enumerate(judged.class_figures()):
        assert (one.precision, one.recall) == pytest.approx((precision[place], recall[place]), nan_ok=True)
        if one.rows + one.called:
            assert one.f1 == pytest.approx(np.nan_to_num(f1[place]))
    levels = Judged("m", "t", "ordinal", truth, said, names=list("abcd"))
    assert levels.value("mae") == pytest.approx(np.abs(truth - said).mean())
    assert levels.value("accuracy") == pytest.approx((truth == said).mean())
    if len(set(truth) | set(said)) > 1:
        expected = reference.cohen_kappa_score(truth, said, weights="quadratic", labels=range(4))
        assert levels.value("quadratic_kappa") == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_levels_from_probabilities_are_expected_levels() -> None:
    p = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]], dtype=np.float32)
    judged = Judged("m", "stars", "ordinal", array(0, 2), p, names=["1", "2", "3"])
    assert judged.points.tolist() == [0.5, 1.75]
    assert judged.value("mae") == pytest.approx((0.5 + 0.25) / 2)
    assert judged.value("log_loss") == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)
    assert math.isnan(Judged("m", "stars", "ordinal", array(0, 2), array(0, 2), names=["1", "2", "3"]).value("log_loss"))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.tuples(st.booleans(), RATES), min_size=3, max_size=3), min_size=1, max_size=20))
def test_tags_agree_with_scikit_learn(rows: list[list[tuple[bool, float]]]) -> None:
    both = np.array(rows, dtype=np.float32)
    truth, p = both[..., 0], both[..., 1]
    judged = Judged("m", "tags", "tags", truth, p, names=["x", "y", "z"])
    used = [tag for tag in range(3) if truth[:, tag].any()]
    if used:
        each = [reference.average_precision_score(truth[:, tag], p[:, tag]) for tag in used]
        assert judged.value("mean_average_precision") == pytest.approx(np.mean(each))
        assert judged.value("micro_f1") == pytest.approx(reference.f1_score(truth, p >= 0.5, average="micro", zero_division=0))
    called = [tag for tag in range(3) if truth[:, tag].any() or (p[:, tag] >= 0.5).any()]
    if called:
        each = [reference.f1_score(truth[:, tag], p[:, tag] >= 0.5, zero_division=0) for tag in called]
        assert judged.value("macro_f1") == pytest.approx(np.mean(each))


# words


NAMES = ["O", "B-brand", "I-brand", "B-price", "I-price"]


def test_spans_by_hand() -> None:
    texts = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    codes = np.array([1, 2, 1, 0, 4, 2, 2, 3])  # [brand brand] [brand] O [price] | [brand brand] [price]
    spans = class_metrics.spans_of(codes, texts, NAMES)
    assert list(zip(*(part.tolist() for part in spans), strict=True)) == [(0, 2, 0), (2, 3, 0), (4, 5, 1), (5, 7, 0), (7, 8, 1)]
    plain = class_metrics.spans_of(np.array([1, 1, 0, 2, 2]), np.array([0, 0, 0, 0, 1]), ["O", "brand", "price"])
    assert list(zip(*(part.tolist() for part in plain), strict=True)) == [(0, 2, 0), (3, 4, 1), (4, 5, 1)]


def test_spans_must_match_exactly() -> None:
    truth = array(1, 2, 0, 3, 0, 1)
    said = [1, 0, 0, 3, 0, 1]  # the first brand is cut short
    judged = Judged("m", "slots", "tokens", truth, table(said, 5), names=NAMES, lists=np.array([0, 0, 0, 0, 0, 1]))
    brand, price = judged.class_figures()
    assert (brand.name, brand.precision, brand.recall, brand.rows, brand.called) == ("brand", 0.5, 0.5, 2, 2)
    assert (price.name, price.f1) == ("price", 1.0)
    assert judged.value("micro_f1") == pytest.approx(2 * 2 / (3 + 3))
    assert judged.value("macro_f1") == pytest.approx((1 / 2 + 1) / 2)
    assert judged.value("accuracy") == pytest.approx(5 / 6)


# lists


def test_ndcg_by_hand() -> None:
    gains = array(0, 3, 1, 1, 1, 0, 1)
    lists = np.array([4, 4, 4, 9, 9, -1, -1])
    first, values = ndcg_of_lists(gains, array(0.9, 0.5, 0.1, 0.3, 0.2, 0.1, 0.2), lists)
    best = 3 + 1 / math.log2(3)
    assert values.tolist() == [pytest.approx((3 / math.log2(3) + 1 / 2) / best)]  # list 9 cannot be ordered, -1 is no list
    assert lists[first].tolist() == [4]
    _, at_one = ndcg_of_lists(gains, array(0.9, 0.5, 0.1, 0.3, 0.2, 0.1, 0.2), lists, 1)
    assert at_one.tolist() == [0.0]


def test_ties_in_a_list_get_what_a_random_order_would() -> None:
    gains, lists = array(2, 0, 1), np.zeros(3, dtype=np.int64)
    _, tied = ndcg_of_lists(gains, np.zeros(3), lists, 2)
    orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    each = [ndcg_of_lists(gains, -np.argsort(order).astype(float), lists, 2)[1][0] for order in orders]
    assert tied[0] == pytest.approx(np.mean(each))
    _, worth = satisfaction_of_lists(gains, np.zeros(3), lists, 2)
    assert worth[0] == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), RATES), min_size=2, max_size=12), st.integers(1, 12))
def test_ndcg_agrees_with_scikit_learn(rows: list[tuple[int, float]], k: int) -> None:
    gains, scores = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    if np.ptp(gains) > 0:
        _, values = ndcg_of_lists(gains, scores, np.zeros(len(rows), dtype=np.int64), k)
        assert values[0] == pytest.approx(reference.ndcg_score(gains[None], scores[None], k=k))


def test_satisfaction_by_hand() -> None:
    worth = worth_of(likes=array(1, 0, 0, 1), long_views=array(1, 1, math.nan, 0), dislikes=array(0, 0, 1, 0))
    assert worth.tolist() == [2, 1, -1, 1]
    judged = Judged("m", "like", "binary", array(1, 0, 0, 1), array(0.2, 0.9, 0.8, 0.1), lists=np.array([0, 0, 0, 1]), worth=worth)
    assert judged.value("satisfaction@2") == pytest.approx((1 - 1) / 2)  # a list of one row cannot be ordered
    assert judged.value("satisfaction@10") == pytest.approx((1 - 1 + 2) / 3)
    assert math.isnan(Judged("m", "like", "binary", array(1, 0), array(0.2, 0.9)).value("satisfaction@2"))


# names


def test_every_named_metric_is_defined_for_every_kind_it_names() -> None:
    given_rows: dict[str, Callable[[], Judged]] = {
        "binary": lambda: Judged("m", "t", "binary", YES, SCORES, users=np.zeros(5, dtype=int), worth=YES),
        "classes": lambda: Judged("m", "t", "classes", array(0, 1, 2), table([0, 1, 1], 3), names=list("abc")),
        "tags": lambda: Judged("m", "t", "tags", np.eye(3), table([0, 1, 1], 3), names=list("abc")),
        "number": lambda: Judged("m", "t", "number", array(1, 2, 4), array(1, 3, 3), users=np.zeros(3, dtype=int), worth=array(1, 0, 1)),
        "ordinal": lambda: Judged(
            "m", "t", "ordinal", array(0, 1, 2), table([0, 1, 1], 3), names=list("abc"), users=np.zeros(3, dtype=int), worth=array(1, 0, 1)
        ),
        "tokens": lambda: Judged(
            "m", "t", "tokens", array(0, 1, 2), table([0, 1, 1], 3), names=["O", "a", "b"], lists=np.zeros(3, dtype=int)
        ),
    }
    for kind in KINDS:
        judged = given_rows[kind]()
        for name, known in METRIC_NAMES.items():
            asked = f"{name}@3" if known.cutoff == "required" else name
            if kind in known.kinds:
                assert math.isfinite(judged.value(asked)), (kind, name)
            else:
                with pytest.raises(UsageError, match=f"'{asked}' is not defined for labels of kind {kind}"):
                    judged.value(asked)
        assert set(judged.table()) == set(DEFAULTS[kind])


def test_names_are_checked() -> None:
    assert metrics_of("binary") == DEFAULTS["binary"]
    assert metrics_of("binary", ["ndcg@10", "auc", "auc"]) == ["ndcg@10", "auc"]
    assert not higher_is_better("log_loss")
    assert higher_is_better("ndcg@5")
    assert metric_label("ndcg@5") == "NDCG@5"
    for names, message in [
        (["acu"], "task 'click': unknown metric 'acu'; did you mean 'auc'?; there are: auc, gauc"),
        (["auc@5"], "task 'click': metric 'auc@5' takes no cutoff; write auc"),
        (["ndcg@0"], "task 'click': metric 'ndcg@0' has no whole number of at least 1 after the @; write for example ndcg@10"),
        (["satisfaction"], "task 'click': metric 'satisfaction' needs a cutoff; write for example satisfaction@5"),
        (["rmse"], "task 'click': metric 'rmse' is not defined for labels of kind binary; there are: auc, gauc"),
    ]:
        with pytest.raises(ConfigError) as caught:
            metrics_of("binary", names, task="click")
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


def test_weights_are_rows_that_stand_there_several_times() -> None:
    """What a bootstrap computes from sums and running sums is the metric of the repeated rows."""
    rng = np.random.default_rng(3)
    rows, names = 60, list("abcd")
    p = rng.dirichlet(np.ones(4), rows)
    codes, texts = rng.integers(0, 4, rows), np.arange(rows) // 3
    judged = {
        "binary": Judged("m", "t", "binary", rng.integers(0, 2, rows), np.round(p[:, 0], 1)),
        "classes": Judged("m", "t", "classes", codes, p, names=names),
        "tags": Judged("m", "t", "tags", rng.integers(0, 2, (rows, 4)), rng.random((rows, 4)), names=names),
        "number": Judged("m", "t", "number", rng.integers(0, 3, rows), np.round(rng.random(rows), 1)),
        "ordinal": Judged("m", "t", "ordinal", codes, p, names=names),
    }
    for kind, one in judged.items():
        for name, known in METRIC_NAMES.items():
            if kind not in known.kinds or name in ("ece", "gauc", "user_auc", "ndcg", "satisfaction"):
                continue  # bins are those of all rows; a person or a list that is drawn twice counts twice
            units = texts  # three rows a unit
            weights = rng.integers(0, 3, 20).astype(np.float64)
            repeated = one.rows(np.repeat(np.arange(rows), weights[units].astype(int)))
            assert prepared(one, name, units, 20)(weights[None])[0] == pytest.approx(repeated.value(name)), (kind, name)
