"""The trained model as a Scorer: log p(item | request) over the whole catalogue.

Dimension keys: B requests, N items, W width, M priors, K recent events, S slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.agreement import Agreement, typed_gain
from m6rec.tasks.catalogue import Catalogue
from m6rec.tasks.choose import Choose, gather_slots
from m6rec.tasks.cold_transfer import SIMILAR, said_of_similar
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART
from m6rec.tasks.prior_sums import sum_rows
from m6rec.tasks.state_cache import StateCache, key_of
from m6rec.tasks.text_reader import TextReader
from m6rec.text.bag import Bag

SOFTMAX_PART = "model"
ROWS_TOGETHER = 64  # histories read at a time
LEAST = 1e-30  # probability of what no part knows: keeps the logarithm finite and the order of the rest


@dataclass(frozen=True)
class Profiles:
    """What is known of U users beside their events: `contents` (U rows), and the bag that reads a described person."""

    contents: Contents
    bag: Bag


@dataclass(frozen=True)
class _Asked:
    """A batch of requests as the priors need it: typed csr (B, F), words (B, N) the text prior of what was typed, recent (B, K), evidence (B, M, K)."""

    requests: Requests
    typed: csr_array | None
    words: np.ndarray | None
    recent: np.ndarray
    evidence: np.ndarray


class ChooseMixture(Scorer):
    """Scores of the generative model; `ChooseScorer` in model_folder.py adds how it is saved and loaded.

    switched_off: parts of the model (graph, text, id) left out when answering.
    """

    name = "m6rec"

    def __init__(
        self,
        model: LanguageModel,
        task: Choose,
        catalogue: Catalogue,
        reader: TextReader,
        profiles: Profiles | None = None,
        switched_off: Sequence[str] = (),
        agreement: Agreement | None = None,
    ) -> None:
        self.model, self.task, self.catalogue, self.reader, self.profiles = model, task, catalogue, reader, profiles
        self.switched_off = tuple(switched_off)
        self.agreement = agreement or Agreement()
        self._vectors: Tensor | None = None
        self._states = StateCache()

    def refresh(self) -> None:
        """Forget the item vectors and the states made of them: the weights or the catalogue changed."""
        self._vectors = None
        self.forget_states()

    def forget_states(self) -> None:
        """Drop the states of people answered before: the next answer reads their history again."""
        self._states.clear()

    @property
    def vectors(self) -> Tensor:
        """(N, W), computed once."""
        if self._vectors is None:
            self.model.eval()
            self.task.eval()
            with torch.no_grad():
                contents = self.catalogue.contents
                if "text" in self.switched_off:
                    contents = Contents(
                        torch.zeros_like(contents.summaries),
                        contents.features[:0],
                        torch.zeros_like(contents.offsets),
                        torch.zeros_like(contents.vectors),
                    )
                dropped = torch.ones(len(self.task.items.log_seen), dtype=torch.bool) if "id" in self.switched_off else None
                self._vectors = self.task.item_vectors(contents, dropped)
        return self._vectors

    def scores(self, requests: Requests) -> np.ndarray:
        """float32 (B, N): log of the mixture's probability, plus what items gain that the counts, or the typed words, name too."""
        return self.answer(requests)[0]

    def parts(self, requests: Requests) -> dict[str, np.ndarray]:
        """What each part of the mixture gives to each item: name -> float32 (B, N); they add up to the probability."""
        return self.answer(requests)[1]

    def answer(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`scores` and `parts` in one go."""
        asked = self._ask(requests)
        parts, counted = self._mixture(asked)
        total = sum(parts.values(), start=np.float32(0))
        scores: np.ndarray = np.log(np.maximum(total, LEAST)).astype(np.float32, copy=False)
        if self.agreement.weight:
            if self.agreement.shares.get(SIMILAR):
                counted |= self._similar(counted)
            scores += self.agreement.gain(counted)
        if asked.words is not None:
            scores += typed_gain(asked.words)
        return scores, parts

    def counted(self, requests: Requests, recency: float) -> dict[str, np.ndarray]:
        """What `Agreement.gain` reads: each prior's rows summed over the recent events, weighed by recency^k, and `similar`; float32 (B, N)."""
        return self._counted(self._ask(requests), recency)

    def _ask(self, requests: Requests) -> _Asked:
        typed = None if "text" in self.switched_off else self._typed_rows(requests)
        words = None
        if typed is not None and TEXT_PART in self.catalogue.priors:
            assert requests.texts is not None
            words = self.catalogue.typed_prior(requests.texts, self.task.config.prior)
        return _Asked(requests, typed, words, *self._recent(requests.histories))

    @torch.no_grad()
    def _mixture(self, asked: _Asked) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Parts of the probability, and what the agreement reads (empty without one), each name -> float32 (B, N)."""
        states = self.last_states(asked.requests, asked.typed)  # B W
        softmax = torch.softmax(states @ self.vectors.T, dim=1)  # B N
        evidence = asked.evidence.copy()  # B M K
        weights = self.task.gate.recency_weights(torch.from_numpy(evidence)).numpy()  # B M K
        if asked.words is not None:
            newest = evidence[:, self.task.parts.index(TEXT_PART), 0]
            np.maximum(newest, np.log1p(asked.words.sum(axis=1)), out=newest)  # the words count as one more event
        lengths = torch.from_numpy(asked.requests.histories.lengths.copy())
        gates = self.task.gate.log_gates(states, torch.from_numpy(evidence), lengths).exp().numpy()  # B 1+M
        result, counted = {SOFTMAX_PART: softmax.mul_(torch.from_numpy(gates[:, :1].copy())).numpy()}, {}
        for number, name in enumerate(self.task.parts):
            mass = self.catalogue.masses[name][asked.recent]
            weighings = [weights[:, number] / np.maximum(mass, 1e-9)]
            if self.agreement.weight:
                weighings.append(self._counting(asked, number, self.agreement.recency))
            given, *rest = self._sums(name, asked.recent, np.stack(weighings))  # the rows are found once for both
            if rest:
                counted[name] = rest[0]
            if name == TEXT_PART and asked.words is not None:
                given = _blend(given, asked.words)
            given *= gates[:, 1 + number, None]
            result[name] = given
        return result, counted

    def _counted(self, asked: _Asked, recency: float) -> dict[str, np.ndarray]:
        parts = enumerate(self.task.parts)
        result = {name: self._sums(name, asked.recent, self._counting(asked, number, recency)[None])[0] for number, name in parts}
        return result | self._similar(result)

    def _similar(self, counted: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the graph's counts say of every item's text neighbours; nothing where one of the two is missing."""
        graph = [counted[name] for name in GRAPH_PARTS if name in counted]
        if not graph or TEXT_PART not in counted or "text" in self.switched_off:
            return {}
        return {SIMILAR: said_of_similar(graph, self.catalogue.resemblers)}

    def _counting(self, asked: _Asked, number: int, recency: float) -> np.ndarray:
        """float32 (B, K): the weights of the recent events in what the agreement reads of one prior."""
        return recency ** np.arange(asked.recent.shape[1], dtype=np.float32) * (asked.evidence[:, number] > 0)

    def _sums(self, name: str, recent: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """float32 (V, B, N): rows of the prior's table for the recent items (B, K), times each of the weighings (V, B, K)."""
        return sum_rows(self.catalogue.priors[name], recent, weights, self.catalogue.dense.get(name))

    @torch.no_grad()
    def last_states(self, requests: Requests, typed: csr_array | None = None) -> Tensor:
        """(B, W): the state after the newest event (or the start slot), with the scenario that asks."""
        histories = requests.histories.window(keep=self.task.shape.history)
        vectors = self.vectors
        key = key_of(requests, histories)
        kept = None if key is None else self._states.get(key)
        states = self._read(requests, histories, vectors, typed) if kept is None else kept[None]
        if key is not None and kept is None:
            self._states.put(key, states[0])
        if self.task.asked is not None and requests.scenarios is not None:
            asking = torch.from_numpy(requests.scenarios.astype(np.int64))
            states = states + (asking >= 0)[:, None] * self.task.asked(asking.clamp(min=0))
        return states

    def _read(self, requests: Requests, histories: Histories, vectors: Tensor, typed: csr_array | None) -> Tensor:
        """(B, W): the state after the newest event, whoever asks from where."""
        lengths = histories.lengths
        start = self.task.start_slot(len(requests), self._profile_contents(requests), self._typed_contents(requests, typed))
        states = torch.zeros(len(requests), self.task.shape.width)
        # Rows of like length together: a short history must not wait for a long one, nor one without times for one with them.
        timed = _timed(histories)
        order = np.lexsort((lengths, timed))
        blocks = [
            part
            for half in (order[~timed[order]], order[timed[order]])
            for part in np.array_split(half, -(-len(half) // ROWS_TOGETHER) or 1)
        ]
        for rows in blocks:
            if not len(rows):
                continue
            events = histories.offsets[rows][:, None] + np.arange(int(lengths[rows].max()))
            events = np.minimum(events, max(len(histories.items) - 1, 0))
            picked = torch.from_numpy(rows)
            slots = gather_slots(start[picked], histories, events)
            states[picked] = self.task.last_states(self.model, vectors, slots, torch.from_numpy(lengths[rows])).float()
        return states

    def _recent(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """Newest first: item int64 (B, K), -1 where there is none; and its evidence in each prior, float32 (B, M, K)."""
        depth = self.task.config.prior.recent
        place = histories.offsets[1:, None] - 1 - np.arange(depth)  # B K
        inside = place >= histories.offsets[:-1, None]
        recent = np.full(place.shape, -1, dtype=np.int64)
        recent[inside] = histories.items[place[inside]]
        evidence = np.zeros((len(histories), len(self.task.parts), depth), dtype=np.float32)
        off = {name for part in self.switched_off for name in ({"graph": GRAPH_PARTS, "text": (TEXT_PART,)}.get(part, ()))}
        for number, name in enumerate(self.task.parts):
            if name not in off:
                evidence[:, number] = inside * np.log1p(self.catalogue.masses[name][recent])
        return recent, evidence

    def _profile_contents(self, requests: Requests) -> Contents | None:
        """Profiles of known users, and of people described in words; None where nobody has one."""
        if self.profiles is None or self.task.profile is None:
            return None
        bag, contents = self.profiles.bag, self.profiles.contents
        described = requests.profiles is not None and any(requests.profiles)
        if described:
            assert requests.profiles is not None
            rows = Contents.build(
                self.reader.read(requests.profiles), bag.texts(requests.profiles), torch.zeros(len(requests), contents.vectors.shape[1])
            )
            if requests.users is None:
                return rows
        if requests.users is None or not len(contents):
            return None
        known = contents.rows(torch.from_numpy(np.maximum(requests.users, 0)))
        if not described and (requests.users >= 0).all():
            return known
        keep = torch.from_numpy(requests.users >= 0)
        known = replace(known, summaries=known.summaries * keep[:, None], vectors=known.vectors * keep[:, None])
        known = known.thinned(torch.repeat_interleave(keep, known.offsets[1:] - known.offsets[:-1]))
        return known if not described else _either(rows, known)

    def _typed_rows(self, requests: Requests) -> csr_array | None:
        """csr (B, F): bag rows of what was typed."""
        return self.catalogue.bag.texts(requests.texts) if requests.texts is not None and any(requests.texts) else None

    def _typed_contents(self, requests: Requests, typed: csr_array | None) -> Contents | None:
        if typed is None or self.task.items.content is None:
            return None
        assert requests.texts is not None
        summaries = self.reader.read(requests.texts)
        return Contents.build(summaries, typed, torch.zeros(len(requests), self.catalogue.contents.vectors.shape[1]))


def _timed(histories: Histories) -> np.ndarray:
    """bool (B,): whether the time of any event is known."""
    if histories.times is None:
        return np.zeros(len(histories), dtype=bool)
    before = np.concatenate([[0], np.cumsum(~np.isnan(histories.times))])
    known: np.ndarray = before[histories.offsets[1:]] > before[histories.offsets[:-1]]
    return known


def _blend(from_events: np.ndarray, from_words: np.ndarray) -> np.ndarray:
    """Both halves where both are known, else the one that is."""
    both = from_events.any(axis=1, keepdims=True) & from_words.any(axis=1, keepdims=True)
    return np.where(both, np.float32(0.5), np.float32(1.0)) * (from_events + from_words)


def _either(first: Contents, second: Contents) -> Contents:
    """Row by row: `first` where it says something, else `second`."""
    pick = (first.offsets[1:] > first.offsets[:-1]) | first.summaries.any(dim=1)
    joined = Contents(
        torch.cat([first.summaries, second.summaries]),
        torch.cat([first.features, second.features]),
        torch.cat([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        torch.cat([first.vectors, second.vectors]),
    )
    row = torch.arange(len(first))
    return joined.rows(torch.where(pick, row, row + len(first)))
