"""Who can be asked for, and what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from m6rec.base.errors import UnknownUserError

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

LISTED = 200  # user ids offered while typing
PAST = 8


def known_users(service: Service) -> list[str]:
    """Some ids to pick from: people whom the service knows now, nobody who was forgotten."""
    return [one["user_id"] for one in service.users(most=LISTED)]


def past_of(service: Service, user: str) -> dict[str, Any] | None:
    """Fields and newest events of a user, newest first; None of somebody unknown."""
    try:
        return service.user(user, PAST)
    except UnknownUserError:
        return None
