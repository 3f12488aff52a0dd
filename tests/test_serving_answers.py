"""Candidates for an Ask: what orders them, what is kept and when it is not used, time that runs short, many at once, people and items that go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.base.contracts import Histories
from m6rec.base.errors import UnknownItemError, UnknownUserError, UsageError
from m6rec.serving.asked import Ask
from m6rec.serving.engine.budget import WAYS, Costs
from m6rec.serving.engine.candidates import Candidates
from m6rec.serving.engine.config import EngineConfig
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.histories import HistoryStore
from m6rec.serving.engine.likeness import Likeness
from m6rec.serving.engine.returns import SMOOTHING, Returns
from m6rec.tasks.model_folder import ChooseScorer


def engine_of(run: Path, *, indexed: bool = False, **settings: Any) -> Engine:
    """indexed: candidates come from an index, as in a catalogue too large to score whole."""
    scorer = ChooseScorer.load(run / "model")
    if indexed:
        scorer.origin.training["index"] = {"exact_below": 1, "candidates": 30, "kind": "exact"}
    return Engine(scorer, config=EngineConfig.build(settings, source="test") if settings else None)


@pytest.fixture(scope="module")
def judged(judged_run: Path) -> Engine:
    """Read only."""
    return engine_of(judged_run)


@pytest.fixture(params=[False, True], ids=["whole", "indexed"])
def fresh(request: pytest.FixtureRequest, judged_run: Path) -> Engine:
    return engine_of(judged_run, indexed=request.param)


def items(found: Candidates) -> list[int]:
    return found.items.tolist()


def test_candidates_are_what_recommend_answers(judged: Engine) -> None:
    for who in ({"user": "u01"}, {"history": ("i03",)}, {"text": "boots"}, {"profile": "young"}):
        found = judged.answer(Ask(**who, k=7))
        answers = judged.recommend(**who, k=7)
        assert [judged.items.ids.ids[item] for item in items(found)] == [one.item_id for one in answers]
        np.testing.assert_allclose(found.vectors, judged.scorer.vectors.numpy()[found.items])
        assert found.parts.keys() == answers[0].parts.keys()
        assert (np.diff(found.scores) <= 0).all()


def test_a_task_on_candidates_orders_what_was_retrieved(judged: Engine) -> None:
    """All 60 items but those consumed are ranked; named items stand in the order of `rank`."""
    found = judged.answer(Ask(user="u01", task="click", scenario="shop", k=5))
    ids = judged.items.ids.ids
    ranked = judged.rank("u01", [ids[item] for item in items(found)], "click", scenario="shop")
    assert [one.item_id for one in ranked] == [ids[item] for item in items(found)]
    np.testing.assert_allclose(np.exp(found.scores), [one.score for one in ranked], atol=1e-6)
    np.testing.assert_allclose(found.labels["click"], [one.score for one in ranked], atol=1e-6)
    assert len(found) == len(judged.items) - len(set(judged.histories.row(judged.users.ids.dense("u01")).items.tolist()))
    named = judged.answer(Ask(user="u01", items=tuple(ids[:9]), task="click", scenario="shop"))
    assert [ids[item] for item in items(named)] == [one.item_id for one in judged.rank("u01", ids[:9], "click", scenario="shop")]
    assert items(judged.answer(Ask(user="u01", items=tuple(ids[:9])))) == [
        ids.index(one.item_id) for one in judged.rank("u01", list(ids[:9]))
    ]


def test_many_at_once_are_answered_as_one_by_one(fresh: Engine) -> None:
    users = fresh.users.ids.ids
    asks = [Ask(user=users[n], k=4 + n % 3, scenario="shop" if n % 2 else None) for n in range(12)]
    asks += [
        Ask(text="boots", k=5),
        Ask(history=("i03", "i09"), k=6),
        Ask(user=users[3], task="click", scenario="shop"),
        Ask(profile="old"),
    ]
    asks += [Ask(user=users[2], items=("i04", "i05", "i06")), Ask(user=users[1], where={"category": "tents"}, repeat="allow")]
    together = fresh.answer_many(asks)
    fresh.scorer.forget_kept()
    fresh.retrieval.forget()
    for ask, found in zip(asks, together, strict=True):
        alone = fresh.answer(ask)
        np.testing.assert_allclose(np.sort(alone.scores), np.sort(found.scores), atol=1e-4)
        assert set(items(alone)) == set(items(found)) or np.ptp(alone.scores[-3:]) < 1e-4
    with pytest.raises(UsageError, match="nobody to answer"):
        fresh.answer_many([asks[0], Ask()])


def test_what_is_kept_is_used_and_never_when_it_is_old(judged_run: Path) -> None:
    engine = engine_of(judged_run, indexed=True)
    ask = Ask(user="u01", k=5, repeat="allow")
    first = engine.answer(ask)
    assert first.cache == "miss"
    again = engine.answer(ask)
    assert again.cache == "hit"
    np.testing.assert_array_equal(again.items, first.items)
    assert engine.answer(Ask(text="boots")).cache == "off"
    engine.add_events(pl.DataFrame({"user_id": ["u01"], "item_id": ["i11"]}))
    changed = engine.answer(ask)
    assert changed.cache == "miss"
    assert not np.allclose(changed.scores, first.scores)
    assert engine.answer(ask).cache == "hit"
    twin = {**engine.items.frame.row(int(changed.items[0]), named=True), "item_id": "twin"}
    engine.add_items(pl.DataFrame([twin], schema=engine.items.frame.schema))
    grown = engine.answer(Ask(user="u01", k=60, repeat="allow"))
    assert len(engine.items) - 1 in items(grown)
    report = engine.cache_report()
    assert report["candidates"]["hits"] == 2
    assert report["histories"]["entries"] >= 1
    engine.scorer.model.upper.norm.weight.data += 0.5  # another model
    engine.scorer.refresh()
    other = engine.answer(ask)
    assert other.cache == "miss"
    assert not np.allclose(other.scores, engine_of(judged_run, indexed=True).answer(ask).scores)


def test_caches_are_bounded(judged_run: Path) -> None:
    engine = engine_of(judged_run, indexed=True, history_cache_mb=0.02, found_cache_mb=0.02)
    for user in engine.users.ids.ids[:60]:
        engine.answer(Ask(user=user, task="click", scenario="shop"))
    report = engine.cache_report()
    assert report["candidates"]["megabytes"] <= 0.02
    assert report["histories"]["megabytes"] + report["histories to judge by"]["megabytes"] <= 0.02
    assert 0 < report["histories"]["entries"] < 60


# ---- time


def test_the_fullest_way_that_fits_is_taken_before_anything_is_done() -> None:
    costs = Costs()
    for taken in (10.0, 10.0, 10.0):
        costs.add("find", "", taken)
        costs.add("read", "", 4.0)
    assert costs.way(["find", "read"], None) == ""
    assert costs.way(["find", "read"], 30) == ""
    assert costs.way(["find", "read"], 9) == "fewer candidates"
    assert costs.way(["find", "read"], 6.5) == "earlier layers"
    assert costs.way(["find", "read"], 0.01) == "index only"
    costs.add("find", "fewer candidates", 1.0)  # measured: better than was thought
    assert costs.way(["find"], 2) == "fewer candidates"


def test_one_slow_answer_does_not_settle_it() -> None:
    costs = Costs()
    costs.add("find", "", 500.0)
    ways = [costs.way(["find"], 20) for _ in range(400)]
    assert ways[0] != ""
    assert ways[-1] == ""


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("task", [None, "click"])
def test_an_answer_cut_short_is_an_answer(fresh: Engine, way: str, task: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    full = fresh.answer(Ask(user="u07", k=5, task=task, scenario="shop"))
    fresh.scorer.forget_kept()
    fresh.retrieval.forget()
    monkeypatch.setattr(Costs, "way", lambda self, steps, budget: way)
    short = fresh.answer(Ask(user="u07", k=5, task=task, scenario="shop", budget_ms=1.0))
    assert len(short) >= 5
    assert np.isfinite(short.scores).all()
    assert full.degraded == ""
    if way != "fewer candidates" or task or fresh.retrieval.active:
        assert short.degraded == way
        assert fresh.cache_report()["degraded"][way] == 1
    consumed = set(fresh.histories.row(fresh.users.ids.dense("u07")).items.tolist())
    assert not consumed & set(items(short))


def test_a_budget_of_nothing_still_answers(fresh: Engine) -> None:
    for _ in range(3):
        found = fresh.answer(Ask(user="u05", k=3, budget_ms=1e-6))
        assert len(found) == 3
    assert found.degraded == "index only"
    assert fresh.answer(Ask(user="u05", k=3, budget_ms=1e6)).degraded == ""


# ---- returns and dislikes


def log(rows: list[list[int]]) -> HistoryStore:
    return HistoryStore(Histories.from_lists(rows), [], [])


def test_rates_of_return_by_hand() -> None:
    """Item 0: had by three, twice by one; item 1: had by one, thrice; item 2: never."""
    store = log([[0, 0, 1], [0], [0], [1, 1, 1]])
    overall = (2 + 0.5) / (5 + 1)
    rates = np.exp(Returns(store).log_rates(np.array([0, 1, 2])))
    m = SMOOTHING
    np.testing.assert_allclose(rates, [(1 + m * overall) / (3 + m), (1 + m * overall) / (2 + m), overall])


def test_returns_follow_events_and_people(judged_run: Path) -> None:
    engine = engine_of(judged_run)
    everything = np.arange(len(engine.items))
    engine.returns.log_rates(everything)
    engine.add_events(pl.DataFrame({"user_id": ["u01", "u01", "new one", "new one"], "item_id": ["i03", "i03", "i04", "i04"]}))
    engine.forget("u02")
    np.testing.assert_allclose(engine.returns.log_rates(everything), Returns(engine.histories).log_rates(everything))


@pytest.mark.parametrize(("again", "loved"), [(20, True), (0, False)])
def test_consumed_items_compete_as_often_as_people_come_back(again: int, loved: bool, judged_run: Path) -> None:
    """Planted: everybody comes back to everything, or nobody to anything. Where people do, what was consumed stands where its score puts it."""
    engine = engine_of(judged_run)
    histories = engine.histories.compact()
    rows = [np.tile(np.unique(histories.row(user)), 1 + bool(again)) for user in range(len(histories))]
    engine.returns = Returns(log([list(row) for row in rows]))
    user = 5
    ask: dict[str, Any] = {"user": engine.users.ids.ids[user], "k": 60}
    plain, modelled = engine.answer(Ask(**ask, repeat="allow")), engine.answer(Ask(**ask, repeat="model"))
    had = set(histories.row(user).tolist())
    best = [place for place, item in enumerate(items(modelled)) if item in had]
    before = [place for place, item in enumerate(items(plain)) if item in had]
    if loved:
        assert sum(best) <= sum(before) + len(had)
        assert engine.returns.log_rates(np.array(sorted(had))).min() > -0.2
    else:
        assert min(best) > min(before) or sum(best) > sum(before)
        assert engine.returns.log_rates(np.array(sorted(had))).max() < -3
    assert set(items(plain)) == set(items(modelled))
    assert not had & set(items(engine.answer(Ask(**ask, repeat="exclude"))))


def test_a_dislike_lowers_what_is_like_it_within_the_request(fresh: Engine) -> None:
    plain = fresh.answer(Ask(user="u09", k=40, repeat="allow"))
    likeness = Likeness(fresh.scorer.vectors)
    disliked = int(plain.items[0])
    told = fresh.answer(Ask(user="u09", k=40, repeat="allow", disliked=(fresh.items.ids.ids[disliked],)))
    assert disliked not in items(told)
    before, after = dict(zip(items(plain), plain.scores, strict=True)), dict(zip(items(told), told.scores, strict=True))
    for item in set(before) & set(after):
        taken = fresh.config.similar_dislikes * likeness.of(np.array([item]), np.array([disliked]))[0]
        assert before[item] - after[item] == pytest.approx(taken, abs=1e-4)
    assert any(before[item] - after[item] > 0.1 for item in set(before) & set(after))
    again = fresh.answer(Ask(user="u09", k=40, repeat="allow"))
    np.testing.assert_array_equal(again.items, plain.items)


def test_events_that_are_dislikes_count_as_such(judged_run: Path) -> None:
    engine = engine_of(judged_run, disliked_actions=["view"])
    names = engine.dataset.action_names
    assert "view" in names
    row = engine.histories.row(engine.users.ids.dense("u05"))
    assert row.actions is not None
    viewed = set(row.items[row.actions == names.index("view")].tolist())
    assert viewed
    assert not viewed & set(items(engine.answer(Ask(user="u05", k=60, repeat="allow"))))


# ---- people and items that go


def test_nothing_is_left_of_a_forgotten_person(judged_run: Path) -> None:
    """Histories, statistics and transition counts are those of data without the person; they are unknown at once, and may come back as new."""
    engine = engine_of(judged_run)
    scorer, user = engine.scorer, engine.users.ids.dense("u05")
    engine.answer(Ask(user="u05", task="click", scenario="shop"))
    past = engine.histories.compact()
    without = past.window(drop_last=np.where(np.arange(len(past)) == user, past.lengths, 0))
    expected = scorer.catalogue.with_priors(without, scorer.task.config.prior).priors
    assert any(abs(expected[name] - scorer.catalogue.priors[name]).max() > 1e-6 for name in expected)
    engine.forget("u05")
    for name, table in expected.items():
        assert abs(table - scorer.catalogue.priors[name]).max() < 1e-7
    assert scorer.judging is not None
    assert scorer.judging.inputs.statistics is not None
    assert user not in scorer.judging.inputs.statistics.log.users
    assert not len(engine.histories.row(user).items)
    assert not len(engine.histories.compact().row(user))
    assert engine.users.frame.drop("user_id").row(user) == (None,) * (engine.users.frame.width - 1) or all(
        value is None or value == [] for value in engine.users.frame.drop("user_id").row(user)
    )
    with pytest.raises(UnknownUserError):
        engine.answer(Ask(user="u05"))
    with pytest.raises(UnknownUserError):
        engine.forget("u05")
    assert engine.answer(Ask(user="u06", task="click", scenario="shop")).items.size
    engine.add_events(pl.DataFrame({"user_id": ["u05"], "item_id": ["i03"]}))
    assert engine.histories.row(user).items.tolist() == [engine.items.ids.dense("i03")]
    assert engine.answer(Ask(user="u05")).items.size


def test_dropped_items_are_never_answered(fresh: Engine) -> None:
    best = fresh.items.ids.ids[int(fresh.answer(Ask(user="u09", k=1)).items[0])]
    assert fresh.drop_items([best, best]) == 1
    row = fresh.items.ids.dense(best)
    asks = [Ask(user="u09", k=60), Ask(user="u09", k=60, task="click", scenario="shop"), Ask(user="u09", k=60, budget_ms=1e-9)]
    for ask in asks:
        assert row not in items(fresh.answer(ask))
    assert best not in fresh.recommend_many(["u09"], k=60)["item_id"].to_list()
    assert best not in [one.item_id for one in fresh.similar_items("i03" if best != "i03" else "i04", 60)]
    with pytest.raises(UnknownItemError, match="was taken out of the catalogue"):
        fresh.rank("u09", [best])
    with pytest.raises(UnknownItemError):
        fresh.drop_items(["nothing like it"])
    assert fresh.answer(Ask(history=(best,), k=3)).items.size  # it was consumed all the same
    assert fresh.restore_items([best]) == 1
    assert items(fresh.answer(Ask(user="u09", k=1))) == [row]


# ---- many at once


def test_readers_never_see_half_of_a_change(judged_run: Path) -> None:
    """Items and events come while others ask: no answer fails, names an item that is not there, or mixes two states."""
    engine = engine_of(judged_run, indexed=True)
    frame, failed, done = engine.items.frame, [], threading.Event()
    users = engine.users.ids.ids[:20]

    def ask(seed: int) -> None:
        turn = seed
        while not done.is_set():
            turn += 1
            try:
                found = engine.answer(Ask(user=users[turn % 20], k=10, task="click" if turn % 3 else None, scenario="shop"))
                assert found.items.max() < len(engine.items)
                assert np.isfinite(found.scores).all()
                assert len(engine.recommend(users[turn % 20], k=5, include=["click"], scenario="shop")) == 5
            except Exception as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(6):
            row = {**frame.row(number, named=True), "item_id": f"came {number}"}
            engine.add_items(pl.DataFrame([row], schema=frame.schema))
            engine.add_events(pl.DataFrame({"user_id": [users[number]], "item_id": [f"came {number}"]}))
        engine.forget(users[19])
        users[19] = users[18]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert [error for error in failed if not isinstance(error, UnknownUserError)] == []
    last = engine.histories.row(engine.users.ids.dense(users[5])).items[-1]
    assert engine.items.ids.ids[int(last)] == "came 5"


BAD: dict[str, tuple[Callable[[Engine], Any], str]] = {
    "k": (lambda e: e.answer(Ask(user="u01", k=0)), "k is 0; ask for 1 or more"),
    "nobody": (lambda e: e.answer(Ask()), "nobody to answer; give user, history, text or profile"),
    "no items": (lambda e: e.answer(Ask(user="u01", items=())), "give a list of item ids to rank"),
    "task": (lambda e: e.answer(Ask(user="u01", task="clik")), "there is no choose task 'clik'"),
    "repeat": (lambda e: e.answer(Ask(user="u01", repeat="never")), "repeat is 'never'; it is exclude, allow or model"),  # type: ignore[arg-type]
    "scenario": (lambda e: e.answer(Ask(user="u01", task="click")), "asked in several scenarios; say which"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_ask_gets_one_line(name: str, judged: Engine) -> None:
    ask, said = BAD[name]
    with pytest.raises(UsageError, match=said) as caught:
        ask(judged)
    assert "\n" not in str(caught.value)


def test_a_million_is_everything(judged: Engine) -> None:
    assert len(judged.answer(Ask(user="u01", k=1_000_000, repeat="allow"))) == len(judged.items)
    assert Recommender(judged).recommend("u01", k=1_000_000, repeat="allow")[0].score >= -50
