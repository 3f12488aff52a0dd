"""The prepared data: dense ids inside, external ids outside, and the one place where they meet.

Dense ids follow the order of the file, never the id's value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.data.exposures import Exposures
from m6rec.data.fields import FieldType

__all__ = ["Dataset", "Exposures", "FieldType", "Table", "Vocabulary"]


class Vocabulary:
    """External ids (text) to dense integers and back; the order given is the order kept."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = [str(i) for i in ids]
        self._dense = {name: dense for dense, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: object) -> bool:
        return str(name) in self._dense

    def dense(self, name: object) -> int:
        """Dense id, or -1 where unknown."""
        return self._dense.get(str(name), -1)

    def many(self, names: Sequence[object]) -> np.ndarray:
        """int64 (X,): dense ids, -1 where unknown."""
        dense = self._dense
        return np.array([dense.get(name if type(name) is str else str(name), -1) for name in names], dtype=np.int64)


@dataclass(frozen=True)
class Table:
    """Items or users: row i of `frame` is the entity with dense id i. `fields` types the declared columns.

    Canonical dtypes of `frame` after preparation: text/category/id pl.String (null: missing), tags pl.List(pl.String)
    (empty list: missing), number pl.Float64 (null: missing), vector pl.List(pl.Float32) (null: missing).
    """

    ids: Vocabulary
    frame: pl.DataFrame
    fields: dict[str, FieldType]

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, index: list[int]) -> Table:
        """Some of them, in this order."""
        return Table(Vocabulary([self.ids.ids[row] for row in index]), self.frame[index], self.fields)

    def titles(self) -> list[str]:
        """What to show a person: the first text field, else the first category; where nothing of it can be seen, the id."""
        for kind in (FieldType.TEXT, FieldType.CATEGORY):
            for name, type_ in self.fields.items():
                if type_ == kind:
                    return [title if _seen(title) else self.ids.ids[row] for row, title in enumerate(self.frame[name].to_list())]
        return list(self.ids.ids)


def _seen(title: str | None) -> bool:
    """Whether a title has a character that can be seen: no blank, control or direction character."""
    return bool(title) and any(letter.isprintable() and letter != " " for letter in title or "")


@dataclass(frozen=True)
class Dataset:
    """Everything after `prepare`. Row u of `histories` is user u of `users`; events are oldest first.

    `action_names[c]` and `scenario_names[c]` name the codes in `histories` and `exposures`. `left_out` is the digest of exposures that the
    data had and this copy has not (a model folder carries no log); it belongs to the fingerprint.
    """

    items: Table
    users: Table
    histories: Histories
    action_names: list[str] = field(default_factory=list)
    scenario_names: list[str] = field(default_factory=list)
    texts: pl.DataFrame | None = None
    relations: pl.DataFrame | None = None
    dialogues: pl.DataFrame | None = None
    faq: pl.DataFrame | None = None
    exposures: Exposures | None = None
    fingerprint: str = ""
    left_out: str = ""

    def seen_counts(self) -> np.ndarray:
        """int64 (N,): events per item."""
        return np.bincount(self.histories.items, minlength=len(self.items)).astype(np.int64)
