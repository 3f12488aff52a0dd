"""Exposures: what was shown to whom, where and when, and what came of it. Rows that judge tasks learn from.

Dimension keys: X exposures, E events of the histories.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from m6rec.data.fields import FieldType


@dataclass(frozen=True)
class Exposures:
    """X rows, in order of time (of the file where only an order is known).

    users         int32 (X,)    dense users
    items         int32 (X,)    dense items
    cuts          int64 (X,)    the user's events at positions offsets[user] .. cuts[x] of `Dataset.histories` are strictly before row x
    times         float64 (X,)  seconds since 1970, NaN unknown; None where only an order is known
    scenarios     int16 (X,)    codes of `Dataset.scenario_names`, or None
    positions     float32 (X,)  place in the list shown, 1 is the top, NaN unknown; or None
    propensities  float32 (X,)  probability with which the row was shown, NaN unknown; or None
    lists         int64 (X,)    which rows were shown together, or None
    parts         int8 (X,)     0 training, 1 validation, 2 test, as the file's own `split` column says; None where it has none
    context       X rows of the declared fields of `fields.context`, canonical dtypes as in `Table`
    labels        X rows: every column that a task reads as its label; Float64 (null unknown), String or List(String)
    """

    users: np.ndarray
    items: np.ndarray
    cuts: np.ndarray
    times: np.ndarray | None = None
    scenarios: np.ndarray | None = None
    positions: np.ndarray | None = None
    propensities: np.ndarray | None = None
    lists: np.ndarray | None = None
    parts: np.ndarray | None = None
    context: pl.DataFrame = field(default_factory=pl.DataFrame)
    context_fields: dict[str, FieldType] = field(default_factory=dict)
    labels: pl.DataFrame = field(default_factory=pl.DataFrame)

    ROW_COLUMNS = ("users", "items", "cuts", "times", "scenarios", "positions", "propensities", "lists", "parts")

    def __len__(self) -> int:
        return len(self.users)

    def rows(self, index: np.ndarray) -> Exposures:
        """The rows `index` (int or bool array), copied."""
        index = np.arange(len(self))[index]
        arrays: dict[str, Any] = {name: None if getattr(self, name) is None else getattr(self, name)[index] for name in self.ROW_COLUMNS}
        tables: dict[str, Any] = {
            name: getattr(self, name)[index] if getattr(self, name).width else getattr(self, name) for name in ("context", "labels")
        }
        return Exposures(**arrays, **tables, context_fields=self.context_fields)
