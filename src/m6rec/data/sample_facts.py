"""What is true of each item of the built-in sample, read from its written fields, so that a text made of it says nothing untrue."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from string import Formatter
from typing import Any

import numpy as np
import polars as pl
import yaml

from m6rec.data.columns import Columns
from m6rec.data.sample_tastes import Truth

CEILINGS = (5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300)
# Where each placeholder of a template is to be found in an item.
FIELD_OF = {"what": "title", "title": "title", "brand": "brand", "tag": "tags", "tags": "tags", "price": "price", "praise": "description"}
FIELD_OF |= {"kind": "kind"}
SPAN_OF = {"what": "category", "brand": "brand", "ceiling": "price", "price": "price", "tag": "tags"}


@dataclass(frozen=True)
class Facts:
    """One item: its fields as written, `what` it is (words of its title) and its `praise` (words of its description, None where it has none).

    `kind` is the field's value (product, post, video), `tags` a tuple, `price` None outside the shop.
    """

    item_id: str
    title: str
    what: str
    brand: str
    tags: tuple[str, ...]
    kind: str
    price: float | None
    praise: str | None

    def words(self, tag: int = 0) -> dict[str, str]:
        """The values of placeholders, those the item has; `tag`: which of its tags."""
        own = {"title": self.title, "what": self.what, "brand": self.brand, "tag": self.tags[tag % len(self.tags)]}
        own["tags"] = ", ".join(self.tags)
        if self.praise is not None:
            own["praise"] = self.praise
        if self.price is not None:
            own |= {"price": f"{self.price:g}", "ceiling": str(self.ceiling)}
        return own

    @property
    def ceiling(self) -> int:
        """The round price that the item is not above."""
        assert self.price is not None
        above = [ceiling for ceiling in CEILINGS if ceiling >= self.price]
        return above[0] if above else int(np.ceil(self.price / 100) * 100)


def facts_of(truth: Truth, items: pl.DataFrame, words: dict[str, Any]) -> list[Facts]:
    """The facts of every item, in the order of the table `items`; `words` are those of `load_words`."""
    facts = []
    for topic, row in zip(truth.topic.tolist(), items.iter_rows(named=True), strict=True):
        own = words["topics"][topic]
        what = _found([*own["things"], *own["subjects"]], row["title"])
        assert what is not None  # a title is made of one of them
        facts.append(
            Facts(
                item_id=row[Columns.ITEM],
                title=row["title"],
                what=what,
                brand=row["brand"],
                tags=tuple(row["tags"]),
                kind=row["kind"],
                price=row["price"],
                praise=_found(own["praise"], row["description"]),
            )
        )
    return facts


def load_talk(language: str) -> dict[str, Any]:
    """What people and the service say, in `language`: templates of reviews, reasons, queries and dialogues, and the known questions."""
    text = resources.files("m6rec.data").joinpath("sample_words", f"talk_{language}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def fitting(templates: list[str], known: dict[str, str]) -> list[str]:
    """Those templates whose placeholders all have a value; never empty, because every list has one that needs the least."""
    return [template for template in templates if all(name in known for name in placeholders(template))]


def placeholders(template: str) -> list[str]:
    """Names between braces, in order."""
    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


def fill(template: str, known: dict[str, str]) -> tuple[str, list[dict[str, Any]]]:
    """The text, and the spans {start, end, label} in characters of the parts that name a brand, a category, a price or a tag."""
    text, spans = "", []
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is None:
            continue
        if name in SPAN_OF:
            spans.append({"start": len(text), "end": len(text) + len(known[name]), "label": SPAN_OF[name]})
        text += known[name]
    return text, spans


def named_fields(template: str, known: dict[str, str]) -> list[dict[str, str]]:
    """[{field, value}] of what the filled template says of the item."""
    return [{"field": FIELD_OF[name], "value": known[name]} for name in placeholders(template) if name in FIELD_OF]


def choose(options: list[str], draw: float) -> str:
    """The option at `draw` in [0, 1)."""
    return options[int(draw * len(options))]


def _found(phrases: list[str], text: str) -> str | None:
    """The longest phrase that stands in the text, whatever the case."""
    there = [phrase for phrase in phrases if phrase.lower() in text.lower()]
    return max(there, key=len) if there else None
