"""Finding items by what people type: words in ids, titles, tags and categories."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from m6rec.data.dataset import Table
from m6rec.data.fields import FieldType

SHORT = (FieldType.CATEGORY, FieldType.TAGS)  # kinds of field whose values are words to search for


class ItemSearch:
    """Search over the newest catalogue that was asked about; what is searched is made at the first search after a change."""

    def __init__(self) -> None:
        self._made: tuple[Table, list[str]] | None = None
        self._lock = threading.Lock()

    def rows(self, items: Table, titles: Sequence[str], query: str) -> Sequence[int]:
        """Dense rows of the items that hold every word of `query`, in the order of the catalogue; all of them for no word."""
        words = query.lower().split()
        if not words:
            return range(len(items))
        with self._lock:
            if self._made is None or self._made[0] is not items:
                self._made = (items, _texts(items, titles))
            texts = self._made[1]
        return [row for row, text in enumerate(texts) if all(word in text for word in words)]


def _texts(items: Table, titles: Sequence[str]) -> list[str]:
    columns = [items.frame[name].to_list() for name, kind in items.fields.items() if kind in SHORT]
    return [
        "\n".join((id, title, *map(_words, values))).lower() for id, title, *values in zip(items.ids.ids, titles, *columns, strict=True)
    ]


def _words(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else str(value)
