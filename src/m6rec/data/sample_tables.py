"""What becomes of the built-in sample's events: how many, which action, which rating, which review; and the relations around them.

Dimension keys: U users, E events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from m6rec.data.columns import Columns
from m6rec.data.sample_events import Draw
from m6rec.data.sample_tastes import Truth
from m6rec.data.sample_titles import word_reviews


def draw_lengths(users: int, items: int, mean: float, generator: np.random.Generator) -> np.ndarray:
    """Events wanted per user, int64 (U,): log-normal around the mean, 2 % with one or two, 1 % with none."""
    lengths = np.round(generator.lognormal(np.log(mean) - 0.125, 0.5, users))
    lengths = np.clip(lengths, 3, max(3, items // 2)).astype(np.int64)
    kind = generator.random(users)
    return np.where(kind < 0.01, 0, np.where(kind < 0.03, generator.integers(1, 3, users), lengths))


def draw_outcomes(truth: Truth, draw: Draw, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Action code int64 (E,) and rating float64 (E,), NaN where none: better and better-matching items are bought and liked more."""
    match = truth.user_tastes[draw.user, truth.topic[draw.item]]
    quality = truth.quality[draw.item]
    strong = 1 / (1 + np.exp(1.6 - 2.2 * match - 0.8 * quality))
    at = generator.random(len(match))
    place = truth.scenario[draw.item]
    clicked = at < strong + (1 - strong) * np.array([0.5, 0.4, 0.2])[place]
    action = np.where(at < strong, np.where(place == 0, 2, 3), np.where(clicked, 1, 0))
    rating = np.clip(np.round(3.0 + 0.8 * quality + 1.5 * match + generator.normal(0, 0.7, len(match))), 1, 5)
    return action, np.where(action >= 2, rating, np.nan)


def text_table(
    truth: Truth, draw: Draw, rating: np.ndarray, words: dict[str, Any], praise: list[str], ids: tuple[list[str], list[str]], seed: int
) -> pl.DataFrame:
    """A review for a third of the bought and liked, and a reason beside it where the rating is 4 or 5; sentiment of reviews, topic of both."""
    spoken = np.random.default_rng([seed, 14]).random(len(rating))
    events = np.flatnonzero(~np.isnan(rating) & (spoken < 0.35))
    reviews, reasons = word_reviews(truth, words, draw.item[events], rating[events], praise, seed)
    glad = rating[events] >= 4
    both = np.concatenate([events, events[glad]])
    tone = np.where(glad, "positive", np.where(rating[events] >= 3, "neutral", "negative"))
    return pl.DataFrame(
        {
            Columns.KIND: ["review"] * len(events) + ["reason"] * int(glad.sum()),
            Columns.USER: named(ids[0], draw.user[both]),
            Columns.ITEM: named(ids[1], draw.item[both]),
            Columns.TEXT: reviews + [text for text, keep in zip(reasons, glad, strict=True) if keep],
            Columns.LANG: [words["language"]] * len(both),
            # written a minute after the event
            Columns.TIME: draw.time[both].astype(np.int64) + 60,
            "sentiment": [*tone.tolist(), *[None] * int(glad.sum())],
            "topic": [words["topics"][topic]["name"] for topic in truth.topic[draw.item[both]].tolist()],
            "spans": [None] * len(both),
        },
        schema_overrides=dict.fromkeys((Columns.KIND, Columns.TEXT, Columns.LANG, "sentiment", "topic", "spans"), pl.String),
    )


def relation_table(truth: Truth, items: pl.DataFrame, user_ids: list[str], generator: np.random.Generator) -> pl.DataFrame:
    """Knowledge (brand, next_part, goes_with) and a few social ties, mostly between people of one major topic."""
    item_ids = items[Columns.ITEM].to_list()
    parts = [(item_ids, "brand", items["brand"].to_list())]
    for name, column in (("next_part", 0), ("goes_with", 1)):
        rows = np.flatnonzero(truth.successors[:, column] >= 0)
        parts.append(([item_ids[row] for row in rows], name, [item_ids[row] for row in truth.successors[rows, column]]))
    users = len(user_ids)
    major = truth.user_tastes.argmax(axis=1)
    follower = np.sort(generator.integers(0, users, users))
    by_major = np.argsort(major, kind="stable")
    sizes = np.bincount(major)
    starts = np.cumsum(sizes) - sizes
    alike = by_major[starts[major[follower]] + (generator.random(users) * sizes[major[follower]]).astype(np.int64)]
    followed = np.where(generator.random(users) < 0.8, alike, generator.integers(0, users, users))
    pairs = np.unique(np.stack([follower, followed], axis=1)[follower != followed], axis=0)
    parts.append((named(user_ids, pairs[:, 0]).to_list(), "follows", named(user_ids, pairs[:, 1]).to_list()))
    frames = [
        pl.DataFrame({Columns.HEAD: head, Columns.RELATION: [name] * len(head), Columns.TAIL: tail}) for head, name, tail in parts if head
    ]
    return pl.concat(frames)


def named(names: list[str] | tuple[str, ...], codes: np.ndarray) -> pl.Series:
    """The name of each code, a pl.String series."""
    return pl.Series(list(names), dtype=pl.String).gather(codes)
