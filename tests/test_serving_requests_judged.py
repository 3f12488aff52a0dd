"""Candidates of one request by the quick way are judged as rows are by the way that training and evaluation use, number by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from m6rec import Recommender
from m6rec.data.statistic_keys import ItemValues, StatisticKeys
from m6rec.data.statistics import OutcomeLog, Statistics
from m6rec.data.statistics_by_key import KeyStatistics
from m6rec.language_model.upper import UpperLayers
from m6rec.language_model.upper_arrays import UpperArrays
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.judging import _candidate_rows, context_contents, judge_request
from m6rec.tasks.judge_request import Asked, RequestJudge

DAY = 86_400.0


@pytest.fixture(scope="module")
def engine(judged_run: Path) -> Engine:
    return Recommender.from_pretrained(judged_run).engine


def rows_of(engine: Engine, who: dict[str, Any], scenario: str, moment: float, context: dict[str, Any] | None) -> tuple[Any, ...]:
    """The request, its candidates, and both ways' statistics and answers."""
    scorer, judge = engine.scorer, engine.scorer.request_judge
    requests = engine._request(who.get("user"), who.get("history"), None, who.get("profile"), scenario)
    items = np.unique(np.concatenate([requests.histories.items[-4:], np.arange(0, len(engine.items), 2)]))
    part = scorer.judging
    assert part is not None
    code = part.judge.sizes.scenarios.index(scenario)
    rows = _candidate_rows(part, requests, items, code, moment, context_contents(scorer, part, context))
    tasks = [task for task in part.judge.configs if scenario in part.judge.scenarios_of(task)]
    profiles = scorer.profile_contents(requests)
    slow = part.answers(scorer.model, rows, requests.histories, scorer.catalogue.contents, profiles, tasks, scorer.vectors)
    said = judge.context(repr(context), lambda: context_contents(scorer, part, context))
    assert requests.users is not None
    asked = Asked(int(requests.users[0]), code, moment, said, scorer.vectors.numpy())
    return requests, items, rows, slow, asked, tasks


PEOPLE = [{"user": "u01"}, {"user": "u40"}, {"history": ["i03"]}, {"history": ["i03", "i07", "i03"]}, {"history": []}, {"profile": "young"}]


@pytest.mark.parametrize("moment", [0.0, -3 * DAY, 400 * DAY, float("nan")])
@pytest.mark.parametrize("who", PEOPLE, ids=str)
def test_pieces_side_by_side_are_the_rows_and_answers_agree(engine: Engine, who: dict[str, Any], moment: float) -> None:
    """moment: after what is known. A candidate's statistics, put together of pieces, are those of its row; so are the answers of all tasks."""
    judge = engine.scorer.request_judge
    assert judge.able
    for scenario in ("shop", "feed"):
        requests, items, rows, slow, asked, tasks = rows_of(engine, who, scenario, engine.newest + moment, {"device": "phone"})
        read = engine.scorer.read_for_judging(requests)
        assert judge.pieces is not None
        keys = judge.pieces.keys
        told = keys.of_request(asked.user, asked.scenario, asked.moment, read.events, items)
        whole = np.full((len(items), len(keys.names)), np.nan, dtype=np.float32)
        whole[:, keys.item], whole[:, keys.whole] = keys.of_items(items, asked.scenario, asked.moment), told.whole
        for columns, row in zip(keys.alone, told.told, strict=False):
            whole[:, columns] = row
        for field, columns in enumerate(keys.crossed):
            whole[:, columns] = told.told[len(keys.alone) + told.place[:, field]]
        for field, columns in enumerate([*keys.same_field, keys.same_item]):
            whole[:, columns] = told.own[told.place[:, field]]
        np.testing.assert_allclose(whole, rows.statistics, atol=1e-5)
        for _ in range(3):  # the second time the items' pieces begin to be kept, the third they are there
            quick = judge.answers(asked, read, items, tasks)
            for task in tasks:
                np.testing.assert_allclose(quick[task], slow[task], atol=2e-6, err_msg=task)


def test_where_no_candidate_is_left_nothing_is_judged(engine: Engine) -> None:
    for task in ("click", "rating"):
        assert engine.recommend("u01", task=task, scenario="shop", text="under 0.001") == []
        assert engine.recommend("u01", task=task, scenario="shop", where={"price": ">100000"}) == []


