"""Asked where training never was: what scenarios share answers, both ways of asking agree, and what is known keeps its answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from m6rec import Recommender
from m6rec.base.errors import DataError, UsageError
from m6rec.config import load_config
from m6rec.data.statistics import OutcomeLog, Statistics
from m6rec.tasks.judge_cells import NEW, SHARED
from m6rec.tasks.judge_new import as_new, counted_elsewhere
from m6rec.training.pipeline import open_run, train

ITEMS = ["i01", "i05", "i09", "i20"]


def test_a_new_scenario_is_answered_from_what_scenarios_share(judged_run: Path, tmp_path: Path) -> None:
    rec = Recommender.from_pretrained(judged_run)
    before = rec.rank("u01", ITEMS, "click", scenario="feed")
    with pytest.raises(UsageError, match="there is no scenario 'live'"):
        rec.rank("u01", ITEMS, "click", scenario="live")
    rec.add_scenario("live")
    rec.add_scenario("live")
    for task in ("click", "purchase"):  # a purchase is asked in the shop alone as far as training goes
        ranked = rec.rank("u01", ITEMS, task, scenario="live")
        moment = rec.engine.newest
        frame = pl.DataFrame({"user_id": ["u01"] * 4, "item_id": ITEMS, "scenario": ["live"] * 4, "time": [moment] * 4})
        told = dict(zip(ITEMS, rec.predict(frame, [task])[task], strict=True))
        for one in ranked:
            assert 0 < one.score < 1
            assert one.score == pytest.approx(told[one.item_id], rel=1e-4)
    assert rec.rank("u01", ITEMS, "click", scenario="feed") == before
    assert len(rec.recommend("u01", k=3, scenario="live")) == 3
    rec.save_pretrained(tmp_path / "kept")
    again = Recommender.from_pretrained(tmp_path / "kept").rank("u01", ITEMS, "click", scenario="live")
    now = rec.rank("u01", ITEMS, "click", scenario="live")
    assert [one.item_id for one in again] == [one.item_id for one in now]
    np.testing.assert_allclose([one.score for one in again], [one.score for one in now], rtol=1e-5)


def test_rows_of_no_scenario_stay_without_an_answer_and_strange_ones_are_refused(judged_run: Path) -> None:
    rec = Recommender.from_pretrained(judged_run)
    frame = pl.DataFrame({"user_id": ["u01", "u02"], "item_id": ["i01", "i05"], "scenario": [None, "feed"]})
    assert rec.predict(frame, ["click"])["click"].is_null().to_list() == [True, False]
    with pytest.raises(DataError, match="'live', which training did not know"):
        rec.predict(frame.with_columns(scenario=pl.lit("live")))
    for name, said in (("feed", "is known from the training"), (" feed\n", "is known from the training"), (" ", "needs a name")):
        with pytest.raises(UsageError, match=said):
            rec.add_scenario(name)


def test_a_mistyped_scenario_may_mean_one_that_came_after_the_training(judged_run: Path) -> None:
    rec = Recommender.from_pretrained(judged_run)
    event = {"user_id": "u01", "item_id": "i05", "scenario": "lvie"}
    frame = pl.DataFrame([event])
    asked = (
        lambda: rec.add_events([event]),
        lambda: rec.recommend("u01", scenario="lvie"),
        lambda: rec.predict(frame, ["click"]),
        lambda: rec.add_exposures([{**event, "time": rec.engine.newest, "clicked": 1}]),
    )
    for ask in asked:
        with pytest.raises((DataError, UsageError), match="'lvie'") as caught:
            ask()
        assert "did you mean" not in str(caught.value)
    rec.add_scenario("live")
    for ask in asked:
        with pytest.raises((DataError, UsageError), match=r"'lvie'.*did you mean 'live'"):
            ask()


def test_what_happens_in_a_new_scenario_counts_for_users_and_items(judged_run: Path) -> None:
    rec = Recommender.from_pretrained(judged_run)
    rec.add_scenario("live")
    before = rec.rank("u01", ["i05"], "click", scenario="feed")[0].score
    moment = rec.engine.newest
    shown = [{"user_id": "u01", "item_id": "i05", "time": moment, "scenario": "live", "clicked": 1}] * 30
    assert rec.add_exposures(shown) == 30
    assert rec.rank("u01", ["i05"], "click", scenario="feed")[0].score != before
    event = {"user_id": "u01", "item_id": "i05", "time": moment, "scenario": "live", "action": "click"}
    assert rec.add_events([event]) == 1


def test_the_option_of_a_new_scenario_adds_nothing(judged_run: Path) -> None:
    judge = Recommender.from_pretrained(judged_run).engine.scorer.judging
    assert judge is not None
    option = judge.judge.option(SHARED, "click")
    states = torch.randn(5, option.size.width)
    vectors, bias = torch.randn(1, option.size.width), torch.randn(1)
    torch.testing.assert_close(option(states, vectors, bias), states @ vectors.T + bias)


def test_counts_elsewhere_are_those_of_a_log_without_the_scenario(judged_run: Path) -> None:
    part = Recommender.from_pretrained(judged_run).engine.scorer.judging
    assert part is not None
    statistics = part.inputs.statistics
    assert statistics is not None
    log = statistics.log
    assert log.scenarios is not None
    rows = np.arange(0, len(log), 7)
    found = counted_elsewhere(statistics, log.users[rows], log.items[rows], log.scenarios[rows], log.moments[rows])
    for row, told in zip(rows[:40].tolist(), found, strict=False):
        rest = np.flatnonzero(log.scenarios != log.scenarios[row])
        other = Statistics(statistics.keys, statistics.labels, OutcomeLog(*(getattr(log, n)[rest] for n in vars(log))), statistics.windows)
        other.shares, other.deviation, other.strengths = statistics.shares, statistics.deviation, statistics.strengths
        asked = other.read(log.users[[row]], log.items[[row]], np.array([-1]), log.moments[[row]])[0]
        np.testing.assert_array_equal(told, asked)


def test_a_share_of_the_rows_is_trained_as_new() -> None:
    codes = np.tile(np.array([[0, 1, -1, 2]]), (500, 1))
    ranks, elsewhere = torch.zeros(2000, 2), torch.ones(2000, 2)
    torch.manual_seed(0)
    told, mixed = as_new(codes, 0.3, ranks, elsewhere)
    new = told == NEW
    assert mixed is not None
    assert 0.27 < new[:, [0, 1, 3]].mean() < 0.33
    assert not new[:, 2].any()  # where nobody knows, nothing is left out
    np.testing.assert_array_equal(mixed[:, 0].numpy().reshape(500, 4), new.astype(np.float32))
    np.testing.assert_array_equal(told[~new], codes[~new])


def test_training_for_new_scenarios_and_a_question_from_one(judged_sample: Path, tmp_path: Path) -> None:
    settings = ["train.epochs=1", "train.threads=1", "model.width=16", "model.history=12", "pretrain.epochs=0", "text.vocabulary=400"]
    settings += ["sharing.new_scenarios=0.4", "scenarios.later=[live]", "evaluation.resamples=100", "evaluation.baselines=[popularity]"]
    config = load_config(judged_sample / "config.yaml", settings)
    names = [name for name in config.tasks if name in ("next", "click")]
    config = config.model_copy(update={"tasks": {name: config.tasks[name] for name in names}})
    train(config, judged_sample, tmp_path / "run")
    judging = open_run(tmp_path / "run").judging
    assert judging is not None
    rec = Recommender.from_pretrained(tmp_path / "run")
    scores = [one.score for one in rec.rank("u01", ITEMS, "click", scenario="live")]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
