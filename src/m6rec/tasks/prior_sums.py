"""Rows of the priors' tables added up for the recent items of requests: the counted half of every answer.

Three ways to one result, by how many are asked for: one person's rows are added entry by entry; a batch's as products of sparse
matrices; and where whole catalogues of people are answered, from dense copies of the well filled tables. What only orders items needs
no sum of its own for each table, so the batch adds everything into one (B, N) array as it goes.

Dimension keys: V weighings, M tables, B requests, K recent events, N items, D dense copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csc_array, csr_array
from torch import Tensor

FEW = 4  # up to so many requests are added entry by entry: making sparse matrices costs more than using them
FILLED = 1 / 32  # share of a table's cells from which reading all of a row is quicker than finding its entries
MOST_DENSE = 256_000_000  # bytes of dense copies, of all tables together


@dataclass(frozen=True)
class DenseTables:
    """Dense copies. `names` of the tables that have one, `tables` float32 (D * N, N) one below the other, `agreed` float32 (N, N) or None."""

    names: tuple[str, ...]
    tables: Tensor
    agreed: Tensor | None

    @classmethod
    def build(cls, tables: Mapping[str, csr_array], agreed: csr_array | None) -> DenseTables:
        """Of `agreed` first, then of the well filled tables, the fullest first, as far as `MOST_DENSE` goes."""
        size = next(iter(tables.values())).shape[0] if tables else 0
        room = MOST_DENSE // (4 * size * size) if size else 0
        chosen = None if agreed is None or not room or agreed.nnz < FILLED * size * size else agreed
        room -= chosen is not None
        filled = sorted((name for name in tables if tables[name].nnz >= FILLED * size * size), key=lambda name: -tables[name].nnz)[:room]
        copies = torch.zeros(len(filled) * size, size)
        for number, name in enumerate(filled):
            tables[name].toarray(out=copies[number * size : (number + 1) * size].numpy())
        return cls(tuple(filled), copies, None if chosen is None else torch.from_numpy(chosen.toarray().astype(np.float32, copy=False)))


def sum_rows(tables: Sequence[csr_array], recent: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 (V, M, B, N): for each weighing, table and request the table's rows of the `recent` items, times their weights.

    Args:
        tables: M of csr (N, N).
        recent: int64 (B, K), -1 where there is none.
        weights: float32 (V, M, B, K).
    """
    weights = np.where(recent >= 0, weights, np.float32(0)).astype(np.float32, copy=False)
    views, count, size = len(weights), len(recent), tables[0].shape[1] if tables else 0
    total = np.empty((views, len(tables), count, size), dtype=np.float32)
    if count > FEW:
        for number, table in enumerate(tables):
            total[:, number] = _product(table, np.tile(recent, (views, 1)), weights[:, number].reshape(views * count, -1)).reshape(
                views, count, size
            )
        return total
    for row in range(count if tables else 0):
        numbers, named = np.nonzero(weights[:, :, row].any(axis=0))
        if not len(numbers):
            total[:, :, row] = 0.0
            continue
        columns, values, ends = [], [], [0]
        for number, item in zip(numbers.tolist(), recent[row, named].tolist(), strict=True):
            table = tables[number]
            span = slice(table.indptr[item], table.indptr[item + 1])
            columns.append(table.indices[span])
            values.append(table.data[span])
            ends.append(ends[-1] + int(span.stop - span.start))
        # The rows that are named side by side as columns, times what each counts in each sum: every entry is touched once.
        counts = np.zeros((len(numbers), views, len(tables)), dtype=np.float32)
        counts[np.arange(len(numbers)), :, numbers] = weights[:, numbers, row, named].T
        side_by_side = csc_array((np.concatenate(values), np.concatenate(columns), np.array(ends)), shape=(size, len(numbers)))
        total[:, :, row] = (side_by_side @ counts.reshape(len(numbers), -1)).T.reshape(views, len(tables), size)
    return total


def add_rows(
    total: np.ndarray, tables: Mapping[str, csr_array], recent: np.ndarray, weights: np.ndarray, dense: DenseTables | None = None
) -> None:
    """Add to float32 (B, N) the rows of all tables together, times their weights.

    Args:
        tables: M of csr (N, N), in the order of the weights.
        recent: int64 (B, K), -1 where there is none.
        weights: float32 (M, B, K).
        dense: copies of some of the tables.
    """
    weights = np.where(recent >= 0, weights, np.float32(0)).astype(np.float32, copy=False)
    order, size = list(tables), total.shape[1]
    copied = () if dense is None else dense.names
    if dense is not None and copied:
        bags = np.maximum(recent, 0)[:, None] + size * np.arange(len(copied))[:, None]  # B D K
        shares = weights[[order.index(name) for name in copied]].transpose(1, 0, 2)
        total += bag_sum(dense.tables, bags.reshape(len(recent), -1), shares.reshape(len(recent), -1))
    for number, name in enumerate(order):
        if name not in copied:
            total += _product(tables[name], recent, weights[number])


def bag_sum(table: Tensor, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 (B, N): rows int64 (B, L) of the dense table, times weights float32 (B, L), added up."""
    bags, shares = torch.from_numpy(rows), torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float32))
    return F.embedding_bag(bags, table, mode="sum", per_sample_weights=shares).numpy()


def _product(table: csr_array, recent: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 (B, N) as a product of sparse matrices; recent and weights (B, K), weight 0 where there is no item."""
    rows, places = np.nonzero(weights)
    sources = csr_array((weights[rows, places], (rows, recent[rows, places])), shape=(len(recent), table.shape[0]))
    result: np.ndarray = (sources @ table).toarray()
    return result.astype(np.float32, copy=False)
