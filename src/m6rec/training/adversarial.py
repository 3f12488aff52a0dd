"""Adversarial training on embeddings: Miyato, Dai and Goodfellow, "Adversarial training methods for semi-supervised text classification",
ICLR 2017 (FGM).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from m6rec.training.row_optimizer import touched_rows


class Adversary:
    """Moves the rows of embedding tables that a batch reads by epsilon |rows| g / |g|, g the gradient of the loss by them.

    epsilon: the size of the move as a share of the rows' norm (Frobenius, table by table).
    """

    def __init__(self, module: nn.Module, epsilon: float) -> None:
        self.epsilon = epsilon
        tables = [part.weight for part in module.modules() if isinstance(part, nn.Embedding | nn.EmbeddingBag)]
        self.tables = [table for table in dict.fromkeys(tables) if table.requires_grad]

    def gradients(self, loss: Tensor) -> list[Tensor | None]:
        """Of `loss` by each table; its graph is kept."""
        return list(torch.autograd.grad(loss, self.tables, retain_graph=True, allow_unused=True)) if self.tables else []

    @contextmanager
    def moved(self, gradients: list[Tensor | None]) -> Iterator[None]:
        """Inside the block the tables are moved to where the loss is larger; afterwards they hold the same bits as before.

        A graph made before the block may not be differentiated after it has begun: the tables are changed in place.
        """
        kept: list[tuple[Tensor, Tensor, Tensor]] = []  # table, rows, what stood there
        with torch.no_grad():
            for table, gradient in zip(self.tables, gradients, strict=True):
                if gradient is None:
                    continue
                rows, values = touched_rows(gradient)
                before = table[rows].clone()
                size = torch.linalg.vector_norm(values)
                if len(rows) and size > 0:
                    kept.append((table, rows, before))
                    table[rows] = before + self.epsilon * torch.linalg.vector_norm(before) / size * values
        try:
            yield
        finally:
            with torch.no_grad():
                for table, rows, before in kept:
                    table[rows] = before
