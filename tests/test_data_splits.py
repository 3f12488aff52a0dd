"""Splits: by hand, without leaks, and independent of how the items are numbered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.contracts import Histories
from m6rec.base.errors import ConfigError, DataError
from m6rec.data.config import SplitConfig
from m6rec.data.dataset import Dataset, Table, Vocabulary
from m6rec.data.splits import Cases, Split, held_out_users, split, welcome

ITEMS = 12
DAY = 86400.0
NAN = float("nan")


def dataset(rows: list[list[int]], times: Sequence[Sequence[float]] | None = None, items: int = ITEMS) -> Dataset:
    histories = Histories.from_lists(rows)
    if times is not None:
        flat = np.array([time for row in times for time in row], dtype=np.float64)
        histories = Histories(offsets=histories.offsets, items=histories.items, times=flat)
    tables = [
        Table(ids=Vocabulary(f"{letter}{row}" for row in range(count)), frame=pl.DataFrame(), fields={})
        for letter, count in (("i", items), ("u", len(rows)))
    ]
    return Dataset(items=tables[0], users=tables[1], histories=histories)


def lists(histories: Histories) -> list[list[int]]:
    return [histories.row(row).tolist() for row in range(len(histories))]


def plain(cases: Cases) -> list[tuple[int, list[int], list[int]]]:
    """(user, history, targets) of every case."""
    assert cases.requests.users is not None
    return list(zip(cases.requests.users.tolist(), lists(cases.requests.histories), lists(cases.targets), strict=True))


def config(protocol: str, **values: object) -> SplitConfig:
    return SplitConfig.build({"protocol": protocol, **values})


def test_leave_one_out_by_hand() -> None:
    cut = split(dataset([[3, 1, 4, 1, 5], [2], [7, 8], [6, 9, 2], []]), config("leave_one_out"), seed=0)
    assert lists(cut.train) == [[3, 1, 4], [2], [7, 8], [6], []]
    assert plain(cut.validation) == [(0, [3, 1, 4], [1]), (3, [6], [9])]
    assert plain(cut.test) == [(0, [3, 1, 4, 1], [5]), (3, [6, 9], [2])]
    assert cut.seen.tolist() == [0, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0]
    assert cut.seen.dtype == np.int64
    assert "2 validation and 2 test cases" in cut.statement
    assert "no times" in cut.statement
    assert cut.test.requests.now is None
    assert len(cut.test) == 2


@pytest.mark.parametrize(
    ("protocol", "settings", "asked"),
    [
        ("leave_one_out", {}, [(0, [0, 1], [2]), (2, [7, 8], [9])]),  # user 1 refused the last item
        ("time", {"validation_from": 2.0, "test_from": 3.0}, [(0, [0, 1], [2]), (2, [7, 8], [9])]),
        ("cold_users", {"cold_fraction": 0.75, "given": [1, 2]}, None),
    ],
)
def test_what_is_refused_is_no_target_and_stays_in_the_history(protocol: str, settings: dict, asked: list | None) -> None:
    """Every user's second event is a skip; of user 1 the third is a dislike."""
    data = dataset([[0, 1, 2], [3, 4, 5], [7, 8, 9], [0, 4, 8]], [[1.0, 1.5, 3.0]] * 2 + [[1.0, 2.0, 3.0]] * 2)
    histories = replace(data.histories, actions=np.array([0, 1, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0], dtype=np.int16))
    data = replace(data, histories=histories, action_names=["view", "skip", "disliked"])
    cut = split(data, config(protocol, **settings), seed=0)
    assert "3 events say no (a dislike, a skip) and are no targets" in cut.statement
    if asked is not None:
        assert plain(cut.test)[:2] == asked
    refused = {(0, 1), (1, 4), (1, 5)}
    asked_for = {(user, item) for user, _, row in (*plain(cut.validation), *plain(cut.test)) for item in row}
    assert not refused & asked_for
    assert welcome(histories, data.action_names).tolist() == [True, False, True, True, False, False] + [True] * 6


