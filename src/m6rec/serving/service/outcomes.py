"""Events of the store that say what came of showing something: they enter the counts that judging reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.serving.engine.engine import Engine

if TYPE_CHECKING:
    from m6rec.serving.store.records import StoredEvent


def counted_until(engine: Engine) -> float:
    """The newest moment that the rates of the model folder know of, in seconds; infinite where nothing is counted."""
    judging = engine.scorer.judging
    newest = None if judging is None else judging.inputs.newest
    return float("inf") if newest is None else newest


def count_outcomes(engine: Engine, events: Sequence[StoredEvent], since: float) -> int:
    """Count the labels of `events` later than `since`; returns how many could not be read.

    Labels that can't be read (of a task that does not judge so) leave their event uncounted, not the others.
    """
    told = [one for one in events if one.labels and one.time > since and one.user_id in engine.users.ids]
    if not told:
        return 0
    try:
        engine.add_exposures(_frame(told))
    except DataError:
        if len(told) == 1:
            return 1
        return sum(count_outcomes(engine, [one], since) for one in told)
    return 0


def _frame(events: Sequence[StoredEvent]) -> pl.DataFrame:
    labels = list(dict.fromkeys(name for one in events for name in one.labels))
    rows = {
        Columns.USER: [one.user_id for one in events],
        Columns.ITEM: [one.item_id for one in events],
        Columns.SCENARIO: pl.Series([one.scenario for one in events], dtype=pl.String),
        Columns.TIME: pl.Series([round(one.time * 1e6) for one in events]).cast(pl.Datetime("us")),
        **{name: pl.Series([_plain(one.labels.get(name)) for one in events], dtype=pl.String) for name in labels},
    }
    return pl.DataFrame(rows)


def _plain(value: object) -> str | None:
    return None if value is None else str(int(value)) if isinstance(value, bool) else str(value)
