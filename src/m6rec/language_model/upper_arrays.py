"""The upper layers for one person at a time, in plain arrays: what `UpperLayers` computes, without the cost of starting an operation.

A request moves a few dozen slots of width 64: there torch spends more time on getting an operation going than on its numbers. Same weights, same
formulas, equal to rounding (a test compares them). A history is read once and kept; a further event is read after it without reading it again.

Shapes: T slots of a history, X candidates, W width, H heads, D = W / H, L layers, U hidden width of a layer's MLP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F

from m6rec.language_model.layers import Block, RMSNorm
from m6rec.language_model.upper import TIME_BUCKETS, SlotBias, UpperLayers, distance_bucket


@dataclass(frozen=True)
class ReadSlots:
    """A history that was read.

    keys     L of (H, D, T)    values  L of (H, T, D)    times  float64 (T,) or None
    entered  (L + 1, W): the newest slot as it enters each layer, and after the last    state  (W,) the same after the final norm
    """

    keys: list[np.ndarray]
    values: list[np.ndarray]
    times: np.ndarray | None
    entered: np.ndarray
    state: np.ndarray

    @property
    def length(self) -> int:
        """T."""
        return self.keys[0].shape[2] if self.keys else 0

    @property
    def bytes(self) -> int:
        arrays = [*self.keys, *self.values, self.entered, self.state]
        return sum(array.nbytes for array in arrays) + (0 if self.times is None else self.times.nbytes)


@dataclass(frozen=True)
class _Layer:
    """Weights of a layer with its norms multiplied in: qkv (W, 3W), out (W, W), gate_up (W, 2U), down (U, W); bias tables (., H)."""

    qkv: np.ndarray
    out: np.ndarray
    gate_up: np.ndarray
    down: np.ndarray
    distance: np.ndarray
    time: np.ndarray


class UpperArrays:
    """The weights of `upper` as they are now, laid out."""

    def __init__(self, upper: UpperLayers) -> None:
        self.layers = [_laid_out(cast(Block, layer), cast(SlotBias, bias)) for layer, bias in zip(upper.layers, upper.biases, strict=True)]
        self.norm, self.eps = array_of(upper.norm.weight), upper.norm.eps
        self.heads = cast(Block, upper.layers[0]).attention.heads if len(upper.layers) else 1
        self._buckets = np.zeros(0, dtype=np.int64)
        self._falling: dict[tuple[int, int], np.ndarray] = {}

    def read(self, slots: np.ndarray, times: np.ndarray | None, depth: int | None = None) -> ReadSlots:
        """Read slots (T, W), the newest last; times float64 (T,) seconds, NaN unknown, or None.

        depth: layers that are passed, the first ones; None: all. What comes after them is left out as if it changed nothing.
        """
        length, width = slots.shape
        gaps = None
        if times is not None and not np.isnan(times).all():
            gaps = time_buckets((times[:, None] - times[None]).astype(np.float32))  # T T
        keys, values, entered = [], [], np.empty((len(self.layers) + 1, width), np.float32)
        x, layers = slots, self.layers[:depth]
        for number, layer in enumerate(layers):
            entered[number] = x[-1]
            mine = (normed(x, self.eps) @ layer.qkv).reshape(length, 3, self.heads, -1)
            keys.append(np.ascontiguousarray(mine[:, 1].transpose(1, 2, 0)))
            values.append(np.ascontiguousarray(mine[:, 2].transpose(1, 0, 2)))
            last = number + 1 == len(layers)
            bias = self._causal(number, length)
            if gaps is not None:
                bias = bias[:, -1:] + layer.time[gaps[-1:]].transpose(2, 0, 1) if last else bias + layer.time[gaps].transpose(2, 0, 1)
            elif last:
                bias = bias[:, -1:]
            queries = mine[-1:, 0] if last else mine[:, 0]  # the last layer owes nothing but the newest state
            told = softmax(queries.transpose(1, 0, 2) @ keys[-1] + bias) @ values[-1]  # H T D
            x = (x[-1:] if last else x) + told.transpose(1, 0, 2).reshape(-1, width) @ layer.out
            x = x + _mlp(x, layer, self.eps)
        entered[len(layers) :] = x[-1]
        return ReadSlots(keys, values, times, entered, self._final(x[-1]))

    def extend(self, read: ReadSlots, slot: np.ndarray, time: float) -> ReadSlots:
        """Read one more slot (W,) after those of `read`, which stays as it is."""
        length, width = read.length + 1, len(slot)
        distance = self._distances(length)[::-1]  # T: of each slot, the new one last
        times = None if read.times is None else np.append(read.times, time)
        gaps = None
        if times is not None and not np.isnan(times).all():
            gaps = time_buckets((time - times).astype(np.float32))
        keys, values, entered = [], [], np.empty((len(self.layers) + 1, width), np.float32)
        x = slot[None]
        for number, layer in enumerate(self.layers):
            entered[number] = x[0]
            query, key, value = (normed(x, self.eps) @ layer.qkv).reshape(3, self.heads, -1)  # H D
            keys.append(np.concatenate([read.keys[number], key[:, :, None]], axis=2))
            values.append(np.concatenate([read.values[number], value[:, None]], axis=1))
            bias = layer.distance[distance] if gaps is None else layer.distance[distance] + layer.time[gaps]  # T H
            told = softmax(query[:, None] @ keys[-1] + bias.T[:, None]) @ values[-1]  # H 1 D
            x = x + told.reshape(1, width) @ layer.out
            x = x + _mlp(x, layer, self.eps)
        entered[-1] = x[0]
        return ReadSlots(keys, values, times, entered, self._final(x[0]))

    def candidates(self, slots: np.ndarray, read: ReadSlots, time: float | None, layers: int | None = None) -> np.ndarray:
        """Candidate slots (X, W) through the last `layers` layers (None: all), each over all of `read` and itself; rows without the final norm.

        time: of asking, in seconds, NaN unknown; None: times are not read.
        """
        count, width = slots.shape
        length = read.length
        distance = self._distances(length + 1)[:0:-1]  # T: length down to 1
        gaps, own = None, 0.0
        if time is not None and read.times is not None:
            gaps, own = time_buckets((time - read.times).astype(np.float32)), float(not math.isnan(time))
        x = slots
        for number in range(len(self.layers) - (len(self.layers) if layers is None else layers), len(self.layers)):
            layer = self.layers[number]
            queries, keys, values = (normed(x, self.eps) @ layer.qkv).reshape(count, 3, self.heads, -1).transpose(1, 2, 0, 3)  # H X D
            bias = layer.distance[distance] if gaps is None else layer.distance[distance] + layer.time[gaps]  # T H
            itself = layer.distance[0] + own * layer.time[1]  # H: a gap of 0 to itself
            scores = np.empty((self.heads, count, length + 1), np.float32)
            np.matmul(queries, read.keys[number], out=scores[:, :, :length])
            scores[:, :, :length] += bias.T[:, None]
            scores[:, :, length] = (queries * keys).sum(axis=2) + itself[:, None]
            weights = softmax(scores)
            told = weights[:, :, :length] @ read.values[number] + weights[:, :, length:] * values  # H X D
            x = x + told.transpose(1, 0, 2).reshape(count, width) @ layer.out
            x = x + _mlp(x, layer, self.eps)
        return x

    def _final(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(normed(x[None], self.eps)[0] * self.norm)

    def _distances(self, length: int) -> np.ndarray:
        """int64 (length,): buckets of the distances 0, 1, ..."""
        if len(self._buckets) < length:
            self._buckets = distance_bucket(torch.arange(max(length, 256))).numpy()
        return self._buckets[:length]

    def _causal(self, number: int, length: int) -> np.ndarray:
        """(H, T, T): what a slot adds for each one before it by distance, -inf for those after it."""
        found = self._falling.get((number, length))
        if found is None:
            steps = np.arange(length)
            distance = steps[:, None] - steps[None]
            found = self.layers[number].distance[self._distances(length)[np.maximum(distance, 0)]].transpose(2, 0, 1)
            found = np.where(distance >= 0, found, np.float32(-np.inf)).astype(np.float32)
            self._falling[number, length] = found
        return found


def array_of(weight: torch.Tensor) -> np.ndarray:
    """float32, a copy."""
    return weight.detach().float().numpy().copy()


def normed(x: np.ndarray, eps: float) -> np.ndarray:
    """x / rms(x), (., W); the norm's weight is multiplied into what comes next."""
    scale = np.square(x) @ np.full(x.shape[1], 1 / x.shape[1], np.float32)  # a product with ones is the quickest way to add up
    scale += eps
    return np.asarray(x / np.sqrt(scale)[:, None])


