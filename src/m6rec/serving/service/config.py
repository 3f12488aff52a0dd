"""Settings of the service."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config


class EngineConfig(Config):
    """Candidates, caches, batches and time of the engine."""

    budget_ms: float | None = Field(None, gt=0, description="Time for a request where it says none; null: as long as it takes.")
