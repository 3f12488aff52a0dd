"""Readouts: figures by hand, intervals that hold, looks that cost nothing, harm that is seen, shares that are checked, policies judged offline."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from experiments import judged_offline, peeking, people
from m6rec.base.errors import DataError, UsageError
from m6rec.evaluation.intervals import draws
from m6rec.serving.experiments.assignment import assign
from m6rec.serving.experiments.config import Experiment
from m6rec.serving.experiments.decisions import Decision, applied, decide
from m6rec.serving.experiments.off_policy import off_policy
from m6rec.serving.experiments.outcomes import Outcomes
from m6rec.serving.experiments.readout import Readout, readout
from m6rec.serving.experiments.sequential import always_valid_p, always_valid_radius, share_mismatch_p


def experiment(**more: Any) -> Experiment:
    arms = [{"name": "old", "share": 0.5}, {"name": "new", "share": 0.5}]
    return Experiment.build({"name": "test", "arms": arms, **more})


def exposures(count: int, lift: float = 0.0, seed: int = 0, arms: tuple[str, ...] = ("old", "new"), **columns: Any) -> pl.DataFrame:
    """`count` people an arm, of whom those in the last arm click more by `lift`; one row an exposure."""
    generator = np.random.default_rng(seed)
    parts = []
    for arm in arms:
        clicks, shown = people(generator, (count,), lift if arm == arms[-1] else 0.0)
        unit = np.repeat(np.arange(count), shown.astype(int))
        place = np.arange(len(unit)) - np.repeat(np.concatenate([[0], np.cumsum(shown.astype(int))[:-1]]), shown.astype(int))
        outcome = (place < clicks[unit]).astype(np.float64)
        names = pl.Series(unit).cast(pl.String)
        parts.append(pl.DataFrame({"unit": arm + names, "arm": arm, "outcome": outcome, "value": outcome * 2.5, "position": place}))
    return pl.concat(parts).with_columns(**{name: pl.lit(value) for name, value in columns.items()})


ROWS = pl.DataFrame(
    {
        "unit": ["a", "a", "a", "b", "c", "c", "d", "e", "e"],
        "arm": ["old", "old", "old", "old", "new", "new", "new", "old", "new"],
        "time": [1.0, 2.0, 3.0, 1.0, 1.0, 2.0, 3.0, 1.0, 2.0],
        "outcome": [1.0, 0.0, None, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
        "value": [10.0, None, float("nan"), 0.0, 4.0, 2.0, 0.0, 99.0, 99.0],
        "took_ms": [5.0, 7.0, None, 4.0, 8.0, 8.0, 8.0, 1.0, 1.0],
    }
)


@pytest.mark.parametrize(
    ("metric", "old", "new"),
    [
        ("outcome_per_exposure", 1 / 4, 2 / 3),
        ("value_per_exposure", 10 / 4, 6 / 3),
        ("outcome_per_unit", 1 / 2, 2 / 2),
        ("value_per_unit", 10 / 2, 6 / 2),
        ("units_with_outcome", 1 / 2, 1 / 2),
        ("took_ms", 16 / 3, 8.0),
    ],
)
def test_metrics_by_hand(metric: str, old: float, new: float) -> None:
    """Unit e was in both arms and counts in neither; null and NaN are no outcome, and no exposure of a number column."""
    found = readout(ROWS, experiment(metric=metric))
    assert [arm.mean for arm in found.arms] == pytest.approx([old, new])
    assert [arm.units for arm in found.arms] == [2, 2]
    assert [arm.exposures for arm in found.arms] == [4, 3]
    assert found.crossed == 1
    assert found.comparisons[0].difference == pytest.approx(new - old)
    assert found.comparisons[0].relative == pytest.approx(new / old - 1)
    assert not found.comparisons[0].enough


def test_exposures_before_the_experiment_do_not_count() -> None:
    found = readout(ROWS, experiment(since=2.0))
    assert [arm.exposures for arm in found.arms] == [2, 3]  # unit e is now in one arm only
    assert found.crossed == 0


def test_only_the_actions_that_count_are_outcomes() -> None:
    frame = ROWS.with_columns(actions=pl.Series([["view", "buy"], ["view"], [], None, ["buy"], ["view"], [], ["buy"], ["buy"]]))
    found = readout(frame, experiment(actions=["buy", "like"]))
    assert [arm.mean for arm in found.arms] == pytest.approx([1 / 4, 1 / 3])
    assert [arm.mean for arm in readout(frame, experiment(actions=["buy"], metric="value_per_unit")).arms] == pytest.approx([10 / 2, 4 / 2])
    with pytest.raises(DataError, match="no column 'actions'"):
        readout(ROWS, experiment(actions=["buy"]))


def test_the_error_of_a_ratio_is_that_of_the_bootstrap() -> None:
    """Delta method over units against 2,000 resamples of units."""
    ratio = Outcomes.of(exposures(800)).ratio("old", "outcome_per_exposure")
    both = np.stack([ratio.above, ratio.below], axis=1)
    sums = np.concatenate([weights @ both for weights in draws(ratio.units, 2_000, seed=3)])
    assert ratio.error == pytest.approx((sums[:, 0] / sums[:, 1]).std(), rel=0.08)
    # Exposures of one person are alike: taking them for independent would promise too much.
    assert ratio.error > 1.1 * math.sqrt(ratio.mean * (1 - ratio.mean) / ratio.below.sum())


def test_intervals_of_one_look_hold_the_truth_as_often_as_they_say() -> None:
    """200 experiments with a lift of 20 %: 95 % of the intervals hold it, give or take what 200 coins do."""
    truth = 0.1 * 0.2
    found = [readout(exposures(300, 0.2, seed), experiment()).comparisons[0] for seed in range(200)]
    held = np.mean([one.low <= truth <= one.high for one in found])
    always = np.mean([one.always_low <= truth <= one.always_high for one in found])
    assert 0.90 <= held <= 0.99
    assert always >= held


def test_peeking_after_every_person_raises_no_false_alarm() -> None:
    """300 experiments without an effect, 1,900 looks each: at most 5 % ever call one; the usual test calls a third of them."""
    found = peeking(np.random.default_rng(1), 300, 2_000, 0.0, scale=0.2)
    assert found["called"] <= 0.05
    assert found["called by the usual test at every look"] > 0.2


def test_a_planted_effect_is_found_under_peeking() -> None:
    found = peeking(np.random.default_rng(2), 100, 4_000, 0.2, scale=0.1)
    assert found["called"] >= 0.95
    assert found["called the wrong way"] == 0.0
    worse = peeking(np.random.default_rng(3), 100, 4_000, -0.2, scale=0.1)
    assert worse["called"] >= 0.95


def test_p_and_interval_say_the_same() -> None:
    rng = np.random.default_rng(0)
    difference, error = rng.normal(size=500) * 3, rng.uniform(0.1, 2, 500)
    p, radius = always_valid_p(difference, error, 1.0), always_valid_radius(error, 1.0, 0.05)
    assert ((p < 0.05) == (np.abs(difference) > radius)).all()
    assert (radius > norm.ppf(0.975) * error).all()
    assert always_valid_p(1.0, 0.0, 1.0) == 1.0
    assert always_valid_radius(float("nan"), 1.0, 0.05) == math.inf


def test_the_evidence_is_the_ratio_of_likelihoods_integrated() -> None:
    """The closed form against numbers: the mean over the mixture of the likelihood ratio of each effect to none."""
    effects = np.random.default_rng(0).normal(scale=0.7, size=400_000)
    ratio = np.exp((1.3 * effects - effects**2 / 2) / 0.5**2).mean()
    assert 1 / always_valid_p(1.3, 0.5, 0.7) == pytest.approx(ratio, rel=0.02)


def test_a_covariate_takes_noise_away_and_moves_nothing() -> None:
    """A number that explains half of what people are worth: half the variance, the same difference within its error."""
    rng = np.random.default_rng(4)
    known = rng.normal(size=4_000)
    value = known + rng.normal(size=4_000) + 0.3 * (np.arange(4_000) % 2)
    units = pl.Series([f"u{row}" for row in range(4_000)])
    frame = pl.DataFrame({"unit": units, "arm": np.where(np.arange(4_000) % 2, "new", "old"), "outcome": 1.0, "worth": value + 5})
    covariate = pl.DataFrame({"unit": units, "covariate": known})
    plain = readout(frame, experiment(metric="worth")).comparisons[0]
    adjusted = readout(frame, experiment(metric="worth"), covariate=covariate).comparisons[0]
    assert adjusted.variance_removed == pytest.approx(0.5, abs=0.05)
    assert adjusted.high - adjusted.low == pytest.approx((plain.high - plain.low) * math.sqrt(0.5), rel=0.05)
    assert adjusted.low < 0.3 < adjusted.high
    # Half of the people known: less is explained. Nobody known: nothing happens.
    part = readout(frame, experiment(metric="worth"), covariate=covariate[::2]).comparisons[0]
    assert 0.1 < part.variance_removed < adjusted.variance_removed
    nobody = readout(frame, experiment(metric="worth"), covariate=covariate.with_columns(unit=pl.lit("x"))).comparisons[0]
    assert nobody == plain


def test_a_better_arm_is_shipped_and_a_worse_one_rolled_back() -> None:
    tried = experiment(least_effect=0.2)
    better = decide(tried, readout(exposures(3_000, 0.4), tried))
    assert (better.action, better.arms) == ("ship", ("new",))
    assert "new: outcome_per_exposure +" in better.reasons[0]
    assert applied(tried, better).status == "stopped"
    worse = decide(tried, readout(exposures(3_000, -0.4), tried))
    assert (worse.action, worse.arms) == ("roll back", ("new",))
    after = applied(tried, worse, now=5.0)
    assert [arm.share for arm in after.arms] == [1.0, 0.0]
    assert after.status == "stopped"
    lower = experiment(least_effect=0.2, better="lower")
    assert decide(lower, readout(exposures(3_000, -0.4), lower)).action == "ship"


def test_a_guardrail_takes_out_the_arm_that_breaks_it_and_leaves_the_others() -> None:
    arms = [{"name": name, "share": share} for name, share in (("old", 0.4), ("fast", 0.3), ("slow", 0.3))]
    tried = Experiment.build({"name": "x", "arms": arms, "guardrails": [{"metric": "took_ms", "better": "lower", "most": 0.1}]})
    frame = exposures(400, 0.0, arms=("old", "fast", "slow"))
    took = np.random.default_rng(0).normal(10, 2, len(frame)) * np.where(frame["arm"].to_numpy() == "slow", 1.3, 1.02)
    frame = frame.with_columns(took_ms=took)
    found = readout(frame, tried)
    decision = decide(tried, found)
    assert (decision.action, decision.arms) == ("roll back", ("slow",))
    assert "took_ms" in decision.reasons[0]
    after = applied(tried, decision, now=77.0)
    assert {arm.name: arm.share for arm in after.arms} == pytest.approx({"old": 4 / 7, "fast": 3 / 7, "slow": 0.0})
    assert (after.status, after.since) == ("running", 77.0)
    # The people of the others stay where they are, and nobody is in the arm that was taken out.
    for unit in map(str, range(300)):
        before, now = assign(tried, unit), assign(after, unit)
        assert before is not None
        assert now is not None
        assert now.name != "slow"
        assert before.name in {now.name, "slow"}


def test_harm_below_what_is_put_up_with_is_no_reason() -> None:
    tried = experiment(guardrails=[{"metric": "took_ms", "better": "lower", "most": 0.5}])
    frame = exposures(400)
    frame = frame.with_columns(
        took_ms=np.where(frame["arm"].to_numpy() == "new", 12.0, 10.0) + np.random.default_rng(0).normal(size=len(frame))
    )
    assert decide(tried, readout(frame, tried)).action == "go on"


def test_nothing_is_decided_about_few_people() -> None:
    tried = experiment(fewest_units=500)
    found = readout(exposures(400, 3.0), tried)
    assert not found.comparisons[0].enough
    assert found.comparisons[0].always_low == -math.inf
    assert decide(tried, found) == Decision("go on")


def test_an_effect_that_cannot_be_there_any_more_ends_the_experiment() -> None:
    tried = experiment(least_effect=0.3)
    decision = decide(tried, readout(exposures(6_000, 0.0), tried))
    assert decision.action == "stop"
    assert "no gain of 30.0%" in decision.reasons[0]


def test_people_who_come_in_other_shares_stop_everything() -> None:
    frame = pl.concat([exposures(2_000, 0.5, arms=("new",)), exposures(1_500, arms=("old",))])
    found = readout(frame, experiment())
    assert found.mismatch
    decision = decide(experiment(), found)
    assert decision.action == "stop"
    assert "not in the planned shares" in decision.reasons[0]


def test_the_share_check_may_be_looked_at_after_every_person() -> None:
    """200 fair streams of 2,000, looked at every 20: fewer than 1 in 20 ever fall below 0.05; one of 58 % is found."""
    rng = np.random.default_rng(0)

    def least(share: float) -> float:
        counts = np.cumsum(rng.random(2_000) < share)[19::20]
        return min(share_mismatch_p([int(seen), 20 * (look + 1) - int(seen)], [0.5, 0.5]) for look, seen in enumerate(counts))

    assert np.mean([least(0.5) < 0.05 for _ in range(200)]) <= 0.05
    assert np.mean([least(0.58) < 0.001 for _ in range(20)]) >= 0.9
    assert share_mismatch_p({"a": 5, "b": 1}, [1.0, 0.0]) == 0.0
    assert share_mismatch_p([0, 0], [0.5, 0.5]) == 1.0


def test_empty_arms_and_no_exposures_say_nothing_and_break_nothing() -> None:
    empty = ROWS.clear()
    found = readout(empty, experiment())
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["arms"][0]["mean"] is None
    assert decide(experiment(), found) == Decision("go on")
    one = readout(exposures(200, arms=("old",)), experiment())
    assert one.comparisons[0].always_p == 1.0
    assert decide(experiment(), one).action in {"go on", "stop"}
    nobody_clicks = readout(exposures(300).with_columns(outcome=pl.lit(0.0)), experiment())
    assert decide(experiment(), nobody_clicks) == Decision("go on")


@pytest.mark.parametrize(
    ("frame", "more", "kind", "words"),
    [
        (ROWS.drop("arm"), {}, DataError, "outcomes have no column 'arm'"),
        (ROWS.drop("time"), {"since": 1.0}, DataError, "outcomes have no column 'time'"),
        (ROWS.drop("value"), {"metric": "value_per_unit"}, UsageError, "needs the column 'value'"),
        (ROWS, {"metric": "outcome_per_unt"}, UsageError, "did you mean 'outcome_per_unit'"),
        (ROWS, {"guardrails": [{"metric": "arm"}]}, UsageError, "there is no metric 'arm'"),
    ],
)
def test_wrong_frames_are_one_line(frame: pl.DataFrame, more: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        readout(frame, experiment(**more))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_covariate_needs_its_columns() -> None:
    with pytest.raises(DataError, match="covariate has no column 'covariate'"):
        readout(ROWS, experiment(), covariate=ROWS.select("unit"))


def test_arms_share_the_allowed_errors() -> None:
    arms = [{"name": name, "share": 0.25} for name in ("old", "a", "b", "new")]
    four = readout(exposures(300, arms=("old", "a", "b", "new")), Experiment.build({"name": "x", "arms": arms}))
    two = readout(exposures(300, arms=("old", "a", "b", "new")), experiment())
    assert len(four.comparisons) == 3
    assert isinstance(four, Readout)
    wide, narrow = four.comparisons[-1], two.comparisons[0]
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(norm.ppf(1 - 0.05 / 6) / norm.ppf(0.975))


def test_off_policy_by_hand() -> None:
    """Weights 0, 2, 4, 0: IPS (2 * 1 + 4 * 0) / 4, SNIPS 2 / 6."""
    frame = pl.DataFrame({"unit": list("abcd"), "propensity": [0.8, 0.5, 0.25, 1.0], "outcome": [1.0, 1.0, None, 1.0]})
    found = off_policy(frame, np.array([0.0, 1.0, 1.0, 0.0]))
    assert (found.logged.mean, found.ips.mean, found.snips.mean) == pytest.approx((3 / 4, 2 / 4, 2 / 6))
    assert (found.effective, found.mean_weight, found.most_weight) == pytest.approx((36 / 20, 6 / 4, 4.0))
    assert off_policy(frame, np.array([0.0, 1.0, 1.0, 0.0]), most=2.0).snips.mean == pytest.approx(1 / 2)


def test_what_was_shown_judged_as_itself_is_what_was_earned() -> None:
    frame = exposures(200).with_columns(propensity=pl.lit(0.9))
    found = off_policy(frame, np.full(len(frame), 0.9))
    assert found.ips == found.snips == found.logged
    assert (found.lift.low, found.lift.mean, found.lift.high) == pytest.approx((0.0, 0.0, 0.0))
    assert found.effective == pytest.approx(len(frame))


def test_a_policy_that_was_never_run_is_valued_right() -> None:
    """Another list, judged from exploration of a fifth of the places: no bias beyond the error of 25 runs, intervals hold the truth."""
    found = judged_offline(np.random.default_rng(0), 25, lists=1_000)
    for name in ("ips", "snips"):
        assert abs(found[f"{name}: mean error"]) < 4 * found[f"{name}: standard error of that"]
        assert found[f"{name}: coverage of 95 % intervals"] >= 0.8


def test_what_was_never_shown_shows_in_the_mean_weight() -> None:
    frame = pl.DataFrame({"unit": ["a"] * 4, "propensity": [0.9] * 4, "outcome": [1.0] * 4})
    assert off_policy(frame, np.zeros(4)).mean_weight == 0.0


@pytest.mark.parametrize(
    ("propensity", "target", "words"),
    [
        ([0.5, 0.0], [1.0, 1.0], "a propensity is 0.0"),
        ([0.5, None], [1.0, 1.0], "a propensity is nan"),
        ([0.5, 1.5], [1.0, 1.0], "a propensity is 1.5"),
        ([0.5, 0.5], [1.0], "target has shape"),
        ([0.5, 0.5], [1.0, float("nan")], "target holds nan"),
    ],
)
def test_wrong_propensities_are_one_line(propensity: list[float | None], target: list[float], words: str) -> None:
    frame = pl.DataFrame({"unit": ["a", "b"], "propensity": propensity, "outcome": [1.0, 0.0]})
    with pytest.raises((DataError, UsageError)) as caught:
        off_policy(frame, np.array(target))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
