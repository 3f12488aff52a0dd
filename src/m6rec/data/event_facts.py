"""What a sample of events says about users, items and repeats: the facts that settings are chosen by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data.schema import words
from m6rec.data.sketch import Sketch
from m6rec.data.table_roles import Tables


@dataclass(frozen=True)
class EventFacts:
    """Of the rows that were read.

    median      events of a user                      long_share  share of users with three events or more
    repeats     rows equal to an earlier one          again       share of the other events whose item the user had before
    ties        share of events at the time of another event of the user
    """

    users: int
    items: int
    median: float
    long_share: float
    repeats: int
    again: float
    ties: float

    def names(self, tables: Tables, column: str) -> list[str]:
        """The values of a column as `prepare` will name them, most often first."""
        found = pl.concat(
            [words(part.frame[column], part.name).rename("name") for part in tables.events if column in part.frame.columns]
        ).drop_nulls()
        counts = found.value_counts(sort=True).sort("count", "name", descending=[True, False])
        return [str(name) for name in counts["name"].to_list()]

    def share(self, tables: Tables, column: str, wanted: list[str]) -> float:
        """Share of the events with one of the values."""
        found = pl.concat([words(part.frame[column], part.name).rename("name") for part in tables.events if column in part.frame.columns])
        return int(found.is_in(wanted).sum()) / found.len()

    def last_time(self, tables: Tables) -> float:
        """Seconds since 1970 of the last event that was read."""
        return max((part.time.last for part in tables.events if part.time), default=0.0)


def event_facts(parts: list[Sketch]) -> EventFacts:
    """Facts of all event files together."""
    frames, repeats = [], 0
    for part in parts:
        assert part.user is not None
        assert part.item is not None
        flat = [name for name, dtype in part.frame.schema.items() if not dtype.is_nested()]
        distinct = part.frame.unique(flat, maintain_order=True)
        repeats += part.frame.height - distinct.height
        sequence = part.time or part.order
        assert sequence is not None
        frames.append(
            distinct.select(
                pl.col(part.user.column).cast(pl.String).alias("user"),
                pl.col(part.item.column).cast(pl.String).alias("item"),
                (pl.lit(None) if part.order else pl.col(sequence.column)).cast(pl.String).alias("time"),
            )
        )
    events = pl.concat(frames).drop_nulls(["user", "item"])
    lengths = events.group_by("user").len()["len"].to_numpy()
    pairs = events.select("user", "item").n_unique()
    dated = events.drop_nulls("time")
    return EventFacts(
        users=len(lengths),
        items=events["item"].n_unique(),
        median=float(np.median(lengths)),
        long_share=float((lengths >= 3).mean()),
        repeats=repeats,
        again=1 - pairs / events.height,
        ties=1 - dated.select("user", "time").n_unique() / dated.height if dated.height else 0.0,
    )
