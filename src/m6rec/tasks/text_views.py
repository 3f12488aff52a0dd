"""Views of a text, each of which answers on its own: a linear one, a bag of n-grams, a row of token states, and what a checkpoint makes of it.

    linear   logits = s * sum_f x_f A_f + a                        logistic regression on tf-idf n-grams
    bag      logits = V gelu(norm(sum_f x_f E_f))                   the same n-grams through a layer that the tasks share
    tokens   logits = V (z + up relu(down z)), z = pooled states    states of the frozen lower layers, a trained vector a token, convolutions
    sentence logits = V (sqrt(L) m / |m|), m = mean state           only over a pretrained checkpoint, whose states mean something already

They err on different texts, so their weighted sum is better than any of them. An option owns its columns of the linear view, its soft
prompts (queries that pool the token states), its adapter and its label vectors.

Shapes: G texts, T tokens of the longest, F n-grams, Q pairs (text, n-gram), L width of the states read, W width, B width of the bag, P prompts,
C outputs, V views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from m6rec.language_model.devices import moved, tensor_of
from m6rec.language_model.layers import RMSNorm

VIEWS, SENTENCE = ("linear", "bag", "tokens"), "sentence"
LINEAR_SCALE = 5.0  # steps of the linear view, as multiples of the others': its weights grow to about 10
CONVOLUTIONS = 2
# Of the n-grams 0.3 are dropped, which for the linear view is what an L2 penalty fitted to the data is for logistic regression (Wager et al.,
# NIPS 2013); of the tokens half as many.
THINNED, DROPOUT, TOKEN_DROPOUT = 0.3, 0.5, 0.3
HIDDEN = -1e4


@dataclass(frozen=True)
class Pairs:
    """N-grams of G texts: features int64 (Q,), weights float32 (Q,), offsets int64 (G,) where each text begins."""

    features: Tensor
    weights: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, rows: csr_array, device: torch.device) -> Pairs:
        """The rows of a matrix (G, F)."""
        indices, begins = rows.indices.astype(np.int64), rows.indptr[:-1].astype(np.int64)
        return cls(tensor_of(indices, device), tensor_of(rows.data.astype(np.float32), device), tensor_of(begins, device))

    def thinned(self, share: float) -> Pairs:
        """A share of the n-grams dropped at random, the others grown in proportion."""
        kept = moved(torch.rand(len(self.weights)) >= share, self.weights.device)
        return Pairs(self.features, self.weights * kept / (1 - share), self.offsets)

    def summed(self, table: Tensor) -> Tensor:
        """(G, columns of the table); its gradient is sparse."""
        return F.embedding_bag(
            self.features, table, self.offsets, mode="sum", sparse=table.requires_grad, per_sample_weights=self.weights.to(table.dtype)
        )


@dataclass(frozen=True)
class Read:
    """What the shared layers made of G texts: bag (G, B), tokens (G, T, W), real bool (G, T), pooled (G, 2 W), sentence (G, L), and the n-grams
    that were read."""

    pairs: Pairs
    bag: Tensor
    tokens: Tensor
    real: Tensor
    pooled: Tensor
    sentence: Tensor


class TextEncoder(nn.Module):
    """The layers that all tasks on texts share."""

    def __init__(self, features: int, vocabulary: int, read_width: int, width: int, bag_width: int) -> None:
        """features: F. vocabulary: token ids. read_width: of the lower layers' states."""
        super().__init__()
        self.bag = nn.Embedding(max(features, 1), bag_width)
        self.bag_norm = nn.LayerNorm(bag_width)
        self.states = nn.Linear(read_width, width, bias=False)
        self.tokens = nn.Embedding(vocabulary, width)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(CONVOLUTIONS))
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(CONVOLUTIONS))
        self.dropout = nn.Dropout(DROPOUT)
        self.token_dropout = nn.Dropout(TOKEN_DROPOUT)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        for table, scale in ((self.bag.weight, 0.02), (self.tokens.weight, 0.1), (self.states.weight, 0.05)):
            table.copy_(torch.randn(table.shape, generator=generator) * scale)
        for part in self.convolutions:
            assert isinstance(part, nn.Conv1d)
            assert part.bias is not None
            part.weight.copy_((torch.rand(part.weight.shape, generator=generator) * 2 - 1) * (3 * part.in_channels) ** -0.5)
            part.bias.zero_()

    def forward(self, pairs: Pairs, ids: Tensor, states: Tensor, real: Tensor) -> Read:
        """ids int64 (G, T), states (G, T, L) of the lower layers, real bool (G, T)."""
        if self.training:
            pairs = pairs.thinned(THINNED)
            kept = (torch.rand(real.shape) >= THINNED / 2) | (torch.arange(real.shape[1]) == 0)  # the first token always
            real = real & moved(kept, real.device)
        bag = self.dropout(F.gelu(self.bag_norm(pairs.summed(self.bag.weight))))
        mask = real[:, :, None].to(states.dtype)
        embedded = (self.tokens(ids) + self.states(states)) * mask  # G T W
        x = self.token_dropout(embedded)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = (x + F.gelu(convolution(norm(x).transpose(1, 2)).transpose(1, 2))) * mask
        highest = x.masked_fill(~real[:, :, None], HIDDEN).amax(dim=1)
        mean = embedded.sum(dim=1) * mask.sum(dim=1).clamp(min=1).rsqrt()
        read = (states * mask).sum(dim=1)
        sentence = F.normalize(read, dim=1) * states.shape[2] ** 0.5
        return Read(pairs, bag, x, real, torch.cat([highest, mean], dim=1), sentence)


