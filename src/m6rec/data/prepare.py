"""From files to a `Dataset`: read, check, clean, number, sort. `prepare` reads top to bottom.

Sequence: where an `order` column exists it decides the order of a user's events and times may be unknown; otherwise the time decides,
and events of equal time stay in the order of the files. Dense ids: items and users in the order of their table, then those that only
the events know, in the order of their first event, then those that only the exposures know. Exposures are placed among the events of
their user (see `exposure_rows`) and see those strictly before them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.cleaning import drop_rare, drop_repeats, drop_unlisted
from m6rec.data.columns import Columns
from m6rec.data.config import DataConfig, FieldsConfig, ScenariosConfig
from m6rec.data.dataset import Dataset, Table, Vocabulary
from m6rec.data.dialogue_rows import named_events
from m6rec.data.dialogues import CONTEXT, dialogue_texts, read_dialogues, with_known_items
from m6rec.data.events import read_events
from m6rec.data.exposure_columns import Wanted
from m6rec.data.exposure_files import (
    drop_unlisted_exposures,
    exposures_of_events,
    read_exposures,
    require_scenario,
    with_outcome_events,
)
from m6rec.data.exposure_rows import describe_exposures, number_exposures
from m6rec.data.exposures import Exposures
from m6rec.data.fields import FieldType
from m6rec.data.guessing import guess_fields
from m6rec.data.readers import read_table
from m6rec.data.schema import canonical
from m6rec.data.side_tables import read_faq, read_relations, read_texts, require_fields, with_dialogues
from m6rec.data.store import fingerprint, load_dataset, save_dataset
from m6rec.data.tables import empty_column, frame_to_table

__all__ = ["Account", "frame_to_table", "load_dataset", "prepare", "save_dataset"]

MAX_CODES = 1_000  # names of actions or scenarios; more means that the column is something else


def prepare(
    data: DataConfig,
    fields: FieldsConfig,
    scenarios: ScenariosConfig,
    folder: Path,
    *,
    now: float | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Dataset, Account]:
    """The dataset that `data` describes, and the account of what was read, kept and dropped.

    Args:
        folder: what the paths in `data` are relative to.
        now: seconds since 1970 that times are held against; None is this moment.
        labels: the columns that tasks read as labels. `candidate`: of `data.exposures`, or of the events where that is null; `text`:
            of the texts, beside which they are kept; `item`: fields of the items.

    Raises:
        DataError: a file or a cell that can't be used (see `DataConfig` for what is dropped instead), or nothing to learn from.
    """
    account = Account()
    now = time.time() if now is None else now
    labels = {} if labels is None else labels
    wanted = Wanted.of(data, fields, labels.get("candidate", ()))
    items = _read_entities(data, "items", data.items, fields.items, folder, account)
    users = _read_entities(data, "users", data.users, fields.users, folder, account)
    require_fields(items, labels.get("item", ()), data.items)
    in_events = data.exposures is None and data.events is not None and len(wanted.labels) > 0  # the events are the exposures too
    dialogues = read_dialogues(data, folder, account=account)
    if data.events is None:
        assert dialogues is not None  # else the configuration is refused
        events = named_events(dialogues)
        account.add("events made of dialogues", events.height, "items that training dialogues name, one user a dialogue")
    else:
        events = read_events(data, scenarios, folder, now=now, account=account, wanted=wanted if in_events else None)
    sequence = Columns.ORDER if Columns.ORDER in events.columns else Columns.TIME
    listed = None if items is None else items.frame[Columns.ITEM]
    exposures = None
    if data.exposures is not None:
        exposures = read_exposures(data, scenarios, folder, wanted, sequence, now=now, account=account)
        exposures = drop_unlisted_exposures(exposures, listed, data, account)
        events = with_outcome_events(events, exposures, data.history_labels, sequence, account)
        require_scenario(scenarios, events, exposures)

    events = drop_unlisted(events, listed, data, account)
    events = drop_repeats(events, data, account)
    events = drop_rare(events, data, account)
    if events.height == 0:
        raise DataError("no events are left after cleaning; look at the account, and at data.min_user_events and data.min_item_events")
    if in_events:
        events, exposures = exposures_of_events(events)

    items = _catalogue(items, events, exposures, Columns.ITEM, drop_unseen=data.unseen_items == "drop", account=account)
    users = _catalogue(users, events, exposures, Columns.USER, drop_unseen=False, account=account)
    if len(items) < 2:
        raise DataError(f"the catalogue has one item ('{items.ids.ids[0]}'): there is nothing to choose from; at least two are needed")
    histories, orders, actions, scenario_names = _histories(events, exposures, users, items)
    rows = None if exposures is None else _exposures(exposures, users, items, scenario_names, histories, orders, wanted)
    beside = [name for name in labels.get("text", ()) if dialogues is None or name != CONTEXT]  # dialogues bring that column with them
    texts = read_texts(data, folder, account=account, labels=beside)
    relations = read_relations(data, folder, account=account)
    if dialogues is not None:
        dialogues = with_known_items(dialogues, items.ids, account)
    faq = read_faq(data, folder, account=account)
    if dialogues is not None:
        texts = with_dialogues(texts, dialogue_texts(dialogues))
    _describe(items, users, histories, account)
    if rows is not None:
        describe_exposures(rows, account)

    dataset = Dataset(items, users, histories, actions, scenario_names, texts, relations, dialogues, faq, rows)
    return Dataset(**{**vars(dataset), "fingerprint": fingerprint(dataset)}), account


def _read_entities(
    data: DataConfig, table: str, file: str | None, declared: Mapping[str, str] | None, folder: Path, account: Account
) -> Table | None:
    """The items or users table, or None without one."""
    if file is None:
        if declared:
            raise DataError(f"fields.{table} declares {', '.join(declared)}, but there is no {table} table; say data.{table}: <file>")
        return None
    id_column = {"items": Columns.ITEM, "users": Columns.USER}[table]
    frame = read_table(folder / file, separator=data.separator, encoding=data.encoding)
    account.add(f"{table} read", frame.height, file)
    frame = canonical(frame, table, data.columns, file)
    if declared is None:
        types = guess_fields(frame, id_column)
        account.add(f"{table} fields guessed", len(types), ", ".join(f"{name}: {kind}" for name, kind in types.items()))
    else:
        types = {name: FieldType(kind) for name, kind in declared.items()}
        unused = [name for name in frame.columns if name not in types and name != id_column]
        account.add(f"{table} columns not used", len(unused), ", ".join(unused))
    return frame_to_table(
        frame,
        types,
        id_column,
        source=file,
        missing=data.missing,
        tags_separator=data.tags_separator,
        max_text_characters=data.max_text_characters,
        account=account,
    )


def _catalogue(
    table: Table | None, events: pl.DataFrame, exposures: pl.DataFrame | None, id_column: str, *, drop_unseen: bool, account: Account
) -> Table:
    """The table's rows, then those that only the events know, in the order of their first event, then those of the exposures."""
    seen = events[id_column] if exposures is None else pl.concat([events[id_column], exposures[id_column]])
    seen = seen.unique(maintain_order=True)
    if table is None:
        return Table(Vocabulary(seen.to_list()), pl.DataFrame({id_column: seen}), {})
    frame = table.frame
    if drop_unseen:
        kept = frame.filter(pl.col(id_column).is_in(seen.implode()))
        account.add("items dropped", frame.height - kept.height, "no events (data.unseen_items: drop)")
        frame = kept
    new = seen.filter(~seen.is_in(frame[id_column].implode()))
    if new.len():
        empty = [empty_column(name, kind, new.len()) for name, kind in table.fields.items()]
        frame = pl.concat([frame, pl.DataFrame([new, *empty])])
    return Table(Vocabulary(frame[id_column].to_list()), frame, table.fields)


