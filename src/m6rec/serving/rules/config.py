"""Settings of what may be shown."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config


class RulesConfig(Config):
    """Rules that hold for every answer."""

    blocked_items: list[str] = Field(default_factory=list, description="Item ids that are never shown.")
