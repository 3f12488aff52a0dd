"""The statistics of one person's candidates at one moment, key by key: a candidate's row is put together of few distinct pieces.

`Statistics.read` and `history_statistics` give a row of S numbers to each of X candidates. Asked for one person at one moment, most of these
numbers are the same for many candidates: those of the person alone, those of a field's value. Here each piece is worked out once; the pieces side by
side are the rows of the other two, number by number (a test compares them).

Pieces: the person (one for the request), the item (its own columns), and for every field of the items the person's dealings with its
value, "nothing yet" being one piece for each field.

Shapes: X candidates, F fields, V values a field of an item may have, D pieces, C columns of a piece, L labels, A actions, E newest events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Histories
from m6rec.data.history_statistics import MOST_ACTIONS, MOST_EVENTS, NEVER, history_statistic_names
from m6rec.data.statistic_keys import ItemValues
from m6rec.data.statistics import DAY, Statistics


@dataclass(frozen=True)
class Pieces:
    """Pieces of one kind: values float32 (D, C), and which of them a candidate has, int64 (X,)."""

    values: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Person:
    """What is worked out once for a request.

    values  float32 (C,)
    rates   (2, L) of the person, and of everybody
    near    for every part of the log: places of the keys of (person, value of a field) that there are, and these keys, ascending
    events  the person's own newest events, by value
    """

    values: np.ndarray
    rates: np.ndarray
    near: list[tuple[np.ndarray, np.ndarray]]
    events: _Events | None


@dataclass(frozen=True)
class _Events:
    """Counts of the newest events by value: codes int64 (G,) ascending, counts float32 (G, 1 + A), last int64 (G,), whole (1 + A,), length E."""

    codes: np.ndarray
    counts: np.ndarray
    last: np.ndarray
    whole: np.ndarray
    length: int


class KeyStatistics:
    """Pieces of the statistics; `columns` says where each piece's columns stand in a whole row.

    statistics  of the log, None where nothing is counted      values, actions  as for `history_statistics`, values None: no own history
    """

    def __init__(self, statistics: Statistics | None, values: Sequence[ItemValues] | None, actions: Sequence[str]) -> None:
        self.statistics, self.own = statistics, values is not None
        self.fields: list[ItemValues] = list(values) if values is not None else [] if statistics is None else list(statistics.keys.values)
        self.apart = min(len(actions), MOST_ACTIONS) if self.own and len(actions) > 1 else 0
        names = [] if statistics is None else list(statistics.names)
        own = history_statistic_names(self.fields, actions) if self.own else []
        self.names = names + own
        self._number_values()
        self._settle_columns(names, own)

    # ---- where things stand

    def _number_values(self) -> None:
        """Number the different combinations of values that items have in each field: (F, N), and what each consists of, (T, V)."""
        width = max((field.codes.shape[1] for field in self.fields), default=1)
        tuples, combos, owner, self.nothing = [], [], [], []
        first = value = 0
        self.value_bases = []
        for number, field in enumerate(self.fields):
            codes = np.pad(field.codes.astype(np.int64), ((0, 0), (0, width - field.codes.shape[1])), constant_values=-1)
            distinct, place = np.unique(np.concatenate([np.full((1, width), -1), codes]), axis=0, return_inverse=True)
            place = place.ravel()
            self.nothing.append(first + int(place[0]))  # of an item that came later: no value
            tuples.append((first + place[1:]).astype(np.int32))
            combos.append(distinct)
            owner.append(np.full(len(distinct), number))
            self.value_bases.append(value)
            first, value = first + len(distinct), value + field.count
        self.tuples = np.stack(tuples) if tuples else np.zeros((0, 0), np.int32)  # F N
        self.combos = np.concatenate(combos) if combos else np.zeros((0, width), np.int64)  # T V
        self.owner = np.concatenate(owner) if owner else np.zeros(0, np.int64)  # T
        self.item_base = value  # in the person's own events, items stand behind all values
        bases = np.array(self.value_bases, dtype=np.int64)
        self.combo_values = np.where(self.combos >= 0, self.combos + (bases[self.owner][:, None] if len(bases) else 0), -1)

    def _settle_columns(self, names: list[str], own: list[str]) -> None:
        place = {name: number for number, name in enumerate(self.names)}
        kinds = [kind.name for kind in self.statistics.keys.kinds] if self.statistics is not None else []
        columns = {kind: np.array([place[name] for name in names if name.partition(": ")[0] == kind], dtype=np.int64) for kind in kinds}
        of_person = [kind for kind in ("all", "user", "scenario", "user in scenario") if kind in columns]
        self.item_kinds = [kind for kind in ("item", "item in scenario", *(field.name for field in self.fields)) if kind in columns]
        self.person_kinds = of_person
        whole = [place[name] for name in own if name.startswith("history: ")]
        same = {
            kind: [place[name] for name in own if name.startswith(f"history, same {kind}: ")]
            for kind in ("item", *(field.name for field in self.fields))
        }
        self.person = np.concatenate([*(columns[kind] for kind in of_person), np.array(whole, np.int64)]).astype(np.int64)
        self.item = np.concatenate([np.zeros(0, np.int64), *(columns[kind] for kind in self.item_kinds)]).astype(np.int64)
        self.same_item = np.array(same["item"], dtype=np.int64)
        crossed = [columns.get(f"user and {field.name}", np.zeros(0, np.int64)) for field in self.fields]
        self.crossed = [np.concatenate([c, np.array(same[f.name], np.int64)]) for c, f in zip(crossed, self.fields, strict=True)]
        parts = [self.person, self.item, self.same_item, *self.crossed]
        self.complete = sorted(np.concatenate(parts).tolist()) == list(range(len(self.names)))

    # ---- pieces

    def of_person(self, user: int, scenario: int, moment: float, events: Histories) -> Person:
        """events: the one-row history up to the moment of asking; user, scenario: -1 unknown."""
        values: list[np.ndarray] = []
        rates = everybody = np.zeros(0, np.float32)
        near: list[tuple[np.ndarray, np.ndarray]] = []
        if self.statistics is not None:
            keys = self.statistics.keys
            at = {kind.name: number for number, kind in enumerate(keys.kinds)}
            numbers = np.array([at[kind] for kind in self.person_kinds])
            coded = keys.keys(np.array([user]), np.array([-1]), np.array([scenario]))[numbers][:, 0, :1]  # 2 or 4, 1
            sums = _sums(self.statistics, coded, moment)
            everybody = _smoothed(sums.whole[0], np.float32(0.5), 2.0)
            known = {"all": everybody}
            rows = []
            for row, kind in enumerate(self.person_kinds):
                parent = keys.kinds[at[kind]].parent
                if parent:
                    known[kind] = _smoothed(sums.whole[row], known[parent], self.statistics.smoothing)
                rows.append(known[kind])
            found = _columns(self.statistics, sums, np.stack(rows), everybody, moment, windows=True)
            levels = self.statistics._levels(everybody)
            found[0, 1 : 1 + len(levels)] = levels  # of all rows the rate itself is told, of others the distance from it
            values, rates = [found.ravel()], known["user"]
            near = [self._met(part.counts.keys, user) for part in self.statistics._parts]
        own = self._events(events) if self.own else None
        if own is not None:
            values.append(np.log1p(own.whole))
        return Person(np.concatenate(values) if values else np.zeros(0, np.float32), np.stack([rates, everybody]), near, own)

    def of_items(self, items: np.ndarray, scenario: int, moment: float) -> np.ndarray:
        """float32 (X, C): what is known of the items whoever asks; items int64 (X,)."""
        if self.statistics is None or not self.item_kinds:
            return np.zeros((len(items), 0), np.float32)
        keys = self.statistics.keys
        at = {kind.name: number for number, kind in enumerate(keys.kinds)}
        numbers = np.array([0, *(at[kind] for kind in self.item_kinds)])
        scenarios = np.full(len(items), scenario)
        coded = keys.keys(np.full(len(items), -1), items, scenarios)[numbers]  # 1+K X V
        asked = np.concatenate([coded[0, :1], coded[1:].reshape(-1, coded.shape[2])])  # everybody is asked for once
        sums = _sums(self.statistics, asked, moment)
        everybody = _smoothed(sums.whole[0], np.float32(0.5), 2.0)
        pieces: list[np.ndarray] = []
        known: dict[str, np.ndarray] = {"all": np.broadcast_to(everybody, (len(items), len(everybody)))}
        windowed = {keys.kinds[number].name for number in keys.windowed}
        for row, kind in enumerate(self.item_kinds):
            rows = slice(1 + row * len(items), 1 + (row + 1) * len(items))
            some = KeySums(sums.whole[rows], [part[rows] for part in sums.inside], sums.newest[rows])
            known[kind] = _smoothed(some.whole, known[keys.kinds[at[kind]].parent], self.statistics.smoothing)
            pieces.append(_columns(self.statistics, some, known[kind], everybody, moment, windows=kind in windowed))
        return np.concatenate(pieces, axis=1)

    def of_fields(self, person: Person, user: int, items: np.ndarray, moment: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The person's dealings with the values that the items have: values float32 (D, C), field of each int64 (D,) ascending, place int64 (X, F)."""
        fields = len(self.fields)
        if not fields:
            return np.zeros((0, 0), np.float32), np.zeros(0, np.int64), np.zeros((len(items), 0), np.int64)
        held = self._combos_of(items)  # F X
        used = np.zeros(len(self.combos), dtype=bool)
        used[held] = True
        distinct = np.flatnonzero(used)  # D'
        values, owner = self.combos[distinct], self.owner[distinct]
        coded = np.full(values.shape, -1, np.int64)
        something = np.zeros(len(distinct), dtype=bool)
        if self.statistics is not None and 0 <= user < self.statistics.keys.users:
            bases, counts = self._crossed_bases()
            coded = np.where(values >= 0, bases[owner][:, None] + user * counts[owner][:, None] + values, -1)
            for _, keys in person.near:
                something |= _found(keys, coded)[0].any(axis=1)
        told = None
        if person.events is not None:
            told = _found(person.events.codes, self.combo_values[distinct])
            something |= told[0].any(axis=1)
        kept = np.flatnonzero(something)
        owners = np.concatenate([owner[kept], np.arange(fields)])
        order = np.argsort(owners, kind="stable")
        row = np.empty(len(order), dtype=np.int64)
        row[order] = np.arange(len(order))
        where = np.empty(len(self.combos), dtype=np.int64)
        where[distinct] = row[len(kept) :][owner]
        where[distinct[kept]] = row[: len(kept)]
        pieces = []
        if self.statistics is not None:
            asked = np.concatenate([coded[kept], np.full((fields, coded.shape[1]), -1)])
            sums = _sums(self.statistics, asked, moment, person.near)
            rates = _smoothed(sums.whole, person.rates[0], self.statistics.smoothing)
            pieces.append(_columns(self.statistics, sums, rates, person.rates[1], moment, windows=True))
        if person.events is not None and told is not None:
            mine = tuple(np.concatenate([part[kept], np.zeros((fields, part.shape[1]), part.dtype)]) for part in told)
            pieces.append(_own(person.events, *mine))
        return np.concatenate(pieces, axis=1)[order], owners[order], where[held].T

    def of_same_item(self, person: Person, items: np.ndarray) -> Pieces:
        """The person's own events with the very item."""
        if person.events is None:
            return Pieces(np.zeros((1, 0), np.float32), np.zeros(len(items), np.int64))
        found, at = _found(person.events.codes, (self.item_base + items)[:, None])
        hits = np.flatnonzero(found[:, 0])
        rows = tuple(np.concatenate([np.zeros((1, 1), part.dtype), part[hits]]) for part in (found, at))
        place = np.zeros(len(items), dtype=np.int64)
        place[hits] = 1 + np.arange(len(hits))
        return Pieces(_own(person.events, *rows), place)

    # ---- inside

    def _combos_of(self, items: np.ndarray) -> np.ndarray:
        """int (F, X)."""
        size = self.tuples.shape[1]
        if not len(items) or items.max() < size:
            return self.tuples[:, items]
        return np.where(items < size, self.tuples[:, np.minimum(items, max(size - 1, 0))], np.array(self.nothing)[:, None])

    def _crossed_bases(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 (F,): where the keys of (user, value) begin for each field, and how many values it has."""
        assert self.statistics is not None
        keys = self.statistics.keys
        at = {kind.name: number for number, kind in enumerate(keys.kinds)}
        bases = np.array([keys._bases[at[f"user and {field.name}"]] for field in self.fields], dtype=np.int64)
        return bases, np.array([field.count for field in self.fields], dtype=np.int64)

    def _met(self, keys: np.ndarray, user: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of the keys of (user, value of a field) that there are, and these keys, ascending."""
        assert self.statistics is not None
        if not self.fields or not 0 <= user < self.statistics.keys.users:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        bases, counts = self._crossed_bases()
        edges = np.searchsorted(keys, np.concatenate([bases + user * counts, bases + (user + 1) * counts]))
        spans = [np.arange(begin, end) for begin, end in edges.reshape(2, -1).T]
        places = np.concatenate(spans)
        return places, keys[places]

    def _events(self, history: Histories) -> _Events:
        newest = history.items[-MOST_EVENTS:].astype(np.int64)
        length = len(newest)
        held = self._combos_of(newest) if len(self.fields) else np.zeros((0, length), np.int64)
        coded = self.combo_values[held].transpose(1, 0, 2).reshape(length, held.shape[0] * self.combo_values.shape[1])
        coded = np.concatenate([coded, (self.item_base + newest)[:, None]], axis=1)  # E F*V+1
        event = np.repeat(np.arange(length), coded.shape[1])
        known = np.flatnonzero(coded.ravel() >= 0)
        codes, number = np.unique(coded.ravel()[known], return_inverse=True)
        event, width = event[known], 1 + self.apart
        cells = number * width
        columns = [cells]
        whole = np.zeros(width, np.float32)
        whole[0] = length
        if self.apart:
            assert history.actions is not None
            actions = history.actions[-MOST_EVENTS:].astype(np.int64)
            counted = actions[event] < self.apart
            columns.append((cells + 1 + actions[event])[counted])
            whole[1:] = np.bincount(actions, minlength=self.apart)[: self.apart]
        counts = np.bincount(np.concatenate(columns), minlength=len(codes) * width).reshape(len(codes), width).astype(np.float32)
        last = np.zeros(len(codes), dtype=np.int64)
        last[number] = event  # in order: the newest stays
        return _Events(codes, counts, last, whole, length)


@dataclass(frozen=True)
class KeySums:
    """Of Q keys, as of one moment: whole (Q, 1 + 2 L), the same inside each window, newest moment float64 (Q,)."""

    whole: np.ndarray
    inside: list[np.ndarray]
    newest: np.ndarray


def _sums(statistics: Statistics, coded: np.ndarray, moment: float, near: list[tuple[np.ndarray, np.ndarray]] | None = None) -> KeySums:
    """coded int64 (Q, V), values of one row added up; near: where to look for them in each part of the log, None: everywhere."""
    moment = -np.inf if np.isnan(moment) else moment
    total: KeySums | None = None
    for number, part in enumerate(statistics._parts):
        counts = part.counts
        if near is None:
            numbers = counts.find(coded)
        else:
            found, at = _found(near[number][1], coded)
            numbers = np.where(found, near[number][0][at] if len(near[number][0]) else -1, -1)
        asked = np.full(numbers.shape, np.searchsorted(part.moments, moment))
        ends = counts.ends(numbers, asked)
        whole = counts.until(numbers, ends)
        inside = []
        for days in statistics.windows:
            first = np.full(numbers.shape, np.searchsorted(part.moments, moment - days * DAY))
            inside.append(whole - counts.until(numbers, counts.ends(numbers, first)))
        last = counts.last(numbers, ends).max(axis=1)
        newest = np.where(last >= 0, part.moments[np.maximum(last, 0)] if len(part.moments) else 0.0, -np.inf)
        spread = [part._spread(one.sum(axis=1) if one.shape[1] > 1 else one[:, 0]) for one in (whole, *inside)]
        some = KeySums(spread[0], spread[1:], newest)
        total = (
            some
            if total is None
            else KeySums(
                total.whole + some.whole,
                [a + b for a, b in zip(total.inside, some.inside, strict=True)],
                np.maximum(total.newest, some.newest),
            )
        )
    assert total is not None
    return total


def _smoothed(sums: np.ndarray, prior: np.ndarray | np.float32, weight: float) -> np.ndarray:
    """Rates (..., L) of sums (..., 1 + 2 L), drawn to `prior`."""
    labels = (sums.shape[-1] - 1) // 2
    return np.asarray((sums[..., 1 + labels :] + weight * prior) / (sums[..., 1 : 1 + labels] + weight), dtype=np.float32)


def _columns(statistics: Statistics, sums: KeySums, rates: np.ndarray, everybody: np.ndarray, moment: float, *, windows: bool) -> np.ndarray:
    """float32 (Q, C), in the order of the names: the whole, each window, how long ago."""
    levels = statistics._levels(everybody)
    parts = [np.log1p(sums.whole[:, :1]), statistics._levels(rates) - levels]
    for counted in sums.inside if windows else ():
        recent = _smoothed(counted, rates, statistics.smoothing)
        parts += [np.log1p(counted[:, :1]), statistics._levels(recent) - levels]
    if statistics.timed:
        moment = -np.inf if np.isnan(moment) else moment
        with np.errstate(invalid="ignore"):
            gaps = np.minimum(np.nan_to_num(moment - sums.newest, nan=np.inf), 365 * DAY)
        parts.append(np.log1p(np.maximum(gaps, 0.0) / 60)[:, None])
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _found(codes: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of `asked` (Q, V) stand in the ascending `codes`, and where."""
    if not len(codes):
        return np.zeros(asked.shape, bool), np.zeros(asked.shape, np.int64)
    at = np.minimum(np.searchsorted(codes, asked), len(codes) - 1)
    return codes[at] == asked, at


def _own(events: _Events, found: np.ndarray, at: np.ndarray) -> np.ndarray:
    """float32 (Q, 3 + A): logarithms of counts, share of the history, logarithm of how many events ago; found, at (Q, V)."""
    if not len(events.codes):
        total, last = np.zeros((len(found), len(events.whole)), np.float32), np.full(len(found), -1)
    else:
        total = (events.counts[at] * found[..., None]).sum(axis=1)
        last = np.where(found, events.last[at], -1).max(axis=1)
    ago = np.where(last >= 0, events.length - last, NEVER)
    share = total[:, :1] / np.maximum(events.whole[:1], 1)
    return np.concatenate([np.log1p(total), share, np.log1p(ago)[:, None]], axis=1, dtype=np.float32)
