"""Candidates of one person at one moment, judged: what `Judge.answer_rows` answers, with everything done once that candidates share.

* The history is read once and kept (keys, values, last state) under what it was made of, see `state_cache.py`.
* Statistics come as pieces (`data/statistics_by_key.py`), and pieces pass the first matrix of their encoder and of the linear part
  (`judge_pieces.py`); a candidate adds up its pieces. Those of items are kept for each (scenario, moment).
* All candidates see the same events from the same moment: one bias a head.
* The parts of an option are laid side by side into one matrix. Plain arrays, as in `language_model/upper_arrays.py`.

Shapes: X candidates, W width, U hidden width of the statistics' encoder, O outputs of all tasks, L outputs of a task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from m6rec.base.contracts import Histories
from m6rec.data.own_events import OwnEvents
from m6rec.language_model.upper_arrays import ReadSlots, array_of, folded, normed, silu, softmax
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge import Judge
from m6rec.tasks.judge_cells import SHARED
from m6rec.tasks.judge_labels import answers
from m6rec.tasks.judge_part import JudgePart
from m6rec.tasks.judge_pieces import JudgePieces
from m6rec.tasks.judge_slot import DAYS, FIRST_WEEKDAY, SECONDS_OF_DAY, SECONDS_OF_HOUR
from m6rec.tasks.options import module_name
from m6rec.tasks.reading_one import ContentArrays, SlotReader

MOST_CONTEXTS = 4096


@dataclass(frozen=True)
class ReadHistory:
    """A history that was read for candidates.

    slots   keys and values     fixed  (W,) what the person adds to the slot of every candidate
    bend    (W, W) what item vectors are multiplied by
    events  the person's own events by value, None where they are not counted
    """

    slots: ReadSlots
    fixed: np.ndarray
    bend: np.ndarray
    events: OwnEvents | None

    @property
    def bytes(self) -> int:
        own = 0 if self.events is None else self.events.codes.nbytes + self.events.counts.nbytes + self.events.last.nbytes
        return self.slots.bytes + self.fixed.nbytes + self.bend.nbytes + own


@dataclass(frozen=True)
class Asked:
    """One request: scenario code, negative for none or one that training did not know; moment in seconds, NaN unknown; context (W,), as
    `context` gave; item vectors (N, W)."""

    user: int
    scenario: int
    moment: float
    context: np.ndarray | None
    vectors: np.ndarray


class RequestJudge:
    """A trained judge, laid out for requests. Made anew when its weights or tasks change (`version` of the judge tells)."""

    def __init__(self, part: JudgePart, reader: SlotReader) -> None:
        judge = part.judge
        judge.eval()
        self.part, self.reader, self.version = part, reader, judge.version
        slot = judge.slot
        self.pieces = None if slot.statistics is None else JudgePieces(judge, part.inputs)
        self.offsets = _offsets(judge)
        self.start, self.person_norm, self.eps = array_of(slot.start), array_of(slot.person_norm.weight), slot.person_norm.eps
        self.person = np.ascontiguousarray(array_of(slot.person.weight).T)
        self.item, self.match = folded(slot.item_norm, slot.item.weight), folded(slot.item_norm, slot.match.weight)  # W W
        self.scenarios = None if slot.scenarios is None else array_of(slot.scenarios.weight)
        timed = slot.hours is not None and slot.weekdays is not None
        self.clock = (array_of(slot.hours.weight), array_of(slot.weekdays.weight)) if timed else None  # type: ignore[union-attr]
        self.profile = None if slot.profile is None else ContentArrays(slot.profile)
        self.write = None if slot.statistics is None else np.ascontiguousarray(array_of(slot.statistics.write.weight).T)  # U W
        self.norm = array_of(judge.norm.weight)
        self._heads: dict[tuple[str, str], _Head] = {}
        self._contexts: dict[str, np.ndarray | None] = {}

    @property
    def able(self) -> bool:
        """Whether the statistics come in pieces that are known here."""
        return self.pieces is None or self.pieces.keys.complete

    @property
    def hindrance(self) -> str:
        """Why requests are judged row by row, which takes several times as long; "" where they are judged here."""
        if self.able or self.pieces is None:
            return ""
        strange = self.pieces.keys.strange
        named = ", ".join(f"'{name}'" for name in strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
        return (
            f"candidates are judged row by row, which takes several times as long: the statistics {named} can't be told apart by name; "
            "give item fields and labels names other than all, user, item and scenario, without ': ', and train again"
        )

    def forget(self) -> None:
        """Drop what was worked out for people."""
        if self.pieces is not None:
            self.pieces.forget()

    def read(self, slots: ReadSlots, events: Histories, profile: np.ndarray | None) -> ReadHistory:
        """What candidates need of a person. slots: the history as `SlotReader` read it; profile: (W,) of the judge's own, None for none."""
        layers = self.part.judge.sharing.joint_layers
        state = slots.entered[0 if layers is None else len(slots.entered) - 1 - layers]
        state = normed(state[None], self.eps)[0] * self.person_norm
        fixed = self.start + state @ self.person
        if profile is not None:
            fixed += profile
        own = None if self.pieces is None else self.pieces.keys.own_events(events)
        # item(x) + match(x * person) is one matrix of the person.
        return ReadHistory(slots, fixed, self.item + state[:, None] * self.match, own)

    @torch.no_grad()
    def context(self, said: str, make: Callable[[], Contents | None]) -> np.ndarray | None:
        """(W,): what a request's context adds to every candidate; `said` is the context as text, under which it is kept."""
        if said not in self._contexts:
            contents, encoder = make(), self.part.judge.slot.context
            if len(self._contexts) >= MOST_CONTEXTS:
                self._contexts.clear()
            self._contexts[said] = None if contents is None or encoder is None else encoder(contents)[0].numpy()
        return self._contexts.get(said)

    def answers(
        self, asked: Asked, read: ReadHistory, items: np.ndarray, tasks: Sequence[str], layers: int | None = None
    ) -> dict[str, np.ndarray]:
        """Calibrated answers about `items` int64 (X,): task -> float32 (X,), or (X, L) for classes and tags.

        layers: that candidates pass; None: as trained.
        """
        judge = self.part.judge
        told = (
            None
            if self.pieces is None
            else self.pieces.told(asked.user, asked.scenario, asked.moment, read.events, items, len(asked.vectors))
        )
        states = self._judged(asked, read, items, told, judge.sharing.joint_layers if layers is None else layers)
        new = asked.scenario < 0 and bool(judge.sizes.scenarios)
        name = SHARED if new else judge.sizes.scenarios[asked.scenario] if judge.sizes.scenarios else ""
        codes = None if new or not name else np.zeros(len(items), np.int64)
        found = {}
        for task in tasks:
            values = self._answers(states, told, name, task)
            calibration = self.part.calibrations.get(task)
            if calibration is not None and judge.sizes.labels[task].kind != "tags":
                values = calibration.apply(values, codes, [name])
            elif calibration is not None:
                values = self.part.calibrated(task, values, codes)
            found[task] = values
        return found

    def _judged(self, asked: Asked, read: ReadHistory, items: np.ndarray, told: np.ndarray | None, layers: int | None) -> np.ndarray:
        """(X, W): what `Judge.judged` gives; told (X, U + O) of the statistics."""
        judge, fixed = self.part.judge, read.fixed
        if self.scenarios is not None:
            fixed = fixed + self.scenarios[asked.scenario + 1]
        if self.clock is not None:
            hour, day = _clock(asked.moment)
            fixed = fixed + self.clock[0][hour] + self.clock[1][day]
        if asked.context is not None:
            fixed = fixed + asked.context
        slots = normed(asked.vectors[items], self.eps) @ read.bend
        slots += fixed
        if told is not None and self.write is not None:
            slots += silu(told[:, : len(self.write)]) @ self.write
        if judge.scaling.way != "embedding":
            slots = self._scaled(judge.scaling.slot, slots, asked.scenario)
        time = asked.moment if judge.shape.times else None
        states = self.reader.upper.candidates(slots, read.slots, time, layers)
        states = normed(states, self.eps) * self.norm
        return self._scaled(judge.scaling.state, states, asked.scenario) if judge.scaling.way != "embedding" else states

    @torch.no_grad()
    def _scaled(self, scale: Callable[..., torch.Tensor], states: np.ndarray, scenario: int) -> np.ndarray:
        codes = torch.full((len(states),), scenario, dtype=torch.int64) if self.part.judge.sizes.scenarios else None
        return scale(torch.from_numpy(states), codes).numpy()

    def _answers(self, states: np.ndarray, told: np.ndarray | None, scenario: str, task: str) -> np.ndarray:
        """As `Judge._answers`."""
        judge = self.part.judge
        outputs = {task: self._logits(states, told, scenario, task)}
        before = judge.configs[task].after
        while before is not None and judge.asks(scenario, before):
            outputs[before] = self._logits(states, told, scenario, before)
            before = judge.configs[before].after
        return answers(outputs[task], judge.sizes.labels[task], judge._log_before(outputs, task)).numpy()

    @torch.no_grad()
    def _logits(self, states: np.ndarray, told: np.ndarray | None, scenario: str, task: str) -> torch.Tensor:
        judge = self.part.judge
        head = self._heads.get((scenario, task))
        if head is None:
            head = self._heads[scenario, task] = _Head.of(judge, scenario, task)
        if judge.shared.apart:
            own = judge.shared(torch.from_numpy(states), head.beside)
            states = own[head.number if len(own) > 1 else 0].numpy()
        logits = head(states)
        if told is not None and self.write is not None:
            first = len(self.write) + self.offsets[task]
            logits = logits + told[:, first : first + logits.shape[1]]
        return torch.from_numpy(logits)


