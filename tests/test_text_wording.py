"""Wording: the sentences of the design, missing values, numbers and bands, and the user's own template files."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.base.errors import ConfigError, DataError
from m6rec.data.dataset import Table, Vocabulary
from m6rec.data.fields import FieldType
from m6rec.text.template import Bands, built_in, filled
from m6rec.text.wording import Wording, band, plain_number

ITEM_FIELDS = {
    "title": FieldType.TEXT,
    "category": FieldType.CATEGORY,
    "brand": FieldType.CATEGORY,
    "price": FieldType.NUMBER,
    "tags": FieldType.TAGS,
    "maker_id": FieldType.ID,
    "picture": FieldType.VECTOR,
    "plot": FieldType.TEXT,
}
BOOTS = {"category": "boots", "title": "waterproof  hiking shoes", "brand": "X", "price": 65.0, "maker_id": "m9"}
PERSON = {"gender": "M", "age": 30, "occupation": "engineer", "likes": ["sci-fi"]}


def test_sentences_of_the_design() -> None:
    assert Wording().item(BOOTS, ITEM_FIELDS) == "category boots; waterproof hiking shoes; brand X; price 60-80"
    assert Wording().profile(PERSON) == "male, 25-34, engineer, likes sci-fi"


def test_chinese() -> None:
    item = {"category": "靴子", "title": "防水登山靴", "brand": "某牌", "price": 65, "tags": ["新品", "热卖"]}
    assert Wording("zh").item(item, ITEM_FIELDS) == "类别靴子；防水登山靴；品牌某牌；价格60-80；标签新品、热卖"
    assert Wording("zh").profile(PERSON) == "男，25-34岁，engineer，喜欢sci-fi"
    assert Wording("zh").profile({"年龄": 70}) == "65岁以上"


def test_words_of_two_values_stay_two_words_where_a_template_has_nothing_between_them() -> None:
    fields = {"category": FieldType.CATEGORY, "plug": FieldType.CATEGORY, "volts": FieldType.NUMBER, "labels": FieldType.TAGS}
    said = Wording("zh").item({"category": "boots", "plug": "EU", "volts": 230, "labels": ["warm", "dry"]}, fields)
    assert said == "类别boots；plug EU；volts 230；labels warm、dry"
    assert Wording("zh").item({"plug": "欧标", "labels": ["(new)"]}, fields) == "plug欧标；labels(new)"
    assert filled("{a}{b}, {a}{c}USB{b}", {"a": "größe", "b": "5", "c": "靴"}) == "größe 5, größe靴USB5"
    assert filled("{a}{b}", {"a": "ทดสอบ", "b": "боты"}) == "ทดสอบботы"
    assert filled("{a}{b}", {"a": "한국", "b": "{a}"}) == "한국{a}"


def test_same_entities_and_types_in_both_languages() -> None:
    english, chinese = built_in("en"), built_in("zh")
    assert english.entities.keys() == chinese.entities.keys()
    for name, entity in english.entities.items():
        assert {part.type for part in entity.parts} == {part.type for part in chinese.entities[name].parts}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_table_and_single_rows_agree_and_missing_is_left_out(language: str) -> None:
    frame = pl.DataFrame(
        {
            "title": ["Boots", None, "  ", "Unknown"],
            "category": ["shoes", None, "N/A", "unknown"],
            "brand": [None, None, "", "B"],
            "price": [9.99, None, None, 1000.0],
            "tags": [["a", "b"], [], ["unknown"], ["c"]],
            "maker_id": ["m1", "m2", None, None],
            "picture": [[1.0], None, None, None],
            "plot": [None, None, None, "long\nstory"],
        },
        schema_overrides={"picture": pl.List(pl.Float32)},
    )
    table = Table(Vocabulary(["id-one", "id-two", "id-three", "id-four"]), frame, ITEM_FIELDS)
    wording = Wording(language)
    worded = wording.items(table)
    assert worded == [wording.item(row, ITEM_FIELDS) for row in frame.iter_rows(named=True)]
    nothing = built_in(language).entities["item"].nothing
    assert worded[1:3] == [nothing, nothing]
    assert not any("id-" in words or "m1" in words for words in worded)
    if language == "en":
        assert worded[0] == "category shoes; Boots; price 8-10; tags a, b"
        assert worded[3] == "Unknown; brand B; price 1000-1500; tags c; long story"  # a title may be a word for missing


def test_users_table() -> None:
    frame = pl.DataFrame({"gender": ["F", None], "age": [17.0, None]})
    table = Table(Vocabulary(["u1", "u2"]), frame, {"gender": FieldType.CATEGORY, "age": FieldType.NUMBER})
    assert Wording().users(table) == ["female, under 18", ""]
    empty = Table(Vocabulary(["u1", "u2"]), pl.DataFrame({"x": [None, None]}), {})
    assert Wording().users(empty) == ["", ""]


def test_profiles() -> None:
    wording = Wording()
    assert wording.profile({}) == ""
    assert wording.profile({"gender": None, "age": float("nan")}) == ""
    assert wording.profile({"age": "25", "gender": "woman"}) == "female, 25-34"
    assert wording.profile({"age": "25-34", "shoe_size": 43}) == "25-34, shoe size 43"
    fields = {"age": FieldType.NUMBER, "likes": "tags"}
    assert wording.profile({"age": "41", "likes": "tea"}, fields) == "35-44, likes tea"
    with pytest.raises(DataError, match=r"'agee' is not a field of the users; did you mean 'age'\?"):
        wording.profile({"agee": 3}, fields)


def test_order_of_columns_does_not_change_the_order_of_parts() -> None:
    assert Wording().item(BOOTS, dict(reversed(ITEM_FIELDS.items()))) == Wording().item(BOOTS, ITEM_FIELDS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(60.0, "60"), (3.14159, "3.14"), (-0.0, "0"), (-0.001, "-0.001"), (0.00123, "0.0012"), (100.0, "100"), (1e6, "1000000"), (2.5, "2.5")],
)
def test_numbers(value: float, text: str) -> None:
    assert plain_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1000, "1000-1500"), (999.99, "800-1000"), (0.6, "0.6-0.8"), (60, "60-80"), (79.99, "60-80"), (80, "80-100"), (0, "0"), (-5, "-5")],
)
def test_round_bands(value: float, text: str) -> None:
    assert band(value, Bands(edges="round")) == text


@given(st.floats(min_value=1e-6, max_value=1e12, allow_nan=False))
def test_a_number_is_within_its_round_band(value: float) -> None:
    low, high = band(value, Bands(edges="round"), decimals=9).split("-") if value >= 0.001 else (0, 1)
    assert float(low) <= value < float(high)


@pytest.mark.parametrize(
    ("age", "text"),
    [(1, "under 18"), (18, "18-24"), (24.5, "18-24"), (25, "25-34"), (56, "55-64"), (65, "65 or older"), (120, "65 or older")],
)
def test_ages(age: float, text: str) -> None:
    assert Wording().profile({"age": age}) == text


def test_a_megabyte_title_is_cut_at_a_blank() -> None:
    words = Wording().item({"title": "hiking " * 150_000, "brand": "X"}, ITEM_FIELDS)
    assert len(words) < 620
    assert words.endswith("hiking; brand X")


@given(st.text(), st.text())
def test_values_are_never_read_as_templates(title: str, brand: str) -> None:
    said = Wording().item({"title": "{value} {0} " + title, "brand": "{name}}" + brand}, ITEM_FIELDS)
    assert said.startswith("{value} {0}")
    assert "brand {name}}" in said


def own(tmp_path: Path, text: str) -> Wording:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return Wording("en", path)


def test_own_template(tmp_path: Path) -> None:
    wording = own(
        tmp_path,
        """
