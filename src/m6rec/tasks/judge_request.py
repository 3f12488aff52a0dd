"""Candidates of one person at one moment, judged: what `Judge.answer_rows` answers, with everything done once that candidates share.

* The history is read once and kept (keys, values, last state) under what it was made of, see `state_cache.py`.
* Statistics come as pieces (`data/statistics_by_key.py`), and pieces pass the first matrix of their encoder and of the linear part; a candidate adds up
  its pieces. Those of items are kept for each (scenario, moment).
* All candidates see the same events from the same moment: one bias a head.
* The parts of an option are laid side by side into one matrix.

Shapes: X candidates, W width, U hidden width of the statistics' encoder, O outputs of all tasks, D pieces, C columns, T slots of the history, H heads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from m6rec.base.contracts import Histories
from m6rec.data.statistics_by_key import KeyStatistics, OwnEvents, Pieces
from m6rec.language_model.model import LanguageModel
from m6rec.language_model.upper import SlotCache
from m6rec.tasks.choose import gather_slots
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.judge import Judge
from m6rec.tasks.judge_labels import answers
from m6rec.tasks.judge_part import JudgePart
from m6rec.tasks.judge_slot import StatisticsEncoder, clock
from m6rec.tasks.options import module_name

KEPT_BYTES = 64_000_000  # of what is kept of items, for all (scenario, moment) together
MOST_CONTEXTS = 4096
MOST_ONCE = 64  # (scenario, moment) that were asked for once


@dataclass(frozen=True)
class ReadHistory:
    """A history that was read for candidates.

    state   (1, W) of the person as candidates meet it     cache  keys and values of the layers that candidates pass, B = 1
    fixed   (1, W) what the person adds to the slot of every candidate; bend (W, W) what item vectors are multiplied by
    events  the person's own events by value, None where they are not counted
    """

    state: Tensor
    cache: SlotCache
    fixed: Tensor
    bend: Tensor
    events: OwnEvents | None

    @property
    def bytes(self) -> int:
        numbers = sum(keys.numel() + values.numel() for keys, values in self.cache.layers) + self.bend.numel() + 2 * self.fixed.numel()
        own = 0 if self.events is None else self.events.codes.nbytes + self.events.counts.nbytes + self.events.last.nbytes
        return 4 * numbers + 16 * self.cache.positions.numel() + own


@dataclass(frozen=True)
class Asked:
    """One request: scenario code, -1 none; moment in seconds, NaN unknown; context (1, W), as `context` gave; item vectors (N, W)."""

    user: int
    scenario: int
    moment: float
    context: Tensor | None
    vectors: Tensor


class RequestJudge:
    """A trained judge, laid out for requests. Made anew when its weights or tasks change (`version` of the judge tells)."""

    def __init__(self, part: JudgePart, model: LanguageModel) -> None:
        judge = part.judge
        judge.eval()
        self.part, self.model, self.version = part, model, judge.version
        inputs = part.inputs
        self.keys = None
        if judge.slot.statistics is not None:
            self.keys = KeyStatistics(inputs.statistics, inputs.values, inputs.actions)
        self.offsets = _offsets(judge)
        self._encoder = None if self.keys is None else _PieceEncoder(judge, self.keys, list(self.offsets))
        self._heads: dict[tuple[str, str], _Head] = {}
        self._items: OrderedDict[tuple[int, float], _ItemPieces] = OrderedDict()
        self._once: OrderedDict[tuple[int, float], None] = OrderedDict()
        self._contexts: dict[str, Tensor | None] = {}
        self._lock = Lock()

    @torch.no_grad()
    def read(self, events: Histories, profiles: Contents | None, vectors: Tensor) -> ReadHistory:
        """Read the newest events of one row, as `judge_reading.read_histories` reads those of many."""
        judge, reader = self.part.judge, self.part.judge.reader
        slot, length = judge.slot, int(events.offsets[1] - events.offsets[0])
        first = int(events.offsets[0]) + max(length - reader.shape.history, 0)
        places = np.arange(first, int(events.offsets[1]))[None]
        slots = gather_slots(reader.start_slot(1, profiles), events, places)
        embedded, times = reader.embed_events(vectors[slots.items], slots, dropped=False)
        states, cache = self.model.upper.read(embedded, times, torch.tensor([1 + places.shape[1]]), judge.sharing.joint_layers)
        state = slot.person_norm(states[:, -1])  # 1 W
        fixed = slot.start + slot.person(state)
        if slot.profile is not None and profiles is not None:
            fixed = fixed + slot.profile(profiles)
        # item(x) + match(x * person) is one matrix of the person.
        bend = (slot.item.weight + slot.match.weight * state).T.contiguous()
        return ReadHistory(state, cache, fixed, bend, None if self.keys is None else self.keys.own_events(events))

    @torch.no_grad()
    def context(self, said: str, make: Callable[[], Contents | None]) -> Tensor | None:
        """(1, W): what a request's context adds to every candidate; `said` is the context as text, under which it is kept."""
        if said not in self._contexts:
            contents, encoder = make(), self.part.judge.slot.context
            if len(self._contexts) >= MOST_CONTEXTS:
                self._contexts.clear()
            self._contexts[said] = None if contents is None or encoder is None else encoder(contents)
        return self._contexts.get(said)

    @property
    def able(self) -> bool:
        """Whether the statistics come in pieces that are known here."""
        return self.keys is None or self.keys.complete

    @torch.no_grad()
    def answers(self, asked: Asked, read: ReadHistory, items: np.ndarray, tasks: Sequence[str]) -> dict[str, np.ndarray]:
        """Calibrated answers about `items` int64 (X,): task -> float32 (X,), or (X, L) for classes and tags."""
        judge = self.part.judge
        hidden, direct = self._statistics(asked, read, items)
        states = self._judged(asked, read, items, hidden)
        name = judge.sizes.scenarios[asked.scenario] if judge.sizes.scenarios else ""
        codes = None if not name else np.zeros(len(items), np.int64)
        found = {}
        for task in tasks:
            values = self._answers(states, direct, name, task).numpy()
            calibration = self.part.calibrations.get(task)
            if calibration is not None and judge.sizes.labels[task].kind != "tags":
                values = calibration.apply(values, codes, [name])
            elif calibration is not None:
                values = self.part.calibrated(task, values, codes)
            found[task] = values
        return found

    def _statistics(self, asked: Asked, read: ReadHistory, items: np.ndarray) -> tuple[Tensor | None, Tensor | None]:
        """(X, U) what the encoder's first matrix gives, and (X, O) the linear part."""
        keys, encoder = self.keys, self._encoder
        if keys is None or encoder is None:
            return None, None
        pieces = keys.of_request(asked.user, asked.scenario, asked.moment, read.events, items)
        fixed, found = encoder.pieces(pieces)
        total = F.embedding_bag(torch.from_numpy(pieces.place), found, mode="sum").add_(fixed).add_(self._of_items(asked, items))
        return total[:, : encoder.hidden], total[:, encoder.hidden :]

    def _of_items(self, asked: Asked, items: np.ndarray) -> Tensor:
        """(X, U + O): pieces of the items, those of an earlier request at this moment looked up."""
        assert self.keys is not None
        assert self._encoder is not None
        key, count = (asked.scenario, asked.moment), len(asked.vectors)
        with self._lock:
            kept = self._kept(key, count)
        if kept is None:
            return self._encoder.items(self.keys.of_items(items, asked.scenario, asked.moment))
        missing = items[~kept.known[items]]
        if len(missing):
            missing = np.unique(missing)
            kept.pieces[torch.from_numpy(missing)] = self._encoder.items(self.keys.of_items(missing, asked.scenario, asked.moment))
            kept.known[missing] = True  # after the row is there: another thread may be looking
        return kept.pieces[torch.from_numpy(items)]

    def _kept(self, key: tuple[int, float], count: int) -> _ItemPieces | None:
        """The pieces kept for a (scenario, moment); None the first time: who says the time with each request never comes back."""
        assert self._encoder is not None
        kept = self._items.get(key)
        if kept is None or len(kept.known) < count:
            if key not in self._once:
                self._once[key] = None
                while len(self._once) > MOST_ONCE:
                    self._once.popitem(last=False)
                return None
            kept = self._items[key] = _ItemPieces(np.zeros(count, bool), torch.empty(count, self._encoder.hidden + self._encoder.outputs))
            while len(self._items) > max(1, KEPT_BYTES // max(4 * kept.pieces.numel(), 1)):
                self._items.popitem(last=False)
        self._items.move_to_end(key)
        return kept

    def _judged(self, asked: Asked, read: ReadHistory, items: np.ndarray, hidden: Tensor | None) -> Tensor:
        """(X, W): what `Judge.judged` gives."""
        judge, slot = self.part.judge, self.part.judge.slot
        fixed = read.fixed  # 1 W
        codes = torch.tensor([asked.scenario])
        scenarios = codes if judge.sizes.scenarios else None
        if slot.scenarios is not None and scenarios is not None:
            fixed = fixed + slot.scenarios(codes + 1)
        if slot.hours is not None and slot.weekdays is not None:
            hours, days = clock(torch.tensor([asked.moment], dtype=torch.float64))
            fixed = fixed + slot.hours(hours) + slot.weekdays(days)
        if asked.context is not None:
            fixed = fixed + asked.context
        slots = torch.addmm(fixed, slot.item_norm(asked.vectors[torch.from_numpy(items)]), read.bend)
        if hidden is not None and slot.statistics is not None:
            slots.addmm_(F.silu(hidden), slot.statistics.write.weight.T)
        each = None if scenarios is None else scenarios.expand(len(items))
        slots = judge.scaling.slot(slots, each)
        time = asked.moment if judge.shape.times else None
        states = self.model.upper.candidates_of_one(slots, read.cache, time)
        bent: Tensor = judge.scaling.state(judge.norm(states), each)
        return bent

    def _answers(self, states: Tensor, direct: Tensor | None, scenario: str, task: str) -> Tensor:
        """As `Judge._answers`."""
        judge = self.part.judge
        outputs = {task: self._logits(states, direct, scenario, task)}
        before = judge.configs[task].after
        while before is not None and (not scenario or scenario in judge.scenarios_of(before)):
            outputs[before] = self._logits(states, direct, scenario, before)
            before = judge.configs[before].after
        return answers(outputs[task], judge.sizes.labels[task], judge._log_before(outputs, task))

    def _logits(self, states: Tensor, direct: Tensor | None, scenario: str, task: str) -> Tensor:
        judge = self.part.judge
        head = self._heads.get((scenario, task))
        if head is None:
            head = self._heads[scenario, task] = _Head.of(judge, scenario, task)
        own = judge.shared(states, head.beside)
        logits = head(own[head.number if len(own) > 1 else 0])
        return logits if direct is None else logits + direct[:, self.offsets[task] : self.offsets[task] + logits.shape[1]]


@dataclass
class _ItemPieces:
    """known bool (N,): rows of `pieces` (N, U + O) that were worked out."""

    known: np.ndarray
    pieces: Tensor


def _offsets(judge: Judge) -> dict[str, int]:
    """Where the outputs of each task begin among all."""
    found, total = {}, 0
    for task in judge.configs:
        found[task] = total
        total += judge.sizes.labels[task].outputs
    return found


class _PieceEncoder:
    """What the statistics' first matrix and the linear part make of pieces."""

    def __init__(self, judge: Judge, keys: KeyStatistics, tasks: list[str]) -> None:
        encoder = judge.slot.statistics
        assert isinstance(encoder, StatisticsEncoder)
        self.encoder, self.hidden = encoder, encoder.read.out_features
        weight = torch.cat([encoder.read.weight.detach(), *(judge.wide[module_name(task)].detach() for task in tasks)])  # U+O 2S
        self.outputs = len(weight) - self.hidden
        self.bias = torch.cat([encoder.read.bias.detach(), torch.zeros(self.outputs)])
        self.item = self._some(weight, [keys.item])
        self.log = self._some(weight, [*keys.alone, *keys.crossed])
        self.own = self._some(weight, [*keys.same_field, keys.same_item])
        self.whole = self._some(weight, [keys.whole])
        self.people, self.fields = len(keys.alone), len(keys.crossed)

    def _some(self, weight: Tensor, columns: list[np.ndarray]) -> _Columns:
        encoder, count = self.encoder, len(self.encoder.mean)
        place = torch.from_numpy(np.stack(columns)) if columns else torch.zeros(0, 0, dtype=torch.int64)  # G C
        weights = torch.cat([weight.T[place], weight.T[place + count]], dim=1).contiguous()  # G 2C U+O
        return _Columns(encoder.edges[place].contiguous(), encoder.mean[place], encoder.deviation[place], weights)

    def items(self, values: np.ndarray) -> Tensor:
        """(X, U + O) of the items' own columns (X, C)."""
        return self.item.of_one(torch.from_numpy(values))

    def pieces(self, pieces: Pieces) -> tuple[Tensor, Tensor]:
        """(U + O,) of the person, with the bias, and (D + D', U + O) of the rest."""
        fields = len(pieces.owner)
        found = torch.zeros(fields if not len(pieces.own) else len(pieces.own), self.hidden + self.outputs)
        fixed = self.bias
        if len(pieces.told):
            owner = np.concatenate([np.arange(self.people), self.people + pieces.owner])
            told = self.log.of_many(torch.from_numpy(pieces.told), owner)
            fixed = fixed + told[: self.people].sum(dim=0)
            found[:fields] = told[self.people :]
        if len(pieces.own):
            owner = np.concatenate([pieces.owner, np.full(len(pieces.own) - fields, self.fields)])
            found += self.own.of_many(torch.from_numpy(pieces.own), owner)
            fixed = fixed + self.whole.of_one(torch.from_numpy(pieces.whole)[None])[0]
        return fixed, found


@dataclass(frozen=True)
class _Columns:
    """Some columns of the statistics, in G groups of C: edges (G, C, Q), mean and deviation (G, C), weight (G, 2 C, U + O)."""

    edges: Tensor
    mean: Tensor
    deviation: Tensor
    weight: Tensor

    def of_one(self, values: Tensor) -> Tensor:
        """(D, U + O) of values (D, C) of the only group."""
        below = torch.searchsorted(self.edges[0], values.T.contiguous(), out_int32=True).T
        return _ranks(below, self.edges.shape[2], (values - self.mean[0]) / self.deviation[0]) @ self.weight[0]

    def of_many(self, values: Tensor, owner: np.ndarray) -> Tensor:
        """(D, U + O) of values (D, C), each of the group `owner` int64 (D,), ascending."""
        place = torch.from_numpy(owner)
        edges = self.edges[place].flatten(0, 1)  # D*C Q
        below = torch.searchsorted(edges, values.reshape(-1, 1), out_int32=True).view(values.shape)
        ranks = _ranks(below, edges.shape[1], (values - self.mean[place]) / self.deviation[place])
        found = torch.empty(len(values), self.weight.shape[2])
        ends = np.searchsorted(owner, np.arange(len(self.weight) + 1)).tolist()
        for number, weight in enumerate(self.weight):
            begin, end = ends[number], ends[number + 1]
            if end > begin:
                torch.mm(ranks[begin:end], weight, out=found[begin:end])
        return found


def _ranks(below: Tensor, quantiles: int, standard: Tensor) -> Tensor:
    """What `StatisticsEncoder.ranks` gives, at the precision in which the judge keeps them."""
    return torch.cat([below.float() * (2 / quantiles) - 1, standard.clamp_(-6, 6).half().float()], dim=1)


@dataclass(frozen=True)
class _Head:
    """The option of a cell and its task's label vectors as one matrix (W, L + P + A), and what its parts write, (P, L) and (A, L).

    beside: the tasks whose states it is read among, `number` its own place there.
    """

    beside: list[str]
    number: int
    read: Tensor
    bias: Tensor
    values: Tensor
    up: Tensor

    @classmethod
    def of(cls, judge: Judge, scenario: str, task: str) -> _Head:
        option = judge.options.of(f"{scenario}/{task}" if scenario else task)
        keys, values, down, up, own, bias = (part[0].detach() for part in option.size.cut(option.weights))
        vectors = judge.vectors[module_name(task)].detach() + own  # L W
        beside = [task]
        if judge.sharing.way == "attention":
            beside = [one for one in judge.configs if not scenario or scenario in judge.scenarios_of(one)]
        read = torch.cat([vectors, keys, down]).T.contiguous()
        return cls(beside, beside.index(task), read, judge.biases[module_name(task)].detach() + bias, values @ vectors.T, up @ vectors.T)

    def __call__(self, states: Tensor) -> Tensor:
        """(X, L)."""
        outputs, prompts = self.bias.shape[0], len(self.values)
        plain, keys, down = (states @ self.read).split([outputs, prompts, len(self.up)], dim=1)
        logits = plain + self.bias
        if prompts:
            logits = torch.addmm(logits, torch.softmax(keys, dim=1), self.values)
        return torch.addmm(logits, F.relu(down), self.up) if len(self.up) else logits
