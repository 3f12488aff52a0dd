"""EASE: a linear autoencoder over items, in closed form.

Dimension keys: B requests, N items.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import linalg

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import DataError
from m6rec.data.dataset import Table
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, dense_state, history_weights, interactions, weigh_people

GIGABYTE = 10**9
BLOCK = 512  # rows handled at once


@MEMBERS.register("ease")
class EASE(Member):
    """score = x W, with x the history (recency-weighted) and W the ridge regression of every item on all others.

        P = (X'DX + l2 I)^-1,   W[a, b] = -P[a, b] / P[b, b],   W[a, a] = 0       (Steck 2019, arXiv 1905.03375)

    X is people by items, ones where had; D weighs a person (length of the history / mean length)**-activity, all 1 for activity 0.
    P is found by Cholesky in float32: about N**3 multiplications, in one matrix of 4 N**2 bytes.
    """

    name = "ease"

    class Options(Config):
        """Regularisation, how fast the past fades, how much memory may be taken."""

        l2: float = Field(200.0, gt=0, description="Ridge penalty: larger lets fewer, more popular items speak")
        activity: float = Field(0.5, ge=0, description="How much less a person with a long history says about a pair; 0: no less")
        recency: float = Field(0.8, gt=0, le=1, description="Weight of a history event beside the one after it; 1: all alike")
        memory: float = Field(2.0, gt=0, description="Most gigabytes the dense matrix may take; a larger catalogue is refused")

    options: Options

    def _fit(self, histories: Histories, items: Table) -> None:
        needed, limit = 4 * len(items) ** 2 / GIGABYTE, int((self.options.memory * GIGABYTE / 4) ** 0.5)
        if len(items) > limit:
            raise DataError(
                f"ease needs {needed:.2g} GB for {len(items):,} items, {self.options.memory:g} GB ({limit:,} items) are allowed; "
                f"raise its option memory, or take item_knn"
            )
        had = interactions(histories, len(items))  # U N
        left, right = had.T.tocsr(), weigh_people(had, self.options.activity)
        # one matrix throughout, in the order LAPACK wants it: Gram matrix, its factor, the inverse, the weights
        gram = np.empty((len(items), len(items)), dtype=np.float32, order="F")
        for start in range(0, len(items), BLOCK):
            gram[start : start + BLOCK] = (left[start : start + BLOCK] @ right).toarray()
        gram[np.diag_indices_from(gram)] += self.options.l2
        factor = linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
        inverse, _ = linalg.lapack.spotri(factor, lower=True, overwrite_c=True)
        weights = _mirrored(inverse).T  # symmetric: its transpose is itself, in numpy's order of memory
        weights /= -weights.diagonal().copy()
        weights[np.diag_indices_from(weights)] = 0.0
        self._weights = weights

    def _personal(self, requests: Requests) -> Matrix:
        # sparse by dense: row by row, so that a batch gives to the last bit what single calls give
        return history_weights(requests.histories, len(self._weights), self.options.recency) @ self._weights

    def _state(self) -> State:
        return {"weights": self._weights}

    def _restore(self, state: State) -> None:
        self._weights = dense_state(state, "weights")


def _mirrored(lower: np.ndarray) -> np.ndarray:
    """The lower triangle copied to the upper one, in place."""
    for start in range(0, len(lower), BLOCK):
        end = start + BLOCK
        lower[start:end, end:] = lower[end:, start:end].T
        corner = np.tril(lower[start:end, start:end])
        lower[start:end, start:end] = corner + np.tril(corner, -1).T
    return lower
