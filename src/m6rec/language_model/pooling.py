"""Attention pooling: one vector of a segment, u = (1 / Z) sum_i a_i h_i (M6-Rec, arXiv 2205.08084).

The same module makes an item's summary and the interest vector of what a person typed.
Shapes: M tokens in any order, G segments, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """a_i = exp(query . h_i / sqrt(D)) over the tokens of each segment, Z their sum. Starts as the mean (query = 0)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, states: Tensor, segment: Tensor, count: int) -> Tensor:
        """Args:
            states: ... D token states.
            segment: int64 ..., the segment of each token, -1 for a token of none (padding).
            count: G.

        Returns:
            float32 G D; zeros for a segment without tokens.
        """
        real = segment >= 0
        weights = self.weights(states, segment, count)[real]  # M
        summary = torch.zeros(count, states.shape[-1], dtype=torch.float32, device=states.device)
        return summary.index_add(0, segment[real], weights.unsqueeze(1) * states[real].float())

    def weights(self, states: Tensor, segment: Tensor, count: int) -> Tensor:
        """float32, shaped like `segment`: a_i / Z, 0 at padding; the weights of a segment sum to 1."""
        real = segment >= 0
        index = segment[real]
        scores = (states[real].float() * self.query.float()).sum(-1) * states.shape[
            -1
        ] ** -0.5  # M (no matrix product: autocast would round it)
        # The largest score of each segment is taken off first: no overflow, and the quotient is the same.
        highest = torch.full((count,), float("-inf"), device=states.device).scatter_reduce(0, index, scores.detach(), "amax")
        powers = torch.exp(scores - highest[index])
        total = torch.zeros(count, device=states.device).index_add(0, index, powers)
        return torch.zeros(segment.shape, device=states.device).masked_scatter(real, powers / total[index])
