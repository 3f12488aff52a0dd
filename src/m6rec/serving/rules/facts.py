"""What rules and slates know of the catalogue: values of fields as codes, texts made comparable, popularity.

Dimension keys: N items, V values of a field, P pairs of (item, value).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.base.errors import UsageError, nearest
from m6rec.data.dataset import FieldType, Table
from m6rec.text.blocked_words import normalised

COUNTABLE = (FieldType.CATEGORY, FieldType.TAGS, FieldType.ID)
WORDED = (FieldType.TEXT, FieldType.CATEGORY, FieldType.TAGS)
GAP = " | "


@dataclass(frozen=True)
class Values:
    """Who has which value of one field. Capitals make no difference, as in filters.

    code     value in small letters -> 0 .. V - 1, in the order of the catalogue
    offsets  int64 (N + 1,), codes int32 (P,): the values of item i are codes[offsets[i]:offsets[i + 1]]
    single   bool: no item has more than one value
    """

    code: dict[str, int]
    offsets: np.ndarray
    codes: np.ndarray
    single: bool

    def __len__(self) -> int:
        return len(self.code)

    def pairs(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(position in `items`, code) of every value that the items have, two int64 arrays."""
        starts, ends = self.offsets[items], self.offsets[items + 1]
        if self.single:
            position = np.flatnonzero(ends > starts)
            return position, self.codes[starts[position]].astype(np.int64)
        lengths = ends - starts
        position = np.repeat(np.arange(len(items)), lengths)
        places = np.arange(len(position)) + np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        return position, self.codes[places].astype(np.int64)

    def extended(self, part: Values) -> Values:
        """With the items of `part` after these."""
        code = dict(self.code)
        for name in part.code:
            code.setdefault(name, len(code))
        codes = np.array([code[name] for name in part.code], dtype=np.int32)[part.codes] if len(part.codes) else part.codes
        offsets = np.concatenate([self.offsets, self.offsets[-1] + part.offsets[1:]])
        return Values(code, offsets, np.concatenate([self.codes, codes]), self.single and part.single)

    def having(self, codes: np.ndarray) -> np.ndarray:
        """bool (N,): items with any of the values `codes`."""
        wanted = np.zeros(len(self), dtype=bool)
        wanted[codes] = True
        found = np.zeros(len(self.offsets) - 1, dtype=bool)
        item = np.repeat(np.arange(len(found)), np.diff(self.offsets))
        found[item[wanted[self.codes]]] = True
        return found


class CatalogueFacts:
    """Facts of a catalogue, each made when it is first asked for. Nothing here changes: a changed catalogue has new facts.

    items: the catalogue.  seen: int64 (N,), events of each item, for `popularity`; None where they are not known.
    """

    def __init__(self, items: Table, seen: np.ndarray | None = None) -> None:
        self.items = items
        self._values: dict[str, Values] = {}
        self._texts: pl.Series | None = None
        counts = np.zeros(len(items)) if seen is None else np.asarray(seen, dtype=np.float64)
        # Half an event more for everyone: an item never seen is rarer than one seen once, and its self-information is finite.
        self.popularity = (counts + 0.5) / max(float((counts + 0.5).sum()), 1.0)

    def __len__(self) -> int:
        return len(self.items)

    def some(self, rows: np.ndarray) -> CatalogueFacts:
        """Facts of some of the items, as a catalogue of their own."""
        return CatalogueFacts(self.items.rows(np.asarray(rows).tolist()))

    def updated(self, items: Table, rows: np.ndarray, seen: np.ndarray | None = None) -> CatalogueFacts:
        """Facts of the catalogue as it is now, with what is known of the items that are as they were.

        Args:
            items: all items; those of before have the same rows.
            rows: int (R,), rows that came (at the end) or changed.
            seen: see the class.

        Raises:
            UsageError: items came that `rows` does not name.
        """
        facts, rows, old = CatalogueFacts(items, seen), np.unique(np.asarray(rows, dtype=np.int64)), len(self)
        came = int(np.count_nonzero(rows >= old))
        if came != len(items) - old:
            raise UsageError(f"the catalogue grew from {old} to {len(items)} items, and {came} new rows are named; name all of them")
        if not len(rows):
            facts._texts, facts._values = self._texts, dict(self._values)
            return facts
        part = facts.some(rows)
        if self._texts is not None:
            texts = pl.concat([self._texts, pl.repeat("", came, dtype=pl.String, eager=True)])
            facts._texts = texts.scatter(pl.Series(rows), part.texts)
        if came == len(rows):
            facts._values = {name: values.extended(part.values(name)) for name, values in self._values.items()}
        return facts

    def dense(self, item_id: str) -> int:
        """Row of an item, -1 where it is not in the catalogue."""
        return self.items.ids.dense(item_id)

    def values(self, field: str) -> Values:
        """Raises UsageError: no such field, or one whose values are not counted (text, number, vector)."""
        if field not in self._values:
            if field not in self.items.fields:
                hint = nearest(field, list(self.items.fields)) or f"; fields: {', '.join(self.items.fields) or 'none'}"
                raise UsageError(f"items have no field '{field}' to count by{hint}")
            kind = self.items.fields[field]
            if kind not in COUNTABLE:
                able = [name for name, other in self.items.fields.items() if other in COUNTABLE]
                raise UsageError(f"'{field}' is a {kind} field; count by a category, tags or id field: {', '.join(able) or 'none'}")
            self._values[field] = _values(self.items.frame[field], kind)
        return self._values[field]

    @property
    def texts(self) -> pl.Series:
        """String (N,): titles and whatever else an item is worded with, normalised, with a mark between them that no phrase reaches over."""
        if self._texts is None:
            worded = [
                pl.col(name).list.join(GAP) if kind == FieldType.TAGS else pl.col(name)
                for name, kind in self.items.fields.items()
                if kind in WORDED
            ]
            frame = self.items.frame.select(pl.concat_str(worded, separator=GAP, ignore_nulls=True) if worded else pl.lit(""))
            texts = frame.to_series().to_list() if worded else [""] * len(self.items)
            self._texts = pl.Series([normalised(text or "") for text in texts], dtype=pl.String)
        return self._texts


def rows_changed(before: Table, now: Table) -> np.ndarray | None:
    """int64: rows of `now` that came after those of `before`, or differ from them; None where the items of `before` are not its first rows."""
    old = len(before)
    if before.fields != now.fields or before.ids.ids != now.ids.ids[:old]:
        return None
    changed = np.zeros(old, dtype=bool)
    for name in before.fields:
        changed |= before.frame[name].ne_missing(now.frame[name].head(old)).to_numpy()
    return np.concatenate([np.flatnonzero(changed), np.arange(old, len(now))])


def _values(column: pl.Series, kind: FieldType) -> Values:
    pairs = pl.DataFrame({"item": pl.int_range(len(column), eager=True), "value": column})
    if kind == FieldType.TAGS:
        pairs = pairs.explode("value")
    pairs = pairs.drop_nulls("value").with_columns(pl.col("value").str.to_lowercase())
    if kind == FieldType.TAGS:
        pairs = pairs.unique(maintain_order=True)
    names = pairs["value"].unique(maintain_order=True)
    code = {name: place for place, name in enumerate(names)}
    codes = np.array([code[value] for value in pairs["value"]], dtype=np.int32)
    lengths = np.bincount(pairs["item"].to_numpy(), minlength=len(column))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Values(code, offsets, codes, bool(lengths.max(initial=0) <= 1))
