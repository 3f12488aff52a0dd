"""Item vectors: text summary + trained bag of words and fields + gate * id embedding.

Dimension keys: N items, F features, W width, L width of the language model's summaries, V total width of vector fields, Q pairs (item, feature).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from m6rec.language_model.devices import moved


@dataclass(frozen=True)
class Contents:
    """What is known of N things (items, profiles, typed texts) without their ids.

    summaries (N, L) frozen text summaries; features int64 (Q,) and offsets int64 (N + 1,) the bag rows; vectors (N, V). They are on the CPU;
    who reads them takes them to where its weights are (`on`).
    """

    summaries: Tensor
    features: Tensor
    offsets: Tensor
    vectors: Tensor
    _elsewhere: dict[torch.device, Contents] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def build(cls, summaries: Tensor, bag: csr_array, vectors: Tensor | None = None) -> Contents:
        return cls(
            summaries,
            torch.from_numpy(bag.indices.astype(np.int64)),
            torch.from_numpy(bag.indptr.astype(np.int64)),
            summaries.new_zeros(len(summaries), 0) if vectors is None else vectors,
        )

    def __len__(self) -> int:
        return len(self.summaries)

    def rows(self, index: Tensor) -> Contents:
        """The things `index` (int64)."""
        lengths = (self.offsets[1:] - self.offsets[:-1])[index]
        offsets = F.pad(lengths.cumsum(0), (1, 0))
        place = torch.repeat_interleave(self.offsets[index] - offsets[:-1], lengths) + torch.arange(int(offsets[-1]))
        return Contents(self.summaries[index], self.features[place], offsets, self.vectors[index])

    def on(self, device: torch.device) -> Contents:
        """The same on a device; what went to a GPU is kept, so that a catalogue goes once."""
        if device == self.summaries.device:
            return self
        if device not in self._elsewhere:
            parts = self.summaries, self.features, self.offsets, self.vectors
            self._elsewhere[device] = Contents(*(moved(part, device) for part in parts))
        return self._elsewhere[device]

    def or_else(self, other: Contents) -> Contents:
        """Row by row: this one where it says something, else `other`, which has as many rows."""
        pick = (self.offsets[1:] > self.offsets[:-1]) | self.summaries.any(dim=1)
        joined = Contents(
            torch.cat([self.summaries, other.summaries]),
            torch.cat([self.features, other.features]),
            torch.cat([self.offsets, other.offsets[1:] + self.offsets[-1]]),
            torch.cat([self.vectors, other.vectors]),
        )
        row = torch.arange(len(self))
        return joined.rows(torch.where(pick, row, row + len(self)))

    def thinned(self, keep: Tensor) -> Contents:
        """Without the bag features where `keep` bool (Q,) is False."""
        counts = F.pad(keep.long().cumsum(0), (1, 0))
        return Contents(self.summaries, self.features[keep], counts[self.offsets], self.vectors)


class ContentEncoder(nn.Module):
    """Contents to vectors: projected frozen summary + bag of features / sqrt(features) + projected vector fields."""

    def __init__(self, width: int, summary_width: int, features: int, vectors: int) -> None:
        super().__init__()
        self.summary = nn.Linear(summary_width, width, bias=False)
        self.bag = nn.Embedding(max(features, 1), width)
        self.vectors = nn.Linear(vectors, width, bias=False) if vectors else None

    def forward(self, contents: Contents) -> Tensor:
        """(N, W)."""
        contents = contents.on(self.bag.weight.device)
        lengths = contents.offsets[1:] - contents.offsets[:-1]
        bag = F.embedding_bag(contents.features, self.bag.weight, contents.offsets[:-1], mode="sum")  # N W
        total = self.summary(contents.summaries) + bag * lengths.clamp(min=1).to(bag.dtype).rsqrt()[:, None]
        return total if self.vectors is None else total + self.vectors(contents.vectors)


class ItemEncoder(nn.Module):
    """Vectors of the catalogue. The gate of the id embedding depends on how often the item was seen; an unseen item has none."""

    log_seen: Tensor

    def __init__(self, content: ContentEncoder | None, seen: Tensor, width: int, identity: bool) -> None:
        """seen: int64 (N,) training events per item."""
        super().__init__()
        self.content = content
        self.identity = nn.Embedding(len(seen), width) if identity else None
        self.gate = nn.Parameter(torch.tensor([0.0, 1.0]))  # gate = sigmoid(a + b log(1 + seen)), 0 for unseen items
        self.register_buffer("log_seen", torch.log1p(seen.float()))
        self.width = width

    def identity_gate(self) -> Tensor:
        """(N,) in [0, 1)."""
        gate = torch.sigmoid(self.gate[0] + self.gate[1] * self.log_seen)
        return torch.where(self.log_seen > 0, gate, torch.zeros_like(gate))

    def forward(self, contents: Contents, dropped: Tensor | None = None) -> Tensor:
        """(N, W) for the trained items and any added after them; dropped bool (N,): whose id embedding is left out."""
        vectors = self.content(contents) if self.content is not None else self.log_seen.new_zeros(len(contents), self.width)
        if self.identity is None:
            return vectors
        gate = self.identity_gate()
        if dropped is not None:
            gate = gate * ~moved(dropped, gate.device)
        own = self.identity.weight * gate[:, None]
        return vectors + F.pad(own, (0, 0, 0, len(contents) - len(own)))

    def of(self, rows: Tensor, contents: Contents, dropped: Tensor | None = None, *, sparse: bool = True) -> Tensor:
        """(T, W): the items `rows` int64 (T,), each once, all trained; `contents` and dropped bool (T,) are theirs.

        What `forward` gives for these rows. sparse: whether the gradient of the id table is; one table must have one kind in a whole run.
        """
        vectors = self.content(contents) if self.content is not None else self.log_seen.new_zeros(len(rows), self.width)
        if self.identity is None:
            return vectors
        rows = moved(rows, self.log_seen.device)
        seen = self.log_seen[rows]
        gate = torch.sigmoid(self.gate[0] + self.gate[1] * seen) * (seen > 0)
        if dropped is not None:
            gate = gate * ~moved(dropped, gate.device)
        return vectors + F.embedding(rows, self.identity.weight, sparse=sparse) * gate[:, None]
