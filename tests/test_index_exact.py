"""Exact search equals a brute force that sorts everything; damaged files are one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import CheckpointError, StorageError, UsageError
from m6rec.index import exact
from m6rec.index.exact import ExactIndex, top_k


def brute_force(scores: np.ndarray, k: int) -> list[list[int]]:
    """Positions by (score, position), -1 where nothing is left; -inf may not be answered."""
    rows = []
    for row in scores:
        order = sorted((p for p in range(len(row)) if row[p] != -np.inf), key=lambda p: (-row[p], p))[:k]
        rows.append([*order, *[-1] * (k - len(order))])
    return rows


def integers(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Small whole numbers: inner products are exact in float32, and ties are many."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


@given(st.lists(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), min_size=7, max_size=7), max_size=4), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_top_k_is_the_sorted_head(rows: list[list[float]], k: int) -> None:
    scores = np.array(rows, dtype=np.float32).reshape(len(rows), 7)
    positions, values = top_k(scores, k)
    assert positions.tolist() == brute_force(scores, k)
    for row in range(len(rows)):
        for place, position in enumerate(positions[row]):
            assert values[row, place] == (scores[row, position] if position >= 0 else -np.inf)


def test_equal_scores_come_by_position_whatever_the_cut() -> None:
    scores = np.zeros((1, 1000), dtype=np.float32)
    for k in (1, 10, 999, 1000, 1200):
        assert top_k(scores, k)[0][0, : min(k, 1000)].tolist() == list(range(min(k, 1000)))


@pytest.mark.parametrize("k", [1, 5, 40, 60])
def test_search_equals_brute_force(k: int) -> None:
    vectors, queries = integers((40, 6), 1), integers((9, 6), 2)
    positions, values = ExactIndex(vectors).search(queries, k)
    assert positions.tolist() == brute_force(queries @ vectors.T, k)
    assert (positions.dtype, values.dtype) == (np.int64, np.float32)
    assert np.isneginf(values[:, 40:]).all()


def test_allowed_for_all_queries_and_for_each() -> None:
    vectors, queries = integers((30, 4), 3), integers((5, 4), 4)
    generator = np.random.default_rng(5)
    index, products = ExactIndex(vectors), queries @ vectors.T
    for allowed in (generator.random(30) < 0.3, generator.random((5, 30)) < 0.2, np.zeros(30, dtype=bool)):
        before = allowed.copy()
        assert index.search(queries, 8, allowed)[0].tolist() == brute_force(np.where(allowed, products, -np.inf), 8)
        assert np.array_equal(allowed, before), "the caller's mask is the caller's"


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = integers((50, 4), 6), integers((23, 4), 7)
    allowed = np.random.default_rng(8).random((23, 50)) < 0.5
    whole = ExactIndex(vectors).search(queries, 7, allowed)
    monkeypatch.setattr(exact, "BLOCK_SCORES", 200)  # four queries a block
    blocks = ExactIndex(vectors, threads=threads).search(queries, 7, allowed)
    single = [ExactIndex(vectors, threads=threads).search(queries[row : row + 1], 7, allowed[row]) for row in range(23)]
    assert np.array_equal(whole[0], blocks[0])
    assert np.array_equal(whole[1], blocks[1])
    assert np.array_equal(whole[0], np.concatenate([answer[0] for answer in single]))


def test_added_vectors_take_the_next_positions() -> None:
    vectors, queries = integers((20, 3), 9), integers((4, 3), 10)
    index = ExactIndex(vectors[:12])
    index.add(vectors[12:])
    assert len(index) == 20
    assert np.array_equal(index.search(queries, 20)[0], ExactIndex(vectors).search(queries, 20)[0])


def test_nothing_to_search_or_to_ask() -> None:
    positions, values = ExactIndex(np.zeros((0, 3))).search(np.ones((2, 3)), 2)
    assert positions.tolist() == [[-1, -1], [-1, -1]]
    assert np.isneginf(values).all()
    assert ExactIndex(np.ones((5, 3))).search(np.zeros((0, 3)), 2)[0].shape == (0, 2)


def test_saved_and_loaded_answers_the_same(tmp_path: Path) -> None:
    index = ExactIndex(integers((20, 3), 11))
    index.save(tmp_path / "index.npy")
    assert np.array_equal(ExactIndex.load(tmp_path / "index.npy").vectors, index.vectors)
    assert [path.name for path in tmp_path.iterdir()] == ["index.npy"]


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "index.npy"
    ExactIndex(integers((20, 3), 12)).save(path)
    whole = path.read_bytes()
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    damaged = {
        "cut": whole[:-20],
        "header": whole[:9],
        "empty": b"",
        "noise": b"not an array",
        "words": (tmp_path / "words.npy").read_bytes(),
    }
    for name, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            ExactIndex.load(path)
        assert "\n" not in str(caught.value), name
        assert "build the model folder again" in str(caught.value)
    with pytest.raises(CheckpointError, match="No such file"):
        ExactIndex.load(tmp_path / "gone.npy")


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.npy"
    ExactIndex(np.ones((2, 2))).save(path)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StorageError, match="No space left on device"):
        ExactIndex(np.zeros((3, 2))).save(path)
    assert len(ExactIndex.load(path)) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda index: index.search(np.ones((1, 3)), 0), "k is 0"),
        (lambda index: index.search(np.ones((1, 2)), 1), "width 3"),
        (lambda index: index.search(np.ones(3), 1), "width 3"),
        (lambda index: index.search(np.ones((2, 3)), 1, np.ones(4, dtype=bool)), "allowed has shape"),
        (lambda index: index.add(np.ones((1, 2))), "width 3"),
    ],
)
def test_wrong_shapes_are_said(call: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call(ExactIndex(np.ones((5, 3))))  # type: ignore[operator]
