"""The audit, forgetting and retention: what must not change does not, what must go goes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import exc, text

from m6rec.base.errors import DataError, UsageError
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.deeds import acting
from m6rec.serving.store.records import AuditHead, Event, Shown
from m6rec.serving.store.store import Store

DAY = 86_400.0


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(StoreConfig.build({"url": store_url, "retention": {"events_days": 30, "audit_days": 30}}), tmp_path)
    yield opened
    opened.close()


def some_rows(store: Store) -> None:
    store.record_shown(
        [
            Shown(
                "r1", "ann", "i1", 1, "v1", scenario="shop", propensity=0.25, experiment="e", variant="A", why={"reasons": ["she read 'ü'"]}
            ),
            Shown("r1", "ann", "i2", 2, "v1", scenario="shop", experiment="e", variant="A"),
        ]
    )
    store.record_shown([Shown("r2", None, "i1", 1, "v2", time=5.0, why=[1, 2]), Shown("r3", "bob", "i1", 1, "v2")])


def test_what_was_shown_is_found_by_person_item_and_request(store: Store) -> None:
    some_rows(store)
    first, second = store.shown("ann")
    assert (first.seq, first.position, first.propensity, first.variant, first.why) == (1, 1, 0.25, "A", {"reasons": ["she read 'ü'"]})
    assert second.why is None
    assert [row.request_id for row in store.shown(item_id="i1")] == ["r1", "r2", "r3"]
    assert [row.seq for row in store.shown(request_id="r1")] == [1, 2]
    assert [row.seq for row in store.shown(after=2, most=1)] == [3]
    assert [row.seq for row in store.shown(newest_first=True, most=2)] == [4, 3]
    assert [row.seq for row in store.shown(newest_first=True, after=3)] == [2, 1]
    assert store.newest_change() == 0  # no follower has to know
    assert store.verify_audit().rows == 4
    with pytest.raises(DataError, match="position 0"):
        store.record_shown([Shown("r", "u", "i", 0, "v")])
    with pytest.raises(DataError, match=r"propensity 1\.5"):
        store.record_shown([Shown("r", "u", "i", 1, "v", propensity=1.5)])


def test_the_database_itself_refuses_to_change_the_audit(store: Store) -> None:
    some_rows(store)
    for statement in (
        "UPDATE audit SET item_id = 'other' WHERE seq = 1",
        "UPDATE audit SET user_id = 'gone-1', salt = NULL, why = NULL, position = 9 WHERE seq = 1",
        "UPDATE audit SET user_id = 'eve', salt = NULL, why = NULL WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 1",
        "DELETE FROM audit",
    ):
        with pytest.raises(exc.IntegrityError, match="append-only"):
            store.database.write(lambda writing, statement=statement: writing.connection.execute(text(statement)))  # type: ignore[misc]
    assert store.verify_audit().rows == 4


def without_triggers(path: Path, statement: str) -> None:
    """What somebody could do who has the file."""
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "row", "words"),
    [
        ("UPDATE audit SET item_id = 'other' WHERE seq = 2", 2, "row 2 was changed"),
        ("UPDATE audit SET propensity = 0.5 WHERE seq = 4", 4, "row 4 was changed"),
        ("UPDATE audit SET user_id = 'eve' WHERE seq = 1", 1, "the user or the reasons were changed"),
        ("UPDATE audit SET why = NULL WHERE seq = 1", 1, "the user or the reasons were changed"),
        ("UPDATE audit SET hash = seal WHERE seq = 2", 2, "row 2 was changed"),
        ("DELETE FROM audit WHERE seq = 2", 3, "rows 2 to 2 are missing"),
        ("DELETE FROM audit WHERE seq = 1", 2, "rows 1 to 1 are missing"),
        ("UPDATE audit SET seq = 9 WHERE seq = 4", 9, "rows 4 to 8 are missing"),
    ],
)
def test_the_chain_shows_what_was_changed_behind_its_back(tmp_path: Path, statement: str, row: int, words: str) -> None:
    store = Store.open(StoreConfig(), tmp_path)
    some_rows(store)
    assert store.verify_audit().problem == ""
    without_triggers(tmp_path / "store.db", statement)
    check = store.verify_audit()
    assert check.broken_at == row
    assert words in check.problem
    store.close()


def test_a_tail_that_was_cut_off_is_missed_by_a_head_noted_elsewhere(tmp_path: Path) -> None:
    store = Store.open(StoreConfig(), tmp_path)
    some_rows(store)
    head = store.audit_head()
    assert store.verify_audit(head).problem == ""
    assert store.verify_audit(AuditHead(2, "0" * 64)).broken_at == 2
    without_triggers(tmp_path / "store.db", "DELETE FROM audit WHERE seq > 2")
    assert store.verify_audit().problem == ""
    assert "row 4 with the hash noted elsewhere is not there" in store.verify_audit(head).problem
    store.close()


def test_forgetting_takes_a_person_out_and_leaves_the_rest(store: Store, tmp_path: Path) -> None:
    some_rows(store)
    head = store.audit_head()
    store.add_events([Event("ann", "i1", action="click"), Event("bob", "i1"), Event("ann", "i2")], key="k")
    store.upsert_users([{"user_id": "ann", "age": 30, "town": "Ulm"}])
    store.export(tmp_path / "before")
    store.add_model("runs/a", "v1")
    gone = store.forget("ann")
    assert (gone.events, gone.audits, gone.profile, gone.exports) == (2, 2, True, (str(tmp_path / "before"),))
    assert (store.events("ann"), store.shown("ann"), store.user("ann")) == ([], [], None)
    assert [event.user_id for event in store.events()] == ["bob"]
    pseudonyms = {row.user_id for row in store.shown(request_id="r1")}
    assert len(pseudonyms) == 1
    (pseudonym,) = pseudonyms
    assert pseudonym is not None
    assert pseudonym.startswith("gone-")
    assert [row.why for row in store.shown(pseudonym)] == [None, None]
    assert store.verify_audit(head).problem == ""
    assert [(change.kind, change.key) for change in store.changes(0)] == [("events", ""), ("model", "v1"), ("forget", "ann")]
    assert [event.user_id for event in store.changes(0)[0].payload["events"]] == ["bob"]
    assert store.was_forgotten(["bob", "ann"]) == [False, True]
    assert store.models()[0].forgotten == 1
    store.export(tmp_path / "after")
    assert b"ann" not in (tmp_path / "after" / "events.parquet").read_bytes()
    again = store.forget("ann")
    assert (again.events, again.audits, again.profile, again.exports) == (0, 0, False, ())
    store.add_events([Event("ann", "i9")])
    assert [event.item_id for event in store.events("ann")] == ["i9"]  # a new person, as far as anybody knows


def test_what_was_shown_before_somebody_was_forgotten_and_is_written_after_it_names_nobody(store: Store) -> None:
    """Rows wait in the memory of a worker for a moment, or while the database is away."""
    store.record_shown([Shown("r0", "ann", "i1", 1, "v")])
    before = time.time()
    store.forget("ann")
    late = [Shown("r1", "ann", "i1", 1, "v", time=before, why={"score": 1}), Shown("r1", "bob", "i2", 2, "v", time=before)]
    store.record_shown([*late, Shown("r2", "ann", "i3", 1, "v", time=time.time() + 1)])
    assert [row.request_id for row in store.shown("ann")] == ["r2"]  # a new person of that id
    gone, kept = store.shown(request_id="r1")
    assert gone.user_id is not None
    assert (gone.user_id.startswith("gone-"), gone.why, kept.user_id) == (True, None, "bob")
    assert store.verify_audit().problem == ""


def test_nothing_of_a_forgotten_person_is_left_in_the_file(tmp_path: Path) -> None:
    store = Store.open(StoreConfig.build({"retention": {"changes_days": 1e-9}}), tmp_path)
    store.record_shown([Shown("r", "ann-of-green-gables", "i", 1, "v", why="she-likes-trees")])
    store.add_events([Event("ann-of-green-gables", "i", event_id="e1", context={"town": "avonlea-on-sea"})])
    store.upsert_users([{"user_id": "ann-of-green-gables", "hair": "titian-red"}])
    store.forget("ann-of-green-gables")
    store.set_setting("later", 1)
    store.enforce_retention()
    store.close()  # the last one to close writes the log into the file and deletes it
    written = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    for word in (b"ann-of-green-gables", b"she-likes-trees", b"avonlea-on-sea", b"titian-red"):
        assert word not in written


def test_pseudonyms_hide_who_somebody_is_and_keep_them_apart(store_url: str, tmp_path: Path) -> None:
    store = Store.open(StoreConfig(url=store_url, pseudonyms=True), tmp_path)
    store.add_events([Event("ann", "i1"), Event("bob", "i2")])
    store.upsert_users([{"user_id": "ann", "age": 30}])
    store.record_shown([Shown("r", "ann", "i1", 1, "v")])
    (event,) = store.events("ann")
    assert event.user_id == store.user_key("ann") == store.user_key(event.user_id) != store.user_key("bob")
    assert event.user_id.startswith("p-")
    assert [row.user_id for row in store.shown("ann")] == [event.user_id]
    user = store.user("ann")
    assert user is not None
    assert user.id == event.user_id
    assert store.events(event.user_id) == [event]
    assert store.forget("ann").events == 1
    assert store.was_forgotten(["ann", event.user_id, "bob"]) == [True, True, False]
    store.close()


def test_what_is_too_old_is_deleted_and_the_chain_goes_on(store: Store) -> None:
    now = time.time()
    old, new = now - 31 * DAY, now - 29 * DAY
    store.add_events([Event("u", "old", time=old), Event("u", "new", time=new), Event("u", "old", time=1.0)], key="k")
    store.record_shown([Shown("r", "u", "i", place, "v", time=old if place < 3 else new) for place in range(1, 5)])
    head = store.audit_head()
    pruned = store.enforce_retention()
    assert (pruned.events, pruned.audits, pruned.requests, pruned.changes, pruned.skipped) == (2, 2, 0, 0, "")
    assert [event.item_id for event in store.events()] == ["new"]
    assert [row.seq for row in store.shown()] == [3, 4]
    check = store.verify_audit(head)
    assert (check.rows, check.problem) == (2, "")
    store.record_shown([Shown("r", "u", "i", 1, "v")])
    assert store.verify_audit().head.seq == 5
    change = store.changes(0)[-1]
    assert (change.kind, change.key) == ("setting", "retention")
    assert old < change.payload["events_before"] < new
    assert store.enforce_retention() == type(pruned)()


def test_an_audit_of_which_nothing_is_left_still_goes_on(store: Store) -> None:
    store.record_shown([Shown("r", "u", "i", 1, "v", time=1.0)] * 3)
    assert store.enforce_retention().audits == 3
    assert (store.audit_head().seq, store.verify_audit().rows) == (3, 0)
    assert store.record_shown([Shown("r", "u", "i", 1, "v")]) == 4
    assert store.verify_audit().problem == ""


def test_idempotency_keys_and_the_log_are_kept_as_long_as_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(StoreConfig(), tmp_path)
    store.add_events([Event("u", "a")], key="k")
    store.set_setting("x", 1)
    move_clock(monkeypatch, store, 8 * DAY)
    pruned = store.enforce_retention()
    assert (pruned.requests, pruned.changes) == (1, 1)
    assert store.oldest_change() == store.newest_change() == 2  # the newest stays: the next number follows from it
    assert store.add_events([Event("u", "a")], key="k").first_seq == 3
    store.close()


def move_clock(monkeypatch: pytest.MonkeyPatch, store: Store, seconds: float) -> None:
    """Let time pass, for the store too."""
    now: Callable[[], float] = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    store.clock._begin += seconds


def test_a_deed_stands_with_what_it_tells_of_and_can_not_be_changed(store: Store) -> None:
    store.block("item", "before anybody acts")
    assert store.deeds() == []
    with acting("boss"):
        store.block("item", "i1", "a reason")
        secret = store.add_key("shop", ["read"])
        store.set_setting("exploration", 0.1)
        store.set_setting("exploration", 0.1)  # nothing changes
        store.upsert_items([{"item_id": f"i{place}"} for place in range(7)])
        with pytest.raises(UsageError, match="there is a key"):
            store.add_key("shop", ["read"])
    with acting(""):
        store.drop_key("shop")
        store.forget("somebody")
    told = [(deed.who, deed.did, deed.target, deed.before, deed.after) for deed in store.deeds()]
    assert told == [
        ("boss", "block", "i1", "", "item: a reason"),
        ("boss", "key_add", "shop", "", "read"),
        ("boss", "setting", "exploration", "", "0.1"),
        ("boss", "items_write", "i0, i1, i2, i3, i4 + 2", "", ""),
        ("", "key_drop", "shop", "read", ""),
        ("", "forget", "", "0 events", ""),
    ]
    assert secret not in str(told)
    assert [deed.seq for deed in store.deeds(after=3, most=1, newest_first=True)] == [2]
    assert (store.verify_deeds().rows, store.verify_deeds().problem) == (6, "")
    for statement in ("UPDATE deeds SET who = 'eve' WHERE seq = 2", "DELETE FROM deeds WHERE seq = 6"):
        with pytest.raises(exc.IntegrityError, match="append-only"):
            store.database.write(lambda writing, statement=statement: writing.connection.execute(text(statement)))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("statement", "words"),
    [("UPDATE deeds SET who = 'eve' WHERE seq = 2", "deed 2 was changed"), ("DELETE FROM deeds WHERE seq = 1", "deeds 1 to 1 are missing")],
)
def test_a_deed_changed_in_the_file_is_found(tmp_path: Path, statement: str, words: str) -> None:
    store = Store.open(StoreConfig(), tmp_path)
    with acting("boss"):
        for item in ("a", "b", "c"):
            store.delete_item(item)
    store.close()
    without_triggers(tmp_path / "store.db", statement)
    store = Store.open(StoreConfig(), tmp_path)
    assert words in store.verify_deeds().problem
    store.close()