def test_items_that_came_later_are_judged_too(judged_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Recommender.from_pretrained(judged_run).engine
    row = {**engine.items.frame.row(3, named=True), "item_id": "later"}
    engine.add_items(pl.DataFrame([row], schema=engine.items.frame.schema))
    before = engine.rank("u01", ["later", "i03"], "click", scenario="shop")
    monkeypatch.setattr(RequestJudge, "able", False)
    after = engine.rank("u01", ["later", "i03"], "click", scenario="shop")
    assert [a.item_id for a in before] == [a.item_id for a in after]
    assert [a.score for a in before] == pytest.approx([a.score for a in after], abs=2e-6)


def test_a_new_event_and_an_option_are_seen_by_the_next_answer(judged_run: Path) -> None:
    """What is kept of a person and of the tasks is of a state of the data, not older."""
    engine = Recommender.from_pretrained(judged_run).engine
    items = engine.items.ids.ids[:20]

    def scores() -> dict[str, float]:
        return {a.item_id: a.score for a in engine.rank("u01", items, "click", scenario="shop")}

    first = scores()
    assert scores() == pytest.approx(first, abs=1e-7)
    hits = engine.scorer._read_histories.hits
    assert hits > 0
    engine.add_events(pl.DataFrame({"user_id": ["u01"], "item_id": [items[0]], "time": [engine.newest]}))
    assert scores() != pytest.approx(first, abs=1e-6)
    slow = engine.predict(pl.DataFrame({"user_id": ["u01"] * 20, "item_id": items, "scenario": ["shop"] * 20}), ["click"])
    assert scores() == pytest.approx(dict(zip(items, slow["click"].to_list(), strict=True)), abs=2e-6)


def test_what_is_kept_of_a_person_serves_other_candidates_and_their_own_items(judged_run: Path) -> None:
    """Candidates whose values were met before, others, some of both, and items that the person had: each as rows are judged, whatever came before."""
    engine = Recommender.from_pretrained(judged_run).engine
    scorer, names = engine.scorer, engine.items.ids.ids
    had = {names[item] for item in engine.histories.row(engine.users.ids.dense("u01")).items}
    strange = [name for name in names if name not in had]
    pieces = scorer.request_judge.pieces
    assert pieces is not None
    sets = [strange[:6], strange[:6], strange[3:20], sorted(had)[:4], strange[20:] + sorted(had), strange[::2], strange[1::2]]
    for scenario in ("shop", "feed"):
        for asked in sets:
            quick = {one.item_id: one.score for one in engine.rank("u01", asked, "click", scenario=scenario)}
            frame = pl.DataFrame({"user_id": ["u01"] * len(asked), "item_id": asked, "scenario": [scenario] * len(asked)})
            slow = engine.predict(frame, ["click"])["click"].to_list()
            assert quick == pytest.approx(dict(zip(asked, slow, strict=True)), abs=2e-6)
    assert pieces.report()["hits"] > 2  # the same candidates again, and candidates whose values were all met
    scorer.forget_kept()
    assert pieces.report()["entries"] == 0


def test_fields_named_like_something_that_is_counted_are_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of a field called 'user' can't be told from those of the user: requests are judged by rows, and the reason names the columns."""
    codes = np.arange(4, dtype=np.int32).reshape(-1, 1) % 2
    log = OutcomeLog(np.zeros(4, np.int64), np.arange(4), None, np.arange(4.0), np.ones((4, 1), np.float32))
    for name, able in (("user", False), ("colour", True)):
        values = [ItemValues(name, codes, 2)]
        keys = KeyStatistics(Statistics(StatisticKeys(3, values, 0), ["click"], log, windows=[]), values, ["click"])
        assert keys.complete == able
        assert ("user: shown" in keys.strange) != able
    judge = engine.scorer.request_judge
    assert judge.hindrance == ""
    assert judge.pieces is not None
    monkeypatch.setattr(judge.pieces.keys, "complete", False)
    monkeypatch.setattr(judge.pieces.keys, "strange", ["user: shown", "user: click"])
    assert "'user: shown', 'user: click' can't be told apart" in judge.hindrance


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_upper_layers_in_arrays_are_those_of_training(length: int, timed: bool) -> None:
    """Reading whole, reading on by one slot, and candidates, against `UpperLayers`."""
    torch.manual_seed(length)
    upper = UpperLayers(16, 2, 3).eval()
    for parameter in upper.parameters():
        parameter.data.normal_(0, 0.2)
    for bias in upper.biases:
        bias.time.data[0] = 0
    slots = torch.randn(1, length, 16)
    times = torch.rand(1, length, dtype=torch.float64).cumsum(1) * 1e6 if timed else None
    if times is not None:
        times[0, 0] = float("nan")
    arrays = UpperArrays(upper)
    plain = None if times is None else times[0].numpy()
    read = arrays.read(slots[0].numpy(), plain)
    with torch.no_grad():
        np.testing.assert_allclose(read.state, upper(slots, times)[0, -1], atol=2e-6)
        _, cache = upper.read(slots, times, torch.tensor([length]), 2)
        asked, now = torch.randn(7, 16), 2e6 if timed else None
        moments = None if now is None else torch.full((1, 7), now, dtype=torch.float64)
        wanted = upper.candidates(asked[None], cache, torch.full((1, 7), length), moments, layers=2)[0]
    np.testing.assert_allclose(arrays.candidates(asked.numpy(), read, now, 2), wanted, atol=2e-6)
    if length > 1:
        shorter = arrays.read(slots[0, :-1].numpy(), None if plain is None else plain[:-1])
        grown = arrays.extend(shorter, slots[0, -1].numpy(), float("nan") if plain is None else float(plain[-1]))
        np.testing.assert_allclose(grown.state, read.state, atol=2e-6)
        np.testing.assert_allclose(grown.keys[2], read.keys[2], atol=2e-6)


def test_judge_request_reads_by_the_quick_way(engine: Engine) -> None:
    requests = engine._request("u01", None, None, None, "shop")
    found = judge_request(engine.scorer, requests, np.arange(5), ["click", "rating"], "shop", None, engine.newest)
    assert set(found) == {"click", "rating"}
    assert len(engine.scorer._read_slots)
