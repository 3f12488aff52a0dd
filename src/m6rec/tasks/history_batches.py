"""Histories cut into windows, and windows of like length put into batches: next to no work on padding.

Dimension keys: U users, E events, G windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Histories


@dataclass(frozen=True)
class Windows:
    """G pieces of histories, each event in exactly one. All int64 (G,).

    first, last  positions of the events, last exclusive
    begin        where the history of the user begins
    user         row of the histories
    """

    first: np.ndarray
    last: np.ndarray
    begin: np.ndarray
    user: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.last - self.first


def cut_windows(histories: Histories, longest: int) -> Windows:
    """Cut every history from its newest end into windows of `longest` events; the oldest window takes the rest."""
    pieces = -(-histories.lengths // longest)
    user = np.repeat(np.arange(len(histories)), pieces)
    nth = np.arange(len(user)) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # 0 is the newest
    last = histories.offsets[1:][user] - nth * longest
    begin = histories.offsets[:-1][user]
    return Windows(np.maximum(begin, last - longest), last, begin, user)


def batch_windows(windows: Windows, events: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of window numbers with about `events` slots each, padding counted, in random order.

    Windows are sorted by length (lengths within an eighth of each other in random order), cut into batches, and the batches shuffled.
    """
    lengths = windows.lengths
    bucket = np.floor(8 * np.log2(np.maximum(lengths, 1)))
    order = np.lexsort((generator.random(len(lengths)), bucket))
    batches, start, longest = [], 0, 0
    for place, window in enumerate(order):
        longest = max(longest, int(lengths[window]))
        if place > start and longest * (place + 1 - start) > events:
            batches.append(order[start:place])
            start, longest = place, int(lengths[window])
    if start < len(order):
        batches.append(order[start:])
    for number in generator.permutation(len(batches)):
        yield batches[number]


def timed_rows(histories: Histories) -> np.ndarray:
    """bool (B,): whether the time of any event is known."""
    if histories.times is None:
        return np.zeros(len(histories), dtype=bool)
    before = np.concatenate([[0], np.cumsum(~np.isnan(histories.times))])
    known: np.ndarray = before[histories.offsets[1:]] > before[histories.offsets[:-1]]
    return known
