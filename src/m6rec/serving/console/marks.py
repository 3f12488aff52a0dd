"""What keeps items from everybody: which they are, and who said so, when and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m6rec.serving.console.page import Page
from m6rec.serving.store.records import Block, Deed

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service

NEWEST = 1_000  # deeds of blocking that are read


def kept_back(service: Service) -> dict[str, str]:
    """Items of the catalogue that nobody is shown -> the rule that keeps them back, such as "blocked words"."""
    with service.loaded.use() as model:
        ids, masks = model.engine.items.ids.ids, service.rulings.book(model).masks.blocked
        found = {ids[row]: rule for rule, rows in masks.items() for row in np.flatnonzero(rows).tolist()}
        return {item: rule for item, rule in found.items() if item not in model.gone}


def blockers(page: Page, blocked: list[Block]) -> dict[tuple[str, str], Deed]:
    """(kind, value) -> the deed that blocked it, for those whom the record of deeds is open to, of blocks that were somebody's deed."""
    if not blocked or not page.session.may("admin"):
        return {}
    found: dict[tuple[str, str], Deed] = {}
    for deed in page.service.store.deeds(did="block", newest_first=True, most=NEWEST):
        found.setdefault((deed.after.partition(":")[0], deed.target), deed)
    return {(one.kind, one.value): found[one.kind, one.value] for one in blocked if (one.kind, one.value) in found}
