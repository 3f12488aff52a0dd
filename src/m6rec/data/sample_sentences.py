"""Short texts of the built-in sample with planted labels: comments with a sentiment and a topic, queries with labelled words."""

from __future__ import annotations

import json
from string import Formatter
from typing import Any

import numpy as np
import polars as pl

from m6rec.data.columns import Columns
from m6rec.data.sample_events import Draw
from m6rec.data.sample_tables import named
from m6rec.data.sample_tastes import Truth

SENTIMENTS = ("negative", "neutral", "positive")
PRICES = (5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200)
SPANS = {"brand": "brand", "thing": "category", "price": "price"}  # part of a query -> label of its words


def sentence_table(truth: Truth, draw: Draw, words: dict[str, Any], ids: tuple[list[str], list[str]], seed: int) -> pl.DataFrame:
    """Two comments and one query for every user on average: kind, user_id, item_id, text, lang, time, sentiment, topic, spans.

    sentiment  negative, neutral or positive: how much the writer likes the item, taste, quality and chance together; null for queries
    topic      what the text is about
    spans      JSON list of {start, end, label} in characters, labels brand, category and price; null for comments
    """
    generator = np.random.default_rng([seed, 16])
    users = len(truth.persona)
    comments = _comments(truth, draw, words, generator.integers(0, len(draw.item), 2 * users), generator)
    queries = _queries(truth, draw, words, generator.integers(0, len(draw.item), users), generator)
    frames = []
    for kind, (events, texts, labels) in {"comment": comments, "query": queries}.items():
        topic = labels.pop("topic")
        frame = {
            Columns.KIND: [kind] * len(events),
            Columns.USER: named(ids[0], draw.user[events]),
            Columns.ITEM: named(ids[1], draw.item[events]) if kind == "comment" else [None] * len(events),
            Columns.TEXT: texts,
            Columns.LANG: [words["language"]] * len(events),
            Columns.TIME: draw.time[events].astype(np.int64) + 120,
            "sentiment": labels.get("sentiment"),
            "topic": [words["topics"][code]["name"] for code in topic],
            "spans": labels.get("spans"),
        }
        frames.append(pl.DataFrame(frame, schema_overrides=dict.fromkeys((Columns.ITEM, "sentiment", "spans"), pl.String)))
    return pl.concat(frames)


def _comments(
    truth: Truth, draw: Draw, words: dict[str, Any], events: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    user, item = draw.user[events], draw.item[events]
    liking = 1.5 * truth.user_tastes[user, truth.topic[item]] + 0.8 * truth.quality[item] + generator.normal(0, 0.7, len(events))
    sentiment = np.where(liking > 0.7, 2, np.where(liking > 0.1, 1, 0))
    at = generator.random((len(events), 4))
    texts = []
    for row, (code, tone) in enumerate(zip(truth.topic[item].tolist(), sentiment.tolist(), strict=True)):
        topic = words["topics"][code]
        facts = {"thing": _at(topic["things"], at[row, 0]), "praise": _at(topic["praise"], at[row, 1]), "topic": topic["name"]}
        comment = _at(words["comments"][SENTIMENTS[tone]], at[row, 2]).format(**facts)
        texts.append(comment[:1].upper() + comment[1:] + _at(words["comments"]["endings"], at[row, 3]).format(**facts))
    return events, texts, {"sentiment": [SENTIMENTS[tone] for tone in sentiment], "topic": truth.topic[item]}


def _queries(
    truth: Truth, draw: Draw, words: dict[str, Any], events: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    steps = np.cumsum(truth.tastes, axis=1)[truth.persona[draw.user[events]]]
    topic = np.minimum((generator.random(len(events))[:, None] > steps).sum(axis=1), truth.tastes.shape[1] - 1)
    at = generator.random((len(events), 5))
    texts, spans = [], []
    for row, code in enumerate(topic.tolist()):
        facts = {
            "brand": _at(words["brands"], at[row, 0]),
            "thing": _at(words["topics"][code]["things"], at[row, 1]),
            "detail": _at(words["topics"][code]["details"], at[row, 2]),
            "price": _at(words["queries"]["prices"], at[row, 3]).format(number=PRICES[int(at[row, 3] * 97 * len(PRICES)) % len(PRICES)]),
        }
        text, found = _with_spans(_at(words["queries"]["templates"], at[row, 4]), facts)
        texts.append(text)
        spans.append(json.dumps(found, ensure_ascii=False))
    return events, texts, {"spans": spans, "topic": topic}


def _with_spans(template: str, facts: dict[str, str]) -> tuple[str, list[dict[str, Any]]]:
    """The text, and where in it the labelled parts stand."""
    text, spans = "", []
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is None:
            continue
        if name in SPANS:
            spans.append({"start": len(text), "end": len(text) + len(facts[name]), "label": SPANS[name]})
        text += facts[name]
    return text, spans


def _at(choices: list[str], draw: float) -> str:
    return choices[int(draw * len(choices))]
