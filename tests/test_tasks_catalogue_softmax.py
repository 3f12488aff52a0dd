"""The fused softmax over the catalogue: loss and every gradient are those of the plain formula, and no more than a chunk of logits is held.

Dimension keys: R rows, N items, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from m6rec.tasks import catalogue_softmax
from m6rec.tasks.catalogue_softmax import mixture_loss


@dataclass
class Problem:
    states: Tensor  # R W
    items: Tensor  # N W
    targets: Tensor  # R
    log_gate: Tensor  # R
    log_rest: Tensor  # R

    def leaves(self) -> list[Tensor]:
        return [t.detach().clone().requires_grad_() for t in (self.states, self.items, self.log_gate, self.log_rest)]


def problem(rows: int, items: int, width: int, seed: int) -> Problem:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    targets = torch.randint(items, (rows,), generator=generator)
    gate = torch.sigmoid(normal(rows))
    rest = (1 - gate) * torch.sigmoid(normal(rows))
    return Problem(normal(rows, width), normal(items, width), targets, gate.log(), rest.log())


def plain_loss(
    states: Tensor, items: Tensor, log_gate: Tensor, log_rest: Tensor, targets: Tensor, own_share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """-sum log(gate * softmax(target) + rest) - own_share * sum log softmax(target), in float64, all logits at once."""
    logits = states.double() @ items.double().T  # R N
    own = torch.log_softmax(logits, dim=1)[torch.arange(len(targets)), targets]
    mixture = torch.log(log_gate.double().exp() * own.exp() + log_rest.double().exp())
    return -(mixture.sum() + own_share * own.sum()), -mixture.sum(), -own.sum()


def compare(case: Problem, own_share: float) -> None:
    fused, plain = case.leaves(), case.leaves()
    got = mixture_loss(fused[0], fused[1], case.targets, fused[2], fused[3], own_share=own_share)
    wanted = plain_loss(*plain, case.targets, own_share)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=1e-5)
    (1.7 * got[0]).backward()  # not 1: the incoming gradient must be passed on
    (1.7 * wanted[0]).backward()
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("own_share", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("chunk", [1, 37, 10_000])
def test_loss_and_all_gradients(monkeypatch: pytest.MonkeyPatch, own_share: float, chunk: int) -> None:
    monkeypatch.setattr(catalogue_softmax, "CHUNK_NUMBERS", chunk)
    compare(problem(9, 7, 4, seed=1), own_share)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 12),
    items=st.integers(1, 9),
    width=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    own_share=st.floats(0, 2),
    chunk=st.integers(1, 60),
)
def test_any_shape(rows: int, items: int, width: int, seed: int, own_share: float, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue_softmax, "CHUNK_NUMBERS", chunk)
        compare(problem(rows, items, width, seed), own_share)


def test_plain_softmax_is_a_case_of_it() -> None:
    """log_gate 0 and log_rest -inf: cross-entropy."""
    case = problem(8, 6, 3, seed=2)
    states, items = case.leaves()[:2]
    nothing = torch.full((8,), float("-inf"))
    loss, mixture, own = mixture_loss(states, items, case.targets, torch.zeros(8), nothing)
    wanted = torch.nn.functional.cross_entropy(states @ items.T, case.targets, reduction="sum")
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(mixture, own)
    gradients = torch.autograd.grad(loss, [states, items])
    for one, other in zip(gradients, torch.autograd.grad(wanted, [states, items]), strict=True):
        torch.testing.assert_close(one, other)


def test_hand_fraction() -> None:
    """Two items with equal logits: softmax 1/2; gate 1/2, rest 1/4: p = 1/4 + 1/4 = 1/2."""
    half, quarter = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    loss, mixture, own = mixture_loss(torch.zeros(1, 3), torch.randn(2, 3), torch.tensor([1]), half, quarter, own_share=1.0)
    assert mixture.item() == pytest.approx(np.log(2))
    assert own.item() == pytest.approx(np.log(2))
    assert loss.item() == pytest.approx(2 * np.log(2))


def test_a_prior_that_explains_all_leaves_the_softmax_in_peace() -> None:
    """With own_share 0 the pull on the softmax is its responsibility for the target: none where the rest gives nearly everything."""
    case = problem(4, 5, 3, seed=3)
    states = case.states.clone().requires_grad_()
    loss, _, _ = mixture_loss(states, case.items, case.targets, torch.full((4,), -40.0), torch.full((4,), -1e-9))
    loss.backward()
    assert states.grad is not None
    assert states.grad.abs().max() < 1e-12


def test_large_logits_stay_finite() -> None:
    case = problem(5, 6, 3, seed=4)
    states, items = (1e4 * case.states).requires_grad_(), case.items.clone().requires_grad_()
    loss, _, _ = mixture_loss(states, items, case.targets, case.log_gate, case.log_rest, own_share=0.3)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(states.grad).all()
    assert torch.isfinite(items.grad).all()


def test_no_rows_is_a_loss_of_zero_that_can_be_differentiated() -> None:
    states, items = torch.zeros(0, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    loss, _, _ = mixture_loss(states, items, torch.zeros(0, dtype=torch.long), torch.zeros(0), torch.zeros(0), own_share=0.3)
    loss.backward()
    assert loss.item() == 0
    assert items.grad is not None
    assert not items.grad.any()


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor any operation makes."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, list | tuple) else [result]:
            if isinstance(one, Tensor):
                self.largest = max(self.largest, one.numel())
        return result


def test_the_full_logit_matrix_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 x 128 logits, 1024 allowed at a time: nothing larger than that is ever made, forward or backward."""
    monkeypatch.setattr(catalogue_softmax, "CHUNK_NUMBERS", 1024)
    case = problem(256, 128, 4, seed=5)
    states, items, gate, rest = case.leaves()
    with LargestTensor() as seen:
        loss, _, _ = mixture_loss(states, items, case.targets, gate, rest, own_share=0.3)
        loss.backward()
    assert 0 < seen.largest <= 1024
