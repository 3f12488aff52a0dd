"""Counting which items follow which: the graph prior and the transition-graph baseline stand on this file.

Sums are exact: a pair's weight decay**(gap - 1) is rounded once to a multiple of 2**-32 and added as an integer, so the order
of events, users and items can't change a count, and taking one fold's transitions away leaves true zeros, not rounding dust.

Dimension keys: U users, N items, E events, F folds. Sparse results are scipy csr_array, float32, sorted, without stored zeros.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from m6rec.base.contracts import Histories
from m6rec.base.errors import UsageError

PAIRS_AT_ONCE = 40_000_000  # of all gaps together; one gap's part of them is held, with what has been added up
_UNIT = 2**32  # one whole transition, in fixed point: room for 2 * 10**9 of them in a cell


def count_transitions(histories: Histories, items: int, *, window: int = 10, decay: float = 0.9, backward: float = 1.0) -> sparse.csr_array:
    """Decayed co-occurrence in order: T[a, b] += decay**(gap - 1) for every b that follows a by gap = 1..window events.

    `backward` times the same is added for b before a (1: symmetric, 0: forward only). An item bought twice counts on the diagonal.

    Returns:
        float32 (N, N).

    Raises:
        UsageError: window < 1, decay outside [0, 1], backward < 0.
    """
    _check(window, decay, backward)
    return _both_ways(_forward(histories, items, window, decay), backward)


def user_folds(users: int, folds: int, seed: int) -> np.ndarray:
    """The fold of every user by a hash of (seed, position): int64 (U,), values 0..F-1, fold sizes differ by at most one.

    Raises:
        UsageError: folds < 2 (one fold would leave nobody to count).
    """
    if folds < 2:
        raise UsageError(f"folds is {folds}: cross-fitting needs 2 or more; for example folds=5")
    order = np.argsort(_hash(np.arange(users, dtype=np.uint64), seed), kind="stable")
    fold = np.empty(users, dtype=np.int64)
    fold[order] = np.arange(users) % folds
    return fold


def cross_fitted(
    histories: Histories,
    items: int,
    folds: np.ndarray,
    *,
    window: int = 10,
    decay: float = 0.9,
    backward: float = 1.0,
) -> list[sparse.csr_array]:
    """Counts without one's own fold: element f equals `count_transitions` over the users outside fold f.

    A training user of fold f is scored by element f, in which none of that user's transitions are (no leak). A fold's own counts
    are taken from the total, exactly.

    Args:
        folds: int64 (U,), one fold a row of `histories`, numbered from 0.

    Returns:
        F matrices, float32 (N, N).

    Raises:
        UsageError: as `count_transitions`; `folds` not one per history row.
    """
    return list(leaving_folds_out(histories, items, folds, window=window, decay=decay, backward=backward))


def leaving_folds_out(
    histories: Histories,
    items: int,
    folds: np.ndarray,
    *,
    window: int = 10,
    decay: float = 0.9,
    backward: float = 1.0,
) -> Iterator[sparse.csr_array]:
    """`cross_fitted` one fold after the other, so that the counts of large data are not held F times."""
    _check(window, decay, backward)
    if len(folds) != len(histories):
        raise UsageError(f"folds holds {len(folds)} entries for {len(histories)} histories; make one with user_folds")
    total = _forward(histories, items, window, decay)
    for fold in range(int(folds.max()) + 1 if len(folds) else 0):
        own = _forward(histories.rows(np.flatnonzero(folds == fold)), items, window, decay)
        yield _both_ways(total - own, backward)


def normalise(counts: sparse.csr_array, *, damping: float = 0.0, popularity: np.ndarray | None = None) -> sparse.csr_array:
    """Rows that sum to 1, after T[a, b] / popularity[b]**damping; empty rows stay empty.

    Args:
        popularity: (N,), events per item; None takes the column sums of `counts`. Values under 1 count as 1.
    """
    weights = counts.astype(np.float64)
    if damping:
        mass = np.asarray(weights.sum(axis=0)).ravel() if popularity is None else np.asarray(popularity, dtype=np.float64)
        weights.data *= np.maximum(mass, 1.0)[weights.indices] ** -damping
    return _stochastic(weights)


def propagate(transition: sparse.csr_array, *, hops: int, decay: float, keep: int) -> sparse.csr_array:
    """A few steps of a walk, S = sum over h = 1..hops of decay**(h - 1) T^h, each row cut to its `keep` largest and renormalised.

    T and every power are cut to `keep` a row before they are multiplied on, which bounds the work to N keep^2 a hop; with
    keep >= N nothing is cut and S is exact. Entries tied with the last one kept stay too: cutting among them by position would
    make a score depend on how the items happen to be numbered.

    Raises:
        UsageError: hops or keep < 1, decay < 0.
    """
    if hops < 1 or keep < 1 or decay < 0:
        raise UsageError(f"hops={hops}, keep={keep}, decay={decay}: hops and keep are 1 or more, decay is 0 or more")
    first = _keep_largest(sparse.csr_array(transition, dtype=np.float64), keep)
    total, power = first, first
    for hop in range(1, hops):
        power = _step(power, first, keep)
        total = total + decay**hop * power
    return _stochastic(_keep_largest(total, keep))


def _check(window: int, decay: float, backward: float) -> None:
    if window < 1 or not 0.0 <= decay <= 1.0 or backward < 0:
        raise UsageError(f"window={window}, decay={decay}, backward={backward}: window is 1 or more, decay in 0..1, backward 0 or more")


def _forward(histories: Histories, items: int, window: int, decay: float) -> sparse.csr_array:
    """Fixed-point forward counts, int64 (N, N). Counted for some source items at a time, so that no more than PAIRS_AT_ONCE pairs are held."""
    # numpy ints of the size scipy indexes with: an int64 index would double the memory
    events = histories.items.astype(np.int32, copy=False)  # E
    row_end = np.repeat(histories.offsets[1:], histories.lengths)  # E: where the event's own row ends
    longest = int(histories.lengths.max(initial=0))
    gaps = range(1, min(window, longest - 1) + 1)
    weights = [round(decay ** (gap - 1) * _UNIT) for gap in gaps]
    blocks = max(1, len(events) * len(gaps) // PAIRS_AT_ONCE)
    bounds = np.linspace(0, items, blocks + 1).astype(np.int64) if blocks == 1 else _even_bounds(events, items, blocks)
    order = None if blocks == 1 else np.argsort(events, kind="stable")  # E: positions, item after item
    starts = None if order is None else np.searchsorted(events, bounds, sorter=order)
    parts = []
    for block in range(len(bounds) - 1):
        low, high = int(bounds[block]), int(bounds[block + 1])
        place = np.arange(len(events)) if order is None or starts is None else np.sort(order[starts[block] : starts[block + 1]])
        part = sparse.csr_array((high - low, items), dtype=np.int64)
        for gap, weight in zip(gaps, weights, strict=True):
            place = place[place + gap < row_end[place]]
            if not weight or not len(place):
                break
            pairs = (np.full(len(place), weight, dtype=np.int64), (events[place] - np.int32(low), events[place + gap]))
            part = part + sparse.coo_array(pairs, shape=part.shape).tocsr()
        parts.append(part)
    return sparse.csr_array(sparse.vstack(parts, format="csr")) if len(parts) > 1 else parts[0]


def _even_bounds(events: np.ndarray, items: int, blocks: int) -> np.ndarray:
    """int64: item numbers that cut the events into about `blocks` parts of like size; an item is never cut."""
    before = np.cumsum(np.bincount(events, minlength=items))
    inner = np.searchsorted(before, np.arange(1, blocks) * (len(events) / blocks)) + 1
    return np.unique(np.concatenate([[0], inner, [items]])).astype(np.int64)


def _both_ways(forward: sparse.csr_array, backward: float) -> sparse.csr_array:
    if not backward:  # the usual case for large data: no copy in float64
        whole = (forward.data / _UNIT).astype(np.float32)
        result = sparse.csr_array((whole, forward.indices, forward.indptr), shape=forward.shape)
    else:
        counts = forward.astype(np.float64) / _UNIT
        result = sparse.csr_array(counts + backward * counts.T.tocsr(), dtype=np.float32)
    result.eliminate_zeros()
    result.sort_indices()
    return result


def _stochastic(weights: sparse.csr_array) -> sparse.csr_array:
    """float64 weights to float32 rows that sum to 1."""
    mass = np.asarray(weights.sum(axis=1)).ravel()
    scale = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
    data = (weights.data * np.repeat(scale, np.diff(weights.indptr))).astype(np.float32)
    # Copied: what follows changes the result in place.
    result = sparse.csr_array((data, weights.indices.copy(), weights.indptr.copy()), shape=weights.shape)
    result.eliminate_zeros()
    result.sort_indices()
    return result


def _step(power: sparse.csr_array, first: sparse.csr_array, keep: int) -> sparse.csr_array:
    """`_keep_largest(power @ first)`, some rows at a time: the uncut product can be nearly dense."""
    parts = [_keep_largest(power[start : start + 1024] @ first, keep) for start in range(0, power.shape[0], 1024)]
    return sparse.vstack(parts, format="csr") if parts else power


def _keep_largest(weights: sparse.csr_array, keep: int) -> sparse.csr_array:
    """Each row's `keep` largest entries and whatever ties with the last of them (to 1e-9: sums differ in the last digit)."""
    starts = weights.indptr
    long = np.flatnonzero(np.diff(starts) > keep)
    if not len(long):
        return weights
    kept = np.ones(weights.nnz, dtype=bool)
    for row in long:
        values = weights.data[starts[row] : starts[row + 1]]
        last = np.partition(values, len(values) - keep)[len(values) - keep]
        kept[starts[row] : starts[row + 1]] = values >= last * (1 - 1e-9)
    indptr = np.concatenate([[0], np.cumsum(kept)])[starts]
    return sparse.csr_array((weights.data[kept], weights.indices[kept], indptr), shape=weights.shape)


def _hash(values: np.ndarray, seed: int) -> np.ndarray:
    """splitmix64 of each value and the seed, uint64."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
