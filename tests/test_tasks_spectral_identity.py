"""The spectral start of the id table: planted groups, unseen items, repeatability, tiny catalogues."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m6rec.base.contracts import Histories
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.spectral_identity import SCALE, spectral_identity


def groups(items: int = 40, users: int = 300) -> Histories:
    """Everyone stays among the even or among the odd items; the last item is nobody's."""
    generator = np.random.default_rng(0)
    return Histories.from_lists([generator.permutation(np.arange(u % 2, items - 1, 2))[:6].tolist() for u in range(users)])


def test_items_had_together_start_near_each_other():
    table = spectral_identity(groups(), 40, 8, PriorConfig(), seed=0)
    unit = torch.nn.functional.normalize(table[:39], dim=1)
    cosine = unit @ unit.T
    same = torch.arange(39)[:, None] % 2 == torch.arange(39)[None] % 2
    off = ~torch.eye(39, dtype=torch.bool)
    assert cosine[same & off].mean() > 0.3
    assert cosine[~same].mean() < 0.05


def test_scale_and_unseen_items():
    table = spectral_identity(groups(), 40, 8, PriorConfig(), seed=0)
    assert float(table[:39].std()) == pytest.approx(SCALE, rel=0.1)
    assert 0 < float(table[39].abs().max()) < 0.1


def test_same_seed_same_table():
    first, second = (spectral_identity(groups(), 40, 8, PriorConfig(), seed=3) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("items", [1, 2, 5])
def test_fewer_items_than_dimensions(items):
    histories = Histories.from_lists([list(range(items)), [0]])
    table = spectral_identity(histories, items, 16, PriorConfig(), seed=0)
    assert table.shape == (items, 16)
    assert bool(torch.isfinite(table).all())


def test_no_transition_at_all_is_a_random_start():
    table = spectral_identity(Histories.from_lists([[0], [1]]), 2, 4, PriorConfig(), seed=0)
    assert float(table.abs().max()) > 0
