"""What the store does when something goes wrong: a killed writer, a database that is away, locked, full, read-only, damaged, a wrong clock."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from killed_writer import LOT
from m6rec.base.errors import StorageError
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.records import Event
from m6rec.serving.store.sqlite import SqliteDatabase
from m6rec.serving.store.store import Store

if TYPE_CHECKING:
    from postgres_server import Server

NOBODY = 65534


def one_line(error: pytest.ExceptionInfo[StorageError]) -> str:
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_killed_process_loses_nothing_that_it_acknowledged(store_url: str, tmp_path: Path) -> None:
    """Two processes write under load and are killed with SIGKILL in the middle of it."""
    script = Path(__file__).with_name("killed_writer.py")
    acknowledged: list[str] = []
    pipe = subprocess.PIPE
    writers = [  # unbuffered: `communicate` does not see what `readline` has read ahead, and would begin in the middle of a line
        subprocess.Popen([sys.executable, str(script), store_url, str(tmp_path), name], stdout=pipe, stderr=pipe, bufsize=0)
        for name in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        acknowledged += [writer.stdout.readline().decode().strip() for _ in range(60)]
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
    for writer in writers:
        out, err = writer.communicate(timeout=60)
        assert writer.returncode == -signal.SIGKILL, err.decode()
        acknowledged += out.decode().split("\n")[:-1]
    assert all(acknowledged)
    store = Store.open(StoreConfig(url=store_url), tmp_path)
    events = store.events(most=1_000_000)
    assert [event.seq for event in events] == sorted(event.seq for event in events)
    ids = [event.event_id for event in events]
    assert len(ids) == len(set(ids))
    lots: dict[str, int] = {}
    for event in events:
        if "-lot-" in event.user_id:
            lots[event.user_id] = lots.get(event.user_id, 0) + 1
    assert set(lots.values()) == {LOT}  # whole or not at all
    requests: dict[str, int] = {}
    for row in store.shown(most=1_000_000):
        requests[row.request_id] = requests.get(row.request_id, 0) + 1
    assert set(requests.values()) == {LOT}
    there = {*(name for name in ids if name), *lots, *requests}
    assert [name for name in acknowledged if name not in there] == []
    assert store.verify_audit().problem == ""
    # Whoever was not told sends it again, and it counts once.
    again = [name for name in acknowledged if "-one-" in name][:20]
    for name in again:
        receipt = store.add_events([Event(name.split("-")[0], f"i{name.rsplit('-', 1)[1]}", event_id=name)], key=name)
        assert receipt.repeated
    followed = [event.seq for change in store.changes(0, most=1_000_000) if change.kind == "events" for event in change.payload["events"]]
    assert followed == [event.seq for event in events]
    store.close()


def test_a_database_that_goes_away_comes_back_with_everything(postgres: Server, postgres_store: str, tmp_path: Path) -> None:
    store = Store.open(StoreConfig(url=postgres_store, timeout_s=2.0), tmp_path)
    secret = store.add_key(f"key {time.time()}", ["read"])
    newest = store.newest_change()
    assert store.find_key(secret) is not None
    acknowledged: list[str] = []
    refused: list[float] = []
    done = threading.Event()

    def write(name: str) -> None:
        number = 0
        while not done.is_set():
            begin = time.monotonic()
            try:
                store.add_events([Event("away", f"{name}-{number}", event_id=f"{name}-{number}")])
                acknowledged.append(f"{name}-{number}")
            except StorageError:
                refused.append(time.monotonic() - begin)
                time.sleep(0.01)
            number += 1

    threads = [threading.Thread(target=write, args=(f"{tmp_path.name}-{place}",)) for place in range(3)]
    for thread in threads:
        thread.start()
    _until(lambda: len(acknowledged) > 20)
    postgres.stop("immediate")
    try:
        before = len(refused)
        _until(lambda: len(refused) > before + 5)
        with pytest.raises(StorageError, match="does not answer") as caught:
            store.events("away")
        assert "postgres:" not in one_line(caught)
        assert store.newest_change() >= newest  # what is known stays known
        assert store.find_key(secret) is not None
    finally:
        postgres.start()
    written = len(acknowledged)
    _until(lambda: len(acknowledged) > written + 20)
    done.set()
    for thread in threads:
        thread.join()
    there = {event.item_id for event in store.events("away", most=1_000_000)}
    assert [name for name in acknowledged if name not in there] == []
    assert max(refused) < 10.0
    # The listener is back too: another process's write is heard.
    other = Store.open(StoreConfig(url=postgres_store), tmp_path)
    last = other.add_events([Event("away", "x")]).last_seq
    _until(lambda: store.newest_change() >= last)
    other.close()
    store.close()


def test_a_connection_that_was_cut_while_idle_costs_nobody_an_error(postgres: Server, postgres_store: str, tmp_path: Path) -> None:
    store = Store.open(StoreConfig(url=postgres_store), tmp_path)
    store.add_events([Event("u", "i")])
    store.events("u")
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'm6rec'")
    assert store.add_events([Event("u", "j")]).accepted == 1
    time.sleep(0.6)  # a connection for reading is tried first once it has lain idle for half a second
    assert store.events("u")[-1].item_id == "j"
    store.close()


def test_a_server_that_is_not_there_or_refuses_is_one_line(postgres: Server, tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(StorageError, match=r"postgresql://u:\*\*\*@127.0.0.1:1/x does not answer") as caught:
        Store.open(StoreConfig(url="postgresql://u:hidden@127.0.0.1:1/x"), tmp_path)
    assert "hidden" not in one_line(caught)
    assert time.monotonic() - begin < 5
    with pytest.raises(StorageError, match="does not exist; create it"):
        Store.open(StoreConfig(url=postgres.url("nowhere")), tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(StoreConfig(timeout_s=0.3), tmp_path)
    yield opened
    opened.close()


def test_a_locked_database_is_said_to_be_locked_and_is_used_again(store: Store, tmp_path: Path) -> None:
    store.add_events([Event("u", "i")])
    holder = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"was locked by another program for more than 0.3 s") as caught:
        store.add_events([Event("u", "j")])
    one_line(caught)
    assert [event.item_id for event in store.events()] == ["i"]  # readers are not disturbed
    holder.execute("COMMIT")
    holder.close()
    assert store.add_events([Event("u", "j")]).last_seq == 2


def test_a_full_disk_is_said_to_be_full_and_loses_nothing(store: Store) -> None:
    for number in range(20):
        store.add_events([Event("u", f"i{number}")])
    database = store.database
    assert isinstance(database, SqliteDatabase)
    assert database._writer is not None
    pages = database._writer.exec_driver_sql("PRAGMA page_count").scalar()
    database._writer.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    database._writer.rollback()
    written = [20]

    def fill() -> None:
        while True:
            written[0] += store.add_events([Event("u", "x" * 500)] * 50).accepted

    with pytest.raises(StorageError, match="the disk is full; nothing was written; free some space") as caught:
        fill()
    one_line(caught)
    assert len(store.events()) == written[0]
    # There is room again: the writer that failed was let go, a new one has no such limit.
    assert store.add_events([Event("u", "y")]).accepted == 1


def test_a_folder_that_can_not_be_written_is_one_line() -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        Store.open(StoreConfig(), folder).close()
        with_nobody(folder, "store.db", "store.db is read-only|store.db can't be opened")
        shutil.rmtree(folder / "inner", ignore_errors=True)
        (folder / "inner").mkdir(mode=0o755)
        with_nobody(folder / "inner", "store.secret", "Permission denied; this user has to read and write it")
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def with_nobody(folder: Path, name: str, words: str) -> None:
    """Open a store as somebody who may read everything in `folder` and write nothing."""
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(StorageError, match=words) as caught:
            Store.open(StoreConfig(), folder).set_setting("a", 1)
        assert name in one_line(caught)
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StorageError, match="is no SQLite database") as caught:
        Store.open(StoreConfig(), tmp_path)
    one_line(caught)
    with pytest.raises(StorageError, match="can't be opened"):
        Store.open(StoreConfig(url=f"sqlite:///{tmp_path}/nowhere/store.db"), tmp_path)


def test_a_file_that_was_taken_away_is_missed_and_taken_up_again(store: Store, tmp_path: Path) -> None:
    store.add_events([Event("u", "a")])
    path = tmp_path / "store.db"
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StorageError, match="is gone; nothing was written") as caught:
        store.add_events([Event("u", "lost")])
    one_line(caught)
    assert [event.item_id for event in store.events()] == ["a"]
    assert not path.exists()  # no empty one was made in its place
    (tmp_path / "elsewhere.db").rename(path)
    assert store.add_events([Event("u", "b")]).last_seq == 2
    with sqlite3.connect(path) as backed_up, sqlite3.connect(tmp_path / "backup.db") as backup:
        backed_up.backup(backup)
    backed_up.close()
    backup.close()
    store.add_events([Event("u", "after the backup")])
    for old in tmp_path.glob("store.db*"):
        old.unlink()
    (tmp_path / "backup.db").rename(path)
    assert store.add_events([Event("u", "c")]).last_seq == 3
    assert [event.item_id for event in store.events()] == ["a", "b", "c"]
    assert store.newest_change() == 3


def test_a_clock_that_jumps_changes_no_order_and_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(StoreConfig.build({"retention": {"events_days": 30}}), tmp_path)
    store.add_events([Event("u", "before")])
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 10 * 365 * 86_400)
    store.add_events([Event("u", "in ten years")])
    pruned = store.enforce_retention()
    assert pruned.events == 0
    assert "the clock jumped by 315,360,000 s" in pruned.skipped
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)
    receipt = store.add_events([Event("u", "yesterday")])
    assert receipt.late == 0
    monkeypatch.setattr(time, "time", now)
    store.add_events([Event("u", "after")])
    assert [event.item_id for event in store.events("u")] == ["before", "in ten years", "yesterday", "after"]
    assert [event.seq for event in store.events("u")] == [1, 2, 3, 4]
    store.close()


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)
