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


def with_numbers(dataset: Dataset, place: str, **columns: np.ndarray) -> Dataset:
    table: Table = getattr(dataset, place)
    frame = table.frame.with_columns(pl.Series(name, values) for name, values in columns.items())
    return replace(dataset, **{place: Table(table.ids, frame, table.fields | dict.fromkeys(columns, FieldType.NUMBER))})


def of_each(keys: np.ndarray, values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    sums = np.bincount(keys, values, minlength=size)
    return sums / np.maximum(np.bincount(keys, minlength=size), 1), sums


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rate_over_held_out_rows_is_refused_and_one_of_training_rows_is_not(seed: int) -> None:
    dataset, clicked = made(seed)
    rows, generator = dataset.exposures, np.random.default_rng(seed)
    assert rows is not None
    parts = np.repeat(np.array([0, 1, 2], dtype=np.int8), [3200, 400, 400])
    training = parts == 0
    ctr, clicks = of_each(rows.items, clicked, ITEMS)
    known_ctr, known_clicks = of_each(rows.items[training], clicked[training], ITEMS)
    own_ctr, _ = of_each(rows.users, clicked, USERS)
    true = 0.05 + 0.5 * (np.arange(ITEMS) % 5 == 0)
    honest = with_numbers(dataset, "items", known_ctr=known_ctr, known_clicks=known_clicks, true=true, seen=generator.random(ITEMS))
    assert not any(leak.certain for leak in suspected_leaks(honest, click(clicked), parts))
    leaky = with_numbers(honest, "items", ctr=np.round(ctr, 4), clicks=clicks, bounce=1 - ctr)
    leaky = with_numbers(leaky, "users", own_ctr=own_ctr)
    found = suspected_leaks(leaky, click(clicked), parts)
    assert {(leak.place, leak.column) for leak in found if leak.certain} == {
        ("fields.items", "ctr"),
        ("fields.items", "clicks"),
        ("fields.items", "bounce"),
        ("fields.users", "own_ctr"),
    }
    with pytest.raises(
        DataError,
        match=r"task click: 'ctr' \(fields.items\) is the mean of the label of each item, held-out rows counted in, rank correlation "
        r"(1.000|0.999) over 4,000 rows; it knows the test: take 'ctr' out of fields.items, or make it of training rows only",
    ):
        refuse_leaks([leak for leak in found if leak.column == "ctr"])
    unheld = suspected_leaks(leaky, click(clicked), np.zeros(ROWS, dtype=np.int8))
    assert not any(leak.certain for leak in unheld)  # nothing is held out


def test_a_rate_of_items_that_are_all_held_out_and_of_other_labels_is_found() -> None:
    dataset, clicked = made(4)
    rows, generator = dataset.exposures, np.random.default_rng(4)
    assert rows is not None
    cold = np.where(rows.items % 2 == 0, 2, 0).astype(np.int8)  # 30 of the items are never trained on
    stars = np.clip(np.round(2 + rows.items % 3 + generator.normal(0, 1, ROWS)), 1, 5)
    seconds = rows.items * 3.0 + generator.exponential(20, ROWS)
    labels = {
        "click": Labels("binary", ["no", "yes"], clicked.astype(np.float32)),
        "stars": Labels("ordinal", ["1", "2", "3", "4", "5"], (stars - 1).astype(np.float32)),
        "stay": Labels("number", [], seconds.astype(np.float32)),
    }
    length = np.arange(ITEMS) * 3.0  # goes with the seconds almost as well as their mean, honestly
    fields = {task: of_each(rows.items, values, ITEMS)[0] for task, values in (("click", clicked), ("stars", stars), ("stay", seconds))}
    leaky = with_numbers(dataset, "items", length=length, **{f"mean_{task}": values for task, values in fields.items()})
    for parts in (cold, np.repeat(np.array([0, 2], dtype=np.int8), ROWS // 2)):
        found = suspected_leaks(leaky, labels, parts)
        assert {(leak.task, leak.column) for leak in found if leak.certain} == {(task, f"mean_{task}") for task in labels}


def test_a_mean_of_the_column_that_a_condition_reads_is_found() -> None:
    dataset, _ = made(5)
    assert dataset.exposures is not None
    stars = np.random.default_rng(5).integers(1, 6, ROWS).astype(float)
    dataset = replace(dataset, exposures=replace(dataset.exposures, labels=pl.DataFrame({"stars": stars})))
    rated = with_numbers(dataset, "items", score=of_each(dataset.exposures.items, stars, ITEMS)[0])  # type: ignore[union-attr]
    liked = {"liked": read_labels(pl.Series(stars), None, ">=4", what="w")}
    found = suspected_leaks(rated, liked, np.repeat(np.array([0, 2], dtype=np.int8), [3200, 800]))
    assert [leak.line().partition(", held-out")[0] for leak in found] == [
        "'score' (fields.items) is the mean of the label column 'stars' of each item"
    ]


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


def test_numbers_and_tags_that_are_the_label_under_another_name() -> None:
    generator = np.random.default_rng(0)
    size = 60
    price = np.round(generator.lognormal(3, 1, size), 2)
    tags = [
        sorted(generator.choice(["red", "green", "blue", "warm"], generator.integers(1, 4), replace=False).tolist()) for _ in range(size)
    ]
    number = {"red": "1", "green": "2", "blue": "3", "warm": "4"}
    frame = pl.DataFrame(
        {
            "price": price,
            "cents": [None if row == 7 else round(value * 100) for row, value in enumerate(price)],
            "cheapness": -np.log(price),
            "band": np.digitize(price, np.quantile(price, [0.25, 0.5, 0.75])).astype(float),
            "weight": price * generator.lognormal(0, 0.5, size),
            "tags": tags,
            "labels": [list(reversed(some)) for some in tags],
            "tag_ids": [[number[tag] for tag in some] for some in tags],
            "most_tags": [some[:1] if row % 9 == 0 else some for row, some in enumerate(tags)],
        },
        strict=False,
    )
    fields = {name: FieldType.TAGS if "tag" in name or name == "labels" else FieldType.NUMBER for name in frame.columns}
    names = [f"i{item}" for item in range(size)]
    nobody = Table(Vocabulary([]), pl.DataFrame({"user_id": []}), {})
    dataset = Dataset(
        Table(Vocabulary(names), frame, fields), nobody, Histories(offsets=np.zeros(1, dtype=np.int64), items=np.zeros(0, dtype=np.int32))
    )
    priced = item_leaks(dataset, "price", read_labels(frame["price"], "number", what="w"), "price")
    assert {leak.column for leak in priced} == {"cents", "cheapness"}
    with pytest.raises(
        DataError, match=r"task price: 'cents' \(fields.items\) has the order of the label, rank correlation 1.000 over 59 rows"
    ):
        refuse_leaks(priced)
    tagged = item_leaks(dataset, "tags", read_labels(frame["tags"], "tags", what="w"), "tags")
    assert {leak.column for leak in tagged} == {"labels", "tag_ids"}
    few = Dataset(Table(Vocabulary(names[:19]), frame[:19], fields), nobody, dataset.histories)
    for name in ("price", "tags"):  # as good as chance
        assert item_leaks(few, name, read_labels(frame[:19][name], "number" if name == "price" else "tags", what="w"), name) == []
