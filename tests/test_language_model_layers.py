"""The hand-made pieces of a layer: RMSNorm and biased attention against torch's own, values and gradients; the cheap dropout mask by its law."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from m6rec.language_model.layers import Attention, Dropout, RMSNorm


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_rms_norm_is_torch_s_with_its_gradients() -> None:
    norm = RMSNorm(8)
    with torch.no_grad():
        norm.weight.copy_(1 + 0.3 * seeded(8, seed=1))
    x, slope = (3 * seeded(4, 5, 8)).requires_grad_(), seeded(4, 5, 8, seed=2)
    plain = F.rms_norm(x, (8,), norm.weight, norm.eps)
    wanted = torch.autograd.grad(plain, (x, norm.weight), slope)
    ours = norm(x)
    torch.testing.assert_close(ours, plain)
    for got, known in zip(torch.autograd.grad(ours, (x, norm.weight), slope), wanted, strict=True):
        torch.testing.assert_close(got, known, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), plain)
    zero = torch.zeros(2, 8, requires_grad=True)
    assert torch.isfinite(torch.autograd.grad(norm(zero).sum(), zero)[0]).all()


def test_attention_with_a_trained_bias_is_torch_s_with_its_gradients() -> None:
    attention, x = Attention(16, 2), seeded(3, 7, 16).requires_grad_()
    future = torch.ones(7, 7, dtype=torch.bool).triu(1)
    bias = seeded(1, 2, 7, 7, seed=4).masked_fill(future, float("-inf"))
    slope = seeded(3, 7, 16, seed=5)
    plain = attention(x, bias=bias)  # no gradient of the bias asked for: torch's kernel
    trained = bias.clone().requires_grad_()
    ours = attention(x, bias=trained)
    torch.testing.assert_close(ours, plain)
    weights = list(attention.parameters())
    wanted = torch.autograd.grad(plain, [x, *weights], slope)
    *got, of_bias = torch.autograd.grad(ours, [x, *weights, trained], slope)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert not of_bias[:, :, future].any()
    assert of_bias[:, :, ~future].any()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.77])
def test_dropout_keeps_the_share_and_the_mean_it_should(rate: float) -> None:
    dropout = Dropout(rate)
    x = torch.ones(401, 501, requires_grad=True)  # no multiple of the four elements of a draw
    torch.manual_seed(3)
    y = dropout(x)
    kept = (y != 0).float()
    deviation = (rate * (1 - rate) / x.numel()) ** 0.5
    assert abs(kept.mean().item() - (1 - rate)) < 5 * deviation
    assert abs(y.mean().item() - 1) < 5 * deviation / (1 - rate)
    for lag in (1, 2, 3, 4):  # elements of one draw are as independent as those of two
        flat = kept.flatten() - (1 - rate)
        assert abs((flat[lag:] * flat[:-lag]).mean().item()) < 5 * rate * (1 - rate) / x.numel() ** 0.5
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y.detach())
    torch.manual_seed(3)
    assert torch.equal(dropout(x), y)
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
