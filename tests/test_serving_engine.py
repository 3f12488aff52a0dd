"""The engine over a trained folder: who is asked for, what may be answered, what was added a second ago. Planted twins of real items."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec.base.contracts import Histories, Requests, Scored
from m6rec.base.errors import DataError, UnknownItemError, UnknownUserError, UsageError
from m6rec.serving.engine.engine import Engine
from m6rec.tasks.agreement import Agreement
from m6rec.tasks.choose_mixture import SOFTMAX_PART
from m6rec.tasks.model_folder import ChooseScorer


@pytest.fixture(scope="module")
def engine(tiny_run: Path) -> Engine:
    """Read only; `fresh` is for tests that add."""
    return Engine(ChooseScorer.load(tiny_run / "model"))


@pytest.fixture
def fresh(tiny_run: Path) -> Engine:
    return Engine(ChooseScorer.load(tiny_run / "model"))


def ids(answers: list[Scored]) -> list[str]:
    return [answer.item_id for answer in answers]


def facts(answers: list[Scored]) -> dict[str, float]:
    return {answer.item_id: answer.score for answer in answers}


def items_of(engine: Engine, user: str) -> list[str]:
    return [engine.items.ids.ids[item] for item in engine.histories.row(engine.users.ids.dense(user)).items]


def twin(engine: Engine, of: str, name: str = "new") -> dict[str, Any]:
    """The row of item `of` under another id."""
    return {**engine.items.frame.row(engine.items.ids.dense(of), named=True), "item_id": name}


def state(engine: Engine) -> list[Any]:
    """Everything that a refused addition must leave as it was."""
    asked = {"k": 99, "repeat": "allow"}
    return [
        len(engine.items),
        len(engine.users),
        engine.users.frame.height,
        len(engine.dataset.items),
        facts(engine.recommend(user=engine.users.ids.ids[0], **asked)),
        facts(engine.recommend(text="boots", **asked)),
        facts(engine.similar_items(engine.items.ids.ids[0], 99)),
        [len(engine.histories.row(user).items) for user in range(len(engine.users) + 1)],
        [part.shape for part in engine.scorer.catalogue.priors.values()],
    ]


WHO: dict[str, dict[str, Any]] = {
    "user": {"user": "u05"},
    "history": {"history": ["i03", "i07", "i03"]},
    "text": {"text": "running shoes"},
    "profile": {"profile": {"age": 33, "gender": "female", "interests": ["camping", "running"], "shoe size": 42}},
    "profile in words": {"profile": "a teacher who likes camping"},
    "user, history": {"user": "u05", "history": ["i03"]},
    "user, text": {"user": "u05", "text": "running shoes"},
    "user, profile": {"user": "u05", "profile": {"occupation": "teacher"}},
    "history, text, profile": {"history": ["i03"], "text": "tent", "profile": {"age": 20}},
    "everything": {"user": "u05", "history": ["i03"], "text": "tent", "profile": {"age": 20}, "scenario": "shop"},
    "nothing known": {"history": []},
    "no words": {"text": ""},
    "unknown words": {"text": "zyxxyz ☃"},
    "empty profile": {"profile": {}},
}


@pytest.mark.parametrize("name", WHO)
def test_anybody_gets_finite_ordered_scores_with_parts(name: str, engine: Engine) -> None:
    who = WHO[name]
    answers = engine.recommend(**who, k=99, repeat="allow")
    assert sorted(ids(answers)) == sorted(engine.items.ids.ids)
    scores = [answer.score for answer in answers]
    assert all(map(math.isfinite, scores))
    assert scores == sorted(scores, reverse=True)
    titles = dict(zip(engine.items.ids.ids, engine.items.titles(), strict=True))
    for answer in answers:
        assert answer.title == titles[answer.item_id]
        assert set(answer.parts) == {SOFTMAX_PART, *engine.scorer.task.parts}
        assert all(0 <= share <= 1 for share in answer.parts.values())
        assert math.isclose(sum(answer.parts.values()), 1, abs_tol=1e-6)
    assert ids(engine.recommend(**who, k=7, repeat="allow")) == ids(answers)[:7]


def test_each_thing_said_matters(engine: Engine) -> None:
    """Every part of a request moves the scores: nothing said is silently left out."""
    said: dict[str, Any] = {"user": "u05", "history": ["i03"], "text": "tent", "profile": {"age": 20, "gender": "male"}, "scenario": "shop"}
    whole = facts(engine.recommend(**said, k=99, repeat="allow"))
    for name in said:
        rest = {other: value for other, value in said.items() if other != name}
        assert facts(engine.recommend(**rest, k=99, repeat="allow")) != whole, name


def test_a_user_is_their_history_and_profile(engine: Engine) -> None:
    """The engine asks for what the dataset holds: the same scores as the scorer gives to the raw rows."""
    row = engine.users.ids.dense("u05")
    requests = Requests(engine.dataset.histories.rows(np.array([row])), users=np.array([row]))
    scores = engine.scorer.scores(requests)[0]
    answers = facts(engine.recommend(user="u05", k=99, repeat="allow"))
    assert answers == {name: pytest.approx(scores[item], abs=1e-5) for item, name in enumerate(engine.items.ids.ids)}


def test_one_at_a_time_is_as_all_at_once(engine: Engine) -> None:
    users = np.arange(len(engine.users))
    scenario = engine.dataset.scenario_names.index("feed")
    texts = ["tent" if user % 3 == 0 else "" for user in users]
    requests = Requests(engine.dataset.histories, users=users, texts=texts, scenarios=np.full(len(users), scenario))
    batch = engine.scorer.scores(requests)
    for user in range(0, len(users), 7):
        answers = engine.recommend(user=engine.users.ids.ids[user], text=texts[user], scenario="feed", k=99, repeat="allow")
        single = np.array([facts(answers)[name] for name in engine.items.ids.ids])
        np.testing.assert_allclose(single, batch[user], atol=1e-4)


def test_the_history_is_left_out_unless_asked_for(engine: Engine) -> None:
    seen = set(items_of(engine, "u05"))
    assert seen
    assert not seen & set(ids(engine.recommend(user="u05", k=99)))
    assert len(engine.recommend(user="u05", k=99)) == len(engine.items) - len(seen)
    assert seen <= set(ids(engine.recommend(user="u05", k=99, repeat="allow")))
    assert not {"i03", *seen} & set(ids(engine.recommend(user="u05", history=["i03"], k=99)))


def test_filters_hold_whatever_the_score(engine: Engine) -> None:
    rows = engine.items.frame.to_dicts()
    brand = rows[0]["brand"]
    wanted = {row["item_id"] for row in rows if row["brand"] == brand and row["price"] is not None and row["price"] <= 60}
    assert wanted
    answers = engine.recommend(text="gift", where={"brand": brand, "price": "<=60"}, k=99)
    assert set(ids(answers)) == wanted
    plain = facts(engine.recommend(text="gift", k=99))
    assert facts(answers) == {name: plain[name] for name in wanted}, "a filter leaves out and changes nothing else"
    assert engine.recommend(text="gift", where={"brand": "no such brand"}) == []


def test_what_is_typed_is_found(engine: Engine) -> None:
    titles = engine.items.titles()
    found = sum(name in ids(engine.recommend(text=title, k=3)) for name, title in zip(engine.items.ids.ids, titles, strict=True))
    assert found >= 0.9 * len(titles)


@pytest.mark.parametrize(
    ("who", "error", "words"),
    [
        ({}, UsageError, "give user, history, text or profile"),
        ({"user": "u05", "k": 0}, UsageError, "k is 0"),
        ({"history": "i03"}, UsageError, "history is the text 'i03'; give a list"),
        ({"user": "nobody"}, UnknownUserError, "user 'nobody' is not known"),
        ({"user": "no\nbody"}, UsageError, "without control characters"),
        ({"history": ["i03", "i9999"]}, UnknownItemError, "item 'i9999' is not in the catalogue"),
        ({"history": ["x" * 1_000_000]}, UnknownItemError, "is not in the catalogue"),
        ({"user": "u05", "scenario": "shopp"}, UsageError, "no scenario 'shopp'; did you mean 'shop'"),
        ({"user": "u05", "where": {"brnd": "x"}}, UsageError, "did you mean 'brand'"),
        ({"text": "a \ud800 b"}, DataError, "lone surrogate"),
    ],
)
def test_wrong_requests_are_one_line(who: dict[str, Any], error: type[Exception], words: str, engine: Engine) -> None:
    with pytest.raises(error) as caught:
        engine.recommend(**who)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_unknown_ids_may_be_answered_like_nobody(engine: Engine) -> None:
    lenient = Engine(engine.scorer, unknown="popular")
    nobody = facts(lenient.recommend(history=[], k=99))
    assert facts(lenient.recommend(user="nobody", k=99)) == nobody
    assert facts(lenient.recommend(history=["i9999"], k=99)) == nobody
    assert facts(lenient.recommend(history=["i9999", "i03"], k=99)) == facts(engine.recommend(history=["i03"], k=99))
    with pytest.raises(UnknownItemError):
        lenient.similar_items("i9999")


def test_similar_items_are_cosines(engine: Engine) -> None:
    vectors = engine.scorer.vectors.numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit[engine.items.ids.dense("i03")]
    answers = facts(engine.similar_items("i03", 99))
    assert answers == {name: pytest.approx(cosines[row], abs=1e-5) for row, name in enumerate(engine.items.ids.ids) if name != "i03"}
    assert list(answers.values()) == sorted(answers.values(), reverse=True)
    assert ids(engine.similar_items("i03", 4)) == list(answers)[:4]
    with pytest.raises(UnknownItemError, match="did you mean 'i"):
        engine.similar_items("i3")
    with pytest.raises(UsageError, match="k is 0"):
        engine.similar_items("i03", 0)


def test_added_items_are_recommended_at_once(fresh: Engine) -> None:
    """By the words of their title, to whoever had something like them, and among the similar ones."""
    before = facts(fresh.similar_items("i04", 99))
    new = twin(fresh, "i04")
    assert fresh.add_items(pl.DataFrame([new])) == 1
    assert len(fresh.items) == len(before) + 2
    assert "new" in ids(fresh.recommend(text=new["title"], k=3))
    assert "new" in ids(fresh.recommend(history=["i04"], k=10))
    assert "new" in ids(fresh.similar_items("i04", 10))
    assert "i04" in ids(fresh.similar_items("new", 10))
    assert "i04" in ids(fresh.recommend(history=["new"], k=10))
    assert ids(fresh.recommend(text=new["title"], where={"brand": new["brand"]}, k=99)).count("new") == 1
    fresh.scorer.agreement = Agreement()  # the mixture alone is a distribution
    scores = [answer.score for answer in fresh.recommend(user="u05", k=99, repeat="allow")]
    assert math.isclose(sum(math.exp(score) for score in scores), 1, abs_tol=1e-4)


def test_items_that_say_little_or_much_can_be_added(fresh: Engine) -> None:
    """Only an id; unknown words; a megabyte of title; other columns; many at once."""
    count = len(fresh.items)
    assert fresh.add_items(pl.DataFrame({"item_id": [501, 502]})) == 2
    assert fresh.add_items(pl.DataFrame({"item_id": ["strange"], "title": ["Zyxxyz ☃ 靴"], "colour": ["red"]})) == 1
    assert fresh.add_items(pl.DataFrame({"item_id": ["long"], "title": ["running shoes " * 80_000]})) == 1
    assert fresh.add_items(pl.DataFrame([twin(fresh, f"i{row:02d}", f"n{row}") for row in range(1, 21)])) == 20
    assert fresh.add_items(pl.DataFrame({"item_id": []}, schema={"item_id": pl.String})) == 0
    answers = fresh.recommend(text="running shoes", k=999)
    assert len(answers) == count + 24
    assert all(math.isfinite(answer.score) for answer in answers)
    assert {"501", "502", "strange", "long"} <= set(ids(answers))
    assert len(fresh.similar_items("501", 5)) == 5
    assert len(fresh.recommend(history=["501", "strange"], k=5)) == 5


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"item_id": ["new", "i05"], "title": ["New", "Old"]}, "item 'i05' is in the catalogue already"),
        ({"item_id": ["new", "new"], "title": ["one", "two"]}, "'new' stands for different rows"),
        ({"title": ["New"]}, "no column 'item_id'"),
        ({"item_id": ["new", None], "title": ["New", "Old"]}, "row 2 has no item_id"),
        ({"item_id": ["new"], "price": ["cheap"]}, "price is 'cheap'"),
        ({"item_id": [["new"]]}, "not ids"),
    ],
)
def test_refused_items_leave_nothing_behind(frame: dict[str, Any], words: str, fresh: Engine) -> None:
    before = state(fresh)
    with pytest.raises(DataError) as caught:
        fresh.add_items(pl.DataFrame(frame))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert state(fresh) == before


def test_added_events_are_used_by_the_next_answer(fresh: Engine) -> None:
    had = items_of(fresh, "u05")
    unseen = [name for name in fresh.items.ids.ids if name not in had][:2]
    before = facts(fresh.recommend(user="u05", k=99))
    late = 2e9 if fresh.dataset.histories.times is None else float(np.nanmax(fresh.dataset.histories.times))
    events = {"user_id": ["u05", "u05"], "item_id": unseen, "time": [late + 2, late + 1], "action": ["buy", "view"]}
    assert fresh.add_events(pl.DataFrame(events)) == 2
    assert items_of(fresh, "u05") == [*had, unseen[1], unseen[0]], "by time, not by row"
    after = facts(fresh.recommend(user="u05", k=99))
    assert set(before) - set(after) == set(unseen)
    assert {name: before[name] for name in after} != after


def test_a_new_user_becomes_known(fresh: Engine) -> None:
    """Somebody with two events and nothing else is exactly a request with that history."""
    users = len(fresh.users)
    asked = facts(fresh.recommend(history=["i07", "i11"], k=99))
    assert fresh.add_events(pl.DataFrame({"user_id": ["zed", "zed", "amy"], "item_id": ["i07", "i11", "i02"]})) == 3
    assert len(fresh.users) == users + 2
    assert items_of(fresh, "zed") == ["i07", "i11"]
    answers = facts(fresh.recommend(user="zed", k=99))
    assert answers == {name: pytest.approx(score, abs=1e-5) for name, score in asked.items()}
    assert "i02" not in facts(fresh.recommend(user="amy", k=99))
    assert fresh.add_events(pl.DataFrame({"user_id": ["amy"], "item_id": ["i03"]})) == 1
    assert items_of(fresh, "amy") == ["i02", "i03"]
    assert len(fresh.users) == users + 2


def test_events_of_an_item_added_a_second_ago(fresh: Engine) -> None:
    fresh.add_items(pl.DataFrame([twin(fresh, "i04")]))
    fresh.add_events(pl.DataFrame({"user_id": ["zed"], "item_id": ["new"]}))
    answers = ids(fresh.recommend(user="zed", k=10))
    assert "new" not in answers
    assert "i04" in answers


@pytest.mark.parametrize(
    ("frame", "error", "words"),
    [
        ({"user_id": ["zed", "zed"], "item_id": ["i01", "gone"]}, UnknownItemError, "item 'gone' is not in the catalogue"),
        ({"user_id": ["zed", "u05"], "item_id": ["i01", "i02"], "action": ["buy", "byu"]}, DataError, "did you mean 'buy'"),
        ({"user_id": ["zed"], "item_id": ["i01"], "scenario": ["radio"]}, DataError, "the scenario 'radio'"),
        ({"user_id": ["zed", None], "item_id": ["i01", "i02"]}, DataError, "row 2 has no user_id"),
        ({"user_id": ["zed"], "item_id": ["i01"], "time": [4e9]}, DataError, "in the future"),
        ({"user_id": ["zed"], "item_id": ["i01"], "time": ["soon"]}, DataError, "time is 'soon'"),
        ({"user_id": ["zed"]}, DataError, "no column 'item_id'"),
    ],
)
def test_refused_events_leave_nothing_behind(frame: dict[str, Any], error: type[Exception], words: str, fresh: Engine) -> None:
    before = state(fresh)
    with pytest.raises(error) as caught:
        fresh.add_events(pl.DataFrame(frame))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert state(fresh) == before
    with pytest.raises(UnknownUserError):
        fresh.recommend(user="zed")


def test_saved_and_loaded_answers_the_same(fresh: Engine, tmp_path: Path) -> None:
    """Added items, users and events included; twice, because a saved folder is loaded, grown and saved again."""
    for turn in ("one", "two"):
        fresh.add_items(pl.DataFrame([twin(fresh, "i04", f"new {turn}"), twin(fresh, "i09", f"other {turn}")]))
        events = {"user_id": ["zed", "u05", f"guest {turn}"], "item_id": [f"new {turn}", "i20", f"other {turn}"]}
        fresh.add_events(pl.DataFrame(events))
        fresh.save(tmp_path / "model")
        loaded = Engine(ChooseScorer.load(tmp_path / "model"))
        assert loaded.items.ids.ids == fresh.items.ids.ids
        assert loaded.users.ids.ids == fresh.users.ids.ids
        for user in ("u01", "u05", "zed", f"guest {turn}"):
            assert items_of(loaded, user) == items_of(fresh, user)
        for who in (
            {"user": "u01"},
            {"user": "zed"},
            {"user": "u05", "scenario": "feed"},
            {"text": "warm boots"},
            {"profile": {"age": 30}},
        ):
            there, here = loaded.recommend(**who, k=99), fresh.recommend(**who, k=99)  # read whole there, read on from what was kept here
            assert ids(there) == ids(here)
            assert facts(there) == pytest.approx(facts(here), abs=1e-5)
        there, here = (one.similar_items(f"new {turn}", 99) for one in (loaded, fresh))
        assert facts(there) == pytest.approx(facts(here), abs=1e-5)
        fresh = loaded


def test_saving_does_not_disturb_what_is_served(fresh: Engine, tmp_path: Path) -> None:
    fresh.add_events(pl.DataFrame({"user_id": ["zed"], "item_id": ["i04"]}))
    before = state(fresh)
    fresh.save(tmp_path / "model")
    assert state(fresh) == before
    fresh.add_events(pl.DataFrame({"user_id": ["zed", "abe"], "item_id": ["i05", "i06"]}))
    assert (items_of(fresh, "zed"), items_of(fresh, "abe")) == (["i04", "i05"], ["i06"])


def test_people_without_events_are_known_by_their_profile(tiny_run: Path) -> None:
    """A known user without events and somebody described with the same words are the same, but for how the words were read."""
    scorer = ChooseScorer.load(tiny_run / "model")
    histories = scorer.dataset.histories
    silent = np.flatnonzero(histories.lengths == 0)
    user = int(silent[0]) if len(silent) else 0
    empty = Histories(np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32), times=np.zeros(0))
    scores = scorer.scores(Requests(empty, users=np.array([user])))
    nobody = scorer.scores(Requests(empty))
    assert np.isfinite(scores).all()
    assert not np.array_equal(scores, nobody)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the titles of the whole catalogue were made."""
    from m6rec.data.dataset import Table

    calls = []
    real = Table.titles
    monkeypatch.setattr(Table, "titles", lambda table: calls.append(table) or real(table))
    return lambda: len(calls)


