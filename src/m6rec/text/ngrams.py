"""Weighted n-grams of free texts: runs of characters and of words, told apart by hash, one row a text.

A bag of whole words says little of short texts in scripts without spaces or with spelling mistakes; runs of one to five characters say more,
and need no dictionary of any language. Everything is counted with arrays over all texts at once.

Shape keys: G texts, F n-grams, C characters of all texts of a piece, Q pairs (text, n-gram).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, vstack

from m6rec.text.words import is_spaceless, normalise

ROWS_AT_ONCE = 4096
LONGEST_TEXT = 4000  # characters read of one text: one huge document must not rule the table
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0x100000001B3)
_SPACE, _WORD, _SPACELESS, _OTHER = range(4)


class NGrams:
    """Which n-grams there are, how rare they are, and which of them a text has.

    Two families, each scaled to length 1 in a text that has any: runs of `characters` (shortest, longest) characters, a blank standing for
    the border of a word and never inside a run; and runs of up to `words` words of scripts with spaces.

    hashes  uint64 (F,), ascending          idf  float32 (F,), ln(1 + texts / texts with the n-gram)
    """

    def __init__(self, hashes: np.ndarray, idf: np.ndarray, characters: tuple[int, int] = (1, 5), words: int = 2) -> None:
        self.hashes, self.idf = hashes, idf.astype(np.float32)
        self.characters, self.words = characters, words
        self._kinds: dict[int, int] = {}

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        *,
        characters: tuple[int, int] = (1, 5),
        words: int = 2,
        min_count: int = 2,
        max_features: int = 500_000,
    ) -> Self:
        """The n-grams that at least `min_count` texts have, at most `max_features` of them: the most frequent, ties by hash."""
        empty = cls(np.zeros(0, np.uint64), np.zeros(0, np.float32), characters, words)
        known, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        for text, hashes, _ in empty._pieces(texts):
            _, first = np.unique(hashes ^ _mixed(text.astype(np.uint64), 0), return_index=True)  # each n-gram once a text
            once, having = np.unique(hashes[first], return_counts=True)
            known, place = np.unique(np.concatenate([known, once]), return_inverse=True)
            counts = np.bincount(place, weights=np.concatenate([counts, having])).astype(np.int64)
        frequent = np.flatnonzero(counts >= min_count)
        frequent = frequent[np.lexsort((known[frequent], -counts[frequent]))][:max_features]
        frequent.sort()
        return cls(known[frequent], np.log1p(len(texts) / np.maximum(counts[frequent], 1)), characters, words)

    @property
    def size(self) -> int:
        """F, the number of n-grams."""
        return len(self.hashes)

    def matrix(self, texts: Sequence[str]) -> csr_array:
        """float32 (G, F): (1 + ln count) * idf of each n-gram, each family of a row scaled to length 1. Unknown n-grams are ignored."""
        parts = []
        for start in range(0, len(texts), ROWS_AT_ONCE):
            some = texts[start : start + ROWS_AT_ONCE]
            parts.append(self._weighted(some))
        return csr_array(vstack(parts, format="csr")) if parts else csr_array((0, self.size), dtype=np.float32)

    def tensors(self) -> dict[str, np.ndarray]:
        """What has to be kept to make the same n-grams again: hashes as int64 (the same bits) and idf."""
        return {"hashes": self.hashes.view(np.int64), "idf": self.idf}

    def settings(self) -> dict[str, Any]:
        """The other half of it, ready for JSON."""
        return {"characters": list(self.characters), "words": self.words}

    @classmethod
    def restored(cls, tensors: dict[str, np.ndarray], settings: dict[str, Any]) -> Self:
        """The n-grams of which `tensors` and `settings` were kept."""
        shortest, longest = settings["characters"]
        return cls(tensors["hashes"].view(np.uint64), tensors["idf"], (int(shortest), int(longest)), int(settings["words"]))

    def _weighted(self, texts: Sequence[str]) -> csr_array:
        rows, columns, family = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for text, hashes, kind in self._families(texts):
            place = np.minimum(np.searchsorted(self.hashes, hashes), max(self.size - 1, 0))
            known = self.hashes[place] == hashes if self.size else np.zeros(len(hashes), bool)
            rows.append(text[known])
            columns.append(place[known])
            family.append(np.full(int(known.sum()), kind))
        row, column, kind_of = np.concatenate(rows), np.concatenate(columns), np.concatenate(family)
        _, first, count = np.unique(row * max(self.size, 1) + column, return_index=True, return_counts=True)
        row, column, kind_of = row[first], column[first], kind_of[first]
        value = (1 + np.log(count)) * self.idf[column]
        group = row * 2 + kind_of
        norm = np.sqrt(np.bincount(group, weights=value * value, minlength=2 * len(texts)))
        value = (value / np.maximum(norm[group], 1e-12)).astype(np.float32)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(texts)))]).astype(np.int32)
        return csr_array((value, column.astype(np.int32), offsets), shape=(len(texts), self.size))

    def _pieces(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        for start in range(0, len(texts), ROWS_AT_ONCE):
            yield from self._families(texts[start : start + ROWS_AT_ONCE])

    def _families(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """(text int64 (Q,), hash uint64 (Q,), family) of every n-gram of the texts, repeats included."""
        codes, owner = _characters(texts)  # C
        kind = self._kinds_of(codes)
        for length in range(self.characters[0], self.characters[1] + 1):
            yield (*_runs_of_characters(codes, owner, kind, length), 0)
        for count in range(1, self.words + 1):
            yield (*_runs_of_words(codes, owner, kind, count), 1)

    def _kinds_of(self, codes: np.ndarray) -> np.ndarray:
        """int8 (C,): blank, part of a word, a character of a script without spaces, anything else."""
        distinct, place = np.unique(codes, return_inverse=True)
        for code in distinct.tolist():
            if code not in self._kinds:
                self._kinds[code] = _kind(chr(code))
        return np.array([self._kinds[code] for code in distinct.tolist()], dtype=np.int8)[place]


def _kind(character: str) -> int:
    if character == " ":
        return _SPACE
    if is_spaceless(character):
        return _SPACELESS
    return _WORD if character.isalnum() else _OTHER


def _characters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points of the normalised texts, a blank before and after each, and the text of each: uint32 (C,), int64 (C,)."""
    padded = [f" {normalise(text[:LONGEST_TEXT])} " for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", errors="replace"), dtype=np.uint32)
    return codes, np.repeat(np.arange(len(padded)), np.fromiter(map(len, padded), dtype=np.int64, count=len(padded)))


def _mixed(hashes: np.ndarray, salt: int) -> np.ndarray:
    """Spread the bits (the finaliser of MurmurHash3), so that n-grams of different lengths do not meet."""
    hashes = (hashes + np.uint64(salt)) * _SPREAD
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    return hashes ^ (hashes >> np.uint64(32))


def _runs_of_characters(codes: np.ndarray, owner: np.ndarray, kind: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    count = len(codes) - length + 1
    if count <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    hashes = np.zeros(count, np.uint64)
    for step in range(length):
        hashes = hashes * _STEP + codes[step : step + count].astype(np.uint64)
    good = owner[:count] == owner[length - 1 :]
    blank = kind == _SPACE
    for step in range(1, length - 1):
        good &= ~blank[step : step + count]
    if length <= 2:  # a border alone, or two of them, say nothing
        good &= ~blank[:count] & ~blank[length - 1 :]
    return owner[:count][good], _mixed(hashes[good], length)


def _runs_of_words(codes: np.ndarray, owner: np.ndarray, kind: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    inside = kind == _WORD
    begins = np.flatnonzero(inside & ~np.concatenate([[False], inside[:-1]]))
    if len(begins) < count:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    number = np.cumsum(np.concatenate([[False], inside[:-1]]) < inside) - 1  # the word a character is in
    place = np.arange(len(codes)) - begins[np.maximum(number, 0)]
    powers = np.cumprod(np.full(int(place[inside].max()) + 1, _STEP, dtype=np.uint64))
    hashes = np.zeros(len(begins), np.uint64)
    np.add.at(hashes, number[inside], codes[inside].astype(np.uint64) * powers[place[inside]])
    words, texts = _mixed(hashes, 0), owner[begins]
    last = len(words) - count + 1
    runs = np.zeros(last, np.uint64)
    for step in range(count):
        runs = runs * _STEP + words[step : step + last]
    good = texts[:last] == texts[count - 1 :]
    return texts[:last][good], _mixed(runs[good], 64 + count)
