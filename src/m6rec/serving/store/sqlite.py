"""SQLite: one file, write-ahead log, every commit synced to the disk."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL

from m6rec.base.errors import StorageError
from m6rec.serving.store.database import Database, Insert

# FULL: the log is synced at every commit, so an acknowledged row survives a power cut. The log is copied into the file every 4,000 pages (16 MB).
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=4000",
    "journal_size_limit=67108864",
    "secure_delete=ON",  # what was forgotten is overwritten
    "cache_size=-32000",
)
RETRY_S = 0.0005  # SQLite's own wait doubles up to 100 ms, which starves a worker; a commit takes less than one


class SqliteDatabase(Database):
    """A database in one file, for all processes of one machine."""

    def __init__(self, path: Path, timeout_s: float, connections: int) -> None:
        self.path = path
        reading = _engine(path, timeout_s, "BEGIN", pool_size=connections)
        # A writer's wait for its turn is ours (see `_begin`); within a transaction nobody else can be in its way.
        writing = _engine(path, 0.0, None, pool_size=1)
        super().__init__(str(path), reading, writing, timeout_s)
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

    def known(self, connection: Connection, table: str, column: str, values: Sequence[str]) -> set[str]:
        if not values:
            return set()
        found = connection.exec_driver_sql(
            f"SELECT {column} FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", (json.dumps(values),)
        )
        return set(found.scalars())

    def newest(self) -> int:
        """Asks SQLite whether anybody has committed since the last call (`PRAGMA data_version`), and reads only then."""
        try:
            with self._watching:
                if self._watch is None:
                    self._watch = sqlite3.connect(self.path, timeout=self.timeout_s, isolation_level=None, check_same_thread=False)
                version: int = self._watch.execute("PRAGMA data_version").fetchone()[0]
                if version != self._seen[0]:
                    newest = self._watch.execute("SELECT max(seq) FROM changes").fetchone()[0] or 0
                    self._seen = (version, newest)
                return self._seen[1]
        except sqlite3.Error as error:
            raise StorageError(self.in_words(exc.OperationalError(None, None, error))) from error

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
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        super().close()


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


def _engine(path: Path, timeout_s: float, begin: str | None, *, pool_size: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": timeout_s, "check_same_thread": False, "cached_statements": 256},
        pool_size=pool_size,
        max_overflow=4 * pool_size + 24,
        pool_timeout=max(timeout_s, 1.0),
    )

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
        connection.execute("PRAGMA busy_timeout=5000")
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA busy_timeout={int(1000 * timeout_s)}")

    if begin is not None:

        @event.listens_for(engine, "begin")
        def began(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine
