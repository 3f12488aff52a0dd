"""Baselines of judged tasks: planted truths whose AUC is known, nothing of the future and no label of the test, every kind of label."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from m6rec.base.contracts import Histories
from m6rec.baselines import by_name
from m6rec.baselines.counters import counters
from m6rec.baselines.exposure_rows import exposure_rows, some_rows
from m6rec.baselines.label_columns import answer_of, columns_of, unsuited
from m6rec.baselines.rows import TEST, TRAIN, VALIDATION, Codes, Rows
from m6rec.baselines.texts import tfidf_regressions
from m6rec.data.dataset import Dataset, Exposures, FieldType, Table, Vocabulary
from m6rec.data.labels import Labels
from m6rec.data.running_counts import earlier_sums
from m6rec.evaluation.config import JudgedBaseline

X, USERS, ITEMS, BRANDS = 3000, 30, 40, 4
RATES = np.array([0.1, 0.3, 0.6, 0.9])  # of yes, by brand


def planted(seed: int = 0) -> Rows:
    """Yes by the brand of the item alone; three moments a row apart, two rows a moment."""
    generator = np.random.default_rng(seed)
    users, items = generator.integers(1, USERS + 1, X), generator.integers(1, ITEMS + 1, X)
    brands = 1 + items % BRANDS
    return Rows(
        times=np.arange(X) // 2 * 3.0,
        parts=np.repeat([TRAIN, VALIDATION, TEST], [2000, 400, 600]).astype(np.int8),
        labels=(generator.random(X) < RATES[brands - 1]).astype(np.float32)[:, None],
        tasks=["click"],
        codes={
            "user": Codes(users.astype(np.int32), USERS + 1),
            "item": Codes(items.astype(np.int32), ITEMS + 1),
            "item brand": Codes(brands.astype(np.int32), BRANDS + 1),
        },
        tags={},
        numbers={"price": generator.random(X).astype(np.float32)},
        item_codes={
            "item": Codes(np.arange(ITEMS + 1), ITEMS + 1),
            "item brand": Codes(np.append(0, 1 + np.arange(1, ITEMS + 1) % BRANDS), BRANDS + 1),
        },
        scenario_names=[],
        cells=[{"scenario": None, "task": "click"}],
    )


def said(name: str, rows: Rows) -> np.ndarray:
    """(X, T), trees with the earlier rows and yeses of the item as counts."""

    def counts() -> dict[str, np.ndarray]:
        known = np.concatenate([np.ones((len(rows), 1)), np.nan_to_num(rows.labels[:, :1])], axis=1)
        shown, yes = earlier_sums(rows.codes["item"].values, rows.times, known).T.astype(np.float32)
        return {"shown": shown, "rate": (yes + 1) / (shown + 2)}

    return by_name.fit(name, rows, counts).values


def test_the_names_are_those_of_the_configuration() -> None:
    assert get_args(JudgedBaseline) == by_name.NAMES
    assert set(by_name.KINDS) == set(by_name.NAMES)


@pytest.mark.parametrize("name", by_name.NAMES)
def test_the_auc_of_a_planted_log_is_reached(name: str) -> None:
    """Nothing can order these rows better than their brand's rate; what is fitted comes near, and near the rates themselves."""
    rows = planted()
    test = rows.parts == TEST
    truth, best = rows.labels[test, 0], RATES[rows.codes["item brand"].values[test] - 1]
    found = said(name, rows)[test, 0]
    ceiling = roc_auc_score(truth, best)
    assert ceiling > 0.8
    assert ceiling - 0.02 < roc_auc_score(truth, found) < ceiling + 0.01
    assert np.abs(found - best).mean() < 0.12


@pytest.mark.parametrize("name", by_name.NAMES)
def test_no_label_of_the_test_is_learned_from(name: str) -> None:
    """Turned round from the last moment on, labels change no answer: weights are those of training rows, counts of what was before."""
    rows = planted()
    last = rows.times >= rows.times[-1]
    other = replace(rows, labels=np.where(last[:, None], 1 - rows.labels, rows.labels))
    np.testing.assert_array_equal(said(name, other), said(name, rows))


@pytest.mark.parametrize("name", ["logistic_regression", "lightgbm_raw"])
def test_what_counts_nothing_has_no_use_for_any_test_label(name: str) -> None:
    rows = planted()
    other = replace(rows, labels=np.where((rows.parts == TEST)[:, None], np.nan, rows.labels).astype(np.float32))
    np.testing.assert_array_equal(said(name, other), said(name, rows))


