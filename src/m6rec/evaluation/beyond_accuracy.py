"""What a list is worth besides holding the target: novelty, popularity, diversity, serendipity; coverage and evenness over the catalogue.

A list of k has exactly k places (fewer where there are fewer candidates). Items tied for its last places stand in it with a share:
of g items tied for r places each has r / g of a place. Every figure below is the expected one under random tie-breaking, so that,
as with ranks, the order of item ids has no influence.

Dimension keys: B rows of a batch, N items, P pairs of (row, item), C cases, T targets, F content features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from m6rec.base.contracts import Histories
from m6rec.evaluation.metrics import hits_where

BLOCK_CELLS = 4_000_000  # rows x items looked at together: bounds memory where thousands of items are tied


@dataclass(frozen=True)
class TopLists:
    """B lists. Row `rows[p]` holds `items[p]` with weight `weights[p]`: 1, or the share of a place where `tied[p]`.

    ranked       bool (P,)   the item's expected rank is k or less: what coverage@k counts, no item gets in by its id
    tied_places  int64 (B,)  places taken by the tie, 0 without one
    """

    rows: np.ndarray
    items: np.ndarray
    weights: np.ndarray
    tied: np.ndarray
    ranked: np.ndarray
    tied_places: np.ndarray

    def __len__(self) -> int:
        return len(self.tied_places)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """float64 (B,): the mean over each list of what `values` (N,) says of its items; NaN for an empty list."""
        places = np.bincount(self.rows, weights=self.weights, minlength=len(self))
        sums = np.bincount(self.rows, weights=self.weights * values[self.items], minlength=len(self))
        return np.divide(sums, places, out=np.full(len(self), np.nan), where=places > 0)

    def covered(self) -> np.ndarray:
        """int64: items (repeats allowed) with an expected rank of at most k in some row; of 100 items tied for ten places none has one."""
        return self.items[self.ranked]

    def exposure(self, items: int) -> np.ndarray:
        """float64 (N,): in how many of the lists each item stands."""
        return np.bincount(self.items, weights=self.weights, minlength=items)


def top_lists(candidates: np.ndarray, cutoffs: list[int]) -> Iterator[tuple[int, dict[int, TopLists]]]:
    """(first row, k -> lists) of blocks of rows, in order.

    Args:
        candidates: float (B, N) from `metrics.candidate_scores`; -inf is no candidate.
    """
    items, deepest = candidates.shape[1], min(max(cutoffs), candidates.shape[1])
    step = max(1, BLOCK_CELLS // items)
    for start in range(0, len(candidates), step):
        block = candidates[start : start + step]
        highest = np.sort(np.partition(block, items - deepest, axis=1)[:, items - deepest :], axis=1)[:, ::-1]  # B deepest
        available = np.count_nonzero(highest > -np.inf, axis=1)
        last = np.where(available > 0, highest[np.arange(len(block)), np.maximum(available, 1) - 1], np.inf)  # the value that closes a list
        found = np.flatnonzero(block >= last[:, None])
        rows, columns = np.divmod(found, items)
        values = block[rows, columns]
        yield start, {k: _lists(rows, columns, values, highest, available, k) for k in cutoffs}


def _lists(rows: np.ndarray, items: np.ndarray, values: np.ndarray, highest: np.ndarray, available: np.ndarray, k: int) -> TopLists:
    size = np.minimum(k, available)  # B
    closing = np.where(size > 0, highest[np.arange(len(size)), np.maximum(size, 1) - 1], np.inf)
    inside = values >= closing[rows]
    rows, items, values = rows[inside], items[inside], values[inside]
    certain = values > closing[rows]
    above = np.bincount(rows[certain], minlength=len(size))
    tied = np.bincount(rows[~certain], minlength=len(size))
    places = size - above
    share = np.divide(places, tied, out=np.zeros(len(size)), where=tied > 0)
    # A tie that fits into the list as a whole is none.
    open_tie = places < tied
    weights = np.where(certain, 1.0, share[rows])
    # The closing tie of g items under m others has the expected rank m + (g + 1) / 2.
    ranked = certain | (above + (tied + 1) / 2 <= k)[rows]
    return TopLists(rows, items, weights, ~certain & open_tie[rows], ranked, np.where(open_tie, places, 0))


def self_information(seen: np.ndarray) -> np.ndarray:
    """float64 (N,), bits: -log2 of the item's share of the training events (Zhou et al. 2010; Vargas & Castells 2011).

    The mean over a list is its novelty. An item never seen counts as seen once: what is not known to be rarer is not called so.
    """
    return -np.log2(np.maximum(seen, 1) / max(int(seen.sum()), 1))


def diversity(lists: TopLists, contents: sparse.csr_array) -> np.ndarray:
    """float64 (B,): 1 - the mean cosine of the pairs of a list (intra-list diversity, Ziegler et al. 2005).

    Pairs with an item nothing is known of (an empty row of `contents`) are left out; NaN where no pair is left.

    Args:
        contents: (N, F), rows of unit length or empty, see `unit_rows`.
    """
    known = np.diff(contents.indptr) > 0  # N

    def summed(here: np.ndarray) -> tuple[np.ndarray, sparse.csr_array, np.ndarray]:
        """Of the pairs chosen: how many a list has, the sum of their rows (B, F), and the cosines of their pairs, summed."""
        count = np.bincount(lists.rows[here], minlength=len(lists)).astype(np.float64)
        chosen = sparse.csr_array((np.ones(here.sum()), (lists.rows[here], lists.items[here])), shape=(len(lists), len(known)))
        total = sparse.csr_array(chosen @ contents)
        squared = np.bincount(np.repeat(np.arange(len(lists)), np.diff(total.indptr)), weights=total.data**2, minlength=len(lists))
        # The squared length of a sum of unit vectors is their number plus twice the sum of the cosines of their pairs.
        return count, total, (squared - count) / 2

    certain, total, similar = summed(known[lists.items] & ~lists.tied)
    pairs = certain * (certain - 1) / 2
    if lists.tied.any():
        group = np.bincount(lists.rows[lists.tied], minlength=len(lists))  # members of the tie, known or not
        one = np.divide(lists.tied_places, group, out=np.zeros(len(lists)), where=group > 0)  # that one of them is in the list
        two = one * np.divide(lists.tied_places - 1, group - 1, out=np.zeros(len(lists)), where=group > 1)  # that two are
        members, of_tie, among = summed(known[lists.items] & lists.tied)
        similar = similar + two * among + one * np.asarray(total.multiply(of_tie).sum(axis=1)).ravel()
        pairs = pairs + two * members * (members - 1) / 2 + one * certain * members
    # Without negative features a cosine is 0 to 1; rounding must not make it more.
    return 1.0 - np.divide(similar, pairs, out=np.full(len(lists), np.nan), where=pairs > 1e-9)


def unit_rows(contents: sparse.csr_array) -> sparse.csr_array:
    """The same rows, float64, each of length 1 (empty and zero rows: empty)."""
    rows = sparse.csr_array(contents, dtype=np.float64, copy=True)
    rows.eliminate_zeros()
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows.data /= np.repeat(lengths, np.diff(rows.indptr))
    return rows


def gini(exposure: np.ndarray) -> float:
    """0 where every item is shown equally often, near 1 where one item is shown to everybody (Gini 1912); NaN where nothing is shown."""
    total = exposure.sum()
    if not total:
        return float("nan")
    ordered = np.sort(exposure)
    count = len(ordered)
    return float((2 * np.arange(1, count + 1) - count - 1) @ ordered / (count * total))


def popularity_ranks(seen: np.ndarray, targets: Histories, excluded: Histories | None) -> np.ndarray:
    """float64 (T,): the expected rank each target would have if candidates were sorted by `seen` (N,).

    Equal to `metrics.expected_ranks` of the counts, found from the sorted counts without a matrix of all items.

    Args:
        targets: B rows, each item once.
        excluded: B rows of items that are no candidates (a target always is), or None.
    """
    ordered = np.sort(seen)
    own = seen[targets.items]
    above = (len(ordered) - np.searchsorted(ordered, own, side="right")).astype(np.float64)
    level = np.searchsorted(ordered, own, side="right") - np.searchsorted(ordered, own, side="left") - 1.0
    if excluded is not None and len(excluded.items):
        count = len(seen)
        gone = np.unique(np.repeat(np.arange(len(excluded)), excluded.lengths) * count + excluded.items)
        gone = gone[~np.isin(gone, np.repeat(np.arange(len(targets)), targets.lengths) * count + targets.items)]
        rows, items = np.divmod(gone, count)
        lengths = np.bincount(rows, minlength=len(targets))
        starts = np.cumsum(lengths) - lengths
        # Every target beside every excluded item of its row.
        of_row = np.repeat(np.arange(len(targets)), targets.lengths)
        size = lengths[of_row]
        target = np.repeat(np.arange(len(own)), size)
        place = np.arange(len(target)) - np.repeat(np.cumsum(size) - size, size)
        other = seen[items[starts[of_row[target]] + place]]
        above -= np.bincount(target[other > own[target]], minlength=len(own))
        level -= np.bincount(target[other == own[target]], minlength=len(own))
    return 1.0 + above + level / 2.0


def serendipity(ranks: np.ndarray, popular: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """float64 (C,): share of a case's targets that the list of k holds and the k most popular candidates do not (Ge et al. 2010).

    Args:
        ranks, popular: float64 (T,), expected ranks by the scorer and by popularity.
    """
    return hits_where(ranks, offsets, k, popular > k) / np.diff(offsets)
