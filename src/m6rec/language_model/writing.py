"""Writing: tokens from left to right, over everything that is read before them.

What is read stands before the text as keys and values: slots (states of the history, the item's vector), and source segments with all their
token states, each with an embedding of its kind. A written token passes the causal lower layers and then the writer's blocks; in each it looks
at what is read, at the option's soft prompts and at the tokens before it, in one softmax. Words come from the tied head, or are copied out of
the source tokens (pointer-generator, See et al., arXiv 1704.04368): p(w) = (1 - g) softmax(state . word)_w + g sum of the attention to tokens w.

Shapes: B rows, S source tokens, Q slots, K = S + Q, T written tokens, D width of the language model, W of the writer, H heads, C = W / H, V vocabulary,
P soft prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m6rec.language_model.layers import Block, Dropout, KeysValues, RMSNorm
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.softmax import target_log_likelihood
from m6rec.language_model.upper import DISTANCE_BUCKETS, SlotBias, distance_bucket


@dataclass(frozen=True)
class WriterSize:
    """What the writer's weights are cut from. kinds: of slots and source segments. layers 0: the model's own upper layers are passed.

    model_width  of token states     slot_width  of slots; 0: the same
    """

    model_width: int
    vocabulary: int
    width: int
    heads: int
    layers: int
    kinds: int
    dropout: float
    copy: bool
    own_words: bool
    slot_width: int = 0

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Sources:
    """What B rows read before they write, right-padded.

    ids      int64 (B, S)  source tokens; the one before in its segment, in `before` (any id where there is none)
    states   (B, S, D)     of the lower layers        kinds   int64 (B, S)       real   bool (B, S)
    slots    (B, Q, D), slot_kinds int64 (B, Q), slot_real bool (B, Q)
    """

    ids: Tensor
    before: Tensor
    states: Tensor
    kinds: Tensor
    real: Tensor
    slots: Tensor
    slot_kinds: Tensor
    slot_real: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, index: Tensor) -> Sources:
        """The rows `index` int64, copied."""
        return Sources(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class ReadSources:
    """Sources as the blocks meet them: L of keys and values (B, H, K + P, C), bias (B, H, 1, K + P), and for copying keys (B, S, W) and their bias
    (B, S), the tokens, those before them, and which are real."""

    layers: list[KeysValues]
    bias: Tensor
    copied: Tensor | None
    copy_bias: Tensor
    ids: Tensor
    before: Tensor
    real: Tensor

    def rows(self, index: Tensor) -> ReadSources:
        """The rows `index` int64, copied."""
        layers = [(keys[index], values[index]) for keys, values in self.layers]
        copied = None if self.copied is None else self.copied[index]
        return ReadSources(layers, self.bias[index], copied, self.copy_bias[index], self.ids[index], self.before[index], self.real[index])


class WriteOption(nn.Module):
    """What belongs to one kind of text alone: soft prompts, and an adapter x + U relu(D x)."""

    def __init__(self, width: int, prompts: int, adapter: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.zeros(prompts, width))
        self.down = nn.Parameter(torch.zeros(adapter, width))
        self.up = nn.Parameter(torch.zeros(adapter, width))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Prompts and the adapter's first half at random, what writes at zero."""
        self.prompts.copy_(torch.randn(self.prompts.shape, generator=generator) * 0.5)
        self.down.copy_(torch.randn(self.down.shape, generator=generator) * self.down.shape[1] ** -0.5)

    def forward(self, states: Tensor) -> Tensor:
        """... W -> ... W."""
        return states + F.relu(states @ self.down.T) @ self.up


