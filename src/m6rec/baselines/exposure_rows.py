"""The exposures of prepared data as the arrays that baselines read, with the fields that the model reads too.

Dimension keys: X exposures, N items, U users.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from m6rec.baselines.label_columns import LabelColumns
from m6rec.baselines.rows import TRAIN, VALIDATION, Codes, Rows, encode, encode_clock, encode_tags
from m6rec.data.dataset import Dataset, FieldType

LEAST_ROWS = 20  # of either answer that validation has of a cell, so that it is looked at by itself


def exposure_rows(dataset: Dataset, parts: np.ndarray, columns: Sequence[LabelColumns]) -> Rows:
    """All exposures: who, what, where, hour and weekday, the declared fields of users, items and requests. Texts and vectors are for models.

    The place in the list is left out: at the time of asking nobody knows it. Where only an order is known, training rows are before all others and
    not before each other.

    Args:
        parts: int8 (X,), as `data.row_splits` gives them.
    """
    shown = dataset.exposures
    assert shown is not None, "their labels were read"
    codes = {
        "user": Codes(shown.users + np.int32(1), len(dataset.users) + 1),
        "item": Codes(shown.items + np.int32(1), len(dataset.items) + 1),
    }
    if shown.scenarios is not None:
        codes["scenario"] = Codes(shown.scenarios.astype(np.int32) + 1, len(dataset.scenario_names) + 1)
    times = shown.times
    if times is None:
        times = np.where(parts == TRAIN, 0.0, 1.0)
    else:
        codes |= encode_clock(pl.Series(np.nan_to_num(times) * 1000).cast(pl.Int64).set(pl.Series(np.isnan(times)), None))
    tags: dict[str, Codes] = {}
    numbers: dict[str, np.ndarray] = {}
    item_codes = {"item": Codes(np.arange(len(dataset.items) + 1, dtype=np.int32), len(dataset.items) + 1)}
    for kind, table, owners in (("user", dataset.users, shown.users), ("item", dataset.items, shown.items)):
        found = _fields(table.frame, table.fields, kind)
        codes |= {name: Codes(one.values[owners], one.size) for name, one in found[0].items()}
        tags |= {name: Codes(one.values[owners], one.size) for name, one in found[1].items()}
        numbers |= {name: values[owners] for name, values in found[2].items()}
        if kind == "item":
            item_codes |= {name: Codes(np.concatenate([[0], one.values]).astype(np.int32), one.size) for name, one in found[0].items()}
    if shown.context.width:
        asked = _fields(shown.context, shown.context_fields, "request")
        codes, tags, numbers = codes | asked[0], tags | asked[1], numbers | asked[2]
    rows = Rows(
        times=times,
        parts=parts,
        labels=np.concatenate([part.values for part in columns], axis=1),
        tasks=[name for part in columns for name in part.names],
        codes=codes,
        tags=tags,
        numbers=numbers,
        item_codes=item_codes,
        scenario_names=list(dataset.scenario_names),
        cells=[],
        amounts=frozenset(name for part in columns if part.amounts for name in part.names),
    )
    rows.cells.extend(cells_of(rows))
    return rows


def cells_of(rows: Rows) -> list[dict[str, Any]]:
    """The cells that choose: each scenario with enough validation rows, of yes and no either answer; where none has, all rows together."""
    found: list[dict[str, Any]] = []
    for place, task in enumerate(rows.tasks):
        scenarios = rows.scenario_names if "scenario" in rows.codes else []
        own = []
        for scenario in scenarios:
            cell = {"scenario": scenario, "task": task}
            truth = rows.labels[rows.labelled(rows.cell_rows(cell, VALIDATION), task), place]
            yes = int((truth > 0).sum())
            if (len(truth) if task in rows.amounts else min(yes, len(truth) - yes)) >= LEAST_ROWS:
                own.append(cell)
        found += own or [{"scenario": None, "task": task}]
    return found


def some_rows(rows: Rows, index: np.ndarray) -> Rows:
    """The rows `index` (ints)."""
    return Rows(
        times=rows.times[index],
        parts=rows.parts[index],
        labels=rows.labels[index],
        tasks=rows.tasks,
        codes={name: Codes(one.values[index], one.size) for name, one in rows.codes.items()},
        tags={name: Codes(one.values[index], one.size) for name, one in rows.tags.items()},
        numbers={name: values[index] for name, values in rows.numbers.items()},
        item_codes=rows.item_codes,
        scenario_names=rows.scenario_names,
        cells=rows.cells,
        amounts=rows.amounts,
    )


def _fields(
    frame: pl.DataFrame, fields: dict[str, FieldType], owner: str
) -> tuple[dict[str, Codes], dict[str, Codes], dict[str, np.ndarray]]:
    """Categories (tags as that of all together), single tags, numbers, by name."""
    codes, tags, numbers = {}, {}, {}
    for name, kind in fields.items():
        column, called = frame[name], f"{owner} {name}"
        if kind in (FieldType.CATEGORY, FieldType.ID):
            codes[called] = encode(column)
        elif kind == FieldType.TAGS:
            tags[called] = encode_tags(column)
            codes[called] = encode(column.list.join("|").replace("", None))
        elif kind == FieldType.NUMBER:
            numbers[called] = column.cast(pl.Float32).to_numpy()
    return codes, tags, numbers
