"""Which items a typed text is about, by how often its words stand in what is said of each item.

Two counts look at the same words, and see different things:

    like_i    = cosine of the text with the sum of the item's texts, each of unit length ** LENGTH; words weigh sqrt(idf_w * told_w)
    said_i    = BM25 of words and pairs of neighbouring words over all of an item's texts together (Robertson & Zaragoza 2009)
    score_i   = like_i / |like| + SAID * said_i / |said|, over the highest of all items

told_w is what a word tells of an item: log(1 + p / p0), p the share of the pairs of texts with w that are about one item, p0 of all pairs, shrunk to words
that are about as frequent. "Great" stands in many texts of everything; "capo" stands in most texts of a few items.

Shapes: T texts, N items, V words and pairs, B typed texts.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Self

import numpy as np
from scipy.sparse import csr_array, vstack

from m6rec.data.dataset import FieldType, Table
from m6rec.text.words import words

LENGTH = 0.6
SAID = 0.5
SATURATION, SCALING = 8.0, 0.75  # k1 and b of BM25: many texts together repeat the words that matter many times
PAIRS_SEEN = 10.0  # pairs of texts that what is known of equally frequent words weighs
MOST_WORDS, MOST_TEXTS, MOST_COLUMNS = 1_000, 100, 500_000  # read of a text; texts of an item; words and pairs that are counted
ANSWERED = 2_000  # items that a text is about at most


class Lexical:
    """The counts of a catalogue.

    Args:
        columns: words, and pairs of words with a blank between.
        weights: float32 (V,), of a word in `alike`, 0 for a pair.
        idf: float32 (V,), ln(1 + (N - n + 1/2) / (n + 1/2)) with n the items that have it.
        length: mean of an item's counts together.
        alike: float32 (N, V), unit rows.
        said: float32 (N, V), what BM25 gives to an item for each word or pair.
    """

    def __init__(
        self,
        language: str,
        columns: Sequence[str],
        weights: np.ndarray,
        idf: np.ndarray,
        length: float,
        alike: csr_array,
        said: csr_array,
    ) -> None:
        self.language, self.columns = language, list(columns)
        self.weights, self.idf, self.length = weights, idf, length
        self.alike, self.said = alike, said
        self._column = {column: place for place, column in enumerate(self.columns)}

    @classmethod
    def fit(cls, items: Table, texts: Sequence[str] = (), about: np.ndarray | None = None, language: str = "en") -> Self:
        """Count what the items say of themselves, each as one text, and `texts`, about the items int64 (T,)."""
        told = np.zeros(0, np.int64) if about is None else np.asarray(about, np.int64)
        kept = first_of_each(told, MOST_TEXTS)
        own = list(own_texts(items))
        documents = [_counted(text, language) for text in (*own, *(texts[place] for place in kept.tolist()))]
        whose = np.concatenate([np.arange(len(items)), told[kept]])
        real = np.array([bool(document) for document in documents], dtype=bool)
        documents, whose = [one for one, some in zip(documents, real, strict=True) if some], whose[real]
        having = Counter(column for document in documents for column in document)
        least = 2 if len(documents) > 1 else 1
        frequent = sorted((column for column, count in having.items() if count >= least), key=lambda one: (-having[one], one))
        made = cls(language, sorted(frequent[:MOST_COLUMNS]), *_nothing(len(items)))
        counts = made._rows(documents)  # T V
        made._weigh(counts, whose, len(items))
        made._take(counts, whose, len(items))
        return made

    def extend(self, items: Table) -> None:
        """Know more items, by what they say of themselves."""
        counts = self._rows([_counted(text, self.language) for text in own_texts(items)])
        alike, said = self._alike(counts, np.arange(len(items)), len(items)), self._said(_logarithms(counts))
        self.alike = csr_array(vstack([self.alike, alike], format="csr"))
        self.said = csr_array(vstack([self.said, said], format="csr"))

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (B, N): 1 for the item that a text is most about, 0 for those that it shares nothing with, and for all of a text of no known word."""
        counts = self._rows([_counted(text, self.language) for text in texts])
        logarithms = _logarithms(counts)
        like = (_unit(_times(logarithms, self.weights)) @ self.alike.T).toarray()
        said = (logarithms @ self.said.T).toarray()
        found = _shares(like) + SAID * _shares(said)
        if found.shape[1] > ANSWERED:
            found[found < np.partition(found, found.shape[1] - ANSWERED, axis=1)[:, -ANSWERED:][:, :1]] = 0.0
        result: np.ndarray = (found / np.maximum(found.max(axis=1, keepdims=True, initial=0.0), 1e-12)).astype(np.float32)
        return result

    def _weigh(self, counts: csr_array, whose: np.ndarray, size: int) -> None:
        """What each word tells; pairs of words are counted in `said` alone."""
        present = _ones(counts)
        texts = np.asarray(present.sum(axis=0)).ravel()  # V
        idf = np.log1p(counts.shape[0] / (texts + 1))
        together = (_by_item(whose, size) @ present).tocsr()
        same = np.bincount(together.indices, together.data * (together.data - 1), minlength=len(self.columns))
        pairs, each = texts * (texts - 1), np.bincount(whose, minlength=size)
        base = (each * (each - 1)).sum() / max(len(whose) * (len(whose) - 1), 1)
        told = np.ones(len(self.columns))
        if base:
            level = np.round(2 * np.log2(texts + 1)).astype(int)
            usual = np.bincount(level, same) / np.maximum(np.bincount(level, pairs), 1)
            told = np.log1p((same + PAIRS_SEEN * np.maximum(usual[level], base)) / (pairs + PAIRS_SEEN) / base)
        single = np.array([" " not in column for column in self.columns], dtype=bool)
        self.weights = (np.sqrt(idf * told) * single).astype(np.float32)

    def _take(self, counts: csr_array, whose: np.ndarray, size: int) -> None:
        self.alike = self._alike(counts, whose, size)
        together = csr_array(_by_item(whose, size) @ _logarithms(counts))
        having = np.bincount(together.indices, minlength=len(self.columns))
        self.idf = np.log1p((size - having + 0.5) / (having + 0.5)).astype(np.float32)
        self.length = max(float(together.sum()) / max(size, 1), 1e-9)
        self.said = self._said(together)

    def _alike(self, counts: csr_array, whose: np.ndarray, size: int) -> csr_array:
        return _unit(csr_array(_by_item(whose, size) @ _unit(_times(_logarithms(counts), self.weights), LENGTH)))

    def _said(self, together: csr_array) -> csr_array:
        length = np.asarray(together.sum(axis=1)).ravel() / self.length  # N
        room = SATURATION * (1 - SCALING + SCALING * np.repeat(length, np.diff(together.indptr)))
        values = together.data * (SATURATION + 1) / (together.data + room) * self.idf[together.indices]
        return csr_array((values.astype(np.float32), together.indices, together.indptr), shape=together.shape)

    def _rows(self, documents: Sequence[Counter[str]]) -> csr_array:
        """float32 (T, V): how often each column stands in each document."""
        indices, data, offsets = array("i"), array("f"), [0]
        for document in documents:
            row = sorted((self._column[one], count) for one, count in document.items() if one in self._column)
            indices.extend(column for column, _ in row)
            data.extend(count for _, count in row)
            offsets.append(len(indices))
        return csr_array(
            (np.array(data, np.float32), np.array(indices, np.int32), np.array(offsets, np.int64)),
            shape=(len(documents), len(self.columns)),
        )


