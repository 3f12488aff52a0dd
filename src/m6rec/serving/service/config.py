"""Settings of the service."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config


class EngineConfig(Config):
    """Candidates, caches, batches and time of the engine."""

    budget_ms: float | None = Field(None, gt=0, description="Time for a request where it says none; null: as long as it takes.")
    audit_every_ms: float = Field(
        50.0,
        ge=0,
        description="Longest time that what was shown waits for the next write of the audit; a killed worker loses that much of it.",
    )
    audit: bool = Field(True, description="Record what was shown to whom, at which place, with which propensity.")
    quality_per_s: float = Field(
        2.0, ge=0, description="New events a second that are held against the answer before them, for the live quality; 0: none."
    )
    look_every_s: float = Field(
        60.0, gt=0, description="Seconds between two looks at the running experiments; a harmful arm is rolled back then."
    )
