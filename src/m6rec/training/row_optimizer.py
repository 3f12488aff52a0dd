"""AdamW that leaves alone the rows of a table which a step did not touch.

A table of a million rows of which a step reads some thousands gives a sparse gradient; writing the whole table, its momentum and its
second moment every step would be nearly all of the work. Such a table gets one second moment a row and no momentum (row-wise Adam, as
FBGEMM's row-wise optimisers: the mean of the squared gradient over the row), corrected for bias by how often the row was visited, and is
decayed where it is visited. It stays so in steps in which another task gives it a dense gradient. Everything else is AdamW.

Shapes: N rows of a table, T rows touched, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

ROW_STATE = ("row_square", "visits")  # float32 (N,) each


class AdamWithRows(torch.optim.AdamW):
    """AdamW for dense gradients, row by row for sparse ones (coordinates along the first dimension)."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None and (table.grad.is_sparse or ROW_STATE[0] in self.state[table]):
                    self._step_rows(table, group)
                    table.grad = None  # AdamW passes over it
        return super().step(closure)

    def _step_rows(self, table: Tensor, group: dict[str, Any]) -> None:
        rows, values = touched_rows(table.grad)  # type: ignore[arg-type]  # T, T W
        state = self.state[table]
        if ROW_STATE[0] not in state:
            self._start_rows(table, state)
        beta = group["betas"][1]
        square = beta * state["row_square"][rows] + (1 - beta) * values.float().square().mean(dim=1)
        visits = state["visits"][rows] + 1
        state["row_square"][rows], state["visits"][rows] = square, visits
        scale = group["lr"] / ((square / (1 - beta**visits)).sqrt() + group["eps"])  # T
        table[rows] = table[rows] * (1 - group["lr"] * group["weight_decay"]) - scale[:, None].to(values.dtype) * values

    def _start_rows(self, table: Tensor, state: dict[str, Any]) -> None:
        """Row state from nothing, or from what AdamW gathered before the first sparse gradient."""
        squares, steps = state.get("exp_avg_sq"), state.get("step")
        state.clear()
        state.update({name: torch.zeros(len(table), device=table.device) for name in ROW_STATE})
        if squares is not None and steps is not None:
            state["row_square"] += squares.float().mean(dim=1)
            state["visits"] += float(steps)


def touched_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """(rows with a gradient, their gradients), of a sparse gradient or of a dense one (tasks may differ in how they read a table)."""
    if gradient.is_sparse:
        whole = gradient.coalesce()
        return whole.indices()[0], whole.values()
    rows = gradient.flatten(1).any(dim=1).nonzero()[:, 0]
    return rows, gradient[rows]


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], most: float) -> Tensor:
    """`clip_grad_norm_` for gradients dense and sparse: scaled in place to a joint norm of at most `most`; returns the norm before."""
    values = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values())
        elif parameter.grad is not None:
            values.append(parameter.grad)
    total = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in values])) if values else torch.zeros(())
    scale = (most / (total + 1e-6)).clamp(max=1.0)
    for value in values:
        value.mul_(scale)
    return total
