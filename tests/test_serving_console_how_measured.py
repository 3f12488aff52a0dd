"""The sentences about how figures were made, in every language: English reads them, and what it can't read stays as it is."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest

from m6rec.base.contracts import Histories, Requests
from m6rec.data.config import SplitConfig
from m6rec.data.dataset import Dataset, Table, Vocabulary
from m6rec.data.splits import Cases, split
from m6rec.evaluation.config import EvaluationConfig
from m6rec.evaluation.protocol import statements
from m6rec.serving.console.how_measured import how_measured
from m6rec.serving.console.phrases import languages
from m6rec.serving.console.told import task_name
from m6rec.serving.console.training import series_name

EN, ZH = languages()["en"], languages()["zh"]
FURTHER = (
    "Cold users: no event of 20 of 80 users is trained on; their next event is asked for after their first 0, 1, 2 events, 10 of them for validation "
    "and 10 others for test (30 validation and 30 test cases); no times: the order is the data's own.",
    "Global time split: training ends before 2024-01-01T00:00:00Z, validation before 2024-02-01T00:00:00Z; targets are the distinct new items of each "
    "user in the period; 7 events of unknown time are left out (4 validation and 5 test cases; cases with fewer than 3 earlier events are left out); "
    "equal times are shuffled with seed 0 (2 events have the same user and time as the one before); events from 2024-01-05T00:00:00Z on are not trained "
    "on either, since exposures are held out from then (1,234 events). Measured on 100 of the 2,000 cases, drawn with seed 3.",
    "Cold items: 10 of 60 items are in no training sequence and no history, every event with one is a case, 5 of them for validation and 5 others for "
    "test (9 validation and 8 test cases; cases with no earlier event are left out); equal times keep the order of the file (0 events have the same "
    "user and time as the one before).",
)


def said(**changes: Any) -> list[str]:
    """What an evaluation of a small data set says of itself."""
    histories = Histories.from_lists([[0, 1, 2, 3], [1, 2, 0], [3, 1, 2]])
    items = Table(Vocabulary(list("abcd")), pl.DataFrame(), {})
    users = Table(Vocabulary(list("xyz")), pl.DataFrame(), {})
    cut = split(Dataset(items, users, histories), SplitConfig(min_history=changes.pop("min_history", 1)), 0)
    empty = Cases(Requests(Histories.from_lists([[], [0]])), Histories.from_lists([[1], [2]]))
    return statements(empty, 4, EvaluationConfig(**changes), cut.statement)


@pytest.mark.parametrize("changes", [{}, {"exclude_history": False}, {"min_history": 2}])
def test_all_that_an_evaluation_says_is_read_and_told(changes: dict[str, Any]) -> None:
    """English gives the very sentence; Chinese has the same numbers and no English word."""
    for one in [*said(**changes), *FURTHER]:
        assert how_measured(EN, one) == one
        told = how_measured(ZH, one)
        assert re.search(r"[\u4e00-\u9fff]", told)
        assert not re.search(r"[a-z]{3}", told)
        assert sorted(re.findall(r"\d+", told)) == sorted(re.findall(r"\d+", one))


def test_what_is_not_known_stays_as_it_is() -> None:
    for one in ("", "A sentence of a plug-in.", "Nothing is sampled, says somebody; nothing is sampled."):
        assert how_measured(ZH, one) == one


def test_names_of_tasks_are_told_and_a_users_own_stay() -> None:
    assert [task_name(ZH, name) for name in ("click", "next", "my_task")] == ["点击", "下一件物品", "my_task"]
    assert task_name(EN, "click") == "click"
    assert series_name(ZH, "judge.shop/click") == "点击 (shop)"
    assert series_name(EN, "judge.shop/click") == "click (shop)"