def test_answers_do_no_work_over_the_whole_catalogue_twice(fresh: Engine, counted: Callable[[], int]) -> None:
    for _ in range(3):
        fresh.recommend(user="u05")
        fresh.similar_items("i01")
    assert counted() == 1
    fresh.add_items(pl.DataFrame([twin(fresh, "i04")]))
    fresh.recommend(user="u05")
    assert counted() == 2


def test_values_of_a_field_have_the_probability_of_their_items(engine: Engine) -> None:
    """p(brand) is the sum over its items; with repeat=exclude no brand that the user had; tags count for each of an item's tags."""
    whole = facts(engine.recommend(user="u05", k=99, repeat="allow"))
    for field in ("brand", "tags"):
        column = dict(zip(engine.items.ids.ids, engine.items.frame[field].to_list(), strict=True))
        mass: dict[str, float] = {}
        for item, score in whole.items():
            for value in column[item] if field == "tags" else [column[item]]:
                if value is not None:
                    mass[value] = mass.get(value, 0.0) + math.exp(score)
        total = sum(math.exp(score) for score in whole.values())
        answers = engine.recommend(user="u05", k=999, repeat="allow", of=field)
        assert facts(answers) == {value: pytest.approx(math.log(share / total), abs=1e-5) for value, share in mass.items()}
        assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)
    had = {engine.items.frame["brand"][engine.items.ids.dense(item)] for item in items_of(engine, "u05")}
    fresh_brands = ids(engine.recommend(user="u05", k=99, repeat="exclude", of="brand"))
    assert not had & set(fresh_brands)


