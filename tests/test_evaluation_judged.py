"""Judged rows: intervals over people, paired and over cells, undefined cells, what is refused, saving and loading."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m6rec.base.errors import CheckpointError, ConfigError, UsageError
from m6rec.evaluation.intervals import draws
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_intervals import mean_over_cells
from m6rec.evaluation.rank_metrics import auc


def planted(rows: int = 3000, users: int = 200, *, noise: float = 0.2, seed: int = 0, name: str = "model", **more: Any) -> Judged:
    """Clicks by a known probability in three scenarios; `noise` is what the scorer gets wrong."""
    rng = np.random.default_rng(5)
    rate = rng.random(rows)
    truth = (rng.random(rows) < rate).astype(np.float32)
    who, where = rng.integers(0, users, rows), rng.integers(0, 3, rows).astype(np.int16)
    predicted = np.clip(rate + noise * np.random.default_rng(seed).normal(size=rows), 0, 1)
    given = {"users": who, "scenarios": where, "scenario_names": ["shop", "feed", "ads"], "resamples": 200} | more
    return Judged(name, "click", "binary", truth, predicted, **given)


def test_an_interval_is_that_of_repeated_people() -> None:
    judged = planted(300, 20)
    found = judged.estimate("auc")
    order = list(dict.fromkeys(judged.units.tolist()))  # people in order of appearance
    values = []
    for weights in np.concatenate(list(draws(len(order), 200, 0))):
        repeated = np.concatenate(
            [np.repeat(np.flatnonzero(judged.units == user), int(times)) for user, times in zip(order, weights, strict=True)]
        )
        values.append(auc(judged.truth[repeated], judged.predicted[repeated]))
    assert found.low == pytest.approx(np.percentile(values, 2.5))
    assert found.high == pytest.approx(np.percentile(values, 97.5))
    assert found.mean == pytest.approx(judged.value("auc"))


def test_the_interval_of_auc_holds_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    held, truth_auc = 0, 0.7602499389  # of two normals 1 apart: Phi(1 / sqrt 2)
    for trial in range(150):
        yes = rng.random(250) < 0.3
        scores = rng.normal(size=250) + yes
        p = 1 / (1 + np.exp(-scores))
        found = Judged("m", "t", "binary", yes, p, metrics=["auc"], resamples=200, seed=trial).estimate("auc")
        held += found.low <= truth_auc <= found.high
    assert 0.89 <= held / 150 <= 0.99


def test_a_person_s_rows_are_drawn_together() -> None:
    rows = planted(200, 200)
    many = Judged("m", "click", "binary", np.repeat(rows.truth, 10), np.repeat(rows.predicted, 10), users=np.repeat(np.arange(200), 10))
    apart = Judged("m", "click", "binary", many.truth, many.predicted)
    wide, narrow = many.estimate("auc"), apart.estimate("auc")
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)


def test_nobody_s_rows_are_drawn_with_their_list() -> None:
    judged = Judged("m", "t", "binary", np.zeros(5), np.zeros(5), users=np.array([3, -1, -1, -1, 3]), lists=np.array([0, 7, 7, -1, 1]))
    first, a, b, alone, last = judged.units
    assert first == last == 3
    assert a == b > 3
    assert alone == -1


def test_a_paired_difference_sees_what_two_intervals_hide() -> None:
    good, poor = planted(noise=0.1), planted(noise=0.14, seed=1, name="other")
    assert good.estimate("auc").low < poor.estimate("auc").high
    found = good.difference(poor)
    assert 0 < found.low < found.mean < found.high
    assert found.mean == pytest.approx(good.value("auc") - poor.value("auc"))
    assert good.difference(good) == (0.0, 0.0, 0.0)
    back = poor.difference(good, "auc")
    assert back == pytest.approx((-found.mean, -found.high, -found.low))
    with pytest.raises(UsageError, match="'model' and 'other' were not judged on the same rows of 'click' and 'click'"):
        good.difference(poor.rows(np.arange(100)))


def test_scenarios_are_cells() -> None:
    judged = planted()
    cells = judged.cells()
    assert [cell.cell for cell in cells] == ["shop/click", "feed/click", "ads/click"]
    assert sum(map(len, cells)) == len(judged)
    assert judged.cell == "click"
    assert [cell.cell for cell in planted(scenarios=None).cells()] == ["click"]


def test_a_mean_over_cells_is_paired_and_draws_people_once_for_all_cells() -> None:
    good, poor = planted(noise=0.1), planted(noise=0.3, seed=1)
    cells, others = good.cells(), poor.cells()
    found = mean_over_cells(cells, others, "auc")
    expected = np.mean([one.value("auc") - other.value("auc") for one, other in zip(cells, others, strict=True)])
    assert found.mean == pytest.approx(expected)
    assert found.low > 0
    assert mean_over_cells(cells, None, "auc").mean == pytest.approx(np.mean([one.value("auc") for one in cells]))
    # The same rows as two cells: people are drawn along, so two cells know no more than one.
    twice = mean_over_cells([cells[0], cells[0]], [others[0], others[0]], "auc")
    once = mean_over_cells(cells[:1], others[:1], "auc")
    assert twice == pytest.approx(once)
    assert once == pytest.approx(cells[0].difference(others[0]))
    with pytest.raises(UsageError, match="there are 3 and 2"):
        mean_over_cells(cells, others[:2], "auc")
    with pytest.raises(UsageError, match="there are 0 and 0"):
        mean_over_cells([], None, "auc")


def test_a_cell_of_one_class_is_left_out_of_means() -> None:
    judged = planted()
    truth = np.where(judged.scenarios == 1, 0, judged.truth)
    one = planted()
    one = Judged("m", "click", "binary", truth, one.predicted, users=one.users, scenarios=one.scenarios, scenario_names=one.scenario_names)
    shop, feed, ads = one.cells()
    assert math.isnan(feed.value("auc"))
    assert all(math.isnan(part) for part in feed.estimate("auc"))
    assert mean_over_cells([shop, feed, ads], None, "auc").mean == pytest.approx((shop.value("auc") + ads.value("auc")) / 2)
    assert one.plain()["scenarios"]["feed"]["metrics"]["auc"] == {"mean": None, "low": None, "high": None}


def test_rows_of_unknown_truth_are_left_out() -> None:
    judged = Judged("m", "t", "number", np.array([1, np.nan, 3]), np.array([1, 2, 3]), users=np.array([4, 5, 6]))
    assert len(judged) == 2
    assert judged.users is not None
    assert judged.users.tolist() == [4, 6]
    nothing = Judged("m", "t", "binary", np.array([np.nan]), np.array([0.5]))
    assert math.isnan(nothing.value("auc"))
    assert math.isnan(nothing.table()["log_loss"].mean)
    assert nothing.cells() == [nothing]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"truth": np.zeros(2), "predicted": np.zeros(3)}, r"predicted has the shape \(3,\), it must be \(2,\)"),
        ({"truth": np.zeros(2), "predicted": np.array([0.1, np.nan])}, "1 of 2 predictions are not finite"),
        ({"truth": np.zeros(2), "predicted": np.array([0.1, 3.0])}, "probabilities must lie between 0 and 1, these go from 0.1 to 3"),
        ({"truth": np.array([0.0, 5.0]), "predicted": np.zeros(2)}, "a label is 5, allowed are whole numbers from 0 to 1"),
        ({"truth": np.zeros(2), "predicted": np.zeros(2), "users": np.zeros(1)}, "users has 1 rows, truth has 2"),
        ({"truth": np.zeros(2), "predicted": np.zeros((2, 3)), "kind": "classes"}, "need the names of their classes"),
        ({"truth": np.zeros(2), "predicted": np.zeros((2, 3)), "kind": "classes", "names": ["a"]}, r"it must be \(2, 1\)"),
        ({"truth": np.zeros(2), "predicted": np.zeros((2, 1)), "kind": "tokens", "names": ["a"]}, "the text that each word is of"),
        ({"truth": np.zeros(2), "predicted": np.zeros(2), "kind": "clases"}, "no kind of label is called 'clases'"),
        ({"truth": np.array([np.inf]), "predicted": np.zeros(1), "kind": "number"}, "a label is infinite"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Judged(**{"name": "model", "task": "click", "kind": "binary"} | arguments)
    assert str(caught.value).startswith("'model' on task 'click': ")
    assert "\n" not in str(caught.value)


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tags = Judged("m", "tags", "tags", rng.integers(0, 2, (40, 3)), rng.random((40, 3)), names=list("abc"), resamples=50)
    clicks = planted(lists=np.arange(3000) // 5, worth=rng.random(3000), times=rng.random(3000), metrics=["auc", "satisfaction@2"])
    for judged in (tags, clicks):
        judged.save(tmp_path / "judged", figures=judged is tags)
        loaded = Judged.load(tmp_path / "judged")
        assert loaded.plain() == judged.plain()
        assert loaded.difference(judged) == (0, 0, 0)
        assert loaded.metrics == judged.metrics


def test_damaged_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no judged rows: judged.json is missing; run m6rec evaluate"):
        Judged.load(tmp_path / "nothing")
    planted(100).save(tmp_path / "one")
    rows = tmp_path / "one" / "rows.npz"
    rows.write_bytes(rows.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="is damaged"):
        Judged.load(tmp_path / "one")
    planted(100).save(tmp_path / "one")
    facts = tmp_path / "one" / "judged.json"
    facts.write_text(facts.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(CheckpointError, match="format 99"):
        Judged.load(tmp_path / "one")


def test_an_unknown_metric_is_refused_when_made() -> None:
    with pytest.raises(ConfigError, match="task 'click': unknown metric 'gauk'; did you mean 'gauc'"):
        planted(10, metrics=["gauk"])


def test_auc_of_200_000_rows_is_quick_to_resample() -> None:
    judged = planted(200_000, 5000, resamples=100, metrics=["auc"])
    started = time.process_time()
    judged.estimate("auc")
    assert time.process_time() - started < 2.0  # 0.2 s on a quiet core; 500 resamples about 1 s
