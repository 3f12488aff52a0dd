"""The store, on SQLite and on PostgreSQL: what was written is there, once, in order, for every process that follows."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m6rec.base.errors import ConfigError, DataError, M6RecError, StorageError, UsageError
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.records import Event
from m6rec.serving.store.store import Store

Open = Callable[..., Store]


@pytest.fixture
def opened(store_url: str, tmp_path: Path) -> Iterator[Open]:
    """`opened(key=value, ...)`: one more process's view of one database, closed in the end."""
    stores: list[Store] = []

    def build(**settings: object) -> Store:
        stores.append(Store.open(StoreConfig.build({"url": store_url, **settings}), tmp_path))
        return stores[-1]

    yield build
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Open) -> Store:
    return opened()


def soon(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.002)
    return condition()


def test_events_come_back_in_order_and_others_follow_them(store: Store, opened: Open) -> None:
    other = opened()
    assert other.newest_change() == 0
    now = time.time()
    receipt = store.add_events(
        [
            Event("u1", "i1", time=5.0, labels={"liked": True}),
            Event("u2", "i1", action="click", scenario="shop", value=2.5, context={"device": "电话"}),
        ]
    )
    assert (receipt.accepted, receipt.duplicates, receipt.late, receipt.first_seq, receipt.last_seq) == (2, 0, 1, 1, 2)
    assert soon(lambda: other.newest_change() == 2)
    assert store.newest_change() == 2
    (change,) = other.changes(0)
    assert (change.seq, change.kind) == (2, "events")
    first, second = change.payload["events"]
    assert (first.user_id, first.item_id, first.time, first.labels, first.value, first.action) == (
        "u1",
        "i1",
        5.0,
        {"liked": True},
        None,
        None,
    )
    assert (second.action, second.scenario, second.value, second.context) == ("click", "shop", 2.5, {"device": "电话"})
    assert now <= second.time == second.received <= time.time()
    assert [event.seq for event in other.events("u2")] == [2]
    assert other.changes(2) == []


def test_a_change_of_another_process_is_heard_within_milliseconds(store: Store, opened: Open) -> None:
    other = opened()
    other.newest_change()
    waits = []
    for number in range(1, 6):
        store.add_events([Event("u", f"i{number}")])
        begin = time.monotonic()
        assert soon(lambda number=number: other.newest_change() == number)  # type: ignore[misc]
        waits.append(time.monotonic() - begin)
    assert sorted(waits)[2] < 0.1  # the median; the machine may be busy


def test_a_repeated_request_and_a_repeated_event_count_once(store: Store) -> None:
    events = [Event("u", "a", event_id="x"), Event("u", "b", event_id="x"), Event("u", "c")]
    first = store.add_events(events, key="k")
    assert (first.accepted, first.duplicates, first.repeated) == (2, 1, False)
    again = store.add_events(events, key="k")
    assert again.repeated
    assert (again.accepted, again.first_seq, again.last_seq) == (2, first.first_seq, first.last_seq)
    assert store.add_events([Event("u", "d", event_id="x")]).accepted == 0
    assert [event.item_id for event in store.events()] == ["a", "c"]
    with pytest.raises(UsageError, match="'k' was used for other events"):
        store.add_events([Event("u", "z")], key="k")


def test_ids_derived_from_the_content_make_a_repeat_a_duplicate(opened: Open) -> None:
    store = opened(derive_ids=True)
    event = Event("u", "a", time=100.0, action="click")
    assert store.add_events([event, event, Event("u", "a", time=101.0, action="click")]).duplicates == 1
    assert store.add_events([event, Event("u", "a"), Event("u", "a")]).accepted == 2  # without a time nobody can say that it is the same


ODD = [
    (Event("u", ""), "event 1: item_id is ''"),
    (Event("", "i"), "event 1: user_id"),
    (Event("u\x00", "i"), "without control characters"),
    (Event("u", "i\n2"), r"item_id is 'i\\n2'; an id or a name is text without control characters"),
    (Event("u", "i", scenario="\x1b[2J"), "scenario is .*without control characters"),
    (Event("u", "\ud800"), "no text"),
    (Event("u" * 600, "i"), "600 characters"),
    (Event("u", "i", time=float("nan")), "time is nan"),
    (Event("u", "i", time=-1.0), "time is -1.0"),
    (Event("u", "i", time=4_102_444_800.0), "days further ahead"),
    (Event("u", "i", time=1.7e12), "look like milliseconds"),
    (Event("u", "i", value=float("inf")), "value is inf"),
    (Event("u", "i", labels={"a": float("nan")}), "labels can't be written as JSON"),
    (Event("u", "i", action="x" * 300), "action is"),
    (Event("u", "i", event_id="\x00"), "event_id"),
]


def test_all_events_of_a_call_are_written_or_none(tmp_path: Path) -> None:
    store = Store.open(StoreConfig(), tmp_path)
    for event, words in ODD:
        with pytest.raises(DataError, match=words) as caught:
            store.add_events([Event("u", "a"), event])
        assert len(str(caught.value).splitlines()) == 1
    assert store.events() == []
    store.close()


