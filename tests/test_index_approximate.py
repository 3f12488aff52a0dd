"""Approximate search: the recall asked for is reached and true, what is added or removed counts at once, filters hold, files come back."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import CheckpointError, ConfigError, MissingExtraError, UsageError
from m6rec.index import approximate, build
from m6rec.index.approximate import FaissIndex
from m6rec.index.build import build_index, choose_kind, describe, recall
from m6rec.index.config import IndexConfig
from m6rec.index.contract import VectorIndex
from m6rec.index.exact import ExactIndex

WIDTH, COUNT = 16, 1800
KINDS = ["ivf", "ivf_int8", "ivf_pq", "hnsw"]


def clustered(count: int, seed: int, centres: int = 40) -> np.ndarray:
    """Vectors around common centres, of different lengths, as learned ones are."""
    middle = np.random.default_rng(99).standard_normal((centres, WIDTH))
    generator = np.random.default_rng(seed)
    vectors = middle[generator.integers(centres, size=count)] + 0.6 * generator.standard_normal((count, WIDTH))
    return (vectors * generator.lognormal(0, 0.2, (count, 1))).astype(np.float32)


VECTORS, QUERIES, OTHERS = clustered(COUNT, 1), clustered(200, 2), clustered(100, 3)


def config(kind: str, **changes: object) -> IndexConfig:
    return IndexConfig.build({"kind": kind, "exact_below": 0, "queries": 200, "recall_at": 20, **changes})


@pytest.fixture(scope="module")
def built() -> Callable[[str], FaissIndex]:
    """One index a kind, built once; read only."""
    kept: dict[str, FaissIndex] = {}

    def get(kind: str) -> FaissIndex:
        if kind not in kept:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(build, "LEAST_PQ", 1000)
                index = build_index(VECTORS, config(kind), QUERIES, seed=4)
            assert isinstance(index, FaissIndex)
            assert index.facts.kind == kind
            kept[kind] = index
        return kept[kind]

    return get


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest, built: Callable[[str], FaissIndex], tmp_path: Path) -> FaissIndex:
    """A copy to change, by way of its file."""
    built(request.param).save(tmp_path / "index")
    return FaissIndex.load(tmp_path / "index")


@pytest.fixture
def walking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters go through the structure however few they leave."""
    monkeypatch.setattr(approximate, "FEW", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_is_reached_and_true(kind: str, built: Callable[[str], FaissIndex]) -> None:
    index = built(kind)
    truth = ExactIndex(VECTORS).search(OTHERS, 20)[0]
    reached = recall(index.search(OTHERS, 20)[0], truth).mean()
    assert index.facts.recall >= 0.93
    assert abs(reached - index.facts.recall) < 0.04, "what the facts say holds for queries nobody measured on"
    assert reached >= 0.93
    assert index.facts.queries == 100
    found = describe(index)
    assert (found["index"], found["recall"]) == (kind, round(index.facts.recall, 4))


@pytest.mark.parametrize("kind", ["ivf", "ivf_int8"])
def test_more_recall_takes_more_effort(kind: str) -> None:
    efforts = []
    for wanted in (0.5, 0.99):
        made = build_index(VECTORS, config(kind, recall=wanted), QUERIES)
        assert isinstance(made, FaissIndex)
        assert made.facts.recall >= wanted - 0.02
        efforts.append((made.facts.effort, made.facts.refine))
    assert efforts[0] != efforts[1]
    assert efforts[0][0] <= efforts[1][0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_answers_the_same(kind: str, built: Callable[[str], FaissIndex], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "LEAST_PQ", 1000)
    again = build_index(VECTORS, config(kind), QUERIES, seed=4)
    for one, two in zip(built(kind).search(OTHERS, 30), again.search(OTHERS, 30), strict=True):
        np.testing.assert_array_equal(one, two)
    assert again.facts == built(kind).facts  # type: ignore[attr-defined]


def test_answers_are_inner_products_best_first(index: FaissIndex) -> None:
    positions, values = index.search(OTHERS, 15)
    assert (positions.dtype, values.dtype) == (np.int64, np.float32)
    assert all(len(set(row)) == 15 for row in positions.tolist())
    np.testing.assert_allclose(
        values, np.einsum("bkw,bw->bk", VECTORS[positions], OTHERS), rtol=1e-3 if index.facts.kind == "hnsw" else 1e-4
    )
    assert (np.diff(values, axis=1) <= 0).all()
    single = np.concatenate([index.search(OTHERS[row : row + 1], 15)[0] for row in range(10)])
    np.testing.assert_array_equal(single, positions[:10])


def test_all_there_is_and_more(index: FaissIndex) -> None:
    """Asking for as many as there are is exact."""
    positions, values = index.search(OTHERS[:3], COUNT + 5)
    wanted = ExactIndex(VECTORS).search(OTHERS[:3], COUNT + 5)
    np.testing.assert_array_equal(positions, wanted[0])
    np.testing.assert_array_equal(values, wanted[1])
    assert index.search(np.zeros((0, WIDTH)), 5)[0].shape == (0, 5)


def test_added_vectors_are_found_at_once_and_after_they_moved_in(index: FaissIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just added they are compared exactly; many of them move into the structure, out of a mapped file too."""
    assert index.mapped
    long = 30.0 * OTHERS / np.linalg.norm(OTHERS, axis=1, keepdims=True)  # longer than anything: the best answer to their own direction
    index.add(long[:20])
    assert len(index) == COUNT + 20
    assert index.search(OTHERS[:20], 1)[0].ravel().tolist() == list(range(COUNT, COUNT + 20))
    monkeypatch.setattr(approximate, "FRESH", 10)
    index.add(long[20:30])
    assert (len(index), len(index.fresh), index.mapped) == (COUNT + 30, 0, False)
    found = index.search(OTHERS[:30], 3)[0]
    assert np.mean([COUNT + row in found[row] for row in range(30)]) > 0.9


def test_removed_vectors_never_come_again(index: FaissIndex, tmp_path: Path) -> None:
    first = index.search(OTHERS, 1)[0].ravel()
    index.remove(first)
    index.add(OTHERS[:2])
    index.remove(np.array([COUNT + 1]))
    found = index.search(OTHERS, 40)[0]
    assert not np.isin(found, [*first, COUNT + 1]).any()
    index.save(tmp_path / "less")
    for memory_map in (True, False):
        again = FaissIndex.load(tmp_path / "less", memory_map=memory_map)
        assert len(again) == COUNT + 2
        np.testing.assert_array_equal(again.search(OTHERS, 40)[0], found)
    with pytest.raises(UsageError, match="no vector at position 1802"):
        index.remove(np.array([COUNT + 2]))


@pytest.mark.usefixtures("walking")
def test_a_filter_is_never_starved(index: FaissIndex) -> None:
    """Whatever share is allowed, as many answers as there can be, and none that is not allowed."""
    generator = np.random.default_rng(8)
    for share in (0.5, 0.05, 0.004):
        allowed = generator.random(COUNT) < share
        positions, values = index.search(OTHERS[:30], 25, allowed)
        assert ((positions >= 0).sum(axis=1) == min(25, allowed.sum())).all()
        assert allowed[positions[positions >= 0]].all()
        assert np.isneginf(values[positions < 0]).all()
        truth = ExactIndex(VECTORS).search(OTHERS[:30], min(25, int(allowed.sum())), allowed)[0]
        assert recall(positions, truth).mean() > 0.85
    assert (index.search(OTHERS[:2], 3, np.zeros(COUNT, dtype=bool))[0] == -1).all()


def test_a_filter_that_leaves_few_is_exact(index: FaissIndex) -> None:
    allowed = np.random.default_rng(9).random((20, COUNT)) < 0.1
    index.add(OTHERS[:5])
    allowed = np.concatenate([allowed, np.ones((20, 5), dtype=bool)], axis=1)
    wanted = ExactIndex(np.concatenate([VECTORS, OTHERS[:5]])).search(OTHERS[:20], 12, allowed)
    np.testing.assert_array_equal(index.search(OTHERS[:20], 12, allowed)[0], wanted[0])
    np.testing.assert_array_equal(index.search(OTHERS[:1], 12, allowed[0])[0], wanted[0][:1])


@given(st.lists(st.sampled_from(["add", "remove", "save"]), min_size=1, max_size=6), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_positions_stay_whatever_happens(steps: list[str], seed: int) -> None:
    """Against a plain list: an exact answer over everything names the same positions."""
    generator = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "LEAST", 50)
        patch.setattr(approximate, "FRESH", 30)
        vectors = clustered(120, 5)
        index: VectorIndex = build_index(vectors, config("ivf", recall=1.0), QUERIES)
        gone: set[int] = set()
        for step in steps:
            if step == "add":
                new = clustered(int(generator.integers(1, 40)), seed)
                index.add(new)
                vectors = np.concatenate([vectors, new])
            elif step == "remove":
                chosen = generator.integers(len(vectors), size=5)
                index.remove(chosen)
                gone |= set(chosen.tolist())
            else:
                with tempfile.TemporaryDirectory() as folder:  # a fixture's would be shared by all examples
                    index.save(Path(folder) / "index")
                    index = FaissIndex.load(Path(folder) / "index", memory_map=bool(seed % 2))
        kept = np.array([position not in gone for position in range(len(vectors))])
        k = int(kept.sum())
        assert index.search(QUERIES[:4], k)[0].tolist() == ExactIndex(vectors).search(QUERIES[:4], k, kept)[0].tolist()


@pytest.mark.parametrize(
    ("kind", "count", "chosen"),
    [
        ("auto", 49_999, "exact"),
        ("auto", 50_000, "ivf"),
        ("auto", 2_000_000, "ivf_int8"),
        ("auto", 20_000_000, "ivf_pq"),
        ("exact", 10**9, "exact"),
        ("hnsw", 100_000, "hnsw"),
        ("ivf", 49_999, "exact"),
    ],
)
def test_the_kind_follows_the_size(kind: str, count: int, chosen: str) -> None:
    assert choose_kind(count, IndexConfig.build({"kind": kind})) == chosen


def test_few_vectors_are_compared_one_by_one() -> None:
    index = build_index(VECTORS[:500], config("hnsw"))
    assert isinstance(index, ExactIndex)
    assert describe(index) == {"index": "exact", "recall": 1.0}
    assert choose_kind(5_000, config("ivf_pq")) == "ivf_int8"


def test_nobody_has_asked_yet() -> None:
    """Without queries, noisy vectors of the index stand for them."""
    index = build_index(VECTORS, config("ivf"))
    assert isinstance(index, FaissIndex)
    assert index.facts.recall >= 0.93


def test_without_faiss(monkeypatch: pytest.MonkeyPatch, built: Callable[[str], FaissIndex], tmp_path: Path) -> None:
    built("ivf").save(tmp_path / "index")
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert isinstance(build_index(VECTORS, config("auto")), ExactIndex)
    for call in (lambda: build_index(VECTORS, config("ivf")), lambda: FaissIndex.load(tmp_path / "index")):
        with pytest.raises(MissingExtraError) as caught:
            call()
        assert str(caught.value) == "'faiss' is not installed; type: pip install 'm6rec[ann]'"


def test_damaged_folders_are_one_line(built: Callable[[str], FaissIndex], tmp_path: Path) -> None:
    def damage(name: str, content: bytes | None) -> None:
        built("ivf").save(tmp_path / "index")
        if content is None:
            (tmp_path / "index" / name).unlink()
        else:
            (tmp_path / "index" / name).write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            FaissIndex.load(tmp_path / "index")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500

    whole = tmp_path / "whole"
    built("ivf").save(whole)
    facts = json.loads((whole / "index.json").read_text(encoding="utf-8"))
    for name in ("index.json", "index.faiss", "vectors.npy"):
        content = (whole / name).read_bytes()
        for wrong in (None, b"", content[: len(content) // 2], b"{}"):
            damage(name, wrong)
    damage("index.faiss", (whole / "index.faiss").read_bytes()[::-1])
    damage("vectors.npy", (whole / "vectors.npy").read_bytes()[::-1])
    damage("index.json", json.dumps({**facts, "version": 99}).encode())
    damage("index.json", json.dumps({**facts, "removed": [5000]}).encode())


def test_exact_search_removes_too(tmp_path: Path) -> None:
    index = ExactIndex(VECTORS[:50])
    index.remove(np.array([3, 3, 7]))
    index.add(OTHERS[:1])
    index.remove(np.array([50]))
    found = index.search(QUERIES[:5], 60)[0]
    assert not np.isin(found, [3, 7, 50]).any()
    assert ((found >= 0).sum(axis=1) == 48).all()
    index.save(tmp_path / "index.npy")
    again = ExactIndex.load(tmp_path / "index.npy")
    assert len(again) == 51
    np.testing.assert_array_equal(again.search(QUERIES[:5], 60)[0], found)
    with pytest.raises(UsageError, match="no vector at position -1"):
        index.remove(np.array([-1]))


@pytest.mark.parametrize(("key", "value"), [("recall", 0.0), ("recall", 1.1), ("kind", "annoy"), ("threads", 0), ("candidates", 0)])
def test_wrong_settings_are_said(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        IndexConfig.build({key: value})
