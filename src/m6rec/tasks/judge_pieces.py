"""Statistics of a request's candidates as the judge reads them: pieces pass the first matrix of the encoder, and the linear part, once each.

Both are linear in what the encoder makes of a single statistic, so what they make of a row is the sum over its pieces.

Shapes: X candidates, U hidden width of the statistics' encoder, O outputs of all tasks, D pieces, C columns of a piece, G groups of columns, Q quantiles.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch

from m6rec.data.own_events import OwnEvents, found_in
from m6rec.data.statistics_by_key import KeyStatistics, Pieces
from m6rec.language_model.upper_arrays import array_of
from m6rec.tasks.judge import Judge
from m6rec.tasks.judge_part import JudgeInputs
from m6rec.tasks.judge_slot import StatisticsEncoder
from m6rec.tasks.options import module_name
from m6rec.tasks.state_cache import BytesCache

KEPT_BYTES = 64_000_000  # of what is kept of items, for all (scenario, moment) together
PEOPLE_BYTES = 32_000_000  # of what is kept of people, for all (scenario, moment) together
MOST_ROWS = 2_000  # of one person, who is begun anew then
SWEPT, MORE = 20_000, 400  # catalogues that are worked out whole, items beyond those asked for in one request
MOST_ONCE = 64  # (scenario, moment) that were asked for once


class JudgePieces:
    """What the statistics' first matrix and the linear part make of pieces; those of items and people are kept for each (scenario, moment)."""

    def __init__(self, judge: Judge, inputs: JudgeInputs) -> None:
        encoder = judge.slot.statistics
        assert isinstance(encoder, StatisticsEncoder)
        keys = self.keys = KeyStatistics(inputs.statistics, inputs.values, inputs.actions)
        weights = [encoder.read.weight.detach(), *(judge.wide[module_name(task)].detach() for task in judge.configs)]
        weight = array_of(torch.cat(weights)).T  # 2S U+O
        self.width = weight.shape[1]
        self.bias = np.zeros(self.width, np.float32)
        self.bias[: encoder.read.out_features] = array_of(encoder.read.bias)
        if keys.complete:
            self.item = _Columns.of(encoder, weight, [keys.item])
            self.log = _Columns.of(encoder, weight, [*keys.alone, *keys.crossed])
            self.own = _Columns.of(encoder, weight, [*keys.same_field, keys.same_item])
            self.whole = _Columns.of(encoder, weight, [keys.whole])
        self.people, self.fields = len(keys.alone), len(keys.crossed)
        self._items: OrderedDict[tuple[int, float, int], _ItemPieces] = OrderedDict()
        self._once: OrderedDict[tuple[int, float, int], None] = OrderedDict()
        self._people = BytesCache[_PersonPieces](PEOPLE_BYTES)
        self._lock = Lock()

    def told(self, user: int, scenario: int, moment: float, events: OwnEvents | None, items: np.ndarray, count: int) -> np.ndarray:
        """(X, U + O) of the candidates `items` int64 (X,) out of a catalogue of `count`."""
        total = self._of_items(scenario, moment, items, count)
        held = self.keys.combinations(items)  # F X
        key = None if user < 0 else np.array([user, scenario, self.rows, moment], np.float64).tobytes()
        person = None if key is None else self._people.get(key)
        if person is None or person.events is not events or person.lacks(held, items):
            pieces = self.keys.of_request(user, scenario, moment, events, items)
            fixed, found = self._pieces(pieces)
            # Which pieces each candidate has, as ones in a matrix: a product adds them up faster than as many look-ups.
            chosen = np.zeros((len(items), len(found)), np.float32)
            chosen[np.arange(len(items))[:, None], pieces.place] = 1
            total += chosen @ found
            total += fixed
            if key is not None:
                known = person if person is not None and person.events is events and len(person.rows) < MOST_ROWS else None
                if known is None or known.lacks_values(held):
                    person = _PersonPieces.of(events, self.keys, held, pieces, fixed, found, known)
                    self._people.put(key, person, person.bytes)
            return total
        for places in person.place[held]:
            total += person.rows[places]
        total += person.fixed
        return total

    def forget(self) -> None:
        """Drop what was worked out for people."""
        self._people.clear()

    def report(self) -> dict[str, float]:
        """Hits, misses and size of what is kept of people."""
        return self._people.report()

    @property
    def rows(self) -> int:
        """Rows of the log that is counted."""
        return 0 if self.keys.statistics is None else self.keys.statistics.rows

    def _pieces(self, pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
        """(U + O,) of the person, with the bias, and (D + D', U + O) of the rest."""
        fields = len(pieces.owner)
        fixed, found = self.bias, np.zeros((1 + int(pieces.place.max(initial=0)), self.width), np.float32)
        if len(pieces.told):
            told = self.log.of_many(pieces.told, np.concatenate([np.arange(self.people), self.people + pieces.owner]))
            fixed = fixed + told[: self.people].sum(axis=0)
            found[:fields] = told[self.people :]
        if len(pieces.own):
            own = self.own.of_many(pieces.own, np.concatenate([pieces.owner, np.full(len(pieces.own) - fields, self.fields)]))
            found[: len(own)] += own[: len(found)]
            fixed = fixed + self.whole.of_one(pieces.whole[None])[0]
        return fixed, found

    def _of_items(self, scenario: int, moment: float, items: np.ndarray, count: int) -> np.ndarray:
        """(X, U + O): pieces of the items, those of an earlier request at this moment looked up."""
        with self._lock:
            kept = self._kept((scenario, moment, self.rows), count)
        if kept is None:
            return self.item.of_one(self.keys.of_items(items, scenario, moment))
        missing = items[~kept.known[items]]
        if len(missing):
            if (
                count <= SWEPT
            ):  # with those asked for some more: the catalogue is worked out in a few requests, none of which waits for all of it
                missing = np.concatenate([missing, np.flatnonzero(~kept.known)[:MORE]])
            missing = np.unique(missing)
            kept.pieces[missing] = self.item.of_one(self.keys.of_items(missing, scenario, moment))
            kept.known[missing] = True  # after the row is there: another thread may be looking
        return kept.pieces[items]

    def _kept(self, key: tuple[int, float, int], count: int) -> _ItemPieces | None:
        """The pieces kept for a (scenario, moment, rows counted); None the first time: who says the time with each request never comes back."""
        kept = self._items.get(key)
        if kept is None or len(kept.known) < count:
            if key not in self._once:
                self._once[key] = None
                while len(self._once) > MOST_ONCE:
                    self._once.popitem(last=False)
                return None
            kept = self._items[key] = _ItemPieces(np.zeros(count, bool), np.empty((count, self.width), np.float32))
            while len(self._items) > max(1, KEPT_BYTES // max(kept.pieces.nbytes, 1)):
                self._items.popitem(last=False)
        self._items.move_to_end(key)
        return kept


@dataclass
class _ItemPieces:
    """known bool (N,): rows of `pieces` (N, U + O) that were worked out."""

    known: np.ndarray
    pieces: np.ndarray


@dataclass(frozen=True)
class _PersonPieces:
    """What a person adds to candidates at a moment, as far as it was worked out; candidates that they had themselves are not among these.

    fixed  (U + O,) to every candidate      rows  (R, U + O) of values of fields
    place  int32 (T,): the row of each combination of values, -1 for one that was not worked out      own  int64 ascending: items of `events`
    """

    events: OwnEvents | None
    fixed: np.ndarray
    rows: np.ndarray
    place: np.ndarray
    own: np.ndarray

    @classmethod
    def of(
        cls,
        events: OwnEvents | None,
        keys: KeyStatistics,
        held: np.ndarray,
        pieces: Pieces,
        fixed: np.ndarray,
        found: np.ndarray,
        known: _PersonPieces | None,
    ) -> _PersonPieces:
        """Out of the pieces of candidates with values `held` (F, X), added to what was `known`."""
        fields = len(pieces.owner)
        own = np.zeros(0, np.int64) if events is None else events.codes[events.codes >= keys.item_base] - keys.item_base
        place = np.full(len(keys.combos), -1, np.int32) if known is None else known.place.copy()
        first = 0 if known is None else len(known.rows)
        place[held] = first + pieces.place[:, : len(held)].T
        rows = found[:fields] if known is None else np.concatenate([known.rows, found[:fields]])
        # Behind the rows of values stands what all items add that the person never had.
        nothing = found[fields] if len(found) > fields else np.zeros_like(fixed)
        return cls(events, fixed + nothing, rows, place, own)

    @property
    def bytes(self) -> int:
        return self.rows.nbytes + self.place.nbytes + self.fixed.nbytes + self.own.nbytes

    def lacks(self, held: np.ndarray, items: np.ndarray) -> bool:
        """Whether candidates `items` (X,) with values `held` (F, X) need what was not worked out."""
        return self.lacks_values(held) or (len(self.own) > 0 and bool(found_in(self.own, items)[0].any()))

    def lacks_values(self, held: np.ndarray) -> bool:
        """Whether some of the combinations `held` (F, X) were not worked out."""
        return bool((self.place[held] < 0).any())


@dataclass(frozen=True)
class _Columns:
    """Some columns of the statistics, in G groups of C: edges (G, C, Q), mean and deviation (G, C), weight (G, 2 C, U + O)."""

    edges: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, encoder: StatisticsEncoder, weight: np.ndarray, columns: list[np.ndarray]) -> _Columns:
        """weight (2 S, U + O); columns: of each group, equally many."""
        place, count = np.stack(columns) if columns else np.zeros((0, 0), np.int64), len(encoder.mean)
        edges, mean, deviation = (array_of(part)[place] for part in (encoder.edges, encoder.mean, encoder.deviation))
        return cls(edges, mean, deviation, np.concatenate([weight[place], weight[place + count]], axis=1))

    def of_one(self, values: np.ndarray) -> np.ndarray:
        """(D, U + O) of values (D, C) of the only group."""
        asked = torch.from_numpy(np.ascontiguousarray(values.T))
        below = torch.searchsorted(torch.from_numpy(self.edges[0]), asked, out_int32=True).numpy().T
        return np.asarray(self._ranks(below, values, self.mean[0], self.deviation[0]) @ self.weight[0])

    def of_many(self, values: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """(D, U + O) of values (D, C), each of the group `owner` int64 (D,), ascending."""
        edges = torch.from_numpy(self.edges[owner].reshape(-1, self.edges.shape[2]))  # D*C Q
        below = torch.searchsorted(edges, torch.from_numpy(values.reshape(-1, 1)), out_int32=True).numpy().reshape(values.shape)
        ranks = self._ranks(below, values, self.mean[owner], self.deviation[owner])
        found = np.empty((len(values), self.weight.shape[2]), np.float32)
        ends = np.searchsorted(owner, np.arange(len(self.weight) + 1)).tolist()
        for number, weight in enumerate(self.weight):
            begin, end = ends[number], ends[number + 1]
            if end > begin:
                np.matmul(ranks[begin:end], weight, out=found[begin:end])
        return found

    def _ranks(self, below: np.ndarray, values: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """(D, 2 C): what `StatisticsEncoder.ranks` gives, at the precision in which the judge keeps them."""
        count = values.shape[1]
        found = np.empty((len(values), 2 * count), np.float32)
        np.multiply(below, np.float32(2 / self.edges.shape[2]), out=found[:, :count], casting="unsafe")
        found[:, :count] -= 1
        standard = np.minimum(np.maximum((values - mean) / deviation, -6), 6)
        found[:, count:] = standard.astype(np.float16)
        return found
