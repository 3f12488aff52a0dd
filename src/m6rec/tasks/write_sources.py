"""What stands before a written text, as tensors: segments of tokens with their kinds, the states of the history, the vector of the item.

Shapes: B rows, S source tokens, Q slots, D width of the language model, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m6rec.base.contracts import Histories, Segment
from m6rec.language_model.devices import moved, tensor_of
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.segments import SegmentBatch
from m6rec.language_model.writing import Sources
from m6rec.tasks.choose import Choose, gather_slots
from m6rec.tasks.item_encoder import Contents

HISTORY, ITEM_VECTOR, ITEM, PROFILE, ABOUT, MEMORY, OWN, PAST, TYPED = KINDS = range(9)
KIND_NAMES = ("history", "item vector", "item", "profile", "about", "memory", "own", "past", "typed")  # named columns follow
SHORTEST = 8  # tokens of a segment that is cut; less is left out

Piece = tuple[int, np.ndarray]  # kind, token ids


@dataclass(frozen=True)
class Known:
    """What the slots are made of: the histories, the catalogue's contents (or vectors (N, D) at hand) and profiles, if any."""

    histories: Histories
    contents: Contents
    profiles: Contents | None
    vectors: Tensor | None = None


def read_pieces(model: LanguageModel, pieces: Sequence[Sequence[Piece]], most: int, pad_id: int, bos_id: int) -> dict[str, Tensor]:
    """The tensors of `Sources` that belong to tokens: the pieces of each row, in their order, at most `most` tokens."""
    segments, places = [], []  # place: row, column, kind
    lengths = np.zeros(len(pieces), dtype=np.int64)
    for number, some in enumerate(pieces):
        for kind, tokens in some:
            room = most - int(lengths[number])
            if room < min(SHORTEST, len(tokens)) or not len(tokens):
                continue
            kept = tokens[:room]
            segments.append(Segment(kept.astype(np.int32), False))
            places.append((number, int(lengths[number]), kind))
            lengths[number] += len(kept)
    width = max(int(lengths.max(initial=0)), 1)
    shape = (len(pieces), width)
    ids = torch.full(shape, pad_id, dtype=torch.int64)
    before, kinds = torch.full(shape, bos_id, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    device = model.embedding.weight.device
    real, states = torch.zeros(shape, dtype=torch.bool), torch.zeros(*shape, model.shape.read_width, device=device)
    if segments:
        batch = SegmentBatch.padded(segments, pad_id)
        token = batch.real
        counts = torch.tensor([len(segment.ids) for segment in segments])
        told = torch.tensor(places)
        row = torch.repeat_interleave(told[:, 0], counts)
        column = torch.repeat_interleave(told[:, 1], counts) + batch.position[token]
        ids[row, column] = batch.ids[token]
        kinds[row, column] = torch.repeat_interleave(told[:, 2], counts)
        real[row, column] = True
        shifted = torch.roll(batch.ids, 1, dims=1)
        before[row, column] = torch.where(batch.position == 0, bos_id, shifted)[token]
        states = states.index_put((row, column), model.reading(model.encode(batch.on(device)))[token].to(states.dtype))
    of_tokens = {"ids": ids, "before": before, "kinds": kinds, "real": real}
    return {"states": states, **{name: moved(values, device) for name, values in of_tokens.items()}}


@torch.no_grad()
def read_slots(
    model: LanguageModel,
    reader: Choose,
    known: Known,
    who: np.ndarray,
    items: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    most: int,
) -> dict[str, Tensor]:
    """The tensors of `Sources` that belong to slots: the states after the newest `most` events first..last of each row, as choosing reads them,
    and the vector of the item. Without gradient and dropout: choosing teaches the reading.

    Args:
        who: int64 (B,), rows of the profiles, -1 for none.  items: int64 (B,), -1 for none.
    """
    batch, width, device = len(who), model.shape.width, reader.start.device
    first = np.maximum(first, last - reader.shape.history)
    lengths = last - first
    vectors = _Vectors(reader, known, np.concatenate([items[items >= 0], _events(known, first, last)]))
    slots, kinds, real = [], [], []
    if most:
        columns = np.arange(int(lengths.max(initial=0)))
        events = np.minimum(first[:, None] + columns, max(len(known.histories.items) - 1, 0))
        events = events[:, : 0 if not len(known.histories.items) else None]
        start = reader.start_slot(batch)
        if known.profiles is not None and reader.profile is not None and len(known.profiles):
            rows = torch.from_numpy(np.maximum(who, 0))
            with_profile = reader.start_slot(batch, known.profiles.rows(rows))
            start = torch.where(tensor_of(who >= 0, device)[:, None], with_profile, start)
        gathered = gather_slots(start, known.histories, events)
        embedded, times = reader.embed_events(vectors(known.histories.items[events]), gathered, dropped=False)
        states, _ = model.upper.read(embedded, times, tensor_of(lengths + 1, device), 0)
        states = model.upper.norm(states)
        newest = torch.from_numpy(np.maximum(lengths - most + 1, 0))[:, None] + torch.arange(min(most, int(lengths.max(initial=0)) + 1))
        there = newest <= torch.from_numpy(lengths)[:, None]
        newest = newest.clamp(max=states.shape[1] - 1)
        slots.append(states.gather(1, moved(newest, device)[:, :, None].expand(-1, -1, width)))
        kinds.append(torch.full(newest.shape, HISTORY))
        real.append(there)
    slots.append(vectors(np.maximum(items, 0) if (items >= 0).any() else None, batch)[:, None] * reader.shape.slot_scale)
    kinds.append(torch.full((batch, 1), ITEM_VECTOR))
    real.append(torch.from_numpy(items >= 0)[:, None])
    told, there = moved(torch.cat(kinds, dim=1), device), moved(torch.cat(real, dim=1), device)
    return {"slots": torch.cat(slots, dim=1), "slot_kinds": told, "slot_real": there}


def sources(tokens: dict[str, Tensor], slots: dict[str, Tensor]) -> Sources:
    """Both halves as one."""
    return Sources(**tokens, **slots)


def _events(known: Known, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """int64: the items of all events that are read."""
    parts = [known.histories.items[start:end] for start, end in zip(first.tolist(), last.tolist(), strict=True)]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


class _Vectors:
    """Vectors of the items that are touched, looked up by dense id."""

    def __init__(self, reader: Choose, known: Known, touched: np.ndarray) -> None:
        self.width = reader.shape.width
        self.ids = np.unique(np.concatenate([touched, [0]])) if len(known.contents) else np.zeros(0, np.int64)
        if known.vectors is not None:
            self.table = known.vectors[torch.from_numpy(self.ids)]
        else:
            rows = torch.from_numpy(self.ids)
            self.table = reader.items.of(rows, known.contents.rows(rows), None, sparse=False)

    def __call__(self, items: np.ndarray | None, batch: int = 0) -> Tensor:
        if items is None or not len(self.ids):
            return self.table.new_zeros(batch, self.width)
        place = np.minimum(np.searchsorted(self.ids, items.astype(np.int64)), len(self.ids) - 1)
        return self.table[torch.from_numpy(place)]
