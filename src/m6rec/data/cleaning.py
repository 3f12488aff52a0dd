"""Which events stay: each rule takes a frame of events, writes the account, and gives the frame back."""

from __future__ import annotations

import polars as pl

from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig
from m6rec.data.schema import more


def drop_missing(
    frame: pl.DataFrame, required: list[str], policy: str, source: str, account: Account, *, what: str = "events"
) -> pl.DataFrame:
    """Without the rows where a required column is null. Raises DataError when the policy is `error`."""
    for name in required:
        without = frame[name].is_null()
        if not without.any():
            continue
        if policy == "error":
            row = int(without.arg_true()[0]) + 1
            raise DataError(f"{source}: row {row} has no {name}{more(without)}; fill it in, or say data.missing: drop")
        account.add(f"{what} dropped", int(without.sum()), f"{source}: no {name}")
    return frame.drop_nulls(required)


def drop_unlisted(
    events: pl.DataFrame, listed: pl.Series | None, config: DataConfig, account: Account, *, what: str = "events"
) -> pl.DataFrame:
    """Policy for items of the events (or exposures) that the items table does not list."""
    if listed is None:
        return events
    unlisted = ~events[Columns.ITEM].is_in(listed.implode())
    if not unlisted.any():
        return events
    names = events.filter(unlisted)[Columns.ITEM]
    why = f"{config.items} does not list them (data.unlisted_items: {config.unlisted_items})"
    if config.unlisted_items == "error":
        raise DataError(
            f"item '{names[0]}' of the {what} is not in {config.items}{more(unlisted)}; add it, or say data.unlisted_items: keep"
        )
    if config.unlisted_items == "drop":
        account.add(f"{what} dropped", names.len(), f"of {names.n_unique():,} items: {why}")
        return events.filter(~unlisted)
    account.add("items without a row", names.n_unique(), f"kept with no text: {why}")
    return events


def drop_repeats(events: pl.DataFrame, config: DataConfig, account: Account, *, what: str = "events") -> pl.DataFrame:
    """Policy for exact repeats: events (or exposures) equal in every column read."""
    distinct = events.unique(maintain_order=True, keep="first")
    repeats = events.height - distinct.height
    if config.duplicates == "drop":
        account.add(f"{what} dropped", repeats, "exact repeats of an earlier row (data.duplicates: drop)")
        return distinct
    account.add(
        "exact repeats kept" if what == "events" else f"exact repeats of {what} kept", repeats, "data.duplicates: drop leaves them out"
    )
    return events


def drop_rare(events: pl.DataFrame, config: DataConfig, account: Account) -> pl.DataFrame:
    """Users and items under their minimum lose their events, again and again until all that is left is above (k-core)."""
    if config.min_user_events <= 1 and config.min_item_events <= 1:
        return events
    before, rounds = events.height, 0
    while True:
        rounds += 1
        kept = events.filter(pl.len().over(Columns.USER) >= config.min_user_events)
        kept = kept.filter(pl.len().over(Columns.ITEM) >= config.min_item_events)
        if kept.height == events.height:
            break
        events = kept
    reason = f"fewer than {config.min_user_events} events of the user or {config.min_item_events} of the item, in {rounds} rounds"
    account.add("events dropped", before - events.height, reason)
    return events
