"""What would have been: the place of an item had something not been known, and the smallest set of events without which it leaves the list.

Every place told is the one that the model answers when it is asked without them. The smallest set is found greedily (the event whose removal
lowers the item most goes first), checked by asking, and thinned: no event in it could be left in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Requests
from m6rec.explanation.question import Question, together

MOST_REMOVED = 12

Places = Callable[[Sequence[Requests]], list[int]]
"""The place of the item in the answer to each request, from 1; 0: it is not among the answers at all."""


@dataclass(frozen=True)
class Counterfactual:
    """Without these (ids of items of the history, titles beside), the item had this score and this place from 1; 0: none at all."""

    without: tuple[str, ...]
    titles: tuple[str, ...]
    score: float
    rank: int


def greedy_events(
    score: Callable[[Requests], np.ndarray], question: Question, most: int, least_share: float
) -> tuple[list[int], list[float]]:
    """Items of the history whose removal, one after the other, lowers the score most, and by how much in all after each.

    score: float64 (B,) of the item for each of B requests.
    most: items at most.  least_share: of what the first one lowers; one that adds less ends the list.
    """
    removed: list[int] = []
    drops: list[float] = []
    rest = question.newest
    whole = float(score(question.whole)[0]) if rest else 0.0
    while rest and len(removed) < most:
        found = whole - score(together([question.without_items([*removed, item]) for item in rest]))
        if not removed:
            rest, found = [item for item, drop in zip(rest, found, strict=True) if drop > 0], found[found > 0]
            if not rest:
                break
        best = int(np.argmax(found))
        gain = float(found[best]) - (drops[-1] if drops else 0.0)
        if gain <= 0 or (drops and gain < least_share * drops[0]):
            break
        removed.append(rest.pop(best))
        drops.append(float(found[best]))
    return removed, drops


def dropping_events(
    margin: Callable[[Requests], np.ndarray], places: Places, question: Question, k: int, most: int = MOST_REMOVED
) -> list[int]:
    """The smallest set of items of the history found without which the item is not in the first k; empty where none of at most `most` does.

    margin: float64 (B,), by how much the item stands above the last place of the list.
    """
    if not 0 < places([question.whole])[0] <= k:
        return []
    removed: list[int] = []
    rest = question.newest
    while rest and len(removed) < most:
        found = margin(together([question.without_items([*removed, item]) for item in rest]))
        removed.append(rest.pop(int(np.argmin(found))))
        if not _within(places, question, removed, k):
            break
    else:
        return []
    for item in list(removed):
        less = [one for one in removed if one != item]
        if less and not _within(places, question, less, k):
            removed = less
    return removed


def _within(places: Places, question: Question, removed: Sequence[int], k: int) -> bool:
    return 0 < places([question.without_items(removed)])[0] <= k