def test_leave_one_out_asks_at_the_time_of_the_target() -> None:
    cut = split(dataset([[3, 1, 4]], [[10, 20, 30]]), config("leave_one_out"), seed=0)
    assert cut.validation.requests.now is not None
    assert cut.test.requests.now is not None
    assert cut.validation.requests.now.tolist() == [20]
    assert cut.test.requests.now.tolist() == [30]
    assert cut.test.requests.histories.times is not None
    assert cut.test.requests.histories.times.tolist() == [10, 20]


def test_min_history_leaves_cases_out_and_says_so() -> None:
    cut = split(dataset([[1, 2, 3], [1, 2, 3, 4, 5]]), config("leave_one_out", min_history=3), seed=0)
    assert [user for user, *_ in plain(cut.validation)] == [1]
    assert [user for user, *_ in plain(cut.test)] == [1]
    assert "fewer than 3 earlier events" in cut.statement


def test_time_by_hand() -> None:
    rows = [[0, 1, 2, 3, 2, 1, 4], [5, 6], [7], [8, 9]]
    times = [[1, 2, 10, 11, 12, 20, 21], [3, 4], [22], [5, 20]]
    cut = split(dataset(rows, times), config("time", validation_from=10, test_from=20), seed=0)
    assert lists(cut.train) == [[0, 1], [5, 6], [], [8]]
    # item 2 twice is one target; item 1 at time 20 was had before, so it is no target
    assert plain(cut.validation) == [(0, [0, 1], [2, 3])]
    # user 2 has no history; a moment belongs to what follows it
    assert plain(cut.test) == [(0, [0, 1, 2, 3, 2], [4]), (3, [8], [9])]
    assert cut.test.requests.now is not None
    assert cut.test.requests.now.tolist() == [20, 20]
    assert "1970-01-01T00:00:20Z" in cut.statement
    with_nobody = split(dataset(rows, times), config("time", validation_from=10, test_from=20, min_history=0), seed=0)
    assert (2, [], [7]) in plain(with_nobody.test)


def test_targets_know_where_they_were_chosen() -> None:
    data = dataset([[0, 1, 3, 4, 5, 4], [6, 7, 8]], [[0, 1, 2, 3, 3.5, 4], [0, 1, 2]])
    codes = np.array([0, 0, 2, 0, 1, 2, 1, 1, 0], dtype=np.int16)
    told = replace(data, histories=replace(data.histories, scenarios=codes))
    settings = config("time", validation_from=2, test_from=3)
    by_time, last = split(told, settings, seed=0), split(told, config("leave_one_out"), seed=0)
    found = [cases.targets.scenarios for cut in (by_time, last) for cases in (cut.validation, cut.test)]
    # item 4 stands twice in the test period: its first event counts
    assert [None if one is None else one.tolist() for one in found] == [[2, 0], [0, 1], [1, 1], [2, 0]]
    assert split(data, settings, seed=0).test.targets.scenarios is None


def test_time_reads_dates_and_fractions() -> None:
    days = [[DAY * day for day in range(10)], [DAY * (day + 0.5) for day in range(10)]]
    rows = [list(range(10)), list(range(2, 12))]
    dated = split(dataset(rows, days), config("time", validation_from="1970-01-05", test_from="1970-01-08T00:00:00+00:00"), seed=0)
    assert [len(row) for row in lists(dated.train)] == [4, 4]
    shared = split(dataset(rows, days), config("time", validation_fraction=0.2, test_fraction=0.3), seed=0)
    assert len(shared.train.items) == 10
    assert sum(len(targets) for *_, targets in plain(shared.test)) == 6
    assert sum(len(targets) for *_, targets in plain(shared.validation)) == 4


