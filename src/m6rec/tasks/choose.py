"""choose: an item out of the catalogue, from the state of every slot of a history at once.

Slots: a start slot (with the profile, or what a person typed, where known), then one slot an event: item vector plus action,
scenario and value. The state of a slot answers what comes next: p(i) = g0 softmax_i(state . item) + sum_m g_m prior_m(i).

Dimension keys: B histories, S events of a window, R targets, N items, W width, M priors, K recent events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.base.contracts import Histories
from m6rec.language_model.config import ModelShape
from m6rec.language_model.devices import moved, tensor_of
from m6rec.language_model.layers import Dropout
from m6rec.language_model.model import LanguageModel
from m6rec.tasks.catalogue_softmax import mixture_loss
from m6rec.tasks.config import ChooseConfig
from m6rec.tasks.history_batches import Windows, batch_windows, cut_windows
from m6rec.tasks.item_encoder import ContentEncoder, Contents, ItemEncoder
from m6rec.tasks.prior import PriorGate, PriorValues, part_names
from m6rec.tasks.sampled_softmax import NegativeSampler, Touched
from m6rec.tasks.task import TASKS, Task


@dataclass(frozen=True)
class ChooseSizes:
    """Sizes of a Choose task that come from the data; saved beside its weights."""

    features: int
    vectors: int
    profile_features: int
    profile_vectors: int
    actions: int
    scenarios: int


@dataclass(frozen=True)
class ChooseExamples:
    """What the task trains on. Rows of `histories` are users; `wanted` bool (E,) are the events that are targets.

    typed: what was typed before the first event, a row a user; None: in a share of the rows words of an item stand for it.
    """

    histories: Histories
    wanted: np.ndarray
    priors: PriorValues
    contents: Contents
    profiles: Contents | None
    batch_targets: int
    typed: Contents | None = None


@dataclass(frozen=True)
class Bound:
    """Examples with what is worked out of them once: windows of the histories, int64 (E + 1,) wanted events before each event."""

    examples: ChooseExamples
    windows: Windows
    wanted_before: np.ndarray

    @classmethod
    def of(cls, examples: ChooseExamples, history: int) -> Bound:
        """history: events that are read at most. A window has one more: the newest event of a full history is a target, not an input."""
        before = np.concatenate([[0], np.cumsum(examples.wanted)])
        return cls(examples, cut_windows(examples.histories, history + 1), before)

    def batches(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Windows of like length together, about `batch_targets` events each, in random order."""
        yield from batch_windows(self.windows, self.examples.batch_targets, generator)

    def targets(self, batch: np.ndarray) -> int:
        first, last = self.windows.first[batch], self.windows.last[batch]
        return int((self.wanted_before[last] - self.wanted_before[first]).sum())


@dataclass(frozen=True)
class Slots:
    """Inputs of B histories: S events each, right-padded. `start` (B, W) is the first slot; times (B, S) or None."""

    start: Tensor
    items: Tensor
    actions: Tensor | None
    scenarios: Tensor | None
    values: Tensor | None
    times: Tensor | None


