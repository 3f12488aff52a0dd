"""Which rows that are judged (exposures, texts, items) are trained on, and what else must then be kept from training.

Parts are int8: 0 training, 1 validation, 2 test, -1 in none of them.

Dimension keys: X rows, E events, N items.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError
from m6rec.data.columns import Columns
from m6rec.data.config import SplitConfig
from m6rec.data.dataset import Dataset
from m6rec.data.exposure_rows import next_known
from m6rec.data.exposures import Exposures
from m6rec.data.splits import Split, held_roles, keep_events, moments, shown

NAMES = ("training", "validation", "test")
OUT, TRAINING, VALIDATION, TEST = -1, 0, 1, 2
TRAINING_SHARE, VALIDATION_SHARE = 80, 10  # per cent of texts and items, where nothing else decides


def split_rows(dataset: Dataset, config: SplitConfig, seed: int) -> np.ndarray:
    """int8 (X,): the part of every exposure.

    Their own `split` column decides where there is one. Otherwise, by `config.protocol`:
    time: by the same two moments as the events. A row of unknown time counts as happening when the user's next dated event did.
    leave_one_out: where times are known, the newest `test_fraction` of the rows are the test and the `validation_fraction` before
        them the validation; where only an order is known, of users with 3 or more rows the last one and the one before it.
    cold_items, cold_users: the rows of the items or users that the events' split holds out for validation and test.

    Raises:
        DataError: a part is empty.
        ConfigError: validation does not start before test.
    """
    rows = _rows(dataset)
    if rows.parts is not None:
        parts = np.asarray(rows.parts, dtype=np.int8)
        how = "their own split column"
    elif config.protocol in ("cold_items", "cold_users"):
        roles = held_roles(dataset, config, seed)
        parts = roles[rows.items if config.protocol == "cold_items" else rows.users]
        how = f"split.protocol {config.protocol}"
    elif config.protocol == "leave_one_out" and rows.times is None:
        parts = _last_two(rows)
        how = "the last two of every user"
    else:
        times = row_times(dataset)
        validation_from, test_from = row_moments(dataset, config)
        parts = ((times >= validation_from).astype(np.int8) + (times >= test_from)).astype(np.int8)
        parts[np.isinf(times)] = OUT
        how = f"validation from {shown(validation_from)}, test from {shown(test_from)}"
    counts = [int((parts == part).sum()) for part in range(3)]
    for name, count in zip(NAMES, counts, strict=True):
        if not count:
            found = ", ".join(f"{count:,} {name}" for name, count in zip(NAMES, counts, strict=True))
            raise DataError(
                f"the exposures have no {name} rows ({found}; by {how}); give more rows, a split column, or set split.validation_from and "
                "split.test_from within their times"
            )
    return parts


def row_times(dataset: Dataset) -> np.ndarray:
    """float64 (X,): the time of every exposure; where it is unknown, that of the user's next dated event, +inf without one."""
    rows = _rows(dataset)
    times = np.full(len(rows), np.nan) if rows.times is None else np.array(rows.times, dtype=np.float64)
    unknown = np.flatnonzero(np.isnan(times))
    if len(unknown) and dataset.histories.times is not None:
        following = np.append(next_known(dataset.histories), np.inf)
        cuts = rows.cuts[unknown]
        times[unknown] = np.where(cuts < dataset.histories.offsets[1:][rows.users[unknown]], following[cuts], np.inf)
    return np.where(np.isnan(times), np.inf, times)


def row_moments(dataset: Dataset, config: SplitConfig) -> tuple[float, float]:
    """Where validation and test start for exposures that are split by time: the moments of the events (time), else quantiles of the rows.

    Raises:
        DataError: no times.  ConfigError: validation does not start before test.
    """
    if config.protocol == "time":
        times = dataset.histories.times
        if times is None or np.isnan(times).all():
            raise DataError(
                "the time split needs a time for the events and these have only an order; type: --set split.protocol=leave_one_out"
            )
        return moments(times[~np.isnan(times)], config)
    times = row_times(dataset)
    if np.isinf(times).all():
        raise DataError("no exposure has a time; give them a time column, or a split column")
    return moments(times[~np.isinf(times)], config.model_copy(update={"validation_from": None, "test_from": None}))


def hold_back(split: Split, dataset: Dataset, parts: np.ndarray) -> Split:
    """The split of the events without those training events that would tell what becomes of exposures held out.

    Where the exposures are split by time (no training row is later than a row held out), every training event from the first
    held-out row on is left out: what is trained on ends where the validation of the exposures starts. Otherwise those events are left
    out that a held-out row may have become: the same user and item, not before the row. Cases are left as they are.

    Args:
        parts: int8 (X,), as `split_rows` gives them.
    """
    times, train = row_times(dataset), split.train
    held = parts > TRAINING
    first = times[held].min(initial=np.inf)
    by_time = np.isfinite(first) and bool((times[parts == TRAINING] <= first).all())
    placed = None if train.times is None else next_known(train)
    if by_time and placed is not None:
        kept = placed < first
        how = f"events from {shown(first)} on are not trained on either, since exposures are held out from then"
    else:
        kept = ~_outcomes(train, placed, dataset, times, held)
        how = "events that held-out exposures may have become are not trained on"
    if kept.all():
        return split
    remaining = keep_events(train, kept)
    if not len(remaining.items):
        raise DataError("nothing is left to train on before the held-out exposures start; give older events, or hold out fewer exposures")
    seen = np.bincount(remaining.items, minlength=len(dataset.items)).astype(np.int64)
    statement = f"{split.statement.removesuffix('.')}; {how} ({int((~kept).sum()):,} events)."
    return replace(split, train=remaining, seen=seen, statement=statement)