def silu(x: np.ndarray) -> np.ndarray:
    """x sigmoid(x)."""
    return F.silu(torch.from_numpy(x)).numpy()  # in one pass over thousands of numbers the tensor library is twice as quick


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    return torch.softmax(torch.from_numpy(scores), dim=-1).numpy()


def time_buckets(seconds: np.ndarray) -> np.ndarray:
    """As `upper.time_bucket`, of float32 gaps."""
    minutes = np.fmax(seconds, 0) / np.float32(60)
    bucket = 1 + np.minimum((2 * np.log2(1 + minutes)).astype(np.int64), TIME_BUCKETS - 2)
    return np.where(np.isnan(seconds), 0, bucket)


def folded(norm: RMSNorm, weight: torch.Tensor) -> np.ndarray:
    """(W, O): a matrix (O, W) transposed, with the weight of the norm before it multiplied in."""
    return np.ascontiguousarray((weight.detach().float() * norm.weight.detach().float()).T.numpy())


def _laid_out(block: Block, bias: SlotBias) -> _Layer:
    attention = block.attention
    queries = attention.q.weight.detach() * (attention.q.out_features // attention.heads) ** -0.5
    return _Layer(
        folded(block.attention_norm, torch.cat([queries, attention.kv.weight.detach()])),
        np.ascontiguousarray(array_of(attention.out.weight).T),
        folded(block.mlp_norm, block.mlp.gate_up.weight),
        np.ascontiguousarray(array_of(block.mlp.down.weight).T),
        array_of(bias.distance),
        array_of(bias.time),
    )


def _mlp(x: np.ndarray, layer: _Layer, eps: float) -> np.ndarray:
    both = normed(x, eps) @ layer.gate_up
    half = both.shape[1] // 2
    return np.asarray((silu(both[:, :half]) * both[:, half:]) @ layer.down)