def test_time_places_undated_events_by_what_follows() -> None:
    rows = [[0, 1, 2, 3, 4], [5, 6, 7, 8]]
    times = [[NAN, 5, NAN, 25, NAN], [1, NAN, 12, 30]]
    cut = split(dataset(rows, times), config("time", validation_from=10, test_from=20), seed=0)
    assert lists(cut.train) == [[0, 1], [5]]
    assert plain(cut.validation) == [(1, [5], [7])]
    assert plain(cut.test) == [(0, [0, 1], [3]), (1, [5, 6, 7], [8])]
    assert "1 events of unknown time are left out" in cut.statement


def test_cold_items_by_hand() -> None:
    rows = [[0, 1, 2, 3], [3, 2, 1, 0, 1], [0, 1, 2, 3, 4, 5]]
    cut = split(dataset(rows, items=6), config("cold_items", cold_fraction=0.34, min_history=0), seed=1)
    tested = {item for *_, targets in plain(cut.test) for item in targets}
    validated = {item for *_, targets in plain(cut.validation) for item in targets}
    assert len(tested) == len(validated) == 1
    held = tested | validated
    assert lists(cut.train) == [[item for item in row if item not in held] for row in rows]
    for cases, items in ((cut.test, tested), (cut.validation, validated)):
        expected = [
            (user, [item for item in row[:at] if item not in held], [row[at]])
            for user, row in enumerate(rows)
            for at in range(len(row))
            if row[at] in items
        ]
        assert plain(cases) == expected
    assert (cut.seen[sorted(held)] == 0).all()


def test_ties_keep_the_file_order_or_are_shuffled_by_seed() -> None:
    rows = [list(range(10)), list(range(10))]
    times = [[0.0] * 5 + [1.0] * 5, [float(second) for second in range(10)]]
    kept = split(dataset(rows, times), config("leave_one_out"), seed=0)
    assert lists(kept.train)[0] == list(range(8))
    assert "8 events have the same user and time" in kept.statement
    assert "keep the order of the file" in kept.statement
    seen_orders = set()
    for seed in range(5):
        shuffled = split(dataset(rows, times), config("leave_one_out", shuffle_ties=True), seed=seed)
        whole = [*lists(shuffled.train)[0], *lists(shuffled.validation.targets)[0], *lists(shuffled.test.targets)[0]]
        assert sorted(whole[:5]) == list(range(5))
        assert sorted(whole[5:]) == list(range(5, 10))
        assert lists(shuffled.train)[1] == list(range(8))
        again = split(dataset(rows, times), config("leave_one_out", shuffle_ties=True), seed=seed)
        assert lists(again.train) == lists(shuffled.train)
        assert f"shuffled with seed {seed}" in shuffled.statement
        seen_orders.add(tuple(whole))
    assert len(seen_orders) > 1


@pytest.mark.parametrize(
    ("rows", "times", "values", "message"),
    [
        ([[1], [2, 3]], None, {"protocol": "leave_one_out"}, "empty split: no validation cases from 2 users.*3 or more events"),
        ([[], []], None, {"protocol": "leave_one_out"}, "empty split: the data hold no events"),
        ([[1, 2, 3]], None, {"protocol": "time"}, "needs a time.*split.protocol=leave_one_out"),
        ([[1, 2, 3]], [[NAN, NAN, NAN]], {"protocol": "time"}, "needs a time"),
        ([[1, 2, 3]], [[1, 2, 3]], {"protocol": "time", "validation_from": 5, "test_from": 9}, "empty split: no validation"),
        (
            [[1, 2, 3]],
            [[1, 2, 3]],
            {"protocol": "time", "validation_from": 0, "test_from": 3, "min_history": 0},
            "nothing is left to train",
        ),
        ([[1, 1, 2]], None, {"protocol": "cold_items"}, "2 items have events, too few"),
        ([[1, 2, 3]], None, {"shuffle_ties": True}, "shuffle_ties needs times"),
    ],
)
def test_what_cannot_be_cut_is_one_line(
    rows: list[list[int]], times: list[list[float]] | None, values: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        split(dataset(rows, times), SplitConfig.build(values), seed=0)
    assert "\n" not in str(caught.value)


def test_validation_after_test_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="validation must start earlier"):
        split(dataset([[1, 2, 3]], [[1, 2, 3]]), config("time", validation_from=3, test_from=2), seed=0)


