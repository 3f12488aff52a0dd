"""What an item is called on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m6rec.base.errors import UnknownItemError

if TYPE_CHECKING:
    from m6rec.serving.service.service import Service


def title_of(service: Service, item: str) -> str:
    """The title of an item, its id where it has none or is gone."""
    try:
        return service.item(item)["title"] or item
    except UnknownItemError:
        return item
