"""A skip or a dislike is read in histories and counted nowhere as a liking: priors, their cross-fitted values, id vectors, members, serving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.config import load_config
from m6rec.evaluation.evaluated import Evaluation
from m6rec.training.pipeline import open_run, train
from m6rec.training.stages_fit import training_examples
from m6rec.training.workbench import Workbench

CONFIG = """
data: {events: events.csv, items: items.csv}
fields: {items: {title: text, kind: category}}
model: {width: 8, history: 12}
pretrain: {epochs: 0}
train: {epochs: 1, threads: 1}
text: {vocabulary: 300}
tasks:
  next: {answer: choose, prior: {window: 3, text: false, hops: 1}}
evaluation: {resamples: 100, baselines: [popularity, item_knn, transition_graph]}
fusion: {members: [m6rec, popularity]}
"""
USERS, ITEMS = 24, 9
SKIPPED = "i8"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody takes i0, i1, ... in a circle, from somewhere on, and skips i8, which is shown between the first of them."""
    folder = tmp_path_factory.mktemp("refused")
    rows = []
    for user in range(USERS):
        for step in range(6):
            rows += [(f"u{user}", f"i{(user + step) % (ITEMS - 1)}", 1000 * user + 10 * step, "view")]
            rows += [(f"u{user}", SKIPPED, 1000 * user + 10 * step + 5, "skip")] if step < 3 else []
    pl.DataFrame(rows, schema=["user_id", "item_id", "time", "action"], orient="row").write_csv(folder / "events.csv")
    items = pl.DataFrame({"item_id": [f"i{item}" for item in range(ITEMS)]}).with_columns(
        pl.format("thing {}", "item_id").alias("title"),
        pl.when(pl.col("item_id") == SKIPPED).then(pl.lit("advert")).otherwise(pl.lit("story")).alias("kind"),
    )
    items.write_csv(folder / "items.csv")
    (folder / "config.yaml").write_text(CONFIG)
    train(load_config(folder / "config.yaml"), folder, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def bench(run: Path) -> Workbench:
    return open_run(run)


def dense(bench: Workbench, item: str) -> int:
    return bench.dataset.items.ids.dense(item)


def test_transitions_run_from_what_was_taken_to_what_was_taken(bench: Workbench) -> None:
    skipped = dense(bench, SKIPPED)
    assert (bench.split.train.items == skipped).sum() == 3 * USERS, "histories keep it"
    for name, table in bench.catalogue.priors.items():
        assert table[[skipped]].nnz == 0, name
        assert table[:, [skipped]].nnz == 0, name
    following = bench.catalogue.priors["next"]
    assert following[dense(bench, "i1"), dense(bench, "i2")] > 0, "the skip between them is no event of the circle"
    assert following[[dense(bench, "i1")]].nnz == 1


def test_the_values_trained_on_are_of_the_same_counts(bench: Workbench) -> None:
    examples = training_examples(bench)
    skipped, items = dense(bench, SKIPPED), examples.histories.items
    values = np.asarray(examples.priors.values[np.arange(len(items))])  # E M K
    assert not values[items == skipped].any()
    before = np.append(-1, items[:-1]) == skipped  # a view after a skip: what it follows stands two events before
    begins = np.isin(np.arange(len(items)), examples.histories.offsets[:-1])
    later = (items != skipped) & before & ~begins
    assert (values[later, 0, 1] > 0.99).all()
    assert not values[later, 0, 0].any()


def test_baselines_and_members_know_it_as_unpopular(run: Path, bench: Workbench) -> None:
    rec = Recommender.from_pretrained(run)
    blend = rec.engine.scorer.blend
    assert blend is not None
    popular = blend.scorers["popularity"]
    assert popular.popularity[dense(bench, SKIPPED)] == 0  # type: ignore[attr-defined]
    assert popular.popularity.sum() == USERS * 6  # type: ignore[attr-defined]
    (folder,) = run.glob("stages/evaluate-*/*-transition_graph")
    found = Evaluation.load(folder)
    assert found.values("ndcg@1").mean() == 1.0, "the circle is all there is"


def test_serving_counts_anew_without_refusals(run: Path, bench: Workbench) -> None:
    rec = Recommender.from_pretrained(run)
    skipped = dense(bench, SKIPPED)
    rec.engine.forget("u0")
    table = rec.engine.scorer.catalogue.priors["next"]
    assert table[:, [skipped]].nnz == 0
    assert table.nnz == ITEMS - 1, "each of the circle leads to its next"


def test_a_profile_tells_no_interest_in_what_was_refused(run: Path) -> None:
    interests = Recommender.from_pretrained(run).profile(user="u3").interests
    told = {interest.value: interest for interest in interests if interest.field == "kind"}
    assert told["story"].events == 6
    assert "advert" not in told or not told["advert"].events
    assert all(support.action == "view" for interest in interests for support in interest.support)
