"""The compact language model: embedding and tied head, lower layers, pooling, upper layers.

Shapes: R rows, T tokens of a row, G segments, M tokens asked for, S slots of a row, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from m6rec.base.contracts import Segment
from m6rec.language_model.config import ModelShape
from m6rec.language_model.layers import initialise
from m6rec.language_model.lower import LowerLayers
from m6rec.language_model.pooling import AttentionPooling
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.spectral import spectral_embedding
from m6rec.language_model.upper import UpperLayers


class LanguageModel(nn.Module):
    """Token ids and slots in, states out; no idea of users, items or words.

    Weights depend on `shape` and `seed` only, whatever the state of torch's own generator and the device.
    """

    READING = ("embedding", "lower", "pooling")  # the parts an item's stored states depend on

    def __init__(self, shape: ModelShape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)  # also the head: logits = states @ embedding'
        self.lower = LowerLayers(shape.width, shape.heads, shape.lower_layers, shape.lower_dropout)
        self.pooling = AttentionPooling(shape.width)
        self.upper = UpperLayers(shape.width, shape.heads, shape.upper_layers, shape.dropout)  # ends in the final norm
        initialise(self, torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def start_from_text(self, segments: Sequence[Segment], seed: int = 0) -> None:
        """Replace the random token table by the spectral one of `segments` (before any training)."""
        self.embedding.weight.copy_(spectral_embedding(segments, self.shape.vocabulary, self.shape.width, seed))

    def embed(self, ids: Tensor) -> Tensor:
        """int64 ... -> ... D, each about unit variance though the tied table has variance 1 / D."""
        return cast(Tensor, self.embedding(ids)) * self.shape.width**0.5

    def encode(self, batch: SegmentBatch) -> Tensor:
        """Token states of packed segments, each read alone: R T D (meaningless at padding)."""
        return cast(Tensor, self.lower(self.embed(batch.ids), batch.segment, batch.position, batch.causal))

    def summaries(self, batch: SegmentBatch, states: Tensor | None = None) -> Tensor:
        """One vector of each segment, float32 G D, from `states` (R T D) or from reading the batch."""
        return cast(Tensor, self.pooling(self.encode(batch) if states is None else states, batch.segment, batch.count))

    def write_states(self, batch: SegmentBatch, states: Tensor, written: Tensor) -> Tensor:
        """States from which the tokens of causal segments are predicted: through the upper layers, one row a segment.

        Args:
            batch: the segments.
            states: R T D, `encode(batch)`.
            written: bool G, the segments wanted; they are causal ones.

        Returns:
            M D, in the order of the wanted tokens in the rows.
        """
        rows, place = batch.one_a_row(states, written)  # G' S D
        return cast(Tensor, self.upper(rows))[place[:, 0], place[:, 1]]

    def logits(self, states: Tensor) -> Tensor:
        """... D -> ... V by the tied head; for training use `linear_cross_entropy`, which never holds all of them."""
        return states @ self.embedding.weight.T

    def freeze_reading(self, frozen: bool = True) -> None:
        """Stop (or start) training what reads segments, so that item states can be kept for a whole run."""
        for name in self.READING:
            getattr(self, name).requires_grad_(not frozen)

    def count_parameters(self) -> dict[str, int]:
        """Weights of each part and their total."""
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        return {**parts, "total": sum(parts.values())}
