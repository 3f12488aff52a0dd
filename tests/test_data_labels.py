"""Label columns: the kind is guessed, conditions mean what they say, and what can't be learned from is refused in one line."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from m6rec.base.errors import DataError
from m6rec.data.labels import guess_kind, read_labels
from m6rec.data.spans import read_spans

NAN = float("nan")
WHAT = "task click, column 'clicked'"
SPANS = '[{"start": 0, "end": 4, "label": "brand"}, {"start": 5, "end": 9, "label": "category"}]'


def read(values: list, **settings: object) -> list:
    return read_labels(pl.Series("clicked", values, strict=False), what=WHAT, **settings).values.tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, None], "binary"),
        ([0.0, NAN, 1.0], "binary"),
        ([True, False], "binary"),
        (["yes", "No", ""], "binary"),
        (["0", "1.0", "NaN"], "binary"),
        ([1, 2, 5, 4], "ordinal"),
        (["1", "2", "5"], "ordinal"),
        ([1.5, 2.0, 4.0], "number"),
        (list(range(12)), "number"),
        ([3, 7], "number"),
        (["boots", "shoes"], "classes"),
        (["red|green", "red"], "tags"),
        ([["red"], ["green", "red"]], "tags"),
        ([SPANS, None], "tokens"),
        ([[{"start": 0, "end": 4, "label": "brand"}]], "tokens"),
        ([[SPANS[1:41]]], "tokens"),
        ([1] * 96 + [2, 3, 4, 5], "ordinal"),  # ratings: no 0 among them
        ([0.0] * 96 + [1.0, 2.5, 7.0, 9.9], "number"),  # amounts: the only 1 is one of them
        ([0, 1] * 30 + [2] * 10, "ordinal"),  # counts of which 2 is no exception
        ([0, 1] * 4 + [2], "ordinal"),  # too few to tell
        (["yes", "no"] * 30 + ["maybe"] * 10, "classes"),
    ],
)
def test_the_kind_is_guessed_from_what_the_column_holds(values: list, kind: str) -> None:
    assert guess_kind(pl.Series(values, strict=False)) == kind


@pytest.mark.parametrize(
    ("values", "positive", "expected"),
    [
        ([5, 4, 3, None], ">=4", [1, 1, 0, NAN]),
        ([5.0, 4.0, NAN, 3.5], "> 3.5", [1, 1, NAN, 0]),
        (["5", "4", "", "3"], "<5", [0, 1, NAN, 1]),
        ([0, 2, 3], "!=0", [0, 1, 1]),
        ([0, 2, 3], "=2", [0, 1, 0]),
        ([0, 2, 3], "2|3", [0, 1, 1]),
        (["buy", "view", None, "cart"], "buy", [1, 0, NAN, 0]),
        (["buy", "view", None, "cart"], "buy | cart", [1, 0, NAN, 1]),
        (["buy", "view"], "!=view", [1, 0]),
        ([True, False, None], None, [1, 0, NAN]),
        ([True, False, None], "false", [0, 1, NAN]),
        (["Yes", "no", " TRUE ", "f", ""], None, [1, 0, 1, 0, NAN]),
        (["1", "0", "1.0", "NaN"], None, [1, 0, 1, NAN]),
        ([1, 0, None], None, [1, 0, NAN]),
    ],
)
def test_binary_labels(values: list, positive: str | None, expected: list) -> None:
    np.testing.assert_array_equal(read(values, kind="binary", positive=positive), expected)
    assert read_labels(pl.Series(values), None, positive, what=WHAT).names == ["no", "yes"]


@pytest.mark.parametrize(
    ("values", "row", "value", "others", "kinds"),
    [
        ([0, 1, 1] * 300 + [7], 901, "7", "", "ordinal, number or classes"),
        ([0.0, 1.0, 0.5] + [NAN, 0.0, 1.0] * 20, 3, "0.5", "", "ordinal, number or classes"),
        (["0", "1.0"] * 49 + ["2", "3"], 99, "'2'", r" \(and 1 more\)", "ordinal, number or classes"),
        (["no"] * 2890 + ["maybe"] * 30 + ["YES"] * 80, 2891, "'maybe'", r" \(and 29 more\)", "classes"),
        (["no"] * 96 + ["y", "maybe", "?", "later"], 98, "'maybe'", r" \(and 2 more\)", "classes"),
    ],
)
def test_a_few_other_values_among_yes_and_no_are_refused_and_make_no_other_kind(
    values: list, row: int, value: str, others: str, kinds: str
) -> None:
    said = (
        rf"row {row} is {value}, which is neither yes .* nor no .*{others}, of [\d,]+ rows; correct it .*positive: '>=4' .*kind: {kinds}$"
    )
    with pytest.raises(DataError, match=said):
        read(values)
    assert read_labels(pl.Series(values), "classes", what=WHAT, check=False).kind == "classes"


def test_classes_levels_numbers_and_tags() -> None:
    classes = read_labels(pl.Series(["b", "a", None, "b", "a"]), what=WHAT)
    assert (classes.kind, classes.names) == ("classes", ["a", "b"])
    np.testing.assert_array_equal(classes.values, [1, 0, NAN, 1, 0])
    assert classes.known.tolist() == [True, True, False, True, True]
    numbered = read_labels(pl.Series([10, 2, 10, 2]), "classes", what=WHAT)
    assert numbered.names == ["2", "10"]
    levels = read_labels(pl.Series(["4", "5.0", "1", None, "4.0"]), what=WHAT)
    assert (levels.kind, levels.names) == ("ordinal", ["1", "4", "5"])
    np.testing.assert_array_equal(levels.values, [1, 2, 0, NAN, 1])
    assert levels.level_values().tolist() == [1, 4, 5]
    numbers = read_labels(pl.Series(["1.5", "", "3"]), "number", what=WHAT)
    np.testing.assert_array_equal(numbers.values, [1.5, NAN, 3])
    for column in (pl.Series([["red", "green"], None, ["blue"], []]), pl.Series(["red|green", None, "blue", ""])):
        tags = read_labels(column, what=WHAT)
        assert (tags.kind, tags.names) == ("tags", ["blue", "green", "red"])
        np.testing.assert_array_equal(tags.values, [[0, 1, 1], [NAN] * 3, [1, 0, 0], [NAN] * 3])
        assert tags.known.tolist() == [True, False, True, False]


def test_a_settled_set_gives_the_same_codes_and_refuses_others() -> None:
    again = read_labels(pl.Series(["b", "b"]), "classes", what=WHAT, names=["a", "b"], check=False)
    assert again.values.tolist() == [1, 1]
    with pytest.raises(DataError, match=r"label 'bb' is not among the 2 that are known \(a, b\); did you mean 'b'\?"):
        read_labels(pl.Series(["b", "bb"]), "classes", what=WHAT, names=["a", "b"])
    with pytest.raises(DataError, match="label 'pink' is not among the 2"):
        read_labels(pl.Series([["red"], ["pink"]]), "tags", what=WHAT, names=["green", "red"])


def test_spans_of_characters() -> None:
    column = pl.Series([SPANS, None, "[]", '[{"start": 3, "end": 5, "label": "price"}]'])
    spans, names = read_spans(column, what=WHAT)
    assert names == ["brand", "category", "price"]
    assert spans.rows() == [(0, 0, 4, 0), (0, 5, 9, 1), (3, 3, 5, 2)]
    np.testing.assert_array_equal(read_labels(column, what=WHAT).values, [2, NAN, 0, 1])
    lists = pl.Series([[{"start": 5, "end": 9, "label": "b"}, {"start": 0, "end": 4, "label": "a"}], None])
    assert read_spans(lists, what=WHAT)[0].rows() == [(0, 0, 4, 0), (0, 5, 9, 1)]
    texts = pl.Series([['{"start": 0, "end": 4, "label": "a"}', '{"start": 5, "end": 9, "label": "b"}'], []])
    assert read_spans(texts, what=WHAT)[0].rows() == [(0, 0, 4, 0), (0, 5, 9, 1)]
    for wrong, words in (
        ('[{"start": 4, "end": 4, "label": "a"}]', "row 1 has a span from 4 to 4"),
        ('[{"start": 0, "end": 4, "label": "a"}, {"start": 3, "end": 5, "label": "a"}]', "overlapping spans at character 3"),
        ("brand", "'brand' is no list of spans"),
        ('[{"start": 0, "end": 4}]', "with label None"),
    ):
        with pytest.raises(DataError, match=words):
            read_spans(pl.Series([wrong]), what=WHAT)


@pytest.mark.parametrize(
    ("values", "settings", "words"),
    [
        ([None, None], {}, "none of 2 rows has a label"),
        (["", " "], {}, "none of 2 rows has a label"),
        ([0, 0], {}, "no row is positive.*it holds numbers from 0 to 0"),
        ([3, 2], {"positive": ">=9"}, "no row is positive.*it holds numbers from 2 to 3"),
        (["view", "buy"], {"positive": "by"}, "positive names 'by', which no row has; did you mean 'buy'"),
        (["view", "buy"], {"positive": "buy|zzz"}, "positive names 'zzz', which no row has; values: view, buy"),
        (["view", "buy"], {"positive": "=cart"}, r"no row is positive \(=cart\); it holds view, buy"),
        ([1, 1], {}, "every row is positive"),
        ([0, 1, 2], {"kind": "binary"}, "row 3 is 2, which is neither yes .* nor no .*positive: '>=4'"),
        (["yes", "maybe"], {"kind": "binary"}, "row 2 is 'maybe', which is neither"),
        (["a", "b"], {"positive": ">=x"}, "'x' is no number to compare with"),
        (["a", "b"], {"positive": ">=4"}, "row 1 is 'a', not a finite number"),
        (["a", "b"], {"positive": " | "}, "names nothing"),
        (["a", "a"], {}, "all 2 rows are of one class"),
        (["a", "a", "b"], {}, "class 'b' has one row"),
        (["a", "b", "c", "c"], {}, r"class 'a' \(and 1 more\) has one row"),
        ([2.5, 2.5], {}, "all 2 rows are 2.5"),
        (["1", "x"], {"kind": "number"}, "row 2 is 'x', not a finite number"),
        ([[], []], {"kind": "tags"}, "no"),
        (["[]", "[]"], {"kind": "tokens"}, "no row has a span"),
        ([1, 0], {"kind": "binry"}, "no kind of label 'binry'; did you mean 'binary'"),
        ([["a"], ["b"]], {"kind": "binary"}, "say kind: tags"),
        ([["a"], ["b"]], {"kind": "classes"}, "say kind: tags"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line(values: list, settings: dict, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(values, **settings)
    assert str(caught.value).startswith(WHAT)
    assert "\n" not in str(caught.value)


def test_rows_to_be_measured_are_not_held_to_having_both_classes() -> None:
    assert read([0, 0], check=False) == [0, 0]
    np.testing.assert_array_equal(read([None], kind="binary", check=False), [NAN])


@given(st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1), st.sampled_from([">=", ">", "<", "<=", "=", "!="]), st.integers(-3, 3))
@limits(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
def test_conditions_are_those_of_python(values: list, sign: str, bound: int) -> None:
    compared = {">=": "__ge__", ">": "__gt__", "<": "__lt__", "<=": "__le__", "=": "__eq__", "!=": "__ne__"}[sign]
    expected = [NAN if value is None else float(getattr(float(value), compared)(float(bound))) for value in values]
    column = pl.Series(values, dtype=pl.Float64)
    labels = read_labels(column, None, f"{sign}{bound}", what=WHAT, check=False)
    np.testing.assert_array_equal(labels.values, expected)
