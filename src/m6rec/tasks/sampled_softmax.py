"""Softmax over a large catalogue from a sample of it: shared negatives, log-Q correction, inside the likelihood of the mixture.

The normaliser of the softmax is estimated without bias: with m draws of q, an item s drawn c times, and the target t left out of the draws,

    Z ~ exp(l_t) + sum over s != t of c_s exp(l_s) / (m q_s)        E = sum over all items of exp(l_i)

so a drawn item's logit is lowered by log(m q_s / c_s), the log-Q correction (Bengio & Senecal 2008; Yi et al. 2019), and a draw that
happens to be the target counts as the target alone. Only the vectors of items that a step touches are computed.

Dimension keys: R rows (one per training target), N items, S distinct negatives, W width, C rows of a chunk, T items touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from m6rec.language_model.devices import moved
from m6rec.tasks.catalogue_softmax import CHUNK_NUMBERS
from m6rec.tasks.config import ChooseConfig


@dataclass(frozen=True)
class Negatives:
    """items int64 (S,), ascending and distinct; log_expected float32 (S,): log of how often each was to be drawn over how often it was. On the CPU."""

    items: Tensor
    log_expected: Tensor


class NegativeSampler:
    """Draws with replacement from q(i) = uniform / N' + (1 - uniform) seen_i^power / sum, over the N' items seen in training.

    Args:
        seen: (N,), training events per item; an item never seen is never drawn.
        count: draws for a batch.
        in_batch: count the targets of a batch as draws of its negatives too (they come by seen_i / sum).
    """

    def __init__(self, seen: Tensor, count: int, *, power: float, uniform: float, in_batch: bool = False) -> None:
        seen, self.count = seen.double(), count
        known = seen > 0
        weights = torch.where(known, seen.clamp(min=1) ** power, torch.zeros_like(seen))
        self.chance = (1 - uniform) * weights / weights.sum() + uniform * known / known.sum()  # N
        self.share = seen / seen.sum()  # N
        self.in_batch = in_batch
        self._cumulative = torch.cumsum(self.chance, 0)

    @classmethod
    def of(cls, config: ChooseConfig, log_seen: Tensor) -> Self | None:
        """What `config` asks for where log_seen (N,) is log(1 + training events); None for a softmax over the whole catalogue."""
        log_seen = log_seen.cpu()
        count = config.drawn(int((log_seen > 0).sum()))
        if count is None:
            return None
        seen = torch.expm1(log_seen.double()).round()
        how = {"power": config.negatives_power, "uniform": config.negatives_uniform}
        return cls(seen, count, **how, in_batch=config.negatives_in_batch)

    def draw(self, targets: Tensor) -> Negatives:
        """Draws by torch's own generator, for a batch with `targets` int64 (R,)."""
        place = torch.rand(self.count, dtype=torch.float64) * self._cumulative[-1]
        drawn = torch.searchsorted(self._cumulative, place, right=True).clamp(max=len(self.chance) - 1)
        items, times = torch.unique(torch.cat([drawn, targets]) if self.in_batch else drawn, return_counts=True)
        expected = self.count * self.chance[items]
        if self.in_batch:
            expected = expected + len(targets) * self.share[items]
        return Negatives(items, (expected.log() - times.double().log()).float())


