"""Histories that grow: order by time, unknown parts, one compact piece again; and how new events are read."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError
from m6rec.data.dataset import FieldType
from m6rec.serving.engine.additions import NewEvents, read_new_events, read_new_items
from m6rec.serving.engine.histories import HistoryStore

NOW = 1_750_000_000.0
ACTIONS, SCENARIOS = ["view", "buy"], ["shop", "video"]


def base(**changes: Any) -> Histories:
    """User 0: items 1, 2, 3 at 10, 20, 30; user 1: nothing; user 2: item 4 at 5."""
    columns = {
        "times": np.array([10.0, 20.0, 30.0, 5.0]),
        "actions": np.array([1, 0, 1, 1], dtype=np.int16),
        "scenarios": np.array([0, 1, 0, 0], dtype=np.int16),
        "values": np.array([1, np.nan, 3, 4], dtype=np.float32),
    }
    return Histories(offsets=np.array([0, 3, 3, 4]), items=np.array([1, 2, 3, 4], dtype=np.int32), **{**columns, **changes})


def store(**changes: Any) -> HistoryStore:
    return HistoryStore(base(**changes), ACTIONS, SCENARIOS)


def added(to: HistoryStore, users: list[int], items: list[int], **columns: Any) -> HistoryStore:
    to.append(np.array(users), max([len(to.base), *[user + 1 for user in users]]), np.array(items, dtype=np.int32), columns)
    return to


def read(frame: dict[str, Any], **training: Any) -> NewEvents:
    return read_new_events(pl.DataFrame(frame), {"data": {"events": "e.csv", **training}}, NOW)


def test_rows_are_those_of_the_base_until_they_grow() -> None:
    assert [store().row(user).items.tolist() for user in (0, 1, 2, 3, -1)] == [[1, 2, 3], [], [4], [], []]
    assert len(store().row(-1)) == 1


def test_events_take_their_place_by_time() -> None:
    grown = added(store(), [0, 2, 0, 0], [7, 8, 9, 6], times=np.array([25.0, 1.0, 40.0, 20.0]))
    assert grown.row(0).items.tolist() == [1, 2, 6, 7, 3, 9], "an equal time comes after the event that was there"
    assert grown.row(0).times is not None
    assert grown.row(0).times.tolist() == [10, 20, 20, 25, 30, 40]
    assert grown.row(2).items.tolist() == [8, 4]


def test_events_without_times_come_last() -> None:
    grown = added(store(), [0, 0], [9, 8])
    assert grown.row(0).items.tolist() == [1, 2, 3, 9, 8]
    assert np.isnan(grown.row(0).times[-2:]).all()
    assert added(grown, [0], [7], times=np.array([15.0])).row(0).items.tolist() == [1, 2, 3, 9, 8, 7]


def test_an_order_that_contradicts_the_times_is_kept() -> None:
    """Where an order column placed the events, their times must not move them."""
    grown = added(store(times=np.array([30.0, 20.0, 10.0, 5.0])), [0], [9], times=np.array([1.0]))
    assert grown.row(0).items.tolist() == [1, 2, 3, 9]


def test_what_nobody_said_is_unknown_or_usual() -> None:
    row = added(store(), [1], [9]).row(1)
    assert np.isnan(row.times).all()
    assert np.isnan(row.values).all()
    assert row.actions.tolist() == [1], "the commonest action of the data"
    assert row.scenarios.tolist() == [0]
    named = HistoryStore(base(), ["unknown", "buy"], SCENARIOS)
    assert added(named, [1], [9]).row(1).actions.tolist() == [0], "training had a name for it"


def test_columns_the_data_lacks_are_left_out() -> None:
    plain = HistoryStore(Histories.from_lists([[1], [2]]), [], [])
    events = read({"user_id": ["u"], "item_id": ["i"], "time": [10], "action": ["buy"], "value": [3]})
    assert plain.columns(events) == {}
    row = added(plain, [0], [5]).row(0)
    assert (row.times, row.actions, row.scenarios, row.values) == (None, None, None, None)
    assert row.items.tolist() == [1, 5]


def test_codes_are_those_of_training() -> None:
    events = read({"user_id": ["u"] * 3, "item_id": ["i"] * 3, "action": ["view", None, "buy"], "scenario": ["video", "shop", None]})
    columns = store().columns(events)
    assert columns["actions"].tolist() == [0, 1, 1]
    assert columns["scenarios"].tolist() == [1, 0, 0]
    with pytest.raises(DataError, match="the action 'byu', which training did not know; did you mean 'buy'"):
        store().columns(read({"user_id": ["u"], "item_id": ["i"], "action": ["byu"]}))
    with pytest.raises(DataError, match="the scenario 'radio', which training did not know; known: shop, video"):
        store().columns(read({"user_id": ["u"], "item_id": ["i"], "scenario": ["radio"]}))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=30), st.lists(st.integers(1, 29), max_size=3))
@settings(max_examples=40, deadline=None)
def test_compact_keeps_every_row(events: list[tuple[int, int]], cuts: list[int]) -> None:
    """However the events come in portions, the rows are those of plain lists."""
    grown, expected = store(), [[1, 2, 3], [], [4], [], [], []]
    bounds = [0, *sorted(cuts), len(events)]
    for begin, end in pairwise(bounds):
        portion = events[begin:end]
        added(grown, [user for user, _ in portion], [item for _, item in portion])
        if begin % 2:
            grown.compact()
    grown.append(np.zeros(0, np.int64), 6, np.zeros(0, np.int32), {})
    for user, item in events:
        expected[user].append(item)
    rows = [grown.row(user) for user in range(6)]
    compact = grown.compact()
    assert [compact.row(user).tolist() for user in range(len(compact))] == expected
    assert (compact.items.dtype, compact.offsets.dtype, compact.actions.dtype, compact.values.dtype) == (
        "int32",
        "int64",
        "int16",
        "float32",
    )
    for user, row in enumerate(rows):
        for name in Histories.EVENT_COLUMNS:
            np.testing.assert_array_equal(getattr(compact.rows(np.array([user])), name), getattr(row, name))


def test_times_are_read_in_the_unit_of_training() -> None:
    frame = {"user_id": [1, 2], "item_id": [7.0, 8.0]}
    expected = [1_700_000_000.0, 1_700_000_060.0]
    millis = read({**frame, "time": [1_700_000_000_000, 1_700_000_060_000]})
    assert millis.times.to_list() == expected
    assert (millis.users, millis.items) == (["1", "2"], ["7", "8"])
    assert read({**frame, "time": ["2023-11-14T22:13:20", "2023-11-14 22:14:20Z"]}).times.to_list() == expected
    dates = [datetime(2023, 11, 14, 22, 13, 20), datetime(2023, 11, 14, 22, 14, 20)]
    assert read({**frame, "time": dates}).times.to_list() == expected
    assert read({**frame, "time": [2.0, None]}, time_unit="day").times.to_list() == [172_800.0, None]


def test_the_columns_of_the_training_files_are_understood() -> None:
    training = {"columns": {"user_id": "uid", "items.item_id": "asin", "events.item_id": "product", "time": "ts"}}
    for frame in ({"uid": ["u"], "product": ["i"], "ts": [5]}, {"user_id": ["u"], "item_id": ["i"], "time": [5]}):
        events = read(frame, **training)
        assert (events.users, events.items, events.times.to_list()) == (["u"], ["i"], [5.0])
    for column in ("place", "scenario"):
        placed = {"data": {"events": "e.csv"}, "scenarios": {"column": "place"}}
        events = read_new_events(pl.DataFrame({"user_id": ["u"], "item_id": ["i"], column: ["shop"]}), placed, NOW)
        assert events.scenarios.to_list() == ["shop"]


def test_items_are_read_as_in_training() -> None:
    training = {"data": {"events": "e.csv", "columns": {"items.item_id": "asin", "item_id": "sku"}, "tags_separator": "/"}}
    fields = {"title": FieldType.TEXT, "tags": FieldType.TAGS, "price": FieldType.NUMBER}
    for column in ("asin", "item_id"):
        table = read_new_items(pl.DataFrame({column: [7], "tags": ["a|b/c"], "colour": ["red"]}), fields, training)
        assert table.ids.ids == ["7"]
        assert table.frame.to_dicts() == [{"item_id": "7", "title": None, "tags": ["a|b", "c"], "price": None}]


def test_an_order_column_sorts_the_frame() -> None:
    events = read({"user_id": ["u", "v", "u"], "item_id": ["b", "c", "a"], "order": [2, 1, 1]})
    assert (events.users, events.items) == (["v", "u", "u"], ["c", "a", "b"])


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"user_id": ["u"]}, "no column 'item_id'"),
        ({"user": ["u"], "item_id": ["i"]}, "did you mean 'user'"),
        ({"user_id": ["u", None], "item_id": ["i", "j"]}, "row 2 has no user_id"),
        ({"user_id": ["u", "v"], "item_id": ["i", " "]}, "row 2 has no item_id"),
        ({"user_id": [["u"]], "item_id": ["i"]}, "not ids"),
        ({"user_id": ["u"], "item_id": ["i"], "time": ["soon"]}, "time is 'soon'"),
        ({"user_id": ["u"], "item_id": ["i"], "time": [NOW + 1e6]}, "in the future"),
        ({"user_id": ["u"], "item_id": ["i"], "value": ["five"]}, "value is 'five'"),
        ({"user_id": ["u"], "item_id": ["i"], "value": [float("inf")]}, "not a finite number"),
    ],
)
def test_wrong_events_are_one_line(frame: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(frame)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_future_times_may_be_kept_as_in_training() -> None:
    frame = {"user_id": ["u"], "item_id": ["i"], "time": [NOW + 1e6]}
    assert read(frame, future_times="keep").times.to_list() == [NOW + 1e6]
