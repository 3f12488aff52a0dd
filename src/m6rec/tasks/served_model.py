"""The trained model with everything it answers with: the data it answers about, a blend, what completes baskets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_array

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import UsageError
from m6rec.data.dataset import Dataset, Table
from m6rec.language_model.upper_arrays import ReadSlots
from m6rec.tasks.basket import Question
from m6rec.tasks.blended import Blender
from m6rec.tasks.catalogue import Catalogue, grown
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.tasks.config import PriorConfig
from m6rec.tasks.dialogue import DialoguePart, DialogueScorer, talking
from m6rec.tasks.item_encoder import ContentEncoder
from m6rec.tasks.judge_part import JudgePart, TextPart
from m6rec.tasks.judge_request import ReadHistory, RequestJudge
from m6rec.tasks.prior import TEXT_PART, with_newcomers
from m6rec.tasks.reading_one import ContentArrays, SlotReader
from m6rec.tasks.state_cache import BytesCache, PackedStates, keys_of
from m6rec.tasks.write_part import WritePart

NEWEST = 5  # items whose mean stands for a state that is not kept
MOST_HISTORY_BYTES = 64_000_000  # of histories that were read: about 5,000 of 50 events at width 64


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, for the record: the resolved training configuration, and one sentence on how the data were cut."""

    training: dict[str, Any]
    statement: str

    @property
    def later(self) -> list[str]:
        """Scenarios that training had no rows of and that may be asked about all the same (`scenarios.later`)."""
        return list(self.training.get("scenarios", {}).get("later", []))

    def with_later(self, scenario: str) -> Origin:
        """The same with one more of them."""
        section = {**self.training.get("scenarios", {}), "later": [*self.later, scenario]}
        return Origin({**self.training, "scenarios": section}, self.statement)


@dataclass(frozen=True)
class BasketPart:
    """What completes baskets beside the shared model: the question, and the priors counted over baskets."""

    question: Question
    priors: dict[str, csr_array]

    def grown(self, extra: int, shared: dict[str, csr_array], config: PriorConfig) -> BasketPart:
        """With `extra` items more, which borrow what their text neighbours go with; shared: the grown catalogue's priors."""
        priors = {name: shared[name] if name == TEXT_PART else grown(table, extra) for name, table in self.priors.items()}
        items = next(iter(priors.values())).shape[0] if priors else 0
        return BasketPart(self.question, with_newcomers(priors, np.arange(items - extra, items), config))


@dataclass(frozen=True)
class Grown:
    """A catalogue with items more, what completes baskets and names items in dialogues with it, and its vectors (N, W)."""

    catalogue: Catalogue
    basket: BasketPart | None
    vectors: torch.Tensor
    dialogue: DialoguePart | None = None


class BasketScorer(ChooseMixture):
    """The model asked what else belongs to a basket; it is saved and loaded with the model whose weights it reads with."""

    def save(self, folder: Path) -> None:
        raise UsageError("what completes baskets is saved with its model; save that")

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise UsageError("what completes baskets is loaded with its model; load that and ask its `completing`")