def _histories(
    events: pl.DataFrame, exposures: pl.DataFrame | None, users: Table, items: Table
) -> tuple[Histories, np.ndarray | None, list[str], list[str]]:
    """Dense, sorted, compressed: one row per user of the table; the order of every event where an order decides; names of codes."""
    sequence = Columns.ORDER if Columns.ORDER in events.columns else Columns.TIME
    dense = events.with_columns(
        _dense(events[Columns.USER], users.ids).alias(Columns.USER),
        _dense(events[Columns.ITEM], items.ids).alias(Columns.ITEM),
    ).sort(Columns.USER, sequence, maintain_order=True)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(dense[Columns.USER].to_numpy(), minlength=len(users)))]).astype(np.int64)
    action_names = _names(Columns.ACTION, events)
    scenario_names = _names(Columns.SCENARIO, events, exposures)
    histories = Histories(
        offsets=offsets,
        items=dense[Columns.ITEM].to_numpy().astype(np.int32),
        times=_floats(dense, Columns.TIME, np.float64),
        actions=_codes(dense, Columns.ACTION, action_names),
        scenarios=_codes(dense, Columns.SCENARIO, scenario_names),
        values=_floats(dense, Columns.VALUE, np.float32),
    )
    orders = dense[Columns.ORDER].to_numpy() if sequence == Columns.ORDER else None
    return histories, orders, action_names, scenario_names


