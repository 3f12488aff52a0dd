"""Softmax over the catalogue, chunked and fused with the likelihood of a mixture: the full logit matrix is never held.

Dimension keys: R rows (one per training target), N items among the negatives, W width, C rows of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_NUMBERS = 1_000_000  # logits held at a time: 4 MB in float32, a core's share of the cache of a server


class _MixtureLoss(torch.autograd.Function):
    """One pass computes the loss and every gradient: each chunk of logits is made, used three times, and dropped."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        items: Tensor,
        targets: Tensor,
        log_gate: Tensor,
        log_rest: Tensor,
        own_share: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, count = states.shape[0], items.shape[0]
        chunk = max(1, min(rows, CHUNK_NUMBERS // count))
        grad_states = torch.empty_like(states)
        grad_items = torch.zeros_like(items)
        grad_gate, grad_rest = torch.empty_like(log_gate), torch.empty_like(log_rest)
        mixture = states.new_zeros((), dtype=torch.float32)
        own = states.new_zeros((), dtype=torch.float32)
        transposed = items.t()
        at_targets = items[targets]  # R W
        weights = torch.empty_like(log_gate)  # R: how much a row's softmax counts
        for start in range(0, rows, chunk):
            part = slice(start, min(rows, start + chunk))
            logits = torch.matmul(states[part], transposed).float()  # C N
            top = logits.amax(dim=1)
            at_target = logits.gather(1, targets[part, None]).squeeze(1)
            share = torch.softmax(logits, dim=1)
            total = top - share.amax(dim=1).log()  # C: log of the sum of the exponentials, the largest share being exp(top - total)
            log_own = at_target - total  # C: log p(target) of the softmax alone
            joint = log_gate[part] + log_own
            log_mix = torch.logaddexp(joint, log_rest[part])
            blame = (joint - log_mix).exp()  # responsibility of the softmax for the target
            weights[part] = weight = blame + own_share
            mixture -= log_mix.sum()
            own -= log_own.sum()
            grad_gate[part], grad_rest[part] = -blame, blame - 1
            share = share.to(items.dtype)
            grad_states[part] = torch.matmul(share, items)
            # Rows are weighed, and targets taken off, on the narrow side of the products: the wide one is read once.
            grad_items.addmm_(share.t(), states[part] * weight[:, None].to(states.dtype))
        narrow = weights[:, None].to(states.dtype)
        grad_states.sub_(at_targets).mul_(narrow)
        grad_items.index_add_(0, targets, states * narrow, alpha=-1)
        ctx.save_for_backward(grad_states, grad_items, grad_gate, grad_rest)
        ctx.mark_non_differentiable(mixture, own)
        return mixture + own_share * own, mixture, own

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_items, grad_gate, grad_rest = ctx.saved_tensors
        return grad * grad_states, grad * grad_items, None, grad * grad_gate, grad * grad_rest, None


def mixture_loss(
    states: Tensor,
    items: Tensor,
    targets: Tensor,
    log_gate: Tensor,
    log_rest: Tensor,
    *,
    own_share: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log-likelihood of p(i) = gate * softmax_i(state . item) + rest(i), summed over rows, plus a share of the softmax's own.

    Args:
        states: (R, W). items: (N, W). targets: int64 (R,) in [0, N).
        log_gate: float32 (R,), log of the weight of the softmax; 0 with `log_rest` -inf is the plain softmax.
        log_rest: float32 (R,), log of what the other parts of the mixture give to the target.
        own_share: weight of the softmax's own negative log-likelihood, so that it also learns where a prior explains all.

    Returns:
        (loss to differentiate, mixture part, softmax part), three sums; the last two carry no gradient.
    """
    loss, mixture, own = _MixtureLoss.apply(states, items, targets, log_gate, log_rest, own_share)
    return loss, mixture, own
