"""Cross statistics of a person's own history: how often, by which action, and how long ago an item and what is like it were had.

The events that count are those before the exposure's cut, in order; no time is needed. The same code reads the histories of a whole log
and the one history of a request.

Shapes: X rows asked about, E events, A actions, K kinds (the item, and each field of the items), V values of a field an item may have.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from m6rec.base.contracts import Histories
from m6rec.data.running_counts import RunningCounts
from m6rec.data.statistic_keys import ItemValues

MOST_ACTIONS = 8  # that are counted apart; further ones count as events only
PEOPLE_AT_ONCE = 20_000
MOST_EVENTS = 50
NEVER = 10_000  # events ago


def history_statistic_names(values: Sequence[ItemValues], actions: Sequence[str]) -> list[str]:
    """Names of the columns that `history_statistics` gives."""
    apart = _apart(len(actions))
    counted = ["events", *actions[:apart]]
    kinds = ["same item", *(f"same {field.name}" for field in values)]
    return [f"history: {what}" for what in counted] + [
        f"history, {kind}: {what}" for kind in kinds for what in (*counted, "share", "events ago")
    ]


def history_statistics(
    histories: Histories,
    values: Sequence[ItemValues],
    actions: int,
    users: np.ndarray,
    items: np.ndarray,
    cuts: np.ndarray,
    most: int = MOST_EVENTS,
) -> np.ndarray:
    """float32 (X, S): logarithms of counts, of events since, and shares of the history.

    Args:
        values: fields of the items.  actions: how many there are.
        users: int (X,), rows of the histories.  items: int (X,).
        cuts: int64 (X,), the events at offsets[user] .. cuts are before the row.
        most: of these the newest so many count, so that a history that was shortened to that says the same.
    """
    apart = _apart(actions)
    result = np.zeros((len(users), 1 + apart + (1 + len(values)) * (3 + apart)), dtype=np.float32)
    people, rank = np.unique(users, return_inverse=True)
    order = np.argsort(rank, kind="stable")
    bounds = np.searchsorted(rank[order], np.arange(0, len(people) + PEOPLE_AT_ONCE, PEOPLE_AT_ONCE))
    for number, (begin, end) in enumerate(pairwise(bounds)):
        rows = order[begin:end]
        if not len(rows):
            continue
        first = number * PEOPLE_AT_ONCE
        some = histories.rows(people[first : first + PEOPLE_AT_ONCE])
        places = cuts[rows] - histories.offsets[users[rows]]  # events of the own history before the row
        result[rows] = _of_people(some, values, apart, rank[rows] - first, items[rows], places, most)
    return result


def _apart(actions: int) -> int:
    return min(actions, MOST_ACTIONS) if actions > 1 else 0


def _codes_of(codes: np.ndarray | None, items: np.ndarray) -> np.ndarray:
    """int64 (X, V): codes of the items; of items that came later there are none. codes None: the items themselves."""
    if codes is None:
        return items[:, None]
    known = (items >= 0) & (items < len(codes))
    return np.where(known[:, None], codes[np.where(known, items, 0)], -1).astype(np.int64)


def _of_people(
    histories: Histories, values: Sequence[ItemValues], apart: int, users: np.ndarray, items: np.ndarray, places: np.ndarray, most: int
) -> np.ndarray:
    owner = np.repeat(np.arange(len(histories)), histories.lengths)
    nth = np.arange(len(owner)) - histories.offsets[:-1][owner]
    columns = np.ones((len(owner), 1 + apart), dtype=np.float32)
    if apart:
        assert histories.actions is not None
        columns[:, 1:] = histories.actions[:, None] == np.arange(apart)
    # Kinds are told apart by the key: one sort and one search for all of them.
    kinds = [(None, 1 << 32), *((field.codes, field.count) for field in values)]
    event_keys, asked_keys, base = [owner.astype(np.int64)[:, None]], [users.astype(np.int64)[:, None]], len(histories)
    for codes, count in kinds:
        of_event, of_item = (_codes_of(codes, which.astype(np.int64)) for which in (histories.items, items))
        event_keys.append(np.where(of_event >= 0, base + owner[:, None] * count + of_event, -1))
        asked_keys.append(np.where(of_item >= 0, base + users[:, None] * count + of_item, -1))
        base += len(histories) * count
    keys = np.concatenate([part.ravel() for part in event_keys])
    rows = np.concatenate([np.repeat(np.arange(len(owner)), part.shape[1]) for part in event_keys])
    counts = RunningCounts.build(keys, nth[rows], columns[rows])
    table = []
    for asked in asked_keys:
        numbers = counts.find(asked)
        ends = counts.ends(numbers, np.broadcast_to(places[:, None], asked.shape))
        begins = counts.ends(numbers, np.broadcast_to(places[:, None] - most, asked.shape))
        total = (counts.until(numbers, ends) - counts.until(numbers, begins)).sum(axis=1)  # X 1+A
        table.append((total, counts.last(numbers, ends).max(axis=1)))
    whole = table[0][0]
    parts = [np.log1p(whole)]
    for total, last in table[1:]:
        ago = np.where((last >= 0) & (last >= places - most), places - last, NEVER)
        share = total[:, :1] / np.maximum(whole[:, :1], 1)
        parts += [np.log1p(total), share, np.log1p(ago)[:, None]]
    return np.concatenate(parts, axis=1).astype(np.float32)
