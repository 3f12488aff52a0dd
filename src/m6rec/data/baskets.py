"""Baskets: events of one user close in time, in no order that matters; and the cut of them that fits the split of the events.

Dimension keys: E events, G baskets, C cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import ConfigError, DataError
from m6rec.data.config import SplitConfig
from m6rec.data.splits import Cases, moments, not_among, without_refusals


@dataclass(frozen=True)
class BasketSplit:
    """Baskets to train on, and questions about held-out events whose basket was begun before them.

    train       one row a basket of two or more different items, in a random order drawn once; int64 users (G,)
    statement   one sentence
    """

    train: Histories
    users: np.ndarray
    validation: Cases
    test: Cases
    statement: str


def basket_numbers(histories: Histories, within: float) -> np.ndarray:
    """int64 (E,): number of the basket of each event; an event of unknown time is alone.

    within: seconds between neighbouring events of one basket at most.

    Raises:
        DataError: no times are known.
    """
    if histories.times is None or np.isnan(histories.times).all():
        raise DataError("baskets are events close in time and these events have only an order; leave out the task with of: basket")
    begins = np.ones(len(histories.items), dtype=bool)
    begins[1:] = ~(np.diff(histories.times) <= within)  # NaN is in no basket with anything
    begins[histories.offsets[:-1][histories.lengths > 0]] = True
    return np.cumsum(begins) - 1


def all_baskets(histories: Histories, within: float, seed: int, refused: Sequence[int] = ()) -> Histories:
    """Every basket of two or more different items, a row each: what serving counts. refused: see `split_baskets`."""
    histories = without_refusals(histories, refused)
    user_of = np.repeat(np.arange(len(histories)), histories.lengths)
    return _training_baskets(histories, basket_numbers(histories, within), user_of, np.arange(len(histories.items)), seed)[0]


def split_baskets(histories: Histories, config: SplitConfig, within: float, seed: int, refused: Sequence[int] = ()) -> BasketSplit:
    """Cut baskets along the split of the events: no held-out event is in a training basket.

    A held-out event is a case where its basket holds earlier events; those are the history, the event's item is the target.

    Args:
        refused: codes of the actions that say no (`splits.refusals`): such events are in no basket.

    Raises:
        DataError: no basket of two items, or none held out for the test.
        ConfigError: a protocol other than leave_one_out and time.
    """
    held = _held_out(histories, config)[not_among(histories, refused)]
    histories = without_refusals(histories, refused)
    baskets = basket_numbers(histories, within)
    user_of = np.repeat(np.arange(len(histories)), histories.lengths)
    train, users = _training_baskets(histories, baskets, user_of, np.flatnonzero(held == 0), seed)
    if not len(train):
        raise DataError(
            f"no basket of two different items is left to train on (events of a user at most {within:g} s apart); raise `within`"
        )
    validation, test = (_cases(histories, baskets, user_of, np.flatnonzero(held == which)) for which in (1, 2))
    if not len(test):  # the validation may lack them: of a last basket of two, leave-one-out holds both back
        raise DataError("no held-out test event is in a basket with an earlier one; raise `within`, or leave out the task with of: basket")
    statement = (
        f"{len(train)} training baskets (events of a user at most {within:g} s apart); "
        "a held-out event is asked for given the earlier ones of its basket"
    )
    return BasketSplit(train, users, validation, test, statement)


def _held_out(histories: Histories, config: SplitConfig) -> np.ndarray:
    """int8 (E,): 0 trained on, 1 validation, 2 test."""
    held = np.zeros(len(histories.items), dtype=np.int8)
    if config.protocol == "leave_one_out":
        last = histories.offsets[1:][histories.lengths >= 3]
        held[last - 1], held[last - 2] = 2, 1
    elif config.protocol == "time":
        assert histories.times is not None
        validation_from, test_from = moments(histories.times[~np.isnan(histories.times)], config)
        held += (histories.times >= validation_from).astype(np.int8) + (histories.times >= test_from).astype(np.int8)
    else:
        raise ConfigError(f"split.protocol is {config.protocol}: baskets are cut by leave_one_out or time; type: --set split.protocol=time")
    return held


def _training_baskets(
    histories: Histories, baskets: np.ndarray, user_of: np.ndarray, events: np.ndarray, seed: int
) -> tuple[Histories, np.ndarray]:
    """Each item once a basket, in random order."""
    shuffled = events[np.random.default_rng([seed, 7]).permutation(len(events))]
    key = baskets[shuffled] * (int(histories.items.max()) + 1) + histories.items[shuffled]
    shuffled = shuffled[np.sort(np.unique(key, return_index=True)[1])]
    shuffled = shuffled[np.argsort(baskets[shuffled], kind="stable")]
    _, counts = np.unique(baskets[shuffled], return_counts=True)
    kept = np.repeat(counts >= 2, counts)
    rows = shuffled[kept]
    offsets = np.concatenate([[0], np.cumsum(counts[counts >= 2])])
    return histories.pick(rows, offsets), user_of[rows[offsets[:-1]]] if len(rows) else np.zeros(0, dtype=np.int64)


def _cases(histories: Histories, baskets: np.ndarray, user_of: np.ndarray, events: np.ndarray) -> Cases:
    first = np.searchsorted(baskets, baskets[events])  # where each event's basket begins
    lengths = events - first
    same = np.array(
        [histories.items[event] in histories.items[start:event] for start, event in zip(first, events, strict=True)], dtype=bool
    )
    events, first, lengths = (part[(lengths > 0) & ~same] for part in (events, first, lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    past = histories.pick(np.repeat(first - offsets[:-1], lengths) + np.arange(offsets[-1]), offsets)
    assert histories.times is not None
    targets = Histories(offsets=np.arange(len(events) + 1, dtype=np.int64), items=histories.items[events])
    return Cases(Requests(past, users=user_of[events].astype(np.int64), now=histories.times[events]), targets)
