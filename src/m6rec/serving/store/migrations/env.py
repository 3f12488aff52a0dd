"""Alembic's environment: the caller hands over an open connection that is inside a transaction."""

from __future__ import annotations

from alembic import context

from m6rec.serving.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
