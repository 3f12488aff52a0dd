"""Choosing out of a catalogue too large to score whole: candidates first, then the same score as `ChooseMixture`, for them alone.

Candidates are what a search over the item vectors finds nearest to the user state, every item that the priors name for the recent
events (successors, predecessors, alike in text), and the items whose words were typed. Whatever is left out is named by no prior, and
its softmax lies under that of everything the search found: the order of the best is that of the whole catalogue, but for what the
search misses.

One number of the score needs the whole catalogue, the normaliser of the softmax. Found items enter it exactly, the rest through items
drawn once, evenly, by seed (Rastogi & Van Durme 2015; Mussmann & Ermon 2016; unbiased whatever the search finds):

    Z = sum over found of exp(l_i) + (N - found) / |drawn, not found| * sum over drawn, not found of exp(l_i)

Dimension keys: B requests, N items, W width, M priors, K recent events, C candidates, D drawn items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from m6rec.base.contracts import Histories, Requests
from m6rec.tasks.agreement import typed_gain
from m6rec.tasks.catalogue import Catalogue
from m6rec.tasks.choose_mixture import LEAST, SOFTMAX_PART, ChooseMixture, named_words
from m6rec.tasks.cold_transfer import SIMILAR
from m6rec.tasks.interest_part import Lift
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART
from m6rec.text.similarity import similarity_vectors


class Search(Protocol):
    """What finds the nearest item vectors: `VectorIndex` of the index room, whose contract this is."""

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """queries float32 (B, W) -> int64 (B, k) items, best first, -1 where there are no more; float32 (B, k) inner products."""


@dataclass(frozen=True)
class Question:
    """A batch of requests, read once: what finding and scoring both need.

    states      float32 (B, W)
    found       int64 (B, count), nearest to the state, -1 where there are no more
    log_total   float64 (B,): log of the softmax's normaliser
    words       csr (B, N): the text prior of typed words, None where nobody typed
    against     the same of words that were ruled out, None where none were
    lift        what an interest vector makes of the words, in place of both; None where none was learned, or nothing is said
    recent      int64 (B, K): newest items first, -1 where there is none
    evidence    float32 (B, M, K)     weights  float32 (B, M, K) of the rows     gates  float32 (B, 1 + M), the softmax first
    """

    states: Tensor
    found: np.ndarray
    log_total: np.ndarray
    words: csr_array | None
    against: csr_array | None
    lift: Lift | None
    recent: np.ndarray
    evidence: np.ndarray
    weights: np.ndarray
    gates: np.ndarray

    def row(self, number: int) -> Question:
        """One of the requests."""
        one = slice(number, number + 1)
        words, against = (None if said is None else csr_array(said[[number]]) for said in (self.words, self.against))
        arrays = (self.recent, self.evidence, self.weights, self.gates)
        lift = None if self.lift is None else self.lift.row(number)
        return Question(self.states[one], self.found[one], self.log_total[one], words, against, lift, *(array[one] for array in arrays))

    @property
    def bytes(self) -> int:
        arrays = (self.found, self.log_total, self.recent, self.evidence, self.weights, self.gates)
        return 4 * self.states.numel() + sum(array.nbytes for array in arrays)


@dataclass(frozen=True)
class _Named:
    """Entries of the rows that the recent events lead to in one prior: items, their values, and from which event, each (E,)."""

    items: np.ndarray
    values: np.ndarray
    events: np.ndarray


class ChooseCandidates:
    """Candidates and their scores.

    Args:
        search: over `mixture.vectors`, by inner product.
        count: items that the search hands on for a request.
        tail: D, items drawn for the normaliser; as many as the catalogue has make it exact.
    """

    def __init__(self, mixture: ChooseMixture, search: Search, count: int = 1000, tail: int = 131_072, seed: int = 0) -> None:
        self.mixture, self.search, self.count, self.tail, self.seed = mixture, search, count, tail, seed
        self._drawn: tuple[Tensor, np.ndarray, Tensor] | None = None  # vectors they are of, place in the draw (N,), vectors (W, D)
        self._postings: tuple[Catalogue, csr_array] | None = None

    @torch.no_grad()
    def ask(self, requests: Requests, states: Tensor | None = None, count: int | None = None) -> Question:
        """Read the requests: user states, gates, and what the search finds.

        Args:
            states: (B, W) of the requests, where they are at hand.
            count: items that the search hands on; None: as many as usual.
        """
        mixture = self.mixture
        typed = None if "text" in mixture.switched_off else mixture._typed_rows(requests)
        words = None
        if typed is not None and TEXT_PART in mixture.catalogue.priors:
            assert requests.texts is not None
            words = self._words(named_words(requests.texts))
        lift = mixture.lift(requests)
        ruled = (
            mixture.interest is None
            and requests.unwanted is not None
            and TEXT_PART in mixture.catalogue.priors
            and "text" not in mixture.switched_off
        )
        against = self._words(requests.unwanted) if ruled and requests.unwanted is not None else None
        recent, evidence = mixture._recent(requests.histories)
        states = mixture.last_states(requests, typed) if states is None else states
        weights = mixture.task.gate.recency_weights(torch.from_numpy(evidence)).numpy()
        told = evidence.copy()
        if words is not None:  # the words count as one more event
            newest = told[:, mixture.task.parts.index(TEXT_PART), 0]
            np.maximum(newest, np.log1p(words.sum(axis=1)), out=newest)
        lengths = torch.from_numpy(requests.histories.lengths.copy())
        gates = mixture.task.gate.log_gates(states, torch.from_numpy(told), lengths).exp().numpy()
        found, products = self.search.search(_sought(states, lift), min(count or self.count, len(mixture.catalogue)))
        if lift is not None:
            products = _products(states, mixture.vectors, found)
        return Question(states, found, self._log_total(states, found, products), words, against, lift, recent, evidence, weights, gates)

    def candidates(self, question: Question, k: int = 0, allowed: np.ndarray | None = None) -> np.ndarray:
        """int64 (B, C): ascending items of each request, padded with -1 at the end.

        Args:
            k: answers wanted beside those that will be left out; the search is widened to twice as many.
            allowed: bool (N,), items that may be answered; the search is made among them too. None: all.
        """
        wider = min(max(question.found.shape[1], 2 * k), len(self.mixture.catalogue))
        more = np.zeros((len(question.recent), 0), dtype=np.int64)
        if allowed is not None or wider > question.found.shape[1]:
            more, _ = self.search.search(_sought(question.states, question.lift), wider, allowed)
        marked = np.zeros(len(self.mixture.catalogue), dtype=bool)
        rows = []
        for row in range(len(question.recent)):
            named = [question.found[row], more[row], *(part.items for part in self._named(question, row).values())]
            if question.words is not None:
                named.append(_entries(question.words, row)[0])
            if question.lift is not None and question.lift.match is not None:
                named.append(_gaining(question.lift.match[row], wider))
            for items in named:
                marked[items[items >= 0]] = True
            chosen = np.flatnonzero(marked if allowed is None else marked & allowed)
            rows.append(chosen)
            for items in named:
                marked[items] = False  # -1 clears the last item: it is in nobody's way
        result = np.full((len(rows), max((len(row) for row in rows), default=0)), -1, dtype=np.int64)
        for number, chosen in enumerate(rows):
            result[number, : len(chosen)] = chosen
        return result

    def scores_of(self, question: Question, candidates: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What `ChooseMixture.answer` gives to these items.

        Args:
            candidates: int64 (B, C), each item once in a row, -1 for none.

        Returns:
            float32 (B, C) scores, -inf for none; what each part of the mixture gives, name -> float32 (B, C).
        """
        mixture, parts = self.mixture, self.mixture.task.parts
        scores = np.full(candidates.shape, -np.inf, dtype=np.float32)
        shares = {name: np.zeros(candidates.shape, dtype=np.float32) for name in (SOFTMAX_PART, *parts)}
        recency = mixture.agreement.recency ** np.arange(question.recent.shape[1], dtype=np.float32)
        place = np.full(len(mixture.catalogue), -1, dtype=np.int32)  # N: where a candidate of the row at hand stands
        for row, listed in enumerate(candidates):
            columns = np.flatnonzero(listed >= 0)
            items = listed[columns]
            place[items] = np.arange(len(items))
            typed = None if question.words is None else _entries(question.words, row)
            said = np.zeros(len(items), np.float32) if typed is None else _scattered(place[typed[0]], typed[1], len(items))
            logits = (mixture.vectors[torch.from_numpy(items)] @ question.states[row]).numpy().astype(np.float64)
            given = {SOFTMAX_PART: question.gates[row, 0] * np.exp(logits - question.log_total[row])}
            counted = {}
            for number, (name, named) in enumerate(self._named(question, row).items()):
                at = place[named.items]
                mass = np.maximum(mixture.catalogue.masses[name][question.recent[row]], 1e-9)
                part = _scattered(at, (question.weights[row, number] / mass)[named.events] * named.values, len(items))
                if mixture.agreement.weight:
                    counted[name] = _scattered(at, recency[named.events] * named.values, len(items))
                if name == TEXT_PART and typed is not None:
                    # Half from the events and half from the words where both say something, else the one that does.
                    both = len(named.items) and len(typed[0])
                    part = np.float32(0.5 if both else 1.0) * (part + said)
                given[name] = question.gates[row, 1 + number] * part
            total = np.log(np.maximum(sum(given.values()), LEAST)).astype(np.float32)
            if mixture.agreement.weight:
                if mixture.agreement.shares.get(SIMILAR) and "text" not in mixture.switched_off:
                    counted[SIMILAR] = self._similar(question, row, recency, items)
                total += mixture.agreement.gain(counted)
            if typed is not None:
                total += typed_gain(said)
            if question.lift is not None:
                total *= question.lift.start[row]
                total += question.lift.of(row, items, mixture.vectors)
            if question.against is not None:
                ruled, values = _entries(question.against, row)
                total -= typed_gain(_scattered(place[ruled], values, len(items)))
            scores[row, columns] = total
            for name, values in given.items():
                shares[name][row, columns] = values
            place[items] = -1
        return scores, shares

    def _similar(self, question: Question, row: int, recency: np.ndarray, items: np.ndarray) -> np.ndarray:
        """float32 (C,): `ChooseMixture._similar` for the candidates `items` of one request."""
        catalogue = self.mixture.catalogue
        said = np.zeros(len(catalogue), dtype=np.float32)
        for name, named in self._named(question, row).items():
            if name in GRAPH_PARTS:
                np.add.at(said, named.items, recency[named.events] * named.values)
        return np.asarray(catalogue.priors[TEXT_PART][items] @ said, dtype=np.float32)

    def _named(self, question: Question, row: int) -> dict[str, _Named]:
        """What each prior says from the request's recent events, in the order of the parts."""
        result = {}
        for number, name in enumerate(self.mixture.task.parts):
            table = self.mixture.catalogue.priors[name]
            events = np.flatnonzero(question.evidence[row, number] > 0)
            rows = [_entries(table, int(item)) for item in question.recent[row, events]]
            lengths = [len(items) for items, _ in rows]
            items = np.concatenate([items for items, _ in rows]) if rows else np.zeros(0, np.int32)
            values = np.concatenate([values for _, values in rows]) if rows else np.zeros(0, np.float32)
            result[name] = _Named(items, values, np.repeat(events, lengths))
        return result

    def _words(self, texts: list[str]) -> csr_array:
        """csr (B, N): what `Catalogue.typed_prior` gives, from the postings of the typed words alone."""
        catalogue, config = self.mixture.catalogue, self.mixture.task.config.prior
        bag, vectors = catalogue.search
        if self._postings is None or self._postings[0] is not catalogue:
            self._postings = (catalogue, csr_array(vectors.T.tocsr()))
        cosine = csr_array(similarity_vectors(bag.texts(texts), bag.idf) @ self._postings[1])
        columns, values = [], []
        for row in range(cosine.shape[0]):
            items, near = _entries(cosine, row)
            items, near = items[near > 0], near[near > 0].astype(np.float64)
            weights = (near / near.max(initial=1e-30)) ** config.sharpness
            if len(weights) > config.similar:
                kept = weights >= np.partition(weights, len(weights) - config.similar)[len(weights) - config.similar]
                items, weights = items[kept], weights[kept]
            columns.append(items)
            values.append((weights / max(weights.sum(), 1e-30)).astype(np.float32))
        offsets = np.concatenate([[0], np.cumsum([len(items) for items in columns])])
        return csr_array((np.concatenate(values), np.concatenate(columns), offsets), shape=(len(texts), len(catalogue)))

    def _log_total(self, states: Tensor, found: np.ndarray, products: np.ndarray) -> np.ndarray:
        """float64 (B,): the formula above; exact where everything was found or drawn."""
        place, vectors = self._draw()
        drawn = states @ vectors  # B D
        rows, columns = np.nonzero((found >= 0) & (place[found] >= 0))
        drawn[torch.from_numpy(rows), torch.from_numpy(place[found[rows, columns]])] = -torch.inf  # found: counted exactly already
        known = torch.from_numpy(np.where(found >= 0, products, -np.inf))
        top = torch.maximum(known.amax(dim=1), drawn.amax(dim=1))[:, None]
        known_sum, drawn_sum = (torch.exp(part - top).sum(dim=1, dtype=torch.float64).numpy() for part in (known, drawn))
        count = (found >= 0).sum(axis=1)
        left = vectors.shape[1] - np.bincount(rows, minlength=len(found))
        total = known_sum + (len(place) - count) / np.maximum(left, 1) * drawn_sum
        return np.asarray(np.log(total) + top[:, 0].numpy())

    def _draw(self) -> tuple[np.ndarray, Tensor]:
        """int64 (N,): place of an item in the draw, or -1; and the drawn vectors, (W, D): read column by column, a single state takes a third
        of the time. Drawn again when the vectors changed."""
        vectors = self.mixture.vectors
        if self._drawn is None or self._drawn[0] is not vectors:
            size = min(self.tail, len(vectors))
            items = np.sort(np.random.default_rng(self.seed).choice(len(vectors), size, replace=False))
            place = np.full(len(vectors), -1, dtype=np.int64)
            place[items] = np.arange(size)
            self._drawn = (vectors, place, vectors[torch.from_numpy(items)].T.contiguous())
        return self._drawn[1], self._drawn[2]


