"""iALS: implicit-feedback matrix factorisation by alternating least squares.

Dimension keys: B requests, U users, N items, D factors.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import linalg, sparse

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.base.extras import require
from m6rec.data.dataset import Table
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, dense_state, history_weights, interactions


@MEMBERS.register("ials")
class IALS(Member):
    """score(i | history) = p . q_i, the q fitted by `implicit`, the p solved anew for every request (folding in).

        p = (Q'Q + alpha' sum_h w_h q_h q_h' + l2 I)^-1 sum_h (1 + alpha' w_h) q_h,        alpha' = alpha - 1

    That is the least-squares step of Hu, Koren & Volinsky 2008 with confidence alpha on what was had (1 elsewhere) and w_h the
    recency weight of the event, mean 1 over the items of the history. People unseen in training cost nothing extra, and nothing of `implicit`
    is needed after the fit. One thread and a fixed seed: the same data give the same factors.
    """

    name = "ials"
    built_on = (("implicit.cpu.als", "fusion"), ("threadpoolctl", "fusion"))

    class Options(Config):
        """Size, confidence, regularisation, how fast the past fades."""

        factors: int = Field(256, ge=1, description="Numbers that describe an item")
        alpha: float = Field(20.0, ge=1, description="Confidence in what was had; what was not had has 1")
        l2: float = Field(30.0, ge=0, description="Ridge penalty")
        iterations: int = Field(15, ge=1, description="Rounds of alternating least squares")
        recency: float = Field(0.6, gt=0, le=1, description="Weight of a history event beside the one after it; 1: all alike")
        threads: int = Field(1, ge=1, description="Threads of the fit; with more than one the sums may differ in the last digit")
        seed: int = Field(0, ge=0, description="Seed of the first factors")

    options: Options

    def _fit(self, histories: Histories, items: Table) -> None:
        options = self.options
        als = require("implicit.cpu.als", "fusion")
        threadpoolctl = require("threadpoolctl", "fusion")
        # CSR matrix, not array: implicit checks for the class. Its threads and those of BLAS get in each other's way, so BLAS has one.
        had = sparse.csr_matrix(interactions(histories, len(items)))  # U N
        with threadpoolctl.threadpool_limits(1, "blas"):
            model = als.AlternatingLeastSquares(
                factors=options.factors,
                regularization=options.l2,
                alpha=options.alpha,
                iterations=options.iterations,
                num_threads=options.threads,
                random_state=options.seed,
            )
            model.user_factors, model.item_factors = first_factors(had, options.factors, options.seed)
            model.fit(had, show_progress=False)
        self._restore({"items": np.ascontiguousarray(model.item_factors, dtype=np.float32)})

    def fold_in(self, histories: Histories) -> np.ndarray:
        """The factors of people known by their histories alone: float64 (B, D), zeros for an empty history."""
        options = self.options
        weights = history_weights(histories, len(self._items), options.recency)  # B N
        people = np.zeros((len(histories), self._items.shape[1]))  # B D
        for row in range(len(histories)):
            span = slice(weights.indptr[row], weights.indptr[row + 1])
            had = self._items[weights.indices[span]].astype(np.float64)  # E D
            extra = (options.alpha - 1) * len(had) * weights.data[span].astype(np.float64)  # E: mean alpha - 1
            if 0 < len(had) < had.shape[1]:
                # (G + H'EH)^-1 H' = G^-1 H' (I + E H G^-1 H')^-1: a system of the history's size, not of the factors'
                known = had @ self._inverse  # E D
                system = np.eye(len(had)) + extra[:, None] * (known @ had.T)  # E E
                people[row] = linalg.solve(system, 1 + extra, check_finite=False) @ known
            elif len(had):
                system = self._gram + (had.T * extra) @ had  # D D
                people[row] = linalg.solve(system, (1 + extra) @ had, assume_a="pos", check_finite=False)
        return people

    def _personal(self, requests: Requests) -> Matrix:
        return (self.fold_in(requests.histories) @ self._items.T).astype(np.float32)

    def _state(self) -> State:
        return {"items": self._items}

    def _restore(self, state: State) -> None:
        self._items = dense_state(state, "items")  # N D
        items = self._items.astype(np.float64)
        # a whisker on the diagonal keeps the system solvable where there is no penalty and fewer items than factors
        self._gram = items.T @ items + max(self.options.l2, 1e-6) * np.eye(items.shape[1])  # D D
        self._inverse = linalg.inv(self._gram)


def first_factors(had: sparse.csr_matrix, factors: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the alternation starts: float32 (U, D) small and random, (N, D) made of the people who had the item.

    Random item factors would tie the result to how the items happen to be numbered.
    """
    people = np.random.default_rng(seed).standard_normal((had.shape[0], factors), dtype=np.float32) * np.float32(0.01)
    counts = np.bincount(had.indices, minlength=had.shape[1])  # N
    items = (had.T @ people) / np.sqrt(np.maximum(counts, 1), dtype=np.float32)[:, None]
    return people, np.ascontiguousarray(items, dtype=np.float32)
