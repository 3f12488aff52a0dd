"""The rows of one task: its scenarios and kinds of texts, and what can't be learned from them or measured."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError
from m6rec.data.dataset import Dataset, Exposures, FieldType, Table, Vocabulary
from m6rec.data.judged_rows import check_parts, exposure_labels, item_labels, text_labels
from m6rec.data.labels import Labels

NAN = float("nan")


def dataset(scenarios: list[int] | None = None) -> Dataset:
    rows = Exposures(
        users=np.zeros(6, dtype=np.int32),
        items=np.zeros(6, dtype=np.int32),
        cuts=np.zeros(6, dtype=np.int64),
        scenarios=None if scenarios is None else np.array(scenarios, dtype=np.int16),
        labels=pl.DataFrame({"clicked": [1.0, 0, None, 1, 0, None], "color": ["r", "g", "r", "g", "b", "b"]}),
    )
    one = Table(Vocabulary(["a"]), pl.DataFrame({"id": ["a"]}), {})
    histories = Histories(offsets=np.zeros(2, dtype=np.int64), items=np.zeros(0, dtype=np.int32))
    return Dataset(one, one, histories, scenario_names=["shop", "feed", "video"], exposures=rows)


def test_outside_its_scenarios_a_task_knows_no_label() -> None:
    data = dataset([0, 0, 0, 1, 1, 2])
    everywhere = exposure_labels(data, "clicked", task="click")
    np.testing.assert_array_equal(everywhere.values, [1, 0, NAN, 1, 0, NAN])
    feed = exposure_labels(data, "clicked", task="click", scenarios=["feed"])
    np.testing.assert_array_equal(feed.values, [NAN, NAN, NAN, 1, 0, NAN])
    tags = exposure_labels(data, "color", task="color", kind="tags", scenarios=["feed", "video"])
    assert tags.names == ["b", "g"]
    np.testing.assert_array_equal(tags.values[3:], [[0, 1], [1, 0], [1, 0]])
    assert np.isnan(tags.values[:3]).all()


@pytest.mark.parametrize(
    ("label", "scenarios", "words"),
    [
        ("clickd", None, r"task click, column 'clickd': the exposures have no such column; did you mean 'clicked'"),
        ("clicked", ["fed"], "there is no scenario 'fed'; did you mean 'feed'"),
        ("clicked", ["video"], "scenario 'video' has 1 exposures and none has a label"),
        ("clicked", ["shop", "late"], "there is no scenario 'late'"),
    ],
)
def test_wrong_columns_and_scenarios(label: str, scenarios: list[str] | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        exposure_labels(dataset([0, 0, 0, 1, 1, 2]), label, task="click", scenarios=scenarios)


def test_a_scenario_without_rows_is_named() -> None:
    with pytest.raises(DataError, match=r"scenario 'feed' has no exposures \(those that have: shop\)"):
        exposure_labels(dataset([0] * 6), "clicked", task="click", scenarios=["feed"])
    with pytest.raises(DataError, match=r"scenario 'feed' has no exposures .those that have: none is known"):
        exposure_labels(dataset(), "clicked", task="click", scenarios=["feed"])


def test_texts_of_some_kinds() -> None:
    texts = pl.DataFrame({"kind": ["review", "query", "review", None], "mood": [1.0, 1, 0, 1]})
    np.testing.assert_array_equal(text_labels(texts, "mood", task="mood", kinds=["review"]).values, [1, NAN, 0, NAN])
    np.testing.assert_array_equal(text_labels(texts, "mood", task="mood").values, [1, 1, 0, 1])
    with pytest.raises(DataError, match="no text of the kind 'reviews'; did you mean 'review'"):
        text_labels(texts, "mood", task="mood", kinds=["reviews"])
    with pytest.raises(DataError, match="task mood, column 'mood': every row is positive"):
        text_labels(texts, "mood", task="mood", kinds=["query"])


def test_labels_of_items_go_by_the_declared_type() -> None:
    frame = pl.DataFrame({"code": ["1", "2", "1", "2"], "price": [1.0, 2.5, 4, 9], "tags": [["a"], ["a", "b"], [], ["b"]]})
    fields = {"code": FieldType.CATEGORY, "price": FieldType.NUMBER, "tags": FieldType.TAGS}
    data = Dataset(Table(Vocabulary("wxyz"), frame, fields), dataset().users, dataset().histories)
    assert [item_labels(data, name, task="t").kind for name in fields] == ["classes", "number", "tags"]
    assert item_labels(data, "price", task="t", positive=">2").values.tolist() == [0, 1, 1, 1]
    assert np.isnan(item_labels(data, "tags", task="t").values[2]).all()
    with pytest.raises(DataError, match=r"task t, field 'prize': items have no such field; did you mean 'price'"):
        item_labels(data, "prize", task="t")


def labels(kind: str, values: list, names: list[str]) -> Labels:
    return Labels(kind, names, np.array(values, dtype=np.float32))  # type: ignore[arg-type]


def test_parts_must_show_in_training_what_is_asked_later() -> None:
    parts = np.array([0, 0, 1, 1, 2, 2], dtype=np.int8)
    binary = ["no", "yes"]
    assert check_parts(labels("binary", [0, 1, 0, 1, 0, 1], binary), parts, task="t") == []
    assert check_parts(labels("binary", [0, 1, NAN, NAN, 0, 0], binary), parts, task="t") == [
        "task t: no validation row has a label",
        "task t: no test row is positive, so its AUC is unknown",
    ]
    assert check_parts(labels("number", [0, 1, 2, 3, NAN, NAN], []), parts, task="t") == ["task t: no test row has a label"]
    for kind, values, names, words in (
        ("binary", [NAN, NAN, 0, 1, 0, 1], binary, r"no training row has a label \(4 rows have one\)"),
        ("binary", [0, 0, 0, 1, 0, 1], binary, "no training row is positive"),
        ("binary", [1, 1, 0, 1, 0, 1], binary, "no training row is negative"),
        ("classes", [0, 1, 2, 0, 2, 3], ["a", "b", "c", "d"], "class 'c', 'd' of 3 held-out rows is not seen in training"),
        ("tags", [[1, 0], [0, 0], [0, 1], [0, 0], [0, 0], [0, 0]], ["a", "b"], "class 'b' of 1 held-out rows is not seen"),
    ):
        with pytest.raises(DataError, match=words):
            check_parts(labels(kind, values, names), parts, task="t")


def cell(*spans: tuple[int, int, str]) -> str:
    return json.dumps([{"start": start, "end": end, "label": label} for start, end, label in spans])


def test_a_label_of_spans_that_no_training_text_has_is_refused() -> None:
    known = [
        cell((0, 4, "brand")),
        cell((0, 4, "place"), (5, 9, "brand")),
        "[]",
        cell((0, 4, "brand"), (5, 9, "brand")),
        "",
        cell((0, 4, "place")),
    ]
    texts = pl.DataFrame({"text": ["nike oslo"] * 6, "kind": ["query"] * 5 + ["note"], "spans": known})
    slots = text_labels(texts, "spans", task="slots")
    assert (slots.kind, slots.names) == ("tokens", ["brand", "place"])
    parts = np.array([0, 0, 1, 2, 2, 2], dtype=np.int8)
    assert check_parts(slots, parts, task="slots") == []  # a validation text where nothing is to be found is a label too
    with pytest.raises(DataError, match="task slots: class 'place' of 2 held-out rows is not seen in training; give training rows of it"):
        check_parts(slots, np.array([0, 1, 0, 1, 2, 2], dtype=np.int8), task="slots")
    queries = text_labels(texts, "spans", task="slots", kinds=["query"])  # the note is not read, nor what it says
    assert check_parts(queries, np.array([0, 0, 1, 2, 2, 2], dtype=np.int8), task="slots") == []
    with pytest.raises(DataError, match="class 'place' of 1 held-out rows"):
        check_parts(queries, np.array([0, 1, 0, 1, 2, 2], dtype=np.int8), task="slots")


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        (
            cell((0, 2, "city"), (3, 6, "thing")),
            r"row 3 has a span from 3 to 6 with label thing in a text of 5 characters, '北京 鞋子'; a span ends ",
        ),
        (cell((9, 12, "thing")), "row 3 has a span from 9 to 12 with label thing in a text of 5 characters"),
        (cell((4, 4, "thing")), "row 3 has a span from 4 to 4 with label thing; a span is .* with 0 <= start < end"),
        (cell((5, 3, "thing")), "row 3 has a span from 5 to 3 with label thing; a span is"),
    ],
)
def test_a_span_outside_its_text_is_one_line_with_its_row(spans: str, words: str) -> None:
    said = [cell((0, 5, "thing")), None, cell((0, 2, "city"), (3, 5, "thing"))]
    texts = pl.DataFrame({"text": ["shoes in Oslo", "boots", "北京 鞋子"], "kind": ["note", "query", "query"], "spans": said})
    assert text_labels(texts, "spans", task="slots").values[2] == 2  # characters, not bytes
    wrong = texts.with_columns(pl.Series("spans", [*said[:2], spans]))
    for kinds in (None, ["query"]):
        with pytest.raises(DataError, match=words) as caught:
            text_labels(wrong, "spans", task="slots", kinds=kinds)
        assert str(caught.value).startswith("task slots, column 'spans': ")
        assert "\n" not in str(caught.value)
