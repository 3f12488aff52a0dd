"""Item-based nearest neighbours: items that the same people had are alike.

Dimension keys: B requests, U users, N items, C items of a chunk.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.data.dataset import Table
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, history_weights, interactions, sparse_state, weigh_people

# Cells of the co-occurrence matrix held at once; whole, it can be nearly dense.
CELLS = 1 << 22
# The constants every BM25 takes (Robertson & Zaragoza 2009): how soon a repeated word saturates, how much length matters.
K1, LENGTH = 1.2, 0.75


@MEMBERS.register("item_knn")
class ItemKNN(Member):
    """score(i | history) = sum over history items h of recency**(events since h) * similarity(h, i), over h's nearest neighbours.

    "cosine": similarity = c(h, i) / (sqrt(n_h n_i) + shrink), where n_i = sum of w_u over the people u who had i, c(h, i) the same
    over those who had both, and w_u = (length of u's history / mean length)**-activity: someone who had everything says little
    about any pair (after Sarwar et al. 2001; the shrinkage of Bell & Koren 2007).

    "bm25": similarity = sum over the people who had both of b_uh b_ui, with b_ui the BM25 weight of item i in person u's history read
    as a document: ln(U / (1 + n_i)), at least 0, times (K1 + 1) / (1 + K1 (1 - LENGTH + LENGTH * length / mean length)).
    """

    name = "item_knn"

    class Options(Config):
        """What counts as similar, how many neighbours, how fast the past fades."""

        weighting: Literal["cosine", "bm25"] = Field("cosine", description="How co-occurrence becomes similarity")
        neighbours: int = Field(500, ge=1, description="Most similar items kept for each item; ties with the last one stay too")
        shrink: float = Field(10.0, ge=0, description="Cosine: added under the fraction, so that pairs that few people had count less")
        activity: float = Field(
            0.5, ge=0, description="Cosine: how much less a person with a long history says about each pair; 0: no less"
        )
        recency: float = Field(0.7, gt=0, le=1, description="Weight of a history event beside the one after it; 1: all alike")

    options: Options

    def _fit(self, histories: Histories, items: Table) -> None:
        had = interactions(histories, len(items))  # U N
        if self.options.weighting == "bm25":
            left = right = _bm25(had)
            counts = None
        else:
            left, right = had, weigh_people(had, self.options.activity)
            counts = np.bincount(right.indices, weights=right.data, minlength=len(items))  # N
        self._similarity = self._neighbours(left.T.tocsr(), right, counts)

    def _neighbours(self, left: sparse.csr_array, right: sparse.csr_array, counts: np.ndarray | None) -> sparse.csr_array:
        """left (N, U) @ right (U, N), a chunk of items at a time, each row cut to its largest: float32 (N, N), no diagonal."""
        items = left.shape[0]
        chunk = max(1, CELLS // items)
        parts = []
        for start in range(0, items, chunk):
            together = (left[start : start + chunk] @ right).toarray()  # C N
            rows = np.arange(len(together))
            together[rows, start + rows] = 0.0
            if counts is not None:
                under = np.sqrt(np.outer(counts[start : start + chunk], counts)) + self.options.shrink  # C N
                together = np.divide(together, under, out=together, where=under > 0)
            parts.append(largest(together.astype(np.float32), self.options.neighbours))
        return sparse.csr_array(sparse.vstack(parts, format="csr"))

    def _personal(self, requests: Requests) -> Matrix:
        weights = history_weights(requests.histories, self._similarity.shape[0], self.options.recency)  # B N
        return weights @ self._similarity

    def _state(self) -> State:
        return {"similarity": self._similarity}

    def _restore(self, state: State) -> None:
        self._similarity = sparse_state(state, "similarity")


def _bm25(had: sparse.csr_array) -> sparse.csr_array:
    """(U, N) of ones to BM25 weights of items in people's histories."""
    lengths = np.diff(had.indptr)  # U
    having = np.bincount(had.indices, minlength=had.shape[1])  # N
    rarity = np.maximum(np.log(max(had.shape[0], 1) / (1 + having)), 0)  # N
    saturation = (K1 + 1) / (1 + K1 * (1 - LENGTH + LENGTH * lengths / max(lengths.mean(), 1e-300)))  # U
    values = rarity[had.indices] * np.repeat(saturation, lengths)
    return sparse.csr_array((values.astype(np.float32), had.indices, had.indptr), shape=had.shape)


def largest(rows: np.ndarray, keep: int) -> sparse.csr_array:
    """The `keep` largest positive entries of each row of (C, N), with all that tie with the last of them.

    Cutting among ties by position would make a score depend on how the items happen to be numbered.
    """
    if keep < rows.shape[1]:
        bound = np.partition(rows, rows.shape[1] - keep, axis=1)[:, [rows.shape[1] - keep]]  # C 1
        rows = np.where(rows >= bound, rows, 0)
    return sparse.csr_array(np.maximum(rows, 0))