def test_one_bad_request_does_not_spoil_the_commit_it_shares(store: Store) -> None:
    """Work that fails inside a commit shared with others is taken out, and theirs is done."""
    outcomes: dict[str, object] = {}
    held = threading.Event()
    begun = threading.Event()

    def slow(writing: object) -> None:
        begun.set()
        held.wait(10)

    def run(name: str, call: Callable[[], object]) -> None:
        try:
            outcomes[name] = call()
        except M6RecError as error:
            outcomes[name] = error

    def thread(name: str, call: Callable[[], object]) -> threading.Thread:
        made = threading.Thread(target=run, args=(name, call))
        made.start()
        return made

    threads = [thread("slow", lambda: store.database.write(slow))]
    assert begun.wait(10)
    threads.append(thread("bad", lambda: store.set_active("nowhere")))
    threads.append(thread("good", lambda: store.add_events([Event("u", "i")])))
    threads.append(thread("setting", lambda: store.set_setting("a", [1, {"b": None}])))
    assert soon(lambda: len(store.database._group._waiting) == 3)
    held.set()
    for one in threads:
        one.join()
    assert isinstance(outcomes["bad"], UsageError)
    assert [event.item_id for event in store.events()] == ["i"]
    assert store.setting("a") == [1, {"b": None}]


def test_many_threads_of_two_processes_lose_nothing_and_keep_their_order(store: Store, opened: Open) -> None:
    stores = [store, opened()]

    def run(name: str, mine: Store) -> None:
        for number in range(15):
            mine.add_events([Event(name, f"i{number}", event_id=f"{name}-{number}")])

    threads = [threading.Thread(target=run, args=(f"u{number}", stores[number % 2])) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.seq for event in store.events()] == list(range(1, 121))
    for number in range(8):
        assert [event.item_id for event in store.events(f"u{number}")] == [f"i{k}" for k in range(15)]
    followed = [event for change in stores[1].changes(0) for event in change.payload["events"]]
    assert [event.seq for event in followed] == list(range(1, 121))


def test_a_follower_never_sees_a_later_change_before_an_earlier_one(store: Store, opened: Open) -> None:
    writers, follower = [store, opened()], opened()
    done = threading.Event()

    def write(mine: Store) -> None:
        for number in range(25):
            mine.set_setting("x", number)

    seen: list[int] = []

    def follow() -> None:
        while not done.is_set() or follower.changes(seen[-1] if seen else 0):
            seen.extend(change.seq for change in follower.changes(seen[-1] if seen else 0))

    watcher = threading.Thread(target=follow)
    watcher.start()
    threads = [threading.Thread(target=write, args=(mine,)) for mine in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert seen == list(range(1, 51))


def test_changes_come_in_lots(store: Store) -> None:
    for lot in range(4):
        store.add_events([Event("u", f"i{lot}-{k}") for k in range(5)])
    first = store.changes(0, most=8)
    assert [change.seq for change in first] == [5, 10]
    assert [change.seq for change in store.changes(10, most=1)] == [15]
    assert store.oldest_change() == 5


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(StoreConfig(), tmp_path_factory.mktemp("played"))
    yield store
    store.close()


NUMBERS = itertools.count()
SENT = st.lists(
    st.tuples(
        st.sampled_from(["", "k1", "k2", "k3"]),
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "1", "2", "3"])), max_size=4),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=SENT)
def test_whatever_is_sent_twice_is_written_once(played: Store, sent: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Against a dictionary that does the same; every example has names of its own."""
    salt = next(NUMBERS)
    ids: set[str] = set()
    requests: dict[str, tuple[list[tuple[str, str]], int]] = {}
    user = f"user {salt}"
    expected: list[str] = []
    for key, pairs in sent:
        events = [Event(user, item, event_id=f"{salt} {name}" if name else None) for item, name in pairs]
        request = f"{salt} {key}" if key else None
        if request in requests and pairs:
            before, accepted = requests[request]
            if before != pairs:
                with pytest.raises(UsageError):
                    played.add_events(events, key=request)
            else:
                assert played.add_events(events, key=request).accepted == accepted
            continue
        new = []
        for item, name in pairs:
            if not name or name not in ids:
                new.append(item)
            ids.add(name)
        receipt = played.add_events(events, key=request)
        assert (receipt.accepted, receipt.duplicates) == (len(new), len(pairs) - len(new))
        if request is not None and pairs:
            requests[request] = (pairs, len(new))
        expected += new
    assert [event.item_id for event in played.events(user)] == expected


def test_too_many_events_and_a_store_without_a_file_are_refused(tmp_path: Path) -> None:
    store = Store.open(StoreConfig(most_events=2), tmp_path)
    with pytest.raises(UsageError, match="3 events at once; at most 2"):
        store.add_events([Event("u", "i")] * 3)
    assert store.add_events([]).accepted == 0
    store.close()
    with pytest.raises(ConfigError, match="names no file"):
        Store.open(StoreConfig(url="sqlite://"), tmp_path)
    with pytest.raises(ConfigError, match="a URL is"):
        StoreConfig.build({"url": "mysql://x"})
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="needs a folder"):
        Store.open(StoreConfig(), tmp_path / "file" / "state")
