"""Segments as tensors: packed rows for training, rows of like length for reading a catalogue.

Shapes: R rows, T tokens of a row, G segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Segment
from m6rec.base.errors import DataError
from m6rec.language_model.devices import moved, tensor_of


class PackedArrays(Protocol):
    """What packing makes, as numpy arrays; fields as in `SegmentBatch`."""

    ids: np.ndarray
    segment: np.ndarray
    position: np.ndarray
    causal: np.ndarray
    count: int


@dataclass(frozen=True)
class SegmentBatch:
    """Rows of whole segments.

    ids       int64 (R, T)  token ids, any value where padded
    segment   int64 (R, T)  0..count - 1, or -1 where padded
    position  int64 (R, T)  from 0 in every segment
    causal    bool  (R, T)  True in segments being written
    count     segments in the batch (G)
    """

    ids: Tensor
    segment: Tensor
    position: Tensor
    causal: Tensor
    count: int

    @classmethod
    def from_packed(cls, packed: PackedArrays, device: torch.device | str = "cpu") -> Self:
        """Tensors of packed numpy rows."""
        where = torch.device(device)
        ids, segment, position = (tensor_of(np.asarray(a, dtype=np.int64), where) for a in (packed.ids, packed.segment, packed.position))
        return cls(ids, segment, position, tensor_of(packed.causal, where), packed.count)

    @classmethod
    def padded(cls, segments: Sequence[Segment], pad_id: int = 0, device: torch.device | str = "cpu") -> Self:
        """One segment a row, padded on the right to the longest.

        Raises:
            DataError: a segment without tokens.
        """
        lengths = np.fromiter((len(s.ids) for s in segments), dtype=np.int64, count=len(segments))
        if not len(segments) or lengths.min() < 1:
            raise DataError(
                f"{int((lengths < 1).sum())} of {len(segments)} segments have no tokens; a batch needs 1 segment or more of 1 token or more"
            )
        position = np.arange(lengths.max())
        real = position < lengths[:, None]  # R T
        ids = np.full(real.shape, pad_id, dtype=np.int64)
        ids[real] = np.concatenate([s.ids for s in segments])
        causal = real & np.fromiter((s.causal for s in segments), dtype=bool, count=len(segments))[:, None]
        segment = np.where(real, np.arange(len(segments))[:, None], -1)
        where = torch.device(device)
        tokens, owners, places, flags = (tensor_of(a, where) for a in (ids, segment, np.where(real, position, 0), causal))
        return cls(tokens, owners, places, flags, count=len(segments))

    @property
    def real(self) -> Tensor:
        """bool (R, T): tokens, not padding."""
        return self.segment >= 0

    def on(self, device: torch.device) -> SegmentBatch:
        """The same rows on a device."""
        ids, segment, position, causal = (moved(one, device) for one in (self.ids, self.segment, self.position, self.causal))
        return SegmentBatch(ids, segment, position, causal, self.count)

    def with_ids(self, ids: Tensor, causal: Tensor) -> SegmentBatch:
        """The same rows with other tokens and directions."""
        return replace(self, ids=ids, causal=causal)

    def lengths(self) -> Tensor:
        """int64 (G,): tokens of each segment."""
        return torch.bincount(self.segment[self.real], minlength=self.count)

    def one_a_row(self, states: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Unpack the segments `chosen` (bool G) into rows of their own, in their order.

        Returns:
            (B, S, D) the states (R, T, D) padded on the right by zeros, and int64 (M, 2): row and column there of each
            real token, in the order in which `states[self.real & chosen of the token]` lists them.
        """
        token = self.real & chosen[self.segment.clamp(min=0)]  # R T
        row = torch.cumsum(chosen, 0) - 1  # G
        place = torch.stack((row[self.segment[token]], self.position[token]), dim=1)  # M 2
        rows, longest = int(chosen.sum()), int(place[:, 1].max()) + 1
        unpacked = states.new_zeros(rows, longest, states.shape[-1])
        return unpacked.index_put((place[:, 0], place[:, 1]), states[token]), place


def rows_by_length(lengths: np.ndarray, order: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Cut `order` (indices of segments, shorter ones first) into runs of at most `tokens` tokens with padding, at least one each."""
    runs, start = [], 0
    while start < len(order):
        ahead = lengths[order[start : start + tokens]]
        area = np.arange(1, len(ahead) + 1) * ahead  # the last row is the longest
        end = start + max(int(np.searchsorted(area, tokens, side="right")), 1)
        runs.append(order[start:end])
        start = end
    return runs


def batches_by_length(
    segments: Sequence[Segment], tokens: int = 16_384, pad_id: int = 0, device: torch.device | str = "cpu"
) -> Iterator[tuple[np.ndarray, SegmentBatch]]:
    """Padded batches of segments of like length (next to no padding), of about `tokens` tokens each.

    Yields:
        int64 (G,) which of `segments` the rows of the batch are, and the batch. Order is fixed: by length, then by index.
    """
    lengths = np.fromiter((len(s.ids) for s in segments), dtype=np.int64, count=len(segments))
    for rows in rows_by_length(lengths, np.argsort(lengths, kind="stable"), tokens):
        yield rows, SegmentBatch.padded([segments[i] for i in rows], pad_id, device)
