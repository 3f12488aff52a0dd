"""The language model: embedding and tied head, lower layers, pooling, upper layers; compact, or of a pretrained checkpoint's layers.

Shapes: R rows, T tokens of a row, G segments, M tokens asked for, S slots of a row, D width of token states (`shape.read_width`), W width of
slots (`shape.width`; the same but where the upper layers of a checkpoint's model are our own), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from m6rec.base.contracts import Segment
from m6rec.language_model.backbones.adapt import initialise_adapters
from m6rec.language_model.backbones.split import BackboneLower, BackboneUpper
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
        self.embedding = nn.Embedding(shape.vocabulary, shape.read_width)  # also the head: logits = states @ embedding'
        self.bridge: nn.Linear | None = None  # token states to slots where their widths differ
        self.head: nn.Linear | None = None  # where the head is not the embedding
        generator = torch.Generator().manual_seed(seed)
        if shape.backbone is not None:
            self._of_checkpoint(shape, generator)
            return
        self.lower: LowerLayers | BackboneLower = LowerLayers(shape.width, shape.heads, shape.lower_layers, shape.lower_dropout)
        self.pooling = AttentionPooling(shape.width)
        self.upper = UpperLayers(shape.width, shape.heads, shape.upper_layers, shape.dropout)  # ends in the final norm
        initialise(self, generator)

    def _of_checkpoint(self, shape: ModelShape, generator: torch.Generator) -> None:
        """Room for a checkpoint's weights, which `backbones.weights` or a model folder fills; only what is not the checkpoint's is drawn."""
        backbone = shape.backbone
        assert backbone is not None
        self.lower = BackboneLower(backbone, shape.lower_layers, shape.lower_dropout)
        self.pooling = AttentionPooling(backbone.width)
        if backbone.own_upper:
            self.upper = UpperLayers(shape.width, shape.heads, shape.upper_layers, shape.dropout)
            initialise(self.upper, generator)
        else:
            self.upper = BackboneUpper(backbone, shape.upper_layers, shape.dropout)
            initialise_adapters(self.upper, generator)
        if shape.width != backbone.width:
            self.bridge = nn.Linear(backbone.width, shape.width, bias=False)
            initialise(self.bridge, generator)
        if backbone.own_head:
            self.head = nn.Linear(backbone.width, shape.vocabulary, bias=False)

    @torch.no_grad()
    def start_from_text(self, segments: Sequence[Segment], seed: int = 0) -> None:
        """Replace the random token table by the spectral one of `segments` (before any training)."""
        self.embedding.weight.copy_(spectral_embedding(segments, self.shape.vocabulary, self.shape.width, seed))

    def embed(self, ids: Tensor) -> Tensor:
        """int64 ... -> ... D, each about unit variance though the tied table has variance 1 / D; of a checkpoint as the table has them."""
        embedded = cast(Tensor, self.embedding(ids))
        return embedded if self.shape.backbone is not None else embedded * self.shape.width**0.5

    def even_words(self) -> Tensor:
        """(V, D) float32: the token table with rows of about unit length, as the compact model's are and a checkpoint's need not be."""
        words = self.embedding.weight.detach().float()
        return words if self.shape.backbone is None else words / words.norm(dim=1).mean()

    def word_vectors(self, ids: Tensor) -> Tensor:
        """int64 ... -> ... D, each about unit variance, for whoever reads tokens without the layers."""
        if self.shape.backbone is None:
            return self.embed(ids)
        embedded = self.embed(ids)
        return embedded * embedded.float().square().mean(dim=-1, keepdim=True).add(1e-9).rsqrt().to(embedded.dtype)

    def encode(self, batch: SegmentBatch) -> Tensor:
        """Token states of packed segments, each read alone: R T D (meaningless at padding); the upper layers take these as they are."""
        return cast(Tensor, self.lower(self.embed(batch.ids), batch.segment, batch.position, batch.causal))

    def reading(self, states: Tensor) -> Tensor:
        """Token states (... D) for whoever reads them besides the upper layers: all of like size."""
        return self.lower.reading(states)

    def summaries(self, batch: SegmentBatch, states: Tensor | None = None) -> Tensor:
        """One vector of each segment, float32 G D, from `states` (R T D) or from reading the batch."""
        states = self.encode(batch) if states is None else states
        return cast(Tensor, self.pooling(self.reading(states), batch.segment, batch.count))

    def to_slots(self, states: Tensor) -> Tensor:
        """Token states (... D) as the upper layers take them, ... W."""
        return states if self.bridge is None else cast(Tensor, self.bridge(states))

    def write_states(self, batch: SegmentBatch, states: Tensor, written: Tensor) -> Tensor:
        """States from which the tokens of causal segments are predicted: through the upper layers, one row a segment.

        Args:
            batch: the segments.
            states: R T D, `encode(batch)`.
            written: bool G, the segments wanted; they are causal ones.

        Returns:
            M W, in the order of the wanted tokens in the rows.
        """
        rows, place = batch.one_a_row(self.to_slots(states), written)  # G' S W
        told = self.upper.tokens(rows) if isinstance(self.upper, BackboneUpper) and self.upper.shape.causal else self.upper(rows)
        return cast(Tensor, told)[place[:, 0], place[:, 1]]

    def logits(self, states: Tensor) -> Tensor:
        """... W -> ... V by the head; for training use `linear_cross_entropy` with `spoken` and `table`, which never holds all of them."""
        return self.spoken(states) @ self.table.T

    def spoken(self, states: Tensor) -> Tensor:
        """States of the upper layers (... W) as the head takes them, ... D."""
        return states if self.bridge is None else states @ self.bridge.weight

    @property
    def table(self) -> Tensor:
        """(V, D): the vector of each token that the head multiplies states with; the embedding but where a checkpoint has another."""
        return self.embedding.weight if self.head is None else self.head.weight

    def freeze_reading(self, frozen: bool = True) -> None:
        """Stop (or start) training what reads segments, so that item states can be kept for a whole run."""
        for name in self.READING:
            getattr(self, name).requires_grad_(not frozen)
        if self.shape.backbone is not None and frozen:
            if self.head is not None:
                self.head.requires_grad_(False)
            if any(parameter.requires_grad for parameter in self.upper.parameters()):
                self.upper.trained()  # of a checkpoint's layers only what adapts them

    def count_parameters(self) -> dict[str, int]:
        """Weights of each part and their total."""
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        return {**parts, "total": sum(parts.values())}