def test_values_of_a_field_honour_filters_and_refuse_text(engine: Engine) -> None:
    category = engine.items.frame["category"][0]
    allowed = engine.items.frame.filter(pl.col("category") == category)["brand"].drop_nulls().unique().to_list()
    answers = ids(engine.recommend(user="u05", k=99, repeat="allow", of="brand", where={"category": category}))
    assert sorted(answers) == sorted(allowed)
    with pytest.raises(UsageError, match="'title' is a text field; values of a category, tags or id field can be recommended"):
        engine.recommend(user="u05", of="title")
    with pytest.raises(UsageError, match="did you mean 'brand'"):
        engine.recommend(user="u05", of="brnad")


def test_a_scenario_offers_only_what_it_may(tiny_run: Path) -> None:
    engine = Engine(ChooseScorer.load(tiny_run / "model"))
    category = engine.items.frame["category"][0]
    engine.scorer.origin.training["scenarios"]["offers"] = {"feed": {"category": category}}
    shown = ids(engine.recommend(user="u05", k=99, repeat="allow", scenario="feed"))
    assert sorted(shown) == sorted(engine.items.frame.filter(pl.col("category") == category)["item_id"].to_list())
    assert len(engine.recommend(user="u05", k=99, repeat="allow", scenario="shop")) == len(engine.items)
    many = engine.recommend_many(["u05"], k=99, repeat="allow", scenario="feed")
    assert sorted(many["item_id"].to_list()) == sorted(shown)
    one, other = engine.items.frame["brand"].drop_nulls().unique().sort()[:2]
    engine.scorer.origin.training["scenarios"]["offers"] = {"feed": {"brand": one}}
    assert engine.recommend(user="u05", k=99, scenario="feed", where={"brand": other}) == [], "a wish of one's own opens no other shelf"
    both = ids(engine.recommend(user="u05", k=99, repeat="allow", scenario="feed", where={"brand": [one, other]}))
    assert sorted(both) == sorted(engine.items.frame.filter(pl.col("brand") == one)["item_id"].to_list())