EVENTS = st.lists(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, ITEMS - 1)), max_size=10).map(
        lambda row: sorted(row, key=lambda event: event[0])
    ),
    min_size=2,
    max_size=10,
)


def cut_or_none(events: list[list[tuple[int, int]]], settings_: SplitConfig, seed: int = 0) -> tuple[Dataset, Split] | None:
    data = dataset([[item for _, item in row] for row in events], [[float(time) for time, _ in row] for row in events])
    try:
        return data, split(data, settings_, seed)
    except (DataError, ConfigError):
        return None


@settings(deadline=None, max_examples=30)
@given(events=EVENTS, shuffle=st.booleans())
def test_leave_one_out_has_no_leak(events: list[list[tuple[int, int]]], shuffle: bool) -> None:
    made = cut_or_none(events, config("leave_one_out", shuffle_ties=shuffle))
    if made is None:
        return
    data, cut = made
    validation, test = ({user: rest for user, *rest in plain(cases)} for cases in (cut.validation, cut.test))
    for user, trained in enumerate(lists(cut.train)):
        whole = lists(data.histories)[user]
        if user not in test:
            assert sorted(trained) == sorted(whole)
            continue
        assert validation[user][0] == trained
        assert test[user][0] == trained + validation[user][1]
        assert sorted(trained + validation[user][1] + test[user][1]) == sorted(whole)


@settings(deadline=None, max_examples=30)
@given(events=EVENTS, first=st.integers(2, 15), gap=st.integers(1, 12))
def test_time_has_no_leak(events: list[list[tuple[int, int]]], first: int, gap: int) -> None:
    made = cut_or_none(events, config("time", validation_from=first, test_from=first + gap, shuffle_ties=True))
    if made is None:
        return
    _, cut = made
    assert cut.train.times is not None
    assert (cut.train.times < first).all()
    for cases, start, end in ((cut.validation, first, first + gap), (cut.test, first + gap, 10**9)):
        assert cases.requests.histories.times is not None
        assert (cases.requests.histories.times < start).all()
        for user, history, targets in plain(cases):
            assert sorted(history) == sorted(item for time, item in events[user] if time < start)
            new = {item for time, item in events[user] if start <= time < end} - set(history)
            assert sorted(targets) == sorted(new)


@settings(deadline=None, max_examples=30)
@given(events=EVENTS, seed=st.integers(0, 3))
def test_cold_items_are_nowhere_but_in_the_targets(events: list[list[tuple[int, int]]], seed: int) -> None:
    made = cut_or_none(events, config("cold_items", cold_fraction=0.3), seed)
    if made is None:
        return
    _, cut = made
    validated, tested = (set(cases.targets.items.tolist()) for cases in (cut.validation, cut.test))
    assert not validated & tested
    for histories in (cut.train, cut.validation.requests.histories, cut.test.requests.histories):
        assert not (validated | tested) & set(histories.items.tolist())
    for cases in (cut.validation, cut.test):
        now, times = cases.requests.now, cases.requests.histories
        assert now is not None
        for row in range(len(cases)):
            assert times.times is not None
            assert (times.times[times.offsets[row] : times.offsets[row + 1]] <= now[row]).all()