class _SampledMixtureLoss(torch.autograd.Function):
    """One pass computes the loss and every gradient, as `_MixtureLoss` does for the whole catalogue."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        wanted: Tensor,
        others: Tensor,
        log_expected: Tensor,
        hits: Tensor,
        log_gate: Tensor,
        log_rest: Tensor,
        own_share: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, count = states.shape[0], others.shape[0]
        chunk = max(1, CHUNK_NUMBERS // max(count, 1))
        grad_states = torch.empty_like(states)
        grad_others = torch.zeros_like(others)
        grad_gate, grad_rest, slope = torch.empty_like(log_gate), torch.empty_like(log_rest), torch.empty_like(log_gate)
        mixture = states.new_zeros((), dtype=torch.float32)
        own = states.new_zeros((), dtype=torch.float32)
        at_target = (states.float() * wanted.float()).sum(dim=1)  # R
        for start in range(0, rows, chunk):
            part = slice(start, min(rows, start + chunk))
            logits = torch.matmul(states[part], others.t()).float().sub_(log_expected)  # C S
            hit = torch.nonzero(hits[part] >= 0).squeeze(1)
            logits[hit, hits[part][hit]] = float("-inf")
            mine = at_target[part]
            top = torch.maximum(logits.amax(dim=1), mine) if count else mine
            share = logits.sub_(top[:, None]).exp_()
            total = share.sum(dim=1) + (mine - top).exp()
            log_own = mine - top - total.log()  # C: log of the estimated p(target) of the softmax alone
            joint = log_gate[part] + log_own
            log_mix = torch.logaddexp(joint, log_rest[part])
            blame = (joint - log_mix).exp()  # responsibility of the softmax for the target
            weight = blame + own_share
            mixture -= log_mix.sum()
            own -= log_own.sum()
            grad_gate[part], grad_rest[part] = -blame, blame - 1
            slope[part] = weight * torch.expm1(log_own)
            share = share.mul_((weight / total)[:, None]).to(others.dtype)
            grad_states[part] = torch.matmul(share, others)
            grad_others.addmm_(share.t(), states[part])
        narrow = slope[:, None].to(states.dtype)
        grad_states.addcmul_(narrow, wanted)
        ctx.save_for_backward(grad_states, narrow * states, grad_others, grad_gate, grad_rest)
        ctx.mark_non_differentiable(mixture, own)
        return mixture + own_share * own, mixture, own

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_wanted, grad_others, grad_gate, grad_rest = ctx.saved_tensors
        return grad * grad_states, grad * grad_wanted, grad * grad_others, None, None, grad * grad_gate, grad * grad_rest, None


def sampled_mixture_loss(
    states: Tensor,
    wanted: Tensor,
    others: Tensor,
    targets: Tensor,
    negatives: Negatives,
    log_gate: Tensor,
    log_rest: Tensor,
    *,
    own_share: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """`mixture_loss` with the normaliser of its softmax estimated from `negatives`.

    Args:
        states: (R, W). wanted: (R, W), vectors of the targets. others: (S, W), vectors of the negatives.
        targets: int64 (R,), items; on the CPU, as the negatives are.
        log_gate, log_rest, own_share: as in `mixture_loss`.

    Returns:
        (loss to differentiate, mixture part, softmax part), three sums; the last two carry no gradient.
    """
    place = torch.searchsorted(negatives.items, targets).clamp(max=max(len(negatives.items) - 1, 0))
    same = negatives.items[place] == targets if len(negatives.items) else torch.zeros_like(targets, dtype=torch.bool)
    hits = torch.where(same, place, torch.full_like(place, -1))  # R: where among the negatives a row's own target stands
    log_expected, hits = moved(negatives.log_expected, states.device), moved(hits, states.device)
    loss, mixture, own = _SampledMixtureLoss.apply(states, wanted, others, log_expected, hits, log_gate, log_rest, own_share)
    return loss, mixture, own


@dataclass(frozen=True)
class Touched:
    """The items of one step: ids int64 (T,), ascending and distinct, their vectors (T, W), and which of them are negatives. Items are on the CPU."""

    ids: Tensor
    vectors: Tensor
    negatives: Negatives

    def place(self, items: Tensor) -> Tensor:
        """Rows of `vectors`, where these are, for items (any shape) that are among `ids`."""
        return moved(torch.searchsorted(self.ids, items), self.vectors.device)

    def loss(self, states: Tensor, targets: Tensor, log_gate: Tensor, log_rest: Tensor, own_share: float) -> Tensor:
        """`sampled_mixture_loss` with the vectors at hand: the sum to differentiate."""
        wanted, others = self.vectors[self.place(targets)], self.vectors[self.place(self.negatives.items)]
        return sampled_mixture_loss(states, wanted, others, targets, self.negatives, log_gate, log_rest, own_share=own_share)[0]
