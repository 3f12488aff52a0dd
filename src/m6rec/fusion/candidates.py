"""The items that a blend looks at: the union of every member's best, with each member's score and rank of them.

Dimension keys: B requests, N items, M members, P parts, C candidates of all requests together, request after request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.base.errors import M6RecError


@dataclass(frozen=True)
class Candidates:
    """C candidates of B requests.

    offsets  int64 (B + 1,)   request b has the candidates offsets[b]:offsets[b + 1]
    items    int32 (C,)
    scores   float32 (C, M)   as the members gave them
    ranks    float32 (C, M)   expected rank among what is not consumed, from 1; depth + 1 for whatever is no better
    parts    float32 (C, P)   what the parts of members that have any give to the item
    consumed bool (C,)        items of the history, where those are no answers: judged like others, but nothing is learnt from them
    log_seen float32 (C,)     log(1 + training events of the item)
    lengths  int64 (B,)       events of the history
    depth    how many of each member's best are candidates
    """

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    parts: np.ndarray
    consumed: np.ndarray
    log_seen: np.ndarray
    lengths: np.ndarray
    depth: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def requests(self) -> np.ndarray:
        """int64 (C,): the request each candidate belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def rows(self, index: np.ndarray) -> Candidates:
        """The requests `index` (int array or bool mask), copied."""
        index = np.arange(len(self))[index]
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        picked = np.repeat(self.offsets[index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return replace(self._picked(picked, offsets), lengths=self.lengths[index])

    def keep(self, mask: np.ndarray) -> Candidates:
        """Only the candidates `mask` (bool C)."""
        counts = np.bincount(self.requests[mask], minlength=len(self))
        return self._picked(np.flatnonzero(mask), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def reordered(self, order: np.ndarray) -> Candidates:
        """The candidates in another order (int64 C) that leaves each with its request."""
        return self._picked(order, self.offsets)

    def wanted(self, targets: Histories) -> np.ndarray:
        """bool (C,): whether the candidate is a target of its request; `targets` has B rows."""
        width = 1 + int(max(self.items.max(initial=0), targets.items.max(initial=0)))
        rows = np.repeat(np.arange(len(targets)), targets.lengths)
        return np.isin(self.requests * width + self.items, rows * width + targets.items)

    def _picked(self, picked: np.ndarray, offsets: np.ndarray) -> Candidates:
        columns = {name: getattr(self, name)[picked] for name in ("items", "scores", "ranks", "parts", "consumed", "log_seen")}
        return replace(self, offsets=offsets, **columns)


def joined(blocks: Sequence[Candidates]) -> Candidates:
    """The requests of all blocks, one after the other."""
    counts = np.concatenate([np.diff(block.offsets) for block in blocks])
    columns = {
        field.name: np.concatenate([getattr(block, field.name) for block in blocks])
        for field in fields(Candidates)
        if field.name not in ("offsets", "depth")
    }
    return Candidates(offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), depth=blocks[0].depth, **columns)


def answers(scorers: Mapping[str, Scorer], requests: Requests, explained: bool) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Scores (B, N) of each scorer, and the parts `scorer/part` (B, N) of those that have any, where `explained`.

    Raises:
        M6RecError: a score that is not finite, or of the wrong shape.
    """
    scores: list[np.ndarray] = []
    parts: dict[str, np.ndarray] = {}
    for name, scorer in scorers.items():
        answer = getattr(scorer, "answer", None) if explained else None
        if answer is None:
            given = scorer.scores(requests)
        else:
            given, own = answer(requests)
            parts |= {f"{name}/{part}": values for part, values in own.items()}
        if scores and given.shape != scores[0].shape:
            raise M6RecError(
                f"'{name}' scores {given.shape} (requests, items), the members before it {scores[0].shape}; fit all on one catalogue"
            )
        if not np.isfinite(given).all():
            raise M6RecError(
                f"'{name}' gave {int((~np.isfinite(given)).sum()):,} scores that are not finite; a blend needs finite ones: fit it again"
            )
        scores.append(given)
    return scores, parts


def union(
    scores: Sequence[np.ndarray], parts: Sequence[np.ndarray], histories: Histories, log_seen: np.ndarray, depth: int, exclude: bool
) -> Candidates:
    """The `depth` best of each member (without those that tie with the next one: which of them would be a matter of ids), and the consumed items.

    Args:
        scores: M arrays float32 (B, N).      parts: P arrays float32 (B, N).
        exclude: consumed items are no answers: they take no place among the best, and are ranked as if each came alone.
    """
    count, size = scores[0].shape
    rows = np.repeat(np.arange(count), histories.lengths)
    chosen = np.zeros((count, size), dtype=bool)
    bests = []
    for given in scores:
        masked = given
        if exclude and len(rows):
            masked = given.copy()
            masked[rows, histories.items] = -np.inf
        if depth < size:
            best = -np.sort(np.partition(-masked, depth, axis=1)[:, : depth + 1], axis=1)  # B depth + 1, falling
            chosen |= masked > best[:, depth:]
        else:
            best = np.concatenate([-np.sort(-masked, axis=1), np.full((count, 1), -np.inf, masked.dtype)], axis=1)
            chosen |= masked > -np.inf
        bests.append(best)
    consumed = np.zeros((count, size), dtype=bool)
    if exclude:
        consumed[rows, histories.items] = True
        chosen |= consumed
    requests, items = np.divmod(np.flatnonzero(chosen), size)
    ranks = np.stack([_ranks(given[requests, items], best, requests) for given, best in zip(scores, bests, strict=True)], axis=1)
    return Candidates(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(requests, minlength=count))]).astype(np.int64),
        items=items.astype(np.int32),
        scores=np.stack([given[requests, items] for given in scores], axis=1).astype(np.float32),
        ranks=ranks,
        parts=np.stack([part[requests, items] for part in parts], axis=1).astype(np.float32)
        if parts
        else np.zeros((len(items), 0), np.float32),
        consumed=consumed[requests, items],
        log_seen=log_seen[items].astype(np.float32),
        lengths=histories.lengths,
        depth=depth,
    )


def _ranks(own: np.ndarray, best: np.ndarray, requests: np.ndarray) -> np.ndarray:
    """float32 (C,): expected rank of each score `own` (C,) among its request's `best` (B, D + 1), which fall."""
    depth = best.shape[1] - 1
    ranks = np.full(len(own), depth + 1, dtype=np.float32)
    starts = np.searchsorted(requests, np.arange(len(best) + 1))
    for row, (start, end) in enumerate(pairwise(starts)):
        rising, values = -best[row, :depth], -own[start:end]
        above = np.searchsorted(rising, values, side="left")
        ties = np.searchsorted(rising, values, side="right") - above
        better = values < -best[row, depth]
        ranks[start:end][better] = (1 + above + np.maximum(ties - 1, 0) / 2)[better]
    return ranks
