"""Statistics as of a moment: hand-counted, never of the row itself or later ones, the same offline and online."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Histories
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.data.history_statistics import history_statistic_names, history_statistics
from m6rec.data.running_counts import RunningCounts
from m6rec.data.statistic_keys import StatisticKeys, item_values
from m6rec.data.statistics import DAY, OutcomeLog, Statistics

FRAME = pl.DataFrame(
    {
        "category": ["a", "b", "a", None, "b", "c"],
        "tags": [["x", "y"], ["x"], [], ["y"], ["y", "x"], ["z"]],
        "price": [1.0, 2, 3, None, 5, 6],
    }
)
ITEMS = Table(
    Vocabulary("012345"),
    FRAME,
    {"category": FieldType.CATEGORY, "tags": FieldType.TAGS, "price": FieldType.NUMBER, "title": FieldType.TEXT},
)
ITEMS.fields.pop("title")


def keys(users: int = 4, scenarios: int = 2) -> StatisticKeys:
    return StatisticKeys(users, item_values(ITEMS)[:2], scenarios)


def log_of(rows: int, seed: int = 0, moments: int = 50) -> OutcomeLog:
    rng = np.random.default_rng(seed)
    outcomes = (rng.random((rows, 2)) < [0.4, 0.1]).astype(np.float32)
    outcomes[rng.random(rows) < 0.1, 1] = np.nan
    times = np.sort(rng.integers(0, moments, rows)) * DAY / 4
    return OutcomeLog(rng.integers(0, 4, rows), rng.integers(0, 6, rows), rng.integers(0, 2, rows), times, outcomes)


def rows_of(log: OutcomeLog, rows: np.ndarray) -> OutcomeLog:
    assert log.scenarios is not None
    return OutcomeLog(log.users[rows], log.items[rows], log.scenarios[rows], log.moments[rows], log.outcomes[rows])


def test_hand_counted() -> None:
    """Two labels; user 1 saw item 0 at day 0 (clicked) and day 2 (not), item 2 at day 2; asked at day 2, day 3 and after everything."""
    log = OutcomeLog(
        np.array([1, 2, 1, 1]),
        np.array([0, 0, 0, 2]),
        None,
        np.array([0, 1, 2, 2]) * DAY,
        np.array([[1, 0], [1, 1], [0, 0], [1, np.nan]], np.float32),
    )
    statistics = Statistics(keys(scenarios=0), ["click", "like"], log, windows=[1.5], smoothing=2.0)
    asked = np.array([2.0, 3.0, np.inf]) * DAY
    table = statistics.read(np.full(3, 1), np.zeros(3, int), None, asked)
    assert table.shape == (3, len(statistics.names))
    column = dict(zip(statistics.names, np.expm1(table).T, strict=True))
    np.testing.assert_allclose(column["user: shown"], [1, 3, 3], atol=1e-5)
    np.testing.assert_allclose(column["item: shown"], [2, 3, 3], atol=1e-5)
    np.testing.assert_allclose(column["category: shown"], [2, 4, 4], atol=1e-5)  # items 0 and 2 are of one category
    np.testing.assert_allclose(column["user and category: shown"], [1, 3, 3], atol=1e-5)
    np.testing.assert_allclose(column["item: shown in 1.5 d"], [1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(column["user: last"][:2], [2 * DAY / 60, DAY / 60], rtol=1e-5)

    def odds(p: float) -> float:
        return float(np.log(p / (1 - p)))

    column = dict(zip(statistics.names, table.T, strict=True))
    rate = [(2 + 2 * 0.5) / (2 + 2), (3 + 2 * 0.5) / (4 + 2)]  # of all rows: drawn to a fair coin
    np.testing.assert_allclose(column["all: click"][:2], [odds(p) for p in rate], rtol=1e-5)
    user = [(1 + 2 * rate[0]) / (1 + 2), (2 + 2 * rate[1]) / (3 + 2)]
    np.testing.assert_allclose(column["user: click"][:2], [odds(u) - odds(p) for u, p in zip(user, rate, strict=True)], rtol=1e-4)
    pair = (2 + 2 * user[1]) / (3 + 2)  # user and category is drawn to the user
    assert column["user and category: click"][1] == pytest.approx(odds(pair) - odds(rate[1]), rel=1e-4)
    like_all, like_known = (1 + 1) / (3 + 2), 2  # the unknown like is no row of that label
    like = (0 + 2 * like_all) / (like_known + 2)
    assert column["user: like"][1] == pytest.approx(odds(like) - odds(like_all), rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), moments=st.integers(1, 40))
def test_offline_equals_online(seed: int, rows: int, moments: int) -> None:
    """The skew test: read once over the whole log, and row by row with only what was known before the row."""
    log = log_of(rows, seed, moments)
    whole = Statistics(keys(), ["click", "like"], log, windows=[1.0, 7.0])
    offline = whole.read(log.users, log.items, log.scenarios, log.moments)
    for row in range(0, rows, 7):
        before = np.flatnonzero(log.moments < log.moments[row])
        online = Statistics(keys(), ["click", "like"], rows_of(log, before), windows=[1.0, 7.0])
        online.shares, online.deviation = whole.shares, whole.deviation  # settled when fitted, and saved
        one = rows_of(log, np.array([row]))
        np.testing.assert_allclose(online.read(one.users, one.items, one.scenarios, one.moments)[0], offline[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [[30], [57], [10, 20, 55], [58, 59]])
def test_appended_rows_count_as_if_they_had_always_been_there(cuts: list[int]) -> None:
    log = log_of(60)
    parts = np.split(np.arange(60), cuts)
    grown = Statistics(keys(), ["click", "like"], rows_of(log, parts[0]), windows=[2.0])
    for part in parts[1:]:
        grown.append(rows_of(log, part))
    whole = Statistics(keys(), ["click", "like"], log, windows=[2.0])
    asked = log_of(40, seed=5)
    moments = np.concatenate([asked.moments[:-3], [np.inf, np.nan, -1.0]])
    expected = whole.read(asked.users, asked.items, asked.scenarios, moments)
    np.testing.assert_allclose(grown.read(asked.users, asked.items, asked.scenarios, moments), expected, rtol=1e-5, atol=1e-5)
    loaded = Statistics.from_arrays(keys(), ["click", "like"], [2.0], whole.arrays())
    np.testing.assert_array_equal(loaded.read(asked.users, asked.items, asked.scenarios, moments), expected)


def test_own_label_and_equal_times_say_nothing() -> None:
    log = log_of(80)
    flipped = log.outcomes.copy()
    same = log.moments == log.moments[40]
    flipped[same] = 1 - flipped[same]
    other = OutcomeLog(log.users, log.items, log.scenarios, log.moments, flipped)
    names = ["click", "like"]
    tables = [Statistics(keys(), names, each, [1.0]).read(each.users, each.items, each.scenarios, each.moments) for each in (log, other)]
    until = log.moments <= log.moments[40]
    np.testing.assert_allclose(tables[0][until], tables[1][until], rtol=1e-6)
    assert not np.allclose(tables[0][~until], tables[1][~until])


def test_nobody_and_new_items_have_the_rates_of_their_parents() -> None:
    log = log_of(60)
    statistics = Statistics(keys(), ["click", "like"], log, windows=[])
    table = statistics.read(np.array([-1, 99]), np.array([77, -1]), None, np.full(2, np.inf))
    column = dict(zip(statistics.names, table.T, strict=True))
    assert np.isfinite(table).all()
    for name in ("user", "item", "user in scenario", "category"):
        np.testing.assert_allclose(column[f"{name}: click"], 0, atol=1e-6)
        np.testing.assert_allclose(column[f"{name}: shown"], 0)


def test_running_counts_of_nothing() -> None:
    empty = RunningCounts.build(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.float32))
    asked = np.array([3, -1])
    numbers = empty.find(asked)
    ends = empty.ends(numbers, np.array([0, 5]))
    np.testing.assert_array_equal(empty.until(numbers, ends), np.zeros((2, 2)))
    np.testing.assert_array_equal(empty.last(numbers, ends), [-1, -1])


def test_history_by_hand() -> None:
    histories = Histories(np.array([0, 4, 6]), np.array([0, 2, 1, 0, 5, 5], np.int32), actions=np.array([0, 1, 0, 1, 0, 0], np.int16))
    values = item_values(ITEMS)[:2]
    names = history_statistic_names(values, ["view", "buy"])
    users, items, cuts = np.array([0, 0, 1, 1]), np.array([0, 2, 5, 0]), np.array([4, 3, 5, 4])
    table = history_statistics(histories, values, 2, users, items, cuts)
    column = dict(zip(names, table.T, strict=True))
    np.testing.assert_allclose(np.expm1(column["history: events"]), [4, 3, 1, 0], atol=1e-5)
    np.testing.assert_allclose(np.expm1(column["history: buy"]), [2, 1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(np.expm1(column["history, same item: events"]), [2, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(np.expm1(column["history, same item: events ago"])[:3], [1, 2, 1], atol=1e-4)
    np.testing.assert_allclose(np.expm1(column["history, same category: events"]), [3, 2, 1, 0], atol=1e-5)
    np.testing.assert_allclose(column["history, same category: share"], [3 / 4, 2 / 3, 1, 0], atol=1e-5)
    # Tags of item 0 are x and y: events 0, 0 have both, event 1 (item 1) has x.
    np.testing.assert_allclose(np.expm1(column["history, same tags: events"])[:1], [5], atol=1e-4)
    alone = history_statistics(histories.rows(np.array([0])), values, 2, np.zeros(1, int), items[:1], np.array([4]))
    np.testing.assert_array_equal(alone[0], table[0])
