"""The store: everything that has to outlive the process, behind one object."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from sqlalchemy import make_url

from m6rec.base.errors import ConfigError, StorageError
from m6rec.serving.store import tables
from m6rec.serving.store.audit import Audit
from m6rec.serving.store.change_log import ChangeLog
from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.database import Database, as_json
from m6rec.serving.store.deeds import Deeds
from m6rec.serving.store.exporting import Exporting
from m6rec.serving.store.importing import Importing
from m6rec.serving.store.keys import Keys
from m6rec.serving.store.models import Models
from m6rec.serving.store.moderation import Moderation
from m6rec.serving.store.outcomes import Experiments
from m6rec.serving.store.retention import Clock, Retention
from m6rec.serving.store.secrets import Secret
from m6rec.serving.store.settings import FINGERPRINT, put_named


class Store(Importing, Exporting, ChangeLog, Audit, Deeds, Keys, Models, Experiments, Moderation, Retention):
    """SQLite or PostgreSQL, for any number of threads and processes.

    Every method blocks until it is done and may be called by any thread. A write that returned is on the disk. Everything raises `m6rec.base.errors`
    only, `StorageError` for a database that is away, locked, read-only or full; the next call tries again.
    """

    def __init__(self, database: Database, config: StoreConfig, secret: Secret) -> None:
        self.database = database
        self.config = config
        self.secret = secret
        self.clock = Clock()

    @classmethod
    def open(cls, config: StoreConfig, folder: Path, *, migrate: bool = True) -> Self:
        """Open the store of a state folder; made if there is none.

        Args:
            folder: where store.db lies (unless `config.url` says otherwise) and store.secret.
            migrate: False refuses a database whose tables are not the newest ones instead of changing them.

        Raises:
            StorageError: the database does not answer, can't be written, or is newer than this program.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror or error}; the store needs a folder that this user may write to") from error
        secret = Secret.load(Path(config.secret_file) if config.secret_file else folder / "store.secret")
        database = _database(config, folder)
        store = cls(database, config, secret)
        try:
            store._prepare(migrate)
        except StorageError:
            store.close()
            raise
        return store

    def _prepare(self, migrate: bool) -> None:
        if migrate:
            self.database.migrate()
        found = self.database.version()
        if found != tables.HEAD:
            raise StorageError(
                f"{self.database.name} has tables of version {found or 'none'}, this program needs {tables.HEAD}; "
                "open it with migrate=True, or upgrade m6rec where they are newer"
            )

        self._own_secret(migrate)

    def _own_secret(self, write: bool) -> None:
        """Keys and pseudonyms made with one secret mean nothing to another."""
        mine = self.secret.fingerprint()
        known = self.setting(FINGERPRINT)
        if known is None and write:
            self.database.write(lambda writing: put_named(writing, tables.settings, FINGERPRINT, as_json(mine)))
        elif known not in (None, mine):
            raise StorageError(
                f"{self.database.name} was made with another secret than {self.secret.path}: put that file in its place (or name it in "
                f"store.secret_file); if it is lost, delete the row '{FINGERPRINT}' of the table settings: old keys and pseudonyms then mean nothing"
            )

    def close(self) -> None:
        """Let go of the database. What was written is written."""
        self.database.close()


def _database(config: StoreConfig, folder: Path) -> Database:
    url = make_url(config.url) if config.url else None
    if url is None or url.get_backend_name() == "sqlite":
        from m6rec.serving.store.sqlite import SqliteDatabase

        path = Path(url.database) if url is not None and url.database else folder / "store.db"
        if url is not None and (url.database or "") in ("", ":memory:"):
            raise ConfigError(f"store.url '{config.url}' names no file; a store has to outlive its process: sqlite:///path/store.db")
        return SqliteDatabase(path, config.timeout_s, config.connections)
    from m6rec.serving.store.postgres import PostgresDatabase

    return PostgresDatabase(url, config.timeout_s, config.connections)
