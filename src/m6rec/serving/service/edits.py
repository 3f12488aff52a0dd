"""New fields of an item that the catalogue has already: read anew, its vector and text neighbours made anew, its history kept.

The rows of other items in the text prior keep what they say of it until the next training; so does a search index over a large catalogue
(which finds candidates by the older vector and scores them by the new one).

Dimension keys: N items, E edited ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array, vstack

from m6rec.data.dataset import Table
from m6rec.serving.engine.engine import Engine
from m6rec.tasks.catalogue import Catalogue, vector_fields
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.prior import TEXT_PART
from m6rec.tasks.served_model import Grown
from m6rec.tasks.text_reader import TextReader
from m6rec.text.similarity import query_similarity, similarity_vectors


def edit_items(engine: Engine, new: Table) -> None:
    """Give the items of `new`, all of which the catalogue has, these fields; readers wait for the last step alone."""
    scorer = engine.scorer
    rows = np.array([engine.items.ids.dense(item) for item in new.ids.ids], dtype=np.int64)
    catalogue = edited(scorer.catalogue, rows, new, scorer.reader, scorer.task.config.prior)
    basket = scorer.basket
    if basket is not None and TEXT_PART in basket.priors:
        basket = replace(basket, priors={**basket.priors, TEXT_PART: catalogue.priors[TEXT_PART]})
    with torch.no_grad():
        vectors = scorer.task.item_vectors(catalogue.contents)
    with engine.turns.writing():
        scorer.take(Grown(catalogue, basket, vectors))
        scorer.dataset = replace(scorer.dataset, items=catalogue.items)
        scorer.forget_states()  # histories that hold the item read differently now
        scorer.forget_kept()
        engine.retrieval.forget()


def edited(catalogue: Catalogue, rows: np.ndarray, new: Table, reader: TextReader, config: PriorConfig) -> Catalogue:
    """The catalogue with the rows int64 (E,) replaced by the E items of `new`."""
    size = len(catalogue)
    order = np.arange(size)
    order[rows] = size + np.arange(len(rows))
    frame = pl.concat([catalogue.items.frame, new.frame.select(catalogue.items.frame.columns)])[order]
    items = Table(catalogue.items.ids, frame, catalogue.items.fields)
    fresh = catalogue.bag.matrix(new)
    matrix = _replaced(catalogue.matrix, fresh, order)
    vectors = _replaced(catalogue.vectors, similarity_vectors(fresh, catalogue.bag.idf), order)
    summaries = torch.cat([catalogue.contents.summaries, reader.read(reader.wording.items(new))])[torch.from_numpy(order)]
    priors = dict(catalogue.priors)
    if TEXT_PART in priors:
        priors[TEXT_PART] = _replaced(priors[TEXT_PART], _neighbours(vectors, rows, config), order)
    return Catalogue(items, catalogue.bag, matrix, vectors, Contents.build(summaries, matrix, vector_fields(items)), priors)


def _neighbours(vectors: csr_array, rows: np.ndarray, config: PriorConfig) -> csr_array:
    """csr (E, N): the text prior's rows of the items `rows`, each summing to 1."""
    cosine = query_similarity(vectors, csr_array(vectors[rows])).astype(np.float64)
    cosine[np.arange(len(rows)), rows] = 0.0
    reach = np.sort(cosine, axis=1)[:, ::-1][:, : config.similar]
    cosine[cosine < reach[:, -1:]] = 0.0
    weights = (cosine / np.maximum(reach[:, :1], 1e-9)) ** config.sharpness
    total = weights.sum(axis=1, keepdims=True)
    found = csr_array((weights / np.where(total > 0, total, 1.0)).astype(np.float32))
    found.eliminate_zeros()
    return found


def _replaced(table: csr_array, fresh: csr_array, order: np.ndarray) -> csr_array:
    joined = csr_array(vstack([table, fresh], format="csr")[order])
    joined.sort_indices()
    return joined