class OverHistories(Task):
    """A task whose batches are windows of bound histories."""

    bound: Bound | None

    def batches(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        assert self.bound is not None
        yield from self.bound.batches(generator)

    def targets(self, batch: np.ndarray) -> int:
        assert self.bound is not None
        return self.bound.targets(batch)


@TASKS.register("choose")
class Choose(OverHistories):
    """Next-item choice over the whole catalogue."""

    answer: ClassVar[Literal["choose", "judge", "write"]] = "choose"

    def __init__(self, config: ChooseConfig, shape: ModelShape, sizes: ChooseSizes, seen: Tensor) -> None:
        """seen: int64 (N,), training events per item of the catalogue trained on."""
        super().__init__()
        width = shape.width
        self.config, self.shape, self.sizes = config, shape, sizes
        content = ContentEncoder(width, shape.read_width, sizes.features, sizes.vectors) if config.text else None
        self.items = ItemEncoder(content, seen, width, config.identity)
        self.profile = None
        if sizes.profile_features:
            self.profile = ContentEncoder(width, shape.read_width, sizes.profile_features, sizes.profile_vectors)
        self.start = nn.Parameter(torch.zeros(width))
        self.typed = nn.Parameter(torch.zeros(width))
        self.actions = nn.Embedding(sizes.actions, width) if sizes.actions > 1 else None
        self.scenarios = nn.Embedding(sizes.scenarios, width) if sizes.scenarios > 1 else None
        self.asked = nn.Embedding(sizes.scenarios, width) if sizes.scenarios > 1 else None  # the scenario that asks
        self.value = nn.Parameter(torch.zeros(width))
        self.dropout = Dropout(shape.dropout)
        self.parts = part_names(config.prior)
        self.gate = PriorGate(width, len(self.parts), config.prior.recent)
        self.bound: Bound | None = None
        self._sampler: NegativeSampler | None = None  # None: the softmax runs over the whole catalogue

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Seeded start: tables small beside the text summary's projection, so that frequent items grow their own vectors."""
        for name, part in sorted(self.named_modules()):
            if isinstance(part, nn.Embedding):
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * (0.0 if name == "asked" else 0.02))
            elif isinstance(part, nn.Linear) and not name.startswith("gate"):
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * 0.02)

    def option_names(self) -> list[str]:
        """The gates of the mixture, where there is more than the softmax; item vectors and slots are read by every task."""
        return [name for name, _ in self.named_parameters() if self.parts and name.startswith("gate.")]

    def bind(self, examples: ChooseExamples | None) -> None:
        """Give the task what it trains on; None takes it away, where the memory is wanted for something else."""
        self.bound = None if examples is None else Bound.of(examples, self.shape.history)
        self._sampler = NegativeSampler.of(self.config, self.items.log_seen)

    def loss(self, model: LanguageModel, batch: np.ndarray) -> dict[str, Tensor]:
        """{"choose": mixture likelihood plus `own_share` of the softmax's own}, per target."""
        assert self.bound is not None
        return {"choose": self.mixture_loss(model, self.bound, batch, self.gate)}

    def mixture_loss(
        self, model: LanguageModel, bound: Bound, batch: np.ndarray, gate: PriorGate, question: Tensor | None = None, frozen: bool = False
    ) -> Tensor:
        """The loss of a batch of `bound`'s windows, per target.

        Args:
            gate: weighs the priors against the softmax.
            question: (W,) or one row a target (R, W), added to the states where something else is asked than what comes next.
            frozen: whether the model and the item vectors are read as they are, and only what is asked, and the gate, learn.
        """
        examples, windows = bound.examples, bound.windows
        first, last, begin = windows.first[batch], windows.last[batch], windows.begin[batch]
        events = first[:, None] + np.arange(int((last - first).max()))  # B S
        real = events < last[:, None]
        events = np.minimum(events, len(examples.histories.items) - 1)
        wanted = real & examples.wanted[events]
        chosen = events[wanted]  # R
        targets = torch.from_numpy(examples.histories.items[chosen].astype(np.int64))  # on the CPU, where negatives are drawn
        device = self.start.device
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            touched = None if self._sampler is None else self._touched(self._sampler, examples, events, targets)
            vectors = self.item_vectors(examples.contents, self._dropped(len(examples.contents))) if touched is None else touched.vectors
            slots = self._training_slots(examples, windows.user[batch], events[:, :-1], first, last)
            if touched is not None:
                slots = replace(slots, items=touched.place(torch.from_numpy(examples.histories.items[events[:, :-1]].astype(np.int64))))
            states = self.states(model, vectors, slots)
        if self.asked is not None and examples.histories.scenarios is not None:
            # Half of the histories are asked "what next, in this scenario", the other half "what next, anywhere".
            asking = tensor_of(examples.histories.scenarios[events].astype(np.int64), device)
            states = states + moved(torch.rand(len(batch), 1, 1) < 0.5, device) * self.asked(asking)
        states = states[torch.from_numpy(wanted)]  # R W
        if question is not None:
            states = states + question
        position = tensor_of((events - begin[:, None])[wanted], device)  # R: events before the target
        evidence = tensor_of(examples.priors.evidence[chosen], device)
        log_gates = gate.log_gates(states, evidence, position)
        log_rest = gate.log_rest(log_gates, tensor_of(examples.priors.values[chosen], device), evidence)
        own_share = self.config.own_share if self.parts else 0.0
        if touched is not None:
            return touched.loss(states, targets, log_gates[:, 0], log_rest, own_share) / max(len(chosen), 1)
        negatives, targets = self._seen_only(vectors, moved(targets, device))
        loss, _, _ = mixture_loss(states, negatives, targets, log_gates[:, 0], log_rest, own_share=own_share)
        return loss / max(len(chosen), 1)

    def item_vectors(self, contents: Contents, dropped: Tensor | None = None) -> Tensor:
        """(N, W)."""
        vectors: Tensor = self.items(contents, dropped)
        return vectors

    def start_slot(self, batch: int, profiles: Contents | None = None, typed: Contents | None = None) -> Tensor:
        """(B, W): what is known before the first event. profiles and typed have B rows each."""
        start = self.start.expand(batch, -1)
        if profiles is not None and self.profile is not None:
            start = start + self.profile(profiles)
        return start if typed is None else start + self._typed(typed)

    def _typed(self, typed: Contents) -> Tensor:
        """(B, W): what was typed, zeros where nothing known was."""
        if self.items.content is None:
            return self.start.new_zeros(len(typed), self.shape.width)
        typed = typed.on(self.start.device)
        said = (typed.offsets[1:] > typed.offsets[:-1]).to(self.start.dtype)[:, None]  # B 1
        read: Tensor = said * (self.typed + self.items.content(typed))
        return read

    def states(self, model: LanguageModel, vectors: Tensor, slots: Slots) -> Tensor:
        """(B, 1 + S, W): the state after the start slot and after each event."""
        embedded, times = self.embed(vectors, slots)
        states: Tensor = model.upper(embedded, times)
        return states

    def last_states(self, model: LanguageModel, vectors: Tensor, slots: Slots, lengths: Tensor) -> Tensor:
        """(B, W): the state after the newest event of each history; lengths int64 (B,) events."""
        embedded, times = self.embed(vectors, slots)
        return model.upper.last(embedded, times, lengths)

    def embed(self, vectors: Tensor, slots: Slots) -> tuple[Tensor, Tensor | None]:
        """Slot inputs (B, 1 + S, W) and their times (B, 1 + S); the start slot has no time."""
        return self.embed_events(vectors[slots.items], slots)

    def embed_events(self, events: Tensor, slots: Slots, *, dropped: bool = True) -> tuple[Tensor, Tensor | None]:
        """As `embed`, from the item vectors of the events, (B, S, W); dropped: with dropout, in training."""
        if self.actions is not None and slots.actions is not None:
            events = events + self.actions(slots.actions)
        if self.scenarios is not None and slots.scenarios is not None:
            events = events + self.scenarios(slots.scenarios)
        if slots.values is not None:
            events = events + torch.nan_to_num(slots.values)[:, :, None] * self.value
        embedded = torch.cat([slots.start[:, None], events], dim=1) * self.shape.slot_scale
        times = slots.times if self.shape.times else None
        if times is not None:
            times = torch.cat([times.new_full((len(times), 1), float("nan")), times], dim=1)
        return self.dropout(embedded) if dropped else embedded, times

    def _dropped(self, items: int) -> Tensor | None:
        rate = self.config.identity_dropout
        return torch.rand(items) < rate if self.config.identity and self.config.text and rate else None

    def _touched(self, sampler: NegativeSampler, examples: ChooseExamples, events: np.ndarray, targets: Tensor) -> Touched:
        """Negatives of a batch, and the vectors of all items it touches; events (B, S) are what it reads."""
        negatives = sampler.draw(targets)
        read = torch.from_numpy(examples.histories.items[events].astype(np.int64)).flatten()
        ids = torch.unique(torch.cat([read, negatives.items]))  # targets are among what is read
        vectors = self.items.of(ids, examples.contents.rows(ids), self._dropped(len(ids)))
        return Touched(ids, vectors, negatives)

    def _seen_only(self, vectors: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Unseen items are kept out of the negatives: a softmax over the seen ones, with targets renumbered among them."""
        seen = self.items.log_seen > 0
        if bool(seen.all()):
            return vectors, targets
        return vectors[seen], (torch.cumsum(seen, 0) - 1)[targets]

    def _training_slots(
        self, examples: ChooseExamples, users: np.ndarray, inputs: np.ndarray, first: np.ndarray, last: np.ndarray
    ) -> Slots:
        histories, batch = examples.histories, len(users)
        profiles = None
        if examples.profiles is not None:
            profiles = examples.profiles.rows(torch.from_numpy(users))
        start = self.start.expand(batch, -1)
        if profiles is not None and self.profile is not None:
            kept = moved(torch.rand(batch, 1) >= self.config.profile_dropout, start.device).to(start.dtype)
            start = start + kept * self.profile(profiles)
        if examples.typed is not None:
            start = start + self._typed(examples.typed.rows(torch.from_numpy(users)))
        elif self.items.content is not None and self.config.typed:
            start = start + self._as_if_typed(examples, first, last)
        return gather_slots(start, histories, inputs)

    def _as_if_typed(self, examples: ChooseExamples, first: np.ndarray, last: np.ndarray) -> Tensor:
        """(B, W): in a share of the rows, some words of one item of the window, as a person might type them; zeros elsewhere."""
        assert self.items.content is not None
        batch = len(first)
        rows = torch.nonzero(torch.rand(batch) < self.config.typed).squeeze(1)
        place = torch.rand(batch)[rows]
        if not len(rows):
            return self.start.new_zeros(batch, self.shape.width)
        picked = first[rows.numpy()] + (place.numpy() * (last - first)[rows.numpy()]).astype(np.int64)
        contents = examples.contents.rows(torch.from_numpy(examples.histories.items[picked].astype(np.int64)))
        contents = contents.thinned(torch.rand(len(contents.features)) < 0.4)
        # The bag alone: what is typed seldom reads like a whole item text, so half of the rows go without the summary.
        summaries = contents.summaries * (torch.rand(len(rows), 1) < 0.5)
        said = Contents(summaries, contents.features, contents.offsets, torch.zeros_like(contents.vectors))
        return self.start.new_zeros(batch, self.shape.width).index_copy(
            0, moved(rows, self.start.device), self.typed + self.items.content(said)
        )


def gather_slots(start: Tensor, histories: Histories, events: np.ndarray) -> Slots:
    """Slots of the events at positions `events` int64 (B, S), after the start slots (B, W) and where these are."""

    def column(values: np.ndarray | None, dtype: type) -> Tensor | None:
        return None if values is None else tensor_of(values[events].astype(dtype), start.device)

    return Slots(
        start=start,
        items=tensor_of(histories.items[events].astype(np.int64), start.device),
        actions=column(histories.actions, np.int64),
        scenarios=column(histories.scenarios, np.int64),
        values=column(histories.values, np.float32),
        times=column(histories.times, np.float64),
    )
