"""Rows that are judged: their parts agree with the split of the events, and nothing of what is held out is trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError
from m6rec.data.config import SplitConfig
from m6rec.data.dataset import Dataset, Exposures, Table, Vocabulary
from m6rec.data.exposure_rows import cuts_before
from m6rec.data.row_splits import hold_back, readable, row_times, split_items, split_rows, split_texts
from m6rec.data.splits import split

NAN = float("nan")


def dataset(users: int = 6, events: int = 10, times: bool = True, row_times: bool = True, seed: int = 0) -> Dataset:
    """Every user has `events` events of different items at times 10 * step + user, and a row 5 before each of them, of the same item."""
    generator = np.random.default_rng(seed)
    items = np.concatenate([generator.permutation(20)[:events] for _ in range(users)]).astype(np.int32)
    user_of = np.repeat(np.arange(users), events)
    at = (np.tile(np.arange(events), users) * 10 + user_of + 100).astype(np.float64)
    offsets = np.arange(users + 1, dtype=np.int64) * events
    histories = Histories(offsets=offsets, items=items, times=at if times else None)
    shown = at - 5
    order = np.argsort(shown, kind="stable")
    cuts = cuts_before(offsets, at, user_of, shown)
    rows = Exposures(users=user_of[order].astype(np.int32), items=items[order], cuts=cuts[order], times=shown[order] if row_times else None)
    names = [f"i{item}" for item in range(20)]
    return Dataset(
        Table(Vocabulary(names), pl.DataFrame({"item_id": names}), {}),
        Table(Vocabulary([f"u{user}" for user in range(users)]), pl.DataFrame({"user_id": [f"u{user}" for user in range(users)]}), {}),
        histories,
        exposures=rows,
    )


def rows_of(data: Dataset) -> Exposures:
    assert data.exposures is not None
    return data.exposures


def test_time_uses_the_moments_of_the_events() -> None:
    data = dataset()
    config = SplitConfig.build({"protocol": "time", "validation_from": 160.0, "test_from": 180.0})
    parts = split_rows(data, config, 0)
    times = rows_of(data).times
    assert times is not None
    np.testing.assert_array_equal(parts, (times >= 160).astype(int) + (times >= 180))
    config = SplitConfig.build({"protocol": "time", "validation_fraction": 0.2, "test_fraction": 0.3})
    # 60 events at 100..195, the newest 30 % (18 events: steps 7, 8, 9) are the test, the 12 before them the validation
    parts = split_rows(data, config, 0)
    np.testing.assert_array_equal(parts, (times >= 150).astype(int) + (times >= 170))
    cut = split(data, config, 0)
    assert hold_back(cut, data, parts) is cut or cut.train.times is None or float(np.max(cut.train.times)) < 150


def test_leave_one_out_takes_the_newest_rows_and_trains_on_no_later_event() -> None:
    data = dataset()
    config = SplitConfig.build({"validation_fraction": 0.1, "test_fraction": 0.2})
    parts = split_rows(data, config, 0)
    assert np.bincount(parts).tolist() == [42, 6, 12]
    assert (np.diff(parts) >= 0).all()  # rows are in order of time
    cut = split(data, config, 0)
    held = hold_back(cut, data, parts)
    rows = rows_of(data)
    assert rows.times is not None
    assert held.train.times is not None
    start = rows.times[parts == 1].min()
    assert held.train.times.max() < start
    assert len(held.train.items) == int((data.histories.times < start).sum())  # type: ignore[operator]
    np.testing.assert_array_equal(held.seen, np.bincount(held.train.items, minlength=20))
    assert held.test is cut.test
    assert held.statement.startswith(cut.statement.removesuffix(".") + "; events from 1970-01-01T00:02:")
    assert held.statement.endswith("events).")


def test_an_own_split_column_wins_and_outcomes_of_held_out_rows_are_not_trained_on() -> None:
    data = dataset()
    rows = rows_of(data)
    own = np.zeros(len(rows), dtype=np.int8)
    own[[3, 20]], own[[7]] = 1, 2
    data = replace(data, exposures=replace(rows, parts=own))
    for protocol in ("leave_one_out", "time", "cold_items", "cold_users"):
        np.testing.assert_array_equal(split_rows(data, SplitConfig.build({"protocol": protocol}), 0), own)
    cut = split(data, SplitConfig.build({}), 0)
    held = hold_back(cut, data, own)
    gone = {(int(rows.users[row]), int(rows.items[row])) for row in (3, 7, 20)}
    for user in range(6):
        before, after = (set(histories.row(user).tolist()) for histories in (cut.train, held.train))
        assert before - after == {item for who, item in gone if who == user} & before
    assert len(cut.train.items) - len(held.train.items) == 3
    assert "events that held-out exposures may have become are not trained on (3 events)." in held.statement


def test_only_an_order_means_the_last_two_rows_of_a_user() -> None:
    data = dataset(times=False, row_times=False)
    parts = split_rows(data, SplitConfig.build({}), 0)
    rows = rows_of(data)
    for user in range(6):
        mine = np.flatnonzero(rows.users == user)
        by_order = mine[np.argsort(rows.cuts[mine])]
        assert parts[by_order].tolist() == [0] * 8 + [1, 2]
    with pytest.raises(DataError, match="time split needs a time"):
        split_rows(data, SplitConfig.build({"protocol": "time"}), 0)
    cut = split(data, SplitConfig.build({}), 0)
    assert hold_back(cut, data, parts) is cut  # leave-one-out has left the last two events out already


def test_rows_of_unknown_time_are_placed_by_the_next_dated_event() -> None:
    data = dataset()
    rows = rows_of(data)
    assert rows.times is not None
    unknown = rows.times.copy()
    unknown[[0, 59]] = NAN  # the first row, and one with only the user's last event after it
    cuts = rows.cuts.copy()
    cuts[59] = data.histories.offsets[rows.users[59] + 1]
    changed = replace(data, exposures=replace(rows, times=unknown, cuts=cuts))
    times = row_times(changed)
    assert times[0] == 100  # user 0's first event
    assert times[59] == np.inf
    assert split_rows(changed, SplitConfig.build({"protocol": "time", "test_fraction": 0.3}), 0)[59] == -1
    assert split_rows(changed, SplitConfig.build({}), 0)[59] == -1


@pytest.mark.parametrize("protocol", ["cold_items", "cold_users"])
def test_cold_rows_are_those_of_what_the_events_hold_out(protocol: str) -> None:
    data = dataset(users=30)
    config = SplitConfig.build({"protocol": protocol, "cold_fraction": 0.3, "given": [0, 3]})
    cut = split(data, config, 4)
    parts = split_rows(data, config, 4)
    rows = rows_of(data)
    key = rows.items if protocol == "cold_items" else rows.users
    for part, cases in ((1, cut.validation), (2, cut.test)):
        asked = set((cases.targets.items if protocol == "cold_items" else cases.requests.users).tolist())  # type: ignore[union-attr]
        assert asked == set(key[parts == part].tolist())
    assert hold_back(cut, data, parts) is cut
    histories, cuts = readable(data, config, 4)
    if protocol == "cold_items":
        held = set(rows.items[parts > 0].tolist())
        assert not held & set(histories.items.tolist())
        for row in range(0, len(rows), 17):
            mine = data.histories.items[data.histories.offsets[rows.users[row]] : rows.cuts[row]]
            seen = histories.items[histories.offsets[rows.users[row]] : cuts[row]]
            assert seen.tolist() == [item for item in mine.tolist() if item not in held]
        assert set(np.flatnonzero(split_items(data, config, 4)).tolist()) == held
    else:
        assert histories is data.histories


def test_an_empty_part_is_an_error() -> None:
    data = dataset()
    config = SplitConfig.build({"protocol": "time", "validation_from": 180.0, "test_from": 500.0})
    with pytest.raises(DataError, match=r"the exposures have no test rows \(.*by validation from 1970-01-01T00:03:00Z"):
        split_rows(data, config, 0)
    with pytest.raises(DataError, match="there are no exposures to judge"):
        split_rows(replace(data, exposures=None), config, 0)
    data = replace(data, exposures=replace(rows_of(data), parts=np.zeros(60, dtype=np.int8)))
    with pytest.raises(DataError, match=r"no validation rows .*by their own split column"):
        split_rows(data, config, 0)


def test_texts_are_cut_by_their_hash_and_repeats_are_left_out() -> None:
    texts = pl.DataFrame({"text": [f"text number {number}" for number in range(3000)]})
    parts = split_texts(texts)
    assert np.abs(np.bincount(parts) / 3000 - [0.8, 0.1, 0.1]).max() < 0.02
    np.testing.assert_array_equal(split_texts(texts[::-1])[::-1], parts)  # the order of the file is nothing
    twice = pl.concat([texts[:50], texts[:50].with_columns(pl.col("text").str.to_uppercase() + "  ")])
    assert split_texts(twice).tolist() == [*parts[:50].tolist(), *[-1] * 50]
    labelled = twice.with_columns(pl.Series("mood", [None] * 50 + [1.0] * 50))
    assert split_texts(labelled, "mood").tolist() == parts[:50].tolist() * 2  # one has the label, the other has not
    own = texts[:4].with_columns(pl.Series("split", [2, None, 0, None], dtype=pl.Int8))
    assert split_texts(own).tolist() == [2, parts[1], 0, parts[3]]


def test_items_are_cut_by_their_id() -> None:
    data = dataset()
    parts = split_items(data, SplitConfig.build({}), 0)
    assert len(parts) == 20
    names = list(reversed(data.items.ids.ids))
    turned = replace(data, items=Table(Vocabulary(names), pl.DataFrame({"item_id": names}), {}))
    np.testing.assert_array_equal(split_items(turned, SplitConfig.build({}), 0), parts[::-1])
