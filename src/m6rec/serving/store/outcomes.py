"""What came of what was shown: events joined to the audit."""

from __future__ import annotations

from typing import Any

import polars as pl
from sqlalchemy import Connection, select

from m6rec.serving.store import tables
from m6rec.serving.store.audit import GONE
from m6rec.serving.store.parts import from_json
from m6rec.serving.store.settings import Settings

SHOWN: dict[str, type[pl.DataType]] = {
    "seq": pl.Int64,
    "time": pl.Float64,
    "request_id": pl.String,
    "user_id": pl.String,
    "item_id": pl.String,
    "position": pl.Int64,
    "model_version": pl.String,
    "scenario": pl.String,
    "propensity": pl.Float64,
    "experiment": pl.String,
    "variant": pl.String,
}
# Kept among the reasons of a row: how long the answer took, and who was dealt an arm where no user is known.
OF_REASONS: dict[str, type[pl.DataType]] = {"took_ms": pl.Float64, "unit": pl.String}
DONE: dict[str, type[pl.DataType]] = {
    "event_seq": pl.Int64,
    "user_id": pl.String,
    "item_id": pl.String,
    "event_time": pl.Float64,
    "action": pl.String,
    "value": pl.Float64,
    "request_id": pl.String,
}


class Experiments(Settings):
    """Experiments that were set up, and what came of them."""

    def save_experiment(self, body: dict[str, Any]) -> None:
        """Keep an experiment under its `name`, in place of an earlier one.

        Raises:
            DataError: no name, or a value that JSON can't say.
        """
        self._save(tables.experiments, "experiment", body.get("name", ""), body)

    def experiments(self) -> list[dict[str, Any]]:
        """All that are kept, by name."""
        return list(self._named(tables.experiments).values())

    def drop_experiment(self, name: str) -> bool:
        """False where there was none."""
        return self._drop(tables.experiments, "experiment", name)

    def outcomes(self, experiment: str | None, window_s: float, *, since: float = 0.0) -> pl.DataFrame:
        """What was shown in an experiment (None: everything that was shown) and what people did with it.

        An event belongs to the newest row that showed its user its item, at most `window_s` before it. Where its context holds the
        `request_id` of a list with the item, it belongs to that row.

        Args:
            since: only what was shown from this time on.

        Returns:
            A row for each shown one, by `seq`: seq, time, request_id, user_id (null: nobody we know), item_id, position, model_version, scenario,
            propensity, experiment, variant; took_ms and unit (what was dealt an arm where no user is known), null where not noted; then
            actions (list of text, in the order of the events, "event" for one without), value (of the newest event that has one, else
            null), delay_s (until the first event, null where nothing came).

        Raises:
            StorageError: the database can't be read.
        """
        with self.database.read(snapshot=True) as connection:
            return outcomes_of(connection, experiment, window_s, since)


def outcomes_of(connection: Connection, experiment: str | None, window_s: float, since: float = 0.0) -> pl.DataFrame:
    """See `Experiments.outcomes`."""
    audit, events = tables.audit, tables.events
    query = select(*(audit.c[name] for name in SHOWN), audit.c.why).where(audit.c.time >= since).order_by(audit.c.seq)
    if experiment is not None:
        query = query.where(audit.c.experiment == experiment)
    rows = [(*row[:-1], *_of_reasons(row[-1])) for row in connection.execute(query)]
    shown = pl.DataFrame(rows, schema=SHOWN | OF_REASONS, orient="row")
    if shown.is_empty():
        return attributed(shown, pl.DataFrame(schema=DONE), window_s)
    first, last = shown["time"].min(), shown["time"].max()
    columns = (events.c.seq, events.c.user_id, events.c.item_id, events.c.time, events.c.action, events.c.value, events.c.context)
    between = (events.c.time >= first, events.c.time <= last + window_s)  # type: ignore[operator]
    done = [(*row[:6], from_json(row[6]).get("request_id")) for row in connection.execute(select(*columns).where(*between))]
    return attributed(shown, pl.DataFrame(done, schema=DONE, orient="row", strict=False), window_s)


def _of_reasons(why: str | None) -> tuple[float | None, str | None]:
    """took_ms and unit, as far as the reasons of a row hold them."""
    told = from_json(why)
    took, unit = (told.get(name) for name in OF_REASONS) if isinstance(told, dict) else (None, None)
    return (float(took) if isinstance(took, int | float) else None), (unit if isinstance(unit, str) else None)


def attributed(shown: pl.DataFrame, events: pl.DataFrame, window_s: float) -> pl.DataFrame:
    """Join events (columns of `DONE`) to what was shown (columns of `SHOWN`); the rows of `shown` with actions, value, delay_s."""
    named = events.join(shown.select("seq", "time", "request_id", "item_id"), on=["request_id", "item_id"], how="inner").filter(
        (pl.col("event_time") >= pl.col("time")) & (pl.col("event_time") - pl.col("time") <= window_s)
    )
    known = shown.filter(pl.col("user_id").is_not_null() & ~pl.col("user_id").str.starts_with(GONE))
    latest = (
        events.join(named.select("event_seq"), on="event_seq", how="anti")
        .sort("event_time", "event_seq")
        .join_asof(
            known.select("seq", "time", "user_id", "item_id").sort("time", "seq"),
            left_on="event_time",
            right_on="time",
            by=["user_id", "item_id"],
            strategy="backward",
            tolerance=window_s,
            check_sortedness=False,
        )
        .drop_nulls("seq")
    )
    both = ["seq", "time", "event_seq", "event_time", "action", "value"]
    joined = pl.concat([named.select(both), latest.select(both)]).sort("event_time", "event_seq")
    done = joined.group_by("seq").agg(
        pl.col("action").fill_null("event").alias("actions"),
        pl.col("value").drop_nulls().last().alias("value"),
        (pl.col("event_time") - pl.col("time")).first().alias("delay_s"),
    )
    return shown.join(done, on="seq", how="left").with_columns(pl.col("actions").fill_null([])).sort("seq")