def readable(dataset: Dataset, config: SplitConfig, seed: int) -> tuple[Histories, np.ndarray]:
    """The histories that exposures are judged by, and the `cuts` of the exposures in them: cold_items takes the events of held-out items
    out, as `split` does; otherwise they are those of the dataset."""
    rows = _rows(dataset)
    if config.protocol != "cold_items":
        return dataset.histories, rows.cuts
    kept = held_roles(dataset, config, seed)[dataset.histories.items] == 0
    return keep_events(dataset.histories, kept), np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)[rows.cuts]


def split_texts(texts: pl.DataFrame, label: str | None = None) -> np.ndarray:
    """int8: the part of every text: its own `split` where it has one, else by a hash of the text (case and blanks aside), 80/10/10.

    Equal texts are in one part. A repeat of an earlier text is in none (-1); rows with the column `label` are only repeats of rows that
    have it too, so a text known from two places keeps both its labels.
    """
    plain = texts[Columns.TEXT].str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    distinct, codes = np.unique(plain.to_numpy(), return_inverse=True)
    by_text = np.array([_part(text) for text in distinct.tolist()], dtype=np.int8)
    parts = by_text[codes]
    known = np.zeros(len(texts), dtype=np.int64) if label is None else texts[label].is_not_null().to_numpy().astype(np.int64)
    _, first = np.unique(codes * 2 + known, return_index=True)
    repeated = np.ones(len(texts), dtype=bool)
    repeated[first] = False
    parts[repeated] = OUT
    if Columns.SPLIT in texts.columns:
        own = texts[Columns.SPLIT]
        parts = np.where(own.is_null().to_numpy(), parts, own.fill_null(0).to_numpy()).astype(np.int8)
    return parts


def split_items(dataset: Dataset, config: SplitConfig, seed: int) -> np.ndarray:
    """int8 (N,): the part of every item, for tasks that judge items alone: the held-out items under cold_items, else by a hash of the
    item's id, 80/10/10."""
    if config.protocol == "cold_items":
        return held_roles(dataset, config, seed)
    return np.array([_part(name) for name in dataset.items.ids.ids], dtype=np.int8)


def _rows(dataset: Dataset) -> Exposures:
    if dataset.exposures is None or not len(dataset.exposures):
        raise DataError("there are no exposures to judge; say data.exposures: <file>, or name a column of the events as a task's label")
    return dataset.exposures


def _last_two(rows: Exposures) -> np.ndarray:
    """Of users with three rows or more the last row (by the order, then as in the file) is test, the one before it validation."""
    order = np.lexsort((np.arange(len(rows)), rows.cuts, rows.users))
    users = rows.users[order]
    counts = np.bincount(users)
    from_end = np.cumsum(counts)[users] - 1 - np.arange(len(rows))  # 0: the user's last
    placed = np.where(from_end == 0, TEST, np.where(from_end == 1, VALIDATION, TRAINING))
    parts = np.empty(len(rows), dtype=np.int8)
    parts[order] = np.where(counts[users] >= 3, placed, TRAINING)
    return parts


def _outcomes(train: Histories, placed: np.ndarray | None, dataset: Dataset, times: np.ndarray, held: np.ndarray) -> np.ndarray:
    """bool (E,): training events of a held-out row's user and item that are not before it (of unknown time: may not be)."""
    rows = _rows(dataset)
    pairs = rows.users.astype(np.int64) * len(dataset.items) + rows.items
    first = pl.DataFrame({"pair": pairs[held], "time": times[held]}).group_by("pair").agg(pl.col("time").min()).sort("pair")
    known, earliest = first["pair"].to_numpy(), first["time"].to_numpy()
    if not len(known):
        return np.zeros(len(train.items), dtype=bool)
    own = np.repeat(np.arange(len(train)), train.lengths) * len(dataset.items) + train.items
    at = np.minimum(np.searchsorted(known, own), len(known) - 1)
    same = known[at] == own
    if placed is None:
        return same
    since: np.ndarray = np.where(np.isinf(earliest), -np.inf, earliest)[at]
    return same & (placed >= since)


def _part(text: str) -> int:
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % 100
    return TRAINING if number < TRAINING_SHARE else VALIDATION if number < TRAINING_SHARE + VALIDATION_SHARE else TEST
