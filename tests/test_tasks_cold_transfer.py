"""Items that nobody has had: the transitions they borrow, by brute force and on planted worlds; what was counted stays as counted.

Dimension keys: N items, U items that borrow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from m6rec import Recommender
from m6rec.base.contracts import Histories, Requests
from m6rec.tasks import cold_transfer
from m6rec.tasks.agreement import Agreement
from m6rec.tasks.cold_transfer import SIMILAR, borrowed, said_of_similar, without_transitions
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.tasks.prior import GRAPH_PARTS, prior_tables, row_mass
from m6rec.text.similarity import similarity_vectors, text_neighbours

CONFIG = PriorConfig(keep=100, similar=100, borrow_smoothing=0.5)


def random_world(items: int, newcomers: list[int], seed: int) -> tuple[csr_array, csr_array]:
    """A table of transitions among the items that are not new, and a text prior over all of them."""
    generator = np.random.default_rng(seed)
    table = np.where(generator.random((items, items)) < 0.4, generator.random((items, items)), 0)
    table[newcomers] = table[:, newcomers] = 0
    bag = csr_array((generator.random((items, 8)) < 0.3).astype(np.float32))
    text = text_neighbours(similarity_vectors(bag, np.ones(8, np.float32)), keep=items, power=2.0)
    return csr_array(table.astype(np.float32)), text


def brute(table: np.ndarray, text: np.ndarray, newcomers: list[int], smoothing: float) -> np.ndarray:
    """The module's formula in loops."""
    items = len(table)
    known = [i for i in range(items) if i not in newcomers]
    result = table.astype(np.float64)
    mass = table.sum(axis=1)
    resembling = {}
    for new in newcomers:
        weights = np.array([text[new, j] if j in known else 0.0 for j in range(items)])
        resembling[new] = weights / weights.sum() if weights.sum() else weights
    for h in known:
        if not mass[h]:
            continue
        share = mass[h] / (mass[h] + smoothing * sum(text[h, g] * mass[g] for g in range(items)))
        for new in newcomers:
            around = table[h] + smoothing * sum(text[h, g] * table[g] for g in range(items))
            result[h, new] = share * (resembling[new] @ around)
    counted = result.copy()
    for new in newcomers:
        result[new] = resembling[new] @ counted
    return result


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), items=st.integers(2, 12), new=st.integers(1, 4), smoothing=st.sampled_from([0.0, 0.5, 2.0]))
def test_what_is_borrowed_equals_brute_force(seed: int, items: int, new: int, smoothing: float) -> None:
    newcomers = sorted(np.random.default_rng(seed).permutation(items)[: min(new, items - 1)].tolist())
    table, text = random_world(items, newcomers, seed)
    config = CONFIG.model_copy(update={"borrow_smoothing": smoothing})
    got = borrowed(table, text, np.array(newcomers), config)
    np.testing.assert_allclose(got.toarray(), brute(table.toarray(), text.toarray(), newcomers, smoothing), atol=1e-5)
    known = np.setdiff1d(np.arange(items), newcomers)
    np.testing.assert_array_equal(got[known][:, known].toarray(), table[known][:, known].toarray())
    assert got.dtype == np.float32
    assert got.has_sorted_indices


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), items=st.integers(3, 12), new=st.integers(1, 2), smoothing=st.sampled_from([0.0, 0.5]))
def test_what_the_last_items_borrow_equals_brute_force(seed: int, items: int, new: int, smoothing: float) -> None:
    """Items that were added a moment ago are the last ones: their entries are put behind the others, without making the table anew."""
    newcomers = list(range(items - new, items))
    table, text = random_world(items, newcomers, seed)
    config = CONFIG.model_copy(update={"borrow_smoothing": smoothing})
    got = borrowed(table, text, np.array(newcomers), config)
    np.testing.assert_allclose(got.toarray(), brute(table.toarray(), text.toarray(), newcomers, smoothing), atol=1e-5)
    got.check_format(full_check=True)
    assert got.has_sorted_indices
    assert got.dtype == np.float32


def test_many_newcomers_borrow_the_largest_of_what_few_would(monkeypatch: pytest.MonkeyPatch) -> None:
    newcomers = [1, 4, 5, 9]
    table, text = random_world(40, newcomers, seed=3)
    whole = borrowed(table, text, np.array(newcomers), CONFIG).toarray()
    monkeypatch.setattr(cold_transfer, "BORROWED_ENTRIES", 4 * 6)
    monkeypatch.setattr(cold_transfer, "FEWEST", 2)
    few = borrowed(table, text, np.array(newcomers), CONFIG).toarray()
    known = np.setdiff1d(np.arange(40), newcomers)
    for new in newcomers:
        sources = np.flatnonzero(few[known, new])
        assert 0 < len(sources) <= 6
        assert 0 < np.count_nonzero(few[new, known]) <= 6
        assert set(np.argsort(-whole[known, new])[:3]) <= set(sources)  # the second cut, after smoothing, is of what the first one left
    np.testing.assert_array_equal(few[known][:, known], table.toarray()[known][:, known])


