"""The item that a dialogue should name next: a choose task over what was named and said so far. It shares the model of the one that reads histories.

Its own are a question added to the states, a vector for every word of the dialogues, gates, transitions counted over dialogues too, and one more part
of the mixture: what was named in dialogues that sound alike (`dialogue_neighbours.py`). What orders items is the mixture and further signals,
weighed together (`log_linear.py`):

    next, forward, backward, similar    log(1 + x / .01) of what the agreement of other tasks reads (`agreement.py`), recency .65
    dialogues, turns                    log(1 + p / .01) of what was named in dialogues, and right after turns, that sound alike
    content, typed                      log(1 + cosine / .01) of an item's text with the texts of what was named, and with what was said
    said                                cosine of what is said with all that was said where the item was named

Dimension keys: B requests or rows, R rows, E events, M priors of the catalogue (one more with the neighbours), K recent events, N items, V words, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from m6rec.base.contracts import Requests
from m6rec.base.errors import UsageError
from m6rec.language_model.devices import moved
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.basket import Question
from m6rec.tasks.catalogue import Catalogue, grown
from m6rec.tasks.choose import Bound, Choose, ChooseExamples, OverHistories
from m6rec.tasks.choose_mixture import LEAST, SOFTMAX_PART, Asked, ChooseMixture
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.dialogue_neighbours import DialogueNeighbours, evidence_of
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.log_linear import LogLinear
from m6rec.tasks.prior import TEXT_PART, with_newcomers
from m6rec.tasks.prior_sums import sum_rows
from m6rec.tasks.task import TASKS
from m6rec.text.similarity import query_similarity, similarity_vectors

SAID = "dialogues"  # the part of the mixture
FLOOR, RECENCY = 0.01, 0.65  # of the signals
NEWEST_WORDS = 60  # that are read as if typed: a segment holds no more


@dataclass(frozen=True)
class SaidWords:
    """Words of R texts as rows of a vocabulary: int64 indices and offsets (R + 1,), float32 weights."""

    indices: Tensor
    offsets: Tensor
    weights: Tensor

    @classmethod
    def of(cls, rows: csr_array) -> SaidWords:
        return cls(
            torch.from_numpy(rows.indices.astype(np.int64)),
            torch.from_numpy(rows.indptr.astype(np.int64)),
            torch.from_numpy(rows.data.astype(np.float32)),
        )

    def rows(self, index: Tensor) -> SaidWords:
        lengths = (self.offsets[1:] - self.offsets[:-1])[index]
        offsets = F.pad(lengths.cumsum(0), (1, 0))
        place = torch.repeat_interleave(self.offsets[index] - offsets[:-1], lengths) + torch.arange(int(offsets[-1]))
        return SaidWords(self.indices[place], offsets, self.weights[place])

    def on(self, device: torch.device) -> SaidWords:
        """The same on a device."""
        return SaidWords(*(moved(part, device) for part in (self.indices, self.offsets, self.weights)))


class DialogueQuestion(Question):
    """What is asked of a state: a vector, the words said so far, and the gates of the parts."""

    def __init__(self, width: int, parts: int, recent: int, words: int) -> None:
        """parts: of the catalogue's mixture, without the neighbours."""
        super().__init__(width, parts + 1, recent)
        self.words = nn.Embedding(max(words, 1), width)
        nn.init.zeros_(self.words.weight)

    def read(self, said: SaidWords) -> Tensor:
        """(B, W): what the words add to the states, beside `asked`."""
        said = said.on(self.words.weight.device)
        return F.embedding_bag(said.indices, self.words.weight, said.offsets[:-1], mode="sum", per_sample_weights=said.weights)


@dataclass(frozen=True)
class DialogueExamples:
    """Row r of `choose.histories` is what was named, the target last; `choose.typed` and `said` are the words before it."""

    choose: ChooseExamples
    said: SaidWords


