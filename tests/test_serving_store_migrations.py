"""The tables: made step by step, the same as the code thinks they are, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text

from m6rec.base.errors import StorageError
from m6rec.serving.store import tables
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.database import Database
from m6rec.serving.store.migrating import FOLDER, upgrade
from m6rec.serving.store.postgres import PostgresDatabase
from m6rec.serving.store.sqlite import SqliteDatabase
from m6rec.serving.store.store import Store

if TYPE_CHECKING:
    from postgres_server import Server

Run = Callable[[Callable[[Connection], object]], object]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """`store.url` of a database without any tables."""
    server: Server | None = None if request.param == "sqlite" else request.getfixturevalue("postgres")
    return f"sqlite:///{tmp_path}/store.db" if server is None else server.new_database()


@pytest.fixture
def run(url: str) -> Iterator[Run]:
    """`run(work)`: work on the bare database, committed."""
    parsed = make_url(url)
    database: Database = (
        SqliteDatabase(Path(parsed.database or ""), 5.0, 1) if parsed.get_backend_name() == "sqlite" else PostgresDatabase(parsed, 5.0, 1)
    )

    def build(work: Callable[[Connection], object]) -> object:
        with database._writing.connect() as connection:
            database._lock(connection)
            result = work(connection)
            connection.commit()
            return result

    yield build
    database.close()


def test_the_newest_migration_is_the_one_the_code_names() -> None:
    assert ScriptDirectory(str(FOLDER)).get_current_head() == tables.HEAD


def test_migrations_lead_to_the_tables_of_the_code(url: str, run: Run, tmp_path: Path) -> None:
    Store.open(StoreConfig(url=url), tmp_path).close()
    options = {"compare_type": True}
    found = run(lambda connection: compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata))
    assert found == []


def test_a_database_of_the_first_version_is_brought_up_with_its_events(url: str, run: Run, tmp_path: Path) -> None:
    run(lambda connection: upgrade(connection, "0001"))
    run(
        lambda connection: [
            connection.exec_driver_sql(statement)
            for statement in (
                "INSERT INTO events (seq, received, user_id, item_id, time, labels) VALUES (1, 5, 'u', 'i', 4, '{\"a\":1}')",
                "INSERT INTO changes (seq, time, kind, key, payload) VALUES (1, 5, 'events', '', '{\"first\":1,\"last\":1}')",
            )
        ]
    )
    with pytest.raises(StorageError, match="has tables of version 0001, this program needs"):
        Store.open(StoreConfig(url=url), tmp_path, migrate=False)
    store = Store.open(StoreConfig(url=url), tmp_path)
    (event,) = store.events("u")
    assert (event.seq, event.received, event.time, event.labels) == (1, 5.0, 4.0, {"a": 1})
    assert store.newest_change() == 1
    assert (store.shown(), store.blocked(), store.verify_audit().problem) == ([], [], "")
    assert store.set_setting("a", 1) is None
    assert store.changes(1)[0].seq == 2
    store.close()
    Store.open(StoreConfig(url=url), tmp_path, migrate=False).close()


def test_a_newer_database_is_not_touched(url: str, run: Run, tmp_path: Path) -> None:
    Store.open(StoreConfig(url=url), tmp_path).close()
    run(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(StorageError, match="is of version 9999, this program knows up to"):
        Store.open(StoreConfig(url=url), tmp_path)


def test_an_empty_database_without_leave_to_migrate(url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="has tables of version none"):
        Store.open(StoreConfig(url=url), tmp_path, migrate=False)