def test_counters_know_what_was_before_and_nothing_of_their_own_moment() -> None:
    rows = planted()
    moment = rows.times[2500]
    later = rows.times >= moment
    other = replace(rows, labels=np.where(later[:, None], 1 - rows.labels, rows.labels))
    asked = (rows.parts != TRAIN) & (rows.times <= moment)
    one, two = (counters(some, weights=(10.0,)).values for some in (rows, other))
    np.testing.assert_array_equal(one[asked], two[asked])
    assert (one[rows.times > moment + 3] != two[rows.times > moment + 3]).any()


def test_counters_of_amounts_by_hand() -> None:
    """The mean of all, moved by how far the user's and the item's means are from it, each with the weight of one row of it."""
    rows = Rows(
        times=np.array([0.0, 1.0, 2.0, 3.0]),
        parts=np.array([TRAIN, TRAIN, VALIDATION, TEST], np.int8),
        labels=np.array([[2.0], [4.0], [np.nan], [0.0]], np.float32),
        tasks=["seconds"],
        codes={"user": Codes(np.array([1, 2, 1, 1]), 3), "item": Codes(np.array([1, 1, 2, 1]), 3)},
        tags={},
        numbers={},
        item_codes={},
        scenario_names=[],
        cells=[{"scenario": None, "task": "seconds"}],
        amounts=frozenset(["seconds"]),
    )
    found = counters(rows, weights=(1.0,)).values[:, 0]
    everybody = (2 + 4 + 3) / 3  # begun with one row of the training mean
    user, item = (2 + everybody) / 2, (2 + 4 + everybody) / 3
    assert np.isnan(found[:2]).all()
    assert found[3] == pytest.approx(user + item - everybody)


def test_rows_without_a_time_are_before_nothing() -> None:
    found = earlier_sums(np.array([1, 1, 1]), np.array([1.0, np.nan, 2.0]), np.ones((3, 1)))
    assert found.ravel().tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("name", by_name.NAMES)
def test_unknown_labels_are_left_out(name: str) -> None:
    """Rows whose label nobody knows change nothing of the others' answers."""
    rows = planted()
    unknown = np.arange(X) % 3 == 0
    hidden = replace(rows, labels=np.where(unknown[:, None], np.nan, rows.labels).astype(np.float32))
    found, alone = said(name, hidden), said(name, some_rows(hidden, np.flatnonzero(~unknown | (rows.parts != TRAIN))))
    assert np.isfinite(found[rows.parts != TRAIN]).all()
    if name in ("counters", "lightgbm_raw"):
        np.testing.assert_allclose(found[rows.parts == TEST], alone[alone.shape[0] - 600 :], atol=1e-6)


@pytest.mark.parametrize("name", by_name.NAMES)
def test_labels_that_are_all_alike_have_one_answer(name: str) -> None:
    rows = planted()
    alike = replace(rows, labels=np.where((rows.parts == TRAIN)[:, None], 0.0, rows.labels).astype(np.float32))
    found = said(name, alike)[rows.parts == TEST, 0]
    if name == "counters":
        assert np.isfinite(found).all()
    else:
        assert found.tolist() == pytest.approx([0.5 / 2001] * 600)


def labels(kind: str, values: list[object], names: list[str]) -> Labels:
    return Labels(kind, names, np.array(values, np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "apart"),
    [
        (labels("binary", [0, 1, np.nan], ["no", "yes"]), False),
        (labels("classes", [2, 0, 1], ["a", "b", "c"]), False),
        (labels("ordinal", [2, 0, np.nan], ["1", "2", "3"]), False),
        (labels("ordinal", [2, 0, 1], ["1", "2", "3"]), True),
        (labels("number", [2.5, -1, np.nan], []), False),
        (labels("tags", [[0, 1], [1, 1], [np.nan, np.nan]], ["a", "b"]), False),
    ],
)
def test_columns_put_together_are_the_labels(one: Labels, apart: bool) -> None:
    columns = columns_of("t", one, levels_apart=apart)
    assert columns.values.shape == (3, len(columns.names))
    assert columns.amounts == (one.kind == "number" or (one.kind == "ordinal" and not apart))
    known = one.known
    found = answer_of(one, columns.values[known], levels_apart=apart)
    if found.ndim == 2 and one.kind != "tags":
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        found = found.argmax(axis=1)
    np.testing.assert_allclose(found, one.values[known])


