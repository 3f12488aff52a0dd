"""Who would be shown an item: its place in the lists of people drawn at random."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

DRAWN = 200  # people whose lists are made
DEEP = 50  # length of each list
TOLD = 10


@dataclass(frozen=True)
class Audience:
    """Who has the item in their list.

    drawn: how many people were asked for, at random out of `known`.  reached: those who have the item among the first `deep`.
    best: user, place, of those nearest the top.

    blocked: whether moderation or the configuration keeps it from everybody, in which case nobody was asked for.
    """

    drawn: int
    reached: int
    deep: int
    best: list[tuple[str, int]]
    known: int = 0
    blocked: bool = False


def who_gets(service: Service, item: str, seed: int = 0) -> Audience:
    """The people who would be shown `item`, out of `DRAWN` drawn by `seed` (all of them where there are fewer).

    Raises:
        UnknownItemError: no such item.
    """
    service.item(item)
    with service.loaded.use() as model:
        row = model.engine.items.ids.dense(item)
        if any(rows[row] for rows in service.rulings.book(model).masks.blocked.values()):
            return Audience(0, 0, 0, [], blocked=True)
        users = [user for row, user in enumerate(model.engine.users.ids.ids) if row not in model.engine.forgotten]
        drawn = users if len(users) <= DRAWN else random.Random(seed).sample(users, DRAWN)
        deep = min(DEEP, max(len(model.engine.items) - 1, 1))
        lists = model.engine.recommend_many(drawn, k=deep) if drawn else None
    if lists is None:
        return Audience(0, 0, deep, [])
    mine = lists.filter(lists["item_id"] == item).sort("rank", "user_id")
    best = list(zip(mine["user_id"].to_list(), mine["rank"].to_list(), strict=True))
    return Audience(len(drawn), len(best), deep, best[:TOLD], len(users))
