"""What a story means beside its words: read by a checkpoint, compared with what is said of each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.tasks.meaning import Meaning, evenly


class Told:
    """A reader of texts that are written as their direction: "1,0"; "" has none."""

    def sentences(self, texts: Sequence[str], longest: int) -> np.ndarray:
        rows = [[float(part) for part in text.split(",")] if text else [0.0, 0.0] for text in texts]
        found = np.array(rows, dtype=np.float32).reshape(-1, 2)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


READER: Any = Told()


def items(titles: list[str]) -> Table:
    return Table(Vocabulary([f"i{place}" for place in range(len(titles))]), pl.DataFrame({"title": titles}), {"title": FieldType.TEXT})


def test_by_hand() -> None:
    """c = (.5, .5); the items' texts lie from it at (.5, -.5), (.5, -.5) and (-.5, .5) twice."""
    meaning = Meaning.fit(READER, items(["1,0", ""]), ["1,0", "0,1", "0,1"], np.array([0, 1, 1]))
    np.testing.assert_allclose(meaning.centre, [0.5, 0.5])
    half = 0.5**0.5
    np.testing.assert_allclose(meaning.about, [[half, -half], [-half, half]], atol=1e-6)
    scores = meaning.scores(READER, ["1,0", "0,1", ""])
    np.testing.assert_allclose(scores, [[1, -1], [-1, 1], [0, 0]], atol=1e-6)


def test_of_an_item_nothing_is_said_of_nothing_is_near() -> None:
    meaning = Meaning.fit(READER, items(["", "1,0", "0,1"]), [], np.zeros(0, np.int64))
    assert (meaning.scores(READER, ["1,0", "3,4"])[:, 0] == 0).all()
    nothing = Meaning.fit(READER, items(["", ""]), [], np.zeros(0, np.int64))
    assert (nothing.scores(READER, ["1,0"]) == 0).all()


def test_more_items_are_known_by_what_they_say() -> None:
    meaning = Meaning.fit(READER, items(["1,0", "0,1"]), [], np.zeros(0, np.int64))
    meaning.extend(READER, items(["1,0", ""]))
    scores = meaning.scores(READER, ["1,0"])[0]
    np.testing.assert_allclose(scores, [1, -1, 1, 0], atol=1e-6)


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(1, 40))
def test_texts_are_read_as_evenly_as_they_come(whose: list[int], most: int) -> None:
    about = np.array(whose, dtype=np.int64)
    kept = evenly(about, most)
    assert len(kept) <= most
    assert (np.diff(kept) > 0).all()
    each, taken = np.bincount(about, minlength=7), np.bincount(about[kept], minlength=7)
    if most >= (each > 0).sum():  # nobody has more than another has left, but for one
        assert all(taken[a] == each[a] or taken[a] >= taken[b] for a in range(7) for b in range(7))
        assert len(kept) == len(about) or len(kept) + (each > taken).sum() > most
    for item in range(7):
        assert kept[about[kept] == item].tolist() == np.flatnonzero(about == item)[: taken[item]].tolist()
