"""Pretraining on plain segments: infilling, left to right, and telling segments apart. Pure functions of tensors and a generator.

Of each batch some segments are read with spans masked, and the masked tokens are predicted where they stood (infilling, after
T5, arXiv 1910.10683, and M6, arXiv 2103.00823); the others are written: position i is predicted from the tokens before it.
Summaries learn from two partial views of each segment that must find each other in the batch (SimCSE, arXiv 2104.08821).

Shapes: R rows, T tokens of a row, G segments, M tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from m6rec.language_model.devices import moved
from m6rec.language_model.segments import SegmentBatch

IGNORED = -100  # a target that is none


@dataclass(frozen=True)
class Corrupted:
    """What the model sees and what it should say.

    batch    the rows, with masked tokens and shifted written segments
    infill   int64 (R, T)  the masked token, IGNORED elsewhere; asked of the lower layers
    write    int64 (R, T)  the token to be written here, IGNORED outside written segments; asked of the upper layers
    written  bool (G,)     the segments written from left to right
    """

    batch: SegmentBatch
    infill: Tensor
    write: Tensor
    written: Tensor

    def on(self, device: torch.device) -> Corrupted:
        """The same on a device."""
        return Corrupted(self.batch.on(device), *(moved(one, device) for one in (self.infill, self.write, self.written)))


def corrupt(
    batch: SegmentBatch,
    generator: np.random.Generator,
    *,
    mask_id: int,
    bos_id: int,
    rate: float = 0.3,
    span: float = 2.0,
    keep: float = 0.1,
    write_share: float = 0.5,
) -> Corrupted:
    """Make a pretraining example of every segment.

    Args:
        batch: context segments (their `causal` flags are replaced).
        generator: all randomness.
        mask_id: stands for a masked token.
        bos_id: stands before the first token of a written segment; a written row is shifted by one, its length stays.
        rate: share of an infilled segment's tokens that are masked.
        span: mean length of a masked span (geometric).
        keep: share of the masked tokens shown as they are, so that states of unmasked text are trained too.
        write_share: chance of a segment being written rather than infilled.
    """
    ids, segment, position = (t.cpu().numpy() for t in (batch.ids, batch.segment, batch.position))
    real = segment >= 0
    written = generator.random(batch.count) < write_share  # G
    in_written = real & written[np.maximum(segment, 0)]  # R T
    masked = masked_spans(segment, real & ~in_written, batch.count, generator, rate=rate, span=span)
    hidden = masked & (generator.random(ids.shape) >= keep)
    before = np.where(position == 0, bos_id, np.roll(ids, 1, axis=1))  # a segment is whole in one row: its tokens are neighbours
    shown = np.where(in_written, before, np.where(hidden, mask_id, ids))
    device = batch.ids.device

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Corrupted(
        batch=batch.with_ids(ids=tensor(shown), causal=tensor(in_written)),
        infill=tensor(np.where(masked, ids, IGNORED)),
        write=tensor(np.where(in_written, ids, IGNORED)),
        written=tensor(written),
    )


def masked_spans(
    segment: np.ndarray, allowed: np.ndarray, count: int, generator: np.random.Generator, *, rate: float, span: float
) -> np.ndarray:
    """bool (R, T): about `rate` of the tokens of every segment, in geometric spans of mean `span` that end with their segment.

    A segment of two tokens or more has at least one token masked and one left; a segment of one token is masked.
    Only tokens of `allowed` (bool R T, whole segments) are masked.
    """
    place = np.flatnonzero(allowed.ravel())  # M, row after row: the tokens of a segment are consecutive
    owner = segment.ravel()[place]
    if not len(place):
        return np.zeros(segment.shape, dtype=bool)
    # A token stays visible when no span started on it or shortly before: chance exp(-starts * span), set to 1 - rate.
    starts = np.flatnonzero(generator.random(len(place)) < -np.log1p(-rate) / span)
    ends = np.minimum(starts + generator.geometric(1.0 / span, size=len(starts)), len(place))
    last = np.append(np.flatnonzero(np.diff(owner)), len(place) - 1)  # last token of each run
    ends = np.minimum(ends, last[np.searchsorted(last, starts)] + 1)
    edges = np.bincount(starts, minlength=len(place) + 1) - np.bincount(ends, minlength=len(place) + 1)
    chosen = np.cumsum(edges[:-1]) > 0

    lengths, hits = np.bincount(owner, minlength=count), np.bincount(owner[chosen], minlength=count)
    lucky = _one_of_each(owner, generator)  # one token of every run
    chosen[lucky[hits[owner[lucky]] == 0]] = True
    chosen[lucky[(hits[owner[lucky]] == lengths[owner[lucky]]) & (lengths[owner[lucky]] > 1)]] = False
    result = np.zeros(segment.size, dtype=bool)
    result[place] = chosen
    return result.reshape(segment.shape)


def partial_view(batch: SegmentBatch, generator: np.random.Generator, keep: float = 0.6) -> SegmentBatch:
    """The same rows with each token left out with chance 1 - `keep` (at least one of a segment stays); positions stay."""
    segment = batch.segment.cpu().numpy()
    stays = (segment >= 0) & (generator.random(segment.shape) < keep)
    place = np.flatnonzero(segment.ravel() >= 0)
    stays.ravel()[place[_one_of_each(segment.ravel()[place], generator)]] = True
    left = torch.from_numpy(np.where(stays, segment, -1)).to(batch.segment.device)
    return SegmentBatch(batch.ids, left, batch.position, batch.causal & (left >= 0), batch.count)


def view_agreement(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE in both directions: each summary must pick its other view out of the batch.

    Args:
        first, second: float32 G D, row g of both a view of segment g.
    """
    likeness = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / temperature  # G G
    target = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(likeness, target) + F.cross_entropy(likeness.T, target)) / 2


def _one_of_each(owner: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """int64: one random index of every run of equal values in `owner`."""
    if not len(owner):
        return np.zeros(0, dtype=np.int64)
    first = np.append(0, np.flatnonzero(np.diff(owner)) + 1)
    lengths = np.diff(np.append(first, len(owner)))
    return first + (generator.random(len(first)) * lengths).astype(np.int64)
