"""Layers of a checkpoint below and above the split.

Shapes: R rows, T tokens of a row, B histories, S slots, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m6rec.language_model.backbones.adapt import adapt_layers, is_adapter, without_changes
from m6rec.language_model.backbones.config import BackboneShape
from m6rec.language_model.backbones.parts import BackboneBlock, backbone_rotation, make_norm, relative_bucket
from m6rec.language_model.layers import Attention, KeysValues, Rotation, append_past
from m6rec.language_model.lower import sight
from m6rec.language_model.upper import UpperLayers


class BackboneLower(nn.Module):
    """As `LowerLayers`: every segment read alone, its positions from 0, however the rows were packed."""

    def __init__(self, shape: BackboneShape, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape, self.head_width = shape, shape.head_width
        self.positions = nn.Embedding(shape.positions, shape.width) if shape.positions else None
        self.embedding_norm = make_norm(shape) if shape.embedding_norm else nn.Identity()
        self.relative = nn.Embedding(shape.relative_buckets, shape.heads) if shape.relative_buckets else None
        self.blocks = nn.ModuleList(BackboneBlock(shape, dropout) for _ in range(layers))
        whole = layers == shape.layers
        self.norm = make_norm(shape) if whole and shape.order == "pre" else nn.Identity()
        self.even = shape.order == "pre" and not whole  # states between pre-norm layers are of any size

    def forward(self, x: Tensor, segment: Tensor, position: Tensor, causal: Tensor) -> Tensor:
        """Token states R T D; arguments as in `LowerLayers`."""
        if self.shape.causal:
            causal = torch.ones_like(causal)
        visible = sight(segment, position, causal).unsqueeze(1)  # R 1 T T
        if self.positions is not None:
            x = x + self.positions(position.clamp(max=self.shape.positions - 1))
        x = self.embedding_norm(x)
        bias = visible if self.relative is None else self.distances(position).masked_fill_(~visible, float("-inf"))
        rotation = backbone_rotation(self.shape, position)
        for block in self.blocks:
            x = block(x, bias=bias, rotation=rotation)
        return self.norm(x)

    def extend(self, x: Tensor, past: Sequence[KeysValues] | None = None) -> tuple[Tensor, list[KeysValues]]:
        """As `LowerLayers.extend`: read more tokens of texts being written, after those that `past` holds."""
        start, count = past[0][0].shape[2] if past else 0, x.shape[1]
        position = torch.arange(start + count, device=x.device)
        mine = position[start:]
        bias: Tensor | None = position <= mine[:, None]  # T P+T
        if self.positions is not None:
            x = x + self.positions(mine.clamp(max=self.shape.positions - 1))
        x = self.embedding_norm(x)
        if self.relative is not None:
            bias = self.distances(mine[None], position[None]).masked_fill_(position > mine[:, None], float("-inf"))
        rotation, kept = backbone_rotation(self.shape, mine), []
        for number, layer in enumerate(self.blocks):
            block = cast(BackboneBlock, layer)
            normed = block.attention_norm(x)
            keys_values = block.attention.keys_values(normed, rotation)
            keys_values = keys_values if past is None else append_past(past[number], keys_values)
            kept.append(keys_values)
            x = block.joined(x, block.attention.attend(block.attention.queries(normed, rotation), keys_values, bias))
            x = block.feed_forward(x)
        return self.norm(x), kept

    def distances(self, position: Tensor, keys: Tensor | None = None) -> Tensor:
        """(R, H, T, P): what the distance of a token (R, T) from those at `keys` (R, P), the same where None, adds to their score."""
        assert self.relative is not None
        away = (position if keys is None else keys)[:, None] - position[:, :, None]  # R T P: of key from query
        buckets = relative_bucket(away, self.shape.relative_buckets, self.shape.relative_distance)
        return F.embedding(buckets, self.relative.weight).movedim(-1, 1).contiguous()

    def reading(self, states: Tensor) -> Tensor:
        """The states (... D) for whoever reads them besides the next layer: each of root mean square 1 where layers leave that open."""
        return F.rms_norm(states, states.shape[-1:], eps=self.shape.eps) if self.even else states


class BackboneUpper(UpperLayers):
    """The layers above the split, over slots; the bias on distance and time starts at nothing, or from the checkpoint's own."""

    plain = False

    def __init__(self, shape: BackboneShape, layers: int, dropout: float = 0.0) -> None:
        norm = make_norm(shape) if shape.order == "pre" else nn.Identity()
        super().__init__(shape.width, shape.heads, layers, blocks=[BackboneBlock(shape, dropout) for _ in range(layers)], norm=norm)
        self.shape = shape
        adapt_layers(self.layers, shape.adapt)

    def rotation(self, positions: Tensor) -> Rotation | None:
        """Rotary positions, where the checkpoint has them."""
        return backbone_rotation(self.shape, positions)

    def tokens(self, states: Tensor) -> Tensor:
        """Token states (B, T, D) from left to right through these layers as the checkpoint was trained: nothing of slots, nothing that adapts.

        So that what a GPT-like checkpoint says of a text stays what it said, whatever the tasks taught these layers.
        """
        length = states.shape[1]
        place = torch.arange(length, device=states.device)
        rotation, visible = self.rotation(place[None]), place <= place[:, None]  # T T
        with without_changes(self):
            for layer in self.layers:
                block = cast(BackboneBlock, layer)
                normed = block.attention_norm(states)
                keys_values = block.attention.keys_values(normed, rotation)
                told = Attention.attend(block.attention, block.attention.queries(normed, rotation), keys_values, visible)  # past the prefix
                states = block.feed_forward(block.joined(states, told))
            return self.norm(states)

    def trained(self, wanted: bool = True) -> None:
        """Let what adapts these layers train, or not: the biases of slots, and by `adapt.way` the low-rank changes, the prefix, or all."""
        for name, parameter in self.named_parameters():
            chosen = self.shape.adapt.way == "full" or name.startswith("biases.") or is_adapter(name)
            parameter.requires_grad_(wanted and chosen)
