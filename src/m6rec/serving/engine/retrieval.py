"""Answering out of a large catalogue: the index, candidates, filters, the best k. Small catalogues never come here.

Dimension keys: B requests, N items, W width, C candidates, K answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from torch import Tensor

from m6rec.base.contracts import Requests
from m6rec.base.errors import CheckpointError
from m6rec.index.approximate import FaissIndex
from m6rec.index.build import build_index
from m6rec.index.config import IndexConfig
from m6rec.index.contract import VectorIndex
from m6rec.index.exact import top_k
from m6rec.tasks.choose_candidates import ChooseCandidates, Question, Search, sample_states
from m6rec.tasks.model_folder import INDEX, ChooseScorer
from m6rec.tasks.state_cache import BytesCache, keys_of

MOST_KEPT = 600  # candidates kept of those that were scored, the best: more than half of what the search hands on
FOUND_BYTES = 32_000_000
COMPARED = 16  # vectors of a loaded index that are held against those of the model


@dataclass(frozen=True)
class Found:
    """Candidates of one request, best first.

    items int64 (C,)    scores float32 (C,)    parts  name -> float32 (C,)    total  how many were scored, of which these are the best
    question: the request as it was read
    """

    question: Question
    items: np.ndarray
    scores: np.ndarray
    parts: dict[str, np.ndarray]
    total: int

    @property
    def bytes(self) -> int:
        return self.question.bytes + self.items.nbytes + self.scores.nbytes + sum(part.nbytes for part in self.parts.values())

    def at(self, order: np.ndarray) -> Found:
        """Those at the positions `order`."""
        parts = {name: part[order] for name, part in self.parts.items()}
        return Found(self.question, self.items[order], self.scores[order], parts, self.total)


class Retrieval:
    """The candidate path of an engine.

    The index is that of the model folder, or is built when first asked for; items added since then are added to it.
    """

    def __init__(self, scorer: ChooseScorer, found_bytes: float = FOUND_BYTES) -> None:
        self.scorer = scorer
        training = scorer.origin.training
        self.config = IndexConfig.build(training.get("index", {}), source="the training configuration")
        self.seed = int(training.get("seed", 0))
        self._index: VectorIndex | None = None
        self._opening = Lock()  # several threads may ask first: one opens, and adds what is new
        self._candidates: ChooseCandidates | None = None
        self._found = BytesCache[Found](int(found_bytes))
        self._made_of: Tensor | None = None

    @property
    def active(self) -> bool:
        """Whether the catalogue is too large to be scored whole (a blend needs the scores of every item)."""
        return self.scorer.blend is None and len(self.scorer.catalogue) >= self.config.exact_below

    @property
    def index(self) -> VectorIndex:
        """Over the vectors of the whole catalogue as it is now.

        Raises:
            CheckpointError: the index of the model folder can't be read or is of another model.  MissingExtraError: it needs faiss.
        """
        vectors = self.scorer.vectors.numpy()
        with self._opening:
            if self._index is None:
                folder = None if self.scorer.folder is None else self.scorer.folder / INDEX
                if folder is not None and folder.exists():
                    self._index = self._opened(folder, vectors)
                else:
                    queries = sample_states(self.scorer, self.scorer.dataset.histories, self.config.queries, self.seed)
                    self._index = build_index(
                        vectors, self.config, queries if len(queries) >= self.config.queries // 2 else None, self.seed
                    )
            if len(self._index) < len(vectors):
                self._index.add(vectors[len(self._index) :])
            return self._index

    @property
    def candidates(self) -> ChooseCandidates:
        """What finds candidates and scores them, with whatever was added a moment ago."""
        if self._candidates is None:
            self._candidates = ChooseCandidates(self.scorer, _Newest(self), self.config.candidates, self.config.tail, self.seed)
        return self._candidates

    def best(
        self, requests: Requests, k: int, allowed: np.ndarray | None = None, exclude_history: bool = True
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """The best k items of each request.

        Args:
            allowed: bool (N,), items that may be answered; None: all.
            exclude_history: leave out the items of each request's history.

        Returns:
            int64 (B, K) items, best first, -1 where fewer are left; float32 (B, K) scores; each part of the mixture, name -> float32 (B, K).
        """
        question = self.candidates.ask(requests)
        histories = requests.histories
        left_out = int(histories.lengths.max(initial=0)) if exclude_history else 0
        items = self.candidates.candidates(question, k + left_out, allowed)
        if exclude_history:
            for row in range(len(requests)):
                items[row, np.isin(items[row], histories.row(row))] = -1
        scores, parts = self.candidates.scores_of(question, items)
        places, values = top_k(scores, k)
        rows = np.arange(len(places))[:, None]
        nothing = places < 0
        if not items.shape[1]:
            return places, values, {name: np.zeros(places.shape, np.float32) for name in parts}
        return np.where(nothing, -1, items[rows, places]), values, {name: part[rows, places] for name, part in parts.items()}

    def kept(self, requests: Requests, row: int, way: str) -> tuple[bytes | None, Found | None]:
        """The key of a request, None where what is found is not kept, and what was found for it before with this catalogue and these weights."""
        vectors = self.scorer.vectors
        if self._made_of is not vectors:
            self._found.clear()
            self._made_of = vectors
        one = requests if len(requests) == 1 else requests.rows(np.array([row]))
        key = keys_of(one, one.histories.window(keep=self.scorer.task.shape.history))[0]
        if key is None or one.unwanted is not None:
            return None, None
        recent = one.histories.items[-self.scorer.task.config.prior.recent :].tobytes()
        asking = -1 if one.scenarios is None else int(one.scenarios[0])
        key = key + recent + f"{asking} {way} {len(one.histories.items)}".encode()
        return key, self._found.get(key)

    def find(self, requests: Requests, states: Tensor, count: int | None = None) -> list[Found]:
        """Candidates of each request with their scores; states (B, W), as `last_states` gives them; count: as in `ChooseCandidates.ask`."""
        asked, found = self.candidates.ask(requests, states, count), []
        for row in range(len(requests)):
            question = asked if len(requests) == 1 else asked.row(row)
            items = self.candidates.candidates(question)
            scores, parts = self.candidates.scores_of(question, items)
            best, values = top_k(scores, min(max(MOST_KEPT, question.found.shape[1] // 2), items.shape[1]))
            best = best[0, best[0] >= 0]
            found.append(
                Found(
                    question, items[0, best], values[0, : len(best)], {name: part[0, best] for name, part in parts.items()}, items.shape[1]
                )
            )
        return found

    def keep(self, key: bytes | None, found: Found) -> None:
        """For the next time that the same person asks."""
        if key is not None:
            self._found.put(key, found, found.bytes)

    def among(self, found: Found, k: int, allowed: np.ndarray | None, left_out: int) -> Found:
        """`found` with at least k items among the allowed ones beside `left_out` that will not be answered, as far as there are any."""
        if allowed is None and 2 * (k + left_out) <= found.question.found.shape[1]:
            return found
        items = self.candidates.candidates(found.question, k + left_out, allowed)
        scores, parts = self.candidates.scores_of(found.question, items)
        order = np.argsort(-scores[0], kind="stable")
        order = order[items[0, order] >= 0]
        return Found(found.question, items[0, order], scores[0, order], {name: part[0, order] for name, part in parts.items()}, len(order))

    def forget(self) -> None:
        """Drop what was found for people before."""
        self._found.clear()

    def report(self) -> dict[str, float]:
        """Hits and misses of what is kept, and how much that is."""
        return self._found.report()

    def save(self, folder: Path) -> None:
        """The index into a model folder, where the catalogue is large enough to have one."""
        if self.active and isinstance(self.index, FaissIndex):
            self.index.save(folder / INDEX)

    def _opened(self, folder: Path, vectors: np.ndarray) -> VectorIndex:
        index = FaissIndex.load(folder, threads=self.config.threads, memory_map=self.config.memory_map)
        rows = np.linspace(0, max(len(index.vectors) - 1, 0), COMPARED).astype(np.int64)
        same_shape = len(index) <= len(vectors) and index.vectors.shape[1] == vectors.shape[1]
        if not same_shape or not np.allclose(index.vectors[rows], vectors[rows], atol=1e-3):
            raise CheckpointError(f"the index {folder} is of another model than the files beside it; keep the files of one folder together")
        return index


class _Newest(Search):
    """The index of a `Retrieval`, with whatever was added a moment ago."""

    def __init__(self, retrieval: Retrieval) -> None:
        self.retrieval = retrieval

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        return self.retrieval.index.search(queries, k, allowed)
