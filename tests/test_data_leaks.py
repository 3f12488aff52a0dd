"""Columns that know the answer are found and named; those that only help are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError
from m6rec.data.dataset import Dataset, Exposures, FieldType, Table, Vocabulary
from m6rec.data.labels import Labels, read_labels
from m6rec.data.leaks import item_leaks, refuse_leaks, suspected_leaks

USERS, ITEMS, ROWS = 50, 60, 4000


def made(seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """A log where clicks follow item and device honestly, and its clicks."""
    generator = np.random.default_rng(seed)
    users, items = generator.integers(0, USERS, ROWS), generator.integers(0, ITEMS, ROWS)
    device = generator.integers(0, 3, ROWS)
    clicked = (generator.random(ROWS) < 0.05 + 0.5 * (items % 5 == 0) + 0.2 * (device == 1)).astype(float)
    rows = Exposures(
        users=users.astype(np.int32),
        items=items.astype(np.int32),
        cuts=np.zeros(ROWS, dtype=np.int64),
        times=np.arange(ROWS, dtype=np.float64) * 1000,
        context=pl.DataFrame({"device": device.astype(str)}),
        context_fields={"device": FieldType.CATEGORY},
        labels=pl.DataFrame({"clicked": clicked}),
    )
    item_ids, user_ids = [f"i{item}" for item in range(ITEMS)], [f"u{user}" for user in range(USERS)]
    table = pl.DataFrame({"item_id": item_ids, "shelf": [str(item % 5) for item in range(ITEMS)], "price": generator.random(ITEMS)})
    histories = Histories(
        offsets=np.arange(USERS + 1, dtype=np.int64), items=(np.arange(USERS) % ITEMS).astype(np.int32), times=np.zeros(USERS)
    )
    dataset = Dataset(
        Table(Vocabulary(item_ids), table, {"shelf": FieldType.CATEGORY, "price": FieldType.NUMBER}),
        Table(Vocabulary(user_ids), pl.DataFrame({"user_id": user_ids}), {}),
        histories,
        exposures=rows,
    )
    return dataset, clicked


def with_context(dataset: Dataset, **columns: list | np.ndarray) -> Dataset:
    assert dataset.exposures is not None
    kinds = {name: FieldType.NUMBER if pl.Series(values).dtype.is_numeric() else FieldType.CATEGORY for name, values in columns.items()}
    context = dataset.exposures.context.with_columns(pl.Series(name, values, strict=False) for name, values in columns.items())
    return replace(dataset, exposures=replace(dataset.exposures, context=context, context_fields=dataset.exposures.context_fields | kinds))


def click(values: np.ndarray) -> dict[str, Labels]:
    return {"click": Labels("binary", ["no", "yes"], values.astype(np.float32))}


def test_honest_columns_are_not_accused() -> None:
    dataset, clicked = made()
    assert suspected_leaks(dataset, click(clicked)) == []
    many = with_context(dataset, request=[f"r{row}" for row in range(ROWS)], noise=np.random.default_rng(1).random(ROWS))
    assert suspected_leaks(many, click(clicked)) == []  # an id for every row says nothing of other rows


def test_what_is_known_only_afterwards_is_refused() -> None:
    dataset, clicked = made()
    generator = np.random.default_rng(2)
    dwell = np.where(clicked == 1, 5 + generator.random(ROWS) * 100, generator.random(ROWS) * 4)
    opened = [None if value == 0 else "page" for value in clicked]
    nearly = np.where(generator.random(ROWS) < 0.02, 1 - clicked, clicked)
    leaky = with_context(dataset, dwell=dwell, opened=opened, nearly=nearly, same=[str(value) for value in clicked])
    found = suspected_leaks(leaky, click(clicked))
    assert {leak.column: leak.certain for leak in found} == {"dwell": True, "opened": True, "same": True, "nearly": False}
    assert all(leak.place == "fields.context" and leak.task == "click" for leak in found)
    with pytest.raises(
        DataError,
        match=r"task click: '(dwell|opened|same)' \(fields.context\) tells the answer with an AUC of 1.000 over 4,000 rows; it is known ",
    ):
        refuse_leaks(found)
    kept = refuse_leaks([leak for leak in found if not leak.certain])
    assert len(kept) == 1
    assert "if it is known only afterwards, take 'nearly' out of fields.context" in kept[0]


def test_rows_of_unknown_label_do_not_count_and_few_rows_prove_nothing() -> None:
    dataset, clicked = made()
    leaky = with_context(dataset, same=clicked)
    few = clicked.copy()
    few[np.flatnonzero(clicked == 1)[10:]] = np.nan
    assert suspected_leaks(leaky, click(few)) == []
    half = clicked.copy()
    half[::3] = np.nan
    assert [leak.column for leak in suspected_leaks(leaky, click(half))] == ["same"]


def test_fields_of_items_and_other_kinds_of_labels() -> None:
    dataset, _ = made()
    rows = dataset.exposures
    assert rows is not None
    shelf = rows.items % 5
    classes = Labels("classes", list("abcde"), shelf.astype(np.float32))
    number = Labels("number", [], shelf * 2.5 + 1)
    tags = read_labels(pl.Series([["a", "b"] if value else ["b", "c"] for value in shelf == 2]), "tags", what="tags")
    found = suspected_leaks(dataset, {"shelf": classes, "price": number, "tags": tags})
    assert {(leak.task, leak.column) for leak in found} == {("shelf", "shelf"), ("price", "shelf"), ("tags", "shelf")}
    assert all(leak.certain and leak.place == "fields.items" for leak in found)
    assert {leak.measure.split()[-2] for leak in found} == {"AUC", "accuracy", "variance"}


def test_counts_of_the_whole_period_are_suspicious() -> None:
    dataset, clicked = made()
    assert dataset.exposures is not None
    seen = np.bincount(dataset.exposures.items, minlength=ITEMS) + dataset.seen_counts()
    generator = np.random.default_rng(3)
    loose = np.argsort(np.argsort(seen)) + generator.normal(0, 20, ITEMS)
    frame = dataset.items.frame.with_columns(pl.Series("heat", seen * 2.0), pl.Series("play_cnt", loose), pl.Series("width", loose))
    fields = {**dataset.items.fields, "heat": FieldType.NUMBER, "play_cnt": FieldType.NUMBER, "width": FieldType.NUMBER}
    counted = replace(dataset, items=Table(dataset.items.ids, frame, fields))
    found = suspected_leaks(counted, click(clicked))
    assert {leak.column: leak.certain for leak in found} == {"heat": False, "play_cnt": False}
    assert "knows the test: take 'heat' out of fields.items" in found[0].line()


def test_an_outcome_in_its_own_history_is_found() -> None:
    dataset, clicked = made()
    rows = dataset.exposures
    assert rows is not None
    assert rows.times is not None
    # Every positive row stands in the events half a second before it: the event log's clock is ahead.
    order = np.lexsort((rows.times, rows.users))
    happened = order[clicked[order] == 1]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows.users[happened], minlength=USERS))]).astype(np.int64)
    for ahead, certain in ((0.5, True), (-0.5, None)):
        times = rows.times[happened] - ahead
        cuts = np.array(
            [
                offsets[user] + np.searchsorted(times[offsets[user] : offsets[user + 1]], time)
                for user, time in zip(rows.users, rows.times, strict=True)
            ]
        )
        data = replace(
            dataset,
            histories=Histories(offsets=offsets, items=rows.items[happened], times=times),
            exposures=replace(rows, cuts=cuts.astype(np.int64)),
        )
        found = suspected_leaks(data, click(clicked))
        assert [leak.certain for leak in found] == ([] if certain is None else [certain])
        assert not found or "give events and exposures one clock" in found[0].line()


def test_a_field_that_is_the_label_under_another_name() -> None:
    names = [f"i{item}" for item in range(100)]
    frame = pl.DataFrame(
        {
            "item_id": names,
            "category": [f"c{item % 4}" for item in range(100)],
            "category_id": [str(10 + item % 4) for item in range(100)],
            "brand": [str(item % 8) for item in range(100)],
            "code": names,
        }
    )
    fields = dict.fromkeys(("category", "category_id", "brand", "code"), FieldType.CATEGORY)
    empty = Histories(offsets=np.zeros(1, dtype=np.int64), items=np.zeros(0, dtype=np.int32))
    nobody = Table(Vocabulary([]), pl.DataFrame({"user_id": []}), {})
    dataset = Dataset(Table(Vocabulary(names), frame, fields), nobody, empty)
    found = item_leaks(dataset, "category", read_labels(frame["category"], what="w"), "category")
    assert [leak.column for leak in found] == ["category_id"]
    with pytest.raises(DataError, match=r"take 'category_id' out of fields.items"):
        refuse_leaks(found)