class TextOption(nn.Module):
    """One task on texts."""

    mixing: Tensor

    def __init__(self, features: int, width: int, bag_width: int, outputs: int, prompts: int, adapter: int, sentence: int = 0) -> None:
        """sentence: L where the option has that view, else 0."""
        super().__init__()
        pooled = (prompts + 2) * width
        self.linear = nn.Embedding(max(features, 1), outputs)
        self.linear_bias = nn.Parameter(torch.zeros(outputs))
        self.bag_vectors = nn.Linear(bag_width, outputs)
        self.prompts = nn.Parameter(torch.zeros(prompts, width))
        self.down = nn.Linear(pooled, adapter, bias=False)
        self.up = nn.Linear(adapter, pooled, bias=False)
        self.vectors = nn.Linear(pooled, outputs)
        self.dropout = nn.Dropout(DROPOUT)
        self.sentence = nn.Linear(sentence, outputs) if sentence else None
        views = (*VIEWS, SENTENCE) if sentence else VIEWS
        self.register_buffer("mixing", torch.full((len(views),), 1 / len(views)))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, start: Tensor) -> None:
        """start (C,): the outputs to start from."""
        for part in (self.bag_vectors, self.down, self.vectors):
            part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * 0.5 * part.in_features**-0.5)
        self.prompts.copy_(torch.randn(self.prompts.shape, generator=generator) * 0.02)
        self.linear.weight.zero_()
        self.up.weight.zero_()
        self.linear_bias.copy_(start / LINEAR_SCALE)
        for part in (self.bag_vectors, self.vectors):
            part.bias.copy_(start)
        if self.sentence is not None:
            self.sentence.weight.zero_()
            self.sentence.bias.copy_(start)

    def forward(self, read: Read) -> Tensor:
        """(V, G, C): what each view answers, in the order of `VIEWS`, `SENTENCE` last."""
        linear = (read.pairs.summed(self.linear.weight) + self.linear_bias) * LINEAR_SCALE
        weights = (read.tokens @ self.prompts.T).masked_fill(~read.real[:, :, None], HIDDEN).softmax(dim=1)  # G T P
        asked = torch.einsum("gtp,gtw->gpw", weights, read.tokens).flatten(1)
        z = self.dropout(torch.cat([read.pooled, asked], dim=1))
        z = z + self.up(F.relu(self.down(z)))
        views = [linear, self.bag_vectors(read.bag), self.vectors(z)]
        if self.sentence is not None:
            views.append(self.sentence(self.dropout(read.sentence)))
        return torch.stack(views)

    def mixed(self, outputs: Tensor) -> Tensor:
        """(V, G, C) -> (G, C): the weighted sum of the views."""
        return torch.einsum("v,vgc->gc", self.mixing, outputs)
