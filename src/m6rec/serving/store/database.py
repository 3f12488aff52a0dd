"""An open database: reading, writing with everybody in one line, and how far the log of changes has come.

All writers of a database, in all processes, take turns (SQLite's own lock, an advisory lock in PostgreSQL), so the numbers of the log are given
in the order of the commits and a follower that has seen change n has seen all before it.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table, exc
from sqlalchemy.dialects import postgresql, sqlite

from m6rec.base.errors import M6RecError, StorageError
from m6rec.serving.store import tables
from m6rec.serving.store.group_commit import GroupCommit, Job
from m6rec.serving.store.migrating import upgrade, version_of
from m6rec.serving.store.records import ChangeKind

T = TypeVar("T")

DEFECTS = (exc.IntegrityError, exc.ProgrammingError, exc.DataError, exc.NotSupportedError)  # of ours, not of the database's health
Insert = tuple[Table, Sequence[str], list[tuple[Any, ...]]]
CHANGE_COLUMNS = ("seq", "time", "kind", "key", "payload")


def as_json(value: Any) -> str:
    """Compact JSON that holds no NaN. Raises ValueError or TypeError for what JSON can't say."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class Writing:
    """A transaction in the making. now: the time of the commit by this machine's clock, the same for all that is in it."""

    def __init__(self, database: Database, connection: Connection, newest: int) -> None:
        self.database = database
        self.connection = connection
        self.newest = newest
        self.now = time.time()
        self._changes: list[tuple[Any, ...]] = []
        self._inserts: list[Insert] = []

    def take(self, count: int = 1) -> int:
        """The first of `count` next sequence numbers."""
        self.newest += count
        return self.newest - count + 1

    def note(self, kind: ChangeKind, key: str = "", payload: Mapping[str, Any] | None = None, *, seq: int | None = None) -> int:
        """Put a change into the log; its number. `seq`: one that was taken already."""
        number = self.take() if seq is None else seq
        self._changes.append((number, self.now, kind, key, as_json(payload or {})))
        return number

    def insert(self, table: Table, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
        """Add many rows. They are sent when this piece of work is done (`flush`): it does not see them itself."""
        if rows:
            self._inserts.append((table, columns, rows))

    def put(self, table: Table, key: Sequence[str], rows: list[dict[str, Any]]) -> None:
        """Write whole rows; one whose `key` columns are there already is written anew."""
        insert = (sqlite if self.connection.dialect.name == "sqlite" else postgresql).insert(table)
        others = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in key}
        self.connection.execute(insert.on_conflict_do_update(index_elements=key, set_=others), rows)

    def rows_with(self, table: Table, columns: Sequence[str], values: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of the rows whose first one of them is among `values`, faster than by a built statement."""
        return self.database.rows_with(self.connection, table, columns, values) if values else []

    def flush(self) -> None:
        """Send the rows that are waiting, so that whoever comes next in this transaction sees them."""
        self.database.send(self.connection, self._inserts)
        self._inserts = []

    def commit(self) -> None:
        """Send what is waiting and the log of changes, and make all of it last."""
        self.insert(tables.changes, CHANGE_COLUMNS, self._changes)
        self.database.send(self.connection, self._inserts, commit=True, tell=self.newest if self._changes else None)


class Database(ABC):
    """One database for all threads of this process.

    name: what errors call it.  away: why the database could not be read or written the last time, "" once it was written again.
    """

    def __init__(self, name: str, reading: Engine, snapshots: Engine, writing: Engine, timeout_s: float) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self.away = ""
        self._reading = reading
        self._snapshots = snapshots
        self._writing = writing
        self._writer: Connection | None = None
        self._group = GroupCommit(self._commit)

    @abstractmethod
    def send(self, connection: Connection, inserts: Sequence[Insert], *, commit: bool = False, tell: int | None = None) -> None:
        """Add rows to tables, and commit; `tell`: the newest number, for followers.  Raises sqlalchemy.exc.DBAPIError."""

    @abstractmethod
    def rows_with(self, connection: Connection, table: Table, columns: Sequence[str], values: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of the rows whose first one of them, a text, is among `values`.  Raises sqlalchemy.exc.DBAPIError."""

    @abstractmethod
    def newest(self) -> int:
        """Number of the newest change that was committed, by any process; cheap enough to be asked before every request."""

    @abstractmethod
    def _lock(self, connection: Connection) -> None:
        """Take the writers' lock for a change of the tables.  Raises sqlalchemy.exc.DBAPIError."""

    @abstractmethod
    def _begin(self, connection: Connection) -> int:
        """Take the writers' lock in a new transaction; the newest number.  Raises sqlalchemy.exc.DBAPIError."""

    @abstractmethod
    def _committed(self, newest: int) -> None:
        """Called after a commit of this process."""

    @abstractmethod
    def in_words(self, error: exc.SQLAlchemyError) -> str:
        """One line that says what is wrong with the database and what to do."""

    def is_trouble(self, error: exc.SQLAlchemyError) -> bool:
        """Whether what looks like a defect of this program comes from the database's state: tables that were dropped, rights that were taken."""
        return "no such table" in str(error)

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """A connection to read from.

        snapshot: whether all statements see the same moment of the database.

        Raises:
            StorageError: the database is away, or can't be read.
        """
        with self.trouble(), (self._snapshots if snapshot else self._reading).connect() as connection:
            yield connection

    def write(self, work: Callable[[Writing], T]) -> T:
        """Do `work` inside a transaction, together with whoever else is writing; returns once it is on the disk.

        `work` may be called again when the transaction it was in failed because of somebody else: it must change nothing but the database.

        Raises:
            StorageError: the database is away, read-only, locked, full. What `work` raises is raised.
        """
        result: T = self._group.submit(Job(work))
        return result

    def write_together(self, together: Callable[[Writing, list[Any]], list[Any]], payload: Any) -> Any:
        """As `write`, for work that is cheaper done for several payloads at once: one result or M6RecError each."""
        return self._group.submit(Job(payload, together))

    def migrate(self) -> None:
        """Bring the tables to the newest version.

        Raises:
            StorageError: they are newer than this program, or can't be written.
        """
        with self.trouble():
            with self._reading.connect() as connection:
                if version_of(connection) == tables.HEAD:
                    return
            with self._writing.connect() as connection, connection.begin():
                self._lock(connection)
                upgrade(connection)

    def version(self) -> str | None:
        """The migration the tables are at; None for an empty database."""
        with self.read() as connection:
            return version_of(connection)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reading.dispose()
        self._writing.dispose()

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """Turns what the database complains of into one line."""
        try:
            yield
        except (exc.DBAPIError, exc.TimeoutError) as error:
            if isinstance(error, DEFECTS) and not self.is_trouble(error):
                raise
            self.away = self.in_words(error)
            raise StorageError(self.away) from error

    def _commit(self, jobs: Sequence[Job]) -> None:
        try:
            self._transaction(jobs)
        except M6RecError as error:
            if isinstance(error, StorageError):
                self.away = str(error)
            if len(jobs) == 1 or isinstance(error, StorageError):
                for job in jobs:
                    job.error = error
            else:  # one of them can't be done; nobody else shall suffer for it
                for job in jobs:
                    self._commit([job])

    def _transaction(self, jobs: Sequence[Job]) -> None:
        with self.trouble():
            connection, newest = self._begun()
            committed = False
            try:
                writing = Writing(self, connection, newest)
                results = _done(writing, jobs)
                writing.commit()
                committed = True
            finally:
                if not committed:
                    self._abandon()
        self.away = ""
        self._committed(writing.newest)
        for job, result in results:
            job.error = result if isinstance(result, M6RecError) else None
            job.result = None if isinstance(result, M6RecError) else result

    def _begun(self) -> tuple[Connection, int]:
        """The writer inside a new transaction. One that was cut off while it lay idle is replaced: nothing has been sent yet."""
        for last in (False, True):
            try:
                if self._writer is None:
                    self._writer = self._writing.connect()
                return self._writer, self._begin(self._writer)
            except exc.DBAPIError as error:
                self._abandon()
                if last or not error.connection_invalidated:
                    raise
        raise AssertionError("the loop returns or raises")

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            if not (writer.invalidated or self.usable(writer)):
                writer.invalidate()
            writer.close()  # rolls back

    def usable(self, connection: Connection) -> bool:
        """False for one that was cut off, where SQLAlchemy does not know."""
        return True


def _done(writing: Writing, jobs: Sequence[Job]) -> list[tuple[Job, Any]]:
    """Every job with its result or error. Those that can be done together are, whoever stands between them: none has waited for another."""
    results: list[tuple[Job, Any]] = []
    kinds = dict.fromkeys(job.together for job in jobs if job.together is not None)
    for together in kinds:
        same = [job for job in jobs if job.together is together]
        results.extend(zip(same, together(writing, [job.work for job in same]), strict=True))
        if len(same) < len(jobs):
            writing.flush()
    for job in jobs:
        if job.together is None:
            results.append((job, job.work(writing)))
            writing.flush()
    return results
