"""What a written text must keep to: banned words, a number of words, the letters of a language.

Masks of `language_model/masks.py`, about words: they look at the text that tokens spell, never at single tokens, for a word can be cut into
tokens in many ways.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

import numpy as np

from m6rec.base.errors import UsageError
from m6rec.language_model.masks import Mask
from m6rec.language_model.spelling import Prefix, ends_sentence, readable, whole_bytes
from m6rec.text.blocked_words import BlockedWords
from m6rec.text.scripts import script_of, scripts_of
from m6rec.text.word_spans import word_places

# Two blanks; a comma before another sign; two full stops that are not three; many signs; a text that begins with one.
_SOUP = re.compile(
    r"[ \t]{2}|\n{3}|[,;:，；：、]\s*[.,;:!?，。；：！？、]|\s[.,;!?，。；！？、](?=\s|$)|(?<!\.)\.\.[^.]|\.{4}|[!?！？]{4}"
    r"|[。，；：、]{2}|\A\s*[.,;:!?，。；：！？、]"
)
_HALF_DOTS = re.compile(r"(?<!\.)\.\.\Z")
_CLOSED = re.compile(r"[.!?…。！？]{0,3}[\"'”’」』]?\Z")  # what may stand behind the last word that fits
_ECHO = re.compile(r"(\b\w+(?: \w+){1,5})[ ,]+\1\Z")  # "the river of the river of"
_HEARD = 120  # characters in which an echo is heard
_BEHIND = 8  # characters before a token that signs in it may belong with


class Banned:
    """Words that must not be written, in capitals, full-width letters or with signs that take no place neither, across any number of tokens.

    Beginning like a banned word is allowed, for "ass" may become "assume"; then only what goes on with the word is.
    """

    def __init__(self, words: BlockedWords) -> None:
        self.words = words

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        return None

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
    """Signs and blanks as they are written between words, no runs of them; and no words that are said again at once. Names stand as they are."""

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        return None

    def accepts(self, prefix: Prefix, token: int) -> bool:
        if prefix.opened >= 0:
            return True
        spelling = prefix.spelling
        before = prefix.text
        if token in (spelling.end, spelling.opens):
            return _HALF_DOTS.search(before[-_BEHIND:]) is None
        text = _text(prefix.spelled + spelling.pieces[token])
        if _ECHO.search(text[-_HEARD:]) is not None:
            return False
        start = max(len(before) - _BEHIND, 0)
        return all(match.end() <= len(before) - start for match in _SOUP.finditer(text if start == 0 else "\ufeff" + text[start + 1 :]))


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
    words: tuple[int, int] | None = None, banned: BlockedWords | None = None, language: str | None = None, *, single: bool = False
) -> list[Mask]:
    """The masks for what a caller asked of a text: its length in words, words it must not have, its language; signs as they are written.

    Args:
        single: texts of the kind are one sentence.

    Raises:
        UsageError: a length that cannot be, a language that nothing is known of.
    """
    masks: list[Mask] = [Signs()]
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


def _text(spelled: bytes) -> str:
    return spelled[: whole_bytes(spelled)].decode("utf-8", errors="replace")
