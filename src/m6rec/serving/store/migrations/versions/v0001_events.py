"""Events, the log of changes, items, users, keys, models, settings, options."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("seq", Number, primary_key=True, autoincrement=False),
        sa.Column("received", sa.Double, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("action", sa.Text),
        sa.Column("scenario", sa.Text),
        sa.Column("value", sa.Double),
        sa.Column("labels", sa.Text),
        sa.Column("context", sa.Text),
        sa.Column("event_id", sa.Text),
    )
    op.create_index("events_of_user", "events", ["user_id", "seq"])
    op.create_index("events_by_time", "events", ["time"])
    named = sa.text("event_id IS NOT NULL")
    op.create_index("events_by_id", "events", ["event_id"], unique=True, sqlite_where=named, postgresql_where=named)
    op.create_table(
        "changes",
        sa.Column("seq", Number, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("receipt", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
    )
    op.create_index("requests_by_time", "requests", ["time"])
    for name in ("items", "users"):
        op.create_table(
            name,
            sa.Column("id", sa.Text, primary_key=True),
            sa.Column("fields", sa.Text, nullable=False),
            sa.Column("gone", sa.Boolean, nullable=False),
            sa.Column("seq", Number, nullable=False),
            sa.Column("time", sa.Double, nullable=False),
        )
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("added", sa.Double, nullable=False),
        sa.Column("watermark", Number, nullable=False),
    )
    op.create_table(
        "activations",
        sa.Column("seq", Number, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
    )
    for name in ("settings", "options"):
        op.create_table(
            name,
            sa.Column("name", sa.Text, primary_key=True),
            sa.Column("body", sa.Text, nullable=False),
            sa.Column("time", sa.Double, nullable=False),
        )
