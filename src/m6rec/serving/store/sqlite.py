"""SQLite: one file, write-ahead log, every commit synced to the disk."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, exc
from sqlalchemy.pool import QueuePool

from m6rec.base.errors import StorageError
from m6rec.serving.store.database import Database, Insert

# FULL: the log is synced at every commit, so an acknowledged row survives a power cut. The log is copied into the file every 1,000 pages (4 MB).
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=1000",
    "journal_size_limit=67108864",
    "secure_delete=ON",  # what was forgotten is overwritten
    "cache_size=-32000",
)
RETRY_S = 0.0005  # SQLite's own wait doubles up to 100 ms, which starves a worker; a commit takes less than one


class SqliteDatabase(Database):
    """A database in one file, for all processes of one machine."""

    def __init__(self, path: Path, timeout_s: float, connections: int) -> None:
        self.path = path
        self._file = _create(path)
        reading = _engine(path, timeout_s, "BEGIN", pool_size=connections)
        # A writer's wait for its turn is ours (see `_begin`); within a transaction nobody else can be in its way.
        writing = _engine(path, 0.0, None, pool_size=1)
        super().__init__(str(path), reading, reading, writing, timeout_s)
        self._watching = Lock()
        self._watch: sqlite3.Connection | None = None
        self._seen = (-1, 0)  # the data version at which the newest number was read, and that number

    def send(self, connection: Connection, inserts: Sequence[Insert], *, commit: bool = False, tell: int | None = None) -> None:
        with _driver(connection) as driver:
            for table, columns, rows in inserts:
                marks = ",".join("?" * len(columns))
                driver.executemany(f"INSERT INTO {table.name} ({','.join(columns)}) VALUES ({marks})", rows)
            if commit:
                driver.commit()
        if commit:
            connection.commit()  # nothing is left to commit; this is for SQLAlchemy's own books

    def rows_with(self, connection: Connection, table: Table, columns: Sequence[str], values: Sequence[str]) -> list[tuple[Any, ...]]:
        statement = f"SELECT {','.join(columns)} FROM {table.name} WHERE {columns[0]} IN (SELECT value FROM json_each(?))"
        with _driver(connection) as driver:
            return driver.execute(statement, (json.dumps(values),)).fetchall()

    def newest(self) -> int:
        """Asks SQLite whether anybody has committed since the last call (`PRAGMA data_version`), and reads only then."""
        try:
            with self._watching:
                if self._watch is None:
                    self._watch = _connect(self.path, self.timeout_s)
                version: int = self._watch.execute("PRAGMA data_version").fetchone()[0]
                if version != self._seen[0]:
                    newest = self._watch.execute("SELECT max(seq) FROM changes").fetchone()[0] or 0
                    self._seen = (version, newest)
                return self._seen[1]
        except sqlite3.Error as error:
            raise StorageError(self.in_words(exc.OperationalError(None, None, error))) from error

    def _begun(self) -> tuple[Connection, int]:
        """Writing goes on into a file that was deleted, and is lost with it: so the file is looked at before every transaction."""
        file = _identity(self.path)
        if file is None:
            raise StorageError(f"{self.name} is gone; nothing was written; put it back, or restart to begin with an empty one")
        if file != self._file:  # another one was put in its place: let go of the old one
            self._abandon()
            self._reading.dispose()
            self._writing.dispose()
            with self._watching:
                self._forget_watch()
            self._file = file
        return super()._begun()

    def _begin(self, connection: Connection) -> int:
        with _driver(connection) as driver:
            self._take_turn(driver)
            return driver.execute("SELECT max(seq) FROM changes").fetchone()[0] or 0

    def _lock(self, connection: Connection) -> None:
        with _driver(connection) as driver:
            self._take_turn(driver)

    def _take_turn(self, driver: sqlite3.Connection) -> None:
        until = time.monotonic() + self.timeout_s
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(random.uniform(RETRY_S, 3 * RETRY_S))

    def _committed(self, newest: int) -> None:
        pass  # `newest` sees it, as it sees the commits of other processes

    def in_words(self, error: exc.SQLAlchemyError) -> str:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        for sign, words in SIGNS.items():
            if sign in reason:
                return f"{self.name} {words.format(timeout_s=self.timeout_s)}"
        return f"{self.name}: {reason}; nothing was written"

    def close(self) -> None:
        with self._watching:
            self._forget_watch()
        super().close()

    def _forget_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch, self._seen = None, (-1, 0)


SIGNS = {
    "disk is full": "can't grow, the disk is full; nothing was written; free some space and send it again",
    "readonly": "is read-only; nothing was written; let this user write to the file and its folder",
    "locked": "was locked by another program for more than {timeout_s:g} s; nothing was written; end it, or raise store.timeout_s",
    "unable to open": "can't be opened; does its folder exist, and may this user read and write there?",
    "not a database": "is no SQLite database; give another file in store.url, or move it away",
    "malformed": "is damaged; put a backup in its place (sqlite3 FILE .recover saves what can be read)",
    "disk I/O error": "could not be read or written (disk I/O error); nothing was written; is the disk full or gone?",
    "QueuePool limit": "has all its connections busy for more than {timeout_s:g} s; raise store.connections",
}


@contextmanager
def _driver(connection: Connection) -> Iterator[sqlite3.Connection]:
    """The connection below SQLAlchemy's, with errors as SQLAlchemy raises them: on the way of every event, statements cost as much as the rows."""
    try:
        driver: Any = connection.connection.driver_connection
        yield driver
    except sqlite3.Error as error:
        raise exc.OperationalError(None, None, error) from error


def _create(path: Path) -> tuple[int, int]:
    """Make the file if there is none, for this user alone; which one it is.

    Raises:
        StorageError: it can't be made or written.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        status = os.stat(path)
    except OSError as error:
        words = "can't be opened; does its folder exist, and may this user read and write there?"
        raise StorageError(f"{path} {words} ({error.strerror})") from error
    return status.st_dev, status.st_ino


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Transactions begin where we say so, not where the driver guesses; a file that is not there is not made."""
    name = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(name, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False, cached_statements=256)


def _engine(path: Path, timeout_s: float, begin: str | None, *, pool_size: int) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, timeout_s),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=4 * pool_size + 24,
        pool_timeout=max(timeout_s, 1.0),
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA busy_timeout=5000")
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA busy_timeout={int(1000 * timeout_s)}")

    if begin is not None:

        @event.listens_for(engine, "begin")
        def began(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine
