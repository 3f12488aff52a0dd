"""Bootstrap intervals: by hand, in coverage of a planted truth, clustered by user, paired, reproducible."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.evaluation import intervals
from m6rec.evaluation.intervals import bootstrap, bootstrap_columns, paired


def test_the_mean_is_the_mean_and_lies_inside() -> None:
    values = np.random.default_rng(0).random(300)
    mean, low, high = bootstrap(values)
    assert mean == pytest.approx(values.mean())
    assert low < mean < high


def test_the_width_is_that_of_theory() -> None:
    values = (np.random.default_rng(1).random(4000) < 0.1).astype(float)
    _, low, high = bootstrap(values, resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(len(values)), rel=0.06)


def test_the_interval_holds_the_planted_mean_95_times_in_100() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for trial in range(400):
        _, low, high = bootstrap((rng.random(200) < 0.3).astype(float), resamples=300, seed=trial)
        held += low <= 0.3 <= high
    assert 0.915 <= held / 400 <= 0.985  # binomial noise of 400 trials, and the small-sample bias of percentiles


def test_cases_of_one_user_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(50), 40)
    values = np.repeat(rng.random(50), 40)  # a person's 40 cases are all alike: they know no more than one
    _, low, high = bootstrap(values, users=users)
    _, narrow_low, narrow_high = bootstrap(values)
    once = bootstrap(values[::40])
    assert high - low == pytest.approx(once[2] - once[1], rel=1e-9)
    assert high - low > 4 * (narrow_high - narrow_low)


def test_clusters_of_different_sizes_keep_the_mean_over_cases() -> None:
    mean, low, high = bootstrap(np.array([1.0, 1.0, 1.0, 0.0]), users=np.array([5, 5, 5, 9]))
    assert (mean, low, high) == (0.75, 0.0, 1.0)


def test_unknown_users_are_each_somebody() -> None:
    values = np.random.default_rng(4).random(30)
    assert bootstrap(values, users=np.full(30, -1)) == bootstrap(values)


def test_renumbering_users_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    users, values = rng.integers(0, 20, 100), rng.random(100)
    assert bootstrap(values, users=users) == bootstrap(values, users=rng.permutation(20)[users])


def test_same_seed_same_interval_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).random(97)
    whole = bootstrap(values, resamples=500, seed=3)
    assert whole == bootstrap(values, resamples=500, seed=3)
    assert whole != bootstrap(values, resamples=500, seed=4)
    monkeypatch.setattr(intervals, "BLOCK_CELLS", 97 * 7)
    assert bootstrap(values, resamples=500, seed=3) == pytest.approx(whole, abs=1e-12)


def test_columns_share_their_resamples_and_missing_values_are_left_out() -> None:
    rng = np.random.default_rng(7)
    values = rng.random((200, 3))
    values[50:, 1] = np.nan
    mean, low, high = bootstrap_columns(values, seed=1)
    assert mean == pytest.approx([values[:, 0].mean(), values[:50, 1].mean(), values[:, 2].mean()])
    assert high[1] - low[1] > high[0] - low[0]  # fewer cases know less
    assert (mean[2], low[2], high[2]) == pytest.approx(bootstrap(values[:, 2], seed=1))


def test_nothing_known_is_nan_and_one_user_has_no_spread() -> None:
    assert np.isnan(bootstrap(np.zeros(0))).all()
    assert np.isnan(bootstrap(np.full(5, np.nan))).all()
    assert bootstrap(np.array([0.25])) == (0.25, 0.25, 0.25)


def test_paired_sees_what_separate_intervals_hide() -> None:
    rng = np.random.default_rng(8)
    easy = rng.random(400)  # how easy each user is, the same for both scorers
    first, second = easy + 0.02 + 0.02 * rng.normal(size=400), easy
    assert bootstrap(first)[1] < bootstrap(second)[2]  # the separate intervals overlap
    mean, low, high = paired(first, second)
    assert mean == pytest.approx((first - second).mean())
    assert 0 < low < mean < high < 0.03
    assert paired(second, second) == (0.0, 0.0, 0.0)
