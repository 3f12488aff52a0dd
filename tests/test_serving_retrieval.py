"""Answers out of a large catalogue are those of the whole catalogue: candidate path against full path, filters, additions, files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from m6rec.base.contracts import Requests, Scored
from m6rec.base.errors import CheckpointError, MissingExtraError
from m6rec.config import M6RecConfig
from m6rec.index import build
from m6rec.index.approximate import FaissIndex
from m6rec.index.build import build_index
from m6rec.index.config import IndexConfig
from m6rec.index.exact import ExactIndex, top_k
from m6rec.recommender import Recommender
from m6rec.serving.engine.engine import Engine
from m6rec.tasks.choose_candidates import ChooseCandidates, sample_states
from m6rec.tasks.model_folder import INDEX, ChooseScorer
from m6rec.training.pipeline import train


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> ChooseScorer:
    """Read only."""
    return ChooseScorer.load(tiny_run / "model")


@pytest.fixture(scope="module")
def whole(tiny_run: Path) -> Engine:
    return Engine(ChooseScorer.load(tiny_run / "model"))


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run trained on with an index: only the stages that look at it are run again. Read only."""
    run = tmp_path_factory.mktemp("large") / "run"
    shutil.copytree(tiny_run, run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "LEAST", 40)
        facts = train(tiny_config("index.exact_below=40", "index.kind=ivf", "index.recall_at=5", "index.candidates=8"), tiny_sample, run)
    assert facts["fit"]["skipped"]
    assert (facts["index"]["index"], facts["index"]["recall"] > 0.8) == ("ivf", True)
    return run / "model"


@pytest.fixture
def large(folder: Path) -> Engine:
    engine = Engine(ChooseScorer.load(folder))
    assert engine.retrieval.active
    return engine


def everybody(scorer: ChooseScorer) -> Requests:
    """Known people, some of whom typed something, some without events; and an asking scenario for each."""
    users = np.arange(len(scorer.dataset.users))
    histories = scorer.dataset.histories.window(drop_last=np.where(users % 5 == 0, 99, 0))
    titles = scorer.catalogue.items.titles()
    texts = [["", titles[user % len(titles)], "zyxxyz", "running shoes"][user % 4] for user in users]
    return Requests(histories, users=users, texts=texts, scenarios=(users % (len(scorer.dataset.scenario_names) + 1) - 1).astype(np.int64))


def alike(here: list[Scored], there: list[Scored]) -> bool:
    """The same items with the same titles, scores and shares; two that tie in all but the last digit may change places."""
    ours, theirs = ({answer.item_id: answer for answer in answers} for answers in (here, there))
    return (
        list(ours) == sorted(ours, key=lambda name: -ours[name].score)
        and ours.keys() == theirs.keys()
        and all(
            answer.title == theirs[name].title
            and abs(answer.score - theirs[name].score) < 1e-4
            and answer.parts == pytest.approx(theirs[name].parts, abs=1e-4)
            for name, answer in ours.items()
        )
    )


def test_every_candidate_is_scored_as_in_the_whole(scorer: ChooseScorer) -> None:
    """Whatever the search finds and however many: the score is that of the full path when the normaliser is exact."""
    requests = everybody(scorer)
    scores, parts = scorer.answer(requests)
    for count in (1, 5, len(scorer.catalogue)):
        path = ChooseCandidates(scorer, ExactIndex(scorer.vectors.numpy()), count)
        question = path.ask(requests)
        items = path.candidates(question)
        assert all((row[: np.count_nonzero(row >= 0)] >= 0).all() and (np.diff(row[row >= 0]) > 0).all() for row in items)
        found, shares = path.scores_of(question, items)
        real = items >= 0
        np.testing.assert_allclose(found[real], np.take_along_axis(scores, items, axis=1)[real], atol=2e-4)
        assert np.isneginf(found[~real]).all()
        assert list(shares) == list(parts)
        for name, part in shares.items():
            np.testing.assert_allclose(part[real], np.take_along_axis(parts[name], items, axis=1)[real], atol=1e-5)
    assert items.shape[1] == len(scorer.catalogue)


