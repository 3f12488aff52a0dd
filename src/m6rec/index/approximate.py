"""FAISS behind the index contract: inverted lists (plain, 8-bit or product-quantised) or a navigable graph.

What the structure answers is completed by comparing one by one where that is better: vectors added since it was built, a filter that
leaves few, and the candidates that a coded structure found (their codes are rough, the vectors beside them are not).

Shape keys: N vectors, B queries, W width, K answers, P positions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from m6rec.base.errors import CheckpointError, UsageError
from m6rec.base.extras import require
from m6rec.base.storage import atomic_folder, write_json
from m6rec.index.contract import VectorIndex, new_vectors
from m6rec.index.exact import BLOCK_SCORES, top_k

FACTS, STRUCTURE, VECTORS = "index.json", "index.faiss", "vectors.npy"
VERSION = 1
FEW = 20_000  # so many allowed vectors are compared one by one: as fast as a filtered walk, and exact
FRESH = 4_096  # added vectors wait outside the structure until there are so many
CODED = ("ivf_int8", "ivf_pq")


@dataclass(frozen=True)
class IndexFacts:
    """How an index was built and what it reached.

    effort  lists probed for a query (ivf*), or the width of the walk (hnsw)
    refine  coded kinds: times `recall_at` are found by code, then compared exactly
    recall  share of the exactly nearest `recall_at` found, mean over `queries` that the effort was not chosen on; `wanted` was asked for
    """

    kind: str
    effort: int
    refine: int = 1
    recall: float = 0.0
    recall_at: int = 0
    wanted: float = 0.0
    queries: int = 0
    seed: int = 0


class FaissIndex(VectorIndex):
    """A FAISS structure over the first vectors, and those added after them.

    Args:
        structure: a trained faiss index by inner product over the first `structure.ntotal` rows of `vectors`.
        vectors: float32 (N, W), as an array or mapped from disk.
        mapped: the structure lies in a file and can't grow where it is.
    """

    def __init__(self, structure: Any, vectors: np.ndarray, facts: IndexFacts, *, threads: int = 1, mapped: bool = False) -> None:
        self.structure, self.facts, self.threads, self.mapped = structure, facts, threads, mapped
        self.vectors, self.fresh = vectors[: structure.ntotal], np.array(vectors[structure.ntotal :], dtype=np.float32)
        self._gone = np.zeros(0, dtype=np.int64)  # removed positions

    def __len__(self) -> int:
        return len(self.vectors) + len(self.fresh)

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        queries = self._check_search(queries, k, allowed, self.vectors.shape[1])
        if allowed is not None and allowed.ndim == 2:
            rows = [self._search(queries[row : row + 1], k, allowed[row]) for row in range(len(queries))]
            if rows:
                return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])
        if not len(queries):
            return np.zeros((0, k), np.int64), np.zeros((0, k), np.float32)
        return self._search(queries, k, allowed)

    def add(self, vectors: np.ndarray) -> None:
        self.fresh = np.concatenate([self.fresh, new_vectors(vectors, self.vectors.shape[1])])
        if len(self.fresh) >= FRESH:
            self._fold()

    def remove(self, positions: np.ndarray) -> None:
        self._gone = np.union1d(self._gone, self._check_positions(positions))

    def save(self, path: Path) -> None:
        """Write a folder: the structure, the vectors, and the facts."""
        faiss = require("faiss", "ann")
        with atomic_folder(path) as temporary:
            faiss.write_index(self.structure, str(temporary / STRUCTURE))
            with open(temporary / VECTORS, "wb") as handle:
                np.save(handle, np.concatenate([self.vectors, self.fresh]), allow_pickle=False)
            sizes = {name: (temporary / name).stat().st_size for name in (STRUCTURE, VECTORS)}
            facts = {"version": VERSION, **asdict(self.facts), "removed": self._gone.tolist(), "bytes": sizes}
            write_json(temporary / FACTS, facts)

    @classmethod
    def load(cls, path: Path, *, threads: int = 1, memory_map: bool = True) -> Self:
        """The folder that `save` wrote. memory_map: structure and vectors stay on disk, and a query reads what it touches.

        Raises:
            CheckpointError: missing, truncated, from a newer version.  MissingExtraError: faiss is not installed.
        """
        faiss = require("faiss", "ann")
        path = Path(path)
        try:
            saved = json.loads((path / FACTS).read_text(encoding="utf-8"))
            if saved.pop("version") > VERSION:
                raise CheckpointError(f"the index {path} is of a newer m6rec; upgrade m6rec, or build the model folder again")
            removed, sizes = saved.pop("removed"), saved.pop("bytes")
            facts = IndexFacts(**saved)
            for name, size in sizes.items():
                if (path / name).stat().st_size != size:
                    raise ValueError(f"{name} has {(path / name).stat().st_size} bytes, {size} were written")
            structure = faiss.read_index(str(path / STRUCTURE), faiss.IO_FLAG_MMAP_IFC if memory_map else 0)
            vectors = np.load(path / VECTORS, mmap_mode="r" if memory_map else None, allow_pickle=False)
            if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape[1] != structure.d or len(vectors) < structure.ntotal:
                raise ValueError(
                    f"vectors {vectors.dtype} {vectors.shape} do not go with a structure of {structure.ntotal} x {structure.d}"
                )
            index = cls(structure, vectors, facts, threads=threads, mapped=memory_map)
            index.remove(np.array(removed, dtype=np.int64))
            return index
        except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, UsageError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise CheckpointError(f"the index {path} can't be read ({reason}); build the model folder again") from None

    def bytes(self) -> int:
        """Memory of the structure when it is not mapped; the vectors (4 N W bytes) come on top for coded kinds."""
        return int(require("faiss", "ann").serialize_index(self.structure).nbytes)

    def _search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """One mask for all queries."""
        live = self._live(allowed)
        count = len(self) if live is None else int(np.count_nonzero(live))
        if k >= count or (live is not None and count <= FEW):
            return self._compare(queries, k, np.arange(len(self)) if live is None else np.flatnonzero(live))
        base = len(self.vectors)
        positions, values = self._walked(queries, k, None if live is None else live[:base])
        if len(self.fresh):
            scores = queries @ self.fresh.T  # B n
            if live is not None:
                scores[:, ~live[base:]] = -np.inf
            beside = np.broadcast_to(base + np.arange(len(self.fresh)), scores.shape)
            positions, values = np.concatenate([positions, beside], axis=1), np.concatenate([values, scores], axis=1)
        return _ordered(positions, values, k)

    def _live(self, allowed: np.ndarray | None) -> np.ndarray | None:
        """bool (N,) of what may be answered; None: everything."""
        if not len(self._gone):
            return allowed
        live = np.ones(len(self), dtype=bool) if allowed is None else allowed.copy()
        live[self._gone] = False
        return live

    def _walked(self, queries: np.ndarray, k: int, live: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The structure's answers, int64 (B, at least K) and float32, widened until there are enough of them."""
        open_to = len(self.vectors) if live is None else int(np.count_nonzero(live))
        wanted = min(k, open_to)
        # The recall is promised for the first `recall_at`: their spare candidates are enough, however many are asked for.
        fetch = min(k + (self.facts.refine - 1) * min(k, max(self.facts.recall_at, 1)), max(open_to, 1))
        # Behind a filter the same effort sees fewer that may be answered: it grows as they thin out.
        thinned = len(self.vectors) / max(open_to, 1)
        effort = max(self.facts.effort, self._enough(fetch)) * thinned
        positions = np.full((len(queries), fetch), -1, dtype=np.int64)
        values = np.full((len(queries), fetch), -np.inf, dtype=np.float32)
        short = np.arange(len(queries))
        while len(short):
            step = min(self._exhaustive, round(effort))
            positions[short], values[short] = self._walk(queries[short], fetch, step, live)
            short = np.flatnonzero((positions >= 0).sum(axis=1) < wanted)
            if step == self._exhaustive:
                break
            effort *= 4
        if self.facts.kind in CODED:
            for row, found in enumerate(positions):
                values[row] = np.where(found >= 0, self.vectors[np.maximum(found, 0)] @ queries[row], -np.inf)
        if len(short):  # a graph may have corners that no walk reaches
            everything = np.arange(len(self.vectors)) if live is None else np.flatnonzero(live)
            positions[short], values[short] = self._compare(queries[short], fetch, everything)
        return positions, values

    def _enough(self, fetch: int) -> int:
        """The effort that sees about twice as many vectors as are fetched."""
        return fetch if self.facts.kind == "hnsw" else -(-2 * fetch * int(self.structure.nlist) // max(len(self.vectors), 1))

    @property
    def _exhaustive(self) -> int:
        """The effort beyond which more changes little: every list, or a very wide walk."""
        return min(len(self.vectors), 8192) if self.facts.kind == "hnsw" else int(self.structure.nlist)

    def _walk(self, queries: np.ndarray, fetch: int, effort: int, live: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        faiss = require("faiss", "ann")
        settings = {} if live is None else {"sel": faiss.IDSelectorBitmap(np.packbits(live, bitorder="little"))}
        if self.facts.kind == "hnsw":
            how = faiss.SearchParametersHNSW(efSearch=max(effort, fetch), **settings)
        else:
            how = faiss.SearchParametersIVF(nprobe=max(effort, 1), **settings)
        with faiss_threads(self.threads):
            values, positions = self.structure.search(queries, fetch, params=how)
        values[positions < 0] = -np.inf
        return positions, values

    def _compare(self, queries: np.ndarray, k: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exactly, among ascending `positions` (P,)."""
        base = len(self.vectors)
        old = positions[: np.searchsorted(positions, base)]
        vectors = np.concatenate([self.vectors[old], self.fresh[positions[len(old) :] - base]])  # P W
        rows = max(1, BLOCK_SCORES // max(1, len(positions)))
        answers = [top_k(queries[start : start + rows] @ vectors.T, k) for start in range(0, len(queries), rows)]
        places, values = np.concatenate([a[0] for a in answers]), np.concatenate([a[1] for a in answers])
        return np.where(places >= 0, positions[places] if len(positions) else -1, -1), values

    def _fold(self) -> None:
        """Put what waits outside into the structure."""
        faiss = require("faiss", "ann")
        if self.mapped:  # a mapped structure is read-only: go on with a copy in memory
            self.structure, self.mapped = faiss.deserialize_index(faiss.serialize_index(self.structure)), False
        with faiss_threads(1 if self.facts.kind == "hnsw" else self.threads):
            self.structure.add(self.fresh)
        self.vectors, self.fresh = np.concatenate([self.vectors, self.fresh]), self.fresh[:0].copy()


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Let FAISS use so many threads inside, and what it used before afterwards."""
    faiss = require("faiss", "ann")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _ordered(positions: np.ndarray, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best k of each row, equal values by position; -inf is no answer."""
    positions = np.where(np.isneginf(values), -1, positions)
    order = np.lexsort((positions, -values))[:, :k]
    positions, values = np.take_along_axis(positions, order, axis=1), np.take_along_axis(values, order, axis=1)
    missing = k - positions.shape[1]
    if missing > 0:
        positions = np.pad(positions, ((0, 0), (0, missing)), constant_values=-1)
        values = np.pad(values, ((0, 0), (0, missing)), constant_values=-np.inf)
    return positions, values
