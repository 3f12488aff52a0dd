"""One contract for every fusion member found by discovery: a new member is tested by being there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import CheckpointError, ConfigError, DataError, UnknownItemError, UsageError
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.fusion.member import FALLBACK, MEMBERS, Member

GROUPS, SIZE, PEOPLE = 4, 6, 160
ITEMS = GROUPS * SIZE
THEMES = ("mountain boot trail", "kitchen pan cook", "guitar string chord", "garden seed soil")
NAMES = MEMBERS.names()


def catalogue(order: np.ndarray | None = None) -> Table:
    """Items of one group share its words; every title has words of its own, so that no two cosines tie."""
    order = np.arange(ITEMS) if order is None else order
    titles = [f"{THEMES[item // SIZE]} model{item} size{item % 7} tone{item % 5}" for item in order]
    frame = pl.DataFrame({"item_id": [f"i{item}" for item in order], "title": titles})
    return Table(Vocabulary(frame["item_id"]), frame, {"title": FieldType.TEXT})


def planted(seed: int = 0) -> tuple[list[list[int]], np.ndarray]:
    """People who stay within one group of items, most of them in the first: (histories, the item each one takes next)."""
    random = np.random.default_rng(seed)
    popular = 1.0 / np.arange(1, SIZE + 1)
    rows, targets = [], []
    for person in range(PEOPLE):
        group = 0 if person % 10 < 6 else 1 + person % (GROUPS - 1)
        items = group * SIZE + random.choice(SIZE, size=random.integers(3, SIZE + 1), replace=False, p=popular / popular.sum())
        rows.append([int(item) for item in items[:-1]])
        targets.append(int(items[-1]))
    return rows, np.array(targets)


@pytest.fixture(scope="module", params=NAMES)
def member(request: pytest.FixtureRequest) -> Member:
    rows, _ = planted()
    return MEMBERS.get(request.param)().fit(Histories.from_lists(rows), catalogue())


def ask(*rows: list[int]) -> Requests:
    return Requests(Histories.from_lists(list(rows)))


def test_the_built_in_members_are_found() -> None:
    assert {"popularity", "transition_graph", "transition_graph_text", "item_knn", "ease", "ials", "content_knn"} <= set(NAMES)


def test_a_planted_truth_is_found(member: Member) -> None:
    rows, targets = planted()
    scores = member.scores(ask(*rows))
    for person, row in enumerate(rows):
        scores[person, row] = -np.inf
    own = scores[np.arange(PEOPLE), targets][:, None]
    better = (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    # of the 20 or so candidates chance puts 10 before the target, popularity (right for most) 6, the group at most 2
    assert better.mean() < (7 if member.name == "popularity" else 2)


def test_scores_are_float32_finite_and_one_row_a_request(member: Member) -> None:
    scores = member.scores(ask([0, 1], [], [5, 5, 5], list(range(ITEMS))))
    assert scores.shape == (4, ITEMS)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_no_requests_no_rows(member: Member) -> None:
    assert member.scores(Requests(Histories(np.zeros(1, np.int64), np.zeros(0, np.int32)))).shape == (0, ITEMS)


def test_a_batch_gives_what_single_calls_give(member: Member) -> None:
    rows, _ = planted(seed=3)
    rows[4] = []
    together = member.scores(ask(*rows[:20]))
    alone = np.concatenate([member.scores(ask(row)) for row in rows[:20]])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-7)


def test_an_empty_history_gets_the_popular_items(member: Member) -> None:
    rows, _ = planted()
    counts = np.bincount(np.concatenate(rows), minlength=ITEMS)
    scores = member.scores(ask([]))[0]
    above, below = np.nonzero(counts[:, None] > counts[None, :])
    assert (scores[above] > scores[below]).all()


def test_nothing_is_kept_between_calls(member: Member) -> None:
    before = member.scores(ask([0, 1, 2]))
    member.scores(ask([12, 13], [20]))
    np.testing.assert_array_equal(member.scores(ask([0, 1, 2])), before)


def test_saved_and_loaded_scores_are_identical(member: Member, tmp_path: Path) -> None:
    member.save(tmp_path)
    requests = Requests(Histories.from_lists([[0, 1, 2], [], [20]]), texts=["", "guitar", "pan"], profiles=["", "", "likes the garden"])
    for loaded in (Member.load(tmp_path), type(member).load(tmp_path)):
        assert type(loaded) is type(member)
        assert loaded.options == member.options
        np.testing.assert_array_equal(loaded.scores(requests), member.scores(requests))


def test_the_same_data_give_the_same_bytes(member: Member, tmp_path: Path) -> None:
    rows, _ = planted()
    again = MEMBERS.get(member.name)().fit(Histories.from_lists(rows), catalogue())
    for folder, one in (("a", member), ("b", again)):
        (tmp_path / folder).mkdir()
        one.save(tmp_path / folder)
    for file in sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_relabelling_permutes_the_scores_and_changes_nothing_else(member: Member) -> None:
    rows, _ = planted()
    order = np.random.default_rng(5).permutation(ITEMS)  # new position -> old item
    place = np.argsort(order)  # old item -> new position
    moved = MEMBERS.get(member.name)().fit(Histories.from_lists([[int(place[item]) for item in row] for row in rows]), catalogue(order))
    asked = [rows[0], rows[1], [], [3, 9, 15]]
    expected = member.scores(ask(*asked))[:, order]
    got = moved.scores(ask(*[[int(place[item]) for item in row] for row in asked]))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_items_nobody_had_are_scored(member: Member) -> None:
    rows = [[item for item in row if item] for row in planted()[0]]  # nobody had item 0
    scores = MEMBERS.get(member.name)().fit(Histories.from_lists(rows), catalogue()).scores(ask([1, 2], [0], []))
    assert np.isfinite(scores).all()
    assert scores[2, 0] == scores[2].min()


def test_what_is_refused_is_no_sign_of_liking(member: Member, tmp_path: Path) -> None:
    """Everybody skips the same item after each one they take: the member is that of people who never saw it, and so is its answer to a skip."""
    skipped = ITEMS - 1
    rows = [[item for item in row if item != skipped] for row in planted()[0]]
    taken = Histories.from_lists(rows)
    both = Histories.from_lists([[one for item in row for one in (item, skipped)] for row in rows])
    both = replace(both, actions=(both.items == skipped).astype(np.int16) * 3)
    fitted = MEMBERS.get(member.name)().fit(both, catalogue(), refused=[3])
    expected = MEMBERS.get(member.name)().fit(taken, catalogue()).scores(ask(*rows[:9], []))
    asked = Requests(both.rows(np.append(np.arange(9), 0)))
    asked = Requests(asked.histories.window(drop_last=np.where(np.arange(10) == 9, asked.histories.lengths, 0)))
    np.testing.assert_array_equal(fitted.scores(asked), expected)
    assert fitted.popularity is not None
    assert fitted.popularity[skipped] == 0
    fitted.save(tmp_path)
    np.testing.assert_array_equal(Member.load(tmp_path).scores(asked), expected)


def test_histories_of_nobody_can_be_fitted(member: Member) -> None:
    fitted = MEMBERS.get(member.name)().fit(Histories.from_lists([[], []]), catalogue())
    assert np.isfinite(fitted.scores(ask([0], []))).all()


def test_a_catalogue_of_one_item(member: Member) -> None:
    frame = pl.DataFrame({"item_id": ["only"], "title": ["the only thing"]})
    table = Table(Vocabulary(["only"]), frame, {"title": FieldType.TEXT})
    scores = MEMBERS.get(member.name)().fit(Histories.from_lists([[0], [0, 0]]), table).scores(ask([], [0]))
    assert scores.shape == (2, 1)
    assert np.isfinite(scores).all()


def test_an_unknown_item_is_an_error(member: Member) -> None:
    for wrong in (-1, ITEMS):
        with pytest.raises(UnknownItemError, match=rf"item {wrong} is not in the catalogue \(dense ids 0\.\.{ITEMS - 1}\)"):
            member.scores(ask([0, wrong]))
    with pytest.raises(UnknownItemError):
        MEMBERS.get(member.name)().fit(Histories.from_lists([[ITEMS]]), catalogue())


def test_an_empty_catalogue_is_an_error(member: Member) -> None:
    table = Table(Vocabulary([]), pl.DataFrame({"item_id": [], "title": []}), {"title": FieldType.TEXT})
    with pytest.raises(DataError, match="0 items"):
        MEMBERS.get(member.name)().fit(Histories.from_lists([[]]), table)


def test_asking_before_fitting_is_an_error(member: Member, tmp_path: Path) -> None:
    for call in (lambda fresh: fresh.scores(ask([0])), lambda fresh: fresh.save(tmp_path)):
        with pytest.raises(UsageError, match=r"fit\(histories, items\)"):
            call(MEMBERS.get(member.name)())


def test_options_of_another_class_are_an_error(member: Member) -> None:
    with pytest.raises(ConfigError, match="Options"):
        MEMBERS.get(member.name)(Config())


def test_every_option_is_described(member: Member) -> None:
    assert all(field.description for field in member.Options.model_fields.values())


def test_damaged_folders_are_an_error(member: Member, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be read"):
        Member.load(tmp_path / "nowhere")
    member.save(tmp_path)
    arrays = (tmp_path / "arrays.npz").read_bytes()
    about = (tmp_path / "member.json").read_text()
    (tmp_path / "arrays.npz").write_bytes(arrays[: len(arrays) // 2])
    with pytest.raises(CheckpointError, match="is damaged"):
        Member.load(tmp_path)
    (tmp_path / "arrays.npz").write_bytes(arrays)
    for old, new, message in (
        ('"version": 1', '"version": 99', "reads up to 1"),
        (f'"{member.name}"', '"nobody"', "unknown fusion member"),
        ('"options": {', '"options": {"unheard": 1' + ("," if member.Options.model_fields else ""), "unheard"),
    ):
        (tmp_path / "member.json").write_text(about.replace(old, new))
        with pytest.raises(CheckpointError, match=message):
            Member.load(tmp_path)


def test_another_members_folder_is_an_error(member: Member, tmp_path: Path) -> None:
    member.save(tmp_path)
    other = MEMBERS.get("popularity" if member.name != "popularity" else "item_knn")
    with pytest.raises(CheckpointError, match=f"holds the member '{member.name}', not '{other.name}'"):
        other.load(tmp_path)


def test_the_fallback_reorders_nothing_that_has_evidence(member: Member) -> None:
    requests = ask([0], list(range(SIZE)), [])
    scores, personal = member.scores(requests), member._personal(requests)
    evidence = personal if isinstance(personal, np.ndarray) else personal.toarray()
    np.testing.assert_array_equal(scores[evidence != 0], evidence[evidence != 0])
    assert ((scores[evidence == 0] < 0) & (scores[evidence == 0] >= -FALLBACK * (1 + 1e-6))).all()