@pytest.mark.parametrize("off", ["graph", "text", "id"])
def test_parts_switched_off_stay_off(off: str, tiny_run: Path) -> None:
    scorer = ChooseScorer.load(tiny_run / "model")
    scorer.switched_off = (off,)
    scorer.refresh()
    requests = everybody(scorer)
    path = ChooseCandidates(scorer, ExactIndex(scorer.vectors.numpy()), 10)
    question = path.ask(requests)
    items = path.candidates(question)
    found, _ = path.scores_of(question, items)
    np.testing.assert_allclose(found[items >= 0], np.take_along_axis(scorer.scores(requests), items, axis=1)[items >= 0], atol=2e-4)


def test_alone_as_in_a_batch(scorer: ChooseScorer) -> None:
    requests = everybody(scorer)
    path = ChooseCandidates(scorer, ExactIndex(scorer.vectors.numpy()), 6)
    question = path.ask(requests)
    items = path.candidates(question)
    together, _ = path.scores_of(question, items)
    for row in range(0, len(requests), 9):
        one = path.ask(requests.rows(np.array([row])))
        listed = path.candidates(one)
        assert listed[0].tolist() == items[row][items[row] >= 0].tolist()
        np.testing.assert_allclose(path.scores_of(one, listed)[0][0], together[row][items[row] >= 0], atol=1e-4)


def test_the_normaliser_is_unbiased(scorer: ChooseScorer) -> None:
    """Few found and few drawn: the mean over many draws is the sum over the whole catalogue."""
    index = ExactIndex(scorer.vectors.numpy())
    states = torch.from_numpy(sample_states(scorer, scorer.dataset.histories, 12, 0))
    found, products = index.search(states.numpy(), 3)

    def total(tail: int, seed: int) -> np.ndarray:
        return ChooseCandidates(scorer, index, 3, tail=tail, seed=seed)._log_total(states, found, products)

    exact = torch.logsumexp((states @ scorer.vectors.T).double(), dim=1).numpy()
    np.testing.assert_allclose(total(40, 0), exact, atol=1e-5)
    drawn = np.stack([total(8, seed) for seed in range(150)])
    ratio = np.exp(drawn - exact)
    assert (np.abs(ratio.mean(axis=0) - 1) < 5 * ratio.std(axis=0) / np.sqrt(150) + 1e-6).all()
    np.testing.assert_array_equal(drawn[3], total(8, 3))


def test_engine_answers_as_if_it_had_scored_everything(large: Engine, whole: Engine) -> None:
    titles = whole.items.titles()
    asked: list[dict[str, Any]] = [{"user": user} for user in whole.users.ids.ids[::6]]
    asked += [{"text": title} for title in titles[::8]] + [
        {"history": ["i03", "i07"], "text": "tent"},
        {"history": []},
        {"profile": {"age": 30}},
    ]
    asked += [{"user": "u05", "repeat": "allow"}, {"user": "u05", "scenario": "shop", "k": 3}]
    same = []
    for who in asked:
        there, here = whole.recommend(**{"k": 10, **who}), large.recommend(**{"k": 10, **who})
        same.append([answer.item_id for answer in here] == [answer.item_id for answer in there])
    assert np.mean(same) > 0.9
    # With as many candidates as items nothing can be missed.
    for who in asked[:5]:
        assert alike(large.recommend(**{**who, "k": 40}), whole.recommend(**{**who, "k": 40}))


def test_filters_hold_and_do_not_starve(large: Engine, whole: Engine) -> None:
    rows = whole.items.frame.to_dicts()
    for brand in sorted({row["brand"] for row in rows}):
        for k in (3, 99):
            there = whole.recommend(user="u05", where={"brand": brand}, k=k)
            here = large.recommend(user="u05", where={"brand": brand}, k=k)
            assert alike(here, there)
    assert large.recommend(text="gift", where={"brand": "no such brand"}) == []
    had = {whole.items.ids.ids[item] for item in whole.histories.row(whole.users.ids.dense("u05")).items}
    answers = large.recommend(user="u05", k=99)
    assert len(answers) == len(whole.items) - len(had)
    assert not had & {answer.item_id for answer in answers}


