"""Settings of the service."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.data.columns import DISLIKES


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
    ranked: int = Field(200, ge=1, description="Items that a task on candidates orders, out of those that were retrieved.")
    ranked_in_haste: int = Field(
        50, ge=1, description="The same where time is short; a tenth of what is retrieved otherwise is retrieved then."
    )
    history_cache_mb: float = Field(
        128.0, gt=0, description="Megabytes of keys and values of histories that were read, kept for the next answer."
    )
    found_cache_mb: float = Field(32.0, gt=0, description="Megabytes of candidates and scores kept for people who ask again.")
    similar_dislikes: float = Field(
        4.0,
        ge=0,
        description="How far a dislike lowers what is like it: times the likeness (cosine of item vectors, above 0.3), off the log probability.",
    )
    disliked_actions: list[str] = Field(list(DISLIKES), description="Actions of events that are dislikes: items like these sink.")
    batch: int = Field(16, ge=1, description="Questions that are answered together when they come while another is at work; 1: each alone.")
