"""Baskets: cut by hand on a small log, and a planted pairing found by a trained run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.base.contracts import Histories
from m6rec.base.errors import ConfigError, DataError, UsageError
from m6rec.config import load_config
from m6rec.data.baskets import all_baskets, basket_numbers, split_baskets
from m6rec.data.config import SplitConfig
from m6rec.evaluation.evaluated import Evaluation

NAN = float("nan")


def histories() -> Histories:
    return Histories(
        offsets=np.array([0, 5, 9]),
        items=np.array([1, 2, 3, 4, 5, 1, 2, 2, 6], dtype=np.int32),
        times=np.array([10.0, 10, 50, 50, 50, 50, 50, 51, 51]),
    )


def test_baskets_are_events_of_one_user_close_in_time() -> None:
    assert basket_numbers(histories(), 0).tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert basket_numbers(histories(), 1).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    unknown = Histories(histories().offsets, histories().items, np.array([10.0, NAN, NAN, 50, 50, 50, 50, 51, 51]))
    assert basket_numbers(unknown, 0).tolist() == [0, 1, 2, 3, 3, 4, 4, 5, 5]
    with pytest.raises(DataError, match="have only an order"):
        basket_numbers(Histories.from_lists([[1, 2]]), 0)


def test_held_out_events_are_in_no_training_basket() -> None:
    cut = split_baskets(histories(), SplitConfig(), 0, seed=0)
    # Held out: 4 and 5 of the first user, 2 (the second) and 6 of the other. Left: {1, 2}, {3} alone, {1, 2}.
    assert [sorted(cut.train.row(row).tolist()) for row in range(len(cut.train))] == [[1, 2], [1, 2]]
    assert cut.users.tolist() == [0, 1]
    asked = [
        (cut.validation.requests.histories.row(row).tolist(), cut.validation.targets.row(row).tolist())
        for row in range(len(cut.validation))
    ]
    assert asked == [([3], [4])]  # the second user's validation event begins its basket
    asked = [(cut.test.requests.histories.row(row).tolist(), cut.test.targets.row(row).tolist()) for row in range(len(cut.test))]
    assert asked == [([3, 4], [5]), ([2], [6])]
    assert cut.test.requests.users is not None
    assert cut.test.requests.users.tolist() == [0, 1]
    with pytest.raises(ConfigError, match="baskets are cut by leave_one_out or time"):
        split_baskets(histories(), SplitConfig(protocol="cold_items"), 0, seed=0)


def test_what_is_refused_is_in_no_basket() -> None:
    """Item 3 of the first user is skipped, item 6, the other's last, disliked; who is asked about what stays as the split of events has it."""
    rated = replace(histories(), actions=np.array([0, 0, 1, 0, 0, 0, 0, 0, 2], dtype=np.int16))
    cut = split_baskets(rated, SplitConfig(), 0, seed=0, refused=[1, 2])
    assert [sorted(cut.train.row(row).tolist()) for row in range(len(cut.train))] == [[1, 2], [1, 2]]
    assert len(cut.validation) == 0  # item 4 begins its basket now
    asked = [(cut.test.requests.histories.row(row).tolist(), cut.test.targets.row(row).tolist()) for row in range(len(cut.test))]
    assert asked == [([4], [5])]
    everything = all_baskets(rated, 0, seed=0, refused=[1, 2])
    assert [sorted(everything.row(row).tolist()) for row in range(len(everything))] == [[1, 2], [4, 5], [1, 2]]


@pytest.fixture(scope="module")
def paired_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Orders of pairs (item 2n with item 2n + 1), drawn at random: what was bought last time says nothing of the next basket."""
    folder = tmp_path_factory.mktemp("paired")
    generator = np.random.default_rng(0)
    rows = []
    for user in range(120):
        for order in range(5):
            first = 2 * int(generator.integers(10))
            for item in generator.permutation([first, first + 1]):
                rows.append((f"u{user}", f"i{item}", 1_600_000_000 + order * 86_400))
    pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row").write_csv(folder / "events.csv")
    (folder / "config.yaml").write_text(
        "data: {events: events.csv}\nmodel: {width: 16, history: 12}\npretrain: {epochs: 0}\n"
        "train: {epochs: 4, threads: 1}\ntext: {vocabulary: 300}\nevaluation: {resamples: 100}\n"
        "tasks:\n  next: {answer: choose, repeat: allow}\n  basket: {answer: choose, of: basket}\n"
    )
    from m6rec.training.pipeline import train

    run = folder / "run"
    train(load_config(folder / "config.yaml"), folder, run)
    return run


def test_the_other_of_a_pair_completes_the_basket(paired_run: Path) -> None:
    recommender = Recommender.from_pretrained(paired_run)
    for item in range(20):
        other = item + 1 if item % 2 == 0 else item - 1
        best = recommender.recommend(history=[f"i{item}"], task="basket", k=3, repeat="exclude")
        assert best[0].item_id == f"i{other}", item
    # The same model asked what comes next knows the same histories and gives other scores.
    following = recommender.recommend(history=["i0"], k=20, repeat="allow")
    completing = recommender.recommend(history=["i0"], k=20, repeat="allow", task="basket")
    assert {a.item_id: a.score for a in following} != {a.item_id: a.score for a in completing}
    with pytest.raises(UsageError, match="there is no choose task 'baskt'; did you mean 'basket'"):
        recommender.recommend(history=["i0"], task="baskt")


def test_evaluate_prints_baskets(paired_run: Path, m6rec: Any) -> None:
    """In the terminal, in the JSON and on the pages of the run, with the figures that the run kept."""
    (kept,) = paired_run.glob("stages/evaluate-*/baskets/00-m6rec")
    expected = Evaluation.load(kept).table()["ndcg@10"].mean
    assert expected > 0.9
    shown = m6rec("evaluate", paired_run, "--baselines", "popularity")
    assert "Baskets completed" in shown.out
    block = shown.out[shown.out.index("Baskets completed") :]
    assert re.search(rf"^m6rec .*{expected:.4f}", block, flags=re.M)
    assert re.search(r"^popularity ", block, flags=re.M)
    told = [one for one in m6rec("evaluate", paired_run, "--baselines", "none", "--json").json() if one.get("task") == "baskets"]
    assert [one["name"] for one in told] == ["m6rec"]
    for page in ("report.html", "evaluation.html"):
        assert "Baskets completed" in (paired_run / page).read_text(encoding="utf-8")


def test_a_basket_survives_saving_and_new_items(paired_run: Path, tmp_path: Path) -> None:
    recommender = Recommender.from_pretrained(paired_run)
    before = [(a.item_id, a.score) for a in recommender.recommend(history=["i4"], task="basket", k=20)]
    recommender.save_pretrained(tmp_path / "copy")
    copy = Recommender.from_pretrained(tmp_path / "copy")
    assert [(a.item_id, a.score) for a in copy.recommend(history=["i4"], task="basket", k=20)] == before
    copy.add_items({"item_id": ["new"]})
    assert copy.recommend(history=["i4"], task="basket", k=1)[0].item_id == "i5"


def test_a_model_without_baskets_says_so(tiny_run: Path) -> None:
    with pytest.raises(UsageError, match="there is no choose task 'basket'"):
        Recommender.from_pretrained(tiny_run).recommend(history=["i01"], task="basket")
