"""Bringing a database to the newest tables."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from m6rec.base.errors import StorageError
from m6rec.serving.store.tables import HEAD

FOLDER = Path(__file__).parent / "migrations"


def version_of(connection: Connection) -> str | None:
    """The migration that a database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(connection: Connection, to: str = "head") -> None:
    """Run what is missing, inside the transaction of `connection`: all of it or nothing.

    Raises:
        StorageError: the database was written by a newer program.
    """
    # Alembic is slow to import and mostly not needed: a database is migrated once.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    now = version_of(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if now is not None and now not in known:
        raise StorageError(
            f"the database is of version {now}, this program knows up to {HEAD}; upgrade m6rec, or restore an older database"
        )
    command.upgrade(config, to)
