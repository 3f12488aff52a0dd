"""The interest vector: what somebody says of themselves, as a direction among the item vectors.

    a_f = softmax over the words and values said of (key_h . e_f)      heads h; trained attention pooling (M6-Rec, arXiv 2205.08084)
    u   = MLP([pooled words, pooled profile, how many of each])        q(said) = out(u) - out(u of nothing said)
    log p(i | said) = q . v_i + b log(seen_i) + constant               v_i the frozen vector of item i

q . v_i is what the words change about an item: 0 for everything where nothing is said. It is trained on what people's other events would have
made them say: values that stand out among some of their items, words of one of them, texts they wrote; the rest of their items is asked for.
Answers add w(n) (q . v_i) to the score, n the number of events known; the weights are fitted on validation cases (`tasks/interest_blend.py`).

Shapes: B people, T words and values said, P of a profile, F features, W width, H heads, N items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from m6rec.base.contracts import Histories
from m6rec.data.dataset import FieldType
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.config import InterestConfig
from m6rec.tasks.task import TASKS, Task
from m6rec.text.bag import Bag

MOST_SAID = 256  # words and values of one text that are read: those in the fewest items
TYPICAL = 3  # values that somebody names of what they like, on average
DROPOUT = 0.2


@dataclass(frozen=True)
class InterestSizes:
    """F of what may be said and of a profile, W, and the items trained on; saved beside the weights."""

    features: int
    profile_features: int
    width: int


@dataclass(frozen=True)
class InterestExamples:
    """What the interest vector is learned from.

    histories  of the training users    matrix csr (N, F) words and values of the items    values int64: the columns of categories and tags
    profiles   csr (users, P), None where people have no fields    vectors float32 (N, W)    log_seen float32 (N,)
    texts      per user: (items int64 (X,), csr (X, F)) of the texts they wrote about items; None where there are none
    """

    histories: Histories
    matrix: csr_array
    values: np.ndarray
    profiles: csr_array | None
    vectors: Tensor
    log_seen: Tensor
    texts: dict[int, tuple[np.ndarray, csr_array]] | None


@dataclass(frozen=True)
class Told:
    """What B people say: padded ids int64 (B, T) and (B, P), the number of features where there is none."""

    said: Tensor
    profile: Tensor


@TASKS.register("interest")
class Interest(Task):
    """Learns the interest vector; see the module."""

    answer: ClassVar[Literal["choose", "judge", "write"]] = "choose"

    def __init__(self, config: InterestConfig, sizes: InterestSizes) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        width = sizes.width
        self.words = nn.Embedding(sizes.features + 1, width, padding_idx=sizes.features)
        self.profile = nn.Embedding(sizes.profile_features + 1, width, padding_idx=sizes.profile_features)
        self.keys = nn.Linear(width, config.heads, bias=False)
        self.values = nn.Linear(width, width)
        self.hidden = nn.Linear(2 * width + 2, 2 * width)
        self.out = nn.Linear(2 * width, width)
        self.popular = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(DROPOUT)
        self.examples: InterestExamples | None = None
        self._spread: np.ndarray | None = None
        self._learned: np.ndarray | None = None

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, known: Tensor | None = None) -> None:
        """Seeded start; known: (F, W) vectors that the words have already, zeros for those that are new. Attention starts as the mean."""
        for name, part in sorted(self.named_modules()):
            if isinstance(part, nn.Embedding | nn.Linear):
                scale = 0.02 if isinstance(part, nn.Embedding) else part.weight.shape[1] ** -0.5 * (0.1 if name == "out" else 1.0)
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * scale)
            if isinstance(part, nn.Linear) and part.bias is not None:
                part.bias.zero_()
        self.keys.weight.zero_()
        self.words.weight[-1] = 0.0
        self.profile.weight[-1] = 0.0
        if known is not None:
            self.words.weight[:-1] += known

    def bind(self, examples: InterestExamples | None) -> None:
        """Give the task what it learns from; None takes it away."""
        self.examples = examples
        if examples is not None:
            seen = np.expm1(examples.log_seen.numpy())
            column = examples.matrix[:, examples.values]
            self._spread = np.asarray((column.T @ seen) / max(seen.sum(), 1.0)).ravel()

    def keep(self, learned: np.ndarray) -> None:
        """Learn from the users bool (U,) only."""
        self._learned = learned

    @torch.no_grad()
    def likelihood(self, told: Told, asked: list[np.ndarray]) -> float:
        """Mean log probability of the items asked for, each person by the root of their items."""
        return -float(self._cost(told, asked, None))

    def forward(self, told: Told) -> Tensor:
        """(B, W): q, the interest vectors; zeros for somebody who says nothing."""
        nothing = Told(
            torch.full((1, 1), self.sizes.features, dtype=torch.int64), torch.full((1, 1), self.sizes.profile_features, dtype=torch.int64)
        )
        return self._read(told) - self._read(nothing)

    def loss(self, model: LanguageModel, batch: np.ndarray) -> dict[str, Tensor]:
        """{"interest": - log p(items not told of | what is said)}, a mean over people, each by the root of their items."""
        assert self.examples is not None
        generator = np.random.default_rng(int(torch.randint(1 << 62, (1,))))
        told, targets = self.draw(batch, generator)
        return {"interest": self._cost(told, targets, generator)}

    def _cost(self, told: Told, targets: list[np.ndarray], generator: np.random.Generator | None) -> Tensor:
        """- log p, over all items, or with a generator over some that it draws where there are many."""
        assert self.examples is not None
        rows = torch.from_numpy(np.repeat(np.arange(len(targets)), [len(one) for one in targets]))
        columns = torch.from_numpy(np.concatenate(targets).astype(np.int64))
        weights = torch.from_numpy(np.repeat([len(one) ** -0.5 for one in targets], [len(one) for one in targets]).astype(np.float32))
        queries = self(told)
        vectors, log_seen = self.examples.vectors, self.examples.log_seen
        if generator is not None and self.config.negatives < len(vectors):
            drawn = torch.from_numpy(generator.choice(len(vectors), self.config.negatives, replace=False))
            kept = torch.unique(torch.cat([columns, drawn]))
            vectors, log_seen, columns = vectors[kept], log_seen[kept], torch.searchsorted(kept, columns)
        given = torch.log_softmax(queries @ vectors.T + self.popular * log_seen, dim=1)
        return -(given[rows, columns] * weights).sum() / weights.sum()

    def batches(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Users with two items or more, each once an epoch."""
        assert self.examples is not None
        able = self.examples.histories.lengths >= 2
        users = generator.permutation(np.flatnonzero(able if self._learned is None else able & self._learned))[: self.config.most_users]
        yield from np.array_split(users, max(1, -(-len(users) // self.config.batch)))

    def targets(self, batch: np.ndarray) -> int:
        return len(batch)

    def draw(self, users: np.ndarray, generator: np.random.Generator) -> tuple[Told, list[np.ndarray]]:
        """What the users might have said, and their items that it was not made of."""
        assert self.examples is not None
        examples = self.examples
        said, asked = [], []
        for user in users.tolist():
            items = examples.histories.row(user)
            told = generator.random(len(items)) < generator.uniform(0.2, 0.8)
            told[generator.integers(len(items))] = False
            words, about = self._said(user, items[told], generator)
            said.append(words)
            asked.append(np.concatenate([items[~told], about]))
        profiles: list[np.ndarray] = [np.zeros(0, np.int64)] * len(users)
        if examples.profiles is not None:
            known = generator.random(len(users)) < self.config.profiles
            profiles = [_row(examples.profiles, user) if keep else one for user, keep, one in zip(users, known, profiles, strict=True)]
        return Told(padded(said, self.sizes.features), padded(profiles, self.sizes.profile_features)), asked

    def _said(self, user: int, items: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Features that a user who had `items` might name, and the items that a text of theirs was about."""
        nothing = np.zeros(0, np.int64)
        examples = self.examples
        assert examples is not None
        form = generator.random()
        own = None if examples.texts is None else examples.texts.get(user)
        if own is not None and form < self.config.written:
            about, rows = own
            place = int(generator.integers(len(about)))
            return _row(rows, place), about[place : place + 1]
        if not len(items) or form > 0.9:
            return nothing, nothing
        if form < 0.7 and len(examples.values):
            assert self._spread is not None
            return standing_out(examples.matrix, examples.values, self._spread, items, 1 + generator.poisson(TYPICAL - 1)), nothing
        one = _row(examples.matrix, int(items[generator.integers(len(items))]))
        return one[generator.random(len(one)) < generator.uniform(0.2, 0.8)], nothing

    def _read(self, told: Told) -> Tensor:
        words, many = self._pooled(self.words, told.said)
        profile, more = self._pooled(self.profile, told.profile)
        counts = torch.log1p(torch.stack([many, more], dim=1))
        hidden = torch.nn.functional.gelu(self.hidden(torch.cat([words, profile, counts], dim=1)))
        result: Tensor = self.out(self.dropout(hidden))
        return result

    def _pooled(self, table: nn.Embedding, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, W): values weighed by attention, a head each W / H of them; (B,) how many there were."""
        assert table.padding_idx is not None
        real = (ids != table.padding_idx)[:, :, None]
        states = table(ids)
        weights = torch.softmax(self.keys(states).masked_fill(~real, -1e4), dim=1) * real  # B T H
        values = self.values(states).unflatten(2, (self.config.heads, -1))  # B T H W/H
        return (weights[..., None] * values).sum(dim=1).flatten(1), real.squeeze(2).sum(dim=1).float()


def standing_out(matrix: csr_array, values: np.ndarray, spread: np.ndarray, items: np.ndarray, most: int) -> np.ndarray:
    """The values (columns of `matrix`) that `items` have more often than all events do: z-scores of a binomial, the `most` highest above zero.

    spread: float (V,): share of all events whose item has each of `values`.
    """
    counts = np.asarray(matrix[items][:, values].sum(axis=0)).ravel()
    scores = (counts - len(items) * spread) / np.sqrt(len(items) * spread * (1 - spread) + 1e-9)
    best = np.argsort(-scores, kind="stable")[:most]
    found: np.ndarray = values[best[(scores[best] > 0) & (counts[best] > 0)]]
    return found


def value_columns(bag: Bag) -> np.ndarray:
    """int64: the columns of a bag that are categories or tags."""
    kinds = [bag.fields.get(field) for field, _ in bag.features]
    return np.flatnonzero([kind in (FieldType.CATEGORY, FieldType.TAGS) for kind in kinds]).astype(np.int64)


def padded(rows: Sequence[np.ndarray], nothing: int) -> Tensor:
    """int64 (B, T): rows of ids side by side, filled up with `nothing`; at least one column."""
    width = max(1, max((len(row) for row in rows), default=0))
    result = np.full((len(rows), width), nothing, dtype=np.int64)
    for number, row in enumerate(rows):
        result[number, : len(row)] = row
    return torch.from_numpy(result)


def telling(row: np.ndarray, idf: np.ndarray) -> np.ndarray:
    """At most `MOST_SAID` of the features of a text: those in the fewest items."""
    return row if len(row) <= MOST_SAID else np.sort(row[np.argsort(-idf[row], kind="stable")[:MOST_SAID]])


def _row(table: csr_array, row: int) -> np.ndarray:
    found: np.ndarray = table.indices[table.indptr[row] : table.indptr[row + 1]].astype(np.int64)
    return found
