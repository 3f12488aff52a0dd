"""A synthetic shop of any size: items with a title and a category, and a log with planted transitions and skewed popularity.

Seeded, and made in pieces: no more than one piece of the log is held at a time.

Dimension keys: N items, E events, U users, C categories.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

SUCCESSORS = 4  # items that an item leads to
FOLLOWS, STAYS = 0.5, 0.25  # chance that the next event is a successor; that it is at least of the same category
MEAN_LENGTH, SHORTEST = 10, 3
PIECE_USERS = 100_000
START, GAP = 1_600_000_000, 86_400  # seconds: when the log begins, and the mean time between two events of a user
ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "tr", "pl")
VOWELS = ("a", "e", "i", "o", "u")


def write_log(folder: Path, items: int, events: int, seed: int = 0) -> None:
    """items.parquet (item_id, title, category) and events.parquet (user_id, item_id, time) in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    categories = max(8, int(items**0.5) // 2)
    category = generator.integers(categories, size=items)  # N
    pl.DataFrame(
        {
            "item_id": _names("i", items),
            "title": titles(category, generator),
            "category": pl.Series(category).replace_strict(_labels(categories)),
        }
    ).write_parquet(folder / "items.parquet")
    popularity = _skewed(items, generator)  # N, sums to 1
    shop = _Shop(category, popularity, generator)
    users, pieces = max(events // MEAN_LENGTH, 1), []
    for number, start in enumerate(range(0, users, PIECE_USERS)):
        piece = folder / f".piece-{number:04d}.parquet"
        _piece(shop, start, min(PIECE_USERS, users - start), np.random.default_rng([seed, number])).write_parquet(piece)
        pieces.append(piece)
    pl.scan_parquet(pieces).sink_parquet(folder / "events.parquet")
    for piece in pieces:
        piece.unlink()


def titles(category: np.ndarray, generator: np.random.Generator) -> list[str]:
    """3 to 6 words each: about half of them words of the category, the others from everywhere, both by Zipf's law."""
    words = np.array([a + b + c + d for a in ONSETS for b in VOWELS for c in ONSETS for d in VOWELS])
    words = words[generator.permutation(len(words))]
    lengths = generator.integers(3, 7, size=len(category))
    owner = np.repeat(np.arange(len(category)), lengths)
    common = generator.choice(len(words), size=len(owner), p=_zipf(len(words)))
    special = (category[owner] * 37 + generator.choice(60, size=len(owner), p=_zipf(60))) % len(words)
    chosen = words[np.where(generator.random(len(owner)) < 0.5, common, special)]
    ends = np.cumsum(lengths)
    return [" ".join(chosen[end - length : end]) for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]


class _Shop:
    """Who follows whom, and how to draw items by popularity, in one category or in all."""

    def __init__(self, category: np.ndarray, popularity: np.ndarray, generator: np.random.Generator) -> None:
        self.category = category
        self.by_category = np.argsort(category, kind="stable")  # N: items, category after category
        self.first = np.searchsorted(category[self.by_category], np.arange(category.max() + 2))  # C + 1
        self.heap = np.concatenate([[0.0], np.cumsum(popularity[self.by_category])])  # N + 1
        self.successors = np.stack([self.same_category(np.arange(len(category)), generator) for _ in range(SUCCESSORS)], axis=1)

    def anywhere(self, count: int, generator: np.random.Generator) -> np.ndarray:
        return self._drawn(generator.random(count) * self.heap[-1])

    def same_category(self, items: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        low, high = self.heap[self.first[self.category[items]]], self.heap[self.first[self.category[items] + 1]]
        return self._drawn(low + generator.random(len(items)) * (high - low))

    def _drawn(self, place: np.ndarray) -> np.ndarray:
        return self.by_category[np.minimum(np.searchsorted(self.heap, place, side="right") - 1, len(self.by_category) - 1)]


def _piece(shop: _Shop, first_user: int, users: int, generator: np.random.Generator) -> pl.DataFrame:
    """The events of some users, user after user, oldest first."""
    lengths = SHORTEST + generator.geometric(1 / (MEAN_LENGTH - SHORTEST + 1), size=users) - 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    chosen = np.empty(offsets[-1], dtype=np.int64)
    current = shop.anywhere(users, generator)
    for step in range(int(lengths.max())):
        alive = np.flatnonzero(lengths > step)
        if step:
            before = current[alive]
            draw = generator.random(len(alive))
            following = shop.successors[before, np.minimum(generator.geometric(0.5, size=len(alive)) - 1, SUCCESSORS - 1)]
            near, far = shop.same_category(before, generator), shop.anywhere(len(alive), generator)
            current[alive] = np.where(draw < FOLLOWS, following, np.where(draw < FOLLOWS + STAYS, near, far))
        chosen[offsets[alive] + step] = current[alive]
    gaps = generator.exponential(GAP, size=len(chosen))
    began = np.repeat(generator.random(users) * 365 * GAP, lengths)
    walked = np.cumsum(gaps)
    times = START + began + walked - np.repeat(walked[offsets[:-1]], lengths)
    owner = np.repeat(np.arange(first_user, first_user + users), lengths)
    return pl.DataFrame(
        {
            "user_id": pl.Series(owner).cast(pl.String).str.replace("^", "u"),
            "item_id": pl.Series(chosen).cast(pl.String).str.replace("^", "i"),
            "time": times.astype(np.int64),
        }
    )


def _zipf(count: int) -> np.ndarray:
    weights = 1.0 / (1.0 + np.arange(count))
    return weights / weights.sum()


def _skewed(items: int, generator: np.random.Generator) -> np.ndarray:
    weights = (10.0 + np.arange(items)) ** -0.8
    return generator.permutation(weights / weights.sum())


def _names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def _labels(categories: int) -> dict[int, str]:
    return {number: f"aisle {number}" for number in range(categories)}
