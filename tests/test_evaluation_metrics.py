"""Ranks and metrics by hand fractions, with ties, repeats, exclusions and several targets; properties; parity with ranx."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Histories
from m6rec.evaluation.beyond_accuracy import top_lists
from m6rec.evaluation.metrics import METRICS, candidate_scores, expected_ranks, hit_rate, mrr, ndcg, precision, recall


def rows(*lists: list[int]) -> Histories:
    return Histories.from_lists([list(row) for row in lists])


def scores(*lists: list[float]) -> np.ndarray:
    return np.array(lists, dtype=np.float32)


def brute_rank(row: np.ndarray, target: int, out: set[int]) -> float:
    others = [value for item, value in enumerate(row) if item != target and item not in out]
    return 1 + sum(value > row[target] for value in others) + sum(value == row[target] for value in others) / 2


def test_rank_by_hand() -> None:
    table = scores([0.9, 0.5, 0.5, 0.1, 0.5])
    assert expected_ranks(table, rows([0])).tolist() == [1.0]
    assert expected_ranks(table, rows([1])).tolist() == [3.0]  # one above, two others tied: places 2, 3, 4
    assert expected_ranks(table, rows([3])).tolist() == [5.0]


def test_a_constant_scorer_gets_the_middle_wherever_the_target_stands() -> None:
    table = np.zeros((7, 7), dtype=np.float32)
    assert expected_ranks(table, rows(*([i] for i in range(7)))).tolist() == [4.0] * 7


def test_ties_are_those_of_float32() -> None:
    near = np.float32(0.1)
    table = np.array([[near, np.nextafter(near, np.float32(1)), near]], dtype=np.float32)
    assert expected_ranks(table, rows([0])).tolist() == [2.5]
    # 0.1 in float64 is not 0.1 in float32: nothing may be widened and compared with something else.
    assert expected_ranks(scores([0.1, 0.1, -0.0, 0.0]), rows([1])).tolist() == [1.5]
    assert expected_ranks(scores([0.1, 0.1, -0.0, 0.0]), rows([2, 3])).tolist() == [3.5, 3.5]


def test_excluded_items_are_no_candidates_and_repeats_in_the_history_count_once() -> None:
    table = scores([0.9, 0.8, 0.7, 0.6])
    assert expected_ranks(table, rows([2]), rows([0, 0, 0])).tolist() == [2.0]
    assert expected_ranks(table, rows([2]), rows([])).tolist() == [3.0]  # an empty history
    assert expected_ranks(table, rows([2]), None).tolist() == [3.0]


def test_a_target_is_never_excluded() -> None:
    table = scores([0.9, 0.8, 0.7])
    assert expected_ranks(table, rows([2]), rows([0, 2])).tolist() == [2.0]
    # Both targets were consumed before: each stays a candidate for the other.
    assert expected_ranks(table, rows([0, 2]), rows([0, 2])).tolist() == [1.0, 3.0]


def test_the_scores_given_are_not_changed() -> None:
    table = scores([0.9, 0.8, 0.7])
    expected_ranks(table, rows([2]), rows([0]))
    assert table.tolist() == scores([0.9, 0.8, 0.7]).tolist()


def test_batches_may_mix_one_and_several_targets() -> None:
    table = scores([0.9, 0.5, 0.5, 0.1], [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.4])
    assert expected_ranks(table, rows([1], [0, 3], [2])).tolist() == [2.5, 4.0, 1.0, 2.0]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 6), st.integers(1, 4))
def test_ranks_match_counting_one_by_one(seed: int, items: int, cases: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, levels, size=(cases, items)).astype(np.float32)
    targets = [list(rng.choice(items, size=rng.integers(1, min(items, 4) + 1), replace=False)) for _ in range(cases)]
    history = [list(rng.integers(0, items, size=rng.integers(0, 5))) for _ in range(cases)]
    expected = [brute_rank(table[c], t, set(history[c]) - set(targets[c])) for c in range(cases) for t in targets[c]]
    assert expected_ranks(table, rows(*targets), rows(*history)).tolist() == expected


ONE = np.array([0, 1, 2, 3])


def test_single_target_metrics_by_hand() -> None:
    ranks = np.array([1.0, 2.5, 11.0])
    assert hit_rate(ranks, ONE, 2).tolist() == [1, 0, 0]
    assert hit_rate(ranks, ONE, 3).tolist() == [1, 1, 0]
    assert recall(ranks, ONE, 10).tolist() == [1, 1, 0]
    assert precision(ranks, ONE, 10).tolist() == [1 / 10, 1 / 10, 0]
    assert mrr(ranks, ONE, 10).tolist() == [1, 1 / 2.5, 0]
    assert ndcg(ranks, ONE, 10).tolist() == [1, 1 / np.log2(3.5), 0]


def test_several_targets_by_hand() -> None:
    ranks, offsets = np.array([1.0, 4.0, 30.0, 2.0]), np.array([0, 3, 4])
    assert hit_rate(ranks, offsets, 5).tolist() == [1, 1]
    assert recall(ranks, offsets, 5) == pytest.approx([2 / 3, 1])
    assert precision(ranks, offsets, 5) == pytest.approx([2 / 5, 1 / 5])
    assert mrr(ranks, offsets, 5).tolist() == [1, 1 / 2]
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert ndcg(ranks, offsets, 5) == pytest.approx([(1 + 1 / np.log2(5)) / ideal, 1 / np.log2(3)])
    assert ndcg(ranks, offsets, 2) == pytest.approx([1 / (1 + 1 / np.log2(3)), 1 / np.log2(3)])  # the ideal list holds k targets at most


def test_more_targets_in_one_tie_than_places_do_not_count_twice() -> None:
    ranks, offsets = np.full(4, 2.5), np.array([0, 4])  # four targets tied for the first four places
    assert precision(ranks, offsets, 3).tolist() == [1.0]
    assert recall(ranks, offsets, 3).tolist() == [3 / 4]
    assert ndcg(ranks, offsets, 3)[0] <= 1


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.integers(1, 12))
def test_every_metric_lies_between_0_and_1_and_only_grows_with_better_scores(seed: int, items: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 3, size=(1, items)).astype(np.float32)
    targets = rng.choice(items, size=rng.integers(1, items + 1), replace=False)
    better = table.copy()
    better[0, targets] += 1
    offsets = np.array([0, len(targets)])
    for name, metric in METRICS.items():
        before = metric(expected_ranks(table, rows(list(targets))), offsets, k)[0]
        after = metric(expected_ranks(better, rows(list(targets))), offsets, k)[0]
        assert 0 <= before <= 1 + 1e-12, name
        assert after >= before - 1e-12, name


def test_no_cases_give_no_values() -> None:
    for metric in METRICS.values():
        assert metric(np.zeros(0), np.array([0]), 10).shape == (0,)


def top_items(candidates: np.ndarray, cutoffs: list[int]) -> dict[int, np.ndarray]:
    """k -> the items that coverage@k counts."""
    ((_, lists),) = top_lists(candidates, cutoffs)
    return {k: np.unique(found.covered()) for k, found in lists.items()}


def test_coverage_sets_by_hand() -> None:
    candidates = candidate_scores(scores([0.9, 0.8, 0.7, 0.1], [0.9, 0.9, 0.2, 0.1]), rows([3], [3]), rows([0], []))
    found = top_items(candidates, [1, 2, 3])
    # Row 0 without item 0: 1, 2, 3. Row 1: items 0 and 1 share rank 1.5, item 2 has rank 3.
    assert {k: items.tolist() for k, items in found.items()} == {1: [1], 2: [0, 1, 2], 3: [0, 1, 2, 3]}


def test_a_tie_for_more_places_than_there_are_covers_nothing() -> None:
    candidates = np.zeros((1, 100), dtype=np.float32)
    assert top_items(candidates, [10])[10].tolist() == []
    assert len(top_items(candidates, [51])[51]) == 100  # the expected rank of each is 50.5


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 6))
def test_coverage_sets_match_expected_ranks(seed: int, items: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, levels * 3, size=(3, items)).astype(np.float32)
    targets, history = rows([0], [1], [0]), rows([1], [], [0, 1])
    found = top_items(candidate_scores(table, targets, history), [1, 3, 7])
    for k in (1, 3, 7):
        expected = set()
        for case in range(3):
            out = set(history.row(case).tolist()) - set(targets.row(case).tolist())
            expected |= {i for i in range(items) if i not in out and brute_rank(table[case], i, out) <= k}
        assert set(found[k].tolist()) == expected


def test_ranx_agrees_where_nothing_is_tied(monkeypatch: pytest.MonkeyPatch) -> None:
    # Compiling ranx takes minutes on a small machine; as plain Python the same functions take a second.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with warnings.catch_warnings():
        # ranx and the numba it compiles with warn about their own deprecated calls; nothing here is ours to fix.
        warnings.simplefilter("ignore")
        from ranx import Qrels, Run
        from ranx import evaluate as ranx_evaluate

        rng = np.random.default_rng(7)
        cases, items = 30, 40
        table = np.stack([rng.permutation(items) for _ in range(cases)]).astype(np.float32)
        targets = [rng.choice(items, size=rng.integers(1, 6), replace=False) for _ in range(cases)]
        qrels = Qrels({f"q{c}": {f"i{t}": 1 for t in targets[c]} for c in range(cases)})
        run = Run({f"q{c}": {f"i{i}": float(table[c, i]) for i in range(items)} for c in range(cases)})
        names = {"ndcg": "ndcg", "hit_rate": "hit_rate", "recall": "recall", "mrr": "mrr", "precision": "precision"}
        theirs = ranx_evaluate(qrels, run, [f"{name}@{k}" for name in names.values() for k in (1, 5, 20)], make_comparable=True)
    lists = Histories.from_lists(targets)
    ranks = expected_ranks(table, lists)
    for ours, name in names.items():
        for k in (1, 5, 20):
            assert METRICS[ours](ranks, lists.offsets, k).mean() == pytest.approx(theirs[f"{name}@{k}"], abs=1e-12), f"{ours}@{k}"
