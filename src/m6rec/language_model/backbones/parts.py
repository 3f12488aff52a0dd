"""The layers of pretrained checkpoints, built so that they can stand where a `layers.Block` stands.

Shapes: B rows, S query positions, P key positions, D width, H heads, K heads of keys and values, C width of a head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m6rec.language_model.backbones.config import Activation, BackboneShape, Rotary
from m6rec.language_model.layers import Attention, Dropout, KeysValues, RMSNorm, Rotation, rotate


def make_norm(shape: BackboneShape, width: int | None = None) -> nn.Module:
    """A norm as the checkpoint has it."""
    width = shape.width if width is None else width
    return RMSNorm(width, shape.eps) if shape.norm == "rms" else nn.LayerNorm(width, shape.eps)


def activate(kind: Activation, x: Tensor) -> Tensor:
    """The activation by its name; gelu_tanh is the approximation by tanh."""
    if kind == "relu":
        return F.relu(x)
    if kind == "silu":
        return F.silu(x)
    return F.gelu(x, approximate="tanh" if kind == "gelu_tanh" else "none")


def rotary_frequencies(rotary: Rotary, head_width: int, device: torch.device) -> Tensor:
    """float32 (C/2,): radians a position."""
    plain = rotary.base ** (-torch.arange(0, head_width, 2, dtype=torch.float32, device=device) / head_width)
    if rotary.scaling == "linear":
        return plain / rotary.factor
    if rotary.scaling == "llama3":
        wavelength = 2 * math.pi / plain
        smooth = ((rotary.positions / wavelength - rotary.low) / (rotary.high - rotary.low)).clamp(0, 1)
        return (1 - smooth) * plain / rotary.factor + smooth * plain
    return plain


def backbone_rotation(shape: BackboneShape, position: Tensor) -> Rotation | None:
    """Cosine and sine of int positions (... S), each (... S, C/2); None where the checkpoint has no rotary positions."""
    if shape.rotary is None:
        return None
    angle = position.clamp(min=0).float().unsqueeze(-1) * rotary_frequencies(shape.rotary, shape.head_width, position.device)
    return angle.cos(), angle.sin()


def relative_bucket(distance: Tensor, buckets: int, longest: int) -> Tensor:
    """T5's bucket of key position - query position, both directions (Raffel et al., arXiv 1910.10683)."""
    half = buckets // 2
    exact = half // 2
    size = distance.abs()
    far = exact + (torch.log(size.clamp(min=1).float() / exact) / math.log(longest / exact) * (half - exact)).long()
    return torch.where(size < exact, size, far.clamp(max=half - 1)) + half * (distance > 0)


class BackboneAttention(Attention):
    """`Attention` with biases, grouped keys and values, normed heads and a trained prefix, as a checkpoint wants them."""

    def __init__(self, shape: BackboneShape) -> None:
        nn.Module.__init__(self)
        self.heads, self.key_heads = shape.heads, shape.key_heads
        inside = shape.heads * shape.head_width
        self.q = nn.Linear(shape.width, inside, bias=shape.query_bias)
        self.kv = nn.Linear(shape.width, 2 * shape.key_heads * shape.head_width, bias=shape.query_bias)
        self.out = nn.Linear(inside, shape.width, bias=shape.out_bias)
        self.q_norm = RMSNorm(shape.head_width, shape.eps) if shape.head_norm else None
        self.k_norm = RMSNorm(shape.head_width, shape.eps) if shape.head_norm else None
        self.prefix_keys: nn.Parameter | None
        self.prefix_values: nn.Parameter | None
        self.register_parameter("prefix_keys", None)  # H P C each, where a prefix is trained
        self.register_parameter("prefix_values", None)

    def add_prefix(self, count: int) -> None:
        """Room for `count` keys and values before all others, zero until filled."""
        width = self.q.out_features // self.heads
        self.prefix_keys = nn.Parameter(torch.zeros(self.heads, count, width))
        self.prefix_values = nn.Parameter(torch.zeros(self.heads, count, width))

    def behind_prefix(self, keys: Tensor, values: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values (B H P C) and bias with the trained ones in front; every query sees those."""
        if self.prefix_keys is None or self.prefix_values is None:
            return keys, values, bias
        own_keys, own_values = (part.to(keys.dtype).expand(len(keys), -1, -1, -1) for part in (self.prefix_keys, self.prefix_values))
        if bias is not None:
            bias = F.pad(bias, (own_keys.shape[2], 0), value=1.0 if bias.dtype == torch.bool else 0.0)
        return torch.cat((own_keys, keys), dim=2), torch.cat((own_values, values), dim=2), bias

    def queries(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """B S D -> B H S C."""
        q = self._split(self.q(x))
        q = q if self.q_norm is None else self.q_norm(q)
        return q if rotation is None else rotate(q, rotation)

    def keys_values(self, x: Tensor, rotation: Rotation | None = None) -> KeysValues:
        """B S D -> keys and values, each B H S C: those of a group stand once for each of its heads."""
        k, v = (part.unflatten(-1, (self.key_heads, -1)).transpose(1, 2) for part in self.kv(x).chunk(2, dim=-1))
        k = k if self.k_norm is None else self.k_norm(k)
        k = k if rotation is None else rotate(k, rotation)
        group = self.heads // self.key_heads
        return (k, v) if group == 1 else (k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1))

    def attend(self, q: Tensor, keys_values: KeysValues, bias: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """As in `Attention`; a prefix is seen by every query."""
        if causal and self.prefix_keys is not None:
            bias, causal = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril(), False
        keys, values, bias = self.behind_prefix(*keys_values, bias)
        return super().attend(q, (keys, values), bias, causal=causal)


class BackboneMLP(nn.Module):
    """down(act(up x)), or down(act(gate x) * up x)."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        self.activation, self.gated = shape.activation, shape.gated
        self.gate_up = nn.Linear(shape.width, (2 if shape.gated else 1) * shape.hidden, bias=shape.mlp_bias)
        self.down = nn.Linear(shape.hidden, shape.width, bias=shape.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            return self.down(activate(self.activation, self.gate_up(x)))
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(activate(self.activation, gate) * up)


class BackboneBlock(nn.Module):
    """A layer of a checkpoint with the steps of `layers.Block`; post-norm layers norm after each sum and have nothing before their parts."""

    def __init__(self, shape: BackboneShape, dropout: float = 0.0) -> None:
        super().__init__()
        before = shape.order == "pre"
        self.attention_norm = make_norm(shape) if before else nn.Identity()
        self.attention = BackboneAttention(shape)
        self.mlp_norm = make_norm(shape) if before else nn.Identity()
        self.mlp = BackboneMLP(shape)
        self.after_attention = nn.Identity() if before else make_norm(shape)
        self.after_mlp = nn.Identity() if before else make_norm(shape)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, *, bias: Tensor | None = None, rotation: Rotation | None = None, past: KeysValues | None = None) -> Tensor:
        """B S D -> B S D; arguments as in `Attention`."""
        x = self.joined(x, self.attention(self.attention_norm(x), bias=bias, rotation=rotation, past=past))
        return self.feed_forward(x)

    def joined(self, x: Tensor, told: Tensor, *, dropped: bool = True) -> Tensor:
        """x with what its attention told it."""
        return self.after_attention(x + (self.dropout(told) if dropped else told))

    def feed_forward(self, x: Tensor, *, dropped: bool = True) -> Tensor:
        """The second half."""
        told = self.mlp(self.mlp_norm(x))
        return self.after_mlp(x + (self.dropout(told) if dropped else told))
