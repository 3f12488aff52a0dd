"""PostgreSQL, for several machines or for people who run one anyway."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, LiteralString, cast

from sqlalchemy import BigInteger, Boolean, Column, Connection, Double, Engine, Integer, Table, create_engine, event, exc
from sqlalchemy.engine import URL

from m6rec.base.errors import MissingExtraError
from m6rec.serving.store.database import Database, Insert

try:
    import psycopg
except ImportError:
    raise MissingExtraError("PostgreSQL needs psycopg; type: pip install 'm6rec[serve]'") from None

Driver = psycopg.Connection[Any]
LOCK = 0x6D367265  # the advisory lock of whoever writes, in each database
AGAIN_S = 0.25  # between two tries to reach a database that is away
SETTLE_S = 0.004  # after a notice: those that arrive meanwhile are read together
IDLE_S = 0.5  # after that a connection may have been cut off without anybody knowing
STATES = {
    "53100": "has no space left on its disk; nothing was written; free some space and send it again",
    "53300": "takes no more connections; raise its max_connections, or lower store.connections or http.workers",
    "25006": "is read-only (a standby?); nothing was written; give the URL of the primary server",
    "55P03": "was locked by another program for more than {timeout_s:g} s; nothing was written; end it, or raise store.timeout_s",
    "42501": "refuses this user ({reason}); grant it the right to create and write tables",
    "42P01": "has lost its tables ({reason}); put a backup back, or start again with an empty database",
    "28P01": "refuses the password; give the right one in store.url",
    "28000": "refuses this user ({reason}); look at pg_hba.conf, or give another user in store.url",
    "3D000": "does not exist; create it: createdb NAME",
}


class PostgresDatabase(Database):
    """A database behind a URL, for processes on any machines."""

    def __init__(self, url: URL, timeout_s: float, connections: int) -> None:
        url = url.set(drivername="postgresql+psycopg")
        name = url.set(drivername="postgresql").render_as_string(hide_password=True)
        milliseconds = int(1000 * timeout_s)
        settings: dict[str, Any] = {
            "connect_timeout": max(int(timeout_s), 1),
            "tcp_user_timeout": milliseconds,
            "options": f"-c lock_timeout={milliseconds} -c client_encoding=utf8",
            "application_name": "m6rec",
            **url.query,
        }
        reading = create_engine(
            url.set(query={}),
            connect_args=settings,
            isolation_level="AUTOCOMMIT",  # most reads are one statement, which sees one moment by itself
            pool_size=connections,
            max_overflow=24,
            pool_timeout=max(timeout_s, 1.0),
        )
        _look_before_use(reading)
        snapshots = reading.execution_options(isolation_level="REPEATABLE READ")
        # Transactions begin and end where `_begin` and `_commit` say so: one message instead of three.
        durable = {**settings, "options": f"{settings['options']} -c synchronous_commit=on"}
        writing = create_engine(url.set(query={}), connect_args=durable, isolation_level="AUTOCOMMIT", pool_size=1)
        super().__init__(name, reading, snapshots, writing, timeout_s)
        self._newest = 0
        self._news = threading.Lock()
        self._closing = threading.Event()
        self._listener: threading.Thread | None = None
        self._listen_to = {"conninfo": url.set(drivername="postgresql", query={}).render_as_string(hide_password=False), **settings}

    def send(self, connection: Connection, inserts: Sequence[Insert], *, commit: bool = False, tell: int | None = None) -> None:
        """One statement with one parameter for any number of rows (faster than COPY up to some thousands), all statements in one message."""
        with _driver(connection) as driver, driver.pipeline():
            for table, columns, rows in inserts:
                body = json.dumps([dict(zip(columns, row, strict=True)) for row in rows], separators=(",", ":"))
                driver.execute(_insert_statement(table, tuple(columns)), (body,))
            if tell is not None:
                driver.execute("SELECT pg_notify('m6rec_changed', %s)", (str(tell),))
            if commit:
                driver.execute("COMMIT")
        if commit:
            connection.commit()  # nothing is left to commit; this is for SQLAlchemy's own books

    def rows_with(self, connection: Connection, table: Table, columns: Sequence[str], values: Sequence[str]) -> list[tuple[Any, ...]]:
        statement = cast("LiteralString", f"SELECT {','.join(columns)} FROM {table.name} WHERE {columns[0]} = ANY(%s)")
        with _driver(connection) as driver:
            return driver.execute(statement, (list(values),)).fetchall()

    def newest(self) -> int:
        """What the listening thread has heard of, and what this process has committed."""
        if self._listener is None:
            self._listen()
        return self._newest

    def _begin(self, connection: Connection) -> int:
        with _driver(connection) as driver:
            with driver.pipeline():
                self._take_turn(driver)
                # A statement of its own: its snapshot is taken after the lock was, so the number is that of whoever held it before.
                newest = driver.execute("SELECT max(seq) FROM changes")
            row = newest.fetchone()
        return (row and row[0]) or 0

    def _lock(self, connection: Connection) -> None:
        with _driver(connection) as driver:
            self._take_turn(driver)

    def _take_turn(self, driver: Driver) -> None:
        driver.execute("BEGIN")
        driver.execute(f"SELECT pg_advisory_xact_lock({LOCK})")

    def usable(self, connection: Connection) -> bool:
        driver: Any = connection.connection.driver_connection
        return not driver.closed

    def _committed(self, newest: int) -> None:
        with self._news:
            self._newest = max(self._newest, newest)

    def is_trouble(self, error: exc.SQLAlchemyError) -> bool:
        return _state(error) in STATES

    def in_words(self, error: exc.SQLAlchemyError) -> str:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:160]
        words = STATES.get(_state(error) or "")
        if words is None and _state(error) is None and "does not exist" in reason and "database" in reason:
            words = STATES["3D000"]
        if words is not None:
            return f"the database {self.name} {words.format(timeout_s=self.timeout_s, reason=reason)}"
        return f"the database {self.name} does not answer ({reason}); what was not acknowledged can be sent again with the same idempotency key"

    def _listen(self) -> None:
        """Read where the log stands, and start the thread that hears of what is committed from then on.

        Raises:
            StorageError: the database does not answer.
        """
        with self._news:
            if self._listener is not None or self._closing.is_set():
                return
            with self.read() as connection:
                self._newest = connection.exec_driver_sql("SELECT max(seq) FROM changes").scalar() or 0
            self._listener = threading.Thread(target=self._hear, name="m6rec-store-listener", daemon=True)
            self._listener.start()

    def _hear(self) -> None:
        while not self._closing.is_set():
            try:
                self._hear_on()
            except psycopg.Error as error:
                self.away = self.in_words(exc.OperationalError(None, None, error))
            self._closing.wait(AGAIN_S)

    def _hear_on(self) -> None:
        """Over one connection, until it is cut off."""
        with psycopg.connect(autocommit=True, **self._listen_to) as connection:
            connection.execute("LISTEN m6rec_changed")
            self._look(connection)  # what was committed before anybody listened
            self.away = ""
            while not self._closing.is_set():
                notices = list(connection.notifies(timeout=0.2, stop_after=1))
                if notices:
                    self._committed(max(int(notice.payload) for notice in notices))
                    self._closing.wait(SETTLE_S)

    def _look(self, connection: Driver) -> None:
        row = connection.execute("SELECT max(seq) FROM changes").fetchone()
        self._committed((row and row[0]) or 0)

    def close(self) -> None:
        self._closing.set()
        if self._listener is not None:
            self._listener.join()
        super().close()


def _look_before_use(engine: Engine) -> None:
    """A connection that has lain idle is tried before it is used, and replaced if it was cut off meanwhile."""

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkin")
    def used(connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def taken(connection: Any, record: Any, _: Any) -> None:
        if time.monotonic() - record.info["used"] > IDLE_S:
            try:
                connection.execute("SELECT 1")
            except psycopg.Error as error:
                raise exc.DisconnectionError from error


@contextmanager
def _driver(connection: Connection) -> Iterator[Driver]:
    """The connection below SQLAlchemy's, with errors as SQLAlchemy raises them: it can send several statements in one message."""
    driver: Any = connection.connection.driver_connection
    try:
        yield driver
    except psycopg.Error as error:
        raise exc.OperationalError(None, None, error, connection_invalidated=driver.closed) from error


def _state(error: exc.SQLAlchemyError) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


@cache
def _insert_statement(table: Table, columns: tuple[str, ...]) -> LiteralString:
    names = ",".join(f'"{name}"' for name in columns)
    types = ",".join(f'"{name}" {_kind(table.c[name])}' for name in columns)
    return cast("LiteralString", f"INSERT INTO {table.name} ({names}) SELECT {names} FROM json_to_recordset(%s) AS rows ({types})")


def _kind(column: Column[Any]) -> str:
    for kind, name in ((BigInteger, "bigint"), (Integer, "integer"), (Double, "double precision"), (Boolean, "boolean")):
        if isinstance(column.type, kind):
            return name
    return "text"
