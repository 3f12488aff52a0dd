"""No invented words or numbers, no sentence broken off: masks of what was read in known texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np

from m6rec.language_model.spelling import Prefix, whole_bytes
from m6rec.text.words import SPACELESS

_JOINS = ".,!?;:'’"  # signs that make one run of what stands on both sides without a blank: 8.37, e.g, it's, one.It
_LETTERS = re.compile(rf"(?:(?![{SPACELESS}])[^\W\d_])+")
_RUN = re.compile(rf"(?:(?![{SPACELESS}])[^\W_])+(?:[{_JOINS}](?:(?![{SPACELESS}])[^\W_])+)*")
_LAST = re.compile(rf"(?:(?![{SPACELESS}])[^\W\d_])+\Z")
_AGAIN = re.compile(r"(?<![^\W_])([^\W\d_]+)\s+\1\Z")
_DIGIT = re.compile(r"\d")
_BEFORE_NUMBER = " \t$€£¥￥"
_STOPS = ".!?。！？"
OFTEN = 5  # times a word is said, from which on never to have been last counts
SHORTEST = 3  # letters of a word that is looked up
TAIL = 120  # bytes before the next token in which the word it ends must begin


def words_in(texts: Iterable[str]) -> frozenset[str]:
    """Runs of letters, and runs with digits or joining signs in them ("8.37", "4k", "e.g"), in lower case, of scripts with spaces between words; those that
    mix capitals and small letters ("iPhone") as they are written, too."""
    found: set[str] = set()
    for text in texts:
        plain = text.lower()
        found.update(_LETTERS.findall(plain))
        found.update(run for run in _RUN.findall(plain) if not run.isalpha())
        if plain != text:
            found.update(run for pattern in (_LETTERS, _RUN) for run in pattern.findall(text) if _mixed(run))
    return frozenset(found)


def _mixed(run: str) -> bool:
    """Whether a run is neither in small letters, nor in capitals, nor with a capital first: "iPhone", "theRe"."""
    small = run.lower()
    return run not in (small, run.upper(), run[:1].upper() + small[1:])


class Vocabulary:
    """Words as `words_in` finds them, and how many of them begin with each run of letters, digits and signs."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)
        self.beginnings = Counter(word[:length] for word in self.words for length in range(1, len(word) + 1))


