"""Rows of a prior's table added up for the recent items of a request: the counted half of every answer.

Three ways to one result, by how many are asked for: one person's rows are added entry by entry; a batch's as a product of sparse
matrices; and where the table is well filled and whole catalogues of people are answered, from a dense copy of it.

Dimension keys: V weighings, B requests, K recent events, N items.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

FEW_ROWS = 64  # up to so many rows of a table are added one by one: making a sparse matrix costs more than using it
FILLED = 1 / 8  # share of a table's cells from which reading all of a row is quicker than finding its entries
MOST_DENSE = 256_000_000  # bytes of dense copies, of all tables together


def sum_rows(table: csr_array, recent: np.ndarray, weights: np.ndarray, dense: Tensor | None = None) -> np.ndarray:
    """float32 (V, B, N): for each weighing and request the rows `recent` of the table, times their weights.

    Args:
        table: csr (N, N).
        recent: int64 (B, K), -1 where there is none.
        weights: float32 (V, B, K).
        dense: the table as float32 (N, N), where `dense_copies` made one.
    """
    weights = np.where(recent >= 0, weights, np.float32(0)).astype(np.float32, copy=False)
    used: np.ndarray = (weights != 0).any(axis=0)  # B K
    count, size = weights.shape[:2], table.shape[1]
    if dense is not None:
        bags = torch.from_numpy(np.maximum(recent, 0))
        return np.stack([F.embedding_bag(bags, dense, mode="sum", per_sample_weights=torch.from_numpy(part)).numpy() for part in weights])
    if int(used.sum()) > FEW_ROWS:
        views, rows, places = np.nonzero(weights)
        entries = (weights[views, rows, places], (views * count[1] + rows, recent[rows, places]))
        sources = csr_array(entries, shape=(count[0] * count[1], size))
        return np.asarray((sources @ table).todense(), dtype=np.float32).reshape(*count, size)
    total = np.zeros((*count, size), dtype=np.float32)
    for row in np.flatnonzero(used.any(axis=1)):
        named = np.flatnonzero(used[row])
        spans = [slice(table.indptr[item], table.indptr[item + 1]) for item in recent[row, named]]
        columns = np.concatenate([table.indices[span] for span in spans]).astype(np.int64)
        values = np.concatenate([table.data[span] for span in spans])
        lengths = [span.stop - span.start for span in spans]
        for view in range(count[0]):
            total[view, row] = np.bincount(columns, np.repeat(weights[view, row, named], lengths) * values, minlength=size)
    return total


def dense_copies(tables: dict[str, csr_array]) -> dict[str, Tensor]:
    """name -> float32 (N, N) for the tables that are well filled, as far as `MOST_DENSE` goes."""
    copies: dict[str, Tensor] = {}
    for name, table in tables.items():
        size = table.shape[0] * table.shape[1]
        if size and table.nnz >= FILLED * size and 4 * size * (len(copies) + 1) <= MOST_DENSE:
            copies[name] = torch.from_numpy(np.asarray(table.todense(), dtype=np.float32))
    return copies
