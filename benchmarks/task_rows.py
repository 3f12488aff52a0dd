"""What baselines and peers of the tasks benchmark read: the exposures of a prepared folder (task_data.py) as arrays, with what was known before each.

Baselines and peers get the same columns as the model: fields of users and items, the request's context, hour and weekday, the history
strictly before the row. The files are read and joined here, without m6rec's own reading, so that a mistake there is not repeated here.

Dimension keys: X exposures, E events, T tasks, H newest events of a history.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from m6rec.baselines.rows import TEST, TRAIN, VALIDATION, Codes, encode, encode_clock, encode_tags, with_unknown
from m6rec.baselines.rows import Rows as JudgedRows

HISTORY = 50
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
MINUTE_MS, DAY_MS = 60_000, 86_400_000
MILLISECONDS_FROM = 1e11  # smaller numbers are seconds


@dataclass(frozen=True)
class Events:
    """All events, ordered by user, then time. Arrays (E,): users, items (codes as in Rows), times in ms, actions (codes of `names`)."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    actions: np.ndarray
    names: list[str]


@dataclass(frozen=True, kw_only=True)
class Rows(JudgedRows):
    """X exposures in order of time, as baselines read them, with what peers read besides. Times are int64 ms, no label is unknown.

    past  int64 (X, 2): the user's events strictly before the row are events[past[x, 0] : past[x, 1]]
    """

    events: Events
    past: np.ndarray

    def histories(self, index: np.ndarray, newest: int = HISTORY) -> tuple[np.ndarray, np.ndarray]:
        """Items and actions + 1, int32 (N, newest), oldest first, padded with 0 at the end, of the rows `index`."""
        start = np.maximum(self.past[index, 0], self.past[index, 1] - newest)
        place = start[:, None] + np.arange(newest)
        inside = place < self.past[index, 1][:, None]
        place = np.where(inside, place, 0)
        return np.where(inside, self.events.items[place], 0).astype(np.int32), np.where(inside, self.events.actions[place] + 1, 0).astype(
            np.int32
        )


def read_rows(folder: Path) -> Rows:
    """The prepared folder as arrays."""
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in ("events", "exposures", "items", "users")}
    exposures = tables["exposures"].with_columns(in_milliseconds("time")).sort("time", maintain_order=True)
    events = tables["events"].with_columns(in_milliseconds("time"))
    users = pl.concat([tables["users"]["user_id"], events["user_id"], exposures["user_id"]]).unique(maintain_order=True).drop_nulls()
    items = pl.concat([tables["items"]["item_id"], events["item_id"], exposures["item_id"]]).unique(maintain_order=True).drop_nulls()
    codes = {"user": encode(exposures["user_id"], users), "item": encode(exposures["item_id"], items)}
    scenarios = sorted(exposures["scenario"].unique().to_list()) if "scenario" in exposures.columns else []
    if scenarios:
        codes["scenario"] = encode(exposures["scenario"], pl.Series(scenarios))
    codes |= encode_clock(exposures["time"])

    tags: dict[str, Codes] = {}
    numbers: dict[str, np.ndarray] = {}
    item_codes: dict[str, Codes] = {"item": Codes(np.arange(items.len() + 1, dtype=np.int32), items.len() + 1)}
    for kind, ids in (("users", users), ("items", items)):
        key = f"{kind[:-1]}_id"
        table = pl.DataFrame({key: ids}).join(tables[kind], on=key, how="left", maintain_order="left")
        rows = codes[kind[:-1]].values
        for name, type_ in (settings["fields"].get(kind) or {}).items():
            if type_ in ("category", "id"):
                found = encode(table[name].cast(pl.String))
            elif type_ == "tags":
                lists = as_tags(table[name])
                singles = encode_tags(lists)
                tags[name] = Codes(with_unknown(singles.values)[rows], singles.size)
                found = encode(lists.list.join("|"))
            elif type_ == "number":
                numbers[name] = with_unknown(table[name].cast(pl.Float32).to_numpy(), np.nan)[rows]
                continue
            else:
                continue  # texts and vectors are for models that read them
            full = Codes(with_unknown(found.values), found.size)
            codes[name] = Codes(full.values[rows], full.size)
            if kind == "items":
                item_codes[name] = full
    for name, type_ in (settings["fields"].get("context") or {}).items():
        if type_ == "number":
            numbers[name] = exposures[name].cast(pl.Float32).to_numpy()
        else:
            codes[name] = encode(exposures[name].cast(pl.String))
    if "position" in exposures.columns:
        codes["position"] = encode(exposures["position"].cast(pl.String))

    judged = {name: task["label"] for name, task in settings["tasks"].items() if task["answer"] == "judge"}
    ordered = order_events(events, users, items)
    return Rows(
        times=exposures["time"].to_numpy(),
        parts=exposures["split"].replace_strict(PARTS, return_dtype=pl.Int8).to_numpy(),
        labels=exposures.select(list(judged.values())).cast(pl.Float32).to_numpy(),
        tasks=list(judged),
        codes=codes,
        tags=tags,
        numbers=numbers,
        item_codes=item_codes,
        events=ordered,
        past=events_before(ordered, codes["user"].values, exposures["time"].to_numpy()),
        scenario_names=scenarios,
        cells=json.loads((folder / "cells.json").read_text(encoding="utf-8"))["cells"],
    )


def in_milliseconds(name: str) -> pl.Expr:
    """A column of seconds or milliseconds, as milliseconds."""
    column = pl.col(name)
    return pl.when(column.abs() < MILLISECONDS_FROM).then(column * 1000).otherwise(column).cast(pl.Int64).alias(name)


def as_tags(column: pl.Series) -> pl.Series:
    return column if column.dtype == pl.List else column.cast(pl.String).str.split("|")


def order_events(events: pl.DataFrame, users: pl.Series, items: pl.Series) -> Events:
    """By user, then time; events of equal time as in the file."""
    actions = events["action"].unique(maintain_order=True).to_list() if "action" in events.columns else ["event"]
    action = encode(events["action"], pl.Series(actions)).values - 1 if "action" in events.columns else np.zeros(events.height, np.int32)
    user, item, time = encode(events["user_id"], users).values, encode(events["item_id"], items).values, events["time"].to_numpy()
    order = np.lexsort((time, user))  # stable
    return Events(user[order], item[order], time[order], action[order], actions)


def events_before(events: Events, users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """int64 (X, 2): where the events of a row's user begin, and where those strictly before its time end."""
    first = np.searchsorted(events.users, users, side="left")
    return np.stack([first, np.searchsorted(at(events.users, events.times), at(users, times), side="left")], axis=1)


def at(keys: np.ndarray, times: np.ndarray) -> np.ndarray:
    """int64: orders by key, then time in ms (until the year 2109)."""
    return (keys.astype(np.int64) << 42) + times