entities:
  item:
    joiner: " | "
    nothing: nothing
    parts:
      - "say": "{brand} {{made}} {title}"
      - {field: title, say: "only {value}"}
      - {field: price, say: "{name}={value}"}
names: {price: cost}
""",
    )
    assert wording.item(BOOTS, ITEM_FIELDS) == "X {made} waterproof hiking shoes | cost=65"
    assert wording.item({"title": "T"}, ITEM_FIELDS) == "nothing"  # the title is said by the first part or not at all
    assert wording.profile(PERSON) == "male, 25-34, engineer, likes sci-fi"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "entities: {item: {parts: [{say: '{titel} x'}]}}",
            r"unknown placeholder '\{titel\}' in part 1 of 'item' in .*own.yaml; did you mean 'title'\?",
        ),
        (
            "entities: {item: {parts: [{field: prise, say: '{value}'}]}}",
            r"unknown field 'prise' in part 1 of 'item'.*did you mean 'price'\?",
        ),
        ("entities: {item: {parts: [{field: title, say: '{valeu}'}]}}", r"unknown placeholder '\{valeu\}'.*did you mean 'value'\?"),
        ("entities: {item: {parts: [{field: title, sya: '{value}'}]}}", r"unknown key 'entities.item.parts.0.sya'; did you mean 'say'\?"),
        ("entities: {item: {parts: [{say: 'no field'}]}}", "says no field"),
        ("entities: {item: {parts: [{say: '{title'}]}}", "for a plain brace"),
        ("entities: {item: {parts: [{say: '{title!r}'}]}}", "a placeholder is one name in braces"),
        ("entities: {item: {parts: [{field: a, type: text, say: '{value}'}]}}", "either field or type"),
        ("entities: {item: {parts: [{field: price, say: '{value}', bands: {edges: [3, 2]}}]}}", "rising"),
        (
            "entities: {item: {parts: [{field: price, say: '{value}', bands: {edges: [3], above: '{hi}'}}]}}",
            r"unknown placeholder '\{hi\}'",
        ),
        ("version: 2", "'version' is 2"),
        ("a: [", "is not YAML at line"),
        ("- x", "not a mapping"),
    ],
)
def test_what_is_wrong_with_an_own_template(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        own(tmp_path, text).item(BOOTS, ITEM_FIELDS)
    assert "\n" not in str(caught.value)


def test_missing_files_and_languages(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        Wording("en", tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("# é".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        Wording("en", tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match="no wording for language 'xx'; there are: en, zh"):
        Wording("xx")
    with pytest.raises(ConfigError, match=r"no entity 'itme'; did you mean 'item'\?"):
        Wording().say("itme", {}, {})


def test_twenty_thousand_items_take_seconds_at_most() -> None:
    count = 20_000
    frame = pl.DataFrame(
        {
            "title": [f"Waterproof Hiking Boots number {n}" for n in range(count)],
            "category": [f"c{n % 50}" for n in range(count)],
            "price": [n / 7 for n in range(count)],
            "tags": [[f"t{n % 9}", f"t{n % 11}"] for n in range(count)],
        }
    )
    table = Table(Vocabulary(map(str, range(count))), frame, {name: ITEM_FIELDS[name] for name in frame.columns})
    start = time.process_time()
    assert len(Wording().items(table)) == count
    assert time.process_time() - start < 4


def test_a_file_adds_a_language(tmp_path: Path) -> None:
    from m6rec.base.errors import ConfigError
    from m6rec.text.config import TextConfig

    file = tmp_path / "de.yaml"
    file.write_text(
        "entities: {profile: {parts: [{field: age, say: '{value} Jahre alt'}]}}\nnames: {category: Kategorie}\n", encoding="utf-8"
    )
    settled = TextConfig.build({"language": "de", "templates": str(file)})
    wording = Wording(settled.language, file)
    assert wording.profile({"age": 30}, {"age": "number"}) == "30 Jahre alt"
    assert wording.item({"category": "Stiefel"}, {"category": "category"}) == "Kategorie Stiefel"
    with pytest.raises(ConfigError, match="wording is built in for en, zh; for another language name a file of your own"):
        TextConfig.build({"language": "de"})
    with pytest.raises(ConfigError, match="no wording for language 'de'"):
        Wording("de")