def test_new_items_are_found_at_once_and_kept(large: Engine, tmp_path: Path) -> None:
    new = {**large.items.frame.row(large.items.ids.dense("i04"), named=True), "item_id": "new"}
    large.recommend(user="u05")  # the index is open before the item comes
    assert large.add_items(pl.DataFrame([new])) == 1
    assert "new" in {answer.item_id for answer in large.recommend(text=new["title"], k=3)}
    assert "new" in {answer.item_id for answer in large.recommend(history=["i04"], k=10)}
    large.save(tmp_path / "model")
    again = Engine(ChooseScorer.load(tmp_path / "model"))
    assert isinstance(again.retrieval.index, FaissIndex)
    assert len(again.retrieval.index) == 41
    asked = {"text": new["title"], "k": 40}
    assert alike(again.recommend(**asked), large.recommend(**asked))
    again.save(tmp_path / "model")  # over the folder that is mapped
    assert alike(again.recommend(**asked), large.recommend(**asked))


def test_an_index_is_built_where_the_folder_has_none(folder: Path, large: Engine, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / INDEX)
    engine = Engine(ChooseScorer.load(tmp_path / "model"))
    assert isinstance(engine.retrieval.index, ExactIndex), "forty items are compared one by one"
    assert alike(engine.recommend(user="u05", k=40), large.recommend(user="u05", k=40))


def test_an_index_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    index = FaissIndex.load(folder / INDEX, memory_map=False)
    index.vectors = index.vectors + 1.0
    index.save(tmp_path / "model" / INDEX)
    with pytest.raises(CheckpointError, match="is of another model"):
        Recommender.from_pretrained(tmp_path / "model").recommend(user="u05")
    (tmp_path / "model" / INDEX / "index.faiss").unlink()
    with pytest.raises(CheckpointError, match="build the model folder again"):
        Recommender.from_pretrained(tmp_path / "model").recommend(user="u05")


def test_the_sample_of_queries_is_that_of_the_seed(scorer: ChooseScorer) -> None:
    histories = scorer.dataset.histories
    one, two = (sample_states(scorer, histories, 20, seed) for seed in (1, 1))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (20, scorer.task.shape.width)
    assert not np.array_equal(one, sample_states(scorer, histories, 20, 2))


def test_a_kind_that_needs_faiss_says_so(large: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'm6rec\[ann\]'"):
        large.recommend(user="u05")


def test_the_order_of_the_best_ten_is_that_of_the_whole(scorer: ChooseScorer) -> None:
    """An approximate search of few candidates, and a normaliser from a draw: on the sample too, in 99 places of 100."""
    requests = everybody(scorer)
    vectors = scorer.vectors.numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "LEAST", 40)
        asked = sample_states(scorer, scorer.dataset.histories, 60, 0)
        index = build_index(vectors, IndexConfig(exact_below=0, kind="ivf", recall_at=10, queries=60), asked)
    assert isinstance(index, FaissIndex)
    path = ChooseCandidates(scorer, index, count=20, tail=30)
    question = path.ask(requests)
    items = path.candidates(question, k=10)
    places, _ = top_k(path.scores_of(question, items)[0], 10)
    wanted, _ = top_k(scorer.scores(requests), 10)
    assert (np.take_along_axis(items, places, axis=1) == wanted).mean() >= 0.99


def test_many_threads_open_one_index(folder: Path, whole: Engine) -> None:
    """Asked by several threads before anything is open: one index, and everybody's list as if asked alone."""
    engine = Engine(ChooseScorer.load(folder))
    users = whole.users.ids.ids
    together = engine.recommend_many(k=5, threads=4)
    assert len(engine.retrieval.index) == len(engine.items)
    for user in users[::9]:
        alone = [answer.item_id for answer in engine.recommend(user=user, k=5)]
        assert together.filter(pl.col("user_id") == user)["item_id"].to_list() == alone
