"""Items that nobody has had yet stand in the counted priors beside what resembles them.

An item without transitions borrows those of its text neighbours. With T a table of transitions, W[i, j] the text prior of the new item i
over the known items j (rows of sum 1), S the text prior of the sources, and a the `borrow_smoothing`,

    T'[h, i] = r[h] * sum over j of W[i, j] * (T[h, j] + a * sum over g of S[h, g] T[g, j])      for every source h with transitions
    T'[i, .] = sum over j of W[i, j] * T'[j, .]                                                  the new item in a history

so what usually follows things like h leads to things like i. r[h] = mass[h] / (mass[h] + a * sum over g of S[h, g] mass[g]) makes the
bracket a mean of rows weighed by their evidence, of h's own mass: a newcomer gets what its neighbours get on average, is neither hidden
nor pushed, and the mixture's gates, recency and agreement treat it as if it had been counted. Known pairs stay as counted.

A mean is flatter than what it is a mean of, so the best newcomer seldom reaches the best known item. `said_of_similar` puts all items on
one footing: what the counts say of an item's text neighbours, for known and new items alike, is one more thing that agreement may count.

Dimension keys: N items, U items that borrow, C of them at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array, diags_array, vstack

from m6rec.tasks.config import PriorConfig

SIMILAR = "similar"  # the name of `said_of_similar` among what agreement counts
ROWS_ENTRIES = 1 << 23  # entries of new columns, or rows, held at a time, at most (12 bytes each)
FEW = 64  # borrowers at once for whom the tables are only looked through
BORROWED_ENTRIES, FEWEST = 1 << 22, 50  # entries that all newcomers borrow together in a table, and each of them at least


def without_transitions(tables: list[csr_array]) -> np.ndarray:
    """int64 (U,): items with neither a successor nor a predecessor in any table (N, N)."""
    known = np.zeros(tables[0].shape[0] if tables else 0, dtype=bool)
    for table in tables:
        known[table.indices] = True
        known |= np.diff(table.indptr) > 0
    return np.flatnonzero(~known)


def borrowed(table: csr_array, text: csr_array, borrowers: np.ndarray, config: PriorConfig) -> csr_array:
    """`table` with columns and rows for the items `borrowers`, which have neither; float32 (N, N), sorted.

    Args:
        table: float32 (N, N), transitions. text: float32 (N, N), the text prior, rows of sum 1.
        borrowers: int64 (U,). Each gets its `config.keep` largest sources, and leads to as many items, at most; where there are tens of thousands
            of them it is fewer: a fifth of a catalogue of 100,000 would else borrow gigabytes. One that resembles no known item stays empty.
    """
    if not len(borrowers) or not table.nnz:
        return table
    keep = min(config.keep, max(BORROWED_ENTRIES // len(borrowers), FEWEST))
    weights = _over_known(text, borrowers)  # U N
    last = table.shape[0] - len(borrowers)
    if len(borrowers) <= FEW and np.array_equal(borrowers, np.arange(last, table.shape[0])):
        return _appended(table, _sources(table, text, weights, config, keep), weights, keep)
    into = csr_array((np.ones(len(borrowers)), (borrowers, np.arange(len(borrowers)))), shape=(table.shape[0], len(borrowers)))  # N U
    wide = csr_array(table + _sources(table, text, weights, config, keep).T @ into.T)
    # Rows last, so that new items lead to each other too.
    size = max(1, ROWS_ENTRIES // max(config.similar * wide.nnz // wide.shape[0], 1))
    rows = [_largest(csr_array(weights[first : first + size] @ wide), keep) for first in range(0, len(borrowers), size)]
    result = csr_array(wide + into @ csr_array(vstack(rows, format="csr")), dtype=np.float32)
    result.eliminate_zeros()
    result.sort_indices()
    return result


def _appended(table: csr_array, sources: csr_array, weights: csr_array, keep: int) -> csr_array:
    """What `borrowed` gives where the borrowers are the last items: every entry of theirs stands behind those of its row, and is put there."""
    last, size = table.shape[0] - sources.shape[0], table.shape[0]
    columns = coo_array(sources)  # row: the borrower, col: what leads to it
    order = np.lexsort((columns.row, columns.col))
    leading, borrower, given = columns.col[order], columns.row[order], columns.data[order]
    among = coo_array(weights @ sources.T)  # U U: new items lead to each other too
    own = csr_array(weights @ table) + csr_array((among.data, (among.row, last + among.col)), shape=(sources.shape[0], size))
    rows = _largest(csr_array(own), keep)
    rows.sort_indices()
    return behind(table, leading, last + borrower, given, rows)


def behind(table: csr_array, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, last: csr_array) -> csr_array:
    """csr (N, N): `table` with entries behind those of its rows, and with the rows `last` (U, N), which were empty; the table is copied once.

    Args:
        rows, columns, values: (E,) the entries, by row and then by column; columns are after all that the row has.
    """
    ends = table.indptr[rows + 1]
    places = np.concatenate([ends, np.full(last.nnz, table.nnz, dtype=ends.dtype)])
    data = np.insert(table.data, places, np.concatenate([values, last.data]).astype(table.data.dtype))
    indices = np.insert(table.indices, places, np.concatenate([columns, last.indices]).astype(table.indices.dtype))
    more = np.bincount(rows, minlength=table.shape[0])
    more[table.shape[0] - last.shape[0] :] += np.diff(last.indptr)
    indptr = (table.indptr + np.concatenate([[0], np.cumsum(more)])).astype(table.indptr.dtype)
    return csr_array((data, indices, indptr), shape=table.shape)


def _columns(table: csr_array, wanted: np.ndarray) -> csr_array:
    """The entries of `table` that stand in the columns `wanted`, found in one pass."""
    flags = np.zeros(table.shape[1], dtype=bool)
    flags[wanted] = True
    at = np.flatnonzero(flags[table.indices])
    rows = np.searchsorted(table.indptr, at, side="right") - 1
    return csr_array((table.data[at], (rows, table.indices[at])), shape=table.shape)


def said_of_similar(counted: Sequence[np.ndarray], resemblers: csr_array) -> np.ndarray:
    """float32 (B, N): the sum of `counted` (each (B, N), transitions from the recent events), averaged over every item's text neighbours.

    resemblers: float32 (N, N), the text prior transposed: row j holds the items that resemble j.
    """
    total = csr_array(np.sum(list(counted), axis=0))
    return np.asarray((total @ resemblers).todense(), dtype=np.float32)


def _over_known(text: csr_array, borrowers: np.ndarray) -> csr_array:
    """float64 (U, N): text rows of the borrowers over the items that do not borrow, made to sum to 1."""
    known = np.ones(text.shape[1], dtype=np.float64)
    known[borrowers] = 0.0
    weights = csr_array(csr_array(text[borrowers], dtype=np.float64) @ diags_array(known))
    weights.eliminate_zeros()
    mass = np.asarray(weights.sum(axis=1)).ravel()
    return csr_array(diags_array(np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)) @ weights)


def _sources(table: csr_array, text: csr_array, weights: csr_array, config: PriorConfig, keep: int) -> csr_array:
    """float64 (U, N): the new columns of the table, as rows with the `keep` largest entries; those who borrow are no sources."""
    mass = np.asarray(table.sum(axis=1), dtype=np.float64).ravel()
    around = mass + config.borrow_smoothing * (text @ mass)
    share = diags_array(np.divide(mass, around, out=np.zeros_like(mass), where=around > 0))  # N: r of the module's formula
    few = weights.shape[0] <= FEW  # then whole tables are not turned around for them
    led = csr_array((_columns(table, weights.indices) if few else table).T)
    resembling = None if few else csr_array(text.T)
    size = max(1, ROWS_ENTRIES // (keep * max(config.similar, 1)))
    parts = []
    for first in range(0, weights.shape[0], size):
        given = _largest(csr_array(weights[first : first + size] @ led), keep)  # C N
        if config.borrow_smoothing:
            like = csr_array(_columns(text, given.indices).T) if resembling is None else resembling
            given = _largest(csr_array((given + config.borrow_smoothing * (given @ like)) @ share), keep)
        parts.append(given)
    return csr_array(vstack(parts, format="csr"))


def _largest(rows: csr_array, keep: int) -> csr_array:
    """Each row's `keep` largest entries, and what ties with the last of them."""
    kept = rows.data > 0
    for row in np.flatnonzero(np.diff(rows.indptr) > keep):
        span = slice(rows.indptr[row], rows.indptr[row + 1])
        values = rows.data[span]
        kept[span] &= values >= np.partition(values, len(values) - keep)[len(values) - keep] * (1 - 1e-9)
    offsets = np.concatenate([[0], np.cumsum(kept)])[rows.indptr]
    return csr_array((rows.data[kept], rows.indices[kept], offsets), shape=rows.shape)