def _nothing(size: int) -> tuple[np.ndarray, np.ndarray, float, csr_array, csr_array]:
    empty = csr_array((size, 0), dtype=np.float32)
    return np.zeros(0, np.float32), np.zeros(0, np.float32), 1.0, empty, empty


def own_texts(items: Table) -> Iterable[str]:
    """What each item says: its texts, categories and tags."""
    kinds = (FieldType.TEXT, FieldType.CATEGORY, FieldType.TAGS)
    columns = [items.frame[name].to_list() for name, kind in items.fields.items() if kind in kinds and name in items.frame.columns]
    for row in range(len(items)):
        values = [one for column in columns for one in (column[row] if isinstance(column[row], list) else [column[row]])]
        yield " ; ".join(str(value) for value in values if value)


def _counted(text: str, language: str) -> Counter[str]:
    """Words and pairs of neighbouring words."""
    found = words(text, language)[:MOST_WORDS]
    return Counter(found) + Counter(f"{first} {second}" for first, second in pairwise(found))


def first_of_each(about: np.ndarray, most: int) -> np.ndarray:
    """Places of the first `most` of each number, ascending."""
    order = np.argsort(about, kind="stable")
    starts = np.searchsorted(about[order], about[order])
    return np.sort(order[np.arange(len(order)) - starts < most])


def _by_item(whose: np.ndarray, size: int) -> csr_array:
    """(N, T): which texts are about which item."""
    return csr_array((np.ones(len(whose), np.float32), (whose, np.arange(len(whose)))), shape=(size, len(whose)))


def _ones(counts: csr_array) -> csr_array:
    return csr_array((np.ones_like(counts.data), counts.indices, counts.indptr), shape=counts.shape)


def _logarithms(counts: csr_array) -> csr_array:
    return csr_array((np.log1p(counts.data), counts.indices, counts.indptr), shape=counts.shape)


def _times(counts: csr_array, weights: np.ndarray) -> csr_array:
    return csr_array((counts.data * weights[counts.indices], counts.indices, counts.indptr), shape=counts.shape)


def _unit(rows: csr_array, power: float = 1.0) -> csr_array:
    """Rows over their length ** power; empty rows stay empty."""
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    lengths = np.where(lengths > 0, lengths, 1.0) ** power
    values = (rows.data / np.repeat(lengths, np.diff(rows.indptr))).astype(np.float32)
    return csr_array((values, rows.indices, rows.indptr), shape=rows.shape)


def _shares(scores: np.ndarray) -> np.ndarray:
    """Rows of unit length; rows of zeros stay so."""
    lengths = np.sqrt((scores.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    result: np.ndarray = scores / np.where(lengths > 0, lengths, 1.0)
    return result
