"""The catalogue as answering needs it: the items, what is known of them, and the counted priors over them.

Dimension keys: N items, L width of summaries, F bag features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.tasks.cold_transfer import behind
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.prior import TEXT_PART, prior_tables, row_mass, with_newcomers
from m6rec.tasks.text_reader import TextReader
from m6rec.text.bag import Bag
from m6rec.text.similarity import query_similarity, similarity_vectors


@dataclass(frozen=True)
class Catalogue:
    """N items. `matrix` csr (N, F) bag rows, `vectors` csr (N, F) their tf-idf, `contents` the same with summaries, `priors` name -> csr (N, N)."""

    items: Table
    bag: Bag
    matrix: csr_array
    vectors: csr_array
    contents: Contents
    priors: dict[str, csr_array]

    @classmethod
    def build(cls, items: Table, bag: Bag, summaries: Tensor) -> Catalogue:
        """The catalogue before anything is counted; summaries float32 (N, L)."""
        matrix = bag.matrix(items)
        contents = Contents.build(summaries, matrix, vector_fields(items))
        return cls(items, bag, matrix, similarity_vectors(matrix, bag.idf), contents, {})

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def masses(self) -> dict[str, np.ndarray]:
        """float32 (N,) for each prior: how much each item's row can be relied on."""
        return {name: row_mass(table) for name, table in self.priors.items()}

    @cached_property
    def resemblers(self) -> csr_array:
        """The text prior transposed, csr (N, N): row j holds the items that resemble j, and how much."""
        return csr_array(self.priors[TEXT_PART].T)

    def with_priors(self, histories: Histories, config: PriorConfig) -> Catalogue:
        """Counts of `histories`, and text neighbours (kept where they were computed before)."""
        return replace(self, priors=prior_tables(histories, self.vectors, config, self.priors.get(TEXT_PART)))

    def appended(self, new: Table, reader: TextReader, config: PriorConfig) -> Catalogue:
        """With the items of `new` after the others: readable, similar to others, with transitions borrowed from those.

        Raises:
            DataError: an id that the catalogue has already.
        """
        known = next((name for name in new.ids.ids if name in self.items.ids), None)
        if known is not None:
            raise DataError(f"item '{known}' is in the catalogue already; new items need ids of their own")
        frame = pl.concat([self.items.frame, new.frame.select(self.items.frame.columns)])
        items = Table(Vocabulary([*self.items.ids.ids, *new.ids.ids]), frame, self.items.fields)
        matrix = csr_array(vstack([self.matrix, self.bag.matrix(new)], format="csr"))
        vectors = similarity_vectors(matrix, self.bag.idf)
        summaries = torch.cat([self.contents.summaries, reader.read(reader.wording.items(new))])
        extra = len(new)
        priors = {name: csr_array(grown(table, extra)) for name, table in self.priors.items()}
        if TEXT_PART in priors:
            priors[TEXT_PART] = _linked(priors[TEXT_PART], vectors, extra, config)
        priors = with_newcomers(priors, np.arange(len(items) - extra, len(items)), config)
        return Catalogue(items, self.bag, matrix, vectors, Contents.build(summaries, matrix, vector_fields(items)), priors)

    @cached_property
    def search(self) -> tuple[Bag, csr_array]:
        """What typed words are looked up in: a bag with the words of single items too (nothing is trained on those), and its tf-idf rows.

        Made when first asked for, so that the words of items added a moment ago are in it.
        """
        bag, matrix = Bag.fit_matrix(self.items, self.bag.language, min_count=1)
        return bag, similarity_vectors(matrix, bag.idf)

    def typed_prior(self, texts: list[str], config: PriorConfig) -> np.ndarray:
        """float32 (B, N): the text prior of typed words; rows sum to 1, or are empty where no word is known."""
        bag, vectors = self.search
        return sharpened(query_similarity(vectors, similarity_vectors(bag.texts(texts), bag.idf)), config)


def sharpened(cosine: np.ndarray, config: PriorConfig) -> np.ndarray:
    """float32 (B, N): cosines to a power, the `similar` largest of each row, made to sum to 1 (rows without any stay empty)."""
    cosine = cosine.astype(np.float64)
    best = cosine.max(axis=1, initial=0.0, keepdims=True)
    weights = (cosine / np.where(best > 0, best, 1.0)) ** config.sharpness
    if cosine.shape[1] > config.similar:
        bound = -np.partition(-weights, config.similar - 1, axis=1)[:, config.similar - 1 : config.similar]
        weights[weights < bound] = 0.0
    total = weights.sum(axis=1, keepdims=True)
    return (weights / np.where(total > 0, total, 1.0)).astype(np.float32)


