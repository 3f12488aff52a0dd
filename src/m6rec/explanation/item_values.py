"""An item's score without one of its values: the model asked again with a catalogue whose record of the item lacks it, exactly.

Everything that was made of the record is made anew: its words and their summary, the bag, the item's vector, its place among the text
neighbours of the history and its own text neighbours, and what typed words find of it. What was counted of the item (transitions, its own
embedding) stays: it is of behaviour, not of the record. Weights of words (idf) stay as trained.

Dimension keys: N items, F features, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array, vstack

from m6rec.base.contracts import Requests
from m6rec.base.errors import UsageError
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.tasks.catalogue import Catalogue, vector_fields
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.prior import TEXT_PART
from m6rec.text.similarity import neighbour_rows, similarity_vectors

MOST_TAGS = 8  # of one field that are taken away one by one


@dataclass(frozen=True)
class ItemValue:
    """What a record says: one tag, or all that a field of another type says. value: "" for texts, vectors, and all tags together."""

    field: str
    value: str
    kind: FieldType

    @property
    def what(self) -> str:
        """field=value, or the field."""
        return f"{self.field}={self.value}" if self.value else self.field


class ChangedMixture(ChooseMixture):
    """A model that answers with a changed catalogue; it is only asked, never saved."""

    def save(self, folder: Path) -> None:
        raise UsageError("a model with a changed catalogue is not saved; save the one it was made of")

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise UsageError("a model with a changed catalogue is not loaded; load the one it is made of")

    @classmethod
    def of(cls, scorer: ChooseMixture, catalogue: Catalogue, vectors: torch.Tensor | None = None, off: tuple[str, ...] = ()) -> Self:
        """`scorer` (without its blend) with another catalogue. vectors: (N, W), None: made when needed.  off: parts switched off."""
        made = cls(
            scorer.model,
            scorer.task,
            catalogue,
            scorer.reader,
            scorer.profiles,
            (*scorer.switched_off, *off),
            scorer.agreement,
            scorer.question,
        )
        made._vectors, made.interest = vectors, scorer.interest
        return made


def values_of(items: Table, item: int, *, apart: bool = True) -> list[ItemValue]:
    """What the record of `item` says, field by field. apart: tags one by one, else those of a field together."""
    found = []
    for field, kind in items.fields.items():
        value = items.frame[field][item]
        if value is None or (kind in (FieldType.TAGS, FieldType.VECTOR) and not len(value)):
            continue
        if kind == FieldType.TAGS and apart:
            found += [ItemValue(field, str(tag), kind) for tag in dict.fromkeys(value.to_list()[:MOST_TAGS]) if tag is not None]
        elif kind in (FieldType.TAGS, FieldType.TEXT, FieldType.VECTOR):
            found.append(ItemValue(field, "", kind))
        elif value == value:
            found.append(ItemValue(field, f"{value:g}" if isinstance(value, float) else str(value), kind))
    return found


def record_without(items: Table, item: int, value: ItemValue | None) -> Table:
    """One row: the record of `item` without a value; None: with all."""
    row = Table(Vocabulary([items.ids.ids[item]]), items.frame.slice(item, 1), items.fields)
    if value is None:
        return row
    kept: list[Any] = []
    if value.kind == FieldType.TAGS and value.value:
        kept = [tag for tag in row.frame[value.field][0].to_list() if str(tag) != value.value]
    told = [kept] if value.kind == FieldType.TAGS else [None]
    column = pl.Series(value.field, told, dtype=row.frame.schema[value.field])
    return Table(row.ids, row.frame.with_columns(column), row.fields)


def scorer_without(scorer: ChooseMixture, item: int, value: ItemValue | None, requests: Requests) -> ChangedMixture:
    """What answers `requests` about `item` as if its record did not have `value`; None: as it is, put together in the same way."""
    catalogue, reader = scorer.catalogue, scorer.reader
    record = record_without(catalogue.items, item, value)
    bag_row = catalogue.bag.matrix(record)
    vectors = _with_row(catalogue.vectors, item, similarity_vectors(bag_row, catalogue.bag.idf))
    priors = dict(catalogue.priors)
    if TEXT_PART in priors and "text" not in scorer.switched_off:
        config = scorer.task.config.prior
        depth = np.minimum(config.recent, requests.histories.lengths)
        recent = [requests.histories.row(row)[len(requests.histories.row(row)) - count :] for row, count in enumerate(depth)]
        rows = np.unique(np.concatenate([*recent, [item]])).astype(np.int64)
        made = neighbour_rows(vectors, rows, keep=config.similar, power=config.sharpness)
        priors[TEXT_PART] = _with_rows(priors[TEXT_PART], rows, made)
    changed = replace(catalogue, vectors=vectors, priors=priors)
    if requests.texts is not None and any(requests.texts) and TEXT_PART in priors:
        bag, found = catalogue.search
        changed.__dict__["search"] = (bag, _with_row(found, item, similarity_vectors(bag.matrix(record), bag.idf)))
    own = scorer.vectors
    if "text" not in scorer.switched_off and scorer.task.items.content is not None:
        own = own.clone()
        own[item] = _vector(scorer, item, record, bag_row, reader.read(reader.wording.items(record)))
    return ChangedMixture.of(scorer, changed, own)


def vector_without(scorer: ChooseMixture, item: int, value: ItemValue | None) -> torch.Tensor:
    """(W,): the item's vector as if its record did not have `value`."""
    record = record_without(scorer.catalogue.items, item, value)
    summary = scorer.reader.read(scorer.reader.wording.items(record))
    return _vector(scorer, item, record, scorer.catalogue.bag.matrix(record), summary)


@torch.no_grad()
def _vector(scorer: ChooseMixture, item: int, record: Table, bag_row: csr_array, summary: torch.Tensor) -> torch.Tensor:
    """(W,): the item's vector, made of its record."""
    given = vector_fields(record)
    width = scorer.catalogue.contents.vectors.shape[1]
    contents = Contents.build(summary, bag_row, given if given.shape[1] == width else torch.zeros(1, width))
    encoder = scorer.task.items
    if item >= len(encoder.log_seen):  # came after the training: it has no embedding of its own
        assert encoder.content is not None
        return encoder.content(contents)[0]
    dropped = torch.ones(1, dtype=torch.bool) if "id" in scorer.switched_off else None
    return encoder.of(torch.tensor([item]), contents, dropped, sparse=False)[0]


def _with_row(matrix: csr_array, place: int, row: csr_array) -> csr_array:
    """`matrix` with another row at `place`."""
    parts = [part for part in (matrix[:place], row, matrix[place + 1 :]) if part.shape[0]]
    return csr_array(vstack(parts, format="csr"))


def _with_rows(table: csr_array, rows: np.ndarray, made: csr_array) -> csr_array:
    """`table` with the rows `rows` of `made`."""
    keep = np.ones(table.shape[0], dtype=bool)
    keep[rows] = False
    kept = table.copy()
    kept.data = kept.data * np.repeat(keep, np.diff(table.indptr))
    kept.eliminate_zeros()
    result = csr_array(kept + made, dtype=np.float32)
    result.sort_indices()
    return result
