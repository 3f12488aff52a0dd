"""Which of several drafts comes closest to what the model would say: minimum Bayes risk decoding.

Drafts are drawn coolly, so that they read well, and under all rules; the one with the greatest expected likeness to texts drawn as the model says them is
kept (Kumar and Byrne, 2004; Eikema and Aziz, arXiv 2005.10283 and 2108.04718): a beam finds the likeliest text, which is short and much the same for
everybody, where this finds the middle of what could be said. Likeness is the F measure of words plus that of pairs of words, with recall three times
as heavy as precision (beta = 3), because a draft that leaves out what the others say is right in all that it says.

Dimension keys: T drafts, S texts that could be said, G grams.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np

from m6rec.text.words import units

LEAST_SHARE = 0.6  # of the usual number of words: drafts below it are right in little
BETA = 3.0


def by_agreement(drafts: Sequence[str], said: Sequence[str]) -> list[int]:
    """Places of the drafts, the one most like what could be said first; equal ones in their order."""
    gains = np.zeros(len(drafts))
    if drafts and said:
        ours, theirs = [units(text) for text in drafts], [units(text) for text in said]
        gains = _likeness([set(words) for words in ours], [set(words) for words in theirs])
        gains = gains + _likeness([set(pairwise(words)) for words in ours], [set(pairwise(words)) for words in theirs])
    return np.argsort(-gains, kind="stable").tolist()


def least_words(usual: float) -> int:
    """Words that a draft has at least, by the mean number of words of the known texts of its kind."""
    return max(1, math.floor(LEAST_SHARE * usual))


def _likeness(drafts: Sequence[set[Hashable]], said: Sequence[set[Hashable]]) -> np.ndarray:
    """(T,): mean F measure of the grams of each draft against those of the texts that could be said; 0 where nothing is shared."""
    grams = {gram: place for place, gram in enumerate(dict.fromkeys(gram for one in (*drafts, *said) for gram in one))}
    have, wanted = (np.zeros((len(some), len(grams)), dtype=np.float32) for some in (drafts, said))
    for table, some in ((have, drafts), (wanted, said)):
        for row, one in enumerate(some):
            table[row, [grams[gram] for gram in one]] = 1
    both = have @ wanted.T  # T S
    sizes = have.sum(1)[:, None] + BETA**2 * wanted.sum(1)
    # (1 + b^2) P R / (b^2 P + R) with P = both / of the draft, R = both / of the text
    return np.asarray(((1 + BETA**2) * both / np.maximum(sizes, 1)).mean(1), dtype=np.float64)
