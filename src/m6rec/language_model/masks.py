"""What may follow: masks, asked after all other changes to the logits, so that nothing can open again what they close.

A mask looks at one row: what was written so far, and which token is to come. Two questions, for two costs: `allowed` gives at once all tokens
that may follow; `accepts` is asked of a token only when it is about to be chosen, where looking at every token of the vocabulary would be dear.

Dimension key: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from m6rec.language_model.spelling import Prefix, ends_sentence


class Mask(Protocol):
    """One rule about what may follow. Holds nothing of a row: everything is in the prefix."""

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        """bool (V,), or int64 ids without repeats, of the tokens that may follow; None: this mask has nothing against any."""

    def accepts(self, prefix: Prefix, token: int) -> bool:
        """Whether this token may follow; asked of tokens that `allowed` lets through."""


class Readable:
    """The text is valid UTF-8 without control characters; special ids are no text. Every row is under this mask, whatever else is asked.

    The id that opens a name is let through: `tries.Names` says whether one may begin.
    """

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        if prefix.opened >= 0:
            return None  # inside a name the names decide
        return prefix.spelling.readable_after(prefix.cut)

    def accepts(self, prefix: Prefix, token: int) -> bool:
        return True


class Length:
    """Between `least` and `most` tokens, the end at a sentence where there is one.

    The end is not allowed before `least`. From three quarters of `most` on, a text whose sentence is over must end there: the writer
    is then rarely stopped in a sentence. (A row that reaches `most` all the same is cut back, see `decoding`.)
    """

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most
        self.wind_up = max(least, most - most // 4)

    def allowed(self, prefix: Prefix) -> np.ndarray | None:
        if len(prefix) >= self.wind_up and prefix.opened < 0 and len(prefix) and not prefix.cut and ends_sentence(prefix.text):
            return np.array([prefix.spelling.end])
        return None

    def accepts(self, prefix: Prefix, token: int) -> bool:
        return token != prefix.spelling.end or len(prefix) >= self.least


def joined(masks: Sequence[Mask], prefix: Prefix) -> np.ndarray | None:
    """What all of the masks allow: sorted int64 ids, bool (V,), or None for everything."""
    ids: np.ndarray | None = None
    full: np.ndarray | None = None
    for mask in masks:
        found = mask.allowed(prefix)
        if found is None:
            continue
        if found.dtype == bool:
            full = found if full is None else full & found
        else:
            ids = np.unique(found) if ids is None else np.intersect1d(ids, found)
    if ids is None:
        return full
    return ids if full is None else ids[full[ids]]


def everything_allowed(masks: Sequence[Mask], prefix: Prefix) -> np.ndarray:
    """bool (V,): each token, by both questions. What decoding must agree with; dear, for tests and for looking."""
    size = len(prefix.spelling)
    found = joined(masks, prefix)
    ids = np.arange(size) if found is None else np.flatnonzero(found) if found.dtype == bool else found
    result = np.zeros(size, dtype=bool)
    result[[token for token in ids.tolist() if all(mask.accepts(prefix, token) for mask in masks)]] = True
    return result
