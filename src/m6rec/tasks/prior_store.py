"""What the priors say of the training targets, for data too large to hold it: values memory-mapped, evidence looked up.

The values of E events are 2 E M K bytes on disk (float16: a share of 1e-4 keeps three digits), made fold by fold from counts of which one
fold's are held. Evidence depends on the fold, the part and the item alone: a small table, looked up for the events of a batch.

Dimension keys: E training events, M priors, K recent events, N items, F folds, R events asked for.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories
from m6rec.base.storage import atomic_file
from m6rec.data.transitions import leaving_folds_out, user_folds
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART, PriorValues, countings, graph_table, part_names, popularity, row_mass

MOST_IN_MEMORY = 50_000_000  # values: 200 MB, and as much again for the evidence
EVENTS_AT_ONCE = 500_000
VALUES, EVIDENCE = "prior_values.f16", "prior_evidence.npy"


def too_large(histories: Histories, config: PriorConfig) -> bool:
    """Whether `training_values` would hold more than MOST_IN_MEMORY numbers twice."""
    return len(histories.items) * len(part_names(config)) * config.recent > MOST_IN_MEMORY


def stored_values(
    histories: Histories, tables: dict[str, csr_array], config: PriorConfig, seed: int, folder: Path, counted: Histories | None = None
) -> PriorValues:
    """`training_values` through two files in `folder`, which are made unless they are there (a folder belongs to one set of arguments).

    Raises:
        StorageError: no space or no permission.
    """
    names, events = part_names(config), len(histories.items)
    folds = user_folds(len(histories), config.folds, seed)
    shape = (events, len(names), config.recent)
    if not ((folder / VALUES).exists() and (folder / EVIDENCE).exists()):
        folder.mkdir(parents=True, exist_ok=True)
        _make(histories, tables, config, folds, folder, shape, histories if counted is None else counted)
    values = np.memmap(folder / VALUES, dtype=np.float16, mode="r", shape=shape)
    evidence = np.load(folder / EVIDENCE, mmap_mode="r", allow_pickle=False)  # F M N
    return PriorValues(StoredValues(values), FoldEvidence(histories, folds, evidence, config.recent))


@dataclass(frozen=True)
class StoredValues:
    """float16 (E, M, K) on disk; rows come as float32."""

    stored: np.ndarray

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        return self.stored[rows].astype(np.float32)

    def __len__(self) -> int:
        return len(self.stored)


@dataclass(frozen=True)
class FoldEvidence:
    """evidence float32 (F, M, N): log(1 + row mass) of each item by the counts outside each fold; folds int64 (U,)."""

    histories: Histories
    folds: np.ndarray
    evidence: np.ndarray
    recent: int

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """float32 (R, M, K) of the events `rows` int64 (R,)."""
        offsets = self.histories.offsets
        user = np.searchsorted(offsets, rows, side="right") - 1
        before = rows[:, None] - 1 - np.arange(self.recent)  # R K
        inside = before >= offsets[user][:, None]
        sources = self.histories.items[np.maximum(before, 0)]
        found = self.evidence[self.folds[user][:, None, None], np.arange(self.evidence.shape[1])[:, None], sources[:, None]]  # R M K
        return np.where(inside[:, None], found, np.float32(0))


def _make(
    histories: Histories,
    tables: dict[str, csr_array],
    config: PriorConfig,
    folds: np.ndarray,
    folder: Path,
    shape: tuple[int, int, int],
    counted: Histories,
) -> None:
    names = part_names(config)
    items = next(iter(tables.values())).shape[0] if tables else 0
    with atomic_file(folder / EVIDENCE) as evidence_file, atomic_file(folder / VALUES) as values_file:
        evidence = np.zeros((config.folds, len(names), items), dtype=np.float32)
        values = np.memmap(values_file, dtype=np.float16, mode="w+", shape=shape)
        for fold, name, table in _tables(counted, tables, config, folds, items):
            part, mass, pairs = names.index(name), row_mass(table), _Pairs(table)
            everyone = fold is None
            evidence[slice(None) if everyone else fold, part] = np.log1p(mass)
            users = np.arange(len(histories)) if everyone else np.flatnonzero(folds == fold)
            for rows, begin in _event_blocks(histories, users):
                _fill(values, part, rows, begin, histories, pairs, mass)
            values.flush()
            values._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]  # written: these pages need not stay in memory
        del values
        with open(evidence_file, "wb") as handle:
            np.save(handle, evidence, allow_pickle=False)


def _tables(
    counted: Histories, tables: dict[str, csr_array], config: PriorConfig, folds: np.ndarray, items: int
) -> Iterator[tuple[int | None, str, csr_array]]:
    """(fold, part, table by the counts of the other folds), one at a time; fold None: the table is everyone's."""
    if config.text:
        yield None, TEXT_PART, tables[TEXT_PART]
    if config.graph:
        others = (leaving_folds_out(counted, items, folds, **how) for how in countings(config))
        for fold, (near, wide) in enumerate(zip(*others, strict=True)):
            sought = popularity(wide)
            for name in GRAPH_PARTS:
                counts = {"next": near, "forward": wide}.get(name)
                yield fold, name, graph_table(csr_array(wide.T) if counts is None else counts, sought, config)


def _event_blocks(histories: Histories, users: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Events of `users` (ascending), some at a time: positions int64 (R,) and where the history of each begins (R,)."""
    lengths = histories.lengths[users]
    bounds = np.searchsorted(np.cumsum(lengths), np.arange(EVENTS_AT_ONCE, lengths.sum(), EVENTS_AT_ONCE), side="right")
    for some in np.split(users, bounds):
        begin = np.repeat(histories.offsets[some], histories.lengths[some])
        place = np.cumsum(histories.lengths[some]) - histories.lengths[some]
        yield begin + np.arange(len(begin)) - np.repeat(place, histories.lengths[some]), begin


def _fill(
    values: np.ndarray, part: int, rows: np.ndarray, begin: np.ndarray, histories: Histories, pairs: _Pairs, mass: np.ndarray
) -> None:
    block = np.zeros((len(rows), values.shape[2]), dtype=np.float16)
    targets = histories.items[rows]
    for k in range(values.shape[2]):
        inside = np.flatnonzero(rows - 1 - k >= begin)
        if not len(inside):
            break
        sources = histories.items[rows[inside] - 1 - k]
        block[inside, k] = pairs.look_up(sources, targets[inside]) / np.maximum(mass[sources], 1e-9)
    values[rows, part] = block


class _Pairs:
    """The entries of a table by (row, column), for many look-ups."""

    def __init__(self, table: csr_array) -> None:
        self.width, self.data = np.int64(table.shape[1]), table.data
        self.keys = np.repeat(np.arange(table.shape[0], dtype=np.int64) * self.width, np.diff(table.indptr)) + table.indices

    def look_up(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """float32 (R,): 0 where there is no entry."""
        if not len(self.keys):
            return np.zeros(len(sources), dtype=np.float32)
        wanted = sources.astype(np.int64) * self.width + targets
        order = np.argsort(wanted)  # sorted queries walk through memory once
        place = np.empty(len(wanted), dtype=np.int64)
        place[order] = np.searchsorted(self.keys, wanted[order])
        place = np.minimum(place, len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.data[place], np.float32(0))
