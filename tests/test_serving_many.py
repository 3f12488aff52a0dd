"""Many users at once: the same answers as one by one, on any number of threads, with ties, filters and people without events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec import Recommender
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import UnknownUserError, UsageError
from m6rec.index.exact import top_k
from m6rec.serving.engine.many import best_allowed, best_of_many
from m6rec.tasks.agreement import Agreement


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


@pytest.mark.parametrize("asked", [{}, {"where": {"price": "<50"}}, {"repeat": "allow"}, {"k": 99}], ids=str)
def test_a_batch_is_what_single_calls_are(rec: Recommender, asked: dict[str, Any]) -> None:
    users = rec.engine.users.ids.ids[:12]
    many = rec.recommend_many(users, **asked)
    assert many["user_id"].unique(maintain_order=True).to_list() == users
    for user in users:
        single = rec.recommend(user=user, **asked)
        rows = many.filter(pl.col("user_id") == user)
        assert rows["rank"].to_list() == list(range(1, len(single) + 1))
        assert rows["item_id"].to_list() == [answer.item_id for answer in single]
        np.testing.assert_allclose(rows["score"], [answer.score for answer in single], atol=1e-4)


def test_threads_and_dense_copies_change_nothing(tiny_run: Path, rec: Recommender) -> None:
    plain = rec.recommend_many(k=5)
    assert plain["user_id"].n_unique() == len(rec.engine.users)
    other = Recommender.from_pretrained(tiny_run)
    other.engine.scorer.densify()
    copies = other.engine.scorer._dense_tables()
    assert copies is not None
    assert copies.names, "the tables of the tiny sample are well filled"
    threaded = other.recommend_many(k=5, threads=3)
    assert threaded.drop("score").equals(plain.drop("score"))
    np.testing.assert_allclose(threaded["score"], plain["score"], atol=1e-4)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("similar", [0.0, 0.7])
def test_the_batch_adds_what_single_answers_tell_apart(tiny_run: Path, dense: bool, similar: float) -> None:
    """The whole score of every item, with an agreement of all priors and of what resembles what they name."""
    scorer = Recommender.from_pretrained(tiny_run).engine.scorer
    shares = {name: 0.5 + number for number, name in enumerate(scorer.task.parts)} | {"similar": similar}
    scorer.agreement = Agreement(weight=0.6, floor=0.05, recency=0.7, shares=shares)
    if dense:
        scorer.densify()
        assert scorer._dense_tables() is not None
    requests = Requests(scorer.dataset.histories, users=np.arange(len(scorer.dataset.histories)))
    wanted = np.concatenate([scorer.scores(requests.rows(np.array([row]))) for row in range(9)])
    np.testing.assert_allclose(scorer.scores(requests)[:9], wanted, atol=2e-4)
    np.testing.assert_allclose(scorer.answer(requests)[0][:9], wanted, atol=2e-4)


def test_new_events_and_new_people_are_in_the_batch(tiny_run: Path) -> None:
    rec = Recommender.from_pretrained(tiny_run)
    items = rec.engine.items.ids.ids[:3]
    rec.add_events({"user_id": ["newcomer"] * 3, "item_id": items})
    many = rec.recommend_many(["newcomer", rec.engine.users.ids.ids[0]], k=4)
    assert many.filter(pl.col("user_id") == "newcomer")["item_id"].to_list() == [a.item_id for a in rec.recommend(user="newcomer", k=4)]
    assert not set(items) & set(many.filter(pl.col("user_id") == "newcomer")["item_id"])


def test_what_cannot_be_asked_for_is_said(rec: Recommender) -> None:
    with pytest.raises(UnknownUserError, match="nobody"):
        rec.recommend_many(["nobody"])
    with pytest.raises(UsageError, match="k is 0"):
        rec.recommend_many(k=0)
    with pytest.raises(UsageError, match="list of user ids"):
        rec.recommend_many("u05")
    assert rec.recommend_many([]).height == 0


def test_the_command_writes_a_table(tiny_run: Path, tmp_path: Path, m6rec: Callable[..., Any]) -> None:
    out = tmp_path / "answers.parquet"
    facts = m6rec("recommend", tiny_run, "--all", "--out", out, "-k", 3, "--json").json()
    table = pl.read_parquet(out)
    assert facts["rows"] == table.height == 3 * facts["users"]
    assert table.columns == ["user_id", "rank", "item_id", "score"]
    assert "answers" in m6rec("recommend", tiny_run, "--all", "--out", tmp_path / "answers.csv").out
    assert "go together" in m6rec("recommend", tiny_run, "--all").error(2)
    assert ".parquet" in m6rec("recommend", tiny_run, "--all", "--out", tmp_path / "answers.xls").error(2)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 14), st.integers(0, 10_000))
def test_best_allowed_is_the_exact_order_with_ties(rows: int, items: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 4, (rows, items)).astype(np.float32)
    history = Histories.from_lists([generator.integers(0, items, 2) for _ in range(rows)])
    allowed = generator.random(items) < 0.8
    masked = np.where(allowed, scores, -np.inf).astype(np.float32)
    for row in range(rows):
        masked[row, history.row(row)] = -np.inf
    wanted = top_k(masked, k)
    got = best_allowed(scores.copy(), Requests(history), k, exclude=True, allowed=allowed)
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])


def test_blocks_come_back_in_the_order_asked_for() -> None:
    users = np.array([5, 3, 9, 9, 0])

    def answer(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.repeat(block[:, None], 2, axis=1), block[:, None] * np.ones((1, 2), np.float32)

    for threads in (1, 2):
        best, values = best_of_many(users, np.array([1, 50, 3, 3, 0]), 10**6, answer, 2, threads)
        assert best[:, 0].tolist() == users.tolist()
        assert values[:, 1].tolist() == users.tolist()
