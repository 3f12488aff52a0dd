"""Exposures with dense ids, in order of time, and how much of its user's history each of them may see.

Dimension keys: X exposures, E events, U users.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.exposure_columns import CONTEXT, LABEL, Wanted
from m6rec.data.exposures import Exposures


def number_exposures(
    frame: pl.DataFrame,
    users: np.ndarray,
    items: np.ndarray,
    scenarios: np.ndarray | None,
    histories: Histories,
    orders: np.ndarray | None,
    wanted: Wanted,
) -> Exposures:
    """The rows of `frame` (see `exposure_files`) as `Exposures`.

    Args:
        users, items: dense ids of the rows, int32 (X,).  scenarios: codes, int16 (X,), or None.
        orders: (E,) the order of every event of `histories`, where an order decides and the exposures have one too; None: times decide.
    """
    times = frame[Columns.TIME].fill_null(float("nan")).to_numpy().astype(np.float64) if Columns.TIME in frame.columns else None
    if orders is not None:
        cuts = cuts_before(histories.offsets, orders, users, frame[Columns.ORDER].to_numpy())
    else:
        assert times is not None
        cuts = cuts_before(histories.offsets, placed_times(histories), users, times)
    lists = None
    if Columns.LIST in frame.columns and frame[Columns.LIST].null_count() < frame.height:
        # A list is shown to one user: equal ids of two users are two lists.
        lists = frame.select(pl.struct(Columns.USER, Columns.LIST).rank("dense").cast(pl.Int64) - 1).to_series().to_numpy().copy()
        lists[frame[Columns.LIST].is_null().to_numpy()] = -1
    rows = Exposures(
        users=users,
        items=items,
        cuts=cuts,
        times=times,
        scenarios=scenarios,
        positions=_floats(frame, Columns.POSITION),
        propensities=_floats(frame, Columns.PROPENSITY),
        lists=lists,
        parts=frame[Columns.SPLIT].to_numpy().astype(np.int8) if Columns.SPLIT in frame.columns else None,
        context=frame.select(pl.col(CONTEXT + name).alias(name) for name in wanted.context),
        context_fields=wanted.context,
        labels=frame.select(pl.col(LABEL + name).alias(name) for name in wanted.labels),
    )
    if times is None:
        return rows
    return rows.rows(np.argsort(times, kind="stable"))  # those of unknown time last


def describe_exposures(rows: Exposures, account: Account) -> None:
    """What came out, and what one should know about it."""
    for name in rows.labels.columns:
        column = rows.labels[name]
        known = len(column) - column.null_count()
        share = ""
        if column.dtype == pl.Float64 and known and bool(column.drop_nulls().is_in([0.0, 1.0]).all()):
            share = f"; {np.mean(column.drop_nulls().to_numpy()):.2%} of them are 1"
        account.add(f"labels of {name}", known, f"of {len(rows):,} exposures{share}")
    account.add("exposures", len(rows), f"of {len(np.unique(rows.users)):,} users and {len(np.unique(rows.items)):,} items")


def cuts_before(offsets: np.ndarray, event_keys: np.ndarray, users: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """int64 (X,): for each row the end of that part of its user's events whose key is strictly below the row's own.

    Args:
        offsets: int64 (U + 1,), as in `Histories`.  event_keys: (E,) times or orders, never falling within a user.
        users: (X,) dense users.  keys: (X,); NaN: nothing is known to be before, the row sees no event.
    """
    event_users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    keys = np.where(np.isnan(keys), -np.inf, keys) if keys.dtype.kind == "f" else keys
    # All keys of all users in one order, rows before events of the same key: the events counted up to a row are those strictly before it.
    is_event = np.concatenate([np.zeros(len(users), dtype=np.int8), np.ones(len(event_users), dtype=np.int8)])
    order = np.lexsort((is_event, np.concatenate([keys, event_keys]), np.concatenate([users, event_users])))
    before = np.cumsum(is_event[order], dtype=np.int64)
    cuts = np.empty(len(order), dtype=np.int64)
    cuts[order] = before
    return cuts[: len(users)]


def placed_times(histories: Histories) -> np.ndarray:
    """float64 (E,): the latest moment at which every event can have happened, never falling within a user.

    An event of unknown time happened no later than the user's next dated event; with none to follow it is placed at +inf. An event
    that stands behind a later one, by an order that contradicts the times, is placed with that one.
    """
    assert histories.times is not None
    placed = next_known(histories)
    user_of = np.repeat(np.arange(len(histories)), histories.lengths)
    return pl.DataFrame({"user": user_of, "time": placed}).select(pl.col("time").cum_max().over("user")).to_series().to_numpy()


def next_known(histories: Histories) -> np.ndarray:
    """float64 (E,): the time of the user's next event that has one (its own included), +inf where none follows."""
    times = histories.times
    assert times is not None
    count = len(times)
    dated = np.where(np.isnan(times), count, np.arange(count))
    following = np.minimum.accumulate(dated[::-1])[::-1]  # E: position of the next dated event, of any user
    row_end = np.repeat(histories.offsets[1:], histories.lengths)
    return np.where(following < row_end, np.append(times, np.inf)[following], np.inf)


def _floats(frame: pl.DataFrame, name: str) -> np.ndarray | None:
    if name not in frame.columns or frame[name].null_count() == frame.height:
        return None
    return frame[name].fill_null(float("nan")).to_numpy().astype(np.float32)