@settings(deadline=None, max_examples=30)
@given(
    events=EVENTS,
    numbering=st.permutations(range(ITEMS)),
    protocol=st.sampled_from(["leave_one_out", "time", "cold_items", "cold_users"]),
    seed=st.integers(0, 3),
)
def test_relabelling_items_changes_nothing_else(
    events: list[list[tuple[int, int]]], numbering: list[int], protocol: str, seed: int
) -> None:
    settings_ = config(protocol, shuffle_ties=True, validation_fraction=0.2, test_fraction=0.2, cold_fraction=0.3)
    renamed = [[(time, numbering[item]) for time, item in row] for row in events]
    first, second = cut_or_none(events, settings_, seed), cut_or_none(renamed, settings_, seed)
    assert (first is None) == (second is None)
    if first is None or second is None:
        return
    names = np.array(numbering)
    for one, other in zip(
        (first[1].train, *(part for cases in (first[1].validation, first[1].test) for part in (cases.requests.histories, cases.targets))),
        (
            second[1].train,
            *(part for cases in (second[1].validation, second[1].test) for part in (cases.requests.histories, cases.targets)),
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(names[one.items], other.items)
        np.testing.assert_array_equal(one.offsets, other.offsets)
    assert first[1].statement == second[1].statement
    np.testing.assert_array_equal(first[1].seen, second[1].seen[names])


def test_cold_users_by_hand() -> None:
    rows = [[0, 1, 2, 3], [3, 2], [4, 5, 6], [], [7], [8, 9, 10, 11]]
    cut = split(dataset(rows), config("cold_users", cold_fraction=0.4, given=[3, 0, 1, 1]), seed=2)
    validated, tested = ({user for user, *_ in plain(cases)} for cases in (cut.validation, cut.test))
    assert (len(validated), len(tested)) == (1, 1)
    assert not validated & tested
    assert 3 not in validated | tested  # somebody without events is no case
    for cases, users in ((cut.validation, validated), (cut.test, tested)):
        assert plain(cases) == [(user, rows[user][:n], [rows[user][n]]) for user in sorted(users) for n in (0, 1, 3) if n < len(rows[user])]
    held = validated | tested
    assert lists(cut.train) == [[] if user in held else row for user, row in enumerate(rows)]
    assert cut.seen.tolist() == np.bincount([i for user, row in enumerate(rows) if user not in held for i in row], minlength=ITEMS).tolist()
    assert "no event of 2 of 5 users is trained on" in cut.statement
    assert "first 0, 1, 3 events" in cut.statement
    assert "are left out" not in cut.statement  # min_history has no say
    assert held_out_users(cut, config("cold_users")).tolist() == sorted(held)
    assert held_out_users(cut, config("leave_one_out")).tolist() == []


def test_cold_users_are_asked_at_the_time_of_their_target() -> None:
    rows, times = [[0, 1, 2], [3, 4, 5], [6, 7, 8]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    cut = split(dataset(rows, times), config("cold_users", cold_fraction=0.5, given=[0, 2]), seed=0)
    ((user, _, _), *_) = plain(cut.test)
    assert cut.test.requests.now is not None
    assert cut.test.requests.now.tolist() == [times[user][0], times[user][2]]


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        ([[1, 2], [3, 4]], {}, "2 users have more than 0 events, too few to hold 2 of them out"),
        ([[1], [2], [3]], {"given": [1, 4]}, "0 users have more than 1 events"),
    ],
)
def test_too_few_cold_users(rows: list[list[int]], values: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(dataset(rows), config("cold_users", **values), seed=0)


def test_given_is_checked() -> None:
    for wrong in ([], [-1], ["x"]):
        with pytest.raises(ConfigError, match=r"given"):
            config("cold_users", given=wrong)


@settings(deadline=None, max_examples=30)
@given(events=EVENTS, seed=st.integers(0, 3))
def test_cold_users_teach_nothing(events: list[list[tuple[int, int]]], seed: int) -> None:
    made = cut_or_none(events, config("cold_users", cold_fraction=0.4, given=[0, 1, 4]), seed)
    if made is None:
        return
    data, cut = made
    held = held_out_users(cut, config("cold_users"))
    assert (cut.train.lengths[held] == 0).all()
    others = np.setdiff1d(np.arange(len(cut.train)), held)
    assert lists(cut.train.rows(others)) == lists(data.histories.rows(others))
    assert cut.seen.sum() == len(cut.train.items)
