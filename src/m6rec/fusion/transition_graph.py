"""The untrained transition graph: what followed, or came before, the items of this history in the histories of others.

Dimension keys: B requests, N items.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.data.dataset import Table
from m6rec.data.transitions import count_transitions, normalise, propagate
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, history_weights, sparse_state
from m6rec.text.bag import Bag
from m6rec.text.similarity import similarity_vectors, text_neighbours


@MEMBERS.register("transition_graph")
class TransitionGraph(Member):
    """score(i | history) = sum over history items h of recency**(events since h) * edge(h, i).

        edge(h, i) = A[h, i] / mass_h**source_damping + similarity * S[h, i]
        A[h, i]    = T[h, i] / popularity_i**damping,   mass_h = sum over i of A[h, i]

    T are the decayed transition counts of data/transitions.py, both ways, `backward` times as much against the order of time. With
    `hops` > 1, A's rows are those of a short walk, with the same mass. S are text and field neighbours (text/similarity.py), rows
    of sum 1. As mass grows with how often h was seen, an item with few transitions leans on its text, one with many on its graph.

    `backward` left open is measured: of the pairs of transitions that two events agree about, how many go against each other
    (`symmetry`). Catalogues differ: near 1 where people pick in any order, far below it where one thing leads to another.
    """

    name = "transition_graph"

    class Options(Config):
        """How transitions are counted, damped, and joined by text."""

        window: int = Field(10, ge=1, description="Longest gap, in events, between the two items of a transition")
        decay: float = Field(0.9, ge=0, le=1, description="A transition over gap g counts decay**(g - 1)")
        backward: float | None = Field(None, ge=0, description="Weight of transitions against the order of time; null: measured")
        hops: int = Field(1, ge=1, description="Steps of the walk over the graph; 1: direct transitions only")
        hop_decay: float = Field(0.3, ge=0, le=1, description="Weight of a walk beside one that is a step shorter")
        neighbours: int = Field(200, ge=1, description="With hops > 1: transitions kept for each item")
        recency: float = Field(0.65, gt=0, le=1, description="Weight of a history event beside the one after it; 1: all alike")
        damping: float = Field(0.1, ge=0, description="Exponent of the popularity an item's transitions are divided by")
        source_damping: float = Field(0.5, ge=0, le=1, description="Exponent of the mass a row is divided by; 1: rows sum to 1")
        similarity: float = Field(0.0, ge=0, description="Weight of the text and field similarity; 0: without")
        similar_items: int = Field(50, ge=1, description="Text neighbours kept for each item")
        sharpness: float = Field(2.0, gt=0, description="Exponent of the text cosine")
        language: Literal["en", "zh"] = Field("en", description="Language of the catalogue's texts")

    options: Options

    def _fit(self, histories: Histories, items: Table) -> None:
        options = self.options
        backward = options.backward
        if backward is None:
            backward = symmetry(count_transitions(histories, len(items), window=options.window, decay=1.0, backward=0.0))
        counts = count_transitions(histories, len(items), window=options.window, decay=options.decay, backward=backward)  # N N
        popularity = np.maximum(np.bincount(histories.items, minlength=len(items)), 1).astype(np.float64)  # N
        mass = np.asarray(counts.astype(np.float64) @ popularity**-options.damping).ravel()  # N
        rows = normalise(counts, damping=options.damping, popularity=popularity)  # N N, sums 1
        if options.hops > 1:
            rows = propagate(rows, hops=options.hops, decay=options.hop_decay, keep=options.neighbours)
        edges = sparse.diags_array(mass ** (1 - options.source_damping)) @ rows
        if options.similarity > 0:
            bag = Bag.fit(items, options.language)
            vectors = similarity_vectors(bag.matrix(items), bag.idf)
            edges = edges + options.similarity * text_neighbours(vectors, keep=options.similar_items, power=options.sharpness)
        self._edges = sparse.csr_array(edges, dtype=np.float32)
        self._edges.sort_indices()

    def _personal(self, requests: Requests) -> Matrix:
        return history_weights(requests.histories, self._edges.shape[0], self.options.recency) @ self._edges

    def _state(self) -> State:
        return {"edges": self._edges}

    def _restore(self, state: State) -> None:
        self._edges = sparse_state(state, "edges")


@MEMBERS.register("transition_graph_text")
class TransitionGraphText(TransitionGraph):
    """The transition graph joined by text and field similarity: still untrained, and it can reach items nobody has had."""

    name = "transition_graph_text"

    class Options(TransitionGraph.Options):
        """As the transition graph's, with similarity."""

        similarity: float = Field(3.0, ge=0, description="Weight of the text and field similarity; 0: without")

    options: Options


@MEMBERS.register("transition_next")
class TransitionNext(TransitionGraph):
    """The transition graph of direct successors: what came right after the items of this history."""

    name = "transition_next"

    class Options(TransitionGraph.Options):
        """As the transition graph's, one event forward."""

        window: int = Field(1, ge=1, description="Longest gap, in events, between the two items of a transition")
        backward: float | None = Field(0.0, ge=0, description="Weight of transitions against the order of time; null: measured")

    options: Options


def symmetry(forward: sparse.csr_array) -> float:
    """How little the order of time matters, 0..1: with F[a, b] how often b followed a,

        sum of F[a, b] F[b, a] / sum of F[a, b] (F[a, b] - 1)        over a != b,

    pairs of transitions that go against each other by pairs that go the same way. 1 where none repeats (nothing is known).
    """
    off = sparse.csr_array(forward, dtype=np.float64)
    off = off - sparse.diags_array(off.diagonal())
    same = float((off.multiply(off) - off).sum())
    return min(float(off.multiply(off.T).sum()) / same, 1.0) if same > 0 else 1.0
