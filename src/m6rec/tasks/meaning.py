"""What a story means, beside its words (`text/lexical.py`): over a pretrained checkpoint, how near it is to what is said of each item.

    near_i = cosine(v - c, sum over the texts t about i of (v_t - c))

v is the mean of what the checkpoint's layers make of a text's tokens, of unit length, and c the mean over all texts. A model that was pretrained here, in
minutes, has no such meaning, and goes without.

Shapes: T texts, N items, B stories, L width of token states.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Self

import numpy as np

from m6rec.data.dataset import Table
from m6rec.tasks.text_reader import TextReader
from m6rec.text.lexical import first_of_each, own_texts

LONGEST = 256  # tokens of a text that are read
MOST_READ = 20_000  # texts that are read, as evenly over the items as they come: a checkpoint reads some dozens a second


class Meaning:
    """What is said of the items.

    Args:
        centre: float32 (L,), c.
        about: float32 (N, L), of each item the direction of its texts from c; zeros where nothing is said of it.
    """

    def __init__(self, centre: np.ndarray, about: np.ndarray) -> None:
        self.centre, self.about = centre, about

    @classmethod
    def fit(cls, reader: TextReader, items: Table, texts: Sequence[str], told: np.ndarray) -> Self:
        """Read what the items say of themselves, each as one text, and `texts`, about the items int64 (T,)."""
        own = list(own_texts(items))
        whose = np.concatenate([np.flatnonzero([bool(text) for text in own]), told]).astype(np.int64)
        documents = [text for text in own if text] + list(texts)
        kept = evenly(whose, MOST_READ)
        read = reader.sentences([documents[row] for row in kept.tolist()], LONGEST)
        centre = read.mean(axis=0) if len(read) else np.zeros(read.shape[1], np.float32)
        return cls(centre, _directions(read - centre, whose[kept], len(items)))

    def extend(self, reader: TextReader, items: Table) -> None:
        """Know more items, by what they say of themselves."""
        own = list(own_texts(items))
        some = np.flatnonzero([bool(text) for text in own])
        read = reader.sentences([own[row] for row in some.tolist()], LONGEST)
        self.about = np.concatenate([self.about, _directions(read - self.centre, some, len(own))])

    def scores(self, reader: TextReader, texts: Sequence[str]) -> np.ndarray:
        """float32 (B, N): near_i, from -1 to 1; zeros for an empty text."""
        read = reader.sentences(texts, LONGEST)
        said = np.where(np.any(read, axis=1, keepdims=True), read - self.centre, 0.0)
        found: np.ndarray = (_unit(said) @ self.about.T).astype(np.float32)
        return found


def evenly(whose: np.ndarray, most: int) -> np.ndarray:
    """Places of the texts that are read, ascending: the first k of each item, k as high as `most` texts allow; the first `most` items' where not even
    one of each can be."""
    each = np.bincount(whose)
    k = bisect_right(range(1, int(each.max(initial=0)) + 1), most, key=lambda k: int(np.minimum(each, k).sum()))
    return first_of_each(whose, max(k, 1))[:most]


def _directions(read: np.ndarray, whose: np.ndarray, size: int) -> np.ndarray:
    """float32 (N, L), unit rows: the sums of the rows `read` (T, L) about each item."""
    found = np.zeros((size, read.shape[1]), np.float32)
    np.add.at(found, whose, read)
    return _unit(found)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length; rows of zeros stay so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: np.ndarray = (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return found
