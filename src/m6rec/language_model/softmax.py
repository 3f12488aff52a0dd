"""Cross-entropy of states against a table of vectors, fused and chunked: the full matrix of logits is never held.

Shapes: M states, V rows of the table, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 4_000_000  # logits held at once: 16 MB of float32
KEPT_LOGITS = 16_000_000  # where they are needed again in the backward pass


def linear_cross_entropy(states: Tensor, table: Tensor, targets: Tensor, chunk_logits: int = CHUNK_LOGITS) -> Tensor:
    """Mean over M of -log softmax(states @ table')[target].

    Gradients are computed chunk by chunk in the forward pass, so memory is `chunk_logits` plus one copy of the inputs.

    Args:
        states: M D, M >= 1.
        table: V D.
        targets: int64 M, each in 0..V - 1.
        chunk_logits: logits held at once.

    Returns:
        scalar float32.
    """
    loss: Tensor = _LinearCrossEntropy.apply(states, table, targets, chunk_logits)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor, chunk_logits: int) -> Tensor:
        rows = max(chunk_logits // table.shape[0], 1)
        wants_states, wants_table = ctx.needs_input_grad[:2]
        grad_states = torch.empty_like(states) if wants_states else None
        grad_table = torch.zeros_like(table, dtype=torch.float32) if wants_table else None
        loss = torch.zeros((), dtype=torch.float32, device=states.device)
        for start in range(0, states.shape[0], rows):
            part, target = states[start : start + rows], targets[start : start + rows, None]
            logits = (part @ table.T).float()  # m V
            shifted = logits.sub_(logits.amax(dim=1, keepdim=True))
            picked = shifted.gather(1, target)
            probability = shifted.exp_()
            total = probability.sum(dim=1, keepdim=True)
            loss += (total.log() - picked).sum()
            if grad_states is None and grad_table is None:
                continue
            slope = probability.div_(total * states.shape[0])  # d loss / d logits, so far without the target's -1
            slope.scatter_add_(1, target, torch.full_like(picked, -1.0 / states.shape[0]))
            if grad_states is not None:
                grad_states[start : start + rows] = slope.to(part.dtype) @ table.to(part.dtype)
            if grad_table is not None:
                grad_table += slope.T.to(part.dtype) @ part
        ctx.save_for_backward(grad_states, grad_table)
        ctx.table_dtype = table.dtype
        return loss / states.shape[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_states, grad_table = ctx.saved_tensors
        return (
            None if grad_states is None else grad_states * grads[0].to(grad_states.dtype),
            None if grad_table is None else (grad_table * grads[0]).to(ctx.table_dtype),
            None,
            None,
        )


def target_log_likelihood(states: Tensor, table: Tensor, targets: Tensor, chunk_logits: int = KEPT_LOGITS) -> Tensor:
    """float32 (M,): log softmax(states @ table')[target] of every row, for likelihoods that are mixed before they are added up.

    Arguments as in `linear_cross_entropy`. Probabilities of one chunk at most are kept; those of more are computed once more in the backward pass.
    """
    likelihood: Tensor = _TargetLogLikelihood.apply(states, table, targets, chunk_logits)
    return likelihood


class _TargetLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor, chunk_logits: int) -> Tensor:
        rows = max(chunk_logits // table.shape[0], 1)
        totals, picked, kept = [], [], None
        for start in range(0, len(states), rows):
            logits = (states[start : start + rows] @ table.T).float()  # m V
            totals.append(torch.logsumexp(logits, dim=1))
            picked.append(logits.gather(1, targets[start : start + rows, None])[:, 0])
            kept = logits.sub_(totals[-1][:, None]).exp_() if len(states) <= rows and any(ctx.needs_input_grad[:2]) else None
        total = torch.cat(totals)
        ctx.save_for_backward(states, table, targets, total, kept)
        ctx.rows = rows
        return torch.cat(picked) - total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        states, table, targets, total, kept = ctx.saved_tensors
        wants_states, wants_table = ctx.needs_input_grad[:2]
        grad_states = torch.empty_like(states) if wants_states else None
        grad_table = torch.zeros_like(table, dtype=torch.float32) if wants_table else None
        for start in range(0, len(states), ctx.rows):
            end = start + ctx.rows
            part, grad = states[start:end], grads[0][start:end, None]
            found = torch.exp((part @ table.T).float() - total[start:end, None]) if kept is None else kept
            slope = found * -grad  # m V
            slope.scatter_add_(1, targets[start:end, None], grad)
            if grad_states is not None:
                grad_states[start:end] = slope.to(part.dtype) @ table.to(part.dtype)
            if grad_table is not None:
                grad_table += slope.T.to(part.dtype) @ part
        return grad_states, None if grad_table is None else grad_table.to(table.dtype), None, None