@TASKS.register("dialogue")
class Dialogue(OverHistories):
    """Naming items in dialogues. `reader` does the reading; its parameters are its own and not in this task's state."""

    answer: ClassVar[Literal["choose", "judge", "write"]] = "choose"

    def __init__(self, reader: Choose, words: int) -> None:
        super().__init__()
        self._reader = [reader]  # in a list, so that torch does not count its parameters here too
        self.question = DialogueQuestion(reader.shape.width, len(reader.parts), reader.config.prior.recent, words)
        self.bound: Bound | None = None
        self._said: SaidWords | None = None

    def bind(self, examples: DialogueExamples | None) -> None:
        """Give the task what it trains on, or take it away."""
        self.bound = None if examples is None else Bound.of(examples.choose, self._reader[0].shape.history)
        self._said = None if examples is None else examples.said

    def loss(self, model: LanguageModel, batch: np.ndarray) -> dict[str, Tensor]:
        """{"dialogue": the loss of the choose task over the batch's rows}, each of which has one target, its last event.

        The shared model learns from events alone: a few thousand dialogues would be known by heart before they taught it anything, and the gates
        would trust it as nobody else may.
        """
        assert self.bound is not None
        assert self._said is not None
        rows = torch.from_numpy(self.bound.windows.user[batch])
        question = self.question.asked + self.question.read(self._said.rows(rows))
        return {"dialogue": self._reader[0].mixture_loss(model, self.bound, batch, self.question.gate, question, frozen=True)}


@dataclass(frozen=True)
class DialoguePart:
    """What names items in dialogues beside the shared model."""

    question: DialogueQuestion
    priors: dict[str, csr_array]
    neighbours: DialogueNeighbours
    pool: LogLinear

    def grown(self, extra: int, shared: dict[str, csr_array], config: PriorConfig) -> DialoguePart:
        """With `extra` items more, which borrow what their text neighbours are named with; shared: the grown catalogue's priors."""
        priors = {name: shared[name] if name == TEXT_PART else grown(table, extra) for name, table in self.priors.items()}
        items = next(iter(priors.values())).shape[0] if priors else 0
        newcomers = np.arange(items - extra, items)
        return replace(self, priors=with_newcomers(priors, newcomers, config), neighbours=self.neighbours.grown(extra))


