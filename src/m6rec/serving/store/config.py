"""Settings of the store."""

from __future__ import annotations

from pydantic import Field, field_validator

from m6rec.base.configuration import Config

BACKENDS = ("sqlite", "postgresql", "postgresql+psycopg", "postgres")


class RetentionConfig(Config):
    """How long things are kept, in days; null: for ever. What is older is deleted by `Store.enforce_retention`."""

    events_days: float | None = Field(None, gt=0, description="Events, by the time at which they happened.")
    audit_days: float | None = Field(None, gt=0, description="What was shown to whom.")
    requests_days: float | None = Field(7.0, gt=0, description="Idempotency keys of requests: a repeat after that counts again.")
    changes_days: float | None = Field(
        7.0, gt=0, description="The log that workers follow; a worker asleep for longer starts again. Holds forgotten ids until then."
    )
    every_s: float = Field(3600.0, gt=0, description="Seconds between two looks at what is too old.")


class StoreConfig(Config):
    """Where what has to outlive the process is kept."""

    url: str = Field("", description="SQLAlchemy URL (sqlite:///..., postgresql+psycopg://...); empty: store.db in the state folder.")
    timeout_s: float = Field(
        5.0, gt=0, description="Longest wait for another writer, a connection or an answer before it is a StorageError."
    )
    connections: int = Field(8, ge=1, le=200, description="Connections for reading that are kept open; a busy moment opens more.")
    most_events: int = Field(10_000, ge=1, description="Most events in one call of add_events.")
    late_after_s: float = Field(3600.0, ge=0, description="An event that arrives longer than this after its time counts as late.")
    future_tolerance_s: float = Field(86_400.0, ge=0, description="An event further ahead of this machine's clock is refused.")
    derive_ids: bool = Field(
        False, description="An event with a time but no event_id gets one from its content, so that sending it twice counts once."
    )
    pseudonyms: bool = Field(
        False, description="Write a keyed hash of every user id instead of the id. Decide before the first event; it can't be undone."
    )
    secret_file: str = Field("", description="File with the secret of keys and pseudonyms; empty: store.secret in the state folder.")
    retention: RetentionConfig = Field(default_factory=RetentionConfig, description="How long things are kept.")

    @field_validator("url")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        backend, found, _ = value.partition("://")
        if value and (not found or backend not in BACKENDS):
            raise ValueError("a URL is sqlite:///path/store.db or postgresql+psycopg://user@host/database, or empty")
        return value
