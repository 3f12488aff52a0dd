"""The counted priors of the choose mixture: which items followed, or resemble, the recent ones.

p_m(i | history) = sum over the `recent` newest events w of a[m, w] * P_m[item_w, i], where P_m are the table's rows made to sum to 1 and
a[m, .] is a learned distribution over recency and evidence (an item with many neighbours says more than one with a single one).
The gates that weigh the parts against the softmax come from the user state and are trained by the likelihood of the mixture.
No leak: a training user is scored by counts of the other folds of users.

Dimension keys: R rows (targets or requests), M priors, K recent events, N items, E training events, W width of the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from m6rec.base.contracts import Histories
from m6rec.data.transitions import count_transitions, leaving_folds_out, normalise, propagate, user_folds
from m6rec.tasks.cold_transfer import borrowed, without_transitions
from m6rec.tasks.config import PriorConfig
from m6rec.text.similarity import text_neighbours

GRAPH_PARTS = ("next", "forward", "backward")
TEXT_PART = "text"


class Counting(TypedDict):
    """Arguments of data/transitions.py."""

    window: int
    decay: float
    backward: float


class Rows(Protocol):
    """(R, M, K) of which some rows are asked for at a time."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class PriorValues:
    """What the priors say of known targets, before recency weights.

    values    float32 (R, M, K): P_m[item at recency k, target]; 0 where the history is shorter
    evidence  float32 (R, M, K): log(1 + row mass of that item); 0 where it has no neighbours

    Arrays, or what gives the same when asked for some rows (tasks/prior_store.py: large data are looked up batch by batch).
    """

    values: Rows
    evidence: Rows


def part_names(config: PriorConfig) -> list[str]:
    """The parts of the mixture beside the softmax, in their fixed order."""
    return [*(GRAPH_PARTS if config.graph else ()), *((TEXT_PART,) if config.text else ())]


def graph_tables(near: csr_array, wide: csr_array, config: PriorConfig) -> dict[str, csr_array]:
    """Tables of the graph parts, from forward counts (N, N) of direct successors (`near`) and of the whole window (`wide`).

    With A[h, i] = T[h, i] / popularity_i**damping and mass_h = sum over i of A[h, i], a row is A[h, .] / sqrt(mass_h): it sums to
    sqrt(mass_h), so that an item whose successors are well known says more than one seen once.
    Three, because data differ in what order means: one thing leads to the next, things belong together in order, or in any order.
    """
    sought = popularity(wide)
    return {name: graph_table(counts, sought, config) for name, counts in zip(GRAPH_PARTS, (near, wide, csr_array(wide.T)), strict=True)}


def graph_table(counts: csr_array, popularity: np.ndarray, config: PriorConfig) -> csr_array:
    """One table of `graph_tables`; popularity (N,)."""
    mass = counts.astype(np.float64) @ np.maximum(popularity, 1.0) ** -config.damping
    rows = normalise(counts, damping=config.damping, popularity=popularity)
    rows = propagate(rows, hops=config.hops, decay=config.hop_decay, keep=config.keep)
    rows.data *= np.repeat(np.sqrt(mass), np.diff(rows.indptr)).astype(np.float32)
    return rows


def popularity(wide: csr_array) -> np.ndarray:
    """(N,): how often an item took part in a counted transition."""
    return np.asarray(wide.sum(axis=0)).ravel() + np.asarray(wide.sum(axis=1)).ravel()


def prior_tables(histories: Histories, vectors: csr_array, config: PriorConfig, text: csr_array | None = None) -> dict[str, csr_array]:
    """The tables that serve: counts of every user in `histories`, and similarity of `vectors` (N, F), or `text` where that is at hand."""
    tables: dict[str, csr_array] = {}
    if config.graph:
        near, wide = (count_transitions(histories, vectors.shape[0], **how) for how in countings(config))
        tables.update(graph_tables(near, wide, config))
    if config.text:
        tables[TEXT_PART] = text_neighbours(vectors, keep=config.similar, power=config.sharpness) if text is None else text
    graph = [tables[name] for name in GRAPH_PARTS if name in tables]
    return with_newcomers(tables, without_transitions(graph), config)


def with_newcomers(tables: dict[str, csr_array], newcomers: np.ndarray, config: PriorConfig) -> dict[str, csr_array]:
    """The tables in which the items `newcomers` int64 (U,), that nothing was counted for, borrow transitions by their text."""
    if not config.borrow or TEXT_PART not in tables:
        return tables
    return {name: borrowed(table, tables[TEXT_PART], newcomers, config) if name in GRAPH_PARTS else table for name, table in tables.items()}


def countings(config: PriorConfig) -> tuple[Counting, Counting]:
    """How the direct successors and the whole window are counted."""
    return {"window": 1, "decay": 1.0, "backward": 0.0}, {"window": config.window, "decay": config.decay, "backward": 0.0}