class ServedModel(ChooseMixture):
    """The trained model with the data it answers about: `dataset` has the catalogue, the users and their newest histories.

    folder: where it was loaded from, if anywhere.
    """

    def __init__(
        self,
        *args: Any,
        dataset: Dataset,
        origin: Origin,
        folder: Path | None = None,
        packed: PackedStates | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.packed = packed
        self.dataset, self.origin, self.folder = dataset, origin, folder
        self.blend: Blender | None = None  # answers in place of the model, which is one of its members
        self.basket: BasketPart | None = None
        self.dialogue: DialoguePart | None = None
        self.judging: JudgePart | None = None
        self.texts: TextPart | None = None
        self.writing: WritePart | None = None
        self._completing: ChooseMixture | None = None
        self._talking: DialogueScorer | None = None
        self._request_judge: RequestJudge | None = None
        self._slot_reader: SlotReader | None = None
        self._read_histories = BytesCache[ReadHistory](MOST_HISTORY_BYTES)
        self._read_slots = BytesCache[ReadSlots](MOST_HISTORY_BYTES)

    def scores(self, requests: Requests) -> np.ndarray:
        """float32 (B, N): of the blend where there is one, else of the model."""
        return super().scores(requests) if self.blend is None else self.blend.scores(requests)

    def answer(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`scores`, and what they are made of: the members of the blend where there is one, else the parts of the mixture."""
        return self.alone(requests) if self.blend is None else self.blend.answer(requests)

    def alone(self, requests: Requests) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Scores and parts of the model without the blend."""
        return super().answer(requests)

    def scores_alone(self, requests: Requests) -> np.ndarray:
        """`alone` without the parts, which is quicker."""
        return super().scores(requests)

    def add_items(self, new: Table) -> None:
        """Make the items of `new` answerable. Raises DataError: an id that the catalogue has already."""
        self.take(self.with_items(new))

    def with_items(self, new: Table) -> Grown:
        """The catalogue with the items of `new`; nothing of what answers changes. Raises DataError: an id that the catalogue has already."""
        catalogue = self.catalogue.appended(new, self.reader, self.task.config.prior)
        basket = None if self.basket is None else self.basket.grown(len(new), catalogue.priors, self.task.config.prior)
        dialogue = None if self.dialogue is None else self.dialogue.grown(len(new), catalogue.priors, self.task.config.prior)
        return Grown(catalogue, basket, self._grown_vectors(catalogue, len(new)), dialogue)

    def _grown_vectors(self, catalogue: Catalogue, extra: int) -> torch.Tensor:
        """(N + extra, W): the vectors of the older items, and those of the last ones, which have no id."""
        vectors, start = self.vectors, len(catalogue) - extra
        with torch.no_grad():
            if "text" in self.switched_off or self.task.items.content is None:
                return torch.cat([vectors, vectors.new_zeros(extra, vectors.shape[1])])
            return torch.cat([vectors, self.task.items.content(catalogue.contents.rows(torch.arange(start, len(catalogue))))])

    def take(self, grown: Grown) -> None:
        """Answer with a grown catalogue from now on. What was read of people stays: the vectors of the older items are what they were."""
        self.catalogue, self.basket, self._vectors, self.dialogue = grown.catalogue, grown.basket, grown.vectors, grown.dialogue
        self._completing = self._talking = None
        if self.blend is not None:
            self.blend.extend(self.catalogue.items)

    def forget_kept(self) -> None:
        """Drop what was read of people before; states that came with the model stay."""
        self._states.clear()
        self._read_slots.clear()
        self._read_histories.clear()
        if self._request_judge is not None:
            self._request_judge.forget()

    @property
    def completing(self) -> ChooseMixture:
        """What completes baskets. Raises UsageError where no such task was trained."""
        if self.basket is None:
            raise UsageError("this model was not trained to complete baskets; add a task {answer: choose, of: basket} and train again")
        if self._completing is None:
            catalogue = replace(self.catalogue, priors=self.basket.priors)
            parts = (self.model, self.task, catalogue, self.reader, self.profiles)
            self._completing = BasketScorer(*parts, question=self.basket.question)
        return self._completing

    @property
    def talking(self) -> DialogueScorer:
        """What names items in dialogues. Raises UsageError where no such task was trained."""
        if self.dialogue is None:
            raise UsageError(
                "this model was not trained on dialogues; give data.dialogues, a task {answer: choose, of: dialogue}, and train again"
            )
        if self._talking is None:
            self._talking = talking(self.dialogue, self, self.catalogue)
        return self._talking

    @property
    def request_judge(self) -> RequestJudge:
        """What judges the candidates of one request. Raises UsageError where no task judges candidates."""
        if self.judging is None:
            raise UsageError("this model has no task that judges candidates; declare one ({answer: judge, label: COLUMN}) and train again")
        current = self._request_judge
        if current is None or current.part is not self.judging or current.version != self.judging.judge.version:
            current = self._request_judge = RequestJudge(self.judging, self.slot_reader)
        return current

    @property
    def slot_reader(self) -> SlotReader:
        """What reads the history of one request."""
        if self._slot_reader is None:
            self._slot_reader = SlotReader(self.model, self.task)
        return self._slot_reader

    def read_slots(self, requests: Requests) -> ReadSlots:
        """The history of one request that nobody typed in, read; kept until the history, the person or the model changes.

        A history that grew by an event, and is not yet longer than what is read, is read on from there.
        """
        events = requests.histories.window(keep=self.task.shape.history)
        key = keys_of(requests, events)[0]
        found = None if key is None else self._read_slots.get(key)
        if found is None:
            reader, vectors = self.slot_reader, self.vectors.numpy()
            before = None
            if key is not None and 0 < len(requests.histories.items) <= reader.most:
                shorter = events.window(drop_last=1)
                before = self._read_slots.find(keys_of(replace(requests, histories=shorter), shorter)[0])
            if before is not None:
                found = reader.extend(before, events, vectors)
            else:
                found = reader.read(events, vectors, self._profile_vector(requests, reader.profile, self.task.profile))
            if key is not None:
                self._read_slots.put(key, found, found.bytes)
        return found

    def read_for_judging(self, requests: Requests, *, early: bool = False) -> ReadHistory:
        """The history of one request as its candidates meet it; kept as `read_slots` are.

        early: what is not kept is read by the first upper layer alone.
        """
        judge = self.request_judge
        key = keys_of(requests, requests.histories.window(keep=self.task.shape.history))[0]
        found = None if key is None else self._read_histories.get(key)
        if found is None:
            profile = self._profile_vector(requests, judge.profile, judge.part.judge.slot.profile)
            slots = self._early(requests) if early and not self.has_read(requests) else self.read_slots(requests)
            found = judge.read(slots, requests.histories, profile)
            if key is not None and not early:
                self._read_histories.put(key, found, found.bytes)
        return found

    def has_read(self, requests: Requests) -> bool:
        """Whether the history of one request is kept, or the state after it is."""
        events = requests.histories.window(keep=self.task.shape.history)
        key = keys_of(requests, events)[0]
        if key is None:
            return False
        packed = self.packed is not None and requests.users is not None and int(self.packed.find(requests.users, [key])[0]) >= 0
        return packed or self._read_slots.find(key) is not None or key in self._states

    def early_state(self, requests: Requests) -> torch.Tensor:
        """(1, W): `last_states` of one request; of a history that is not kept, as the first upper layer leaves it."""
        if self.has_read(requests):
            return self.last_states(requests)
        return self._with_scenario(torch.from_numpy(self._early(requests).state)[None], requests)

    def state_at_hand(self, requests: Requests) -> np.ndarray:
        """float32 (1, W): the last state of one request if it is kept, else the mean of its newest items; nothing is read."""
        if self.has_read(requests) or not len(requests.histories.items):
            return self.last_states(requests).numpy()
        return self.vectors.numpy()[requests.histories.items[-NEWEST:]].mean(axis=0, keepdims=True)

    def typed_rows(self, requests: Requests) -> csr_array | None:
        """csr (B, F): bag rows of what was typed, None where nobody typed."""
        return self._typed_rows(requests)

    def keep_histories(self, most: float) -> None:
        """Keep at most so many bytes of histories that were read."""
        self._read_slots, self._read_histories = BytesCache(int(most / 2)), BytesCache(int(most / 2))

    def cache_report(self) -> dict[str, dict[str, float]]:
        """Hits, misses and size of what is kept of histories."""
        told = {"histories": self._read_slots.report(), "histories to judge by": self._read_histories.report()}
        judge = self._request_judge
        return told if judge is None or judge.pieces is None else told | {"statistics of people": judge.pieces.report()}

    def _early(self, requests: Requests) -> ReadSlots:
        reader, events = self.slot_reader, requests.histories.window(keep=self.task.shape.history)
        return reader.read(events, self.vectors.numpy(), self._profile_vector(requests, reader.profile, self.task.profile), depth=1)

    def _read(self, requests: Requests, histories: Histories, typed: csr_array | None) -> torch.Tensor:
        """(B, W): the state after the newest event; of a single request from what is kept of the history."""
        if len(requests) == 1 and typed is None and len(self.model.upper.layers):
            return torch.from_numpy(self.read_slots(requests).state)[None]
        return super()._read(requests, histories, typed)

    def _profile_vector(self, requests: Requests, arrays: ContentArrays | None, encoder: ContentEncoder | None) -> np.ndarray | None:
        """(W,): what `encoder` makes of the profile of one request; None where there is none."""
        if arrays is None or encoder is None or self.profiles is None:
            return None
        if requests.users is not None and requests.users[0] >= 0 and not (requests.profiles and requests.profiles[0]):
            return arrays.row(self.profiles.contents, int(requests.users[0]))
        contents = self.profile_contents(requests)
        with torch.no_grad():
            return None if contents is None else encoder(contents)[0].numpy()

    def forget_states(self) -> None:
        super().forget_states()
        self._read_histories.clear()
        self._read_slots.clear()
        if self._request_judge is not None:
            self._request_judge.forget()

    def refresh(self) -> None:
        super().refresh()
        self._completing = self._talking = None
        self._request_judge = self._slot_reader = None
        if self.blend is not None:
            self.blend.extend(self.catalogue.items)