def test_blocks_of_columns_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    newcomers = [1, 4, 5, 9]
    table, text = random_world(12, newcomers, seed=3)
    whole = borrowed(table, text, np.array(newcomers), CONFIG)
    monkeypatch.setattr(cold_transfer, "ROWS_ENTRIES", 1)  # one column at a time
    np.testing.assert_array_equal(borrowed(table, text, np.array(newcomers), CONFIG).toarray(), whole.toarray())


def test_only_the_largest_sources_are_kept() -> None:
    table, text = random_world(12, [0], seed=5)
    full = borrowed(table, text, np.array([0]), CONFIG).toarray()[1:, 0]
    cut = borrowed(table, text, np.array([0]), CONFIG.model_copy(update={"keep": 3})).toarray()[1:, 0]
    assert np.count_nonzero(full) > 3
    np.testing.assert_array_equal(np.flatnonzero(cut), np.sort(np.argsort(-full)[:3]))


def test_a_newcomer_gets_what_its_neighbours_get_on_average() -> None:
    """0 leads to 1 (mass .6) and 2 (mass .2); 3 resembles 1 and 2 alike, so 0 leads to 3 with (.6 + .2) / 2."""
    table = csr_array(np.array([[0, 0.6, 0.2, 0], [0.5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    text = csr_array(np.array([[0, 0, 0, 0], [0, 0, 0.5, 0.5], [0, 0.5, 0, 0.5], [0, 0.5, 0.5, 0]], dtype=np.float32))
    got = borrowed(table, text, np.array([3]), CONFIG.model_copy(update={"borrow_smoothing": 0.0})).toarray()
    assert got[0, 3] == pytest.approx(0.4)
    assert got[3].tolist() == pytest.approx([0.25, 0, 0, 0])  # as a source: half of what 1 leads to, and 2 leads nowhere
    # 2 resembles 1, which leads to 0, but has no transitions of its own: it does not lead to newcomers alone.
    assert not borrowed(table, text, np.array([3]), CONFIG).toarray()[2].any()


def test_who_borrows() -> None:
    tables = [csr_array(np.array(rows, dtype=np.float32)) for rows in ([[0, 1, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 0]] * 3)]
    assert without_transitions(tables).tolist() == [2]
    assert without_transitions([]).tolist() == []
    table, text = random_world(6, [], seed=1)
    assert borrowed(table, text, np.array([], dtype=np.int64), CONFIG) is table  # nobody new: nothing is touched
    assert borrowed(csr_array((6, 6), dtype=np.float32), text, np.arange(6), CONFIG).nnz == 0


def test_an_item_without_known_words_stays_without_transitions() -> None:
    table, text = random_world(8, [7], seed=2)
    silent = text.toarray()
    silent[7] = silent[:, 7] = 0
    got = borrowed(table, csr_array(silent), np.array([7]), CONFIG)
    np.testing.assert_array_equal(got.toarray(), table.toarray())


def test_a_new_item_follows_what_leads_to_its_kind() -> None:
    """People go from shoes to laces and from pens to ink. Words of sources and targets differ: content neighbours can't know."""
    words = {"shoe": [0, 1, 2], "lace": [3, 4, 5], "pen": [6, 7, 8], "ink": [9, 10, 11]}
    bag = np.zeros((14, 4), dtype=np.float32)
    for column, rows in enumerate(words.values()):
        bag[rows, column] = 1
    bag[12, 1] = bag[13, 3] = 1  # 12 is a new lace, 13 is a new ink
    vectors = similarity_vectors(csr_array(bag), np.ones(4, np.float32))
    generator = np.random.default_rng(0)
    lists = [[int(generator.choice(words[a])), int(generator.choice(words[b]))] for a, b in (("shoe", "lace"), ("pen", "ink")) * 40]
    tables = prior_tables(Histories.from_lists(lists), vectors, PriorConfig())
    for shoe in words["shoe"]:
        assert tables["next"][shoe, 12] > 0
        assert tables["next"][shoe, 13] == 0
        assert tables["text"][shoe, 12] == 0
        laces = tables["next"][[shoe]][:, words["lace"]].mean()
        assert 0.5 < tables["next"][shoe, 12] / laces < 2  # as likely as a lace that is known, neither hidden nor pushed
    assert tables["next"][12].nnz == 0  # laces lead nowhere
    assert tables["backward"][12, 0] > 0
    for name, table in prior_tables(Histories.from_lists(lists), vectors, PriorConfig(borrow=False)).items():
        assert table[:, [12]].nnz == 0 or name == "text"


def test_a_row_gives_newcomers_no_more_than_their_share() -> None:
    """A tenth of the items is new and like the others: every source gives them about a tenth of its mass, however little was counted."""
    items, new = 60, np.arange(54, 60)
    generator = np.random.default_rng(1)
    lists = [(generator.integers(0, 9, size=6) * 6 + group).tolist() for group in (0, 1, 2, 3, 4, 5) for _ in range(30)]
    bag = np.eye(6, dtype=np.float32)[np.arange(items) % 6]
    vectors = similarity_vectors(csr_array(bag), np.ones(6, np.float32))
    tables = prior_tables(Histories.from_lists(lists), vectors, PriorConfig())
    for name in GRAPH_PARTS:
        rows = tables[name][:54]
        share = row_mass(csr_array(rows[:, new])) / row_mass(csr_array(rows))
        assert share.min() > 0.05
        assert share.max() < 0.2


def test_what_is_said_of_similar_items_by_hand() -> None:
    """Item 2 resembles 0 (weight .75) and 1 (.25): of their counts (2, 4) + (0, 1) it gets .75 * 2 + .25 * 5."""
    text = csr_array(np.array([[0, 0, 1.0], [0, 0, 0], [0.75, 0.25, 0]], dtype=np.float32))
    counted = [np.array([[2, 4, 0.0]], dtype=np.float32), np.array([[0, 1, 0.0]], dtype=np.float32)]
    got = said_of_similar(counted, csr_array(text.T))
    np.testing.assert_allclose(got, [[0, 0, 2.75]])
    assert got.dtype == np.float32


@pytest.mark.parametrize("part", ["graph", "text"])
def test_switched_off_parts_say_nothing_of_similar_items(tiny_run: Path, part: str) -> None:
    scorer = ChooseScorer.load(tiny_run / "model")
    requests = Requests(Histories.from_lists([[3, 5]]))
    assert scorer.counted(requests, 0.65)[SIMILAR].any()
    scorer.switched_off = (part,)
    found = scorer.counted(requests, 0.65)
    assert SIMILAR not in found or not found[SIMILAR].any()


def test_similar_items_are_only_counted_where_agreement_asks(tiny_run: Path) -> None:
    scorer = ChooseScorer.load(tiny_run / "model")
    requests = Requests(Histories.from_lists([[3, 5], []]))
    scorer.agreement = Agreement()
    plain = scorer.scores(requests)
    scorer.agreement = Agreement(weight=2.0, floor=0.1, recency=0.5, shares={SIMILAR: 1.0})
    gain = 2.0 * np.log1p(scorer.counted(requests, 0.5)[SIMILAR] / 0.1)
    np.testing.assert_allclose(scorer.scores(requests), plain + gain, atol=1e-4)
    assert not gain[1].any()


@pytest.fixture
def recommender(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run / "model")


def test_an_added_item_is_recommended_where_its_like_is(recommender: Recommender, tmp_path: Path) -> None:
    """A twin of an item joins the transitions at once, keeps them when saved, and agreement counts for it."""
    scorer = recommender.engine.scorer
    table = scorer.catalogue.priors["forward"]
    source, target = (int(place) for place in np.unravel_index(table.toarray().argmax(), table.shape))
    frame = scorer.catalogue.items.frame
    recommender.add_items(pl.DataFrame([{**frame.row(target, named=True), "item_id": "twin"}], schema=frame.schema))
    requests = Requests(Histories.from_lists([[source]]))
    parts = scorer.parts(requests)
    forward = parts["forward"][0]
    assert forward[-1] > 0
    assert (forward > forward[-1]).sum() < 0.4 * len(frame)
    np.testing.assert_allclose(np.sum(list(parts.values())), 1.0, atol=1e-4)
    scorer.agreement = Agreement()
    quiet = scorer.scores(requests)[0]
    scorer.agreement = Agreement(weight=1.0, shares={"forward": 1.0})
    assert scorer.scores(requests)[0, -1] - quiet[-1] > 0.01
    recommender.engine.save(tmp_path / "model")
    again = ChooseScorer.load(tmp_path / "model")
    np.testing.assert_array_equal(again.scores(requests), scorer.scores(requests))
    assert again.catalogue.priors["forward"].shape == (len(frame) + 1, len(frame) + 1)
