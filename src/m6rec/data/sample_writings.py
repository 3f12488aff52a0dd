"""Texts of the built-in sample for tasks that write: reviews, reasons and queries that say only what is true of their item.

Beside each text stands what was planted: the tone, the fields it names, the writer's manner, the earlier item it cites.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.contracts import Histories
from m6rec.data.columns import Columns
from m6rec.data.sample_facts import Facts, choose, fill, fitting, named_fields
from m6rec.data.sample_sentences import SENTIMENTS

WRITTEN = 0.4  # share of the rated events with a review, of the liked with a reason, of all with a query before
SCHEMA = {
    **dict.fromkeys((Columns.KIND, Columns.USER, Columns.ITEM, Columns.TEXT, Columns.LANG), pl.String),
    Columns.TIME: pl.Int64,
    **dict.fromkeys(("sentiment", "spans", "named", "cites", "intent", "about"), pl.String),
    **dict.fromkeys(("manner", "hand_over", "wording"), pl.Int64),
}


def manner_of(users: int, manners: int) -> np.ndarray:
    """int64 (U,): how each user joins the sentences of a review; a user keeps to one manner."""
    return np.arange(users) * 7 % 11 % manners


def writing_table(
    facts: Sequence[Facts], histories: Histories, talk: dict[str, Any], ids: tuple[list[str], list[str]], generator: np.random.Generator
) -> pl.DataFrame:
    """Reviews, reasons and queries: columns of SCHEMA (null where a column is not of the kind).

    sentiment  of reviews: negative, neutral, positive (rating below 3, 3, above)
    spans      of queries: JSON list of {start, end, label}, labels brand, category, price, tags
    named      JSON list of {field, value}: everything the text says of the item
    cites      of reasons: the earlier item named, if any
    manner     of reviews: the writer's, 0 to 3
    intent, about, hand_over, wording   of turns and questions of dialogues (`sample_dialogues.turn_table`)
    """
    rows: list[dict[str, Any]] = []
    times, values = histories.times, histories.values
    assert times is not None
    assert values is not None
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    at = generator.random((len(histories.items), 8))
    manners = manner_of(len(histories), len(talk["reviews"]["manners"]))
    for event, (user, item) in enumerate(zip(users.tolist(), histories.items.tolist(), strict=True)):
        own = facts[item]
        known = own.words(int(at[event, 0] * 8)) | {"kind": talk["kinds"][own.kind]}
        row = {Columns.USER: ids[0][user], Columns.ITEM: own.item_id, Columns.LANG: talk["language"]}
        moment = int(times[event])
        if at[event, 1] < WRITTEN:
            template = choose(fitting(talk["queries"][own.kind], known), at[event, 2])
            text, spans = fill(template, known)
            planted = {"spans": json.dumps(spans, ensure_ascii=False), "named": _json(named_fields(template, known))}
            rows.append(row | {Columns.KIND: "query", Columns.TEXT: text, Columns.TIME: moment - 60, **planted})
        value = float(values[event])
        if np.isnan(value):
            continue
        if at[event, 3] < WRITTEN:
            rows.append(row | {Columns.TIME: moment + 90} | _review(talk["reviews"], value, int(manners[user]), known, at[event, 4:6]))
        if value >= 4 and at[event, 6] < WRITTEN:
            earlier = facts[histories.items[event - 1]] if event > histories.offsets[user] else None
            rows.append(row | {Columns.TIME: moment + 30} | _reason(talk["reasons"], own, earlier, known, at[event, 7]))
    return pl.DataFrame(rows, schema=SCHEMA)


def _review(words: dict[str, Any], value: float, manner: int, known: dict[str, str], at: np.ndarray) -> dict[str, Any]:
    tone = SENTIMENTS[2 if value >= 4 else 1 if value >= 3 else 0]
    template = choose(fitting(words["about"][tone], known), at[1])
    parts = {"opening": choose(words[tone], at[0]), "about": template.format(**known)}
    if "," not in words["manners"][manner] and "，" not in words["manners"][manner]:
        parts = {name: sentence(part) for name, part in parts.items()}
    text = words["manners"][manner].format(**parts)
    return {Columns.KIND: "review", Columns.TEXT: text, "sentiment": tone, "named": _json(named_fields(template, known)), "manner": manner}


def _reason(words: dict[str, Any], own: Facts, earlier: Facts | None, known: dict[str, str], at: float) -> dict[str, Any]:
    """What the item shares with the one before (brand, else a tag), else what it is; then what it is known for."""
    link, known = "none", dict(known)
    if earlier is not None:
        shared = [tag for tag in own.tags if tag in earlier.tags]
        if own.brand == earlier.brand:
            link = "brand"
        elif shared:
            link, known["tag"] = "tag", shared[0]
    template = choose(words[link], at)
    if "praise" in known:
        template += choose(words["more"], at * 97 % 1)
    cited = earlier if link != "none" else None
    text = template.format(**known, earlier=cited.title if cited else "")
    named = _json(named_fields(template, known))
    return {Columns.KIND: "reason", Columns.TEXT: sentence(text), "named": named, "cites": cited.item_id if cited else None}


def sentence(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]


def _json(named: list[dict[str, str]]) -> str:
    return json.dumps(named, ensure_ascii=False)
