"""The contracts between rooms: Segment, Histories, Requests, Scorer, Scored. numpy only.

Dimension keys: B requests, N items of the catalogue, E events, K answers asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class Segment:
    """One worded thing (an item, a profile, a query) as token ids.

    ids: int32 (T,), T >= 1.  causal: True for text being written, False for context.
    """

    ids: np.ndarray
    causal: bool = False


@dataclass(frozen=True)
class Histories:
    """Events of B users, oldest first, in compressed rows: row b is `items[offsets[b]:offsets[b + 1]]`.

    offsets   int64 (B + 1,)
    items     int32 (E,)    dense item ids
    times     float64 (E,)  seconds since 1970, or None where only the order is known (NaN: unknown for this event)
    actions   int16 (E,)    dense action codes, or None
    scenarios int16 (E,)    dense scenario codes, or None
    values    float32 (E,)  e.g. a rating; NaN unknown, or None
    """

    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray | None = None
    actions: np.ndarray | None = None
    scenarios: np.ndarray | None = None
    values: np.ndarray | None = None

    EVENT_COLUMNS = ("items", "times", "actions", "scenarios", "values")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def row(self, index: int) -> np.ndarray:
        return self.items[self.offsets[index] : self.offsets[index + 1]]

    @classmethod
    def from_lists(cls, rows: list[list[int]] | list[np.ndarray]) -> Self:
        """Item lists only, no times or actions."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        items = np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]) if len(rows) else np.zeros(0, np.int32)
        return cls(offsets=offsets, items=items.astype(np.int32))

    def pick(self, events: np.ndarray, offsets: np.ndarray) -> Self:
        """New rows made of the events at positions `events`, cut by `offsets`."""
        columns: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[events] for name in self.EVENT_COLUMNS
        }
        return type(self)(offsets=np.asarray(offsets, dtype=np.int64), **columns)

    def rows(self, index: np.ndarray) -> Self:
        """The rows `index` (int array or slice), copied."""
        index = np.arange(len(self))[index]
        starts, lengths = self.offsets[index], self.lengths[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        events = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return self.pick(events, offsets)

    def window(self, drop_last: np.ndarray | int = 0, keep: int | None = None) -> Self:
        """Each row without its last `drop_last` events, then at most its last `keep` events."""
        ends = np.maximum(self.offsets[1:] - drop_last, self.offsets[:-1])
        starts = self.offsets[:-1] if keep is None else np.maximum(self.offsets[:-1], ends - keep)
        lengths = ends - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        events = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return self.pick(events, offsets)


@dataclass(frozen=True)
class Requests:
    """Who is asking: B rows. Every part but `histories` may be missing, as a whole or row by row.

    users  int64 (B,): dense row of the users table, -1 for nobody we know.
    texts  what a person typed, "" for nothing.
    unwanted  words that a person ruled out, "" for none.
    now    float64 (B,): the time of asking in seconds, NaN unknown.
    profiles  worded profile text for people not in the users table, "" for none.
    """

    histories: Histories
    users: np.ndarray | None = None
    texts: list[str] | None = None
    profiles: list[str] | None = None
    now: np.ndarray | None = None
    scenarios: np.ndarray | None = None
    unwanted: list[str] | None = None

    def __len__(self) -> int:
        return len(self.histories)

    def rows(self, index: np.ndarray) -> Requests:
        positions = np.arange(len(self))[index]
        return Requests(
            histories=self.histories.rows(positions),
            users=None if self.users is None else self.users[positions],
            texts=None if self.texts is None else [self.texts[i] for i in positions],
            profiles=None if self.profiles is None else [self.profiles[i] for i in positions],
            now=None if self.now is None else self.now[positions],
            scenarios=None if self.scenarios is None else self.scenarios[positions],
            unwanted=None if self.unwanted is None else [self.unwanted[i] for i in positions],
        )


@dataclass(frozen=True)
class Scored:
    """One recommended item. `parts` says what the score is made of (member or prior -> its share); `labels` what tasks say of it."""

    item_id: str
    score: float
    title: str = ""
    parts: dict[str, float] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def many(cls, ids: list[str], scores: list[float], titles: list[str]) -> list[Self]:
        """Answers without parts and labels; the constructor of a frozen class costs more than scoring the item did."""
        found = []
        new = object.__new__
        for item_id, score, title in zip(ids, scores, titles, strict=True):
            one = new(cls)
            held = one.__dict__
            held["item_id"], held["score"], held["title"], held["parts"], held["labels"] = item_id, score, title, {}, {}
            found.append(one)
        return found


class Scorer(ABC):
    """Whatever can order a catalogue for a person: the language model, an item-kNN, a stacked blend.

    The contract, checked for every registered scorer by one test: a planted truth is found; a batch gives what single
    calls give; saved and loaded scores are identical; re-labelling the items permutes the scores and changes nothing else.
    """

    name: str = "scorer"

    @abstractmethod
    def scores(self, requests: Requests) -> np.ndarray:
        """float32 (B, N), higher is better; finite. Consumed items are scored like any other: leaving them out is the caller's part."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything `load` needs into the existing `folder`: JSON, npz without pickles, safetensors."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """The scorer that `save` wrote. Raises CheckpointError."""
