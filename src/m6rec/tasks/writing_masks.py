"""What a written text must keep to: banned words, a number of words, the letters of a language.

Masks of `language_model/masks.py`, about words: they look at the text that tokens spell, never at single tokens, for a word can be cut into
tokens in many ways.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

import numpy as np

from m6rec.base.errors import UsageError
from m6rec.language_model.masks import Mask
from m6rec.language_model.spelling import Prefix, Spelling, ends_sentence, readable, whole_bytes
from m6rec.text.blocked_words import BlockedWords
from m6rec.text.scripts import script_of, scripts_of
from m6rec.text.word_spans import word_places
from m6rec.text.words import SPACELESS

# Two blanks; a comma before another sign; two full stops that are not three; many signs; a text that begins with one.
_SOUP = re.compile(
    r"[ \t]{2}|\n{3}|[,;:，；：、]\s*[.,;:!?，。；：！？、]|\s[.,;!?，。；！？、](?=\s|$)|(?<!\.)\.\.[^.]|\.{4}|[!?！？]{4}"
    r"|[。，；：、]{2}|\A\s*[.,;:!?，。；：！？、]"
)
_HALF_DOTS = re.compile(r"(?<!\.)\.\.\Z")
_CLOSED = re.compile(r"[.!?…。！？]{0,3}[\"'”’」』]?\Z")  # what may stand behind the last word that fits
_ECHO = re.compile(r"(\b\w+(?: \w+){1,5})[ ,]+\1\Z")  # "the river of the river of"
_HEARD = 120  # characters in which an echo is heard
_WORD = re.compile(rf"(?=.*[^\W\d_])(?:(?![{SPACELESS}_])[\w'’\-])+")
_OPENING = "\"'“‘«([{"
_JOINING, _UNSEEN = ("'", "’", "-", "\ufffd"), ("Mn", "Mc", "Me", "Cf")
_GOES_ON = ("signs", "goes on")
LONG = 4  # letters of a word that is not begun again: fewer begin many words
_BEHIND = 8  # characters before a token that signs in it may belong with


class Banned:
    """Words that must not be written, in capitals, full-width letters or with signs that take no place neither, across any number of tokens.

    Beginning like a banned word is allowed, for "ass" may become "assume"; then only what goes on with the word is.
    """

    def __init__(self, words: BlockedWords) -> None:
        self.words = words

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        """Behind a banned word only what makes another word of it, told at once: most of the vocabulary would be asked about one by one."""
        if prefix.opened >= 0 or prefix.cut or not prefix.tokens:
            return None
        last = max(len(prefix.spelling.pieces[prefix.tokens[-1]]), 1)
        return going_on(prefix.spelling) if self.words.begun(prefix.text, last)[1] else None

    def accepts(self, prefix: Prefix, token: int) -> bool:
        spelling = prefix.spelling
        piece = spelling.pieces[token]
        text = _text(prefix.spelled + piece)
        inside, at_end = self.words.begun(text, max(len(piece), 1))
        return not inside and not (at_end and token in (spelling.end, spelling.closes, spelling.opens))


class Words:
    """Between `least` and `most` words; a character of a script without spaces counts as one.

    A word is never cut. From three quarters of `most` on, a text whose sentence is over must end there; behind the last word that fits only what ends a
    sentence may stand. single: the text is one sentence, which is not over before `least`.

    Raises:
        UsageError: most below 1 or below least.
    """

    def __init__(self, least: int, most: int, single: bool = False) -> None:
        if least < 0 or most < max(least, 1):
            raise UsageError(f"words are ({least}, {most}); give least and most, at least 0 and 1, the second no smaller than the first")
        self.least, self.most, self.single = least, most, single
        self.wind_up = max(least, most - most // 4)

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        if prefix.opened >= 0 or prefix.cut or not prefix.tokens:
            return None
        text = prefix.text
        if ends_sentence(text) and word_count(text) >= self.wind_up:
            return np.array([prefix.spelling.end])
        return None

    def accepts(self, prefix: Prefix, token: int) -> bool:
        spelling = prefix.spelling
        if token == spelling.end:
            return word_count(prefix.text) >= self.least
        if token == spelling.opens:
            return word_count(prefix.text) < self.most
        text = _text(prefix.spelled + spelling.pieces[token])
        count = word_count(text)
        if self.single and count < self.least and ends_sentence(text):
            return False
        return count < self.most or (count == self.most and _CLOSED.match(text[_last_word_end(text) :]) is not None)


class Signs:
    """Signs and blanks as they are written between words, no runs of them; and no words that are said again at once. Names stand as they are.

    A single word may be said again where it begins another ("the theatre"): of fewer than LONG letters, which begin many, it may be gone on with.

    Args:
        doubled: words in lower case that are said twice in a row all the same ("bye bye"). Characters of scripts without spaces are no words here.
    """

    def __init__(self, doubled: Collection[str] = ()) -> None:
        self.doubled = frozenset(doubled)

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        spelling = prefix.spelling
        if prefix.opened >= 0 or prefix.cut or not prefix.tokens or prefix.tokens[-1] == spelling.closes:
            return None
        twice = _said_twice(prefix.text)
        begun = twice is not None and not twice[1] and len(twice[0]) < LONG and twice[0] not in self.doubled
        return going_on(spelling) if begun else None

    def accepts(self, prefix: Prefix, token: int) -> bool:
        if prefix.opened >= 0:
            return True
        spelling = prefix.spelling
        before = prefix.text
        goes_on = self.allowed(prefix)
        if goes_on is not None and not goes_on[token]:
            return False
        if token in (spelling.end, spelling.opens):
            return _HALF_DOTS.search(before[-_BEHIND:]) is None
        text = _text(prefix.spelled + spelling.pieces[token])
        if _ECHO.search(text[-_HEARD:]) is not None or self._again(prefix, text):
            return False
        start = max(len(before) - _BEHIND, 0)
        return all(match.end() <= len(before) - start for match in _SOUP.finditer(text if start == 0 else "\ufeff" + text[start + 1 :]))

    def _again(self, prefix: Prefix, text: str) -> bool:
        """Whether a text that goes on after `prefix` says a word again at once; a word that ended with a name stood there before."""
        twice = _said_twice(text)
        if twice is None or twice[0] in self.doubled:
            return False
        word, over = twice
        closes = bool(prefix.tokens) and prefix.tokens[-1] == prefix.spelling.closes
        return (over and not closes) or (not over and len(word) >= LONG)


class Letters:
    """Only letters of some scripts, outside of names, which are written as they are."""

    def __init__(self, scripts: Collection[str]) -> None:
        self.scripts = frozenset(scripts)

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        if prefix.opened >= 0:
            return None
        cut, spelling = prefix.cut, prefix.spelling
        key = ("letters", self.scripts, cut)
        known = spelling.kept.get(key)
        if known is None:
            readable = spelling.readable_after(cut)
            known = readable.copy()
            for token in np.flatnonzero(readable).tolist():
                known[token] = self._fits(cut + spelling.pieces[token])
            spelling.kept[key] = known
        return np.asarray(known)

    def accepts(self, prefix: Prefix, token: int) -> bool:
        return True

    def _fits(self, spelled: bytes) -> bool:
        whole = whole_bytes(spelled)
        return all(script_of(letter) in ("", *self.scripts) for letter in spelled[:whole].decode()) and _may_become(
            spelled[whole:], self.scripts
        )


@lru_cache(maxsize=4096)
def _may_become(cut: bytes, scripts: frozenset[str]) -> bool:
    """Whether some character of the scripts, or of none, begins with these bytes."""
    if not cut:
        return True
    length = 4 if cut[0] >= 0xF0 else 3 if cut[0] >= 0xE0 else 2
    further = (cut + bytes([byte]) for byte in range(0x80, 0xC0))
    return any(_fitting(spelled, scripts) if len(spelled) == length else _may_become(spelled, scripts) for spelled in further)


def _fitting(spelled: bytes, scripts: frozenset[str]) -> bool:
    letter = spelled.decode("utf-8", errors="replace")
    return len(letter) == 1 and readable(letter) and script_of(letter) in ("", *scripts)


def writing_masks(
    words: tuple[int, int] | None = None,
    banned: BlockedWords | None = None,
    language: str | None = None,
    *,
    single: bool = False,
    doubled: Collection[str] = (),
) -> list[Mask]:
    """The masks for what a caller asked of a text: its length in words, words it must not have, its language; signs as they are written.

    Args:
        single: texts of the kind are one sentence.
        doubled: words in lower case that may be said twice in a row.

    Raises:
        UsageError: a length that cannot be, a language that nothing is known of.
    """
    masks: list[Mask] = [Signs(doubled)]
    if language is not None:
        masks.append(Letters(scripts_of(language)))
    if words is not None:
        masks.append(Words(*words, single))
    if banned is not None and len(banned):
        masks.append(Banned(banned))
    return masks


def word_count(text: str) -> int:
    """Words of a text; every character of a script without spaces is one, signs are none. "It's" and "well-known" are one."""
    places = word_places(text)
    count, end = 0, -2
    for start, stop in places.tolist():
        if not text[start].isalnum():
            continue
        joined = start - end == 1 and text[end] in "'’-" and text[start].isascii()
        count += not joined
        end = stop
    return count


def _last_word_end(text: str) -> int:
    """Where the last word ends, 0 where there is none."""
    places = [stop for start, stop in word_places(text).tolist() if text[start].isalnum()]
    return int(places[-1]) if places else 0


def _said_twice(text: str) -> tuple[str, bool] | None:
    """The word in lower case that a text ends with, where it stood right before it too, and whether it is over; None for none. Numbers are no words."""
    chunks = text[-_HEARD:].rsplit(None, 2)
    if len(chunks) < 2:
        return None
    before, last = chunks[-2].lstrip(_OPENING).casefold(), chunks[-1].casefold()
    word = _WORD.match(last) if last.startswith(before) else None
    if word is None or word[0] != before:
        return None
    return before, len(before) < len(last) or text[-1].isspace()


def going_on(spelling: Spelling) -> np.ndarray:
    """bool (V,), read-only: tokens that begin with what may be in a word: a letter or its mark, a digit, a sign that joins, something unseen."""
    known = spelling.kept.get(_GOES_ON)
    if known is None:
        known = np.fromiter((_goes_on(piece) for piece in spelling.pieces), dtype=bool, count=len(spelling))
        known.flags.writeable = False
        spelling.kept[_GOES_ON] = known
    return known


def _goes_on(piece: bytes) -> bool:
    letter = piece.decode("utf-8", errors="replace")[:1]
    return letter.isalnum() or letter in _JOINING or (letter != "" and unicodedata.category(letter) in _UNSEEN)


def _text(spelled: bytes) -> str:
    return spelled[: whole_bytes(spelled)].decode("utf-8", errors="replace")
