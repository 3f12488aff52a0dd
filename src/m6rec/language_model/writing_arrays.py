"""The writer one token at a time in plain arrays: what `lower.py` and `writing.py` compute, without the cost of starting an operation.

A token of one text moves some vectors of width 128 to 512 through four layers: there torch spends more time on getting operations going than on
their numbers. Same weights, same formulas, equal to rounding (a test compares them). Keys and values of what was said are kept in buffers with
room to grow; a state is a buffer and how much of it counts, so that no state is ever changed by what comes after it.

Shapes: B rows, R requests (rows of what is read), K positions that are read (with soft prompts), S source tokens, T tokens said, D width of the
language model, W of the writer, H heads, C = W / H, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from m6rec.language_model.layers import Block, RMSNorm, rotation_of
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.upper import distance_bucket
from m6rec.language_model.upper_arrays import array_of, folded
from m6rec.language_model.writing import ReadSources, WriteOption, Writer

ROOM = 32  # tokens by which a buffer grows
NEVER_COPIED = np.float32(1e-9)  # as in `Writer.log_probabilities`


@dataclass(frozen=True)
class _Layer:
    """Weights with the norms multiplied in: qkv (W, 3W), out (W, W), gate_up (W, 2U), down (U, W)."""

    qkv: np.ndarray
    out: np.ndarray
    gate_up: np.ndarray
    down: np.ndarray
    heads: int

    @classmethod
    def of(cls, block: Block) -> _Layer:
        attention = block.attention
        queries = attention.q.weight.detach() * (attention.q.out_features // attention.heads) ** -0.5
        return cls(
            folded(block.attention_norm, torch.cat([queries, attention.kv.weight.detach()])),
            _turned(attention.out.weight),
            folded(block.mlp_norm, block.mlp.gate_up.weight),
            _turned(block.mlp.down.weight),
            attention.heads,
        )

    def mlp(self, x: np.ndarray, eps: float) -> np.ndarray:
        both = _normed(x, eps) @ self.gate_up
        gate, up = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
        up *= gate  # silu(gate) * up: no overflow is spoken of, for x / inf is what it should be
        np.negative(gate, out=gate)
        np.exp(gate, out=gate)
        gate += 1
        up /= gate
        return np.asarray(up @ self.down)


class Said:
    """Keys and values of the tokens said, layer by layer: buffers (B, H, room, C), of which the first `length` positions count."""

    __slots__ = ("filled", "keys", "length", "values")

    def __init__(self, keys: list[np.ndarray], values: list[np.ndarray], length: int, filled: list[int]) -> None:
        self.keys, self.values, self.length = keys, values, length
        self.filled = filled  # how far anybody has written into the buffers: shared by all states that look into them

    @classmethod
    def nothing(cls, rows: int, shapes: list[tuple[int, int]]) -> Said:
        """shapes: (heads, C) of every layer."""
        made = [np.empty((rows, heads, ROOM, width), np.float32) for heads, width in shapes for _ in range(2)]
        return cls(made[::2], made[1::2], 0, [0])

    def longer(self) -> Said:
        """One position more, still empty, in the same buffers where nobody wrote there yet and there is room, else in copies."""
        length, room = self.length, self.keys[0].shape[2] if self.keys else ROOM
        if self.filled[0] == length < room:
            self.filled[0] += 1
            return Said(self.keys, self.values, length + 1, self.filled)
        return self._copied(slice(None), length + ROOM, length + 1)

    def rows(self, index: np.ndarray) -> Said:
        """The rows int64 (B',), in that order."""
        return self._copied(index, self.keys[0].shape[2] if self.keys else ROOM, self.length)

    def _copied(self, index: Any, room: int, length: int) -> Said:
        made = []
        for old in (*self.keys, *self.values):
            part = old[index, :, : self.length]
            new = np.empty((len(part), part.shape[1], room, part.shape[3]), np.float32)
            new[:, :, : self.length] = part
            made.append(new)
        return Said(made[: len(self.keys)], made[len(self.keys) :], length, [length])


@dataclass(frozen=True)
class Read:
    """What R requests read, laid out.

    keys, values  of every layer, (R, H, C, K) and (R, H, K, C)     bias  (R, H, K)
    copied  (R, W, S): keys of the source tokens, or None           copy_bias  (R, S)    before  int64 (R, S)    real  bool (R, S)
    places  of each request its different source tokens, and int64 (S,) which of them each one is
    """

    keys: list[np.ndarray]
    values: list[np.ndarray]
    bias: np.ndarray
    copied: np.ndarray | None
    copy_bias: np.ndarray
    before: np.ndarray
    real: np.ndarray
    places: list[tuple[np.ndarray, np.ndarray]]

    def __len__(self) -> int:
        return len(self.real)

    @classmethod
    def of(cls, read: ReadSources) -> Read:
        keys = [np.ascontiguousarray(array_of(keys).transpose(0, 1, 3, 2)) for keys, _ in read.layers]
        values = [array_of(values) for _, values in read.layers]
        copied = None if read.copied is None else np.ascontiguousarray(array_of(read.copied).transpose(0, 2, 1))
        places = [np.unique(ids, return_inverse=True) for ids in read.ids.numpy()]
        return cls(
            keys, values, array_of(read.bias)[:, :, 0], copied, array_of(read.copy_bias), read.before.numpy(), read.real.numpy(), places
        )

    def rows(self, index: np.ndarray) -> Read:
        """The rows int64 (R',), copied."""
        keys, values = [keys[index] for keys in self.keys], [values[index] for values in self.values]
        copied = None if self.copied is None else self.copied[index]
        told = self.copy_bias[index], self.before[index], self.real[index]
        return Read(keys, values, self.bias[index], copied, *told, [self.places[row] for row in index.tolist()])


class WriterArrays:
    """The weights as they are now, laid out: those of the language model's lower layers, the writer, and the table of words."""

    def __init__(self, model: LanguageModel, writer: Writer) -> None:
        width = model.shape.width
        self.embedding = array_of(model.embedding.weight) * np.float32(width**0.5)
        self.lower = [_Layer.of(cast(Block, block)) for block in model.lower.blocks]
        self.lower_norm, self.head_width = array_of(cast(RMSNorm, model.lower.norm).weight), model.lower.head_width
        blocks, distances, norm = writer._stack(model)
        self.blocks, self.distances = [_Layer.of(block) for block in blocks], [array_of(distance) for distance in distances]
        norm = cast(RMSNorm, norm)
        self.norm, self.eps = array_of(norm.weight), norm.eps
        self.token_in = _turned(writer.token_in.weight)
        self.words = None if writer.words is None else array_of(writer.words.weight) * np.float32(writer.size.width**0.5)
        self.outgoing, self.table = _head(model, writer)
        self.copying, self.copy_match = None, np.float32(writer.copy_match.detach()[0])
        if writer.copy_query is not None and writer.copy_gate is not None:
            gate = writer.copy_gate
            self.copying = _turned(writer.copy_query.weight), array_of(gate.weight)[0], float(gate.bias.detach()[0])
        self._turns: tuple[np.ndarray, np.ndarray] = (np.zeros((0, 0), np.float32),) * 2
        self._buckets = np.zeros(0, np.int64)

    def shapes(self) -> list[tuple[int, int]]:
        """(heads, width of a head) of all layers that keep what was said, lower ones first."""
        return [(layer.heads, layer.out.shape[0] // layer.heads) for layer in (*self.lower, *self.blocks)]

    def step(self, tokens: np.ndarray, said: Said, read: Read, option: OptionArrays) -> tuple[np.ndarray, Said]:
        """log p (B, V) of what follows after one more token int64 (B,), and what is said then. `read` has B rows, or one for all."""
        said = said.longer()
        with np.errstate(over="ignore"):
            return self._said_next(tokens, said, read, option), said

    def _said_next(self, tokens: np.ndarray, said: Said, read: Read, option: OptionArrays) -> np.ndarray:
        place = said.length - 1
        x = self.embedding[tokens]
        for number, layer in enumerate(self.lower):
            x += self._own_attention(x, layer, said, number, place) @ layer.out
            x += layer.mlp(x, self.eps)
        x = _normed(x, self.eps) * self.lower_norm
        x = x @ self.token_in
        if self.words is not None:
            x += self.words[tokens]
        buckets = self._falling(said.length)
        for number, layer in enumerate(self.blocks):
            bias = self.distances[number][buckets].T  # H T
            x += self._attention(x, layer, said, len(self.lower) + number, place, read, number, bias) @ layer.out
            x += layer.mlp(x, self.eps)
        return self._log_probabilities(option(_normed(x, self.eps) * self.norm), read, tokens)

    def _own_attention(self, x: np.ndarray, layer: _Layer, said: Said, number: int, place: int) -> np.ndarray:
        """(B, W): a lower layer's attention to the tokens said, with positions turned into the vectors."""
        batch = len(x)
        made = (_normed(x, self.eps) @ layer.qkv).reshape(batch, 3, layer.heads, -1)
        turned = _rotated(made[:, :2], *self._turn(place))  # B 2 H C: query and key
        keys, values = said.keys[number][:, :, : place + 1], said.values[number][:, :, : place + 1]
        keys[:, :, place], values[:, :, place] = turned[:, 1], made[:, 2]
        scores = keys @ turned[:, 0, :, :, None]  # B H T 1
        weights = _softmax(scores[:, :, :, 0])
        return np.asarray((weights[:, :, None] @ values).reshape(batch, -1))

    def _attention(
        self, x: np.ndarray, layer: _Layer, said: Said, number: int, place: int, read: Read, block: int, bias: np.ndarray
    ) -> np.ndarray:
        """(B, W): a writer's block looks at what is read and at what was said, in one softmax."""
        batch, before = len(x), read.bias.shape[2]
        query, key, value = (_normed(x, self.eps) @ layer.qkv).reshape(batch, 3, layer.heads, -1).transpose(1, 0, 2, 3)  # B H C
        keys, values = said.keys[number][:, :, : place + 1], said.values[number][:, :, : place + 1]
        keys[:, :, place], values[:, :, place] = key, value
        scores = np.empty((batch, layer.heads, before + place + 1), np.float32)
        if len(read) == 1:  # one request: all rows in one product a head
            scores[:, :, :before] = (query.transpose(1, 0, 2) @ read.keys[block][0]).transpose(1, 0, 2)
        else:
            np.matmul(query[:, :, None], read.keys[block], out=scores[:, :, None, :before])
        scores[:, :, :before] += read.bias
        scores[:, :, before:] = (keys @ query[:, :, :, None])[:, :, :, 0]
        scores[:, :, before:] += bias
        weights = _softmax(scores)
        if len(read) == 1:
            told = (weights[:, :, :before].transpose(1, 0, 2) @ read.values[block][0]).transpose(1, 0, 2)
        else:
            told = (weights[:, :, None, :before] @ read.values[block])[:, :, 0]
        told = told + (weights[:, :, None, before:] @ values)[:, :, 0]
        return np.asarray(told.reshape(batch, -1))

    def _log_probabilities(self, states: np.ndarray, read: Read, tokens: np.ndarray) -> np.ndarray:
        """float32 (B, V), as `Writer.log_probabilities`; the two ways to a word are added as probabilities, with one logarithm at the end."""
        said = (states if self.outgoing is None else states @ self.outgoing) @ self.table
        said -= said.max(axis=1, keepdims=True)
        shares = np.exp(said)
        totals = shares.sum(axis=1, keepdims=True)
        if self.copying is None or read.copied is None or not read.real.any():
            said -= np.log(totals)
            return said
        ask, gate, offset = self.copying
        copying = (1 / (1 + np.exp(-(states @ gate + np.float32(offset)))))[:, None]  # B 1
        scores = ((states @ ask)[:, None] @ read.copied)[:, 0] if len(read) > 1 else (states @ ask) @ read.copied[0]
        scores = scores + read.copy_bias + self.copy_match * (read.before == tokens[:, None])
        attention = _softmax(scores) * read.real  # B S
        shares *= (1 - copying) / totals
        shares += copying * NEVER_COPIED
        for row in range(len(said)):
            there, place = read.places[row if len(read) > 1 else 0]
            copied = np.bincount(place, attention[row], len(there)).astype(np.float32)
            shares[row, there] += copying[row] * np.maximum(copied - NEVER_COPIED, 0)
        result = np.log(shares, out=shares)
        for row in np.flatnonzero(~read.real.any(axis=1)).tolist() if len(read) > 1 else ():  # rows that have nothing to copy
            result[row] = said[row] - np.log(totals[row])
        return result

    def _falling(self, length: int) -> np.ndarray:
        """int64 (length,): buckets of the distances length - 1 down to 0."""
        if len(self._buckets) < length:
            self._buckets = distance_bucket(torch.arange(2 * max(length, 128))).numpy()
        return self._buckets[:length][::-1]

    def _turn(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """cosine and sine (C/2,) of a position."""
        if len(self._turns[0]) <= place:
            cosine, sine = rotation_of(torch.arange(2 * max(place, 128)), self.head_width)
            self._turns = cosine.numpy(), sine.numpy()
        return self._turns[0][place], self._turns[1][place]


class OptionArrays:
    """An option's adapter laid out: x + U relu(D x)."""

    def __init__(self, option: WriteOption) -> None:
        self.down, self.up = _turned(option.down), array_of(option.up)

    def __call__(self, states: np.ndarray) -> np.ndarray:
        return np.asarray(states + np.maximum(states @ self.down, 0) @ self.up)


def _head(model: LanguageModel, writer: Writer) -> tuple[np.ndarray | None, np.ndarray]:
    """Between states and words: a matrix (W, D) and the table (D, V), or None and a table (W, V)."""
    if writer.words is None:
        assert writer.head is not None, "it has no words of its own"
        return _turned(writer.head.weight), _turned(model.embedding.weight)
    if writer.head is None:
        return None, _turned(writer.words.weight)
    return None, _turned(model.embedding.weight.detach() @ writer.head.weight.detach() + writer.words.weight.detach())


def _turned(weight: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(array_of(weight).T)


def _rotated(x: np.ndarray, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    """As `layers.rotate`, of (..., C) at one position."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    result = np.empty_like(x)
    np.subtract(first * cosine, second * sine, out=result[..., :half])
    np.add(first * sine, second * cosine, out=result[..., half:])
    return result


def _normed(x: np.ndarray, eps: float) -> np.ndarray:
    """x / rms(x), (B, .); one row by a product with itself, which is quicker."""
    if len(x) == 1:
        return np.asarray(x * np.float32(1 / math.sqrt(float(x[0] @ x[0]) / x.shape[1] + eps)))
    scale = np.einsum("ij,ij->i", x, x) / x.shape[1] + np.float32(eps)
    return np.asarray(x / np.sqrt(scale)[:, None])


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis, in place."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores
