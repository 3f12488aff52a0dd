"""What token ids spell: bytes, whole characters, words that are complete, sentences that are over.

Tokens are byte sequences: one may end in the middle of a character, and the next one has to go on with it. Everything that must hold of
the written text is asked of these bytes and never of single tokens, for a word can be cut into tokens in many ways.

Dimension key: V vocabulary.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

#: Scripts written without spaces (Thai to Khmer, Han, kana): a character is a unit, a text can be cut behind any of them.
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# A full stop after fewer than three letters is an abbreviation ("Mr.", "e.g.", "J."), after digits a number ("3.5"); 。！？ are always ends.
_SENTENCE_END = re.compile(rf"(?:[。！？]|(?:[^\W\d_]{{3,}}|[)\]\"'”’%]|[{SPACELESS}])[.!?…]+|[!?…]+)[\"'”’)\]」』）]*$")
ENDINGS = ".!?…。！？\"'”’)]」』）"
UNREADABLE = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")  # controls, formatting (direction marks, tags), unassigned, private
JOINERS = "\n\u200c\u200d"  # what written language needs of them: line breaks, joiners of Persian, Indic scripts and emoji
_LAST_WORD = re.compile(rf"(?:(?![{SPACELESS}])[\w'’\-])+$")


class Spelling:
    """The bytes of every token of a vocabulary, and the ids that are no text.

    Args:
        pieces: V byte strings; empty for special ids.
        end: the id that ends a text.
        opens, closes: ids that stand around the name of an item, -1 where there are none.
    """

    def __init__(self, pieces: Sequence[bytes], end: int, opens: int = -1, closes: int = -1) -> None:
        self.pieces = tuple(pieces)
        self.end, self.opens, self.closes = end, opens, closes
        self.kept: dict[Hashable, np.ndarray] = {}  # what masks found out about this vocabulary

    def __len__(self) -> int:
        return len(self.pieces)

    def text(self, tokens: Sequence[int] | np.ndarray) -> str:
        """What the tokens spell; special ids spell nothing, a character cut in two becomes U+FFFD."""
        return b"".join(self.pieces[int(token)] for token in tokens).decode("utf-8", errors="replace")

    @cached_property
    def special(self) -> np.ndarray:
        """bool (V,): ids that spell nothing, the ending one among them."""
        return np.fromiter((not piece for piece in self.pieces), dtype=bool, count=len(self))

    def readable_after(self, cut: bytes) -> np.ndarray:
        """bool (V,), read-only: tokens that go on with text after `cut`, the first bytes of a character (b"" for none).

        A token that makes bytes no text is made of, a control character or a special id is out; only between characters may the text end or
        a name begin.
        """
        known = self.kept.get(cut)
        if known is None:
            known = np.zeros(len(self), dtype=bool)
            for token, piece in enumerate(self.pieces):
                known[token] = bool(piece) and (piece[0] & 0xC0 == 0x80) == bool(cut) and _begins_text(cut + piece)
            if not cut:
                known[[token for token in (self.end, self.opens) if token >= 0]] = True
            known.flags.writeable = False
            self.kept[cut] = known
        return known


class Prefix:
    """What a row has written so far; `then` gives a new one, so that hypotheses can share their beginning.

    tokens    the ids
    spelled   their bytes
    opened    index of the token that opened a name which is not closed yet, -1 outside of names
    """

    __slots__ = ("opened", "spelled", "spelling", "tokens")

    def __init__(self, spelling: Spelling, tokens: tuple[int, ...] = (), spelled: bytes = b"", opened: int = -1) -> None:
        self.spelling, self.tokens, self.spelled, self.opened = spelling, tokens, spelled, opened

    def __len__(self) -> int:
        return len(self.tokens)

    def then(self, token: int) -> Prefix:
        """This and one more token."""
        spelling = self.spelling
        opened = len(self.tokens) if token == spelling.opens else -1 if token == spelling.closes else self.opened
        return Prefix(spelling, (*self.tokens, token), self.spelled + spelling.pieces[token], opened)

    @property
    def named(self) -> tuple[int, ...] | None:
        """The ids of the open name so far, None outside of names."""
        return None if self.opened < 0 else self.tokens[self.opened + 1 :]

    @property
    def cut(self) -> bytes:
        """The first bytes of a character that is not complete, b"" for none."""
        return self.spelled[whole_bytes(self.spelled) :]

    @property
    def text(self) -> str:
        """The complete characters."""
        return self.spelled[: whole_bytes(self.spelled)].decode("utf-8", errors="replace")


def whole_bytes(spelled: bytes) -> int:
    """How many of the bytes are complete characters: up to three at the end may belong to one that is not."""
    for back in range(1, min(len(spelled), 3) + 1):
        byte = spelled[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return len(spelled) - back if length > back else len(spelled)
    return len(spelled)


def ends_sentence(text: str) -> bool:
    """Whether a sentence is over where the text ends. Of full stops only those that can be nothing else count: not "3." and not "Mr."."""
    return _SENTENCE_END.search(text.rstrip()[-40:]) is not None


def sentence_count(text: str) -> int:
    """Sentences of a text, an unfinished last one too; 0 for an empty text."""
    text = text.strip()
    signs = [end for end in range(1, len(text)) if text[end - 1] in ENDINGS and (text[end].isspace() or text[end - 1] in "。！？")]
    over = [end for end in signs if ends_sentence(text[:end])]
    return sum(any(sign.isalnum() for sign in text[start:end]) for start, end in pairwise([0, *over, len(text)]))


def last_sentence(text: str) -> int:
    """Characters up to the end of the last sentence that is over, if that keeps half of the text; else -1."""
    for end in range(len(text), len(text) // 2, -1):
        if text[end - 1] in ENDINGS and ends_sentence(text[:end]) and not text[end : end + 1].isalnum():
            return end
    return -1


def last_word(text: str) -> int:
    """Characters without the word at the end: nobody knows how it would have gone on."""
    word = _LAST_WORD.search(text)
    return len(text[: word.start()].rstrip()) if word else len(text.rstrip())


def readable(letter: str) -> bool:
    """Whether a character belongs in a text: no control or formatting characters but line breaks and joiners, nothing unassigned or private."""
    return letter in JOINERS or (letter != "\ufffd" and unicodedata.category(letter) not in UNREADABLE)


def _begins_text(spelled: bytes) -> bool:
    """Whether bytes are characters of a text, the last one perhaps not complete."""
    whole = whole_bytes(spelled)
    try:
        text = spelled[:whole].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(map(readable, text)) and _may_become_readable(spelled[whole:])


@lru_cache(maxsize=4096)
def _may_become_readable(cut: bytes) -> bool:
    """Whether some readable character begins with these bytes, b"" being none."""
    if not cut:
        return True
    if cut[0] > 0xF0 or cut[0] < 0xC2:
        return False  # above F0 nothing is assigned that is read by itself
    length = 4 if cut[0] == 0xF0 else 3 if cut[0] >= 0xE0 else 2
    for last in range(0x80, 0xC0):
        spelled = cut + bytes([last])
        letter = spelled.decode("utf-8", errors="replace")
        if (len(letter) == 1 and readable(letter)) if len(spelled) == length else _may_become_readable(spelled):
            return True
    return False