class KnownWords:
    """Words of at least SHORTEST letters, and every run with a digit or a joining sign, are among `words` or `further`, and not among `without`; a
    word is not begun that could not be ended. So no number is cut at its point, and none is glued to a word. Capitals and small letters are mixed inside a
    word only as they were read: "iPhone", but no "theRe".

    Args:
        numbers: the only runs with digits that may be written; None: those of `words` and `further` too.
        bounds: phrases in lower case after which any number of `words` may stand: a limit ("under 50") is held against the facts, and is none itself.

    Names of items and scripts without spaces are not looked at.
    """

    def __init__(
        self,
        words: Vocabulary,
        further: Collection[str] = (),
        without: Collection[str] = (),
        numbers: Collection[str] | None = None,
        bounds: Collection[str] = (),
    ) -> None:
        self.words, self.further = words, Vocabulary(further)
        self.without = Vocabulary(word for word in without if word in words.words and word not in self.further.words)
        self.numbers = None if numbers is None else Vocabulary(numbers)
        self.bounds = tuple(bounds)
        self.banned = frozenset(without)
        self._onward: dict[str, np.ndarray] = {}

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        """Behind a word that other masks let nothing but a longer one follow (a banned one, one said again), what makes a known word of it, told at
        once: few tokens do, and the rest would be asked about one by one."""
        if prefix.opened >= 0 or prefix.cut:
            return None
        tail = prefix.text[-TAIL:].lower()
        match = _LAST.search(tail)
        if match is None or not (match[0] in self.banned or _AGAIN.search(tail)):
            return None
        known = self._onward.get(match[0])
        if known is None:
            pieces = prefix.spelling.pieces
            known = np.fromiter((self._goes_on(match[0], piece) for piece in pieces), dtype=bool, count=len(pieces))
            self._onward[match[0]] = known
        return known

    def _goes_on(self, run: str, piece: bytes) -> bool:
        """Whether a token may follow a run that may not end yet; what begins with no letter is looked at when it is chosen."""
        letters = _LETTERS.match(piece.decode("utf-8", errors="ignore").lower())
        return letters is None or self._may_become(run + letters[0], False)

    def accepts(self, prefix: Prefix, token: int) -> bool:
        """Whether the words that this token completes are known, and the one it leaves open can become one that is."""
        if prefix.opened >= 0:
            return True
        spelling = prefix.spelling
        before = prefix.spelled[-TAIL:]
        after = before + spelling.pieces[token]
        shown = after[: whole_bytes(after)].decode("utf-8", errors="ignore")
        text = shown.lower()
        begun = len(before[: whole_bytes(before)].decode("utf-8", errors="ignore").lower())
        ends = token in (spelling.end, spelling.opens)
        for match in _RUN.finditer(text):
            if match.end() + 1 < begun:
                continue
            run, rest = match[0], text[match.end() :]
            limit = self.numbers is not None and bool(self.bounds) and self._limits(text[: match.start()])
            if ends or (rest and not (len(rest) == 1 and rest in _JOINS)):
                good = self._known(run, limit)
            else:
                good = self._may_become(run + rest, limit) or (bool(rest) and self._known(run, limit))
            if not good:
                return False
            written = shown[match.start() : match.end()]
            if written != run and len(shown) == len(text) and _mixed(written) and not self._written(written):
                return False
        return True

    def _written(self, run: str) -> bool:
        """Whether a known word is written so, or begins so."""
        return run in self.words.beginnings or run in self.further.beginnings

    def _limits(self, text: str) -> bool:
        """Whether a number after `text` is a limit."""
        plain = text.rstrip(_BEFORE_NUMBER)
        return any(plain.endswith(bound) and not plain[: -len(bound)][-1:].isalnum() for bound in self.bounds)

    def _among(self, run: str, limit: bool) -> tuple[Vocabulary, ...]:
        """Where a run is looked up."""
        if self.numbers is None or not _DIGIT.search(run):
            return self.words, self.further
        return (self.words, self.numbers) if limit else (self.numbers,)

    def _known(self, run: str, limit: bool) -> bool:
        if run in self.without.words:
            return False
        return (len(run) < SHORTEST and run.isalpha()) or any(run in one.words for one in self._among(run, limit))

    def _may_become(self, run: str, limit: bool) -> bool:
        if len(run) < SHORTEST and run.isalpha():
            return True
        among = self._among(run, limit)
        left = sum(one.beginnings[run] for one in among if one is not self.further) - self.without.beginnings[run]
        return left > 0 or (self.further in among and run in self.further.beginnings)


def never_last(texts: Iterable[str]) -> frozenset[str]:
    """Words in lower case that the texts say often and that never end a sentence or a text: "the", "of"."""
    said, last = Counter[str](), set[str]()
    for text in texts:
        plain = text.lower().rstrip()
        for match in _LETTERS.finditer(plain):
            said[match[0]] += 1
            if match.end() == len(plain) or plain[match.end()] in _STOPS:
                last.add(match[0])
    return frozenset(word for word, count in said.items() if count >= OFTEN and word not in last)


def doubled_words(texts: Iterable[str], share: float = 0.0) -> frozenset[str]:
    """Words in lower case that the texts say twice in a row ("bye bye"), of all the times that they say them at least this share."""
    said, twice = Counter[str](), Counter[str]()
    for text in texts:
        plain, last = text.lower(), None
        for match in _LETTERS.finditer(plain):
            said[match[0]] += 1
            if last is not None and last[0] == match[0] and plain[last.end() : match.start()].isspace():
                twice[match[0]] += 1
            last = match
    return frozenset(word for word, count in twice.items() if count >= share * said[word])


class Ends:
    """A sentence does not end with a word that never ends one."""

    def __init__(self, words: Collection[str]) -> None:
        """words: as `never_last` finds them."""
        self.words = words

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        return None

    def accepts(self, prefix: Prefix, token: int) -> bool:
        spelling = prefix.spelling
        piece = spelling.pieces[token].lstrip()
        closes = bool(prefix.tokens) and prefix.tokens[-1] == spelling.closes
        if (
            prefix.opened >= 0
            or closes
            or not (token == spelling.end or (piece and piece[:3].decode("utf-8", errors="ignore")[:1] in _STOPS))
        ):
            return True
        tail = prefix.spelled[-TAIL:]
        match = _LAST.search(tail[: whole_bytes(tail)].decode("utf-8", errors="ignore").lower())
        return match is None or match[0] not in self.words
