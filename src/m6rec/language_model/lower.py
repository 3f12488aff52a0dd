"""Lower layers: every segment read alone, however the rows were packed.

A token looks at its own segment only - all of it in context, up to itself in text being written - and at distances,
never at places in the row; so a segment has the same states wherever it is packed, and they can be kept for ever.

Shapes: R rows, T tokens of a row, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from m6rec.language_model.layers import Block, KeysValues, RMSNorm, append_past, rotation_of


class LowerLayers(nn.Module):
    """The layers below the split."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.head_width = width // heads
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = RMSNorm(width)

    def forward(self, x: Tensor, segment: Tensor, position: Tensor, causal: Tensor) -> Tensor:
        """Token states.

        Args:
            x: R T D, embedded tokens.
            segment: int64 R T, -1 where padded.
            position: int64 R T, from 0 in every segment.
            causal: bool R T, True in segments being written.

        Returns:
            R T D, normed; whatever stands at padding is finite and means nothing.
        """
        visible = sight(segment, position, causal).unsqueeze(1)  # R 1 T T
        rotation = rotation_of(position, self.head_width)
        for block in self.blocks:
            x = block(x, bias=visible, rotation=rotation)
        return self.norm(x)

    def reading(self, states: Tensor) -> Tensor:
        """The states (... D) for whoever reads them besides the next layer: as they are."""
        return states

    def extend(self, x: Tensor, past: Sequence[KeysValues] | None = None) -> tuple[Tensor, list[KeysValues]]:
        """Read more tokens of texts being written, after those that `past` holds: what `forward` gives for causal segments, token by token.

        Args:
            x: R T D, embedded tokens that come next in each of the R rows.
            past: keys and values (R H P C) of the P tokens before them, layer by layer; None: these are the first.

        Returns:
            R T D, normed, and the longer keys and values.
        """
        start = past[0][0].shape[2] if past else 0
        count = x.shape[1]
        position = torch.arange(start, start + count, device=x.device)
        rotation = rotation_of(position, self.head_width)
        visible = None if count == 1 else torch.arange(start + count, device=x.device) <= position[:, None]  # T P+T
        kept = []
        for number, layer in enumerate(self.blocks):
            block = cast(Block, layer)
            normed = block.attention_norm(x)
            keys_values = block.attention.keys_values(normed, rotation)
            if past is not None:
                keys_values = append_past(past[number], keys_values)
            kept.append(keys_values)
            x = x + block.dropout(block.attention.attend(block.attention.queries(normed, rotation), keys_values, visible))
            x = block.feed_forward(x)
        return cast(Tensor, self.norm(x)), kept


def sight(segment: Tensor, position: Tensor, causal: Tensor) -> Tensor:
    """bool R T T: [r, i, j] is True where token i may look at token j. Padding looks at padding, so no softmax is empty."""
    same = segment.unsqueeze(2) == segment.unsqueeze(1)  # R T T
    if not causal.any():
        return same
    return same & ((position.unsqueeze(1) <= position.unsqueeze(2)) | ~causal.unsqueeze(2))
