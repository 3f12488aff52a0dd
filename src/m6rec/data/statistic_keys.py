"""What statistics are kept of: users, items, scenarios, values of item fields, and pairs of them, each as one integer key.

Shapes: N items, X rows asked about, K kinds of keys, V values of a kind that one row may have (tags have several).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data.dataset import FieldType, Table

MOST_TAGS = 4  # of an item that are counted; the first ones
NUMBER_BUCKETS = 10


@dataclass(frozen=True)
class ItemValues:
    """Codes of one field of the items: codes int32 (N, V), -1 for no (further) value; `count` different values."""

    name: str
    codes: np.ndarray
    count: int


@dataclass(frozen=True)
class KeyKind:
    """One kind of key. parent: the kind whose rate an estimate with little to go on is drawn to; '' for the rate of all rows."""

    name: str
    parent: str


def item_values(items: Table) -> list[ItemValues]:
    """The fields of the items that say something of more than one item: categories, ids, tags, and numbers in buckets."""
    found = []
    for name, kind in items.fields.items():
        column = items.frame[name]
        if kind in (FieldType.CATEGORY, FieldType.ID):
            codes, count = _codes(column)
        elif kind == FieldType.NUMBER:
            codes, count = _buckets(column.to_numpy().astype(np.float64))
        elif kind == FieldType.TAGS:
            codes, count = _tag_codes(column)
        else:
            continue
        if 1 < count < 0.95 * len(items):
            found.append(ItemValues(name, codes, count))
    return found


def _codes(column: pl.Series) -> tuple[np.ndarray, int]:
    names = column.drop_nulls().unique(maintain_order=True)
    codes = column.replace_strict(names, np.arange(len(names)), default=None, return_dtype=pl.Int32).fill_null(-1)
    return codes.to_numpy().reshape(-1, 1), len(names)


def _buckets(values: np.ndarray) -> tuple[np.ndarray, int]:
    known = values[np.isfinite(values)]
    if not len(known):
        return np.full((len(values), 1), -1, dtype=np.int32), 0
    edges = np.unique(np.quantile(known, np.arange(1, NUMBER_BUCKETS) / NUMBER_BUCKETS, method="inverted_cdf"))
    edges = edges[edges > known.min()]
    codes = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), -1)
    return codes.astype(np.int32).reshape(-1, 1), len(edges) + 1


def _tag_codes(column: pl.Series) -> tuple[np.ndarray, int]:
    frame = pl.DataFrame({"row": np.arange(len(column)), "tag": column}).explode("tag").drop_nulls("tag").unique(maintain_order=True)
    place = frame.select(pl.int_range(pl.len()).over("row")).to_series().to_numpy()
    frame, place = frame.filter(pl.Series(place < MOST_TAGS)), place[place < MOST_TAGS]
    tags, count = _codes(frame["tag"])
    codes = np.full((len(column), int(place.max(initial=0)) + 1), -1, dtype=np.int32)
    codes[frame["row"].to_numpy(), place] = tags[:, 0]
    return codes, count


class StatisticKeys:
    """All kinds of keys of a catalogue; keys of different kinds never meet."""

    def __init__(self, users: int, values: list[ItemValues], scenarios: int) -> None:
        """scenarios: how many there are; with fewer than two they are no key."""
        self.users, self.values, self.scenarios = users, values, scenarios
        apart = scenarios > 1
        self.kinds = [KeyKind("all", ""), KeyKind("user", "all"), KeyKind("item", "all")]
        sizes = [1, users, 1 << 32]
        if apart:
            self.kinds += [KeyKind("scenario", "all"), KeyKind("user in scenario", "user"), KeyKind("item in scenario", "item")]
            sizes += [scenarios, users * scenarios, (1 << 32) * scenarios]
        for field in values:
            self.kinds += [KeyKind(field.name, "all"), KeyKind(f"user and {field.name}", "user")]
            sizes += [field.count, users * field.count]
        self._bases = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        names = [kind.name for kind in self.kinds]
        self.parents = np.array([names.index(kind.parent) if kind.parent else 0 for kind in self.kinds])
        depth = np.array([0 if not kind.parent else 1 if kind.parent == "all" else 2 for kind in self.kinds])
        self.levels = [np.flatnonzero(depth == level) for level in range(3) if (depth == level).any()]  # parents before their children
        alone = {field.name for field in values}
        self.windowed = np.array(
            [number for number, name in enumerate(names) if name not in alone]
        )  # kinds that are counted within days too
        self.width = max([1, *(field.codes.shape[1] for field in values)])

    def keys(self, users: np.ndarray, items: np.ndarray, scenarios: np.ndarray | None) -> np.ndarray:
        """int64 (K, X, V) for int arrays (X,); -1 where a row has no such key (a missing value, an unknown user, item or scenario)."""
        users, items = users.astype(np.int64), items.astype(np.int64)
        result = np.full((len(self.kinds), len(users), self.width), -1, dtype=np.int64)
        known_user = (users >= 0) & (users < self.users)
        columns = [np.zeros(len(users), np.int64), np.where(known_user, users, -1), items]
        if self.scenarios > 1:
            place = np.full(len(users), -1, np.int64) if scenarios is None else scenarios.astype(np.int64)
            columns += [place, _pair(columns[1], place, self.scenarios), _pair(items, place, self.scenarios)]
        for number, column in enumerate(columns):
            result[number, :, 0] = np.where(column >= 0, column + self._bases[number], -1)
        number = len(columns)
        for field in self.values:
            inside = (items >= 0) & (items < len(field.codes))
            codes = np.where(inside[:, None], field.codes[np.where(inside, items, 0)], -1).astype(np.int64)  # X V'
            result[number, :, : codes.shape[1]] = np.where(codes >= 0, codes + self._bases[number], -1)
            crossed = _pair(columns[1][:, None], codes, field.count)
            result[number + 1, :, : codes.shape[1]] = np.where(crossed >= 0, crossed + self._bases[number + 1], -1)
            number += 2
        return result


def _pair(first: np.ndarray, second: np.ndarray, seconds: int) -> np.ndarray:
    return np.where((first >= 0) & (second >= 0) & (second < seconds), first * seconds + second, -1)
