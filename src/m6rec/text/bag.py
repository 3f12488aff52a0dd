"""The bag of words and fields of an item: one column a word or `field=value`, one row an item.

Shape keys: N items, F features, B typed texts.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from m6rec.base.errors import CheckpointError
from m6rec.base.storage import write_json
from m6rec.data.dataset import FieldType, Table
from m6rec.text.words import normalise, stem, units, words

Feature = tuple[str, str]  # (field, value); words of all text fields share the field ""
VERSION = 1
BUCKETS = 10
ROWS_AT_ONCE = 8192
VERB = "ing"  # ends the form of an English word that tells it from others of the same stem
LONGEST_NAME = 8  # units of a category or tag name that typed text is searched for


class Bag:
    """Which words and field values there are, and which of them an item or a typed text has.

    text            word unigrams, shared by all text fields; spaceless scripts give characters and pairs of them
    category, tags  one feature a value and field; typed text reaches it by the value's name
    id              one feature a value and field
    number          one feature a quantile bucket and field; typed text reaches it as "price 65"
    vector          nothing

    Features are sorted by name, so the order of the items changes nothing but the order of the rows.
    """

    def __init__(
        self, language: str, fields: dict[str, FieldType], edges: dict[str, list[float]], features: Sequence[Feature], idf: np.ndarray
    ) -> None:
        self.language = language
        self.fields = dict(fields)
        self.edges = edges
        self.features = list(features)
        self.idf = np.asarray(idf, dtype=np.float32)
        self._column = {feature: column for column, feature in enumerate(self.features)}
        self._names = self._names_of_values()
        self._number_names = {
            name: re.compile(rf"(?<!\w){re.escape(normalise(name))}\W{{0,3}}(-?\d+(?:\.\d+)?)") for name in self.edges if normalise(name)
        }

    @classmethod
    def fit(cls, table: Table, language: str = "en", *, min_count: int = 2, max_features: int = 65_536) -> Self:
        """The features that at least `min_count` items have, at most `max_features` of them (the most frequent; ties by name).

        idf[f] = ln(1 + N / n_f), n_f the number of items that have feature f.
        """
        return cls.fit_matrix(table, language, min_count=min_count, max_features=max_features)[0]

    @classmethod
    def fit_matrix(cls, table: Table, language: str = "en", *, min_count: int = 2, max_features: int = 65_536) -> tuple[Self, csr_array]:
        """`fit`, and `matrix` of the same table, which then is read once."""
        edges = {name: quantile_edges(table.frame[name].to_numpy()) for name in _numbers(table)}
        bag = cls(language, table.fields, edges, [], np.zeros(0, np.float32))
        codes: dict[Feature, int] = {}  # in the order of their first item
        listed, offsets = array("i"), array("q", [0])
        for row in bag._rows(table):
            listed.extend([codes.setdefault(feature, len(codes)) for feature in row])
            offsets.append(len(listed))
        found = np.frombuffer(listed, dtype=np.intc) if listed else np.zeros(0, np.intc)
        counts = np.bincount(found, minlength=len(codes))
        frequent = sorted(
            (-count, feature) for (feature, code), count in zip(codes.items(), counts.tolist(), strict=True) if count >= min_count
        )
        features = sorted(feature for _, feature in frequent[:max_features])
        chosen = np.array([codes[feature] for feature in features], dtype=np.int64)
        column = np.full(len(codes), -1, dtype=np.int32)
        column[chosen] = np.arange(len(chosen))
        kept = column[found] >= 0
        starts = np.concatenate([[0], np.cumsum(kept)])[np.frombuffer(offsets, dtype=np.int64)].astype(np.int32)
        columns = column[found[kept]]
        matrix = csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(len(starts) - 1, len(features)))
        matrix.sort_indices()
        having = counts[chosen].astype(np.float64)
        return cls(language, table.fields, edges, features, np.log1p(len(table) / np.maximum(having, 1))), matrix

    @property
    def size(self) -> int:
        """F, the number of features."""
        return len(self.features)

    def matrix(self, table: Table) -> csr_array:
        """float32 (N, F): 1.0 for each distinct feature of the item. Unknown words and values, and fields not fitted, are ignored."""
        return self._sparse(self._rows(table))

    def text(self, text: str) -> csr_array:
        """float32 (1, F) of typed words; see `texts`."""
        return self.texts([text])

    def texts(self, texts: Sequence[str]) -> csr_array:
        """float32 (B, F) of typed texts: their words, and the category and tag values whose names they contain.

        A word that no item has stands for its related forms: "runner" for "running".

        A value whose name is a number or a single letter must follow its field's name ("tags 173"): alone, it would match by accident.
        """
        return self._sparse(self._typed(text) for text in texts)

    def save(self, path: Path | str) -> None:
        """Write one JSON file. Raises StorageError."""
        write_json(
            path,
            {
                "version": VERSION,
                "language": self.language,
                "fields": {name: str(kind) for name, kind in self.fields.items()},
                "field_order": list(self.fields),
                "edges": self.edges,
                "features": [list(feature) for feature in self.features],
                "idf": [float(value) for value in self.idf],
            },
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The bag that `save` wrote. Raises CheckpointError when the file is missing, damaged or from a newer version."""
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
            if saved["version"] > VERSION:
                raise CheckpointError(f"{path} has bag version {saved['version']}, this m6rec reads up to {VERSION}; upgrade m6rec")
            features = [(field, value) for field, value in saved["features"]]
            fields = {name: FieldType(saved["fields"][name]) for name in saved["field_order"]}
            edges = {name: [float(edge) for edge in row] for name, row in saved["edges"].items()}
            idf = np.array(saved["idf"], dtype=np.float32)
            if len(idf) != len(features):
                raise ValueError(f"{len(features)} features, {len(idf)} idf values")
            return cls(saved["language"], fields, edges, features, idf)
        except OSError as error:
            raise CheckpointError(f"{path} can't be read: {error.strerror}; train again or point to a complete model folder") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}); train again or restore the file") from None

    def values(self, field: str) -> list[str]:
        """The values of a category, tags or id field that it knows, normalised and sorted."""
        return [value for name, value in self.features if name == field]

    def _rows(self, table: Table) -> Iterator[set[Feature]]:
        """The features of each item; made some thousands at a time, as sets of pairs take a hundred times the room of the text."""
        for start in range(0, len(table), ROWS_AT_ONCE):
            yield from self._some_rows(table.frame.slice(start, ROWS_AT_ONCE), min(ROWS_AT_ONCE, len(table) - start))

    def _some_rows(self, frame: pl.DataFrame, count: int) -> list[set[Feature]]:
        rows: list[set[Feature]] = [set() for _ in range(count)]
        for name, kind in self.fields.items():
            if name not in frame.columns or kind == FieldType.VECTOR:
                continue
            for row, value in zip(rows, frame[name].to_list(), strict=True):
                if value is None:
                    continue
                if kind == FieldType.TEXT:
                    row.update([("", word) for word in words(value, self.language)])
                elif kind == FieldType.NUMBER:
                    row.update(self._bucket(name, value))
                else:
                    for one in value if kind == FieldType.TAGS else [value]:
                        row.update([(name, normal)] if one is not None and (normal := normalise(one)) else ())
        return rows

    def _typed(self, text: str) -> set[Feature]:
        found: set[Feature] = {("", word) for word in words(text, self.language)}
        for _, word in tuple(found):
            if ("", word) not in self._column and (word,) not in self._names:
                found.update(self._related.get(stem(word), {}).get(word.endswith(VERB), ()))
        sequence = units(text, self.language)
        for start in range(len(sequence)):
            for end in range(start + 1, min(start + LONGEST_NAME, len(sequence)) + 1):
                found.update(self._names.get(tuple(sequence[start:end]), ()))
        if self._number_names:
            normal = normalise(text)
            for name, pattern in self._number_names.items():
                for number in pattern.findall(normal):
                    found.update(self._bucket(name, float(number)))
        return found

    def without_names(self, text: str) -> list[str]:
        """The words of a typed text, in order, that are no part of the name of a category or tag value."""
        sequence = units(text, self.language)
        left, start = [], 0
        while start < len(sequence):
            longest = min(LONGEST_NAME, len(sequence) - start)
            length = next((size for size in range(longest, 0, -1) if tuple(sequence[start : start + size]) in self._names), 0)
            if not length:
                left.append(sequence[start])
            start += max(1, length)
        return left

    def _bucket(self, name: str, value: float) -> list[Feature]:
        if value != value or name not in self.edges:
            return []
        return [(name, f"bucket {bisect_right(self.edges[name], value)}")]

    def _names_of_values(self) -> dict[tuple[str, ...], list[Feature]]:
        """Units of a value's name, and of its field's name followed by it -> the features of that name."""
        names: dict[tuple[str, ...], list[Feature]] = {}
        for field, value in self.features:
            if self.fields.get(field) not in (FieldType.CATEGORY, FieldType.TAGS):
                continue
            name = tuple(units(value, self.language))
            keys = [tuple(units(field, self.language)) + name]
            if name and not all(unit.isdigit() for unit in name) and (len(name) > 1 or words(value, self.language)):
                keys.append(name)
            for key in keys:
                if name and len(key) <= LONGEST_NAME:
                    names.setdefault(key, []).append((field, value))
        return names

    @cached_property
    def _related(self) -> dict[str, dict[bool, list[Feature]]]:
        """Stem -> features of that stem: for a typed word that is the -ing form of a verb (True) all of them, for another (False) those that are, so that
        "runner" finds "running", and "hammer" not "ham". English has such forms; other languages have none here."""
        found: dict[str, dict[bool, list[Feature]]] = {}
        own_words: list[tuple[str, list[Feature]]] = [(word, [(field, word)]) for field, word in self.features if not field]
        named = [(name[0], features) for name, features in self._names.items() if len(name) == 1]
        for word, features in [*own_words, *named]:
            if self.language == "en" and word.isascii():
                own = found.setdefault(stem(word), {True: [], False: []})
                own[True] += features
                own[False] += features if word.endswith(VERB) else []
        return found

    def _sparse(self, rows: Iterable[set[Feature]]) -> csr_array:
        columns = array("i")
        offsets = [0]
        known = self._column
        for row in rows:
            columns.extend(sorted([known[feature] for feature in row if feature in known]))
            offsets.append(len(columns))
        return csr_array(
            (np.ones(len(columns), np.float32), np.frombuffer(columns, dtype=np.intc).astype(np.int32), np.array(offsets, dtype=np.int32)),
            shape=(len(offsets) - 1, self.size),
        )


def _numbers(table: Table) -> list[str]:
    return [name for name, kind in table.fields.items() if kind == FieldType.NUMBER and name in table.frame.columns]


def quantile_edges(values: np.ndarray, buckets: int = BUCKETS) -> list[float]:
    """Inner edges of at most `buckets` buckets with equally many of the known `values`; bucket b holds edge[b-1] <= x < edge[b]."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if len(known) == 0:
        return []
    inner = np.quantile(known, np.arange(1, buckets) / buckets, method="inverted_cdf")
    return [float(edge) for edge in np.unique(inner) if edge > known.min()]