def vector_fields(table: Table) -> Tensor:
    """float32 (N, V): the vector fields side by side, each scaled to unit length; zeros where missing.

    Raises:
        DataError: a field whose vectors differ in length.
    """
    parts = []
    for name, kind in table.fields.items():
        if kind != FieldType.VECTOR:
            continue
        column = table.frame[name].to_list()
        lengths = {len(value) for value in column if value is not None}
        if len(lengths) > 1:
            raise DataError(f"vectors of field '{name}' have lengths {sorted(lengths)}; all need one length")
        width = lengths.pop() if lengths else 0
        rows = np.array([value if value is not None else [0.0] * width for value in column], dtype=np.float32).reshape(len(column), width)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        parts.append(rows / np.where(norms > 0, norms, 1.0))
    return torch.from_numpy(np.concatenate(parts, axis=1)) if parts else torch.zeros(len(table), 0)


def grown(table: csr_array, extra: int) -> csr_array:
    """Room for `extra` more items, without entries."""
    size = table.shape[0] + extra
    offsets = np.concatenate([table.indptr, np.full(extra, table.indptr[-1], dtype=table.indptr.dtype)])
    return csr_array((table.data, table.indices, offsets), shape=(size, size))


def _linked(table: csr_array, vectors: csr_array, extra: int, config: PriorConfig) -> csr_array:
    """The text prior with the last `extra` items in it: they get rows, and a place in the rows of what resembles them.

    What `text_neighbours` of all items would give, but that nobody leaves an older row to make room.
    """
    old = table.shape[0] - extra
    cosine = query_similarity(vectors, csr_array(vectors[old:])).astype(np.float64)  # extra N
    cosine[np.arange(extra), old + np.arange(extra)] = 0.0
    reach = np.sort(cosine, axis=1)[:, ::-1][:, : config.similar]
    cosine[cosine < reach[:, -1:]] = 0.0
    own = (cosine / np.maximum(reach[:, :1], 1e-9)) ** config.sharpness
    # A row is a distribution: a newcomer's weight in it is found by comparison with the nearest older neighbour's.
    nearest, share = _best(table)
    nearest, share = nearest[:old], share[:old].astype(np.float64)
    closeness = np.asarray(csr_array(vectors[:old]).multiply(vectors[nearest]).sum(axis=1)).ravel().astype(np.float64)
    alone = (share == 0) | (closeness <= 0)  # nothing near, or nothing in common with it any more: its fields were changed since
    share, closeness = np.where(alone, 1.0, share), np.where(alone, 1.0, closeness)
    number, row = np.nonzero(cosine[:, :old])
    order = np.lexsort((number, row))
    row, number = row[order], number[order]
    given = share[row] * (cosine[number, row] / closeness[row]) ** config.sharpness
    # Who resembles a newcomer makes room for it: the rest of the row shrinks so that the sum stays 1.
    places, touched = np.unique(row, return_inverse=True)
    spans = [np.arange(begin, end) for begin, end in zip(table.indptr[places], table.indptr[places + 1], strict=True)]
    lengths = np.array([len(span) for span in spans], dtype=np.int64)
    entries, owner = np.concatenate([np.zeros(0, np.int64), *spans]), np.repeat(np.arange(len(places)), lengths)
    mass = np.bincount(owner, weights=table.data[entries], minlength=len(places)) + np.bincount(
        touched, weights=given, minlength=len(places)
    )
    rows = csr_array(own)
    rows.data /= np.repeat(np.asarray(rows.sum(axis=1)).ravel(), np.diff(rows.indptr))
    data = table.data.copy()
    data[entries] = data[entries] / mass[owner]
    return behind(csr_array((data, table.indices, table.indptr), shape=table.shape), row, old + number, given / mass[touched], rows)


def _best(table: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """int64 (N,), (N,): the column of each row's first largest entry, and that entry; 0 and 0 for an empty row. Entries are above 0."""
    best, columns = np.zeros(table.shape[0], table.data.dtype), np.zeros(table.shape[0], np.int64)
    some = np.flatnonzero(np.diff(table.indptr))
    if len(some):
        best[some] = np.maximum.reduceat(table.data, table.indptr[some])
        at = np.flatnonzero(table.data == np.repeat(best, np.diff(table.indptr)))[::-1]  # the first of a row is written last
        columns[np.searchsorted(table.indptr, at, side="right") - 1] = table.indices[at]
    return columns, best
