"""The tables, as the newest migration leaves them. A test compares the two.

Text is text and JSON is text, in both databases, so that a row reads the same in either. All sequence numbers come from one row of numbers:
an event's `seq` and a change's `seq` are places in the same order of commits.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, text

HEAD = "0003"  # the newest migration in migrations/versions

metadata = MetaData()
Number = BigInteger().with_variant(Integer, "sqlite")  # in SQLite an INTEGER PRIMARY KEY is the row's own place

events = Table(
    "events",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("received", Double, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("time", Double, nullable=False),
    Column("action", Text),
    Column("scenario", Text),
    Column("value", Double),
    Column("labels", Text),
    Column("context", Text),
    Column("event_id", Text),
    Index("events_of_user", "user_id", "seq"),
    Index("events_by_time", "time"),
    Index(
        "events_by_id",
        "event_id",
        unique=True,
        sqlite_where=text("event_id IS NOT NULL"),
        postgresql_where=text("event_id IS NOT NULL"),
    ),
)

changes = Table(
    "changes",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("payload", Text, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("receipt", Text, nullable=False),
    Column("time", Double, nullable=False),
    Index("requests_by_time", "time"),
)


def _rows(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("id", Text, primary_key=True),
        Column("fields", Text, nullable=False),
        Column("gone", Boolean, nullable=False),
        Column("seq", Number, nullable=False),
        Column("time", Double, nullable=False),
    )


items = _rows("items")
users = _rows("users")

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("roles", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("created", Double, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("version", Text, primary_key=True),
    Column("folder", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("added", Double, nullable=False),
    Column("watermark", Number, nullable=False),
)

activations = Table(
    "activations",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("version", Text, nullable=False),
    Column("time", Double, nullable=False),
)


def _named(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("name", Text, primary_key=True),
        Column("body", Text, nullable=False),
        Column("time", Double, nullable=False),
    )


settings = _named("settings")
options = _named("options")

audit = Table(
    "audit",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("user_id", Text),
    Column("item_id", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("scenario", Text),
    Column("propensity", Double, nullable=False),
    Column("experiment", Text),
    Column("variant", Text),
    Column("why", Text),
    Column("salt", Text),
    Column("seal", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("audit_of_user", "user_id", "seq"),
    Index("audit_of_item", "item_id", "seq"),
    Index(
        "audit_of_experiment",
        "experiment",
        "seq",
        sqlite_where=text("experiment IS NOT NULL"),
        postgresql_where=text("experiment IS NOT NULL"),
    ),
)

audit_anchors = Table(
    "audit_anchors",
    metadata,
    Column("upto", Number, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    Column("time", Double, nullable=False),
)

deeds = Table(
    "deeds",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("who", "did", "target", "before", "after", "hash")),
)

blocked = Table(
    "blocked",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("time", Double, nullable=False),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("user_id", Text),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("decided", Double),
    Column("by", Text),
    Index("reviews_by_state", "state", "id"),
)

experiments = _named("experiments")

forgotten = Table(
    "forgotten",
    metadata,
    Column("who", Text, primary_key=True),
    Column("seq", Number, nullable=False),
    Column("time", Double, nullable=False),
)

exports = Table(
    "exports",
    metadata,
    Column("folder", Text, primary_key=True),
    Column("watermark", Number, nullable=False),
    Column("time", Double, nullable=False),
)
