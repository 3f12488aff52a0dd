"""Full-ranking evaluation: planted truths, batches, exclusions, re-labelling, slices, bad scorers, saving."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from scipy import sparse

from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.base.errors import CheckpointError, ConfigError, DataError, M6RecError, UsageError
from m6rec.data.splits import Cases
from m6rec.evaluation.config import EvaluationConfig
from m6rec.evaluation.evaluated import FACTS_FILE, FORMAT, RANKS_FILE, Evaluation
from m6rec.evaluation.protocol import distinct, evaluate
from m6rec.evaluation.slices import Bounds, find_bounds, given_groups


class Fixed(Scorer):
    """Gives row u of a table to user u."""

    name = "fixed"

    def __init__(self, table: np.ndarray) -> None:
        self.table = table
        self.asked: list[int] = []

    def scores(self, requests: Requests) -> np.ndarray:
        assert requests.users is not None
        self.asked.append(len(requests))
        return self.table[requests.users]

    def save(self, folder: Path) -> None:
        np.save(folder / "table.npy", self.table)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(np.load(folder / "table.npy"))


def cases_of(history: list[list[int]], targets: list[list[int]]) -> Cases:
    requests = Requests(histories=Histories.from_lists(history), users=np.arange(len(history)))
    return Cases(requests=requests, targets=Histories.from_lists(targets))


def random_cases(seed: int, users: int = 40, items: int = 25) -> tuple[np.ndarray, Cases, np.ndarray]:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 12, size=(users, items)).astype(np.float32)  # many ties
    history = [list(rng.integers(0, items, size=rng.integers(0, 6))) for _ in range(users)]
    targets = [list(rng.choice(items, size=rng.integers(1, 4), replace=False)) for _ in range(users)]
    return table, cases_of(history, targets), rng.integers(0, 9, size=items)


CONFIG = EvaluationConfig(cutoffs=[1, 3, 10], resamples=200)


def test_an_oracle_is_perfect_and_covers_its_targets() -> None:
    table = np.eye(6, dtype=np.float32)
    found = evaluate(Fixed(table), cases_of([[]] * 6, [[i] for i in range(6)]), np.ones(6, dtype=np.int64), CONFIG)
    assert found.ranks.tolist() == [1.0] * 6
    assert found.table()["ndcg@1"] == (1.0, 1.0, 1.0)
    assert found.coverage[1] == 1.0


def test_metrics_by_hand() -> None:
    table = np.array([[4, 3, 2, 1], [4, 3, 2, 1]], dtype=np.float32)
    found = evaluate(Fixed(table), cases_of([[0], []], [[2], [3]]), np.array([5, 3, 1, 0]), CONFIG)
    assert found.ranks.tolist() == [2.0, 4.0]
    assert found.table()["hit_rate@3"].mean == 0.5
    assert found.table()["mrr@10"].mean == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert found.table()["ndcg@3"].mean == pytest.approx(1 / np.log2(3) / 2)
    assert found.coverage == {1: 0.5, 3: 1.0, 10: 1.0}  # first places: item 1 (item 0 is history) and item 0
    kept = evaluate(Fixed(table), cases_of([[0], []], [[2], [3]]), np.ones(4), EvaluationConfig(exclude_history=False))
    assert kept.ranks.tolist() == [3.0, 4.0]
    assert any("stay candidates" in sentence for sentence in kept.statements)


@pytest.mark.parametrize("batch", [1, 7, 40, 1000])
def test_the_batch_size_changes_nothing(batch: int) -> None:
    table, cases, seen = random_cases(0)
    whole, scorer = evaluate(Fixed(table), cases, seen, CONFIG, batch=40), Fixed(table)
    found = evaluate(scorer, cases, seen, CONFIG, batch=batch)
    assert np.array_equal(found.ranks, whole.ranks)
    assert found.table() == whole.table()
    assert found.coverage == whole.coverage
    assert max(scorer.asked) <= batch
    assert sum(scorer.asked) == 40


@pytest.mark.parametrize("seed", range(5))
def test_relabelling_the_items_changes_no_figure(seed: int) -> None:
    table, cases, seen = random_cases(seed)
    new = np.random.default_rng(seed + 100).permutation(25)  # item i is called new[i]

    def relabelled(histories: Histories) -> Histories:
        return Histories(offsets=histories.offsets, items=new[histories.items].astype(np.int32))

    other = Cases(
        requests=Requests(histories=relabelled(cases.requests.histories), users=cases.requests.users), targets=relabelled(cases.targets)
    )
    first = evaluate(Fixed(table), cases, seen, CONFIG)
    second = evaluate(Fixed(table[:, np.argsort(new)]), other, seen[np.argsort(new)], CONFIG)
    assert np.array_equal(first.ranks, second.ranks)
    assert first.table() == second.table()
    assert first.slices() == second.slices()
    assert first.coverage == second.coverage


def test_a_repeated_target_counts_once() -> None:
    assert distinct(Histories.from_lists([[3, 1, 3], [2, 2], [0]])).items.tolist() == [3, 1, 2, 0]
    table = np.array([[1, 2, 3, 4]], dtype=np.float32)
    found = evaluate(Fixed(table), cases_of([[]], [[3, 0, 3]]), np.ones(4), CONFIG)
    assert found.ranks.tolist() == [1.0, 4.0]
    assert found.table()["recall@3"].mean == 0.5


def test_a_catalogue_of_one_item() -> None:
    found = evaluate(Fixed(np.zeros((2, 1), dtype=np.float32)), cases_of([[0], []], [[0], [0]]), np.array([2]), CONFIG)
    assert found.ranks.tolist() == [1.0, 1.0]
    assert found.coverage[10] == 1.0


def test_progress_and_times_are_told() -> None:
    table, cases, seen = random_cases(0)
    told: list[tuple[int, int]] = []
    found = evaluate(Fixed(table), cases, seen, CONFIG, batch=16, progress=lambda done, total: told.append((done, total)))
    assert told == [(16, 40), (32, 40), (40, 40)]
    assert found.seconds > 0
    assert found.milliseconds > 0


# slices


def test_hot_items_hold_the_stated_share() -> None:
    seen = np.array([50, 20, 20, 5, 5, 0])
    assert find_bounds(seen, EvaluationConfig(hot_share=0.5)) == Bounds(1, 50)
    assert find_bounds(seen, EvaluationConfig(hot_share=0.6)) == Bounds(1, 20)  # both items seen 20 times are hot
    assert find_bounds(seen, EvaluationConfig(hot_from=7, cold_below=6)) == Bounds(6, 7)
    assert find_bounds(np.zeros(3, dtype=np.int64), EvaluationConfig()) == Bounds(1, 1)


def test_slices_by_hand() -> None:
    seen = np.array([10, 10, 1, 0])
    table = np.array([[4, 3, 2, 1], [1, 2, 3, 4], [4, 3, 2, 1]], dtype=np.float32)
    found = evaluate(Fixed(table), cases_of([[], [], []], [[0, 3], [3], [2]]), seen, CONFIG)
    slices = found.slices()
    assert found.slice_sizes() == {"cold": 2, "warm": 1, "hot": 1}
    # Item 3 is cold: rank 4 for the first user (recall 0 at 3), rank 1 for the second.
    assert slices["cold"]["recall@3"].mean == 0.5
    assert slices["hot"]["recall@1"].mean == 1.0
    assert slices["warm"]["ndcg@3"] == (0.5, 0.5, 0.5)
    assert found.bounds.wording() == {"cold": "never seen", "warm": "seen 1 to 9 times", "hot": "seen 10 times or more"}


def test_slices_without_targets_are_left_out() -> None:
    found = evaluate(Fixed(np.eye(3, dtype=np.float32)), cases_of([[]] * 3, [[0], [1], [2]]), np.array([9, 9, 9]), CONFIG)
    assert list(found.slices()) == ["hot"]


# comparing


def test_difference_is_paired_and_wants_the_same_cases() -> None:
    table, cases, seen = random_cases(1)
    oracle = table.copy()
    users = np.repeat(np.arange(40), cases.targets.lengths)
    oracle[users, cases.targets.items] += 100
    weak, strong = evaluate(Fixed(table), cases, seen, CONFIG), evaluate(Fixed(oracle), cases, seen, CONFIG, name="oracle")
    mean, low, high = strong.difference(weak, "ndcg@10")
    assert mean == pytest.approx(strong.table()["ndcg@10"].mean - weak.table()["ndcg@10"].mean)
    assert 0 < low < mean < high
    _, others, _ = random_cases(2)
    with pytest.raises(UsageError, match="not measured on the same cases"):
        strong.difference(evaluate(Fixed(table), others, seen, CONFIG), "ndcg@10")
    with pytest.raises(UsageError, match="did you mean 'recall'"):
        strong.values("recal@10")
    assert strong.values("hit_rate@2").shape == (40,)  # any cutoff can be asked for afterwards


# what goes wrong


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_name_the_scorer(bad: float) -> None:
    table, cases, seen = random_cases(0)
    table[30, 4] = bad
    with pytest.raises(M6RecError, match=r"scorer 'fixed' gave 1 scores that are not finite \(first: -?(nan|inf) for case 30, item 4\)"):
        evaluate(Fixed(table), cases, seen, CONFIG, batch=16)


def test_scores_of_a_wrong_shape_or_type() -> None:
    table, cases, seen = random_cases(0)
    with pytest.raises(M6RecError, match=r"scorer 'fixed' gave scores of shape \(40, 24\); expected \(40, 25\)"):
        evaluate(Fixed(table[:, :-1]), cases, seen, CONFIG)
    with pytest.raises(M6RecError, match="of type int64"):
        evaluate(Fixed(table.astype(np.int64)), cases, seen, CONFIG)


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (cases_of([], []), "no case to evaluate"),
        (cases_of([[0], [0]], [[1], []]), "case 1 has no target"),
        (cases_of([[0]], [[25]]), "target item 25 is outside the catalogue of 25 items"),
    ],
)
def test_cases_that_can_not_be_measured(cases: Cases, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(Fixed(np.zeros((2, 25), dtype=np.float32)), cases, np.ones(25), CONFIG)


def test_configuration_is_checked() -> None:
    assert EvaluationConfig(cutoffs=[10, 5, 10]).cutoffs == [5, 10]
    for values, words in (
        ({"cutoffs": []}, "at least one cutoff"),
        ({"cutoffs": [0]}, "cutoffs.0"),
        ({"cutoff": [5]}, "did you mean 'cutoffs'"),
        ({"hot_from": 2, "cold_below": 5}, "hot_from"),
        ({"resamples": 3}, "resamples"),
    ):
        with pytest.raises(ConfigError, match=words):
            EvaluationConfig.build(values)


# saving


def in_scenarios(cases: Cases, codes: list[int]) -> Cases:
    targets = cases.targets
    return Cases(cases.requests, Histories(targets.offsets, targets.items, scenarios=np.array(codes, dtype=np.int16)))


def test_scenarios_by_hand() -> None:
    """A case counts in the scenarios of its targets, with those alone; a target that stands twice, in the first of the two."""
    table = np.array([[4, 3, 2, 1], [4, 3, 2, 1]], dtype=np.float32)
    cases = in_scenarios(cases_of([[], []], [[0, 2, 0], [3]]), [1, 2, 2, 2])
    found = evaluate(Fixed(table), cases, np.ones(4), CONFIG, scenarios=["none is here", "feed", "shop"])
    assert list(found.by_scenario) == ["feed", "shop"]
    (feed, feed_figures), (shop, shop_figures) = found.by_scenario.values()
    assert (feed, shop) == (1, 2)
    assert feed_figures["mrr@3"].mean == 1
    assert shop_figures["mrr@10"].mean == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert shop_figures["hit_rate@3"].mean == 0.5
    assert found.plain()["scenarios"]["shop"]["metrics"]["hit_rate@3"]["mean"] == 0.5
    for other in (in_scenarios(cases, [1, 1, 1, 1]), cases_of([[], []], [[0, 2, 0], [3]])):  # one for all, and none known
        one = evaluate(Fixed(table), other, np.ones(4), CONFIG, scenarios=["none is here", "feed", "shop"])
        assert one.by_scenario == {}
        assert one.slices() == found.slices()
    assert evaluate(Fixed(table), cases, np.ones(4), CONFIG).by_scenario == {}


def test_scenarios_are_kept(tmp_path: Path) -> None:
    table, cases, seen = random_cases(5)
    codes = np.random.default_rng(0).integers(0, 3, len(cases.targets.items)).tolist()
    found = evaluate(Fixed(table), in_scenarios(cases, codes), seen, CONFIG, scenarios=["all", "cold", "shop"])
    assert sum(targets for targets, _ in found.by_scenario.values()) == len(found.ranks)
    found.save(tmp_path / "kept")
    assert Evaluation.load(tmp_path / "kept").by_scenario == found.by_scenario


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Evaluation, Path]:
    table, cases, seen = random_cases(3)
    found = evaluate(Fixed(table), cases, seen, CONFIG, statement="the last event is the test")
    found.save(tmp_path / "fixed")
    return found, tmp_path / "fixed"


def test_saved_and_loaded_is_the_same(saved: tuple[Evaluation, Path]) -> None:
    found, folder = saved
    loaded = Evaluation.load(folder)
    assert loaded.plain() == found.plain()
    for name in ("ranks", "offsets", "targets", "users", "seen"):
        assert np.array_equal(getattr(loaded, name), getattr(found, name)), name
    assert loaded.difference(found, "ndcg@10") == (0.0, 0.0, 0.0)
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    assert facts["figures"]["metrics"]["ndcg@10"]["mean"] == found.table()["ndcg@10"].mean
    assert sorted(path.name for path in folder.parent.iterdir()) == ["fixed"]  # nothing temporary is left


def test_saving_twice_replaces(saved: tuple[Evaluation, Path]) -> None:
    found, folder = saved
    found.name = "other"
    found.save(folder)
    assert Evaluation.load(folder).name == "other"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 4, 3 * len(content) // 4, 5):
        content[at] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", [FACTS_FILE, RANKS_FILE])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_damaged_folders_are_told(saved: tuple[Evaluation, Path], name: str, damage: Callable[[Path], None]) -> None:
    _, folder = saved
    damage(folder / name)
    with pytest.raises(CheckpointError, match="m6rec evaluate"):
        Evaluation.load(folder)


def test_newer_and_foreign_folders_are_told(saved: tuple[Evaluation, Path], tmp_path: Path) -> None:
    _, folder = saved
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    (folder / FACTS_FILE).write_text(json.dumps(facts | {"format": FORMAT + 1}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="update m6rec"):
        Evaluation.load(folder)
    with pytest.raises(CheckpointError, match="holds no evaluation"):
        Evaluation.load(tmp_path / "nowhere")


# beyond accuracy, and by events given


def test_what_lists_are_worth_by_hand() -> None:
    table = np.array([[4, 3, 2, 1], [1, 2, 3, 4]], dtype=np.float32)
    seen, contents = np.array([4, 2, 1, 1]), sparse.csr_array(np.array([[1, 1], [1, 0], [1, 0], [0, 1]]))
    found = evaluate(Fixed(table), cases_of([[0], []], [[2], [3]]), seen, EvaluationConfig(cutoffs=[2], resamples=100), contents=contents)
    # The lists: items 1, 2 (item 0 is history) and 3, 2. Bits: 1, 2, 3, 3.
    assert found.beyond["novelty@2"].tolist() == [2.5, 3.0]
    assert found.beyond["popularity@2"].tolist() == [1.5, 1.0]
    assert found.beyond["diversity@2"].tolist() == pytest.approx([0.0, 1.0])
    # Popular for the first user: item 1, then 2 and 3 tied for places 2 and 3; for the second 0 and 1: only there is the target a surprise.
    assert found.beyond["serendipity@2"].tolist() == [1.0, 1.0]
    assert found.gini[2] == pytest.approx(1 / 2 * (-3 * 0 - 1 * 1 + 1 * 1 + 3 * 2) / (2 * 4) * 1)
    assert found.beyond_accuracy["novelty@2"].mean == 2.75
    assert found.plain()["beyond_accuracy"]["gini@2"] == found.gini[2]
    without = evaluate(Fixed(table), cases_of([[0], []], [[2], [3]]), seen, CONFIG)
    assert not any(name.startswith("diversity") for name in without.beyond)


def test_quality_by_events_given() -> None:
    table = np.array([[4, 3, 2, 1]] * 4, dtype=np.float32)
    found = evaluate(Fixed(table), cases_of([[], [1], [2], [1, 2]], [[0], [0], [3], [3]]), np.ones(4), CONFIG)
    rows = found.by_given("hit_rate@1")
    assert [(word, cases, estimate.mean) for word, cases, estimate in rows] == [("0", 1, 1.0), ("1", 2, 0.5), ("2", 1, 0.0)]
    assert [row["events"] for row in found.plain()["given"]] == ["0", "1", "2"]
    groups = given_groups(np.arange(0, 400, 3))
    assert [word for word, _ in groups] == ["0", "3 to 4", "5 to 9", "10 to 19", "20 to 49", "50 to 99", "100 to 199", "200 or more"]
    assert sum(inside.sum() for _, inside in groups) == 134


def test_lists_and_histories_are_kept(tmp_path: Path) -> None:
    table, cases, seen = random_cases(3)
    contents = sparse.csr_array(np.random.default_rng(0).integers(0, 2, size=(25, 4)))
    found = evaluate(Fixed(table), cases, seen, CONFIG, contents=contents)
    assert "diversity@1" not in found.beyond  # a list of one has no pair
    found.save(tmp_path / "e")
    loaded = Evaluation.load(tmp_path / "e")
    assert loaded.beyond_accuracy == found.beyond_accuracy
    assert loaded.gini == found.gini
    assert loaded.by_given("ndcg@10") == found.by_given("ndcg@10")
    # What the first format wrote is read as well.
    facts = json.loads((tmp_path / "e" / FACTS_FILE).read_text())
    facts["format"] = 1
    del facts["kept"]["gini"], facts["kept"]["beyond"]
    (tmp_path / "e" / FACTS_FILE).write_text(json.dumps(facts))
    np.savez(tmp_path / "e" / RANKS_FILE, **{name: getattr(found, name) for name in ("ranks", "offsets", "targets", "users", "seen")})
    old = Evaluation.load(tmp_path / "e")
    assert old.table() == found.table()
    assert old.beyond_accuracy == {}
    assert old.by_given("ndcg@10") == []
