"""What judging reads: exposures with what is known of each, in blocks of one person's, and blocks in batches.

Shapes: X exposures, S statistics, B blocks, C exposures of a block, L labels of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Histories
from m6rec.tasks.item_encoder import Contents

Batch = TypeVar("Batch")

BLOCK = 16  # exposures of one person that one pass over the history serves


@dataclass(frozen=True)
class JudgeRows:
    """X exposures, or candidates: who and what, where and when, and (for training) what came of it.

    users        int64 (X,)    rows of the histories
    items        int64 (X,)    rows of the catalogue
    cuts         int64 (X,)    events offsets[user] .. cuts[x] of the histories are before the exposure
    scenarios    int64 (X,)    -1 unknown, `judge_cells.NEW` one that training had no rows of; None: there are none
    times        float64 (X,)  seconds since 1970, NaN unknown; None: unknown for all
    positions    float32 (X,)  place in the list shown, 1 is the top, NaN unknown; None: unknown for all
    propensities float32 (X,)  probability with which the row was shown; None: unknown
    statistics   float32 (X, S) as of the time of each row; None: the model reads none
    elsewhere    float32 (X, S) the same counted in other scenarios than the row's alone; None: not asked for
    context      Contents of X rows: what is known of the request; None: nothing
    labels       task -> float32 (X,) or, for tags, (X, L); NaN unknown
    """

    users: np.ndarray
    items: np.ndarray
    cuts: np.ndarray
    scenarios: np.ndarray | None = None
    times: np.ndarray | None = None
    positions: np.ndarray | None = None
    propensities: np.ndarray | None = None
    statistics: np.ndarray | None = None
    elsewhere: np.ndarray | None = None
    context: Contents | None = None
    labels: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.users)

    def rows(self, index: np.ndarray) -> JudgeRows:
        """The rows `index` (ints), copied."""
        values: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                values[one.name] = value[index]
            elif isinstance(value, Contents):
                values[one.name] = value.rows(torch.from_numpy(np.asarray(index, dtype=np.int64)))
            elif isinstance(value, dict):
                values[one.name] = {name: column[index] for name, column in value.items()}
        return JudgeRows(**values)


@dataclass(frozen=True)
class JudgeExamples:
    """What the judge trains on (rows of the training part only), or answers from.

    contents    of the catalogue     profiles  of the users, or None
    batch_rows  exposures in a step
    share       of the rows that an epoch takes: epochs of 0.2 are a fifth of a pass each, five of them every row once
    vectors     (N, W) of all items, for answering; None: made for the items that a batch touches
    """

    rows: JudgeRows
    histories: Histories
    contents: Contents
    profiles: Contents | None
    batch_rows: int = 1024
    share: float = 1.0
    vectors: Tensor | None = None


@dataclass(frozen=True)
class Blocks:
    """B blocks: exposures of one person that share one pass over the history.

    order  int64 (X,)     exposures, block after block
    starts int64 (B + 1,) where each block begins in `order`
    users  int64 (B,)
    first, last int64 (B,)  events of the histories that are read: enough for the earliest and the latest exposure
    """

    order: np.ndarray
    starts: np.ndarray
    users: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        return np.diff(self.starts)


def drawn_rows(rates: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """int64: each row as often as its rate (float (X,), 1 is once) says, fractions by chance; in order."""
    return np.repeat(np.arange(len(rates)), np.floor(rates + generator.random(len(rates))).astype(np.int64))


def cut_blocks(
    rows: JudgeRows, histories: Histories, longest: int, *, block: int = BLOCK, exact: bool = False, chosen: np.ndarray | None = None
) -> Blocks:
    """Blocks of at most `block` exposures whose histories, of at most `longest` events each, overlap.

    exact: no exposure's history is read from earlier than its own `longest` events, as if it were asked alone. In training a pass over
    more serves many: what is beyond the window is not looked at, but what is looked at has been told of it.
    chosen: ints, the exposures to take, each as often as it stands there; None: all, once.
    """
    chosen = np.arange(len(rows)) if chosen is None else chosen
    order = chosen[np.lexsort((rows.cuts[chosen], rows.users[chosen]))]
    users, begins = rows.users[order], histories.offsets[rows.users[order]]
    nth = np.arange(len(order)) - np.searchsorted(users, users)
    depth = rows.cuts[order] - begins
    stretch = np.where(depth <= longest, -1, depth) if exact else depth // longest
    new = np.ones(len(order), dtype=bool)
    new[1:] = (users[1:] != users[:-1]) | (nth[1:] // block != nth[:-1] // block) | (stretch[1:] != stretch[:-1])
    starts = np.concatenate([np.flatnonzero(new), [len(order)]]).astype(np.int64)
    heads = order[starts[:-1]]
    first = np.maximum(histories.offsets[rows.users[heads]], rows.cuts[heads] - longest)
    return Blocks(order, starts, rows.users[heads], first, rows.cuts[order[starts[1:] - 1]])


def batch_blocks(blocks: Blocks, rows: int, events: int, generator: np.random.Generator | None) -> Iterator[np.ndarray]:
    """Batches of block numbers: about `rows` exposures and at most about `events` events, padding counted; in random order if asked."""
    counts, lengths = blocks.counts, blocks.last - blocks.first
    tie = np.arange(len(counts)) if generator is None else generator.random(len(counts))
    order = np.lexsort((tie, np.floor(4 * np.log2(lengths + 1.0)), counts))
    batches, start, most, longest = [], 0, 0, 0
    for place, number in enumerate(order.tolist()):
        most, longest = max(most, int(counts[number])), max(longest, int(lengths[number]))
        size = place + 1 - start
        if place > start and (most * size > rows or longest * size > events):
            batches.append(order[start:place])
            start, most, longest = place, int(counts[number]), int(lengths[number])
    if start < len(order):
        batches.append(order[start:])
    for number in range(len(batches)) if generator is None else generator.permutation(len(batches)):
        yield batches[number]


def padded(blocks: Blocks, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exposures of the blocks `batch`: int64 (B, C) (some exposure at padding), and bool (B, C) which are real."""
    counts = blocks.counts[batch]
    step = np.arange(int(counts.max()))
    real = step < counts[:, None]
    place = blocks.starts[batch][:, None] + np.minimum(step, counts[:, None] - 1)
    return blocks.order[place], real


def of_epoch(batches: Callable[[np.random.Generator], list[Batch]], epoch: int, share: float, seed: int) -> list[Batch]:
    """The batches of one epoch that takes `share` of a pass: neighbouring slices of passes, each in an order of its own.

    Args:
        batches: one pass in random order.
    """
    found: list[Batch] = []
    start, end = epoch * share, (epoch + 1) * share
    for number in range(int(start), int(np.ceil(end - 1e-9))):
        whole = batches(np.random.default_rng([seed, number]))
        first, last = (min(max(edge - number, 0.0), 1.0) * len(whole) for edge in (start, end))
        found += whole[round(first) : round(last)]
    return found
