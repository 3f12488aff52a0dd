"""Rows of a prior added up: entry by entry, as a sparse product and from a dense copy, all against the plain sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from m6rec.tasks import prior_sums
from m6rec.tasks.prior_sums import dense_copies, sum_rows


@pytest.mark.parametrize("way", ["entries", "product", "dense"])
def test_every_way_is_the_plain_sum(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    full = (generator.random((9, 9)) * (generator.random((9, 9)) < 0.4)).astype(np.float32)
    full[4] = 0.0
    recent = np.array([[3, 1, 3, -1], [4, -1, -1, -1], [-1, -1, -1, -1]])  # an item twice, an empty row, nobody
    weights = generator.random((2, 3, 4)).astype(np.float32)
    wanted = np.zeros((2, 3, 9))
    for view, row, place in np.ndindex(weights.shape):
        if recent[row, place] >= 0:
            wanted[view, row] += weights[view, row, place] * full[recent[row, place]]
    monkeypatch.setattr(prior_sums, "FEW_ROWS", 64 if way == "entries" else 0)
    got = sum_rows(csr_array(full), recent, weights, torch.from_numpy(full) if way == "dense" else None)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_dense_copies_are_of_well_filled_tables_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    thin, thick = csr_array(np.eye(20, dtype=np.float32)), csr_array(np.ones((20, 20), dtype=np.float32))
    copies = dense_copies({"thin": thin, "thick": thick})
    assert list(copies) == ["thick"]
    assert copies["thick"].equal(torch.ones(20, 20))
    monkeypatch.setattr(prior_sums, "MOST_DENSE", 4 * 400)
    assert list(dense_copies({"one": thick, "two": thick})) == ["one"]
