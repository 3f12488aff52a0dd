"""Each fusion member against numbers worked out by hand, or against an independent formula."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import ConfigError, DataError, MissingExtraError, UsageError
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.fusion import ials
from m6rec.fusion.item_knn import largest
from m6rec.fusion.member import FALLBACK, MEMBERS, Member, history_weights, weigh_people
from m6rec.fusion.transition_graph import symmetry

TITLES = ["red boot", "blue boot", "green pan", "red pan", "yellow string"]


def table(items: int) -> Table:
    frame = pl.DataFrame({"item_id": [f"i{item}" for item in range(items)]})
    return Table(Vocabulary(frame["item_id"]), frame, {})


def titled(titles: list[str] = TITLES) -> Table:
    frame = pl.DataFrame({"item_id": [f"i{item}" for item in range(len(titles))], "title": titles})
    return Table(Vocabulary(frame["item_id"]), frame, {"title": FieldType.TEXT})


def fitted(name: str, rows: list[list[int]], items: Table, **options: Any) -> Member:
    cls = MEMBERS.get(name)
    return cls(cls.Options.build(options)).fit(Histories.from_lists(rows), items)


def ask(*rows: list[int], **more: Any) -> Requests:
    return Requests(Histories.from_lists(list(rows)), **more)


def random_rows(people: int, items: int, seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.choice(items, size=random.integers(0, items // 2), replace=False).tolist() for _ in range(people)]


# --- history weights


def test_history_weights_by_hand() -> None:
    weights = history_weights(Histories.from_lists([[3, 1], [], [2, 0, 2]]), 4, 0.5).toarray()
    # newest 1, then 1/2, then 1/4; rows scaled to 1; item 2 occurs twice
    np.testing.assert_allclose(weights, [[0, 2 / 3, 0, 1 / 3], [0, 0, 0, 0], [2 / 7, 0, 5 / 7, 0]], rtol=1e-6)


def test_without_recency_all_events_count_alike_however_long_the_history() -> None:
    weights = history_weights(Histories.from_lists([list(range(2000))]), 2000, 1.0)
    np.testing.assert_allclose(weights.toarray(), np.full((1, 2000), 1 / 2000), rtol=1e-6)


def test_people_with_long_histories_say_less() -> None:
    had = sparse.csr_array(np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0]], dtype=np.float32))  # lengths 1, 3, 0; mean 4/3
    np.testing.assert_allclose(weigh_people(had, 1.0).toarray(), [[4 / 3, 0, 0], [4 / 9, 4 / 9, 4 / 9], [0, 0, 0]], rtol=1e-6)


# --- popularity


def test_popularity_is_the_share_of_the_most_frequent() -> None:
    scores = fitted("popularity", [[0, 1], [0, 1, 0], [0]], table(3)).scores(ask([], [2]))
    np.testing.assert_allclose(scores, [[1, 0.5, -FALLBACK]] * 2, rtol=1e-6)


def test_popularity_with_a_half_life_and_unknown_times() -> None:
    day = 86_400.0
    histories = Histories(
        offsets=np.array([0, 3]), items=np.array([0, 1, 2], dtype=np.int32), times=np.array([90 * day, 100 * day, np.nan])
    )
    cls = MEMBERS.get("popularity")
    scores = cls(cls.Options.build({"half_life": 10})).fit(histories, table(3)).scores(ask([]))
    np.testing.assert_allclose(scores, [[0.5, 1, 0.5]], rtol=1e-6)  # the unknown time counts like the oldest


# --- transition graph


def graph(rows: list[list[int]], items: int, **options: Any) -> Member:
    plain = {"window": 2, "decay": 0.5, "backward": 0, "damping": 0, "source_damping": 0, "recency": 0.5}
    return fitted("transition_graph", rows, table(items), **(plain | options))


def test_transition_graph_by_hand() -> None:
    # T[0,1] = 1, T[0,2] = 1/2, T[1,2] = 1; history 0 then 1 weighs 1/3 and 2/3
    scores = graph([[0, 1, 2]], 3).scores(ask([0, 1]))
    np.testing.assert_allclose(scores[0, 1:], [1 / 3, 1 / 3 * 1 / 2 + 2 / 3], rtol=1e-6)


def test_transition_graph_backward_by_hand() -> None:
    scores = graph([[0, 1, 2]], 3, backward=0.25).scores(ask([2]))
    np.testing.assert_allclose(scores[0, :2], [0.25 / 2, 0.25], rtol=1e-6)


def test_transition_graph_damping_by_hand() -> None:
    rows = [[0, 1], [0, 2], [2], [2]]  # popularity 2, 1, 3
    np.testing.assert_allclose(graph(rows, 3, damping=1).scores(ask([0]))[0, 1:], [1, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(graph(rows, 3, damping=1, source_damping=1).scores(ask([0]))[0, 1:], [3 / 4, 1 / 4], rtol=1e-6)
    half = np.sqrt(1 + 1 / 3)
    np.testing.assert_allclose(graph(rows, 3, damping=1, source_damping=0.5).scores(ask([0]))[0, 1:], [1 / half, 1 / 3 / half], rtol=1e-6)


def test_transition_graph_hops_by_hand() -> None:
    # rows of T sum to 1: 0 -> 1, 1 -> 2; two hops: 0 -> 1 with 1 and 0 -> 2 with 1/4, scaled to sum 1
    two = graph([[0, 1], [1, 2]], 3, window=1, source_damping=1, hops=2, hop_decay=0.25)
    np.testing.assert_allclose(two.scores(ask([0]))[0, 1:], [0.8, 0.2], rtol=1e-6)
    assert graph([[0, 1], [1, 2]], 3, window=1, hops=1).scores(ask([0]))[0, 2] < 0


def test_text_reaches_an_item_that_nobody_had() -> None:
    rows = [[0, 4], [0, 4]]
    without = fitted("transition_graph", rows, titled()).scores(ask([0]))[0]
    joined = fitted("transition_graph_text", rows, titled()).scores(ask([0]))[0]
    assert without[1] < 0 < joined[1]  # "blue boot" shares a word with "red boot"
    assert joined[2] < 0  # "green pan" does not


def test_similarity_zero_is_the_graph_alone() -> None:
    rows = random_rows(30, 5)
    alone = fitted("transition_graph", rows, titled()).scores(ask([0, 1]))
    np.testing.assert_array_equal(fitted("transition_graph_text", rows, titled(), similarity=0).scores(ask([0, 1])), alone)


def test_symmetry_by_hand() -> None:
    def of(*rows: list[int]) -> float:
        return symmetry(sparse.csr_array(np.array(rows, dtype=np.float32)))

    assert of([0, 3], [0, 0]) == 0  # always in one order
    assert of([0, 4], [1, 0]) == pytest.approx((4 + 4) / (4 * 3))
    assert of([0, 2], [2, 0]) == 1  # more pairs against each other than along: held at 1
    assert of([5, 1], [0, 0]) == 1  # nothing but a repeated purchase: nothing is known


def test_backward_left_open_follows_the_data() -> None:
    ordered = fitted("transition_graph", [[0, 1]] * 6, table(3)).scores(ask([1]))
    assert ordered[0, 0] < 0
    either = fitted("transition_graph", [[0, 1], [1, 0]] * 3, table(3)).scores(ask([1]))
    assert either[0, 0] > 0


# --- item kNN


def knn(rows: list[list[int]], items: int, **options: Any) -> Member:
    return fitted("item_knn", rows, table(items), **({"shrink": 0, "activity": 0, "recency": 1} | options))


def test_item_knn_cosines_by_hand() -> None:
    rows = [[0, 1], [0, 1], [2, 0]]  # n = 3, 2, 1; together: 0 and 1 twice, 0 and 2 once
    np.testing.assert_allclose(knn(rows, 3).scores(ask([0]))[0, 1:], [2 / 6**0.5, 1 / 3**0.5], rtol=1e-6)
    np.testing.assert_allclose(knn(rows, 3, shrink=1).scores(ask([0]))[0, 1:], [2 / (6**0.5 + 1), 1 / (3**0.5 + 1)], rtol=1e-6)
    assert knn(rows, 3, neighbours=1).scores(ask([0]))[0, 2] < 0
    # 1 then 2, recency 1/2: 0 is similar to both
    np.testing.assert_allclose(knn(rows, 3, recency=0.5).scores(ask([1, 2]))[0, 0], 1 / 3 * 2 / 6**0.5 + 2 / 3 / 3**0.5, rtol=1e-6)


def test_item_knn_activity_by_hand() -> None:
    rows = [[0, 1], [0, 2, 3, 4]]  # mean length 3: the first says 3/2, the second 3/4
    scores = knn(rows, 5, activity=1).scores(ask([0]))[0]
    np.testing.assert_allclose(scores[1:3], [1.5 / (2.25 * 1.5) ** 0.5, 0.75 / (2.25 * 0.75) ** 0.5], rtol=1e-6)


def test_item_knn_bm25_by_hand() -> None:
    rows = [[0, 1], [2], [2], [2]]  # 4 people; mean length 5/4, the first has 2
    rarity = np.log(4 / 2)  # ln(U / (1 + 1))
    saturation = 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 1.25))
    np.testing.assert_allclose(knn(rows, 3, weighting="bm25").scores(ask([0]))[0, 1], (rarity * saturation) ** 2, rtol=1e-5)


def test_item_knn_in_chunks_is_item_knn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(60, 20)
    whole = knn(rows, 20, neighbours=5).scores(ask(*rows[:10]))
    monkeypatch.setattr("m6rec.fusion.item_knn.CELLS", 70)
    np.testing.assert_array_equal(knn(rows, 20, neighbours=5).scores(ask(*rows[:10])), whole)


def test_the_largest_keep_those_that_tie_with_the_last() -> None:
    kept = largest(np.array([[3, 1, 2, 2, 0], [0, 0, 1, 0, 0]], dtype=np.float32), 2).toarray()
    np.testing.assert_array_equal(kept, [[3, 0, 2, 2, 0], [0, 0, 1, 0, 0]])


# --- EASE


@pytest.mark.parametrize("activity", [0.0, 0.5])
def test_ease_against_the_dense_formula(monkeypatch: pytest.MonkeyPatch, activity: float) -> None:
    monkeypatch.setattr("m6rec.fusion.ease.BLOCK", 7)
    rows = random_rows(80, 20)
    had = np.zeros((80, 20))
    for person, row in enumerate(rows):
        had[person, row] = 1
    lengths = had.sum(1)
    people = np.diag((np.maximum(lengths, 1) / lengths.mean()) ** -activity)
    inverse = np.linalg.inv(had.T @ people @ had + 5 * np.eye(20))
    weights = np.eye(20) - inverse / np.diag(inverse)  # Steck's eq. 8
    scores = fitted("ease", rows, table(20), l2=5, recency=1, activity=activity).scores(ask(*rows))
    people_with = lengths > 0
    np.testing.assert_allclose(scores[people_with], (had @ weights / np.maximum(lengths, 1)[:, None])[people_with], rtol=1e-3, atol=1e-5)


def test_ease_refuses_a_catalogue_that_does_not_fit() -> None:
    with pytest.raises(DataError, match=r"ease needs 4 GB for 31,623 items, 2 GB \(22,360 items\) are allowed"):
        fitted("ease", [[0]], table(31_623))


def test_a_fit_that_fails_leaves_nothing_half_fitted() -> None:
    member = fitted("ease", [[0, 1]], table(2))
    with pytest.raises(DataError):
        member.fit(Histories.from_lists([[0]]), table(31_623))
    with pytest.raises(UsageError, match="was not fitted"):
        member.scores(ask([0]))


# --- iALS


def test_folding_in_is_what_implicit_computes() -> None:
    als = pytest.importorskip("implicit.cpu.als")
    rows = random_rows(60, 20, seed=2)
    member = fitted("ials", rows, table(20), factors=8, alpha=6, l2=3, recency=1)
    assert isinstance(member, ials.IALS)
    model = als.AlternatingLeastSquares(factors=8, regularization=3, alpha=6, num_threads=1)
    model.item_factors = member._items
    had = ials.interactions(Histories.from_lists(rows), 20)
    expected = model.recalculate_user(np.arange(60), sparse.csr_matrix(had))
    np.testing.assert_allclose(member.fold_in(Histories.from_lists(rows)), expected, rtol=1e-3, atol=1e-4)


def test_folded_in_people_are_the_people_of_the_training() -> None:
    als = pytest.importorskip("implicit.cpu.als")
    rows = random_rows(60, 20, seed=2)
    member = fitted("ials", rows, table(20), factors=4, alpha=6, l2=3, recency=1, iterations=60)
    assert isinstance(member, ials.IALS)
    had = sparse.csr_matrix(ials.interactions(Histories.from_lists(rows), 20))
    model = als.AlternatingLeastSquares(factors=4, regularization=3, alpha=6, iterations=60, num_threads=1)
    model.user_factors, model.item_factors = ials.first_factors(had, 4, seed=0)
    model.fit(had, show_progress=False)
    np.testing.assert_allclose(member.fold_in(Histories.from_lists(rows)), model.user_factors, atol=0.02)


def test_short_and_long_histories_are_folded_in_by_one_formula() -> None:
    rows = random_rows(60, 20, seed=4)
    member = fitted("ials", rows, table(20), factors=6, alpha=8, l2=2, recency=0.7)
    assert isinstance(member, ials.IALS)
    items = member._items.astype(np.float64)
    for history in ([3], [1, 2, 3], list(range(6)), list(range(15))):
        weights = history_weights(Histories.from_lists([history]), 20, 0.7).toarray()[0].astype(np.float64)
        extra = 7 * len(history) * weights
        system = items.T @ items + 2 * np.eye(6) + items.T @ np.diag(extra) @ items
        expected = np.linalg.solve(system, items.T @ ((1 + extra) * (weights > 0)))
        np.testing.assert_allclose(member.fold_in(Histories.from_lists([history]))[0], expected, rtol=1e-4, atol=1e-6)


def test_ials_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    fitted("ials", random_rows(20, 10), table(10), factors=4)
    assert capfd.readouterr() == ("", "")


def test_without_implicit_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    member = fitted("ials", random_rows(20, 10), table(10), factors=4)
    member.save(tmp_path)

    def missing(module: str, extra: str) -> None:
        raise MissingExtraError(f"'{module}' is not installed; type: pip install 'm6rec[{extra}]'")

    monkeypatch.setattr(ials, "require", missing)
    with pytest.raises(MissingExtraError, match=r"m6rec\[fusion\]"):
        fitted("ials", [[0]], table(10))
    # what was fitted elsewhere still answers
    np.testing.assert_array_equal(Member.load(tmp_path).scores(ask([1, 2])), member.scores(ask([1, 2])))


# --- content kNN


def test_content_knn_by_hand() -> None:
    # words that two items have: boot, red, pan; each has idf ln(1 + 5/2), so all weigh alike
    scores = fitted("content_knn", [], titled(), recency=1.0).scores(ask([0]))[0]
    np.testing.assert_allclose(scores[:4], [1, 1 / 2**0.5, -FALLBACK, 1 / 2], rtol=1e-5)


def test_typed_text_finds_items_for_nobody_we_know() -> None:
    scores = fitted("content_knn", [], titled()).scores(ask([], [], [], texts=["red pans", "", "unheard of"]))
    assert scores[0].argmax() == 3
    np.testing.assert_allclose(scores[0, 3], 1, rtol=1e-6)
    assert (scores[1:] < 0).all()


def test_history_text_and_profile_add_up() -> None:
    member = fitted("content_knn", [], titled(), typed=1.0, profile=1.0, recency=1.0)
    history = member.scores(ask([1]))[0]
    both = member.scores(ask([1], texts=["pan"]))[0]
    assert history[2] < 0  # without the typed word the green pan has nothing to do with the blue boot
    np.testing.assert_allclose(both[1:3], [1 / 2**0.5, 1 / 2**0.5], rtol=1e-6)  # half boot, half pan
    np.testing.assert_allclose(member.scores(ask([1], profiles=["pan"]))[0], both, rtol=1e-6)


def test_one_request_does_not_see_the_text_of_another() -> None:
    member = fitted("content_knn", [], titled())
    together = member.scores(ask([0], [], texts=["", "pan"]))
    np.testing.assert_array_equal(together[0], member.scores(ask([0]))[0])
    np.testing.assert_array_equal(together[1], member.scores(ask([], texts=["pan"]))[0])


# --- options, real data


def test_a_misspelt_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'recency'"):
        MEMBERS.get("item_knn").Options.build({"recencey": 0.5})


@pytest.mark.real_data
def test_baselines_on_real_purchases_are_as_strong_as_measured(real_data: Callable[[str], Path]) -> None:
    """Leave one out, full ranking, history excluded, counts of all events but the last two, 4,000 people: NDCG@10 of the test."""
    lines = (real_data("beauty") / "leave_one_out.txt").read_text(encoding="utf-8").splitlines()
    rows = [[int(item) - 1 for item in line.split()[1:]] for line in lines]
    catalogue = table(max(max(row) for row in rows) + 1)
    people = np.random.default_rng(0).choice(len(rows), 4000, replace=False)
    for name, floor in (("transition_graph", 0.050), ("item_knn", 0.040)):
        member = fitted(name, [row[:-2] for row in rows], catalogue)
        gains = []
        for start in range(0, len(people), 250):
            asked = [rows[person] for person in people[start : start + 250]]
            scores = member.scores(ask(*[row[:-1] for row in asked]))
            for row, one in zip(asked, scores, strict=True):
                one[row[:-1]] = -np.inf
                rank = 1 + (one > one[row[-1]]).sum() + ((one == one[row[-1]]).sum() - 1) / 2
                gains.append(1 / np.log2(1 + rank) if rank <= 10 else 0.0)
        assert np.mean(gains) > floor, name