class Writer(nn.Module):
    """The layers that write; the embedding and the lower layers are the language model's."""

    def __init__(self, size: WriterSize) -> None:
        super().__init__()
        self.size = size
        width, model_width = size.width, size.model_width
        self.token_in = nn.Linear(model_width, width, bias=False)
        self.source_in = nn.Linear(model_width, width, bias=False)
        self.before_in = nn.Linear(model_width, width, bias=False)
        self.slot_in = nn.Linear(size.slot_width or model_width, width, bias=False)
        self.words = nn.Embedding(size.vocabulary, width) if size.own_words else None
        self.words_before = nn.Linear(width, width, bias=False) if size.own_words else None
        self.kinds = nn.Embedding(size.kinds, width)
        self.blocks = nn.ModuleList(Block(width, size.heads, size.dropout) for _ in range(size.layers))
        self.distances = nn.ParameterList(nn.Parameter(torch.zeros(DISTANCE_BUCKETS, size.heads)) for _ in range(size.layers))
        self.kind_bias = nn.Parameter(torch.zeros(size.kinds + 1, size.heads))  # the last: soft prompts
        self.norm = RMSNorm(width)
        self.head = None if size.own_words else nn.Linear(width, model_width, bias=False)
        self.copy_query = nn.Linear(width, width, bias=False) if size.copy else None
        self.copy_key = nn.Linear(width, width, bias=False) if size.copy else None
        self.copy_gate = nn.Linear(width, 1) if size.copy else None
        # What was copied is gone on with: a source token whose predecessor was said last is looked at more, from the start.
        self.copy_match = nn.Parameter(torch.tensor([2.0]))
        self.copy_kinds = nn.Parameter(torch.zeros(size.kinds))
        self.dropout = Dropout(size.dropout)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, model: LanguageModel) -> None:
        """Seeded start; the writer's own words start as those of the language model, turned into its width."""
        for name, part in sorted(self.named_modules()):
            if isinstance(part, nn.Linear):
                residual = name.endswith(("attention.out", "mlp.down"))
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * (0.5 if residual else 1.0) * part.in_features**-0.5)
                if part.bias is not None:
                    part.bias.fill_(-1.0)  # the gate: words are written more often than copied, at first
            elif isinstance(part, nn.Embedding) and part is self.words:
                turn = torch.linalg.qr(torch.randn(self.size.width, self.size.model_width, generator=generator))[
                    0
                ]  # W D, or W W where W < D
                spread = turn.T if turn.shape[1] == self.size.model_width else torch.eye(self.size.model_width, self.size.width)
                part.weight.copy_(model.even_words() @ spread)
            elif isinstance(part, nn.Embedding):
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * 0.5)

    # ---- what is read

    def read(self, model: LanguageModel, sources: Sources, option: WriteOption) -> ReadSources:
        """Keys and values of everything that stands before the text."""
        blocks, _, _ = self._stack(model)
        batch = len(sources)
        tokens = self.source_in(sources.states.to(self.source_in.weight.dtype)) + self._before(model, sources.before)
        if self.words is not None:
            tokens = tokens + self.words(sources.ids) * self.size.width**0.5
        tokens = self.dropout(tokens + self.kinds(sources.kinds))
        slots = self.dropout(self.slot_in(sources.slots.to(self.slot_in.weight.dtype)) + self.kinds(sources.slot_kinds))
        prompts = option.prompts[None].expand(batch, -1, -1)
        everything = torch.cat([tokens, slots, prompts], dim=1)  # B K+P W
        kinds = torch.cat([sources.kinds, sources.slot_kinds, sources.kinds.new_full((batch, prompts.shape[1]), self.size.kinds)], dim=1)
        real = torch.cat([sources.real, sources.slot_real, torch.ones(prompts.shape[:2], dtype=torch.bool, device=kinds.device)], dim=1)
        bias = F.embedding(kinds, self.kind_bias).movedim(-1, 1)[:, :, None]  # B H 1 K+P
        bias = bias.masked_fill(~real[:, None, None], float("-inf"))
        layers = [block.attention.keys_values(block.attention_norm(everything)) for block in blocks]
        copied = None if self.copy_key is None else self.copy_key(tokens) * self.size.width**-0.5
        copy_bias = self.copy_kinds[sources.kinds].masked_fill(~sources.real, -1e9)
        return ReadSources(layers, bias, copied, copy_bias, sources.ids, sources.before, sources.real)

    # ---- what is written

    def states(self, model: LanguageModel, read: ReadSources, lower: Tensor, ids: Tensor, option: WriteOption) -> Tensor:
        """(B, T, W): the state from which what follows each token is said.

        lower (B, T, D): states of the causal lower layers of the tokens ids int64 (B, T), the first of which stands for the beginning.
        """
        blocks, distances, norm = self._stack(model)
        x = self.dropout(self._entering(lower, ids))
        falling = distance_bucket(torch.arange(ids.shape[1] - 1, -1, -1, device=ids.device))
        for block, distance, (keys, values) in zip(blocks, distances, read.layers, strict=True):
            normed = block.attention_norm(x)
            own_keys, own_values = block.attention.keys_values(normed)
            own = _falling_bias(distance, falling).expand(len(ids), -1, -1, -1)  # B H T T
            bias = torch.cat([read.bias.expand(-1, -1, ids.shape[1], -1), own], dim=3)
            both = torch.cat([keys, own_keys], dim=2), torch.cat([values, own_values], dim=2)
            x = block.joined(x, block.attention.attend(block.attention.queries(normed), both, bias))
            x = block.feed_forward(x)
        return option(cast(Tensor, norm(x)))

    def step(
        self, model: LanguageModel, read: ReadSources, past: Sequence[KeysValues] | None, lower: Tensor, ids: Tensor, option: WriteOption
    ) -> tuple[Tensor, list[KeysValues]]:
        """As `states` for one token more: lower (B, 1, D), ids (B, 1), past keys and values (L of (B, H, T, C)). Returns (B, W) and the longer past."""
        blocks, distances, norm = self._stack(model)
        x = self._entering(lower, ids)
        kept = []
        for number, (block, distance, (keys, values)) in enumerate(zip(blocks, distances, read.layers, strict=True)):
            normed = block.attention_norm(x)
            own_keys, own_values = block.attention.keys_values(normed)
            if past is not None:
                own_keys = torch.cat([past[number][0], own_keys], dim=2)
                own_values = torch.cat([past[number][1], own_values], dim=2)
            kept.append((own_keys, own_values))
            length = own_keys.shape[2]
            falling = distance_bucket(torch.arange(length - 1, -1, -1, device=ids.device))
            own = F.embedding(falling, distance).T[None, :, None].expand(len(ids), -1, -1, -1)  # B H 1 T
            bias = torch.cat([read.bias, own], dim=3)
            both = torch.cat([keys, own_keys], dim=2), torch.cat([values, own_values], dim=2)
            x = block.joined(x, block.attention.attend(block.attention.queries(normed), both, bias), dropped=False)
            x = block.feed_forward(x, dropped=False)
        return option(cast(Tensor, norm(x)))[:, 0], kept

    def log_likelihood(self, model: LanguageModel, read: ReadSources, states: Tensor, targets: Tensor, ids: Tensor) -> Tensor:
        """float32 (B, T): log p of the tokens `targets` int64 (B, T); states (B, T, W) are those after the tokens ids int64 (B, T)."""
        shape = targets.shape
        said = target_log_likelihood(self._outgoing(states).flatten(0, 1), self._table(model), targets.flatten()).view(shape)
        if self.copy_query is None or self.copy_gate is None or read.copied is None:
            return said
        attention = self._copying(states, read, ids)  # B T S
        same = read.ids[:, None] == targets[:, :, None]
        copied = (attention * same).sum(2).clamp(min=1e-9).log()
        gate = self.copy_gate(states).squeeze(2).float() + self._nothing(read)[:, None]
        return torch.logaddexp(F.logsigmoid(-gate) + said, F.logsigmoid(gate) + copied)

    def log_probabilities(self, model: LanguageModel, read: ReadSources, states: Tensor, ids: Tensor) -> Tensor:
        """float32 (B, V): log p of every token that may follow; states (B, W) are those after the tokens ids int64 (B,)."""
        said = torch.log_softmax((self._outgoing(states) @ self._table(model).T).float(), dim=1)
        if self.copy_query is None or self.copy_gate is None or read.copied is None:
            return said
        attention = self._copying(states[:, None], read, ids[:, None])[:, 0]  # B S
        copied = torch.zeros_like(said).scatter_add_(1, read.ids, attention * read.real).clamp(min=1e-9).log()
        gate = self.copy_gate(states).float() + self._nothing(read)[:, None]  # B 1
        return torch.logaddexp(F.logsigmoid(-gate) + said, F.logsigmoid(gate) + copied)

    def _copying(self, states: Tensor, read: ReadSources, ids: Tensor) -> Tensor:
        """float32 (B, T, S): attention of each state, after the tokens ids (B, T), to the source tokens; zeros where there are none."""
        assert self.copy_query is not None
        assert read.copied is not None
        follows = read.before[:, None] == ids[:, :, None]
        scores = (self.copy_query(states) @ read.copied.transpose(1, 2)).float() + self.copy_match * follows + read.copy_bias[:, None]
        return torch.softmax(scores, dim=2) * read.real[:, None]

    def _nothing(self, read: ReadSources) -> Tensor:
        """(B,): what closes the gate of rows that have nothing to copy."""
        return torch.where(read.real.any(dim=1), 0.0, -1e4)

    def _before(self, model: LanguageModel, ids: Tensor) -> Tensor:
        """(B, S, W): what the token before says; worked out once for every token of the vocabulary where there are fewer of those."""
        several = ids.numel() > self.size.vocabulary
        wanted = torch.arange(self.size.vocabulary, device=ids.device) if several else ids
        said = cast(Tensor, self.before_in(model.word_vectors(wanted)))
        if self.words is not None and self.words_before is not None:
            said = said + self.words_before(self.words(wanted) * self.size.width**0.5)
        return F.embedding(ids, said) if several else said

    def _entering(self, lower: Tensor, ids: Tensor) -> Tensor:
        x = self.token_in(lower.to(self.token_in.weight.dtype))
        return x if self.words is None else x + self.words(ids) * self.size.width**0.5

    def _outgoing(self, states: Tensor) -> Tensor:
        """States against `_table`: as they are for the writer's own words, through the head for those of the language model."""
        return states if self.head is None else cast(Tensor, self.head(states))

    def _table(self, model: LanguageModel) -> Tensor:
        return model.table if self.words is None else self.words.weight

    def _stack(self, model: LanguageModel) -> tuple[list[Block], list[Tensor], nn.Module]:
        """Blocks, distance biases and last norm: the writer's own, or those of the model."""
        if self.size.layers:
            return [cast(Block, block) for block in self.blocks], list(self.distances), self.norm
        upper = model.upper
        return [cast(Block, block) for block in upper.layers], [cast(SlotBias, bias).distance for bias in upper.biases], upper.norm


def _falling_bias(distance: Tensor, falling: Tensor) -> Tensor:
    """(1, H, T, T) out of a table (buckets, H) and the buckets of the distances T - 1 down to 0: -inf at what comes after."""
    length = len(falling)
    lines = F.pad(F.embedding(falling, distance).T, (0, length - 1), value=float("-inf"))  # H 2T-1
    return lines.unfold(1, length, 1).flip(1)[None]