def _offsets(judge: Judge) -> dict[str, int]:
    """Where the outputs of each task begin among all."""
    found, total = {}, 0
    for task in judge.configs:
        found[task] = total
        total += judge.sizes.labels[task].outputs
    return found


def _clock(moment: float) -> tuple[int, int]:
    """Hour of the day and day of the week as `judge_slot.clock` counts them, 0 where the time is unknown."""
    if math.isnan(moment):
        return 0, 0
    seconds = int(moment)
    return 1 + (seconds % SECONDS_OF_DAY) // SECONDS_OF_HOUR, 1 + (seconds // SECONDS_OF_DAY + FIRST_WEEKDAY) % DAYS


@dataclass(frozen=True)
class _Head:
    """The option of a cell and its task's label vectors as one matrix (W, L + P + A), and what its parts write, (P, L) and (A, L).

    beside: the tasks whose states it is read among, `number` its own place there.
    """

    beside: list[str]
    number: int
    read: np.ndarray
    bias: np.ndarray
    values: np.ndarray
    up: np.ndarray

    @classmethod
    def of(cls, judge: Judge, scenario: str, task: str) -> _Head:
        option = judge.option(scenario, task)
        keys, values, down, up, own, bias = (part[0].detach() for part in option.size.cut(option.weights))
        vectors = judge.vectors[module_name(task)].detach() + own  # L W
        beside = judge.beside(scenario, task) if judge.sharing.way == "attention" else [task]
        read = np.ascontiguousarray(array_of(torch.cat([vectors, keys, down])).T)
        biases = array_of(judge.biases[module_name(task)].detach() + bias)
        return cls(beside, beside.index(task), read, biases, array_of(values @ vectors.T), array_of(up @ vectors.T))

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """(X, L)."""
        outputs, prompts = len(self.bias), len(self.values)
        read = states @ self.read
        logits = read[:, :outputs] + self.bias
        if prompts:
            logits += softmax(read[:, outputs : outputs + prompts]) @ self.values
        if len(self.up):
            logits += np.maximum(read[:, outputs + prompts :], 0) @ self.up
        return np.asarray(logits)
