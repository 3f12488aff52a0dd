"""No invented words: a mask under which only words that were read somewhere can be written."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import numpy as np

from m6rec.language_model.spelling import Prefix, whole_bytes
from m6rec.text.words import is_spaceless

_WORD = re.compile(r"[^\W\d_]+")
SHORTEST = 3  # letters of a word that is looked up
TAIL = 120  # bytes before the next token in which the word it ends must begin


def words_in(texts: Iterable[str]) -> frozenset[str]:
    """Runs of letters of the texts, in lower case, of scripts with spaces between words."""
    return frozenset(word for text in texts for word in _WORD.findall(text.lower()) if not is_spaceless(word[0]))


class KnownWords:
    """Words of at least SHORTEST letters are among `words` (lower case) or `further`. Names of items, digits and scripts without spaces are not looked at."""

    def __init__(self, words: Collection[str], further: Collection[str] = ()) -> None:
        self.words, self.further = words, further

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        return None

    def accepts(self, prefix: Prefix, token: int) -> bool:
        """Whether the words that this token completes are known."""
        if prefix.opened >= 0:
            return True
        spelling = prefix.spelling
        before = prefix.spelled[-TAIL:]
        after = before + spelling.pieces[token]
        text = after[: whole_bytes(after)].decode("utf-8", errors="ignore")
        begun = len(before[: whole_bytes(before)].decode("utf-8", errors="ignore"))
        ends = token in (spelling.end, spelling.opens)
        for match in _WORD.finditer(text):
            complete = match.end() < len(text) or ends
            if match.end() >= begun and complete and not self._known(match[0]):
                return False
        return True

    def _known(self, word: str) -> bool:
        lower = word.lower()
        return len(word) < SHORTEST or is_spaceless(word[0]) or lower in self.words or lower in self.further
