"""The catalogue while it grows: a new item is found by its words and beside what resembles it, and nothing else moves.

Dimension keys: N items, V width of vector fields.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.data.tables import frame_to_table
from m6rec.tasks.catalogue import Catalogue, vector_fields
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART
from m6rec.text.bag import Bag
from m6rec.text.similarity import text_neighbours

NOBODY = Histories.from_lists([[]])


@pytest.fixture
def scorer(tiny_run: Path) -> ChooseScorer:
    return ChooseScorer.load(tiny_run / "model")


def new_items(scorer: ChooseScorer, rows: list[dict[str, object]]) -> Table:
    return frame_to_table(pl.DataFrame(rows), dict(scorer.catalogue.items.fields), Columns.ITEM, source="new items", partial=True)


def twin(scorer: ChooseScorer, row: int, item_id: str = "twin") -> dict[str, object]:
    """All fields of item `row` under a new id."""
    return {**scorer.catalogue.items.frame.row(row, named=True), Columns.ITEM: item_id}


def append(scorer: ChooseScorer, rows: list[dict[str, object]]) -> Catalogue:
    """Into the scorer, as the engine does."""
    scorer.catalogue = scorer.catalogue.appended(new_items(scorer, rows), scorer.reader, scorer.task.config.prior)
    scorer.refresh()
    return scorer.catalogue


def rank(scores: np.ndarray, item: int) -> int:
    """1 is best."""
    return 1 + int((scores > scores[item]).sum())


@pytest.mark.parametrize("row", [0, 7, 21, 33])
def test_a_new_item_is_found_by_typed_words(scorer: ChooseScorer, row: int) -> None:
    catalogue = append(scorer, [twin(scorer, row)])
    assert catalogue.items.ids.ids[-1] == "twin"
    title = catalogue.items.titles()[row]
    assert catalogue.items.titles()[-1] == title
    parts = scorer.parts(Requests(NOBODY, texts=[title]))
    assert rank(parts[TEXT_PART][0], 40) <= 2  # beside the item it is a twin of
    assert rank(scorer.scores(Requests(NOBODY, texts=[title]))[0], 40) <= 5


@pytest.mark.parametrize("row", [0, 7, 21, 33])
def test_a_new_item_is_found_beside_what_resembles_it(scorer: ChooseScorer, row: int) -> None:
    append(scorer, [twin(scorer, row)])
    parts = scorer.parts(Requests(Histories.from_lists([[row]])))
    assert rank(parts[TEXT_PART][0], 40) == 1
    assert parts["model"][0, 40] > 0
    of_twin = scorer.parts(Requests(Histories.from_lists([[40]])))[TEXT_PART][0]  # and it can stand in a history itself
    assert rank(of_twin, row) == 1


def test_rows_stay_distributions_and_old_things_stay(scorer: ChooseScorer) -> None:
    before = scorer.catalogue
    vectors_before = scorer.vectors.clone()
    after = append(scorer, [twin(scorer, 3, "a"), {"item_id": "b", "title": "qqq zzz"}, twin(scorer, 3, "c"), twin(scorer, 12, "d")])
    assert len(after) == 44
    mass = np.asarray(after.priors[TEXT_PART].sum(axis=1)).ravel()
    stored = np.diff(after.priors[TEXT_PART].indptr) > 0
    np.testing.assert_allclose(mass[stored], 1.0, atol=1e-5)
    assert not stored[41]  # no known word: nothing resembles it
    assert stored[[40, 42, 43]].all()
    assert not after.priors[TEXT_PART].diagonal().any()
    assert after.priors[TEXT_PART].has_sorted_indices
    for name in GRAPH_PARTS:  # newcomers borrow transitions, what was counted stays
        np.testing.assert_array_equal(after.priors[name][:40, :40].toarray(), before.priors[name].toarray())
        assert not after.priors[name][[41]].nnz + after.priors[name][:, [41]].nnz
        assert (after.priors[name][:, [40]] != after.priors[name][:, [42]]).nnz == 0  # one and the same, so they borrow the same
    torch.testing.assert_close(scorer.vectors[:40], vectors_before)
    torch.testing.assert_close(scorer.vectors[40], scorer.vectors[42])
    unlike = Histories.from_lists([[1, 40, 41]])  # the newest resembles nothing
    title = after.items.titles()[3]
    for requests in (Requests(NOBODY), Requests(unlike), Requests(NOBODY, texts=["qqq"]), Requests(unlike, texts=[title])):
        scores = scorer.scores(requests)
        assert scores.shape == (1, 44)
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(np.sum(list(scorer.parts(requests).values())), 1.0, atol=1e-4)


@pytest.mark.parametrize("extra", [1, 7, 40])
def test_the_text_prior_is_what_all_items_together_would_have(scorer: ChooseScorer, extra: int) -> None:
    """With room for every neighbour, appending equals computing it again."""
    config = scorer.task.config.prior.model_copy(update={"similar": 200})
    rows = [{**twin(scorer, row, f"new{row}"), "category": None, "description": f"{row} hiking"} for row in range(extra)]
    whole = scorer.catalogue.with_priors(NOBODY, config)  # 50 neighbours were enough for 40 items
    grown = whole.appended(new_items(scorer, rows), scorer.reader, config)
    wanted = text_neighbours(grown.vectors, keep=200, power=config.sharpness)
    np.testing.assert_allclose(grown.priors[TEXT_PART].toarray(), wanted.toarray(), atol=1e-6)


def test_one_after_another(scorer: ChooseScorer) -> None:
    append(scorer, [twin(scorer, 3, "a")])
    append(scorer, [twin(scorer, 5, "b")])
    assert scorer.catalogue.items.ids.ids[-2:] == ["a", "b"]
    for row, item in ((3, 40), (5, 41)):
        text = scorer.parts(Requests(Histories.from_lists([[row]])))[TEXT_PART][0]
        assert rank(text, item) == 1


def test_an_id_that_is_taken_is_refused(scorer: ChooseScorer) -> None:
    before = scorer.catalogue
    taken = before.items.ids.ids[5]
    with pytest.raises(DataError, match=f"'{taken}' is in the catalogue already"):
        append(scorer, [twin(scorer, 3, "fresh"), twin(scorer, 4, taken)])
    assert scorer.catalogue is before
    with pytest.raises(DataError, match="twice"):
        append(scorer, [twin(scorer, 3, "twice"), {"item_id": "twice", "title": "something else"}])
    assert scorer.catalogue is before


def test_typed_prior_is_a_sharpened_distribution_over_a_few(scorer: ChooseScorer) -> None:
    catalogue, titles = scorer.catalogue, scorer.catalogue.items.titles()
    config = scorer.task.config.prior.model_copy(update={"similar": 5})
    prior = catalogue.typed_prior([titles[3], "qqq zzz", ""], config)
    np.testing.assert_allclose(prior.sum(axis=1), [1, 0, 0], atol=1e-6)
    assert prior[0].argmax() == 3
    cut = np.sort(prior[0])[::-1]
    assert (prior[0] > 0).sum() == 5 or cut[4] == cut[5]  # items tied with the fifth stay
    sharper = catalogue.typed_prior([titles[3]], config.model_copy(update={"sharpness": 9.0}))
    assert sharper[0, 3] > prior[0, 3]


def test_text_neighbours_are_kept_when_only_events_changed(scorer: ChooseScorer) -> None:
    config = PriorConfig()
    again = scorer.catalogue.with_priors(Histories.from_lists([[0, 1], [0, 1]]), config)
    assert again.priors[TEXT_PART] is scorer.catalogue.priors[TEXT_PART]
    assert again.priors["forward"][0, 1] > 0
    assert TEXT_PART not in scorer.catalogue.with_priors(NOBODY, PriorConfig(text=False)).priors
    assert list(scorer.catalogue.with_priors(NOBODY, PriorConfig(graph=False)).priors) == [TEXT_PART]


# ---- vector fields


def table(**columns: list[list[float] | None]) -> Table:
    frame = pl.DataFrame(
        {"item_id": [f"i{row}" for row in range(len(next(iter(columns.values()))))], **columns},
        schema_overrides={name: pl.List(pl.Float32) for name in columns},
    )
    return frame_to_table(frame, dict.fromkeys(columns, FieldType.VECTOR), "item_id")


def test_vector_fields_stand_side_by_side_with_unit_length() -> None:
    vectors = vector_fields(table(look=[[3.0, 4.0], None, [0.0, 0.0]], sound=[[2.0], [5.0], None]))
    torch.testing.assert_close(vectors, torch.tensor([[0.6, 0.8, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))


def test_no_vector_field_has_no_width(scorer: ChooseScorer) -> None:
    assert vector_fields(scorer.catalogue.items).shape == (40, 0)
    assert vector_fields(table(look=[None, None])).shape == (2, 0)


def test_vectors_of_two_lengths_are_refused() -> None:
    frame = pl.DataFrame({"look": [[3.0, 4.0], [1.0]]})
    with pytest.raises(DataError, match=r"look.*\[1, 2\]"):
        vector_fields(Table(Vocabulary(["a", "b"]), frame, {"look": FieldType.VECTOR}))


def test_appended_vectors_are_used_and_checked(scorer: ChooseScorer) -> None:
    items = table(look=[[3.0, 4.0], [1.0, 0.0]])
    bag = Bag.fit(items, "en")
    summaries = torch.zeros(2, scorer.model.shape.width)
    catalogue = Catalogue.build(items, bag, summaries).with_priors(NOBODY, PriorConfig())
    new = frame_to_table(pl.DataFrame({"item_id": ["x", "y"], "look": [[0.0, 2.0], None]}), dict(items.fields), "item_id")
    grown = catalogue.appended(new, scorer.reader, PriorConfig())
    torch.testing.assert_close(grown.contents.vectors, torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert isinstance(grown.matrix, csr_array)
    wrong = frame_to_table(pl.DataFrame({"item_id": ["z"], "look": [[1.0, 2.0, 3.0]]}), dict(items.fields), "item_id")
    with pytest.raises(DataError, match=r"look.*\[2, 3\]"):
        catalogue.appended(wrong, scorer.reader, PriorConfig())