class DialogueScorer(ChooseMixture):
    """The model asked which item a dialogue should name; `requests.texts` is all that was said. Saved and loaded with the model it reads with."""

    def __init__(self, *args: Any, neighbours: DialogueNeighbours, pool: LogLinear, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.neighbours, self.pool = neighbours, pool

    def scores(self, requests: Requests) -> np.ndarray:
        """float32 (B, N)."""
        return self.answer(requests)[0]

    @torch.no_grad()
    def answer(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Scores, and what each part of the mixture gives: name -> float32 (B, N)."""
        parts, signals = self._named(requests)
        return (self.pool.scores(_log(parts), signals()) if self.pool else _log(parts)), parts

    @torch.no_grad()
    def evidence(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What `fit_log_linear` weighs: log p, float32 (B, N), and the signals."""
        parts, signals = self._named(requests)
        return _log(parts), signals()

    def save(self, folder: Path) -> None:
        raise UsageError("what names items in dialogues is saved with its model; save that")

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise UsageError("what names items in dialogues is loaded with its model; load that and ask its `talking`")

    def _named(self, requests: Requests) -> tuple[dict[str, np.ndarray], Callable[[], dict[str, np.ndarray]]]:
        """Parts of the mixture, and what makes the signals. What was typed is read by the question and its neighbours."""
        asked, words = replace(self._ask(requests), words=None), self.neighbours.asked(_texts(requests))
        said, near = self.neighbours.answers(words)
        states = self._asking(super().last_states(requests, asked.typed), words)  # B W
        softmax = torch.softmax(states @ self.vectors.T, dim=1)  # B N
        own = np.zeros((len(requests), 1, asked.evidence.shape[2]), dtype=np.float32)
        own[:, 0, 0] = evidence_of(near)
        evidence = torch.from_numpy(np.concatenate([asked.evidence, own], axis=1))  # B M+1 K
        weights = self.gate.recency_weights(evidence)
        lengths = torch.from_numpy(requests.histories.lengths.copy())
        gates = self.gate.log_gates(states, evidence, lengths, weights).exp()  # B M+2
        count = asked.evidence.shape[1]
        within = weights[:, :count].numpy() / np.maximum(asked.masses, 1e-9) * gates[:, 1 : 1 + count, None].numpy()
        tables = list(self._tables().values())
        given = sum_rows(tables, asked.recent, within.transpose(1, 0, 2)[None])[0] if tables else []
        parts = {SOFTMAX_PART: softmax.mul_(gates[:, :1]).numpy(), **dict(zip(self.task.parts, given, strict=True))}
        parts[SAID] = said * gates[:, 1 + count :].numpy()
        return parts, lambda: self._signals(asked, words, said)

    def _signals(self, asked: Asked, words: csr_array, said: np.ndarray) -> dict[str, np.ndarray]:
        """The signals of the table at the top of the file, float32 (B, N) each."""
        counted = self._counted(asked, RECENCY)
        counted.pop(TEXT_PART, None)  # `content` tells more
        counted |= {SAID: said, "turns": self.neighbours.said_then(words)}
        if "text" not in self.switched_off:
            vectors, bag = self.catalogue.vectors, self.catalogue.bag
            had = asked.requests.histories
            ones = np.ones(len(had.items), dtype=np.float32)
            held = csr_array((ones, had.items.astype(np.int32), had.offsets), shape=(len(had), len(self.catalogue))) @ vectors
            counted["content"] = query_similarity(vectors, similarity_vectors(csr_array(held), np.ones(vectors.shape[1])))
            counted["typed"] = query_similarity(vectors, similarity_vectors(bag.texts(list(_texts(asked.requests))), bag.idf))
        signals = {name: np.log(given / np.float32(FLOOR) + np.float32(1)) for name, given in counted.items()}
        return signals | {"said": self.neighbours.said_of(words)}

    def _asking(self, states: Tensor, words: csr_array) -> Tensor:
        """The states with the words said so far."""
        assert isinstance(self.question, DialogueQuestion)
        return states + self.question.read(SaidWords.of(words))

    def last_states(self, requests: Requests, typed: csr_array | None = None) -> Tensor:
        """(B, W): the state after the newest event, with the question and the words said so far."""
        states = super().last_states(requests, typed)  # with what the question asks of everybody
        return self._asking(states, self.neighbours.asked(_texts(requests)))

    def _typed_rows(self, requests: Requests) -> csr_array | None:
        return super()._typed_rows(_newest_said(requests))

    def _typed_contents(self, requests: Requests, typed: csr_array | None) -> Contents | None:
        return super()._typed_contents(_newest_said(requests), typed)


def talking(part: DialoguePart, scorer: ChooseMixture, catalogue: Catalogue) -> DialogueScorer:
    """The model of `scorer` asked about dialogues."""
    return DialogueScorer(
        scorer.model,
        scorer.task,
        replace(catalogue, priors=part.priors),
        scorer.reader,
        scorer.profiles,
        question=part.question,
        neighbours=part.neighbours,
        pool=part.pool,
    )


def _log(parts: dict[str, np.ndarray]) -> np.ndarray:
    return np.log(np.maximum(np.sum(list(parts.values()), axis=0, dtype=np.float32), LEAST))


def _texts(requests: Requests) -> Sequence[str]:
    return requests.texts if requests.texts is not None else [""] * len(requests)


def newest(text: str) -> str:
    """The newest words of a dialogue, which are read as if somebody had typed them."""
    return " ".join(text.split()[-NEWEST_WORDS:])


def _newest_said(requests: Requests) -> Requests:
    return requests if requests.texts is None else replace(requests, texts=[newest(text) for text in requests.texts])
