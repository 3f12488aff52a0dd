"""The parts both halves of the model are made of: RMSNorm, gated MLP, attention, the pre-norm block, seeded initialisation.

Shapes: B rows, S query positions, P key positions (past ones first), D width, H heads, C width of a head (D = H C).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]  # keys, values: each B H P C
Rotation = tuple[Tensor, Tensor]  # cosine, sine: each B S C/2 (or S C/2)


class RMSNorm(nn.Module):
    """x / rms(x) * weight, computed in float32 whatever the dtype of x (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.eps).to(x.dtype)  # ... D
        if not torch.is_grad_enabled():
            return (x.float() * _scale(x.float(), self.eps)).mul_(self.weight.float()).to(x.dtype)
        normed: Tensor = _RMSNorm.apply(x.float(), self.weight.float(), self.eps)
        return normed.to(x.dtype)


def _scale(x: Tensor, eps: float) -> Tensor:
    """... 1: 1 / rms(x)."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()


class _RMSNorm(torch.autograd.Function):
    """The same with its gradient in a few passes: on a CPU torch makes it of a dozen small operations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = _scale(x, eps)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        shape = x * scale  # ... D: x without its length
        slope = grads[0] * shape
        along = (slope @ weight).unsqueeze(-1).div_(x.shape[-1])  # ... 1: what only changes the length
        return (grads[0] * weight).addcmul_(shape, along, value=-1).mul_(scale), slope.flatten(0, -2).sum(0), None


class Dropout(nn.Module):
    """Dropout whose mask costs a sixth on a CPU: 16 random bits decide an element, so the rate is rounded to 1 / 65536."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        dropped = round(self.rate * 65536)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), 2**63 - 1).view(torch.int16)
        kept = bits[: x.numel()].view(x.shape) >= dropped - 32768
        return x * kept.to(x.dtype).mul_(65536 / (65536 - dropped))


class GatedMLP(nn.Module):
    """SwiGLU: down(silu(gate x) * up x) with hidden width 8/3 D rounded up to 16 (Shazeer, arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__()
        self.hidden = hidden or -(-width * 8 // 3 // 16) * 16
        self.gate_up = nn.Linear(width, 2 * self.hidden, bias=False)
        self.down = nn.Linear(self.hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)  # ... D


class Attention(nn.Module):
    """Multi-head attention in three steps that may be called apart: `queries`, `keys_values`, `attend`.

    No dropout on the attention weights: on a CPU it leaves the fused kernel; blocks drop the output instead.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def queries(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """B S D -> B H S C."""
        q = self._split(self.q(x))
        return q if rotation is None else rotate(q, rotation)

    def keys_values(self, x: Tensor, rotation: Rotation | None = None) -> KeysValues:
        """B S D -> keys and values, each B H S C: what a cache holds."""
        k, v = (self._split(part) for part in self.kv(x).chunk(2, dim=-1))
        return (k if rotation is None else rotate(k, rotation)), v

    def attend(self, q: Tensor, keys_values: KeysValues, bias: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """softmax(q k' / sqrt(C) + bias) v through the output projection.

        Args:
            q: B H S C.
            keys_values: each B H P C.
            bias: added to the scores, broadcastable to B H S P; or bool, True where a query may look. A query that may look
                nowhere has no defined answer: let padding look at itself.
            causal: query i sees keys 0..i (only without `bias`, and S = P).

        Returns:
            B S D.
        """
        k, v = keys_values
        if bias is not None and bias.dtype != torch.bool:
            bias = bias.to(q.dtype)
            if bias.requires_grad and q.device.type == "cpu":
                # torch's own kernel has no gradient of the bias on a CPU, and its stand-in looks at every row for rows that see nothing.
                scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # B H S P
                return self.out((torch.softmax(scores.add_(bias), dim=-1).to(v.dtype) @ v).transpose(1, 2).flatten(2))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal)  # B H S C
        return self.out(y.transpose(1, 2).flatten(2))

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        bias: Tensor | None = None,
        causal: bool = False,
        rotation: Rotation | None = None,
        past: KeysValues | None = None,
    ) -> Tensor:
        """Attention of x (B S D) over `context` (default: x itself), with `past` keys and values in front of it. Returns B S D."""
        keys_values = self.keys_values(x if context is None else context, rotation)
        if past is not None:
            keys_values = append_past(past, keys_values)
        return self.attend(self.queries(x, rotation), keys_values, bias, causal=causal)

    def behind_prefix(self, keys: Tensor, values: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys, values and bias as they are; layers that have trained keys and values of their own put them in front."""
        return keys, values, bias

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B S D -> B H S C


class Block(nn.Module):
    """Pre-norm block: x + drop(attention(norm x)), then x + drop(mlp(norm x))."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = RMSNorm(width)
        self.mlp = GatedMLP(width)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        *,
        bias: Tensor | None = None,
        causal: bool = False,
        rotation: Rotation | None = None,
        past: KeysValues | None = None,
    ) -> Tensor:
        """B S D -> B S D; arguments as in `Attention`."""
        x = self.joined(x, self.attention(self.attention_norm(x), bias=bias, causal=causal, rotation=rotation, past=past))
        return self.feed_forward(x)

    def joined(self, x: Tensor, told: Tensor, *, dropped: bool = True) -> Tensor:
        """x with what its attention told it, for callers that run the attention in steps; dropped: with dropout, in training."""
        return x + (self.dropout(told) if dropped else told)

    def feed_forward(self, x: Tensor, *, dropped: bool = True) -> Tensor:
        """The second half alone."""
        told = self.mlp(self.mlp_norm(x))
        return x + (self.dropout(told) if dropped else told)


def append_past(past: KeysValues, new: KeysValues) -> KeysValues:
    """Keys and values of earlier positions, then the new ones: B H (P + S) C."""
    return torch.cat((past[0], new[0]), dim=2), torch.cat((past[1], new[1]), dim=2)


def rotation_of(position: Tensor, head_width: int, base: float = 10_000.0) -> Rotation:
    """Rotary embedding (Su et al., arXiv 2104.09864): scores depend on the distance of two positions only.

    Args:
        position: int, ... S.
        head_width: C, even.

    Returns:
        cosine and sine, float32, ... S C/2.
    """
    frequency = base ** (-torch.arange(0, head_width, 2, dtype=torch.float32, device=position.device) / head_width)  # C/2
    angle = position.float().unsqueeze(-1) * frequency  # ... S C/2
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the pairs (x[i], x[i + C/2]) of B H S C by the angles of their position."""
    cosine, sine = (part.unsqueeze(-3).to(x.dtype) for part in rotation)  # B 1 S C/2
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Fill every Linear and Embedding below `module` from `generator`, in the order of their names; other parameters stay.

    Weights are normal with variance 1 / fan-in, the two projections that write into the residual stream half as wide,
    embeddings 1 / D so that tied logits of a normed state start with variance 1.
    """
    for name, part in sorted(module.named_modules(), key=lambda pair: pair[0]):
        if isinstance(part, nn.Linear):
            residual = name.endswith(("attention.out", "mlp.down"))
            _fill(part.weight, (0.5 if residual else 1.0) * part.in_features**-0.5, generator)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, nn.Embedding):
            _fill(part.weight, part.embedding_dim**-0.5, generator)


def _fill(weight: Tensor, deviation: float, generator: torch.Generator) -> None:
    """From a CPU generator whatever the device, so that a seed means the same weights everywhere."""
    weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)
