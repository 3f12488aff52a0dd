"""Settings of the store."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config


class StoreConfig(Config):
    """Where what has to outlive the process is kept."""

    url: str = Field("", description="SQLAlchemy URL (sqlite:///..., postgresql+psycopg://...); empty: store.db in the state folder.")
