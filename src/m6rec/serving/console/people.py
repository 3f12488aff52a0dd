"""Who can be asked for, and what they did."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from m6rec.base.errors import UnknownUserError

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

LISTED = 200  # user ids offered while typing
PAST = 8
NEAR = 5  # ids that are offered for one that nobody has
LOOKED_AT = 5_000  # ids among which they are looked for


def known_users(service: Service) -> list[str]:
    """Some ids to pick from: people whom the service knows now, nobody who was forgotten."""
    return [one["user_id"] for one in service.users(most=LISTED)]


def nearest_users(service: Service, typed: str) -> list[str]:
    """Known ids that somebody may have meant: those that hold what was typed, have the same number, or are written almost so."""
    holding = [one["user_id"] for one in service.users(typed, NEAR)] if typed else []
    with service.loaded.use() as model:
        ids = [user for row, user in enumerate(model.engine.users.ids.ids[:LOOKED_AT]) if row not in model.engine.forgotten]
    number = _number(typed)
    same = [one for one in ids if number and _number(one) == number]
    return list(dict.fromkeys([*same, *holding, *get_close_matches(typed, ids, NEAR, 0.5)]))[:NEAR]


def _number(id: str) -> str:
    return "".join(one for one in id if one.isdigit()).lstrip("0")


def past_of(service: Service, user: str) -> dict[str, Any] | None:
    """Fields and newest events of a user, newest first; None of somebody unknown."""
    try:
        return service.user(user, PAST)
    except UnknownUserError:
        return None
