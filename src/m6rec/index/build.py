"""Building an index: the kind by the size of the catalogue, the effort by measuring recall against exact search.

Shape keys: N vectors, B queries, W width, K nearest looked at.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from m6rec.base.errors import MissingExtraError
from m6rec.base.extras import require
from m6rec.index.approximate import CODED, FaissIndex, IndexFacts, faiss_threads
from m6rec.index.config import IndexConfig, Kind
from m6rec.index.contract import VectorIndex
from m6rec.index.exact import ExactIndex

LEAST = 1_000  # fewer vectors than this are always compared one by one
LEAST_PQ = 10_000  # product quantisation learns 256 centroids and wants 39 vectors for each
INT8_FROM, PQ_FROM = 2_000_000, 20_000_000
LINKS, CONSTRUCTION = 32, 80  # hnsw: neighbours of a node, width of the walk that finds them
MOST_REFINE = 32
WIDEST = 4096  # hnsw: the widest walk that is tried


def build_index(vectors: np.ndarray, config: IndexConfig, queries: np.ndarray | None = None, seed: int = 0) -> VectorIndex:
    """An index over float32 (N, W), of the kind that `config` and N decide, made to reach `config.recall`.

    Args:
        queries: float32 (B, W) of what will be asked, for measuring; None: vectors of the index with noise.

    Raises:
        MissingExtraError: `config.kind` names an approximate kind and faiss is not installed ("auto" takes exact search then).
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    kind = choose_kind(len(vectors), config)
    if kind == "exact":
        return ExactIndex(vectors, threads=config.threads)
    generator = np.random.default_rng(seed)
    asked = _noisy(vectors, config.queries, generator) if queries is None else np.ascontiguousarray(queries, dtype=np.float32)
    asked = asked[generator.permutation(len(asked))[: config.queries]]
    structure = _structure(vectors, kind, seed, config.threads)
    index = FaissIndex(structure, vectors, IndexFacts(kind, 1, seed=seed), threads=config.threads)
    index.facts = _tuned(index, asked, config)
    return index


def choose_kind(count: int, config: IndexConfig) -> Kind:
    """What "auto" means for `count` vectors; a named kind where there are enough vectors for it."""
    if count < max(LEAST, config.exact_below) or config.kind == "exact":
        return "exact"
    if config.kind == "auto":
        try:
            require("faiss", "ann")
        except MissingExtraError:
            return "exact"
        return "ivf" if count < INT8_FROM else "ivf_int8" if count < PQ_FROM else "ivf_pq"
    return "ivf_int8" if config.kind == "ivf_pq" and count < LEAST_PQ else config.kind


def describe(index: VectorIndex) -> dict[str, Any]:
    """Facts to print and to keep: kind, measured recall, what it took."""
    if not isinstance(index, FaissIndex):
        return {"index": "exact", "recall": 1.0}
    facts = index.facts
    wanted = "" if facts.recall >= facts.wanted else f", less than the {facts.wanted:g} asked for"
    effort = f"width {facts.effort}" if facts.kind == "hnsw" else f"{facts.effort} of {index.structure.nlist} lists"
    return {
        "index": facts.kind,
        "recall": round(facts.recall, 4),
        "measured": f"at {facts.recall_at} on {facts.queries} queries{wanted}",
        "effort": effort,
    }


def recall(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 (B,): share of the positions `truth` (B, K) that are in `found` (B, any)."""
    return np.array([np.isin(right, answer).mean() for answer, right in zip(found, truth, strict=True)])


def _structure(vectors: np.ndarray, kind: Kind, seed: int, threads: int) -> Any:
    """A trained and filled faiss index."""
    faiss = require("faiss", "ann")
    count, width = vectors.shape
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        structure = faiss.IndexHNSWFlat(width, LINKS, metric)
        structure.hnsw.efConstruction = CONSTRUCTION
        with faiss_threads(1):  # several threads would link in whatever order they come
            structure.add(vectors)
        return structure
    lists = max(1, min(round(2 * math.sqrt(count)), count // 39))
    coarse = faiss.IndexFlatIP(width)
    if kind == "ivf":
        structure = faiss.IndexIVFFlat(coarse, width, lists, metric)
    elif kind == "ivf_int8":
        structure = faiss.IndexIVFScalarQuantizer(coarse, width, lists, faiss.ScalarQuantizer.QT_8bit, metric)
    else:
        pieces = next(pieces for pieces in (width // 4, width // 2, width) if pieces and width % pieces == 0)
        structure = faiss.IndexIVFPQ(coarse, width, lists, pieces, 8, metric)
        structure.pq.cp.seed, structure.pq.cp.niter, structure.pq.cp.max_points_per_centroid = seed % 2**31, 10, 64
    structure.cp.seed = seed % 2**31
    structure.cp.max_points_per_centroid = 64
    with faiss_threads(threads):
        structure.train(vectors)
        structure.add(vectors)
    return structure


def _tuned(index: FaissIndex, queries: np.ndarray, config: IndexConfig) -> IndexFacts:
    """The least effort with which the first half of the queries reaches the recall, and the recall of the other half."""
    at = min(config.recall_at, len(index))
    truth, _ = ExactIndex(index.vectors, threads=config.threads).search(queries, at)
    half = len(queries) // 2
    chosen, held_out = slice(0, half), slice(half, None)
    facts = replace(index.facts, recall_at=at, wanted=config.recall, queries=len(queries) - half)
    if facts.kind in CODED:
        facts = replace(facts, refine=_refine(index, queries[chosen], truth[chosen], config.recall))
    limit = min(WIDEST, len(index)) if facts.kind == "hnsw" else int(index.structure.nlist)
    least = min(at, limit) if facts.kind == "hnsw" else 1  # a walk is as wide as its answer at least
    for effort in _ladder(limit, least):
        index.facts = facts = replace(facts, effort=effort)
        reached = recall(index.search(queries[chosen], at)[0], truth[chosen])
        # One standard error more than asked for, so that other queries reach it too.
        if reached.mean() - reached.std() / math.sqrt(max(half, 1)) >= config.recall:
            break
    return replace(facts, recall=float(recall(index.search(queries[held_out], at)[0], truth[held_out]).mean()))


def _refine(index: FaissIndex, queries: np.ndarray, truth: np.ndarray, wanted: float) -> int:
    """How many times K must be found by code so that looking into every list loses no more than half of what may be lost."""
    at = truth.shape[1]
    index.facts = replace(index.facts, effort=int(index.structure.nlist), refine=1)
    found, _ = index._walk(queries, min(at * MOST_REFINE, len(index)), index.facts.effort, None)
    for refine in (1, 2, 4, 8, 16):
        if recall(found[:, : at * refine], truth).mean() >= wanted + (1 - wanted) / 2:
            return refine
    return MOST_REFINE


def _ladder(limit: int, least: int = 1) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, ... from `least` to `limit`."""
    steps = {least, *(2**power for power in range(32)), *(3 * 2**power for power in range(31))}
    return [*(step for step in sorted(steps) if least <= step < limit), limit]


def _noisy(vectors: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Queries when nobody has asked yet: vectors of the index, each with noise of half its length."""
    picked = vectors[generator.choice(len(vectors), min(count, len(vectors)), replace=False)]
    noise = generator.standard_normal(picked.shape).astype(np.float32)
    lengths = np.linalg.norm(picked, axis=1, keepdims=True) / np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-9)
    return np.asarray(picked + 0.5 * lengths * noise, dtype=np.float32)
