"""Exposures: placed among the events of their user, strictly after what they may see, with labels, context and lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m6rec.base.errors import ConfigError, DataError
from m6rec.data.account import Account
from m6rec.data.config import DataConfig, FieldsConfig, ScenariosConfig
from m6rec.data.dataset import Dataset, Exposures, FieldType
from m6rec.data.exposure_rows import cuts_before
from m6rec.data.prepare import prepare

NAN = float("nan")
EVENTS = "user_id,item_id,time,scenario\nu1,a,10,shop\nu1,b,20,feed\nu2,c,30,shop\nu1,c,20,shop\n"
EXPOSURES = (
    "user_id,item_id,time,scenario,position,propensity,list_id,clicked,bought,stars,topic,device,hour\n"
    "u2,a,31,video,2,0.5,l1,1,1,4,red|blue,phone,9\n"
    "u1,b,20,shop,1,0.25,l1,0,,,blue,web,8\n"
    "u3,d,5,shop,,,,1,0,5,,phone,\n"
    "u1,a,25,feed,2,1,l1,1,0,2,red,,7\n"
)


def read(
    folder: Path, exposures: str | None = EXPOSURES, *, events: str = EVENTS, labels: tuple = ("clicked",), **settings
) -> tuple[Dataset, Account]:
    (folder / "events.csv").write_text(events)
    data = {"events": "events.csv", **settings.pop("data", {})}
    if exposures is not None:
        (folder / "shown.csv").write_text(exposures)
        data["exposures"] = "shown.csv"
    fields, scenarios = FieldsConfig.build(settings.pop("fields", {})), ScenariosConfig.build(settings.pop("scenarios", {}))
    wanted = {"candidate": labels, **settings.pop("others", {})}
    assert not settings
    return prepare(DataConfig.build(data), fields, scenarios, folder, now=1e9, labels=wanted)


def shown(dataset: Dataset) -> Exposures:
    assert dataset.exposures is not None
    return dataset.exposures


def seen(dataset: Dataset, row: int) -> list[str]:
    """The items of the history that an exposure may see."""
    rows, histories = shown(dataset), dataset.histories
    return [dataset.items.ids.ids[item] for item in histories.items[histories.offsets[rows.users[row]] : rows.cuts[row]]]


def test_rows_are_in_order_of_time_and_see_what_is_strictly_before(tmp_path: Path) -> None:
    dataset, account = read(
        tmp_path,
        labels=("clicked", "bought", "stars", "topic"),
        fields={"context": {"device": "category", "hour": "number"}},
    )
    rows = shown(dataset)
    assert dataset.items.ids.ids == ["a", "b", "c", "d"]
    assert dataset.users.ids.ids == ["u1", "u2", "u3"]
    assert rows.times is not None
    assert rows.times.tolist() == [5, 20, 25, 31]
    assert [dataset.users.ids.ids[user] for user in rows.users] == ["u3", "u1", "u1", "u2"]
    assert [dataset.items.ids.ids[item] for item in rows.items] == ["d", "b", "a", "a"]
    assert [seen(dataset, row) for row in range(4)] == [[], ["a"], ["a", "b", "c"], ["c"]]  # b and c at 20 are not before 20
    assert dataset.scenario_names == ["shop", "feed", "video"]
    assert rows.scenarios is not None
    assert rows.scenarios.tolist() == [0, 0, 1, 2]
    np.testing.assert_array_equal(rows.positions, np.array([NAN, 1, 2, 2], dtype=np.float32))
    np.testing.assert_array_equal(rows.propensities, np.array([NAN, 0.25, 1, 0.5], dtype=np.float32))
    assert rows.lists is not None
    assert rows.lists[0] == -1
    assert rows.lists[1] == rows.lists[2] != rows.lists[3]  # l1 of another user is another list
    assert rows.parts is None
    assert rows.labels.columns == ["clicked", "bought", "stars", "topic"]
    assert rows.labels["clicked"].to_list() == [1, 0, 1, 1]
    assert rows.labels["bought"].to_list() == [0, None, 0, 1]
    assert rows.labels["topic"].to_list() == [None, "blue", "red", "red|blue"]
    assert rows.context["device"].to_list() == ["phone", "web", None, "phone"]
    assert rows.context["hour"].to_list() == [None, 8, 7, 9]
    assert rows.context_fields == {"device": FieldType.CATEGORY, "hour": FieldType.NUMBER}
    assert (rows.users.dtype, rows.items.dtype, rows.cuts.dtype, rows.lists.dtype) == (np.int32, np.int32, np.int64, np.int64)
    assert account.count("exposures") == 4
    assert account.count("labels of bought") == 3
    some = rows.rows(np.array([3, 1]))
    assert some.labels["topic"].to_list() == ["red|blue", "blue"]
    assert some.cuts.tolist() == [rows.cuts[3], rows.cuts[1]]


def test_positive_outcomes_become_events_that_their_own_row_does_not_see(tmp_path: Path) -> None:
    dataset, account = read(tmp_path, data={"history_labels": ["clicked", "bought"]}, labels=())
    histories = dataset.histories
    assert dataset.action_names == ["event", "clicked", "bought"]
    assert histories.actions is not None
    assert histories.times is not None
    told = [
        (
            dataset.users.ids.ids[user],
            dataset.items.ids.ids[histories.items[at]],
            histories.times[at],
            dataset.action_names[histories.actions[at]],
        )
        for user in range(3)
        for at in range(histories.offsets[user], histories.offsets[user + 1])
    ]
    assert told == [
        *(("u1", "a", 10, "event"), ("u1", "b", 20, "event"), ("u1", "c", 20, "event"), ("u1", "a", 25, "clicked")),
        *(("u2", "c", 30, "event"), ("u2", "a", 31, "clicked"), ("u2", "a", 31, "bought")),
        ("u3", "d", 5, "clicked"),
    ]
    assert histories.scenarios is not None
    assert dataset.scenario_names[histories.scenarios[3]] == "feed"
    assert [seen(dataset, row) for row in range(4)] == [[], ["a"], ["a", "b", "c"], ["c"]]
    assert account.count("events of outcomes") == 4
    assert shown(dataset).labels.columns == ["clicked", "bought"]


def test_events_keep_their_own_actions_beside_those_of_outcomes(tmp_path: Path) -> None:
    events = "user_id,item_id,time,action\nu1,a,10,view\nu1,b,20,\n"
    dataset, _ = read(tmp_path, "user_id,item_id,time,clicked\nu1,a,15,1\nu1,b,16,0\n", events=events, data={"history_labels": ["clicked"]})
    assert dataset.action_names == ["view", "unknown", "clicked"]
    assert dataset.histories.actions is not None
    assert dataset.histories.actions.tolist() == [0, 2, 1]


def test_events_with_labels_are_exposures_too(tmp_path: Path) -> None:
    events = "user,item_id,at,rating,action,day\nu1,a,10,5,view,mo\nu1,b,20,,buy,tu\nu2,c,20,3,view,\nu1,c,20,4,cart,we\n"
    columns = {"user_id": "user", "time": "at", "value": "rating"}
    for name in ("value", "rating"):
        dataset, _ = read(tmp_path, None, events=events, labels=(name,), data={"columns": columns}, fields={"context": {"day": "category"}})
        rows = shown(dataset)
        assert rows.labels[name].to_list() == [5, 3, 4]
        assert rows.context["day"].to_list() == ["mo", None, "we"]
        assert [seen(dataset, row) for row in range(3)] == [[], [], ["a"]]  # b at 20 is not before c at 20
        assert dataset.histories.values is not None
        np.testing.assert_array_equal(dataset.histories.values, np.array([5, NAN, 4, 3], dtype=np.float32))
    dataset, _ = read(tmp_path, None, events=events, labels=("action",), data={"columns": columns})
    assert shown(dataset).labels["action"].to_list() == ["view", "buy", "view", "cart"]
    assert dataset.action_names == ["view", "buy", "cart"]


def test_an_order_places_exposures_where_both_have_it(tmp_path: Path) -> None:
    events = "user_id,item_id,order,time\nu1,a,1,\nu1,b,2,50\nu1,c,3,\nu1,d,4,60\nu1,a,5,\n"
    by_order, _ = read(tmp_path, "user_id,item_id,order,clicked\nu1,d,4,1\nu1,a,3,0\nu1,a,9,0\n", events=events)
    assert shown(by_order).times is None
    assert [seen(by_order, row) for row in range(3)] == [list("abc"), list("ab"), list("abcda")]
    # By time: a is before b, so before 55; c and the last a may be after it.
    by_time, _ = read(tmp_path, "user_id,item_id,time,clicked\nu1,d,55,1\nu1,a,50,0\nu1,a,99,0\n", events=events)
    assert shown(by_time).times is not None
    assert [seen(by_time, row) for row in range(3)] == [[], list("ab"), list("abcd")]
    events = "user_id,item_id,order,rating\nu1,a,2,5\nu1,b,1,4\nu1,c,3,1\n"
    own, _ = read(tmp_path, None, events=events, labels=("rating",))
    assert [seen(own, row) for row in range(3)] == [["b"], [], ["b", "a"]]


def test_files_may_differ_in_labels_and_scenarios_come_from_their_names(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("user_id,item_id,time,bought\nu1,a,40,1\n")
    (tmp_path / "video.csv").write_text("user_id,item_id,time,liked,split\nu1,b,41,yes,test\n")
    with pytest.raises(DataError, match=r"none of shop.csv, video.csv has a column 'shared' that is a label of a task"):
        read(tmp_path, None, labels=("bought", "shared"), data={"exposures": ["shop.csv", "video.csv"]})
    (tmp_path / "video.csv").write_text("user_id,item_id,time,liked\nu1,b,41,yes\nu1,b,42,\n")
    dataset, _ = read(tmp_path, None, labels=("bought", "liked"), data={"exposures": ["shop.csv", "video.csv"]})
    rows = shown(dataset)
    assert rows.labels.rows() == [(1.0, None), (None, "yes"), (None, None)]
    assert rows.scenarios is not None
    assert [dataset.scenario_names[code] for code in rows.scenarios] == ["shop", "video", "video"]
    assert dataset.scenario_names == ["shop", "feed", "video"]


def test_parts_and_mapped_columns(tmp_path: Path) -> None:
    dataset, _ = read(
        tmp_path,
        "who,item_id,ms,place,y,part\nu1,a,400000000000,3,1,Train\nu1,b,410000000000,1,0,valid\nu2,b,420000000000,1,0,test\n",
        labels=("y",),
        events="who,item_id,time\nu1,a,10\n",
        data={"columns": {"user_id": "who", "exposures.time": "ms", "position": "place", "split": "part"}, "time_unit": "auto"},
    )
    rows = shown(dataset)
    assert rows.parts is not None
    assert rows.parts.tolist() == [0, 1, 2]
    assert rows.positions is not None
    assert rows.positions.tolist() == [3, 1, 1]


def test_cleaning_rules_hold_for_exposures(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\na\nb\nc\n")
    bad = "user_id,item_id,time,clicked\nu1,a,40,1\n,a,41,1\nu1,a,40,1\nu1,x,42,0\nu1,b,,0\nu1,b,43,0\n"
    dataset, account = read(
        tmp_path, bad, data={"items": "items.csv", "unlisted_items": "drop", "duplicates": "drop"}, fields={"items": {}}
    )
    assert shown(dataset).labels["clicked"].to_list() == [1, 0]
    assert account.count("exposures dropped") == 4
    with pytest.raises(DataError, match=r"shown\.csv: row 2 has no user_id"):
        read(tmp_path, bad, data={"missing": "error"})
    with pytest.raises(DataError, match=r"item 'x' of the exposures is not in items\.csv"):
        read(tmp_path, bad, data={"items": "items.csv", "unlisted_items": "error"}, fields={"items": {}})
    with pytest.raises(DataError, match="in the future"):
        read(tmp_path, "user_id,item_id,time,clicked\nu1,a,2000000000,1\n")


@pytest.mark.parametrize(
    ("exposures", "settings", "words"),
    [
        (EXPOSURES, {"labels": ("clickd",)}, "shown.csv has no column 'clickd' that is a label of a task; did you mean 'clicked'"),
        (
            EXPOSURES,
            {"fields": {"context": {"devise": "category"}}},
            "no column 'devise' declared in fields.context; did you mean 'device'",
        ),
        (EXPOSURES, {"fields": {"context": {"clicked": "number"}}}, "'clicked' is a label and declared under fields.context"),
        (
            "user_id,item_id,time,clicked,place\nu1,a,1,1,1\n",
            {"data": {"columns": {"position": "plaice"}}},
            "no column 'plaice' for position; did you mean 'place'",
        ),
        (EXPOSURES, {"scenarios": {"column": "tab"}}, "neither events nor exposures have a column 'tab'"),
        ("user_id,item_id,clicked\nu1,a,1\n", {}, "shown.csv has no time column, so what came before an exposure is unknown"),
        ("user_id,item_id,time,clicked,propensity\nu1,a,1,1,0\n", {}, "row 1: propensity is '0'; a propensity is a probability above 0"),
        (
            "user_id,item_id,time,clicked,split\nu1,a,1,1,dev\nu1,a,2,1,later\n",
            {},
            "row 2: split is 'later'; allowed are train, validation and test",
        ),
        (
            None,
            {"labels": ("clicked",)},
            "events.csv has no column 'clicked' that is a label of a task; if outcomes are .* say data.exposures: <file>",
        ),
        (EXPOSURES, {"data": {"history_labels": ["stars"]}}, "data.history_labels, column 'stars': row .* is neither yes"),
        (EXPOSURES, {"others": {"item": ("category",)}}, "field 'category' is a label of items, and there is no items table"),
        (EXPOSURES, {"others": {"text": ("mood",)}}, "'mood' is a label of texts, and there are no texts"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, exposures: str | None, settings: dict, words: str) -> None:
    if "scenarios" in settings:
        settings = {**settings, "events": EVENTS.replace("scenario", "where")}
        exposures = EXPOSURES.replace("scenario", "where")
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path, exposures, **settings)
    assert "\n" not in str(caught.value)


def test_orders_and_times_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    events = "user_id,item_id,order\nu1,a,1\nu1,b,2\n"
    with pytest.raises(DataError, match="the events have only an order and the exposures only times"):
        read(tmp_path, "user_id,item_id,time,clicked\nu1,a,1,1\n", events=events)
    events = "user_id,item_id,order,time\nu1,a,1,5\nu1,b,2,6\n"
    with pytest.raises(DataError, match=r"data\.history_labels: the events are ordered by order, which some exposures don't have"):
        read(tmp_path, "user_id,item_id,time,clicked\nu1,a,1,1\nu1,a,2,0\n", events=events, data={"history_labels": ["clicked"]})
    with pytest.raises(ConfigError, match="history_labels is for exposures in files of their own"):
        read(tmp_path, None, data={"history_labels": ["clicked"]})


def test_labels_of_texts_and_items(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(
        '{"text": "good", "mood": 1, "what": [{"start": 0, "end": 4, "label": "praise"}], "tags": ["a", "b"], "split": "train"}\n'
        '{"text": "bad", "mood": 0, "what": [], "tags": null, "split": "test"}\n'
        '{"text": "hm", "mood": null, "what": null, "tags": [], "split": "valid"}\n'
    )
    dataset, _ = read(tmp_path, None, labels=(), data={"texts": "texts.jsonl"}, others={"text": ("mood", "what", "tags")})
    assert dataset.texts is not None
    assert dataset.texts["mood"].to_list() == [1, 0, None]
    assert dataset.texts["tags"].to_list() == [["a", "b"], None, []]
    assert dataset.texts["split"].to_list() == [0, 2, 1]
    from m6rec.data.labels import read_labels

    np.testing.assert_array_equal(read_labels(dataset.texts["what"], what="w").values, [1, 0, NAN])
    with pytest.raises(DataError, match=r"texts.jsonl has no column 'moo' that is a label of a task on texts; did you mean 'mood'"):
        read(tmp_path, None, labels=(), data={"texts": "texts.jsonl"}, others={"text": ("moo",)})
    (tmp_path / "items.csv").write_text("item_id,category,title\na,x,one\nb,y,two\nc,x,three\n")
    with pytest.raises(DataError, match=r"items have no field 'categry' that is a label of a task; did you mean 'category'"):
        read(
            tmp_path,
            None,
            labels=(),
            data={"items": "items.csv"},
            others={"item": ("categry",)},
            fields={"items": {"category": "category"}},
        )


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), max_size=25),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 7)), max_size=9),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
def test_cuts_count_what_is_strictly_before(events: list, rows: list) -> None:
    events = sorted(events)
    users, times = (np.array([event[part] for event in events], dtype=np.int64) for part in (0, 1))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=3))])
    cuts = cuts_before(
        offsets, times, np.array([row[0] for row in rows], dtype=np.int64), np.array([row[1] for row in rows], dtype=np.int64)
    )
    for (user, time), cut in zip(rows, cuts, strict=True):
        assert offsets[user] <= cut <= offsets[user + 1]
        assert cut - offsets[user] == sum(other == user and when < time for other, when in events)


def test_a_dataset_without_exposures_is_what_it_was(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, None, labels=())
    assert dataset.exposures is None
    assert isinstance(dataset.items.frame, pl.DataFrame)
