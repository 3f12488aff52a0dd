"""Who can be asked for: people known to the model, what they did, scenarios, model versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from m6rec.serving.console.page import moment

LISTED = 200  # user ids offered while typing
EXAMPLES = 6


@dataclass(frozen=True)
class Past:
    """One event of somebody."""

    item_id: str
    title: str
    action: str
    time: str


def known_users(service: Any) -> list[str]:
    """Some ids to pick from."""
    return list(service.engine.users.ids.ids[:LISTED])


def scenarios(service: Any) -> list[str]:
    """Names of the scenarios that may be asked."""
    return list(service.engine.dataset.scenario_names)


def past_of(service: Any, user: str, most: int = 8) -> list[Past]:
    """The newest events of a user, newest first; none of somebody unknown."""
    engine = service.engine
    row = engine.users.ids.dense(user)
    if row < 0:
        return []
    history, names = engine.histories.row(row), engine.dataset.action_names
    ids, titles = engine.items.ids.ids, engine.items.titles()
    found = []
    for place in range(len(history.items) - 1, max(len(history.items) - 1 - most, -1), -1):
        item = int(history.items[place])
        action = names[history.actions[place]] if history.actions is not None and history.actions[place] >= 0 else ""
        found.append(Past(ids[item], titles[item], action, "" if history.times is None else moment(float(history.times[place]))))
    return found
