"""Histories as judging reads them: one causal pass, kept as keys and values, for all exposures of a person that overlap.

Shapes: B blocks, T events of a history, W width, N items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m6rec.language_model.devices import tensor_of
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.upper import SlotCache
from m6rec.tasks.choose import Choose, gather_slots
from m6rec.tasks.judge_rows import Blocks, JudgeExamples


@dataclass(frozen=True)
class ReadHistories:
    """B histories that were read; first int64 (B,) the first event read.

    states (B, 1 + T, W): of the start slot and each event, where the layers begin that candidates pass.

    items int64 (M,) ascending and vectors (M, W): the items that were touched; items None: all of the catalogue.
    """

    states: Tensor
    cache: SlotCache
    first: np.ndarray
    items: np.ndarray | None
    vectors: Tensor

    def item_vectors(self, items: np.ndarray) -> Tensor:
        """(R, W) of items int (R,), among those touched."""
        rows = items.astype(np.int64) if self.items is None else np.searchsorted(self.items, items)
        return self.vectors[torch.from_numpy(rows)]


def read_histories(
    model: LanguageModel, reader: Choose, examples: JudgeExamples, blocks: Blocks, batch: np.ndarray, layers: int | None = None
) -> ReadHistories:
    """Read the histories of the blocks `batch`; the vectors of the items that are touched have their gradients.

    The reading itself has none, choosing teaches it at half the price; where the choose task is not trained (weight 0), judging does.

    layers: how many of the last layers candidates will pass; None: all.
    """
    histories = examples.histories
    first, last, users = blocks.first[batch], blocks.last[batch], blocks.users[batch]
    events = first[:, None] + np.arange(int((last - first).max(initial=0)))  # B T
    lengths = tensor_of(last - first + 1, reader.start.device)
    events = np.minimum(events, max(len(histories.items) - 1, 0))
    if not len(histories.items):
        events = events[:, :0]
    read = histories.items[events]  # B T
    if examples.vectors is None:
        asked = np.concatenate([examples.rows.items[blocks.order[blocks.starts[b] : blocks.starts[b + 1]]] for b in batch])
        items, place = np.unique(np.concatenate([asked, read.ravel()]), return_inverse=True)
        rows = torch.from_numpy(items.astype(np.int64))
        dropped = torch.rand(len(rows)) < reader.config.identity_dropout if reader.training and reader.config.identity_dropout else None
        vectors = reader.items.of(rows, examples.contents.rows(rows), dropped, sparse=False)
        events_place = torch.from_numpy(place[len(asked) :].reshape(read.shape))
    else:
        items, vectors, events_place = None, examples.vectors, torch.from_numpy(read.astype(np.int64))
    with torch.set_grad_enabled(torch.is_grad_enabled() and reader.config.weight == 0):
        profiles = None if examples.profiles is None else examples.profiles.rows(torch.from_numpy(users))
        slots = gather_slots(reader.start_slot(len(batch), profiles), histories, events)
        embedded, times = reader.embed_events(vectors[events_place], slots, dropped=False)
        states, cache = model.upper.read(embedded, times, lengths, layers)
    return ReadHistories(states, cache, first, items, vectors)
