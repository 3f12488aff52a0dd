"""Rows of the priors added up: entry by entry, as sparse products and from dense copies, all against the plain sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from m6rec.tasks import prior_sums
from m6rec.tasks.prior_sums import DenseTables, add_rows, sum_rows

RECENT = np.array([[3, 1, 3, -1], [4, -1, -1, -1], [-1, -1, -1, -1]])  # an item twice, an empty row, nobody


def tables() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    full = {name: (generator.random((9, 9)) * (generator.random((9, 9)) < share)).astype(np.float32) for name, share in SHARES.items()}
    for table in full.values():
        table[4] = 0.0
    return full


SHARES = {"thick": 0.6, "thin": 0.1, "fair": 0.4}


@pytest.mark.parametrize("way", ["entries", "product", "dense"])
def test_every_way_is_the_plain_sum(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    full = tables()
    weights = np.random.default_rng(1).random((2, 3, 3, 4)).astype(np.float32)
    wanted = np.zeros((2, 3, 3, 9))
    for view, part, row, place in np.ndindex(weights.shape):
        if RECENT[row, place] >= 0:
            wanted[view, part, row] += weights[view, part, row, place] * list(full.values())[part][RECENT[row, place]]
    sparse = {name: csr_array(table) for name, table in full.items()}
    monkeypatch.setattr(prior_sums, "FEW", 4 if way == "entries" else 0)
    monkeypatch.setattr(prior_sums, "FILLED", 0.2)
    dense = DenseTables.build(sparse, None) if way == "dense" else None
    assert dense is None or dense.names == ("thick", "fair")
    got = sum_rows(list(sparse.values()), RECENT, weights)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    total = np.full((3, 9), 0.5, dtype=np.float32)
    add_rows(total, sparse, RECENT, weights[1], dense)
    np.testing.assert_allclose(total, 0.5 + wanted[1].sum(axis=0), atol=1e-6)


def test_without_tables_there_is_nothing() -> None:
    assert sum_rows([], RECENT, np.zeros((1, 0, 3, 4), np.float32)).shape[1] == 0
    total = np.ones((3, 9), np.float32)
    add_rows(total, {}, RECENT, np.zeros((0, 3, 4), np.float32))
    np.testing.assert_array_equal(total, 1.0)


def test_dense_copies_are_of_well_filled_tables_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    thin, thick = csr_array((np.ones(1, np.float32), ([0], [1])), shape=(20, 20)), csr_array(np.ones((20, 20), dtype=np.float32))
    copies = DenseTables.build({"thin": thin, "thick": thick}, thick * np.float32(2))
    assert copies.names == ("thick",)
    assert copies.tables.equal(torch.ones(20, 20))
    assert copies.agreed is not None
    assert copies.agreed.equal(torch.full((20, 20), 2.0))
    monkeypatch.setattr(prior_sums, "MOST_DENSE", 4 * 400)
    assert DenseTables.build({"one": thick, "two": thick}, None).names == ("one",)
    only = DenseTables.build({"one": thick}, thick)
    assert (only.names, only.agreed is None) == ((), False)
    monkeypatch.setattr(prior_sums, "MOST_DENSE", 4 * 399)
    nothing = DenseTables.build({"one": thick}, thick)
    assert (nothing.names, nothing.agreed) == ((), None)