def sample_states(mixture: ChooseMixture, histories: Histories, count: int, seed: int) -> np.ndarray:
    """float32 (at most `count`, W): states of users drawn by seed, what an index will be asked."""
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(histories.lengths > 0))[:count]
    return mixture.last_states(Requests(histories.rows(np.sort(rows)), users=np.sort(rows))).numpy()


def _sought(states: Tensor, lift: Lift | None) -> np.ndarray:
    """What the search is asked: the states, moved by what was said."""
    return (states if lift is None else states + lift.query).numpy()


def _gaining(added: np.ndarray, count: int) -> np.ndarray:
    """Items that something is added to (N,); where something is taken from all of them, those that lose least."""
    if not (added < 0).all():
        return np.flatnonzero(added > 0)
    return np.argpartition(-added, min(count, len(added)) - 1)[:count]


def _products(states: Tensor, vectors: Tensor, found: np.ndarray) -> np.ndarray:
    """float32 (B, count): states times the vectors of what was found; rows of nothing (-1) are whatever they are."""
    return torch.einsum("bw,bcw->bc", states, vectors[torch.from_numpy(np.maximum(found, 0))]).numpy()


def _entries(table: csr_array, row: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns, values) of a row."""
    span = slice(table.indptr[row], table.indptr[row + 1])
    return table.indices[span], table.data[span]


def _scattered(at: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """float32 (count,): the values added up at their places; a place of -1 is none."""
    kept = at >= 0
    return np.bincount(at[kept], weights=values[kept], minlength=count).astype(np.float32)
