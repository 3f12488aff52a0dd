"""Content-based neighbours: items whose words and fields are like those of the history, or like what the person typed.

Dimension keys: B requests, N items, F features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.data.dataset import Table
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, history_weights, sparse_state
from m6rec.text.bag import Bag
from m6rec.text.similarity import similarity_vectors


@MEMBERS.register("content_knn")
class ContentKNN(Member):
    """score(i | request) = cosine(i, person), over tf-idf vectors of words and fields (text/bag.py).

    The person's vector is the recency-weighted mean of the history's item vectors, plus `typed` times the unit vector of the text
    the person typed, plus `profile` times that of the profile. It learns nothing from behaviour, so an item that nobody has had
    is scored like any other; an item or request without a known word gets no score.
    """

    name = "content_knn"

    class Options(Config):
        """How the person's vector is made."""

        language: Literal["en", "zh"] = Field("en", description="Language of the catalogue's texts")
        recency: float = Field(0.65, gt=0, le=1, description="Weight of a history event beside the one after it; 1: all alike")
        typed: float = Field(1.0, ge=0, description="Weight of typed text; the history weighs 1")
        profile: float = Field(0.3, ge=0, description="Weight of the profile text; the history weighs 1")

    options: Options

    def _fit(self, histories: Histories, items: Table) -> None:
        self._bag = Bag.fit(items, self.options.language)
        self._take(similarity_vectors(self._bag.matrix(items), self._bag.idf))

    def _personal(self, requests: Requests) -> Matrix:
        person = history_weights(requests.histories, self._vectors.shape[0], self.options.recency) @ self._vectors  # B F
        for weight, texts in ((self.options.typed, requests.texts), (self.options.profile, requests.profiles)):
            if weight and texts is not None and any(texts):
                person = person + weight * similarity_vectors(self._bag.texts(texts), self._bag.idf)
        return sparse.csr_array(_unit_rows(person) @ self._answers)

    def _extend(self, new: Table, items: Table) -> bool:
        added = similarity_vectors(self._bag.matrix(new), self._bag.idf)
        self._take(sparse.csr_array(sparse.vstack([self._vectors, added], format="csr")))
        return True

    def _state(self) -> State:
        return {"vectors": self._vectors}

    def _restore(self, state: State) -> None:
        self._take(sparse_state(state, "vectors"))

    def _take(self, vectors: sparse.csr_array) -> None:
        self._vectors = vectors  # N F
        self._answers = sparse.csr_array(vectors.T)  # F N, kept: turning it round costs more than a request does

    def _save_files(self, folder: Path) -> None:
        self._bag.save(folder / "bag.json")

    def _load_files(self, folder: Path) -> None:
        self._bag = Bag.load(folder / "bag.json")


def _unit_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return sparse.csr_array(sparse.diags_array(scale.astype(np.float32)) @ matrix)
