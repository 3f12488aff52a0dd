"""Judged exposures as plain arrays, which is what baselines read: categories as codes, numbers, labels, the part of every row.

Dimension keys: X exposures, T columns of labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

TRAIN, VALIDATION, TEST = 0, 1, 2
MOST_TAGS = 6  # of a row that are told apart
FEW = 64  # values that a category may have to be crossed with others, and to stand beside counts


@dataclass(frozen=True)
class Codes:
    """A category: `values` int32, 0 is unknown; `size` codes with it."""

    values: np.ndarray
    size: int


@dataclass(frozen=True, kw_only=True)
class Rows:
    """X exposures.

    times    (X,), of any unit      parts   int8 (X,): TRAIN, VALIDATION, TEST, others in none
    labels   float32 (X, T): 0 or 1, a number where the column is one of `amounts`; NaN unknown
    tasks    names of the T columns
    codes    categories: user, item, scenario, hour, weekday and the declared fields; tags as the category of all tags together
    tags     int32 (X, up to 6) codes of the single tags, 0 padded, with their number of codes
    numbers  float32 (X,), NaN unknown
    item_codes  the categories of the items by item code: row 0 is the unknown item
    cells    {"scenario": a name or None, "task": a column}: where a scorer is looked at when it is chosen
    """

    times: np.ndarray
    parts: np.ndarray
    labels: np.ndarray
    tasks: list[str]
    codes: dict[str, Codes]
    tags: dict[str, Codes]
    numbers: dict[str, np.ndarray]
    item_codes: dict[str, Codes]
    scenario_names: list[str]
    cells: list[dict[str, Any]]
    amounts: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.times)

    @property
    def users(self) -> np.ndarray:
        return self.codes["user"].values

    @cached_property
    def train(self) -> np.ndarray:
        """Indices of the training rows."""
        return np.flatnonzero(self.parts == TRAIN)

    def labelled(self, index: np.ndarray, task: str) -> np.ndarray:
        """Those of `index` (ints) whose label is known."""
        return index[~np.isnan(self.labels[index, self.tasks.index(task)])]

    def cell_rows(self, cell: dict[str, Any], part: int) -> np.ndarray:
        """Indices of the rows of a cell in one part."""
        inside = self.parts == part
        if cell["scenario"] is not None:
            inside &= self.codes["scenario"].values == 1 + self.scenario_names.index(cell["scenario"])
        return np.flatnonzero(inside)


def measured_tasks(rows: Rows) -> list[str]:
    """Tasks with a measured cell, in their order."""
    wanted = {cell["task"] for cell in rows.cells}
    return [task for task in rows.tasks if task in wanted]


def encode(column: pl.Series, values: pl.Series | None = None) -> Codes:
    """Codes from 1 in the order of `values` (default: of the first appearance); null and others are 0."""
    values = column.unique(maintain_order=True).drop_nulls() if values is None else values
    table = pl.DataFrame({"value": values, "code": np.arange(1, values.len() + 1, dtype=np.int32)})
    found = pl.DataFrame({"value": column}).join(table, on="value", how="left", maintain_order="left")["code"]
    return Codes(found.fill_null(0).to_numpy().astype(np.int32), values.len() + 1)


def encode_tags(lists: pl.Series, most: int = MOST_TAGS) -> Codes:
    """int32 (N, most): codes of the first tags of each row, 0 padded."""
    flat = pl.DataFrame({"row": np.arange(lists.len()), "tag": lists}).explode("tag").drop_nulls()
    flat = flat.with_columns(place=pl.int_range(pl.len()).over("row"), code=pl.Series(encode(flat["tag"]).values))
    flat = flat.filter(pl.col("place") < most)
    matrix = np.zeros((lists.len(), most), dtype=np.int32)
    matrix[flat["row"].to_numpy(), flat["place"].to_numpy()] = flat["code"].to_numpy()
    return Codes(matrix, 1 + int(matrix.max(initial=0)))


def encode_clock(milliseconds: pl.Series) -> dict[str, Codes]:
    """Hour and weekday of moments in ms since 1970, null unknown."""
    clock = pl.from_epoch(milliseconds, time_unit="ms")
    hours, days = (part.cast(pl.Int32).fill_null(-1).to_numpy() for part in (clock.dt.hour(), clock.dt.weekday()))
    return {"hour": Codes(1 + hours, 25), "weekday": Codes(np.maximum(days, 0), 8)}


def with_unknown(values: np.ndarray, unknown: float = 0) -> np.ndarray:
    """A row for code 0 before the others."""
    return np.concatenate([np.full((1, *values.shape[1:]), unknown, dtype=values.dtype), values])
