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
from m6rec.data.history_statistics import MOST_ACTIONS, MOST_EVENTS, history_statistic_names
from m6rec.data.key_sums import key_sums, smoothed, statistic_columns
from m6rec.data.own_events import OwnEvents, found_in, own_columns
from m6rec.data.statistic_keys import ItemValues
from m6rec.data.statistics import Statistics


@dataclass(frozen=True)
class Pieces:
    """The pieces of a request beside the items' own columns. D pieces are of values of fields, D' of items.

    told   float32 (P + D, C)    of the log: the kinds of keys that are the person's alone, then the fields' values; (0, 0) where nothing is counted
    own    float32 (D + D', C')  of the person's own events: the fields' values, then the items; (., 0) where they are not counted
    whole  float32 (1 + A,)      logarithms of the own events by action, or (0,)
    owner  int64 (D,) ascending: the field of each      place  int64 (X, F + 1): which piece (0 .. D + D' - 1) a candidate has
    """

    told: np.ndarray
    own: np.ndarray
    whole: np.ndarray
    owner: np.ndarray
    place: np.ndarray


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
        if self.statistics is not None:
            self._settle_keys(self.statistics, kinds, of_person)
        whole = [place[name] for name in own if name.startswith("history: ")]
        same = {
            kind: [place[name] for name in own if name.startswith(f"history, same {kind}: ")]
            for kind in ("item", *(field.name for field in self.fields))
        }
        self.item = np.concatenate([np.zeros(0, np.int64), *(columns[kind] for kind in self.item_kinds)]).astype(np.int64)
        self.same_item = np.array(same["item"], dtype=np.int64)
        crossed = [columns.get(f"user and {field.name}", np.zeros(0, np.int64)) for field in self.fields]
        self.alone = [columns[kind] for kind in of_person]
        self.whole = np.array(whole, dtype=np.int64)
        self.crossed, self.same_field = crossed, [np.array(same[field.name], np.int64) for field in self.fields]
        parts = [*self.alone, self.whole, self.item, self.same_item, *self.crossed, *self.same_field]
        placed = np.bincount(np.concatenate(parts), minlength=len(self.names))
        self.strange = [name for name, times in zip(self.names, placed.tolist(), strict=True) if times != 1]  # named alike, in most cases
        self.complete = not self.strange

    def _settle_keys(self, statistics: Statistics, kinds: Sequence[str], of_person: Sequence[str]) -> None:
        """Numbers, first keys and parents of the kinds of keys that pieces are made of."""
        at, keys = {kind: number for number, kind in enumerate(kinds)}, statistics.keys
        self.strengths = np.asarray(statistics.strengths, dtype=np.float32)  # K L
        self.person_numbers = np.array([at[kind] for kind in of_person])
        self.person_bases = [int(keys._bases[number]) for number in self.person_numbers]
        self.person_parents = np.array([of_person.index(keys.kinds[number].parent or "all") for number in self.person_numbers])
        self.person_levels = [np.array([row for row in level if row < len(of_person)], dtype=np.int64) for level in ((1, 2), (3,))]
        self.item_numbers = np.array([at[kind] for kind in self.item_kinds], dtype=np.int64)
        self.windowed = np.isin(self.item_numbers, keys.windowed)
        self.in_scenario = at.get("item in scenario", -1)
        self.field_numbers = [at[field.name] for field in self.fields]
        self._places: dict[tuple[int, int, int], tuple[object, np.ndarray]] = {}
        self.crossed_numbers = np.array([at[f"user and {field.name}"] for field in self.fields], dtype=np.int64)
        self.bases = keys._bases[self.crossed_numbers][:, None] if self.fields else np.zeros((0, 1), np.int64)
        self.counts = np.array([[field.count] for field in self.fields], dtype=np.int64).reshape(-1, 1)

    # ---- pieces

    def of_request(self, user: int, scenario: int, moment: float, events: OwnEvents | None, items: np.ndarray) -> Pieces:
        """user, scenario: -1 unknown; events: what `own_events` gave, None where they are not counted; items int64 (X,)."""
        fields = len(self.fields)
        held = self.combinations(items)  # F X
        used = np.zeros(len(self.combos), dtype=bool)
        used[held] = True
        distinct = np.flatnonzero(used)  # D''
        values, owner = self.combos[distinct], self.owner[distinct]
        something = np.zeros(len(distinct), dtype=bool)
        near, coded = [], np.full(values.shape, -1, np.int64)
        if self.statistics is not None and 0 <= user < self.statistics.keys.users:
            coded = np.where(values >= 0, self.bases[owner] + user * self.counts[owner] + values, -1)
            for part in self.statistics._parts:
                near.append(self._met(part.counts.keys, coded, user))
                something |= (near[-1] >= 0).any(axis=1)
        told = None
        if events is not None:
            told = found_in(events.codes, self.combo_values[distinct])
            something |= told[0].any(axis=1)
        kept = np.flatnonzero(something)
        # One piece more for each field: of the values that the person had nothing to do with.
        owners = np.concatenate([owner[kept], np.arange(fields)])
        order = np.argsort(owners, kind="stable")
        row = np.empty(len(order), dtype=np.int64)
        row[order] = np.arange(len(order))
        where = np.empty(len(self.combos), dtype=np.int64)
        where[distinct] = row[len(kept) :][owner]
        where[distinct[kept]] = row[: len(kept)]
        log = self._of_log(user, scenario, moment, owners[order], [_chosen(part, kept, order, fields) for part in near])
        own, whole, at_item = np.zeros((len(order), 0), np.float32), np.zeros(0, np.float32), np.zeros(len(items), np.int64)
        if events is not None and told is not None:
            hit, at = found_in(events.codes, (self.item_base + items)[:, None])
            hits = np.flatnonzero(hit)
            at_item[hits] = 1 + np.arange(len(hits))
            width = values.shape[1]
            found = np.zeros((len(order) + 1 + len(hits), width), dtype=bool)
            place = np.zeros(found.shape, dtype=np.int64)
            found[row[: len(kept)]], place[row[: len(kept)]] = told[0][kept], told[1][kept]
            found[len(order) + 1 :, 0], place[len(order) + 1 :, 0] = True, at[hits, 0]
            own, whole = own_columns(events, found, place), np.log1p(events.whole)
        return Pieces(log, own, whole, owners[order], np.concatenate([where[held], (len(order) + at_item)[None]]).T)

    def of_items(self, items: np.ndarray, scenario: int, moment: float) -> np.ndarray:
        """float32 (X, C): what is known of the items whoever asks; items int64 (X,)."""
        statistics = self.statistics
        if statistics is None or not len(self.item_numbers):
            return np.zeros((len(items), 0), np.float32)
        pieces = []
        for numbers, days in ((self.item_numbers[self.windowed], True), (self.item_numbers[~self.windowed], False)):
            if not len(numbers):
                continue
            places = [self._item_places(number, numbers, items, scenario) for number in range(len(statistics._parts))]
            sums = key_sums(statistics, places, moment, windows=days)
            # The first row is that of everybody: rates are drawn to it, and told as distances from it.
            strength = np.repeat(self.strengths[[0, *numbers]], [1, *[len(items)] * len(numbers)], axis=0)
            rates = np.empty(strength.shape, np.float32)
            rates[:1] = smoothed(sums.whole[:1], np.float32(0.5), 2.0)
            own = slice(1, 1 + len(items)) if days else slice(1, None)
            rates[own] = smoothed(sums.whole[own], rates[:1], strength[own])
            if days and len(numbers) > 1:  # an item in a scenario is drawn to the item
                rates[own.stop :] = smoothed(sums.whole[own.stop :], rates[own], strength[own.stop :])
            found = statistic_columns(statistics, sums, rates, strength, moment, windows=days)[1:]
            pieces.append(found.reshape(len(numbers), len(items), -1).transpose(1, 0, 2).reshape(len(items), -1))
        return np.concatenate(pieces, axis=1)

    def _item_places(self, part: int, numbers: np.ndarray, items: np.ndarray, scenario: int) -> np.ndarray:
        """int64 (1 + K * X, V): places of the key of all rows, and of the keys of some of the items' own kinds, in a part of the log.

        A key's place does not change with the moment: it is looked up once for every item.
        """
        assert self.statistics is not None
        tables = []
        for number in numbers.tolist():
            key = (part, number, scenario if number == self.in_scenario else -1)
            table = self._places.get(key)
            if table is None or table[0] is not self.statistics._parts[part]:
                table = self._places[key] = (self.statistics._parts[part], self._places_of(part, number, scenario))
            tables.append(table[1])
        size = len(tables[0])
        if len(items) and items.max() >= size:
            inside = items < size
            rows = [np.where(inside[:, None], table[np.minimum(items, size - 1)], -1) for table in tables]
        else:
            rows = [table[items] for table in tables]
        width = max(row.shape[1] for row in rows)
        found = np.full((1 + len(numbers) * len(items), width), -1, dtype=np.int64)
        found[0, 0] = self.statistics._parts[part].counts.find(np.zeros(1, np.int64))[0]
        for number, row in enumerate(rows):
            found[1 + number * len(items) : 1 + (number + 1) * len(items), : row.shape[1]] = row
        return found

    def _places_of(self, part: int, number: int, scenario: int) -> np.ndarray:
        """int64 (N', V): of one kind of key, for all items that there were when the statistics were made, and those of the log."""
        assert self.statistics is not None
        counts, keys = self.statistics._parts[part].counts, self.statistics.keys
        base = int(keys._bases[number])
        if number in self.field_numbers:
            codes = self.fields[self.field_numbers.index(number)].codes.astype(np.int64)
            return counts.find(np.where(codes >= 0, codes + base, -1))
        size = max(self.tuples.shape[1], 1 + int(self.statistics.log.items.max(initial=-1)))
        items = np.arange(size, dtype=np.int64)
        if number != self.in_scenario:
            return counts.find(base + items)[:, None]
        known = 0 <= scenario < keys.scenarios
        return counts.find(base + items * keys.scenarios + scenario if known else np.full(size, -1, np.int64))[:, None]

    def own_events(self, history: Histories) -> OwnEvents | None:
        """Of a one-row history up to the moment of asking; None where own events are not counted."""
        if not self.own:
            return None
        newest = history.items[-MOST_EVENTS:].astype(np.int64)
        length = len(newest)
        held = self.combinations(newest) if len(self.fields) else np.zeros((0, length), np.int64)
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
        return OwnEvents(codes, counts, last, whole, length)

    # ---- inside

    def _of_log(self, user: int, scenario: int, moment: float, owner: np.ndarray, near: list[np.ndarray]) -> np.ndarray:
        """`Pieces.told`; near: places (D, V) of the pieces' keys in each part of the log, -1 for none, [] where the person is unknown."""
        statistics = self.statistics
        if statistics is None:
            return np.zeros((0, 0), np.float32)
        width = self.combos.shape[1]
        alone = np.full((len(self.person_numbers), width), -1, dtype=np.int64)
        alone[:, 0] = self._person_keys(user, scenario)
        places = []
        for number, part in enumerate(statistics._parts):
            rest = near[number] if near else np.full((len(owner), width), -1, np.int64)
            places.append(np.concatenate([part.counts.find(alone), rest]))
        sums = key_sums(statistics, places, moment)
        strength = np.concatenate([self.strengths[self.person_numbers], self.strengths[self.crossed_numbers[owner]]])  # P+D L
        rates: np.ndarray = np.empty(strength.shape, np.float32)
        rates[0] = smoothed(sums.whole[0], np.float32(0.5), 2.0)
        for level in self.person_levels:  # parents before their children
            rates[level] = smoothed(sums.whole[level], rates[self.person_parents[level]], strength[level])
        people = len(alone)
        rates[people:] = smoothed(sums.whole[people:], rates[1], strength[people:])
        found = statistic_columns(statistics, sums, rates, strength, moment, windows=True)
        found[0, 1 : 1 + rates.shape[1]] = statistics._levels(rates[0])  # of all rows the rate itself, of others the distance from it
        return found

    def _person_keys(self, user: int, scenario: int) -> list[int]:
        """Keys of all rows, of the user, and where there are scenarios of the scenario and the user in it; -1 for none."""
        assert self.statistics is not None
        keys = self.statistics.keys
        user = user if 0 <= user < keys.users else -1
        codes = [0, user]
        if len(self.person_numbers) > 2:
            codes += [scenario, user * keys.scenarios + scenario if min(user, scenario) >= 0 and scenario < keys.scenarios else -1]
        return [-1 if code < 0 else code + base for code, base in zip(codes, self.person_bases, strict=True)]

    def combinations(self, items: np.ndarray) -> np.ndarray:
        """int (F, X): the combination of values that each of `items` int64 (X,) has in each field."""
        size = self.tuples.shape[1]
        if not len(self.fields) or not len(items) or items.max() < size:
            return self.tuples[:, items] if len(self.fields) else np.zeros((0, len(items)), np.int64)
        return np.where(items < size, self.tuples[:, np.minimum(items, max(size - 1, 0))], np.array(self.nothing)[:, None])

    def _met(self, keys: np.ndarray, coded: np.ndarray, user: int) -> np.ndarray:
        """Places of `coded` (D, V) among the keys of (user, value of a field), a few short stretches of all `keys`; -1 for none."""
        edges = np.searchsorted(
            keys, np.concatenate([self.bases[:, 0] + user * self.counts[:, 0], self.bases[:, 0] + (user + 1) * self.counts[:, 0]])
        )
        spans = [np.arange(begin, end) for begin, end in edges.reshape(2, -1).T.tolist()]
        places = np.concatenate(spans) if spans else np.zeros(0, np.int64)
        found, at = found_in(keys[places], coded)
        return np.where(found, places[at], -1) if len(places) else np.full(coded.shape, -1, np.int64)


def _chosen(places: np.ndarray, kept: np.ndarray, order: np.ndarray, fields: int) -> np.ndarray:
    """The rows `kept` of (D, V), with an empty one for each field, in `order`."""
    return np.concatenate([places[kept], np.full((fields, places.shape[1]), -1, np.int64)])[order]
