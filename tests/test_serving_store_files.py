"""Files out of the store and into it: what was exported can be trained on, what was trained on can be taken over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from m6rec.base.errors import DataError
from m6rec.data.config import DataConfig, FieldsConfig, ScenariosConfig
from m6rec.data.prepare import prepare
from m6rec.data.store import load_dataset
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.exporting import column_of, frame_of, joined
from m6rec.serving.store.records import Event, Shown
from m6rec.serving.store.store import Store

if TYPE_CHECKING:
    from m6rec.config import M6RecConfig

NOW = time.time()


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(StoreConfig(url=store_url), tmp_path / "state")
    yield opened
    opened.close()


def fill(store: Store) -> None:
    for place in range(6):
        at = NOW - 90_000 + 1000 * place
        store.add_events(
            [
                Event("u1", f"i{place}", time=at, action="click", scenario="shop", labels={"stars": place}, context={"device": "phone"}),
                Event("u2", f"i{(place * 2) % 6}", time=at + 1, action="buy", value=9.5, labels={"stars": None, "time": "noon"}),
            ]
        )
    store.upsert_items(
        [{"item_id": f"i{place}", "title": f"thing {place}", "tags": ["a", "b"][: place % 3], "price": place / 2} for place in range(7)]
    )
    store.upsert_users([{"user_id": "u1", "age": 30}])
    store.record_shown([Shown("r1", "u1", f"i{place}", place + 1, "v", time=NOW - 90_001, propensity=0.5) for place in range(2)])
    store.record_shown([Shown("r2", None, "i1", 1, "v", time=NOW - 90_001), Shown("r3", "u1", "i1", 1, "v", time=NOW)])


def prepared(folder: Path, **settings: object) -> object:
    data = DataConfig.build({"events": "events.parquet", "items": "items.parquet", "users": "users.parquet", **settings})
    dataset, _ = prepare(data, FieldsConfig(), ScenariosConfig(), folder)
    return dataset


def test_an_export_is_read_by_the_preparation_of_training(store: Store, tmp_path: Path) -> None:
    fill(store)
    done = store.export(tmp_path / "out", window_s=3600.0)
    assert (done.events, done.items, done.users, done.exposures) == (12, 7, 1, 2)
    assert json.loads((tmp_path / "out" / "watermark.json").read_text())["watermark"] == done.watermark == store.newest_change()
    events = pl.read_parquet(tmp_path / "out" / "events.parquet")
    assert set(events.columns) == {"user_id", "item_id", "time", "action", "scenario", "value", "stars", "label.time", "device"}
    assert events.filter(pl.col("user_id") == "u1")["stars"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    exposures = pl.read_parquet(tmp_path / "out" / "exposures.parquet")
    assert exposures.select("item_id", "position", "propensity", "list_id", "click").rows() == [
        ("i0", 1, 0.5, "r1", 1),
        ("i1", 2, 0.5, "r1", 1),
    ]
    dataset = prepared(tmp_path / "out", exposures="exposures.parquet")
    assert dataset.users.ids.ids[:1] == ["u1"]
    row = dataset.histories.row(dataset.users.ids.dense("u1"))
    assert [dataset.items.ids.ids[item] for item in row] == [f"i{place}" for place in range(6)]
    assert dataset.action_names == ["click", "buy"]
    assert set(dataset.items.fields) == {"title", "tags", "price"}


def test_an_export_since_a_watermark_holds_what_came_after_it(store: Store, tmp_path: Path) -> None:
    fill(store)
    first = store.export(tmp_path / "out")
    store.add_events([Event("u3", "i1")])
    second = store.export(tmp_path / "out", since_seq=first.watermark)
    assert pl.read_parquet(tmp_path / "out" / "events.parquet")["user_id"].to_list() == ["u3"]
    assert (second.events, second.items) == (1, 7)
    empty = store.export(tmp_path / "none", since_seq=second.watermark)
    assert empty.events == 0
    assert pl.read_parquet(tmp_path / "none" / "events.parquet").columns == ["user_id", "item_id", "time"]


def test_what_was_exported_comes_in_again_once(store: Store, tmp_path: Path) -> None:
    fill(store)
    store.export(tmp_path / "out")
    other = Store.open(StoreConfig(), tmp_path / "other")
    done = other.import_(tmp_path / "out")
    assert (done.events, done.duplicates, done.items, done.users) == (12, 0, 7, 1)
    facts = ("user_id", "item_id", "time", "action", "scenario", "value", "context")
    for mine, theirs in zip(store.events(), other.events(), strict=True):
        assert [getattr(mine, name) for name in facts] == [getattr(theirs, name) for name in facts]
    assert {row.id: row.fields for row in other.items()} == {
        row.id: {name: value for name, value in row.fields.items() if value != []} for row in store.items()
    }
    again = other.import_(tmp_path / "out")
    assert (again.events, again.duplicates) == (0, 12)
    other.close()


def test_an_export_of_pseudonyms_comes_in_as_the_same_people(store_url: str, tmp_path: Path) -> None:
    """Ids of an export are hashed already: an import hashes none again, and whoever comes by their own id is one of them."""
    hidden = StoreConfig(url=store_url, pseudonyms=True)
    first = Store.open(hidden, tmp_path / "first")
    fill(first)
    first.forget("u2")
    first.export(tmp_path / "out")
    secret = first.secret.path
    first.close()
    second = Store.open(StoreConfig(pseudonyms=True, secret_file=str(secret)), tmp_path / "second")
    assert (second.import_(tmp_path / "out").events, second.import_(tmp_path / "out").events) == (6, 0)
    assert [event.item_id for event in second.events("u1")] == [f"i{place}" for place in range(6)]
    assert {event.user_id for event in second.events()} == {second.user_key("u1")}
    assert (second.count_users(), second.user("u1") is not None) == (1, True)
    second.add_events([Event("u1", "i9")])
    assert [event.item_id for event in second.events(second.user_key("u1"))][-1] == "i9"
    assert b"u1" not in (tmp_path / "out" / "events.parquet").read_bytes()
    second.close()


def test_the_data_of_a_run_is_taken_over(tiny_run: Path, tmp_path: Path) -> None:
    store = Store.open(StoreConfig(), tmp_path)
    done = store.import_(tiny_run)
    dataset = load_dataset(tiny_run / "model" / "data")
    assert (done.events, done.items, done.users) == (len(dataset.histories.items), len(dataset.items), len(dataset.users))
    assert dataset.histories.times is not None
    for dense in (0, 7):
        kept = store.events(dataset.users.ids.ids[dense])
        assert [dataset.items.ids.dense(event.item_id) for event in kept] == list(dataset.histories.row(dense))
        begin, end = dataset.histories.offsets[dense : dense + 2]
        np.testing.assert_allclose([event.time for event in kept], dataset.histories.times[begin:end])
    assert store.import_(tiny_run).duplicates == done.events
    store.close()


def test_whoever_was_forgotten_is_not_brought_back_by_an_import(tiny_run: Path, tmp_path: Path) -> None:
    dataset = load_dataset(tiny_run / "model" / "data")
    user, other = dataset.users.ids.ids[:2]
    store = Store.open(StoreConfig(), tmp_path / "state")
    before = store.import_(tiny_run)
    store.export(tmp_path / "backup")
    store.forget(user)
    for again in (store.import_(tiny_run), store.import_(tmp_path / "backup")):
        assert (again.forgotten, again.events, again.users) == (1, 0, before.users - 1)
    assert store.events(user) == []
    assert user not in {row.id for row in store.users()}
    assert store.events(other)
    store.close()


def test_an_export_can_be_trained_on(tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], tmp_path: Path) -> None:
    """The sample through the store and out again prepares to the same histories."""
    config = tiny_config()
    store = Store.open(StoreConfig(), tmp_path / "state")
    store.import_(tiny_sample)
    store.export(tmp_path / "out")
    store.close()
    straight, _ = prepare(config.data, config.fields, config.scenarios, tiny_sample)
    data = DataConfig.build({"events": "events.parquet", "items": "items.parquet", "users": "users.parquet"})
    through, _ = prepare(data, config.fields, config.scenarios, tmp_path / "out")
    for user in straight.users.ids.ids[:20]:
        one = [straight.items.ids.ids[item] for item in straight.histories.row(straight.users.ids.dense(user))]
        other = [through.items.ids.ids[item] for item in through.histories.row(through.users.ids.dense(user))]
        assert one == other


def test_folders_that_hold_nothing_to_import_say_so(tmp_path: Path) -> None:
    store = Store.open(StoreConfig(), tmp_path / "state")
    with pytest.raises(DataError, match=r"holds neither events\.parquet"):
        store.import_(tmp_path)
    pl.DataFrame({"user": ["a"], "item_id": ["b"]}).write_parquet(tmp_path / "events.parquet")
    with pytest.raises(DataError, match="has no column 'user_id'"):
        store.import_(tmp_path)
    pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "time": ["soon"]}).write_parquet(tmp_path / "events.parquet")
    with pytest.raises(DataError, match="have to be numbers"):
        store.import_(tmp_path)
    (tmp_path / "events.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        store.import_(tmp_path)
    store.close()


def test_columns_take_the_narrowest_type_that_holds_all_values() -> None:
    for values, kind in (
        ([True, None], pl.Boolean),
        ([1, 2.5, True], pl.Float64),
        (["a", None], pl.String),
        ([["a"], []], pl.List(pl.String)),
        ([[1, 2.5]], pl.List(pl.Float64)),
        ([1, "a"], pl.String),
        ([{"a": 1}], pl.String),
    ):
        assert column_of(values).dtype == kind, values
    assert column_of([1, "a", {"b": None}]).to_list() == ["1", "a", '{"b":null}']
    both = joined([frame_of([{"a": 1, "b": None}]), frame_of([{"a": "x"}])])
    assert both.to_dict(as_series=False) == {"a": ["1.0", "x"]}


def test_outcomes_join_events_to_what_was_shown(store: Store) -> None:
    def shown(request: str, user: str | None, item: str, at: float, position: int = 1) -> Shown:
        return Shown(request, user, item, position, "v", time=at, experiment="e", variant="A")

    store.record_shown(
        [
            *(
                shown("r1", "u1", "a", 100.0),
                shown("r1", "u1", "b", 100.0, 2),
                shown("r2", "u1", "a", 150.0),
                shown("r3", "u2", "a", 100.0),
            ),
            *(shown("r4", None, "a", 100.0), Shown("r5", "u1", "c", 1, "v", time=100.0)),
        ]
    )
    store.add_events(
        [
            Event("u1", "a", time=120.0, action="click"),  # of r1: shown before it, r2 was not yet
            Event("u1", "a", time=160.0, action="click"),  # of r2, the newest showing
            Event("u1", "a", time=165.0, action="buy", value=3.0),
            Event("u1", "b", time=201.0),  # too late for a window of 100 s
            Event("u1", "b", time=99.0, action="click"),  # before it was shown
            Event("u2", "b", time=110.0, action="click"),  # never shown to u2
            Event("guest", "a", time=130.0, context={"request_id": "r4"}),  # said to be of r4
            Event("u1", "a", time=170.0, action="click", context={"request_id": "r1"}),  # said to be of the older list
        ]
    )
    frame = store.outcomes("e", 100.0)
    assert frame.select("request_id", "item_id", "actions", "value", "delay_s").rows() == [
        ("r1", "a", ["click", "click"], None, 20.0),
        ("r1", "b", [], None, None),
        ("r2", "a", ["click", "buy"], 3.0, 10.0),
        ("r3", "a", [], None, None),
        ("r4", "a", ["event"], None, 30.0),
    ]
    assert store.outcomes(None, 100.0).height == 6
    assert store.outcomes("e", 100.0, since=120.0)["request_id"].to_list() == ["r2"]
    none = store.outcomes("nothing", 100.0)
    assert none.is_empty()
    assert none.columns == frame.columns
