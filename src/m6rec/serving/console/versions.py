"""When each model was added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m6rec.base.errors import StorageError

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service


def added(service: Service) -> dict[str, float]:
    """Version -> when it was added, seconds since 1970, as the store has it and so the same in every worker; nothing while the store is away."""
    try:
        return {model.version: model.added for model in service.store.models()}
    except StorageError:
        return {}
