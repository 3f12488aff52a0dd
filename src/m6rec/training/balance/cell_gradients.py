"""The gradient of each cell's loss, apart: what balancers compare that look at gradients.

Dimension keys: C cells, P parameters, U rows of a table that any cell touched, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m6rec.training.processes import Processes


class CellGradients:
    """Gradients of C losses by P parameters, summed over the batches of a step; those of large tables stay sparse.

    A parameter counts as shared where more than one cell reaches it; one that a single cell reaches keeps that gradient as it is.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.found: dict[str, list[Tensor | None]] = {}

    def add(self, losses: dict[str, Tensor]) -> None:
        """One backward pass a cell."""
        left = len(losses)
        for cell, loss in losses.items():
            left -= 1
            gradients: list[Tensor | None] = list(torch.autograd.grad(loss, self.parameters, retain_graph=left > 0, allow_unused=True))
            before = self.found.get(cell)
            if before is not None:
                gradients = [_sum(old, new) for old, new in zip(before, gradients, strict=True)]
            self.found[cell] = gradients

    def average(self, processes: Processes) -> None:
        """Over all processes; afterwards the cells are in the order of their names, the same everywhere."""
        if processes.count > 1:
            names = sorted({name for part in processes.gather(list(self.found)) for name in part})
            nothing: list[Tensor | None] = [None] * len(self.parameters)
            self.found = {name: processes.average(self.found.get(name, nothing), self.parameters) for name in names}

    def gramian(self) -> Tensor:
        """float64 (C, C): inner products of the gradients by the shared parameters, cells in the order of `found`."""
        products = torch.zeros(len(self.found), len(self.found), dtype=torch.float64)
        for place in range(len(self.parameters)):
            gradients = [row[place] for row in self.found.values()]
            if sum(gradient is not None for gradient in gradients) > 1:
                matrix = _matrix(gradients)
                products += (matrix @ matrix.T).double().cpu()
        return products

    def write(self, factors: list[float]) -> None:
        """Leave the factors' sum of the gradients in `.grad`, and forget them."""
        for place, parameter in enumerate(self.parameters):
            pairs = [(factor, row[place]) for factor, row in zip(factors, self.found.values(), strict=True) if row[place] is not None]
            total: Tensor | None = None
            for factor, gradient in pairs:
                assert gradient is not None
                total = _sum(total, gradient if len(pairs) == 1 else factor * gradient)
            parameter.grad = total
        self.found = {}


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return other + one if one.is_sparse and not other.is_sparse else one + other  # a sparse tensor takes no dense one


def _matrix(gradients: list[Tensor | None]) -> Tensor:
    """(C, n): the gradients by one parameter as rows, zero where there is none; of a sparse one only the rows that any cell touched."""
    known = [gradient for gradient in gradients if gradient is not None]
    if not all(gradient.is_sparse for gradient in known):
        flat = [None if g is None else (g.to_dense() if g.is_sparse else g).reshape(-1) for g in gradients]
        width = next(row for row in flat if row is not None)
        return torch.stack([torch.zeros_like(width) if row is None else row for row in flat]).float()
    whole = [None if gradient is None else gradient.coalesce() for gradient in gradients]
    rows = torch.unique(torch.cat([gradient.indices()[0] for gradient in whole if gradient is not None]))  # U
    some = known[0]
    matrix = torch.zeros(len(gradients), len(rows), *some.shape[1:], device=some.device)  # C U W
    for number, gradient in enumerate(whole):
        if gradient is not None:
            matrix[number, torch.searchsorted(rows, gradient.indices()[0])] = gradient.values().float()
    return matrix.reshape(len(gradients), -1)
