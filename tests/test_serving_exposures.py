"""Exposures that come in while the model serves: counted as the training counted its own, and by the next answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.base.errors import DataError, UnknownItemError, UnknownUserError, UsageError
from m6rec.serving.engine.outcomes import outcome_log, read_exposures


@pytest.fixture
def fresh(judged_run: Path) -> Recommender:
    return Recommender.from_pretrained(judged_run)


def test_the_training_log_is_read_as_the_training_read_it(fresh: Recommender, judged_sample: Path) -> None:
    frame = pl.read_parquet(judged_sample / "exposures.parquet")
    engine = fresh.engine
    judging = engine.scorer.judging
    assert judging is not None
    statistics = judging.inputs.statistics
    assert statistics is not None
    told = read_exposures(frame, engine.scorer.origin.training)
    users, items = engine.users.ids.many(told.users), engine.items.ids.many(told.items)
    log = outcome_log(told, frame, users, items, judging.judge, statistics, engine.dataset.scenario_names)
    counted = statistics.log
    assert len(log) == len(counted)

    def in_order(one: np.ndarray, log_: object) -> np.ndarray:
        return one[np.lexsort((log_.items, log_.users, log_.moments))]  # type: ignore[attr-defined]

    for column in ("users", "items", "scenarios", "moments", "outcomes"):
        np.testing.assert_array_equal(in_order(getattr(log, column), log), in_order(getattr(counted, column), counted), err_msg=column)


def test_the_next_answer_counts_them(fresh: Recommender) -> None:
    """An item that is clicked whenever it is shown rises, one that never is sinks; the others' order among themselves hardly moves."""
    users, items = fresh.engine.users.ids.ids, fresh.engine.items.ids.ids[:60]
    before = {one.item_id: one.score for one in fresh.rank(user=users[0], items=items, task="click", scenario="shop")}
    order = sorted(before, key=before.__getitem__)
    liked, refused = order[10], order[-10]
    now = fresh.engine.newest
    rows = [
        {"user_id": users[10 + n % 40], "item_id": item, "time": now + n, "scenario": "shop", "clicked": int(item == liked)}
        for n in range(400)
        for item in (liked, refused)
    ]
    assert fresh.add_exposures(rows) == 800
    after = {one.item_id: one.score for one in fresh.rank(user=users[0], items=items, task="click", scenario="shop")}
    assert after[liked] > before[liked]
    assert after[refused] < before[refused]
    predicted = fresh.predict(
        {"user_id": [users[0]] * 60, "item_id": items, "scenario": ["shop"] * 60, "time": [fresh.engine.newest] * 60}, ["click"]
    )
    np.testing.assert_allclose([after[item] for item in items], predicted["click"].to_numpy(), atol=1e-5)


def test_bad_exposures_are_one_line_and_nothing_is_counted(fresh: Recommender, tiny_run: Path) -> None:
    user, item = fresh.engine.users.ids.ids[0], fresh.engine.items.ids.ids[0]
    good = {"user_id": user, "item_id": item, "time": fresh.engine.newest, "scenario": "shop", "clicked": 1}
    judging = fresh.engine.scorer.judging
    assert judging is not None
    assert judging.inputs.statistics is not None
    rows = judging.inputs.statistics.rows
    with pytest.raises(DataError, match="needs a time"):
        fresh.add_exposures([{name: value for name, value in good.items() if name != "time"}])
    with pytest.raises(DataError, match="have the scenario 'shp', which training did not know; did you mean 'shop'"):
        fresh.add_exposures([good, {**good, "scenario": "shp"}])
    with pytest.raises(DataError, match=r"no column that is a label of a task.*labels: clicked, .*did you mean 'clicked'"):
        fresh.add_exposures([{**{name: value for name, value in good.items() if name != "clicked"}, "click": 1}])
    with pytest.raises(DataError, match="clicked"):
        fresh.add_exposures([good, {**good, "clicked": 7}])
    with pytest.raises(UnknownUserError):
        fresh.add_exposures([{**good, "user_id": "nobody at all"}])
    with pytest.raises(UnknownItemError):
        fresh.add_exposures([{**good, "item_id": "nothing at all"}])
    assert judging.inputs.statistics.rows == rows
    with pytest.raises(UsageError, match="counts no exposures"):
        Recommender.from_pretrained(tiny_run).add_exposures([good])
