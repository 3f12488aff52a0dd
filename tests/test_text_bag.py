"""The bag of words and fields: what becomes a feature, what typed text reaches, and that saving changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.base.errors import CheckpointError
from m6rec.data.dataset import Table, Vocabulary
from m6rec.data.fields import FieldType
from m6rec.text import bag as bag_module
from m6rec.text.bag import Bag, quantile_edges
from m6rec.text.words import normalise, singular, stem, units, words

FIELDS = {
    "title": FieldType.TEXT,
    "genre": FieldType.CATEGORY,
    "tags": FieldType.TAGS,
    "maker": FieldType.ID,
    "price": FieldType.NUMBER,
    "picture": FieldType.VECTOR,
}
FRAME = pl.DataFrame(
    {
        "title": ["Red Boots, 2 pairs", "red boot for hiking", None, "Straße a CAFÉ"],
        "genre": ["Thriller", "thriller ", "Sci-Fi", None],
        "tags": [["7", "New"], ["7"], [], ["new", "惊悚"]],
        "maker": ["m1", "m1", None, "m2"],
        "price": [10.0, 20.0, None, 30.0],
        "picture": [[1.0], [2.0], None, [3.0]],
    },
    schema_overrides={"picture": pl.List(pl.Float32)},
)


@pytest.fixture
def table() -> Table:
    return Table(Vocabulary(["d", "c", "b", "a"]), FRAME, FIELDS)


def present(bag: Bag, row: int, table: Table) -> set[tuple[str, str]]:
    return {bag.features[column] for column in bag.matrix(table)[[row]].indices}


def test_features_of_each_type(table: Table) -> None:
    bag = Bag.fit(table, "en", min_count=1)
    assert present(bag, 0, table) == {
        *[("", word) for word in ("red", "boot", "2", "pair")],
        ("genre", "thriller"),
        ("tags", "7"),
        ("tags", "new"),
        ("maker", "m1"),
        ("price", "bucket 0"),
    }
    assert present(bag, 2, table) == {("genre", "sci-fi")}
    assert {("", "strasse"), ("", "café")} <= present(bag, 3, table)
    assert ("", "a") not in bag.features


def test_matrix_holds_ones_and_only_known_features(table: Table) -> None:
    bag = Bag.fit(table, "en", min_count=2)
    matrix = bag.matrix(table)
    assert matrix.dtype == np.float32
    assert matrix.shape == (4, bag.size)
    assert set(matrix.data) == {1.0}
    assert set(bag.features) == {("", "red"), ("", "boot"), ("genre", "thriller"), ("tags", "7"), ("tags", "new"), ("maker", "m1")}


def test_idf_by_hand(table: Table) -> None:
    bag = Bag.fit(table, "en", min_count=1)
    idf = dict(zip(bag.features, bag.idf, strict=True))
    assert idf["genre", "thriller"] == pytest.approx(np.log(1 + 4 / 2))
    assert idf["genre", "sci-fi"] == pytest.approx(np.log(1 + 4 / 1))


def test_most_frequent_features_are_kept_ties_by_name(table: Table) -> None:
    assert Bag.fit(table, "en", min_count=1, max_features=2).features == [("", "boot"), ("", "red")]


def test_order_of_items_permutes_rows_only(table: Table) -> None:
    order = [2, 0, 3, 1]
    shuffled = Table(Vocabulary([table.ids.ids[i] for i in order]), FRAME[order], FIELDS)
    bag, other = Bag.fit(table, min_count=1), Bag.fit(shuffled, min_count=1)
    assert bag.features == other.features
    np.testing.assert_array_equal(bag.idf, other.idf)
    np.testing.assert_array_equal(bag.matrix(table).toarray()[order], other.matrix(shuffled).toarray())


def typed(bag: Bag, text: str) -> set[tuple[str, str]]:
    return {bag.features[column] for column in bag.text(text).indices}


def test_typed_text_reaches_values_by_name(table: Table) -> None:
    bag = Bag.fit(table, "en", min_count=1)
    assert typed(bag, "a THRILLER please") == {("genre", "thriller")}
    assert typed(bag, "thrillers") == {("genre", "thriller")}
    assert typed(bag, "some sci fi") == {("genre", "sci-fi")}
    assert typed(bag, "我想看惊悚电影") == {("tags", "惊悚")}
    assert typed(bag, "m1") == set()
    assert typed(bag, "nothing known here") == set()
    assert bag.text("").shape == (1, bag.size)


def test_values_that_are_numbers_need_their_field(table: Table) -> None:
    bag = Bag.fit(table, "en", min_count=1)
    assert typed(bag, "7 boots") == {("", "boot")}
    assert typed(bag, "tags 7") == {("tags", "7")}
    assert typed(bag, "price: 29.5") == {("price", "bucket 1")}


def test_batch_of_texts_equals_single(table: Table) -> None:
    bag = Bag.fit(table, min_count=1)
    queries = ["red", "", "thriller boots", "惊悚"]
    np.testing.assert_array_equal(bag.texts(queries).toarray(), np.concatenate([bag.text(query).toarray() for query in queries]))


def test_new_items_with_other_columns(table: Table) -> None:
    bag = Bag.fit(table, min_count=1)
    frame = pl.DataFrame({"genre": ["Thriller", "western"], "colour": ["red", "blue"]})
    new = Table(Vocabulary(["x", "y"]), frame, {"genre": FieldType.CATEGORY, "colour": FieldType.CATEGORY})
    assert present(bag, 0, new) == {("genre", "thriller")}
    assert present(bag, 1, new) == set()


@pytest.mark.parametrize("frame", [pl.DataFrame({"title": ["only"]}), pl.DataFrame({"title": [None, None]}, schema={"title": pl.String})])
def test_catalogue_without_shared_words(frame: pl.DataFrame) -> None:
    table = Table(Vocabulary([str(i) for i in range(len(frame))]), frame, {"title": FieldType.TEXT})
    bag = Bag.fit(table)
    assert bag.size == 0
    assert bag.matrix(table).shape == (len(frame), 0)
    assert bag.text("only").shape == (1, 0)


def test_save_and_load(table: Table, tmp_path: Path) -> None:
    bag = Bag.fit(table, min_count=1)
    bag.save(tmp_path / "bag.json")
    again = Bag.load(tmp_path / "bag.json")
    assert again.features == bag.features
    np.testing.assert_array_equal(again.idf, bag.idf)
    np.testing.assert_array_equal(again.matrix(table).toarray(), bag.matrix(table).toarray())
    for query in ("thriller tags 7", "price 12"):
        np.testing.assert_array_equal(again.text(query).toarray(), bag.text(query).toarray())


def test_damaged_file(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "bag.json"
    with pytest.raises(CheckpointError, match=r"bag\.json can't be read"):
        Bag.load(path)
    Bag.fit(table, min_count=1).save(path)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[: len(whole) // 2], encoding="utf-8")
    with pytest.raises(CheckpointError, match="is damaged"):
        Bag.load(path)
    saved = json.loads(whole)
    for change in ({"version": 99}, {"idf": saved["idf"][1:]}, {"fields": {}}):
        path.write_text(json.dumps({**saved, **change}), encoding="utf-8")
        with pytest.raises(CheckpointError, match=r"is damaged|version 99"):
            Bag.load(path)


def test_words_of_scripts() -> None:
    assert words("Ｂｏｏｔｓ don't X 5") == ["boot", "don", "5"]
    assert words("红色靴子 boots", "zh") == ["红", "色", "红色", "靴", "色靴", "子", "靴子", "boots"]
    assert words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert units("sci_fi R") == ["sci", "fi", "r"]
    assert units("ก็ดี") == ["ก็", "ดี"]


@pytest.mark.parametrize(
    ("plural", "expected"),
    [
        ("stories", "story"),
        ("shoes", "shoe"),
        ("dresses", "dress"),
        ("bases", "base"),
        ("boots", "boot"),
        ("glass", "glass"),
        ("gas", "gas"),
    ],
)
def test_s_stemmer(plural: str, expected: str) -> None:
    assert singular(plural) == expected


@given(st.text())
def test_normal_form_is_stable_and_words_are_words(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert all(word and not any(c.isspace() for c in word) for word in words(text))


def test_quantile_edges_by_hand() -> None:
    assert quantile_edges(np.array([1.0, 2.0, 3.0, 4.0, np.nan]), 2) == [2.0]
    assert quantile_edges(np.array([5.0, 5.0, 5.0])) == []
    assert quantile_edges(np.array([np.nan])) == []


@pytest.mark.real_data
def test_beauty_titles(real_data) -> None:
    frame = pl.read_csv(real_data("beauty") / "items.csv")
    frame = frame.with_columns(pl.col("attribute_ids").cast(pl.String).fill_null("").str.split(" "))
    table = Table(Vocabulary(frame["item_id"].to_list()), frame, {"title": FieldType.TEXT, "attribute_ids": FieldType.TAGS})
    bag = Bag.fit(table)
    assert 5_000 < bag.size < 8_000
    assert typed(bag, "nail polish") == {("", "nail"), ("", "polish")}


@pytest.mark.parametrize(("min_count", "most"), [(1, 100), (2, 100), (1, 5)])
def test_reading_a_table_once_gives_the_same_bag_and_rows(table: Table, min_count: int, most: int) -> None:
    bag = Bag.fit(table, "en", min_count=min_count, max_features=most)
    again, matrix = Bag.fit_matrix(table, "en", min_count=min_count, max_features=most)
    assert again.features == bag.features
    np.testing.assert_array_equal(again.idf, bag.idf)
    wanted = bag.matrix(table)
    np.testing.assert_array_equal(matrix.toarray(), wanted.toarray())
    assert matrix.dtype == wanted.dtype
    assert matrix.indices.dtype == wanted.indices.dtype


def test_rows_are_read_in_pieces(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Bag.fit_matrix(table, min_count=1)[1]
    monkeypatch.setattr(bag_module, "ROWS_AT_ONCE", 3)
    np.testing.assert_array_equal(Bag.fit_matrix(table, min_count=1)[1].toarray(), whole.toarray())


@pytest.mark.parametrize(
    ("words", "shared"), [("runner running runs run", "run"), ("hiker hiking hikes", "hik"), ("cyclist cycling", "cycl"), ("sing", "sing")]
)
def test_related_forms_share_a_stem(words: str, shared: str) -> None:
    assert {stem(word) for word in words.split()} == {shared}


def test_typed_words_find_related_forms_that_items_have() -> None:
    frame = pl.DataFrame(
        {"title": ["running shoes", "running socks", "smoked ham", "cooked ham"], "tags": [["gaming"], ["gaming"], [], []]}
    )
    table = Table(Vocabulary(["a", "b", "c", "d"]), frame, {"title": FieldType.TEXT, "tags": FieldType.TAGS})
    bag = Bag.fit(table)

    def found(text: str) -> list[str]:
        return [bag.features[column][1] for column in bag.text(text).indices]

    assert found("something for a runner") == ["running"]
    assert found("runs") == ["running"]
    assert found("a gamer") == ["gaming"]
    assert found("hammer") == []  # no verb
    assert Bag.fit(table, language="zh").text("runner").nnz == 0
