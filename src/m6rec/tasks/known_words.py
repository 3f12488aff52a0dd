"""No invented words: a mask under which only words that were read somewhere can be written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np

from m6rec.language_model.spelling import Prefix, whole_bytes
from m6rec.text.words import SPACELESS

_WORD = re.compile(rf"(?:(?![{SPACELESS}])[^\W\d_])+")
SHORTEST = 3  # letters of a word that is looked up
TAIL = 120  # bytes before the next token in which the word it ends must begin


def words_in(texts: Iterable[str]) -> frozenset[str]:
    """Runs of letters of the texts, in lower case, of scripts with spaces between words."""
    return frozenset(word for text in texts for word in _WORD.findall(text.lower()))


class Vocabulary:
    """Words in lower case, and how many of them begin with each run of letters."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)
        self.beginnings = Counter(word[:length] for word in self.words for length in range(1, len(word) + 1))


class KnownWords:
    """Words of at least SHORTEST letters are among `words` or `further`, and not among `without`; a word is not begun that could not be ended.

    Names of items, digits and scripts without spaces are not looked at.
    """

    def __init__(self, words: Vocabulary, further: Collection[str] = (), without: Collection[str] = ()) -> None:
        self.words, self.further = words, Vocabulary(further)
        self.without = Vocabulary(word for word in without if word in words.words and word not in self.further.words)

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        return None

    def accepts(self, prefix: Prefix, token: int) -> bool:
        """Whether the words that this token completes are known, and the one it leaves open can become one that is."""
        if prefix.opened >= 0:
            return True
        spelling = prefix.spelling
        before = prefix.spelled[-TAIL:]
        after = before + spelling.pieces[token]
        text = after[: whole_bytes(after)].decode("utf-8", errors="ignore")
        begun = len(before[: whole_bytes(before)].decode("utf-8", errors="ignore"))
        ends = token in (spelling.end, spelling.opens)
        for match in _WORD.finditer(text):
            if match.end() < begun:
                continue
            complete = match.end() < len(text) or ends
            if not (self._known(match[0].lower()) if complete else self._may_become(match[0].lower())):
                return False
        return True

    def _known(self, word: str) -> bool:
        known = word in self.words.words or word in self.further.words or len(word) < SHORTEST
        return known and word not in self.without.words

    def _may_become(self, word: str) -> bool:
        left = self.words.beginnings[word] - self.without.beginnings[word]
        return left > 0 or word in self.further.beginnings or len(word) < SHORTEST
