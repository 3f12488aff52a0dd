"""The store: what was written is there, once, in order, for every process that follows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from m6rec.base.errors import DataError, UsageError
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.records import Event
from m6rec.serving.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(StoreConfig(), tmp_path)
    yield opened
    opened.close()


def test_events_come_back_in_order_and_others_follow_them(store: Store, tmp_path: Path) -> None:
    other = Store.open(StoreConfig(), tmp_path)
    assert other.newest_change() == 0
    receipt = store.add_events([Event("u1", "i1", time=5.0, labels={"liked": True}), Event("u2", "i1", action="click", value=2.5)])
    assert (receipt.accepted, receipt.duplicates, receipt.late, receipt.first_seq, receipt.last_seq) == (2, 0, 1, 1, 2)
    assert other.newest_change() == store.newest_change() == 2
    (change,) = other.changes(0)
    assert (change.seq, change.kind) == (2, "events")
    assert [(event.user_id, event.labels, event.value) for event in change.payload["events"]] == [
        ("u1", {"liked": True}, None),
        ("u2", {}, 2.5),
    ]
    assert [event.seq for event in other.events("u2")] == [2]
    assert other.changes(2) == []
    other.close()


def test_a_repeated_request_and_a_repeated_event_count_once(store: Store) -> None:
    events = [Event("u", "a", event_id="x"), Event("u", "b", event_id="x"), Event("u", "c")]
    first = store.add_events(events, key="k")
    assert (first.accepted, first.duplicates) == (2, 1)
    again = store.add_events(events, key="k")
    assert again.repeated
    assert (again.accepted, again.first_seq, again.last_seq) == (2, first.first_seq, first.last_seq)
    assert (store.add_events([Event("u", "d", event_id="x")]).accepted, len(store.events())) == (0, 2)
    with pytest.raises(UsageError, match="'k' was used for other events"):
        store.add_events([Event("u", "z")], key="k")


def test_all_events_of_a_call_are_written_or_none(store: Store) -> None:
    with pytest.raises(DataError, match="event 1: item_id"):
        store.add_events([Event("u", "a"), Event("u", "")])
    assert store.events() == []


def test_many_threads_lose_nothing(store: Store) -> None:
    def run(name: str) -> None:
        for number in range(20):
            store.add_events([Event(name, f"i{number}")])

    threads = [threading.Thread(target=run, args=(f"u{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = store.events()
    assert [event.seq for event in events] == list(range(1, 161))
    for number in range(8):
        assert [event.item_id for event in store.events(f"u{number}")] == [f"i{k}" for k in range(20)]
