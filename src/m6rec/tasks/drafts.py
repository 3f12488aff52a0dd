"""Which of several drafts says what most of them say: minimum Bayes risk decoding.

Drafts are drawn from the model, and the one with the greatest expected likeness to the others is kept (Kumar and Byrne, 2004; Eikema and Aziz,
arXiv 2005.10283): a beam finds the likeliest text, which is short and much the same for everybody, where this finds the middle of what could be
said. Likeness is the F measure over words and pairs of words, with recall three times as heavy as precision (beta = 3), because a draft that leaves
out what the others say is right in all that it says.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import pairwise

from m6rec.text.words import units

LEAST_SHARE = 0.6  # of the usual number of words: drafts below it are right in little
BETA = 3.0


def by_agreement(texts: Sequence[str]) -> list[int]:
    """Places of the drafts, the most agreed first; equal ones in their order."""
    bags: list[set[Hashable]] = [{*(words := units(text)), *pairwise(words)} for text in texts]
    gains = [sum(_likeness(one, other) for other in bags) for one in bags]
    return sorted(range(len(texts)), key=lambda place: -gains[place])


def least_words(usual: float) -> int:
    """Words that a draft has at least, by the mean number of words of the known texts of its kind."""
    return max(1, math.floor(LEAST_SHARE * usual))


def _likeness(one: set[Hashable], other: set[Hashable]) -> float:
    both = len(one & other)
    if not both:
        return 0.0
    precision, recall = both / len(one), both / len(other)
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
