"""The rows of one task: its scenarios and kinds of texts, and what can't be learned from them or measured."""

from __future__ import annotations

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
