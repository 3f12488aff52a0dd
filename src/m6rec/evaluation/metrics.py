"""Metrics as pure functions of ranks. numpy only.

Dimension keys: B rows of a batch, N items of the catalogue, C cases, T targets of all cases together (T >= C).

Ties. The rank of a target is its expected rank when ties are broken at random,

    r = 1 + #{candidates with a higher score} + #{other candidates with the same score} / 2,

so a scorer that gives everything one score gets the middle of the list, never the top of it, whatever the order of the
item ids. A fractional rank is used as it is: a target counts at cutoff k when r <= k, with the gain 1 / log2(1 + r)
for NDCG and 1 / r for MRR. Two items tied for the first place have r = 1.5: no hit at 1, a hit at 2.

Several targets can share one tie; then more than k of them may have r <= k. A list of k holds k items, so at most the k
best-ranked targets of a case count: precision and NDCG never exceed 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from m6rec.base.contracts import Histories


def candidate_scores(scores: np.ndarray, targets: Histories, excluded: Histories | None) -> np.ndarray:
    """A copy of `scores` in which what is no candidate holds -inf.

    Args:
        scores: float (B, N), finite.
        targets: B rows; a target is always a candidate, in the excluded history or not.
        excluded: B rows of items that are no candidates, or None.
    """
    masked = scores.copy()  # B N
    if excluded is not None:
        rows = np.repeat(np.arange(len(excluded)), excluded.lengths)
        masked[rows, excluded.items] = -np.inf
        rows = np.repeat(np.arange(len(targets)), targets.lengths)
        masked[rows, targets.items] = scores[rows, targets.items]
    return masked


def expected_ranks(scores: np.ndarray, targets: Histories, excluded: Histories | None = None) -> np.ndarray:
    """Expected rank of every target under random tie-breaking, counted from 1 among the candidates of its row.

    Candidates are all N items that are not excluded; a target is never excluded, and the other targets of a row stay
    candidates. Scores are compared as they are, in their own dtype: what is equal in float32 is a tie.

    Args:
        scores: float (B, N), finite, higher is better.
        targets: B rows of item ids (a repeated target is ranked once for each time it stands there).
        excluded: B rows (repeats allowed), or None to rank against the whole catalogue.

    Returns:
        float64 (T,), in the order of `targets.items`.
    """
    return ranks_among(candidate_scores(scores, targets, excluded), targets)


def ranks_among(candidates: np.ndarray, targets: Histories) -> np.ndarray:
    """`expected_ranks` over what `candidate_scores` returned."""
    lengths = targets.lengths
    rows = np.repeat(np.arange(len(targets)), lengths)  # T
    own = candidates[rows, targets.items]  # T
    greater = np.empty(len(own), dtype=np.int64)
    at_least = np.empty(len(own), dtype=np.int64)
    # One target a row: two comparisons of the whole batch. Several: the row is sorted once and every target is looked up.
    single = np.flatnonzero(lengths == 1)
    if len(single):
        positions = targets.offsets[single]
        block = candidates if len(single) == len(lengths) else candidates[single]
        greater[positions] = np.count_nonzero(block > own[positions, None], axis=1)
        at_least[positions] = np.count_nonzero(block >= own[positions, None], axis=1)
    for row in np.flatnonzero(lengths > 1):
        here = slice(targets.offsets[row], targets.offsets[row + 1])
        ordered = np.sort(candidates[row])
        greater[here] = len(ordered) - np.searchsorted(ordered, own[here], side="right")
        at_least[here] = len(ordered) - np.searchsorted(ordered, own[here], side="left")
    return 1.0 + greater + (at_least - greater - 1) / 2.0


def hit_rate(ranks: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """float64 (C,): 1 where at least one target of the case has r <= k."""
    return (_hits(ranks, offsets, k) > 0).astype(np.float64)


def recall(ranks: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """float64 (C,): share of the case's targets with r <= k. With one target a case this is the hit rate."""
    return _hits(ranks, offsets, k) / np.diff(offsets)


def precision(ranks: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """float64 (C,): targets with r <= k, out of k places."""
    return _hits(ranks, offsets, k) / k


def ndcg(ranks: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """float64 (C,): sum over targets with r <= k of 1 / log2(1 + r), over the same sum for the ideal list (Järvelin & Kekäläinen 2002)."""
    gains = np.where(_counted(ranks, offsets, k), 1.0 / np.log2(1.0 + ranks), 0.0)  # T
    ideal = np.cumsum(1.0 / np.log2(2.0 + np.arange(k)))
    return _sums(gains, offsets) / ideal[np.minimum(np.diff(offsets), k) - 1]


def mrr(ranks: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """float64 (C,): 1 / r of the best-ranked target, 0 where r > k."""
    best = np.minimum.reduceat(ranks, offsets[:-1]) if len(ranks) else np.zeros(0)
    return np.where(best <= k, 1.0 / np.maximum(best, 1.0), 0.0)


Metric = Callable[[np.ndarray, np.ndarray, int], np.ndarray]

#: (ranks float64 (T,), offsets int64 (C + 1,), k) -> per-case values (C,). Every case has at least one target.
METRICS: dict[str, Metric] = {"ndcg": ndcg, "hit_rate": hit_rate, "recall": recall, "mrr": mrr, "precision": precision}


def _counted(ranks: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    """bool (T,): r <= k, and among the k best-ranked targets of the case."""
    lengths = np.diff(offsets)
    inside = ranks <= k
    if len(lengths) and lengths.max() > k:
        cases = np.repeat(np.arange(len(lengths)), lengths)
        order = np.lexsort((ranks, cases))
        place = np.empty(len(ranks), dtype=np.int64)
        place[order] = np.arange(len(ranks)) - np.repeat(offsets[:-1], lengths)
        inside &= place < k
    return inside


def hits_where(ranks: np.ndarray, offsets: np.ndarray, k: int, wanted: np.ndarray) -> np.ndarray:
    """float64 (C,): how many of a case's targets are in its list of k and `wanted` (bool (T,))."""
    return _sums((_counted(ranks, offsets, k) & wanted).astype(np.float64), offsets)


def _hits(ranks: np.ndarray, offsets: np.ndarray, k: int) -> np.ndarray:
    return _sums(_counted(ranks, offsets, k).astype(np.float64), offsets)


def _sums(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """float64 (C,): sum of each case's values; every case has at least one."""
    return np.add.reduceat(values, offsets[:-1]) if len(values) else np.zeros(0)
