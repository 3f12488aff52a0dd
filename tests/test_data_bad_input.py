"""Every bad input is one line that says what, where, and what to do; nothing is half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.config import DataConfig, FieldsConfig, ScenariosConfig
from m6rec.data.dataset import Dataset
from m6rec.data.prepare import prepare

NOW = 1_750_000_000.0
EVENTS = "user_id,item_id,time\nu1,a,10\nu1,b,20\nu2,a,30\n"


def run(folder: Path, files: dict[str, str | bytes], fields: dict | None = None, **data: object) -> tuple[Dataset, Account]:
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    config = DataConfig.build({"events": "events.csv", **data})
    return prepare(config, FieldsConfig.build(fields or {}), ScenariosConfig(), folder, now=NOW)


BAD = {
    "missing file": ({"event.csv": EVENTS}, {}, ["no file", "events.csv", "did you mean 'event.csv'?"]),
    "missing column": ({"events.csv": "user,item_id,time\nu,a,1\n"}, {}, ["no column 'user_id'", "did you mean 'user'?"]),
    "mapped column": (
        {"events.csv": "user_id,item_id,timestamp\nu,a,1\n"},
        {"columns": {"time": "timestmp"}},
        ["no column 'timestmp' for time", "did you mean 'timestamp'?"],
    ),
    "mapped required column": (
        {"events.csv": "uid,item_id,time\nu,a,1\n"},
        {"columns": {"user_id": "uuid"}},
        ["no column 'uuid' for user_id", "did you mean 'uid'?"],
    ),
    "folder": ({}, {"events": "."}, ["is a folder"]),
    "unknown type": ({"events.xlsx": b"PK"}, {"events": "events.xlsx"}, ["unknown file type '.xlsx'", ".parquet"]),
    "wrong type of time": (
        {"events.csv": "user_id,item_id,time\nu,a,1\nu,b,soon\nu,c,later\n"},
        {},
        ["events.csv: row 2", "time is 'soon'", "not a number", "1 more"],
    ),
    "no ISO time": (
        {"events.csv": "user_id,item_id,time\nu,a,2024-01-01\nu,b,2024-13-01\n"},
        {},
        ["row 2", "'2024-13-01'", "not a time", "ISO 8601"],
    ),
    "wrong type of value": (
        {"events.csv": "user_id,item_id,time,value\nu,a,1,5\nu,b,2,five\n"},
        {},
        ["row 2", "value is 'five'", "not a number"],
    ),
    "infinite value": ({"events.csv": "user_id,item_id,time,value\nu,a,1,inf\n"}, {}, ["row 1", "'inf'", "finite"]),
    "nested id": ({"events.jsonl": '{"user_id": [1], "item_id": 2, "time": 3}\n'}, {"events": "events.jsonl"}, ["user_id", "not ids"]),
    "neither time nor order": (
        {"events.csv": "user_id,item_id,event_ts\nu,a,1\n"},
        {},
        ["neither a time nor an order column", "data.columns: {time: event_ts}"],
    ),
    "future": (
        {"events.csv": f"user_id,item_id,time\nu,a,{int(NOW)}\nu,b,{int(NOW) + 86_400 * 3}\n"},
        {},
        ["row 2", "in the future", "2025-06-18", "data.time_unit", "data.future_times: drop"],
    ),
    "wrong unit": (
        {"events.csv": "user_id,item_id,time\nu,a,1700000000000\n"},
        {"time_unit": "s"},
        ["row 1", "about the year 55", "data.time_unit"],
    ),
    "NaN refused": (
        {"events.csv": "user_id,item_id,time\nu,a,1\nu,NaN,2\n"},
        {"missing": "error"},
        ["row 2 has no item_id", "data.missing: drop"],
    ),
    "nothing left": ({"events.csv": "user_id,item_id,time\n,a,1\n"}, {}, ["no events are left"]),
    "one item": ({"events.csv": "user_id,item_id,time\nu,a,1\nv,a,1\n"}, {}, ["catalogue has one item ('a')", "nothing to choose from"]),
    "one item id, two texts": (
        {"events.csv": EVENTS, "items.csv": "item_id,title\na,Ay\nb,Bee\na,Eh\n"},
        {"items": "items.csv"},
        ["item_id 'a' stands for different rows", "title is 'Ay' and 'Eh'"],
    ),
    "item not listed": (
        {"events.csv": EVENTS, "items.csv": "item_id,title\na,Ay\n"},
        {"items": "items.csv", "unlisted_items": "error"},
        ["item 'b'", "not in items.csv", "unlisted_items: keep"],
    ),
    "items without id": (
        {"events.csv": EVENTS, "items.csv": "item,title\na,Ay\n"},
        {"items": "items.csv"},
        ["items.csv has no column 'item_id'", "did you mean 'item'?"],
    ),
    "not UTF-8": (
        {"events.csv": EVENTS, "items.csv": "item_id,title\na,Ay\nb,café\n".encode("latin-1")},
        {"items": "items.csv"},
        ["items.csv is not UTF-8", "byte 0xe9 at offset 24 (line 3)", "latin-1"],
    ),
    "UTF-16": ({"events.csv": EVENTS.encode("utf-16")}, {}, ["looks like UTF-16", "save it as UTF-8"]),
    "not GB 18030": ({"events.csv": b"user_id,item_id,time\nu,\xff,1\n"}, {"encoding": "gb18030"}, ["not GB18030", "line 2"]),
    "too many cells": ({"events.csv": "user_id,item_id,time\nu,a,1\nu,b,2,3\n"}, {}, ["line 3 has 4 cells", "the header has 3"]),
    "too few cells": ({"events.csv": "user_id,item_id,time\nu,a,1\nu,b\nu,c,2\n"}, {}, ["line 3 has 2 cells"]),
    "open quote": ({"events.csv": 'user_id,item_id,time\nu,"a,1\nu,b,2\n'}, {}, ["line 3 has 2 cells"]),
    "column twice": ({"events.csv": "user_id,item_id,time,time\nu,a,1,2\n"}, {}, ["'time' twice"]),
    "empty file": ({"events.csv": ""}, {}, ["events.csv is empty"]),
    "blank file": ({"events.jsonl": "\n\n"}, {"events": "events.jsonl"}, ["events.jsonl is empty"]),
    "header alone": ({"events.csv": "user_id,item_id,time\n"}, {}, ["no rows"]),
    "broken JSON": (
        {"events.jsonl": '{"user_id": 1, "item_id": 2, "time": 3}\n{"user_id": \n'},
        {"events": "events.jsonl"},
        ["line 2 is not JSON"],
    ),
    "JSON of no objects": ({"events.jsonl": "[1, 2]\n"}, {"events": "events.jsonl"}, ["entry 1 is int", "not an object"]),
    "no Parquet": ({"events.parquet": b"PAR1 nonsense"}, {"events": "events.parquet"}, ["not a readable Parquet file"]),
    "half a gzip": ({"events.csv.gz": b"\x1f\x8b\x08\x00half"}, {"events": "events.csv.gz"}, ["not a whole gzip file"]),
    "fields without a table": ({"events.csv": EVENTS}, {"fields": {"items": {"title": "text"}}}, ["no items table", "data.items"]),
    "declared field": (
        {"events.csv": EVENTS, "items.csv": "item_id,titel\na,Ay\n"},
        {"items": "items.csv", "fields": {"items": {"title": "text"}}},
        ["no column 'title'", "did you mean 'titel'?"],
    ),
    "number field": (
        {"events.csv": EVENTS, "items.csv": "item_id,price\na,1\nb,$5\n"},
        {"items": "items.csv", "fields": {"items": {"price": "number"}}},
        ["row 2", "price is '$5'"],
    ),
    "vector lengths": (
        {"events.csv": EVENTS, "items.csv": "item_id,v\na,1 2\nb,1 2 3\n"},
        {"items": "items.csv", "fields": {"items": {"v": "vector"}}},
        ["row 2", "not 2 numbers"],
    ),
    "vector of words": (
        {"events.csv": EVENTS, "items.csv": "item_id,v\na,1 2\nb,1 x\n"},
        {"items": "items.csv", "fields": {"items": {"v": "vector"}}},
        ["row 2", "finite numbers"],
    ),
    "too many actions": (
        {"events.csv": "user_id,item_id,time,action\n" + "".join(f"u,{i},{i},a{i}\n" for i in range(1_001))},
        {},
        ["column 'action' has 1,001 different values"],
    ),
    "texts without text": ({"events.csv": EVENTS, "t.csv": "user_id,body\nu,x\n"}, {"texts": "t.csv"}, ["t.csv has no column 'text'"]),
    "control character in an id": (
        {"events.csv": 'user_id,item_id,time\nu,a,1\nu,"b\nc",2\nv,a,3\nw,"d\ne",4\n'},
        {},
        ["events.csv: row 2: item_id is 'b\\nc' (and 1 more)", "text without control characters", "take them out"],
    ),
    "control character in a user": (
        {"events.csv": EVENTS, "users.csv": "user_id,age\nu1,3\nu\x9b,4\n"},
        {"users": "users.csv"},
        ["users.csv: row 2: user_id is 'u\\x9b'"],
    ),
    "control character in a scenario": (
        {"events.csv": "user_id,item_id,time,scenario\nu,a,1,shop\nu,b,2,sh\x00op\n"},
        {},
        ["row 2: scenario is 'sh\\x00op'"],
    ),
    "control character in a dialogue": (
        {"events.csv": EVENTS, "d.jsonl": '{"dialogue_id": "a\\u001b", "messages": [{"role": "user", "text": "hi"}]}\n'},
        {"dialogues": "d.jsonl"},
        ["line 1: dialogue_id is 'a\\x1b'"],
    ),
    "relations": ({"events.csv": EVENTS, "r.csv": "head,rel,tail\na,b,c\n"}, {"relations": "r.csv"}, ["no column 'relation'", "'rel'"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(tmp_path: Path, name: str) -> None:
    files, data, words = BAD[name]
    with pytest.raises(DataError) as caught:
        run(tmp_path, files, **data)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in words:
        assert word in message


def test_texts_and_fields_may_hold_line_breaks_and_ids_are_stripped_of_them(tmp_path: Path) -> None:
    items = 'item_id,title,maker\n"a\n","One\ntwo","x\ty"\nb,B,z\n'
    dataset, _ = run(tmp_path, {"events.csv": EVENTS, "items.csv": items}, {"items": {"title": "text", "maker": "id"}}, items="items.csv")
    assert dataset.items.ids.ids == ["a", "b"]
    assert dataset.items.frame.row(0) == ("a", "One\ntwo", "x\ty")


def test_missing_values_in_events_are_dropped_and_counted(tmp_path: Path) -> None:
    events = "user_id,item_id,time\nu,a,1\n,b,2\nu,NaN,3\nu,b,\nu,b,nan\nu,b,4\n"
    dataset, account = run(tmp_path, {"events.csv": events})
    assert len(dataset.histories.items) == 2
    dropped = [(entry.rows, entry.why) for entry in account.rows if entry.what == "events dropped"]
    assert dropped == [(1, "events.csv: no user_id"), (1, "events.csv: no item_id"), (2, "events.csv: no time")]
    assert any("no item_id" in line for line in account.lines())
    assert account.plain()[0] == {"what": "events read", "rows": 6, "why": "events.csv"}


def test_nan_of_json_and_parquet_is_missing(tmp_path: Path) -> None:
    lines = '{"user_id": 1, "item_id": 7, "time": 1}\n{"user_id": 1, "item_id": NaN, "time": 2}\n{"user_id": 1, "item_id": 8, "time": 3}\n'
    dataset, account = run(tmp_path, {"events.jsonl": lines}, events="events.jsonl")
    assert dataset.items.ids.ids == ["7", "8"]
    assert account.count("events dropped") == 1


def test_future_times_can_be_dropped_or_kept(tmp_path: Path) -> None:
    files = {"events.csv": f"user_id,item_id,time\nu,a,1\nu,b,2\nu,c,{int(NOW) * 2}\n"}
    dataset, account = run(tmp_path, files, future_times="drop")
    assert dataset.items.ids.ids == ["a", "b"]
    assert account.count("events dropped") == 1
    assert len(run(tmp_path, files, future_times="keep")[0].histories.items) == 3


def test_identical_item_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    items = "item_id,title,seen_at\na,Ay,1\nb,Bee,2\na,Ay,3\n"
    dataset, account = run(tmp_path, {"events.csv": EVENTS, "items.csv": items}, items="items.csv", fields={"items": {"title": "text"}})
    assert dataset.items.ids.ids == ["a", "b"], "a column that is no field does not make rows different"
    assert account.count("items.csv rows dropped") == 1


def test_items_without_text_and_users_with_one_event_are_counted(tmp_path: Path) -> None:
    _, account = run(tmp_path, {"events.csv": EVENTS, "items.csv": "item_id,title\na,Ay\nb,\n"}, items="items.csv")
    assert account.count("items without text") == 1
    assert account.count("users with one event") == 1
    _, account = run(tmp_path, {"events.csv": EVENTS})
    assert account.count("items without text") == 2


@pytest.mark.parametrize(("encoding", "title"), [("latin-1", "café"), ("gb18030", "时间简史")])
def test_other_encodings_are_read_when_named(tmp_path: Path, encoding: str, title: str) -> None:
    files: dict[str, str | bytes] = {"events.csv": EVENTS, "items.csv": f"item_id,title\na,{title}\n".encode(encoding)}
    dataset, _ = run(tmp_path, files, items="items.csv", encoding=encoding)
    assert dataset.items.frame["title"][0] == title


def test_a_megabyte_of_title_is_cut_and_counted(tmp_path: Path) -> None:
    title = "word " * 200_000
    quoted = f'item_id,title,note\na,"{title}",x\nb,5" pipe,y\n'  # the inner quote sends the file to the exact reader
    for items in (f"item_id,title\na,{title}\n", quoted):
        dataset, account = run(tmp_path, {"events.csv": EVENTS, "items.csv": items}, items="items.csv")
        assert len(dataset.items.frame["title"][0]) <= 20_000
        assert account.count("texts cut") == 1


def test_quotes_inside_a_cell_and_blank_lines_are_no_error(tmp_path: Path) -> None:
    items = 'item_id,title\n\na,5" pipe\n\nb,"6"" pipe, long"\n'
    dataset, _ = run(tmp_path, {"events.csv": EVENTS, "items.csv": items}, items="items.csv")
    assert dataset.items.frame["title"].to_list() == ['5" pipe', '6" pipe, long']


def test_lines_broken_inside_quotes_are_one_cell(tmp_path: Path) -> None:
    dataset, _ = run(tmp_path, {"events.csv": EVENTS, "items.csv": 'item_id,title\na,"one\ntwo"\nb,x\n'}, items="items.csv")
    assert dataset.items.frame["title"].to_list() == ["one\ntwo", "x"]