def training_values(
    histories: Histories, tables: dict[str, csr_array], config: PriorConfig, seed: int, counted: Histories | None = None
) -> PriorValues:
    """Values for every training event given the events before it, each user by the counts of the other folds. Rows are events (R = E).

    counted: the events of the same users that `tables` were counted over, where those are not all.
    """
    counted = histories if counted is None else counted
    names = part_names(config)
    events, items = len(histories.items), next(iter(tables.values())).shape[0] if tables else 0
    values = np.zeros((events, len(names), config.recent), dtype=np.float32)
    evidence = np.zeros((events, len(names), config.recent), dtype=np.float32)
    event_user = np.repeat(np.arange(len(histories)), histories.lengths)  # E
    if config.text:
        fill(values, evidence, names.index(TEXT_PART), np.arange(events), histories, tables[TEXT_PART])
    if config.graph:
        folds = user_folds(len(histories), config.folds, seed)
        others = (leaving_folds_out(counted, items, folds, **how) for how in countings(config))
        for fold, (near, wide) in enumerate(zip(*others, strict=True)):
            rows = np.flatnonzero(folds[event_user] == fold)
            for name, table in graph_tables(near, wide, config).items():
                fill(values, evidence, names.index(name), rows, histories, table)
    return PriorValues(values, evidence)


def fill(values: np.ndarray, evidence: np.ndarray, part: int, rows: np.ndarray, histories: Histories, table: csr_array) -> None:
    """Look up P[item k events before, item of the event] for the events `rows`."""
    begin = np.repeat(histories.offsets[:-1], histories.lengths)[rows]
    targets = histories.items[rows]
    mass = row_mass(table)
    for k in range(values.shape[2]):
        before = rows - 1 - k
        inside = before >= begin
        sources = histories.items[before[inside]]
        values[rows[inside], part, k] = look_up(table, sources, targets[inside]) / np.maximum(mass[sources], 1e-9)
        evidence[rows[inside], part, k] = np.log1p(mass[sources])


def row_mass(table: csr_array) -> np.ndarray:
    """float32 (N,): sum of each row, how much it can be relied on; 0 for an empty row."""
    return np.asarray(table.sum(axis=1), dtype=np.float32).ravel()


def look_up(table: csr_array, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float32 (R,): table[sources[r], targets[r]], by binary search in the sorted pairs of the table."""
    width = np.int64(table.shape[1])
    keys = np.repeat(np.arange(table.shape[0], dtype=np.int64), np.diff(table.indptr)) * width + table.indices
    wanted = sources.astype(np.int64) * width + targets
    order = np.argsort(wanted, kind="stable")  # sorted queries walk through memory once
    place = np.empty(len(wanted), dtype=np.int64)
    place[order] = np.searchsorted(keys, wanted[order])
    place = np.minimum(place, max(len(keys) - 1, 0))
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.float32)
    return np.where(keys[place] == wanted, table.data[place], np.float32(0))


class PriorGate(nn.Module):
    """Weights of the mixture from the user state and the evidence, and for each prior the learned weights of the recent events.

    a[m, k] = softmax over k of (FAST * recency[m, k] + strength[m] * evidence[m, k]), over the recent items that have neighbours.
    """

    FAST = 10.0  # Adam moves every weight by about the learning rate: a scalar that has far to go is held in units of ten

    def __init__(self, width: int, parts: int, recent: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width + 1 + parts, parts + 1)
        start = math.log(0.65) * torch.arange(recent, dtype=torch.float32)
        self.recency = nn.Parameter(start.repeat(parts, 1) / self.FAST)  # M K: each event weighs .65 of the one after it
        self.strength = nn.Parameter(torch.ones(parts))  # masses are roots: the weight of a row grows with the root of its evidence
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def log_gates(self, states: Tensor, evidence: Tensor, length: Tensor, weights: Tensor | None = None) -> Tensor:
        """states (R, W), evidence float (R, M, K), length (R,) events of the history -> log weights (R, 1 + M), the softmax first.

        A prior none of whose recent items has a neighbour gets no weight. weights: `recency_weights(evidence)`, where they are at hand.
        """
        weights = self.recency_weights(evidence) if weights is None else weights
        told = (weights.detach() * evidence).sum(dim=2)  # R M
        seen = torch.cat([torch.log1p(length.float())[:, None], told], dim=1) / 3
        logits = self.gate(torch.cat([states.float(), seen], dim=1))
        dead = F.pad(~(evidence > 0).any(dim=2), (1, 0))  # R 1+M: the softmax is always there
        return torch.log_softmax(logits.masked_fill(dead, float("-inf")), dim=1)

    def recency_weights(self, evidence: Tensor) -> Tensor:
        """(R, M, K): a[m, .]; zeros where no recent item has neighbours."""
        logits = self.FAST * self.recency + self.strength[:, None] * evidence
        return torch.nan_to_num(torch.softmax(logits.masked_fill(evidence <= 0, float("-inf")), dim=2), nan=0.0)

    def log_rest(self, log_gates: Tensor, values: Tensor, evidence: Tensor) -> Tensor:
        """log of what the priors together give to each row's target: (R,)."""
        given = (self.recency_weights(evidence) * values).sum(dim=2)  # R M
        weights = log_gates[:, 1:].exp()
        return torch.log((weights * given).sum(dim=1).clamp(min=1e-12))