def test_what_a_baseline_has_nothing_to_say_of() -> None:
    number, many = labels("number", [1, 2], []), labels("classes", [0, 1], [str(name) for name in range(40)])
    assert unsuited("counters", "seconds", number, by_name.KINDS["counters"]) is None
    said = unsuited("logistic_regression", "seconds", number, by_name.KINDS["logistic_regression"])
    assert said == "logistic_regression does not judge seconds: its labels are numbers."
    said = unsuited("counters", "spans", labels("tokens", [1, 0], ["O"]), by_name.KINDS["counters"])
    assert said == "counters does not judge spans: it labels words."
    said = unsuited("counters", "topic", many, by_name.KINDS["counters"])
    assert said == "counters does not judge topic: it has 40 different labels, more than 30."


def small_dataset(times: np.ndarray | None) -> Dataset:
    items = pl.DataFrame({"brand": ["a", None, "b"], "tags": [["x", "y"], [], ["y"]], "price": [1.0, None, 3.0], "title": ["p", "q", "r"]})
    kinds = {"brand": FieldType.CATEGORY, "tags": FieldType.TAGS, "price": FieldType.NUMBER, "title": FieldType.TEXT}
    users = pl.DataFrame({"brand": ["m", "n"]})
    shown = Exposures(
        users=np.array([0, 1, 0, 1], np.int32),
        items=np.array([0, 1, 2, 0], np.int32),
        cuts=np.zeros(4, np.int64),
        times=times,
        scenarios=np.array([0, 1, -1, 1], np.int16),
        context=pl.DataFrame({"device": ["phone", "desk", None, "phone"]}),
        context_fields={"device": FieldType.CATEGORY},
    )
    return Dataset(
        Table(Vocabulary("abc"), items, kinds),
        Table(Vocabulary("uv"), users, {"brand": FieldType.CATEGORY}),
        Histories(np.zeros(3, np.int64), np.zeros(0, np.int32)),
        scenario_names=["feed", "shop"],
        exposures=shown,
    )


def test_exposures_as_arrays() -> None:
    """Codes by hand, 0 where nothing is known; a field of items and one of users that share a name are two."""
    column = columns_of("click", labels("binary", [1, 0, 1, 0], ["no", "yes"]))
    parts = np.array([TRAIN, TRAIN, VALIDATION, TEST], np.int8)
    rows = exposure_rows(small_dataset(np.array([0.0, 3600.0, np.nan, 86_400.0])), parts, [column])
    assert {name: codes.values.tolist() for name, codes in rows.codes.items()} == {
        "user": [1, 2, 1, 2],
        "item": [1, 2, 3, 1],
        "scenario": [1, 2, 0, 2],
        "hour": [1, 2, 0, 1],
        "weekday": [4, 4, 0, 5],  # 1970 began on a Thursday
        "user brand": [1, 2, 1, 2],
        "item brand": [1, 0, 2, 1],
        "item tags": [1, 0, 2, 1],
        "request device": [1, 2, 0, 1],
    }
    assert rows.tags["item tags"].values[:, :2].tolist() == [[1, 2], [0, 0], [2, 0], [1, 2]]
    np.testing.assert_array_equal(rows.numbers["item price"], np.array([1, np.nan, 3, 1], np.float32))
    assert set(rows.item_codes) == {"item", "item brand", "item tags"}
    assert rows.cells == [{"scenario": None, "task": "click"}]  # too few of either answer to look at a scenario by itself


def test_without_times_nothing_but_training_rows_is_known() -> None:
    """Then a validation or test row knows the training rows, and a training row no other."""
    column = columns_of("click", labels("binary", [1, 0, 1, 0], ["no", "yes"]))
    rows = exposure_rows(small_dataset(None), np.array([TRAIN, TRAIN, VALIDATION, TEST], np.int8), [column])
    assert earlier_sums(np.ones(4, np.int64), rows.times, np.ones((4, 1))).ravel().tolist() == [0, 0, 2, 2]
    assert "hour" not in rows.codes


def test_words_tell_texts_apart() -> None:
    texts = [["good shoes", "good hat", "bad shoes", "bad hat"] * 5, ["a good coat", "a bad coat"]]
    truth = np.array([1, 1, 0, 0] * 5, np.float32)
    for strong in (False, True):
        for settings, (table,) in tfidf_regressions(texts, truth, strong=strong, strengths=[10.0]):
            assert settings["C"] == 10.0
            assert table[0, 1] > 0.7 > 0.3 > table[1, 1]
    tags = np.stack([truth, 1 - truth], axis=1)
    _, (table,) = next(tfidf_regressions(texts, tags, strong=False, strengths=[10.0]))
    assert table.argmax(axis=1).tolist() == [0, 1]
