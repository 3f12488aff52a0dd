"""BM25: items whose texts hold the words of the history's items, or the words that the person typed.

Dimension keys: B requests, N items, W words.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.base.storage import write_json
from m6rec.data.dataset import FieldType, Table
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, dense_state, history_weights, sparse_state
from m6rec.text.words import words


@MEMBERS.register("bm25")
class BM25(Member):
    """score(i | query) = sum over words w of weight_w * idf_w * f_iw (k1 + 1) / (f_iw + k1 (1 - b + b length_i / mean length))

    with f_iw how often w stands in the texts, categories and tags of item i, and idf_w = ln(1 + (N - n_w + 1/2) / (n_w + 1/2))
    (Robertson & Zaragoza 2009). A history asks with the words of its items, each item weighing by recency and each of its words
    alike; what the person typed asks with its own words, weighing `typed` times as much as the history. Of a history's words only the
    `terms` with the largest weight * idf ask: the rest cost time and say nothing. It learns nothing from behaviour.
    """

    name = "bm25"

    class Options(Config):
        """The two constants of BM25, and how the query is made."""

        k1: float = Field(1.2, ge=0, description="How fast a repeated word saturates; 0: a word counts once")
        b: float = Field(0.75, ge=0, le=1, description="How much long texts are scaled down")
        recency: float = Field(0.65, gt=0, le=1, description="Weight of a history event beside the one after it; 1: all alike")
        terms: int = Field(48, ge=1, description="Words of a history that ask, those of largest weight * idf")
        typed: float = Field(2.0, ge=0, description="Weight of typed text; the history weighs 1")
        language: Literal["en", "zh"] = Field("en", description="Language of the catalogue's texts")

    options: Options

    def _fit(self, histories: Histories, items: Table) -> None:
        documents = _documents(items, self.options.language)
        self._words = sorted({word for counts in documents for word in counts})
        self._place()
        counts = self._counts(documents)  # N W
        having = np.bincount(counts.indices, minlength=len(self._words))  # W
        self._idf = np.log1p((len(items) - having + 0.5) / (having + 0.5)).astype(np.float32)
        self._length = np.array([max(float(counts.sum()) / len(items), 1e-9)])
        self._take(counts)

    def _personal(self, requests: Requests) -> Matrix:
        asking = history_weights(requests.histories, self._said.shape[0], self.options.recency) @ self._said  # B W
        query = _strongest(sparse.csr_array(asking), self._idf, self.options.terms)
        if self.options.typed and requests.texts is not None and any(requests.texts):
            typed = self._counts([Counter(words(text, self.options.language)) for text in requests.texts])
            query = query + self.options.typed * _rows_to_one(typed)
        return sparse.csr_array(query @ self._answers)

    def _extend(self, new: Table, items: Table) -> bool:
        self._take(sparse.csr_array(sparse.vstack([self._texts, self._counts(_documents(new, self.options.language))], format="csr")))
        return True

    def _state(self) -> State:
        return {"texts": self._texts, "idf": self._idf, "length": self._length}

    def _restore(self, state: State) -> None:
        self._idf, self._length = dense_state(state, "idf"), dense_state(state, "length")
        self._take(sparse_state(state, "texts"))

    def _save_files(self, folder: Path) -> None:
        write_json(folder / "words.json", self._words)

    def _load_files(self, folder: Path) -> None:
        self._words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
        self._place()

    def _place(self) -> None:
        self._column = {word: column for column, word in enumerate(self._words)}

    def _take(self, counts: sparse.csr_array) -> None:
        """counts (N, W): what the items say, as queries and as answers."""
        k1, b = self.options.k1, self.options.b
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        length = np.asarray(counts.sum(axis=1)).ravel() / self._length[0]  # N
        saturated = counts.data * (k1 + 1) / (counts.data + k1 * (1 - b + b * length[rows]))
        answers = sparse.csr_array((saturated * self._idf[counts.indices], counts.indices, counts.indptr), shape=counts.shape)
        self._texts = counts
        self._said = _rows_to_one(sparse.csr_array((np.ones_like(counts.data), counts.indices, counts.indptr), shape=counts.shape))
        self._answers = sparse.csr_array(answers.T, dtype=np.float32)  # W N

    def _counts(self, documents: list[Counter[str]]) -> sparse.csr_array:
        """float32 (B, W): how often each known word stands in each document."""
        rows = [sorted((self._column[word], count) for word, count in counts.items() if word in self._column) for counts in documents]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        columns = np.array([column for row in rows for column, _ in row], dtype=np.int32)
        values = np.array([count for row in rows for _, count in row], dtype=np.float32)
        return sparse.csr_array((values, columns, offsets), shape=(len(rows), len(self._words)))


def _documents(items: Table, language: str) -> list[Counter[str]]:
    """The words of each item's texts, categories and tags, counted."""
    found: list[Counter[str]] = [Counter() for _ in range(len(items))]
    for name, kind in items.fields.items():
        if kind not in (FieldType.TEXT, FieldType.CATEGORY, FieldType.TAGS) or name not in items.frame.columns:
            continue
        for counts, value in zip(found, items.frame[name].to_list(), strict=True):
            for text in value if isinstance(value, list) else [value]:
                if text:
                    counts.update(words(text, language))
    return found


def _rows_to_one(matrix: sparse.csr_array) -> sparse.csr_array:
    """Rows scaled to sum 1; empty rows stay empty."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    values = matrix.data / np.repeat(np.where(sums > 0, sums, 1.0), np.diff(matrix.indptr))
    return sparse.csr_array((values.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _strongest(query: sparse.csr_array, idf: np.ndarray, terms: int) -> sparse.csr_array:
    """Each row with only its `terms` entries of largest weight * idf, and those that tie with the last of them."""
    strength = query.data * idf[query.indices]
    kept = np.ones(len(strength), dtype=bool)
    for row in np.flatnonzero(np.diff(query.indptr) > terms):
        span = slice(query.indptr[row], query.indptr[row + 1])
        own = strength[span]
        kept[span] = own >= np.partition(own, len(own) - terms)[len(own) - terms]
    rows = np.repeat(np.arange(query.shape[0]), np.diff(query.indptr))[kept]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=query.shape[0]))])
    return sparse.csr_array((query.data[kept], query.indices[kept], offsets), shape=query.shape)