def _exposures(
    frame: pl.DataFrame,
    users: Table,
    items: Table,
    scenario_names: list[str],
    histories: Histories,
    orders: np.ndarray | None,
    wanted: Wanted,
) -> Exposures:
    placed_by_order = orders is not None and Columns.ORDER in frame.columns
    if not placed_by_order and histories.times is None:
        raise DataError(
            "the events have only an order and the exposures only times, so what came before an exposure is unknown; give the events times, "
            "or the exposures the order: data.columns: {exposures.order: <its column>}"
        )
    return number_exposures(
        frame,
        _dense(frame[Columns.USER], users.ids).to_numpy().astype(np.int32),
        _dense(frame[Columns.ITEM], items.ids).to_numpy().astype(np.int32),
        _codes(frame, Columns.SCENARIO, scenario_names),
        histories,
        orders if placed_by_order else None,
        wanted,
    )


def _dense(names: pl.Series, vocabulary: Vocabulary) -> pl.Series:
    known = pl.Series(vocabulary.ids, dtype=pl.String)
    return names.replace_strict(known, pl.int_range(len(vocabulary), dtype=pl.Int32, eager=True))


def _floats(dense: pl.DataFrame, name: str, dtype: type[np.floating]) -> np.ndarray | None:
    if name not in dense.columns or dense[name].null_count() == dense.height:
        return None
    return dense[name].fill_null(float("nan")).to_numpy().astype(dtype)


def _names(name: str, *frames: pl.DataFrame | None) -> list[str]:
    """The names of a column in the order of the files. A row without one is 'unknown', where others have one."""
    found = [frame[name].fill_null("unknown") for frame in frames if frame is not None and _is_known(frame, name)]
    names: list[str] = pl.concat(found).unique(maintain_order=True).to_list() if found else []
    if len(names) > MAX_CODES:
        raise DataError(f"column '{name}' has {len(names):,} different values ('{names[0]}', ...); at most {MAX_CODES:,} are allowed")
    return names


def _codes(frame: pl.DataFrame, name: str, names: list[str]) -> np.ndarray | None:
    """int16 codes of a column, None where nothing is known of it."""
    if not _is_known(frame, name):
        return None
    return _dense(frame[name].fill_null("unknown"), Vocabulary(names)).to_numpy().astype(np.int16)


def _is_known(frame: pl.DataFrame, name: str) -> bool:
    return name in frame.columns and frame[name].null_count() < frame.height


def _describe(items: Table, users: Table, histories: Histories, account: Account) -> None:
    """What came out, and what one should know about it."""
    lengths = histories.lengths
    seen = np.bincount(histories.items, minlength=len(items))
    worded = [name for name, kind in items.fields.items() if kind == FieldType.TEXT]
    if worded:
        without = items.frame.select(pl.all_horizontal(pl.col(worded).is_null()).sum()).item()
        account.add("items without text", without, f"none of {', '.join(worded)}; worded from their other fields, if any")
    else:
        account.add("items without text", len(items), "no text field is known; items are told apart by their other fields and their ids")
    account.add("items without events", int((seen == 0).sum()), "cold: recommended by their text and fields (data.unseen_items: drop)")
    account.add("users without events", int((lengths == 0).sum()), "known by their profile only")
    account.add("users with one event", int((lengths == 1).sum()), "nothing follows it: it counts for popularity only")
    account.add("items", len(items), "the catalogue")
    account.add("users", len(users))
    account.add("events", len(histories.items), f"{int(np.median(lengths[lengths > 0]))} a user (median)")
