"""Reading the history of one person, in plain arrays: slots as `Choose` makes them, through the upper layers (`language_model/upper_arrays.py`).

Shapes: T slots of a history, W width, F bag features, L width of the language model's summaries, N items.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from m6rec.base.contracts import Histories
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.upper_arrays import ReadSlots, array_of
from m6rec.language_model.upper_tensors import laid_out
from m6rec.tasks.choose import Choose
from m6rec.tasks.item_encoder import ContentEncoder, Contents


class ContentArrays:
    """A `ContentEncoder` for one thing at a time."""

    def __init__(self, encoder: ContentEncoder) -> None:
        self.summary, self.bag = array_of(encoder.summary.weight).T, array_of(encoder.bag.weight)
        self.vectors = None if encoder.vectors is None else array_of(encoder.vectors.weight).T

    def row(self, contents: Contents, row: int) -> np.ndarray:
        """(W,)."""
        begin, end = int(contents.offsets[row]), int(contents.offsets[row + 1])
        found = contents.summaries[row].numpy() @ self.summary
        if end > begin:
            found += self.bag[contents.features[begin:end].numpy()].sum(axis=0) * np.float32((end - begin) ** -0.5)
        if self.vectors is not None:
            found += contents.vectors[row].numpy() @ self.vectors
        return np.asarray(found)


class SlotReader:
    """The weights that reading a history takes, as they are now, laid out."""

    def __init__(self, model: LanguageModel, task: Choose) -> None:
        self.upper = laid_out(model.upper)
        self.most, self.timed, self.scale = task.shape.history, task.shape.times, np.float32(task.shape.slot_scale)
        self.start, self.value = array_of(task.start), array_of(task.value)
        self.actions, self.scenarios = _table(task.actions), _table(task.scenarios)
        self.profile = None if task.profile is None else ContentArrays(task.profile)

    def read(self, events: Histories, vectors: np.ndarray, profile: np.ndarray | None, depth: int | None = None) -> ReadSlots:
        """The newest events of a one-row history.

        Args:
            vectors: (N, W) of the items.
            profile: (W,) what is known of the person, None for nothing.
            depth: layers that are passed, the first ones; None: all.
        """
        slots, times = self._slots(events, vectors, max(len(events.items) - self.most, 0))
        start = self.start if profile is None else self.start + profile
        if times is not None:
            times = np.concatenate([[np.nan], times])
        return self.upper.read(np.concatenate([start[None] * self.scale, slots]), times, depth)

    def extend(self, read: ReadSlots, events: Histories, vectors: np.ndarray) -> ReadSlots:
        """`read` of the events without the newest, then that; the whole history must fit into what is read."""
        slots, times = self._slots(events, vectors, len(events.items) - 1)
        return self.upper.extend(read, slots[0], float("nan") if times is None else float(times[0]))

    def _slots(self, events: Histories, vectors: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray | None]:
        """(T, W) of the events from `first` on, and their times."""
        slots = vectors[events.items[first:]]
        if self.actions is not None and events.actions is not None:
            slots = slots + self.actions[events.actions[first:]]
        if self.scenarios is not None and events.scenarios is not None:
            slots = slots + self.scenarios[events.scenarios[first:]]
        if events.values is not None:
            slots = slots + np.nan_to_num(events.values[first:])[:, None] * self.value
        times = events.times[first:] if self.timed and events.times is not None else None
        return slots * self.scale, times


def _table(embedding: nn.Embedding | None) -> np.ndarray | None:
    return None if embedding is None else array_of(embedding.weight)
