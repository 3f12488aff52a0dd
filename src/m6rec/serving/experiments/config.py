"""Settings of experiments."""

from __future__ import annotations

from pydantic import Field

from m6rec.base.configuration import Config


class ExperimentsConfig(Config):
    """Traffic between models and options."""

    exploration: float = Field(0.0, ge=0.0, le=0.5, description="Share of places filled by chance, with a known propensity.")
