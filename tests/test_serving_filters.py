"""Filters are exact: hand-made items of every field type, and a scan of the sample written a second time."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec.base.errors import UsageError
from m6rec.data.dataset import FieldType, Table
from m6rec.data.sample import ITEM_FIELDS, generate
from m6rec.data.tables import frame_to_table
from m6rec.serving.engine.filters import allowed_items

ROWS = {
    "item_id": ["a", "b", "c", "d"],
    "title": ["Warm Boots", "Rain boots", "A 50% off tent", None],
    "category": ["Shoes", "shoes", "Camping", None],
    "tags": [["winter", "Snow"], ["rain"], [], None],
    "price": [10.0, 50.0, -5.0, None],
    "maker": ["007", "8", "9", None],
    "look": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], None],
}
FIELDS = {
    "title": FieldType.TEXT,
    "category": FieldType.CATEGORY,
    "tags": FieldType.TAGS,
    "price": FieldType.NUMBER,
    "maker": FieldType.ID,
    "look": FieldType.VECTOR,
}


@pytest.fixture(scope="module")
def items() -> Table:
    return frame_to_table(pl.DataFrame(ROWS), FIELDS, "item_id")


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ({}, "abcd"),
        ({"category": "SHOES"}, "ab"),
        ({"category": ["camping", "shoes"]}, "abc"),
        ({"category": {"camping"}}, "c"),
        ({"category": "shoe"}, ""),
        ({"category": []}, ""),
        ({"category": None}, ""),
        ({"tags": "snow"}, "a"),
        ({"tags": ["RAIN", "winter"]}, "ab"),
        ({"tags": "win"}, ""),
        ({"title": "boots"}, "ab"),
        ({"title": "50%"}, "c"),
        ({"title": ".*"}, ""),
        ({"maker": "007"}, "a"),
        ({"maker": 8}, "b"),
        ({"price": 50}, "b"),
        ({"price": "50"}, "b"),
        ({"price": 1e-07}, ""),
        ({"price": "<50"}, "ac"),
        ({"price": "<=50"}, "abc"),
        ({"price": "> 10"}, "b"),
        ({"price": ">=10"}, "ab"),
        ({"price": "10-50"}, "ab"),
        ({"price": "10 - 49.5"}, "a"),
        ({"price": "-5"}, "c"),
        ({"price": "-10-0"}, "c"),
        ({"price": "-10--4"}, "c"),
        ({"price": "<-5"}, ""),
        ({"price": ["<0", ">=50"]}, "bc"),
        ({"price": "20-10"}, ""),
        ({"category": "shoes", "price": "<20"}, "a"),
        ({"category": "shoes", "tags": "rain", "price": ">60"}, ""),
    ],
)
def test_conditions_by_hand(where: dict[str, Any], allowed: str, items: Table) -> None:
    """Missing values (item d) never match; all fields must be met, any value of one field will do."""
    mask = allowed_items(items, where)
    assert mask.dtype == bool
    assert "".join(np.array(items.ids.ids)[mask]) == allowed


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"categry": "shoes"}, "did you mean 'category'"),
        ({"xyz": "shoes"}, "fields: title, category"),
        ({"price": "cheap"}, "'price' is a number; filter by a number, '<50', '>=10' or '10-50', got 'cheap'"),
        ({"price": ""}, "got ''"),
        ({"price": "<"}, "got '<'"),
        ({"price": "10-"}, "got '10-'"),
        ({"price": None}, "got 'None'"),
        ({"look": 1}, "is a vector"),
    ],
)
def test_wrong_conditions_are_one_line(where: dict[str, Any], words: str, items: Table) -> None:
    with pytest.raises(UsageError) as caught:
        allowed_items(items, where)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_scripts_and_their_capitals() -> None:
    table = frame_to_table(pl.DataFrame({"item_id": ["a", "b"], "kind": ["ÉTÉ Straße", "登山靴"]}), {"kind": FieldType.CATEGORY}, "item_id")
    assert allowed_items(table, {"kind": "été straße"}).tolist() == [True, False]
    assert allowed_items(table, {"kind": "登山靴"}).tolist() == [False, True]


def test_a_catalogue_without_fields_says_so() -> None:
    table = frame_to_table(pl.DataFrame({"item_id": ["a"]}), {}, "item_id")
    with pytest.raises(UsageError, match="fields: none"):
        allowed_items(table, {"price": 1})


def test_the_sample_scanned_a_second_time() -> None:
    items = generate(users=20, items=60, seed=3).dataset().items
    assert dict(items.fields) == ITEM_FIELDS
    rows = items.frame.to_dicts()
    tag, brand = rows[0]["tags"][0], rows[5]["brand"]
    mask = allowed_items(items, {"tags": [tag, rows[1]["tags"][0]], "brand": [brand, rows[7]["brand"]], "price": "20-80"})
    expected = [
        bool({tag, rows[1]["tags"][0]} & set(row["tags"]))
        and row["brand"] in (brand, rows[7]["brand"])
        and row["price"] is not None
        and 20 <= row["price"] <= 80
        for row in rows
    ]
    assert mask.tolist() == expected
