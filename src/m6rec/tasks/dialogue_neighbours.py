"""What was named in dialogues that sound alike: nearest dialogues by their words, each speaking for the items it names.

    p(i | words q) = sum over dialogues d of w_d * [d names i], scaled to sum to 1,   w_d = (cos(q, d) / max cos) ** sharpness

with q and d rows of (1 + ln count) * idf, scaled to unit length. A training row never asks its own dialogue. Beside it stand the same over
turns (the words before an assistant named an item, and that item alone), and how near q is to all that was said where an item was named
(its centroid; Rocchio, 1971).

Dimension keys: B texts, D dialogues, T turns, V words, N items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.text.similarity import query_similarity, similarity_vectors
from m6rec.text.words import words

SHARPNESS = 3.0
AT_ONCE = 256  # texts compared at a time
STRENGTH = 10.0  # evidence of the part is ln(1 + STRENGTH * largest cosine)


TABLES = ("rows", "named", "turns", "named_then")


@dataclass(frozen=True)
class Turns:
    """T turns in which an assistant named an item first: all words before, and int32 (T,) the item."""

    texts: Sequence[str]
    named: np.ndarray


@dataclass(frozen=True)
class DialogueNeighbours:
    """Known dialogues: `rows` csr (D, V) unit rows of their words, `named` csr (D, N) of ones; `turns` (T, V) and `named_then` (T, N) alike."""

    vocabulary: tuple[str, ...]
    idf: np.ndarray
    rows: csr_array
    named: csr_array
    turns: csr_array
    named_then: csr_array
    sharpness: float = SHARPNESS
    language: str = "en"

    @classmethod
    def fit(
        cls, texts: Sequence[str], named: Histories, items: int, language: str = "en", turns: Turns | None = None
    ) -> DialogueNeighbours:
        """Of D dialogues: what is said in each, and the items it names (row d of `named`); turns: of these dialogues."""
        counted = [Counter(words(text, language)) for text in texts]
        having = Counter(word for counts in counted for word in counts)
        vocabulary = tuple(sorted(having))
        idf = np.log1p(len(texts) / np.array([having[word] for word in vocabulary], dtype=np.float64)).astype(np.float32)
        empty = csr_array((0, len(vocabulary)), dtype=np.float32)
        found = cls(vocabulary, idf, empty, _ones(named, items), empty, csr_array((0, items), dtype=np.float32), language=language)
        return replace(found, rows=found.weighed(counted)).with_turns(turns or Turns([], np.zeros(0, dtype=np.int32)))

    def over(self, texts: Sequence[str], named: Histories, turns: Turns) -> DialogueNeighbours:
        """Other dialogues by the same words and weights."""
        return replace(self, rows=self.asked(texts), named=_ones(named, self.named.shape[1])).with_turns(turns)

    def with_turns(self, turns: Turns) -> DialogueNeighbours:
        """With these turns in place of its own."""
        then = Histories(offsets=np.arange(len(turns.named) + 1, dtype=np.int64), items=turns.named)
        return replace(self, turns=self.asked(turns.texts), named_then=_ones(then, self.named.shape[1]))

    def weighed(self, counted: Sequence[Counter[str]]) -> csr_array:
        """csr (B, V): unit rows of counted words; an empty row where no word is known."""
        place = self._place
        indices: list[int] = []
        values: list[float] = []
        offsets = [0]
        for counts in counted:
            known = sorted((place[word], count) for word, count in counts.items() if word in place)
            row = (
                np.array([1.0 + np.log(count) for _, count in known]) * self.idf[[column for column, _ in known]] if known else np.zeros(0)
            )
            indices += [column for column, _ in known]
            values += (row / max(float(np.linalg.norm(row)), 1e-9)).tolist()
            offsets.append(len(indices))
        return csr_array(
            (np.array(values, dtype=np.float32), np.array(indices, dtype=np.int32), np.array(offsets, dtype=np.int64)),
            shape=(len(counted), len(self.vocabulary)),
        )

    def asked(self, texts: Sequence[str]) -> csr_array:
        """csr (B, V): `weighed` of texts."""
        return self.weighed([Counter(words(text, self.language)) for text in texts])

    def answers(self, asked: csr_array) -> tuple[np.ndarray, np.ndarray]:
        """What the nearest dialogues name, float32 (B, N), rows of sum 1 or 0; and how near they are, float32 (B,), 0 to 1."""
        found = np.zeros((asked.shape[0], self.named.shape[1]), dtype=np.float32)
        near = np.zeros(asked.shape[0], dtype=np.float32)
        for start in range(0, asked.shape[0], AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            weights, near[rows] = self._weights(csr_array(asked[rows]), None)
            found[rows] = _to_one(weights @ self.named)
        return found, near

    def said_then(self, asked: csr_array) -> np.ndarray:
        """What was named right after words like these, float32 (B, N), rows of sum 1 or 0."""
        found = np.zeros((asked.shape[0], self.named.shape[1]), dtype=np.float32)
        for start in range(0, asked.shape[0], AT_ONCE):
            near = query_similarity(self.turns, csr_array(asked[start : start + AT_ONCE]))
            found[start : start + AT_ONCE] = _to_one(self._sharpened(near) @ self.named_then)
        return found

    def said_of(self, asked: csr_array) -> np.ndarray:
        """Cosine with the centroid of the dialogues that name an item, float32 (B, N); 0 for an item that none names."""
        return query_similarity(self._centroids, asked)

    def at_targets(self, asked: csr_array, targets: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """p of each row's target, float32 (B,), and nearness (B,), the row's own dialogue (int64 (B,)) left out."""
        found = np.zeros(asked.shape[0], dtype=np.float32)
        near = np.zeros(asked.shape[0], dtype=np.float32)
        for start in range(0, asked.shape[0], AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, asked.shape[0]))
            weights, near[rows] = self._weights(csr_array(asked[rows]), own[rows])
            found[rows] = _to_one(weights @ self.named)[np.arange(len(rows)), targets[rows]]
        return found, near

    def grown(self, extra: int) -> DialogueNeighbours:
        """With room for `extra` more items, which nobody named."""
        wider = {
            name: csr_array((table.data, table.indices, table.indptr), shape=(table.shape[0], table.shape[1] + extra))
            for name, table in (("named", self.named), ("named_then", self.named_then))
        }
        return replace(self, **wider)

    def tensors(self) -> dict[str, np.ndarray]:
        """What has to be kept to answer the same again, beside `plain`."""
        found = {"idf": self.idf}
        for name in TABLES:
            table = getattr(self, name)
            found |= {f"{name}.{part}": np.ascontiguousarray(getattr(table, part)) for part in ("data", "indices", "indptr")}
        return found

    def plain(self) -> dict[str, Any]:
        """The other half of it, ready for JSON."""
        return {"vocabulary": list(self.vocabulary), "sharpness": self.sharpness, "language": self.language, "items": self.named.shape[1]}

    @classmethod
    def restored(cls, told: dict[str, Any], arrays: dict[str, np.ndarray]) -> DialogueNeighbours:
        """Of `plain` and `tensors`."""
        tables = {}
        for name in TABLES:
            width = int(told["items"]) if name.startswith("named") else len(told["vocabulary"])
            data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
            tables[name] = csr_array((data, indices, indptr), shape=(len(indptr) - 1, width))
        return cls(tuple(told["vocabulary"]), arrays["idf"], **tables, sharpness=told["sharpness"], language=told["language"])

    def _weights(self, asked: csr_array, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        cosine = query_similarity(self.rows, asked)
        if own is not None:
            cosine[np.arange(len(own)), own] = 0.0
        return self._sharpened(cosine), cosine.max(axis=1, initial=0.0)

    def _sharpened(self, cosine: np.ndarray) -> np.ndarray:
        near = cosine.max(axis=1, initial=0.0, keepdims=True)
        weights: np.ndarray = (cosine / np.maximum(near, 1e-9)) ** self.sharpness
        return weights

    @cached_property
    def _centroids(self) -> csr_array:
        """csr (N, V), unit rows."""
        return similarity_vectors(csr_array(self.named.T @ self.rows), np.ones(len(self.vocabulary)))

    @cached_property
    def _place(self) -> dict[str, int]:
        return {word: column for column, word in enumerate(self.vocabulary)}


def evidence_of(near: np.ndarray) -> np.ndarray:
    """float32: how much the part knows, as a gate reads it; 0 where no dialogue shares a word."""
    return np.log1p(STRENGTH * near).astype(np.float32)


def _ones(named: Histories, items: int) -> csr_array:
    ones = np.ones(len(named.items), dtype=np.float32)
    return csr_array((ones, named.items.astype(np.int32), named.offsets), shape=(len(named), items))


def _to_one(table: np.ndarray) -> np.ndarray:
    total = table.sum(axis=1, keepdims=True)
    return np.asarray(table / np.where(total > 0, total, 1.0), dtype=np.float32)
