"""Lower layers: every segment read alone, however the rows were packed.

A token looks at its own segment only - all of it in context, up to itself in text being written - and at distances,
never at places in the row; so a segment has the same states wherever it is packed, and they can be kept for ever.

Shapes: R rows, T tokens of a row, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from m6rec.language_model.layers import Block, RMSNorm, rotation_of


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


def sight(segment: Tensor, position: Tensor, causal: Tensor) -> Tensor:
    """bool R T T: [r, i, j] is True where token i may look at token j. Padding looks at padding, so no softmax is empty."""
    same = segment.unsqueeze(2) == segment.unsqueeze(1)  # R T T
    if not causal.any():
        return same
    return same & ((position.unsqueeze(1) <= position.unsqueeze(2)) | ~causal.unsqueeze(2))
