"""Blocked words: found in texts however they are written, in scripts with spaces between words and without.

A text is compared after Unicode's compatibility normalisation (full-width and styled letters are plain ones), in small letters, without
characters that take no place. A word of a script with spaces must stand alone ("ass" is not in "class"); a word of Chinese, Japanese,
Korean, Thai or another script without them is found anywhere, also with spaces put between its characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import polars as pl

from m6rec.base.errors import UsageError

#: Scripts that write words without spaces between them, or glue endings to them (Korean).
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_LETTER = rf"[^\W_{UNSPACED}]"  # a letter or digit of a script with spaces
#: Formatting characters (category Cf): zero-width spaces and joiners, soft hyphens, direction marks, tags.
_INVISIBLE = re.compile(
    "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0001-\U000e007f]+"
)
_SPACES = re.compile(r"[\s_]+")


def normalised(text: str) -> str:
    """NFKC, small letters, no formatting characters (zero-width spaces, soft hyphens), runs of spaces and underscores as one space."""
    if text.isascii():
        folded = text.lower()
    else:
        folded = _INVISIBLE.sub("", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))
    return _SPACES.sub(" ", folded)


class BlockedWords:
    """A list of words and phrases, compiled once.

    Raises:
        UsageError: an entry without a letter or digit.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words: dict[str, str] = {}
        for word in words:
            plain = normalised(word).strip()
            if not any(letter.isalnum() for letter in plain):
                raise UsageError(f"a blocked word is {word!r}, without a letter or digit; give a word or a phrase")
            self.words.setdefault(plain, word)
        longest_first = sorted(self.words, key=len, reverse=True)
        # What is looked for first, without spaces, then the pattern that decides.
        self._patterns = {word: (word.replace(" ", ""), re.compile(_pattern(word))) for word in longest_first}
        self._by_end: dict[str, list[str]] = {}
        for word in longest_first:
            self._by_end.setdefault(word[-1], []).append(word)
        self._longest = 4 * max(map(len, self.words), default=0) + 16  # characters of a text that one can take, with some spaces inside
        self._needles = list(dict.fromkeys(packed for packed, _ in self._patterns.values()))

    def __len__(self) -> int:
        return len(self.words)

    def found(self, text: str) -> list[str]:
        """The blocked words in a text, as they were given; [] for none."""
        if not self.words:
            return []
        plain = normalised(text)
        packed = plain.replace(" ", "")
        return [self.words[word] for word, (needle, pattern) in self._patterns.items() if needle in packed and pattern.search(plain)]

    def begun(self, text: str, new: int) -> tuple[bool, bool]:
        """Of a text that is being written: (whether it holds a word that stands there whatever follows, whether one stands at its very end).

        "ass" at the end may still become "assume": it is in the text only once something follows that is no letter, or nothing follows. Looked for
        are words that can only now have come to an end.

        Args:
            new: characters at the end of the text that came last.
        """
        if not self.words or not text:
            return False, False
        start = max(len(text) - new - self._longest, 0)
        while start > 0 and not text[start - 1].isspace():
            start -= 1  # a word cut in two could look like a blocked one
        plain = normalised(text[start:])
        packed = plain.replace(" ", "")
        last = set(packed[-new - 1 :]) if plain.isascii() else set(packed)
        inside = at_end = False
        for word in (one for end in last for one in self._by_end.get(end, ())):
            needle, pattern = self._patterns[word]
            for match in pattern.finditer(plain) if needle in packed else ():
                settled = match.end() < len(plain) or _UNSPACED.match(word[-1]) is not None
                inside, at_end = inside or settled, at_end or not settled
        return inside, at_end

    def rows(self, texts: pl.Series) -> list[int]:
        """Rows of `texts` (already normalised) that hold a blocked word."""
        if not self.words or not len(texts):
            return []
        packed = texts.str.replace_all(" ", "", literal=True)
        rows = packed.str.contains_any(self._needles).fill_null(False).arg_true()
        patterns = [pattern for _, pattern in self._patterns.values()]
        return [
            row for row, text in zip(rows.to_list(), texts.gather(rows).to_list(), strict=True) if any(p.search(text) for p in patterns)
        ]


def _pattern(word: str) -> str:
    """A regular expression for a normalised word, with the boundaries that its script asks for at either end."""
    parts: list[str] = []
    for before, letter in zip(["", *word], word, strict=False):
        if _UNSPACED.match(letter) and before and _UNSPACED.match(before):
            parts.append(r"\s*")
        parts.append(r"\s+" if letter == " " else re.escape(letter))
    left = "" if _UNSPACED.match(word[0]) else f"(?<!{_LETTER})"
    right = "" if _UNSPACED.match(word[-1]) else f"(?!{_LETTER})"
    return left + "".join(parts) + right
