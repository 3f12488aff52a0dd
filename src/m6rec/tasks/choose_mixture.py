"""The trained model as a Scorer: log p(item | request) over the whole catalogue.

Dimension keys: B requests, N items, W width, M priors, K recent events, S slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from m6rec.base.contracts import Histories, Requests, Scorer
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.agreement import Agreement, typed_gain
from m6rec.tasks.basket import Question
from m6rec.tasks.catalogue import Catalogue
from m6rec.tasks.choose import Choose, gather_slots
from m6rec.tasks.cold_transfer import SIMILAR, said_of_similar
from m6rec.tasks.history_batches import timed_rows
from m6rec.tasks.interest_part import InterestPart
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART
from m6rec.tasks.prior_sums import MOST_DENSE, DenseTables, add_rows, bag_sum, sum_rows
from m6rec.tasks.reads_words import Profiles, ReadsWords
from m6rec.tasks.state_cache import PackedStates, StateCache, keys_of
from m6rec.tasks.text_reader import TextReader
from m6rec.text.cues import built_in_cues, telling

__all__ = ["ChooseMixture", "Profiles"]

SOFTMAX_PART = "model"
ROWS_TOGETHER = 64  # histories read at a time
LEAST = 1e-30  # probability of what no part knows: keeps the logarithm finite and the order of the rest


@dataclass(frozen=True)
class Asked:
    """A batch of requests as the priors need it.

    typed csr (B, F)    words (B, N) the text prior of what was typed    recent (B, K)    masses (B, M, K) of the recent items' rows
    evidence (B, M, K): log(1 + mass) of the events there are, 0 for parts that are switched off
    """

    requests: Requests
    typed: csr_array | None
    words: np.ndarray | None
    recent: np.ndarray
    masses: np.ndarray
    evidence: np.ndarray


class ChooseMixture(ReadsWords, Scorer):
    """Scores of the generative model; `ChooseScorer` in model_folder.py adds how it is saved and loaded.

    question: what is asked instead of "what comes next" (a basket to complete); the catalogue's priors are those counted for it then.
    switched_off: parts of the model (graph, text, id) left out when answering.
    packed: states of known people that came with the model; None where there are none.
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
        question: Question | None = None,
    ) -> None:
        self.model, self.task, self.catalogue, self.reader, self.profiles = model, task, catalogue, reader, profiles
        self.switched_off = tuple(switched_off)
        self.question, self.gate = question, task.gate if question is None else question.gate
        self.agreement = agreement or Agreement()
        self._vectors: Tensor | None = None
        self.packed: PackedStates | None = None
        self._states = StateCache()
        self._dense: tuple[Catalogue, Agreement, DenseTables] | None = None
        self.interest: InterestPart | None = None

    def refresh(self) -> None:
        """Forget the item vectors and the states made of them: the weights or the catalogue changed."""
        self._vectors = None
        self.forget_states()

    def forget_states(self) -> None:
        """Drop the states of people answered before and of those packed: the next answer reads their history again."""
        self._states.clear()
        self.packed = None

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

    def densify(self) -> None:
        """Make dense copies of the priors: they pay where whole catalogues of people are answered."""
        if self._dense_tables() is None:
            self._dense = (self.catalogue, self.agreement, DenseTables.build(self._tables(), self._agreed_table()))

    def _agreed_table(self) -> csr_array | None:
        """csr (N, N): the sum over priors of share times table, `similar` included: one row of it is all that an event counts in the agreement."""
        shares, priors = self.agreement.shares, self._tables()
        if not priors or not self.agreement.weight or self.switched_off or 4 * len(self.catalogue) ** 2 > MOST_DENSE:
            return None
        graph = [priors[name] for name in GRAPH_PARTS if name in priors]
        tables = [table * np.float32(shares.get(name, 0.0)) for name, table in priors.items()]
        if shares.get(SIMILAR) and graph and TEXT_PART in priors:
            tables.append(csr_array(sum(graph[1:], start=graph[0]) @ self.catalogue.resemblers) * np.float32(shares[SIMILAR]))
        return csr_array(sum(tables[1:], start=tables[0]), dtype=np.float32)

    def _dense_tables(self) -> DenseTables | None:
        """What `densify` made, while it is of the catalogue and the agreement that answer."""
        current = self._dense is not None and self._dense[0] is self.catalogue and self._dense[1] is self.agreement
        return self._dense[2] if current and self._dense is not None else None

    def scores(self, requests: Requests) -> np.ndarray:
        """float32 (B, N): log of the mixture's probability, plus what items gain that the counts, or the typed words, name too."""
        dense = self._dense_tables()
        similar = bool(self.agreement.weight and self.agreement.shares.get(SIMILAR)) and (dense is None or dense.agreed is None)
        typed = "text" not in self.switched_off and requests.texts is not None and any(requests.texts)
        # Typed words and `similar` need the sums of single parts.
        if len(requests) == 1 or similar or typed or requests.unwanted is not None or (self.interest is not None and requests.profiles):
            return ChooseMixture.answer(self, requests)[0]
        return self._together(self._ask(requests), dense)

    def parts(self, requests: Requests) -> dict[str, np.ndarray]:
        """What each part of the mixture gives to each item: name -> float32 (B, N); they add up to the probability."""
        return self.answer(requests)[1]

    def answer(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`scores` and `parts` in one go."""
        asked = self._ask(requests)
        parts, counted = self._mixture(asked)
        first, *others = parts.values()
        total = first.copy()
        for part in others:
            total += part
        scores: np.ndarray = np.log(np.maximum(total, LEAST, out=total), out=total)
        if self.agreement.weight:
            if self.agreement.shares.get(SIMILAR):
                counted |= self._similar(counted)
            scores += self.agreement.gain(counted)
        if self.interest is not None:
            self._add_interest(requests, scores, self.vectors)
        elif asked.words is not None:
            scores += typed_gain(asked.words)
        if self.interest is None and (against := self._unwanted(requests)) is not None:
            scores -= typed_gain(against)
        return scores, parts

    def counted(self, requests: Requests, recency: float) -> dict[str, np.ndarray]:
        """What `Agreement.gain` reads: each prior's rows summed over the recent events, weighed by recency^k, and `similar`; float32 (B, N)."""
        return self._counted(self._ask(requests), recency)

    def _counted(self, asked: Asked, recency: float) -> dict[str, np.ndarray]:
        sums = sum_rows(list(self._tables().values()), asked.recent, self._counting(asked, recency)[None])[0]
        counted = dict(zip(self.task.parts, sums, strict=True))
        return counted | self._similar(counted)

    def _ask(self, requests: Requests) -> Asked:
        typed = None if "text" in self.switched_off else self._typed_rows(requests)
        words = None
        if typed is not None and TEXT_PART in self.catalogue.priors:
            assert requests.texts is not None
            words = self.catalogue.typed_prior(named_words(requests.texts), self.task.config.prior)
        return Asked(requests, typed, words, *self._events(requests.histories))

    def _weighed(self, asked: Asked) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """The softmax's part of the probability, float32 (B, N); what the recent rows' entries count in it (M, B, K); the gates (B, M)."""
        states = self.last_states(asked.requests, asked.typed)  # B W
        softmax = torch.softmax(states @ self.vectors.T, dim=1)  # B N
        evidence = torch.from_numpy(asked.evidence)  # B M K
        weights = self.gate.recency_weights(evidence)  # B M K
        if asked.words is not None:
            evidence = evidence.clone()
            newest = evidence[:, self.task.parts.index(TEXT_PART), 0].numpy()
            np.maximum(newest, np.log1p(asked.words.sum(axis=1)), out=newest)  # the words count as one more event
        lengths = torch.from_numpy(asked.requests.histories.lengths.copy())
        gates = self.gate.log_gates(states, evidence, lengths, weights if asked.words is None else None).exp()
        within = weights.numpy() / np.maximum(asked.masses, 1e-9)
        within *= gates[:, 1:, None].numpy()
        return softmax.mul_(gates[:, :1]), within.transpose(1, 0, 2), gates[:, 1:].numpy()

    @torch.no_grad()
    def _together(self, asked: Asked, dense: DenseTables | None) -> np.ndarray:
        """`scores` without words: all parts are added into one array as they come."""
        softmax, within, _ = self._weighed(asked)
        priors = self._tables()
        add_rows(softmax.numpy(), priors, asked.recent, within, dense)
        scores = softmax.clamp_(min=LEAST).log_()
        if not self.agreement.weight:
            return scores.numpy()
        if dense is not None and dense.agreed is not None:
            recency = (asked.recent >= 0) * self.agreement.recency ** np.arange(asked.recent.shape[1], dtype=np.float32)
            counted = bag_sum(dense.agreed, np.maximum(asked.recent, 0), recency)
        else:
            shares = np.array([self.agreement.shares.get(name, 0.0) for name in self.task.parts], dtype=np.float32)
            counted = np.zeros(tuple(scores.shape), dtype=np.float32)
            add_rows(counted, priors, asked.recent, self._counting(asked, self.agreement.recency) * shares[:, None, None])
        gain = torch.from_numpy(counted).div_(self.agreement.floor).add_(1.0).log_()  # as `Agreement.gain` has it, in place
        return scores.add_(gain, alpha=self.agreement.weight).numpy()

    @torch.no_grad()
    def _mixture(self, asked: Asked) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Parts of the probability, and what the agreement reads (empty without one), each name -> float32 (B, N)."""
        softmax, within, gates = self._weighed(asked)
        weighings = [within]
        if self.agreement.weight:
            weighings.append(self._counting(asked, self.agreement.recency))
        given, *rest = sum_rows(list(self._tables().values()), asked.recent, np.stack(weighings))  # the rows are found once for both
        parts = dict(zip(self.task.parts, given, strict=True))
        if TEXT_PART in parts and asked.words is not None:
            parts[TEXT_PART] = _blend(parts[TEXT_PART], asked.words * gates[:, self.task.parts.index(TEXT_PART), None])
        counted = dict(zip(self.task.parts, rest[0], strict=True)) if rest else {}
        return {SOFTMAX_PART: softmax.numpy(), **parts}, counted

    def _tables(self) -> dict[str, csr_array]:
        """The priors in the order of the gate's parts."""
        return {name: self.catalogue.priors[name] for name in self.task.parts}

    def _similar(self, counted: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the graph's counts say of every item's text neighbours; nothing where one of the two is missing."""
        graph = [counted[name] for name in GRAPH_PARTS if name in counted]
        if not graph or TEXT_PART not in counted or "text" in self.switched_off:
            return {}
        return {SIMILAR: said_of_similar(graph, self.catalogue.resemblers)}

    def _counting(self, asked: Asked, recency: float) -> np.ndarray:
        """float32 (M, B, K): the weights of the recent events in what the agreement reads of the priors."""
        powers = recency ** np.arange(asked.recent.shape[1], dtype=np.float32)
        counting: np.ndarray = (powers * (asked.evidence > 0)).transpose(1, 0, 2)
        return counting

    @torch.no_grad()
    def last_states(self, requests: Requests, typed: csr_array | None = None) -> Tensor:
        """(B, W): the state after the newest event (or the start slot), with the scenario that asks."""
        histories = requests.histories.window(keep=self.task.shape.history)
        packed = None if self.switched_off else self.packed
        if packed is None and len(requests) != 1:
            states = self._read(requests, histories, typed)  # batches seldom come twice: training and measuring ask for everybody once
        else:
            states = self._kept(requests, histories, typed, packed)
        return self._with_scenario(states, requests)

    @torch.no_grad()
    def _with_scenario(self, states: Tensor, requests: Requests) -> Tensor:
        """States (B, W) with the scenario that asks, and the question where another one is asked."""
        if self.task.asked is not None and requests.scenarios is not None:
            asking = torch.from_numpy(requests.scenarios.astype(np.int64))
            states = states + (asking >= 0)[:, None] * self.task.asked(asking.clamp(min=0))
        return states if self.question is None else states + self.question.asked

    def read_states(self, requests: Requests) -> Tensor:
        """(B, W): the states of requests that nobody typed in and no scenario asks for, read from their histories."""
        with torch.no_grad():
            return self._read(requests, requests.histories.window(keep=self.task.shape.history), None)

    def _kept(self, requests: Requests, histories: Histories, typed: csr_array | None, packed: PackedStates | None) -> Tensor:
        """`_read` for those whose state is neither packed with the model nor kept from an earlier answer."""
        keys = keys_of(requests, histories)
        if len(requests) == 1 and keys[0] is not None and (kept := self._states.get(keys[0])) is not None:
            return kept[None]
        states = torch.empty(len(requests), self.task.shape.width)
        known = np.full(len(requests), -1) if packed is None or requests.users is None else packed.find(requests.users, keys)
        if packed is not None:
            found = np.flatnonzero(known >= 0)
            if len(found) == len(requests):
                return packed.states[torch.from_numpy(known)]  # a copy: the file stays as it is
            states[torch.from_numpy(found)] = packed.states[torch.from_numpy(known[found])]
        missing = []
        for row in np.flatnonzero(known < 0).tolist():
            key = keys[row]
            state = None if key is None else self._states.get(key)
            if state is None:
                missing.append(row)
            else:
                states[row] = state
        if missing:
            rows = np.array(missing)
            whole = len(rows) == len(requests)
            read = (
                self._read(requests, histories, typed)
                if whole
                else self._read(requests.rows(rows), histories.rows(rows), None if typed is None else csr_array(typed[rows]))
            )
            states[torch.from_numpy(rows)] = read
            for row in missing:
                key = keys[row]
                if key is not None:
                    self._states.put(key, states[row].clone())
        return states

    def _read(self, requests: Requests, histories: Histories, typed: csr_array | None) -> Tensor:
        """(B, W): the state after the newest event, whoever asks from where."""
        vectors = self.vectors
        lengths = histories.lengths
        start = self.task.start_slot(len(requests), self.profile_contents(requests), self._typed_contents(requests, typed))
        states = torch.zeros(len(requests), self.task.shape.width)
        # Rows of like length together: a short history must not wait for a long one, nor one without times for one with them.
        timed = timed_rows(histories)
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
        recent, _, evidence = self._events(histories)
        return recent, evidence

    def _events(self, histories: Histories) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`recent`, `masses` and `evidence` of `Asked`."""
        depth = self.task.config.prior.recent
        place = histories.offsets[1:, None] - 1 - np.arange(depth)  # B K
        inside = place >= histories.offsets[:-1, None]
        recent = np.full(place.shape, -1, dtype=np.int64)
        recent[inside] = histories.items[place[inside]]
        masses = np.empty((len(histories), len(self.task.parts), depth), dtype=np.float32)
        for number, name in enumerate(self.task.parts):
            masses[:, number] = self.catalogue.masses[name][recent]
        evidence = np.log1p(masses)
        evidence *= inside[:, None]
        if self.switched_off:
            off = {name for part in self.switched_off for name in ({"graph": GRAPH_PARTS, "text": (TEXT_PART,)}.get(part, ()))}
            evidence[:, [name in off for name in self.task.parts]] = 0.0
        return recent, masses, evidence


def _blend(from_events: np.ndarray, from_words: np.ndarray) -> np.ndarray:
    """Both halves where both are known, else the one that is."""
    both = from_events.any(axis=1, keepdims=True) & from_words.any(axis=1, keepdims=True)
    return np.where(both, np.float32(0.5), np.float32(1.0)) * (from_events + from_words)


def named_words(texts: list[str]) -> list[str]:
    """What of typed texts is looked up among the items: "like" of "I like hiking" would be a rare word of some description."""
    return [telling(text, built_in_cues()) for text in texts]
