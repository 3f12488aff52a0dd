"""Prior values of large data: what is looked up batch by batch is what would have been held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.data import transitions
from m6rec.tasks import prior_store
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.prior import prior_tables, training_values
from m6rec.tasks.prior_store import stored_values, too_large
from m6rec.text.similarity import similarity_vectors

CONFIG = PriorConfig(window=3, decay=0.8, damping=0.5, keep=4, similar=5, recent=4, folds=3)
USERS, ITEMS = 40, 12


def data(seed: int = 0) -> tuple[Histories, csr_array]:
    generator = np.random.default_rng(seed)
    histories = Histories.from_lists([generator.integers(ITEMS, size=generator.integers(0, 9)).tolist() for _ in range(USERS)])
    bag = csr_array((generator.random((ITEMS, 6)) < 0.4).astype(np.float32))
    return histories, similarity_vectors(bag, np.linspace(1, 2, 6, dtype=np.float32))


@pytest.mark.parametrize("changes", [{}, {"text": False}, {"graph": False}, {"hops": 2}])
def test_equal_to_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    monkeypatch.setattr(prior_store, "EVENTS_AT_ONCE", 13)
    config = CONFIG.model_copy(update=changes)
    histories, vectors = data()
    tables = prior_tables(histories, vectors, config)
    held = training_values(histories, tables, config, 5)
    stored = stored_values(histories, tables, config, 5, tmp_path)
    rows = np.random.default_rng(1).permutation(len(histories.items))
    np.testing.assert_allclose(stored.values[rows], held.values[rows], rtol=2e-3, atol=1e-7)
    np.testing.assert_allclose(stored.evidence[rows], held.evidence[rows], rtol=1e-6)
    assert stored.values[rows].dtype == stored.evidence[rows].dtype == np.float32


def test_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    histories, vectors = data()
    tables = prior_tables(histories, vectors, CONFIG)
    first = stored_values(histories, tables, CONFIG, 0, tmp_path)
    monkeypatch.setattr(prior_store, "_make", lambda *_: pytest.fail("made again"))
    second = stored_values(histories, tables, CONFIG, 0, tmp_path)
    everything = np.arange(len(histories.items))
    np.testing.assert_array_equal(first.values[everything], second.values[everything])


def test_small_data_are_held() -> None:
    histories, _ = data()
    assert not too_large(histories, CONFIG)


def test_counting_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    histories, _ = data(3)
    whole = transitions.count_transitions(histories, ITEMS, window=4, decay=0.7, backward=0.3)
    for most in (1, 50, 300):
        monkeypatch.setattr(transitions, "PAIRS_AT_ONCE", most)
        blocks = transitions.count_transitions(histories, ITEMS, window=4, decay=0.7, backward=0.3)
        np.testing.assert_array_equal(blocks.toarray(), whole.toarray())
        blocks.check_format(full_check=True)
