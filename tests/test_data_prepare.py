"""From files to a Dataset: order, dense ids, typed fields, times, cleaning, store."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import CheckpointError, ConfigError, DataError, StorageError
from m6rec.data.account import Account
from m6rec.data.config import DataConfig, FieldsConfig, ScenariosConfig, SplitConfig
from m6rec.data.dataset import Dataset, FieldType
from m6rec.data.guessing import guess_fields
from m6rec.data.prepare import frame_to_table, load_dataset, prepare, save_dataset
from m6rec.data.readers import read_table
from m6rec.data.schema import ids
from m6rec.data.store import write_parquet
from m6rec.data.tables import tags
from m6rec.data.times import to_seconds

NOW = 1_750_000_000.0  # June 2025
EVENTS = "user_id,item_id,time\nu1,b,20\nu1,a,10\nu2,c,30\nu2,a,30\nu2,b,5\n"


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def run(folder: Path, scenario: str | None = None, fields: dict | None = None, **data: object) -> tuple[Dataset, Account]:
    config = DataConfig.build({"events": "events.csv", **data})
    return prepare(config, FieldsConfig.build(fields or {}), ScenariosConfig(column=scenario), folder, now=NOW)


def sequence(dataset: Dataset, user: str) -> list[str]:
    return [dataset.items.ids.ids[item] for item in dataset.histories.row(dataset.users.ids.dense(user))]


def test_events_are_sorted_by_time_and_ties_keep_the_order_of_the_file(tmp_path: Path) -> None:
    dataset, account = run(put(tmp_path, {"events.csv": EVENTS}))
    assert sequence(dataset, "u1") == ["a", "b"]
    assert sequence(dataset, "u2") == ["b", "c", "a"]
    assert dataset.histories.times.tolist() == [10, 20, 5, 30, 30]
    assert dataset.users.ids.ids == ["u1", "u2"]
    assert dataset.items.ids.ids == ["b", "a", "c"], "in the order of the file, not of time or name"
    assert account.count("events") == 5


def test_dense_ids_follow_the_tables_then_the_first_events(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": EVENTS, "items.csv": "item_id,title\nz,Zed\na,Ay\n", "users.csv": "user_id,age\nu9,30\nu2,40\n"})
    dataset, account = run(tmp_path, items="items.csv", users="users.csv")
    assert dataset.items.ids.ids == ["z", "a", "b", "c"]
    assert dataset.items.frame["item_id"].to_list() == dataset.items.ids.ids
    assert dataset.items.frame["title"].to_list() == ["Zed", "Ay", None, None]
    assert dataset.users.ids.ids == ["u9", "u2", "u1"]
    assert dataset.histories.lengths.tolist() == [0, 3, 2]
    assert account.count("items without a row") == 2
    assert account.count("items without events") == 1
    assert account.count("users without events") == 1
    assert dataset.seen_counts().tolist() == [0, 2, 2, 1]


def test_order_decides_where_both_are_known_and_times_may_be_unknown(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": "user_id,item_id,position,timestamp\nu,a,2,\nu,b,0,500\nu,c,10,400\n"})
    dataset, account = run(tmp_path, columns={"order": "position", "time": "timestamp"})
    assert sequence(dataset, "u") == ["b", "a", "c"], "as numbers, not as text"
    np.testing.assert_array_equal(dataset.histories.times, [500, np.nan, 400])
    assert account.count("event times unknown") == 1
    assert account.count("events out of time") == 1


def test_order_alone_gives_no_times_and_keeps_64_bit_integers(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": f"user_id,item_id,order\nu,a,{2**62 + 1}\nu,b,{2**62}\n"})
    dataset, _ = run(tmp_path)
    assert sequence(dataset, "u") == ["b", "a"]
    assert dataset.histories.times is None
    assert dataset.histories.items.dtype == np.int32
    assert dataset.histories.offsets.dtype == np.int64


def test_actions_scenarios_and_values_become_codes(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": "user_id,item_id,time,action,where,value\nu,a,2,buy,shop,4.5\nu,b,1,,feed,\n"})
    dataset, _ = run(tmp_path, scenario="where")
    assert dataset.action_names == ["buy", "unknown"]
    assert dataset.histories.actions.tolist() == [1, 0]
    assert dataset.scenario_names == ["shop", "feed"]
    assert dataset.histories.scenarios.tolist() == [1, 0]
    np.testing.assert_array_equal(dataset.histories.values, np.array([np.nan, 4.5], dtype=np.float32))
    assert dataset.histories.actions.dtype == np.int16


def test_several_event_files_are_scenarios(tmp_path: Path) -> None:
    put(tmp_path, {"shop.csv": "user_id,item_id,time\nu,a,3\n", "feed.jsonl": '{"user_id": "u", "item_id": "b", "time": 1}\n'})
    dataset, _ = run(tmp_path, events=["shop.csv", "feed.jsonl"])
    assert dataset.scenario_names == ["shop", "feed"]
    assert sequence(dataset, "u") == ["b", "a"]
    assert dataset.histories.scenarios.tolist() == [1, 0]


def test_one_mapping_serves_several_tables_and_a_dotted_one_its_own(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": "uid,asin,ts\nu,a,1\nu,b,2\n", "items.csv": "product,title\nb,Bee\n", "users.csv": "uid,sex\nu,f\n"})
    columns = {"user_id": "uid", "time": "ts", "item_id": "asin", "items": {"item_id": "product"}}
    dataset, _ = run(tmp_path, items="items.csv", users="users.csv", columns=columns)
    assert dataset.items.ids.ids == ["b", "a"]
    assert dataset.users.frame["sex"].to_list() == ["f"]


def test_the_same_table_in_every_format_gives_the_same_dataset(tmp_path: Path) -> None:
    frame = pl.read_csv(io.StringIO(EVENTS))
    frame.write_parquet(tmp_path / "e.parquet")
    frame.write_ndjson(tmp_path / "e.jsonl")
    frame.write_csv(tmp_path / "e.tsv", separator="\t")
    frame.write_csv(tmp_path / "e.csv", separator=";", line_terminator="\r\n")
    (tmp_path / "e.json").write_text(json.dumps(frame.to_dicts()))
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + EVENTS.encode())
    for name in ("e.csv", "e.parquet"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    found = {
        name: run(tmp_path, events=name)[0].fingerprint
        for name in ("e.csv", "e.csv.gz", "e.tsv", "e.jsonl", "e.json", "bom.csv", "e.parquet", "e.parquet.gz")
    }
    assert len(set(found.values())) == 1, found


def test_fields_are_typed_and_missing_values_stay_missing(tmp_path: Path) -> None:
    items = (
        "item_id,title,kind,labels,price,sku,weights,unused\n"
        '1,"Boots, high",shoes,a|b| b,12.5,007,"[0.5, 1]",x\n'
        "2,,,,nan,,,y\n"
        "3,  ,  hats ,c,,9,2 3,z\n"
    )
    types = {"title": "text", "kind": "category", "labels": "tags", "price": "number", "sku": "id", "weights": "vector"}
    put(tmp_path, {"events.csv": "user_id,item_id,time\nu,1,1\nu,2,2\n", "items.csv": items})
    dataset, account = run(tmp_path, items="items.csv", fields={"items": types})
    frame = dataset.items.frame
    assert dict(frame.schema) == {
        **dict.fromkeys(("item_id", "title", "kind", "sku"), pl.String),
        "labels": pl.List(pl.String),
        "price": pl.Float64,
        "weights": pl.List(pl.Float32),
    }
    assert frame.columns == ["item_id", *types]
    assert frame["title"].to_list() == ["Boots, high", None, None]
    assert frame["kind"].to_list() == ["shoes", None, "hats"]
    assert frame["labels"].to_list() == [["a", "b"], [], ["c"]]
    assert frame["price"].to_list() == [12.5, None, None]
    assert frame["sku"].to_list() == ["007", None, "9"]
    assert frame["weights"].to_list() == [[0.5, 1.0], None, [2.0, 3.0]]
    assert account.count("items without text") == 2
    assert account.count("items columns not used") == 1


def test_an_empty_declaration_means_no_fields_and_null_means_guess(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": EVENTS, "items.csv": "item_id,title\na,Ay\n"})
    assert run(tmp_path, items="items.csv", fields={"items": {}})[0].items.fields == {}
    assert run(tmp_path, items="items.csv")[0].items.fields == {"title": FieldType.TEXT}


def test_guesses() -> None:
    rows = 40
    frame = pl.DataFrame(
        {
            "item_id": [str(i) for i in range(rows)],
            "asin": [f"B{i:09}" for i in range(rows)],
            "Title": [f"Thing {i}" for i in range(rows)],
            "genres": ["Action|Drama"] * rows,
            "attribute_ids": ["1 2 3"] * rows,
            "price": [str(i / 2) for i in range(rows)],
            "brand": ["Acme", "Best"] * (rows // 2),
            "blurb": [f"a long line of words number {i}" for i in range(rows)],
            "embedding": [[0.5, float(i)] for i in range(rows)],
            "labels": [["x", "y"]] * rows,
            "in_stock": [True, False] * (rows // 2),
            "empty": [""] * rows,
            "nothing": [None] * rows,
        }
    )
    assert guess_fields(frame, "item_id") == {
        "asin": "id",
        "Title": "text",
        "genres": "tags",
        "attribute_ids": "tags",
        "price": "number",
        "brand": "category",
        "blurb": "text",
        "embedding": "vector",
        "labels": "tags",
        "in_stock": "category",
    }


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a|b,c", "d"], [["a", "b,c"], ["d"]]),
        (["a;b c", "d"], [["a", "b c"], ["d"]]),
        (["a, b c,a", None], [["a", "b c"], []]),
        (["a b", ""], [["a", "b"], []]),
        (["['a', 'b c']", '["d"]'], [["a", "b c"], ["d"]]),
        ([["a", None, " b "], None], [["a", "b"], []]),
        ([[1, 2], [2, 2]], [["1", "2"], ["2"]]),
    ],
)
def test_tags_are_cut_by_the_separator_the_column_uses(cells: list, expected: list[list[str]]) -> None:
    assert tags(pl.Series("tags", cells), "items.csv").to_list() == expected


@pytest.mark.parametrize(
    ("cells", "unit", "expected"),
    [
        ([1_700_000_000, 0], "auto", [1.7e9, 0]),
        (["1700000000000", "1700000000500"], "auto", [1.7e9, 1.7e9 + 0.5]),
        ([1_700_000_000_000_000], "auto", [1.7e9]),
        ([1_700_000_000_000_000_000], "auto", [1.7e9]),
        ([20240501, 20231231], "auto", [1714521600, 1703980800]),
        ([20240501], "s", [20240501]),
        ([1, 2], "day", [86_400, 172_800]),
        (["2024-05-01T10:00:00Z", "2024-05-01 12:00:00.5+02:00"], "auto", [1714557600, 1714557600.5]),
        (["2024-05-01", "2024/05/01 10:00", ""], "auto", [1714521600, 1714557600, None]),
        ([None, float("nan"), 5.0], "s", [None, None, 5]),
        (["NaN", "5"], "auto", [None, 5]),
        (["1e9", " 7 "], "s", [1e9, 7]),
    ],
)
def test_times_in_any_unit_become_seconds(cells: list, unit: str, expected: list) -> None:
    seconds, statement = to_seconds(pl.Series("time", cells, strict=False), unit, "events.csv")
    assert seconds.to_list() == expected
    assert seconds.dtype == pl.Float64
    assert statement


def test_dates_of_parquet_become_seconds() -> None:
    from datetime import UTC, date, datetime, timedelta, timezone

    there = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    for value in (date(2024, 5, 1), datetime(2024, 5, 1), datetime(2024, 5, 1, tzinfo=UTC)):
        assert to_seconds(pl.Series("time", [value]), "auto", "e")[0].to_list() == [1714521600]
    assert to_seconds(pl.Series("time", [there.astimezone(UTC)]), "auto", "e")[0].to_list() == [1714557600]


def test_ids_are_the_same_text_whatever_the_type_of_the_file() -> None:
    assert ids(pl.Series("i", [7, None]), "x").to_list() == ["7", None]
    assert ids(pl.Series("i", [7.0, float("nan")]), "x").to_list() == ["7", None], "a missing value turns integers to floats"
    assert ids(pl.Series("i", [" 007 ", "", "NaN"]), "x").to_list() == ["007", None, None]
    assert ids(pl.Series("i", ["a", "b"], dtype=pl.Categorical), "x").to_list() == ["a", "b"]


def test_repeats_are_counted_and_dropped_on_request(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": "user_id,item_id,time,note\nu,a,1,x\nu,a,1,y\nu,a,2,x\nu,b,3,\n"})
    kept, account = run(tmp_path)
    assert account.count("exact repeats kept") == 1
    assert len(kept.histories.items) == 4
    dropped, account = run(tmp_path, duplicates="drop")
    assert account.count("events dropped") == 1
    assert sequence(dropped, "u") == ["a", "a", "b"]


def test_minimum_counts_are_iterated_to_a_fixed_point(tmp_path: Path) -> None:
    # Dropping u3 (one event) leaves c with one event, which leaves u2 with one, which leaves nothing of u2.
    rows = ["u1,a", "u1,b", "u4,a", "u4,b", "u2,c", "u2,a", "u3,c"]
    put(tmp_path, {"events.csv": "user_id,item_id,time\n" + "".join(f"{row},{i}\n" for i, row in enumerate(rows))})
    dataset, account = run(tmp_path, min_user_events=2, min_item_events=2)
    assert dataset.users.ids.ids == ["u1", "u4"]
    assert dataset.items.ids.ids == ["a", "b"]
    assert account.count("events dropped") == 3


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_what_survives_is_the_largest_core(pairs: list[tuple[int, int]], users: int, items: int) -> None:
    from m6rec.data.cleaning import drop_rare

    frame = pl.DataFrame({"user_id": [str(u) for u, _ in pairs], "item_id": [str(i) for _, i in pairs], "order": range(len(pairs))})
    kept = drop_rare(frame, DataConfig(events="e", min_user_events=users, min_item_events=items), Account())
    expected = list(range(len(pairs)))
    while True:  # the definition, one at a time
        wrong = [
            row
            for row in expected
            if sum(pairs[o][0] == pairs[row][0] for o in expected) < users or sum(pairs[o][1] == pairs[row][1] for o in expected) < items
        ]
        if not wrong:
            break
        expected.remove(wrong[0])
    assert kept["order"].to_list() == expected


@pytest.mark.parametrize(("policy", "left"), [("keep", ["z", "a", "b", "c"]), ("drop", ["z", "a"])])
def test_policy_for_items_the_table_does_not_list(tmp_path: Path, policy: str, left: list[str]) -> None:
    put(tmp_path, {"events.csv": EVENTS, "items.csv": "item_id,title\nz,Zed\na,Ay\n"})
    dataset, _ = run(tmp_path, items="items.csv", unlisted_items=policy)
    assert dataset.items.ids.ids == left


def test_unseen_items_can_be_left_out(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": EVENTS, "items.csv": "item_id,title\nz,Zed\na,Ay\nb,Bee\n"})
    dataset, account = run(tmp_path, items="items.csv", unseen_items="drop")
    assert dataset.items.ids.ids == ["a", "b", "c"]
    assert account.count("items dropped") == 1


def test_texts_and_relations_are_read_checked_and_kept(tmp_path: Path) -> None:
    texts = '{"user_id": "u1", "item_id": 5, "text": " good ", "time": 7}\n{"user_id": "u1", "text": "", "time": null}\n'
    relations = "head,relation,tail\na,brand,X\na,brand,X\nb,brand,\n"
    put(tmp_path, {"events.csv": EVENTS, "reviews.jsonl": texts, "kg.csv": relations})
    dataset, account = run(tmp_path, texts="reviews.jsonl", relations="kg.csv")
    assert dataset.texts.columns == ["kind", "user_id", "item_id", "text", "lang", "time"]
    assert dataset.texts.rows() == [("reviews", "u1", "5", "good", None, 7.0)]
    assert dataset.relations.rows() == [("a", "brand", "X")]
    assert account.count("texts dropped") == 1
    assert account.count("relations dropped") == 2


def test_relabelled_items_change_the_ids_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": EVENTS, "other.csv": "user_id,item_id,time\nu1,2,20\nu1,9,10\nu2,7,30\nu2,9,30\nu2,2,5\n"})
    one, other = run(tmp_path)[0], run(tmp_path, events="other.csv")[0]
    np.testing.assert_array_equal(one.histories.items, other.histories.items)
    assert one.fingerprint != other.fingerprint


def test_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    put(tmp_path, {"events.csv": EVENTS, "items.csv": "item_id,title\na,Ay\n"})
    first = run(tmp_path, items="items.csv")[0].fingerprint
    assert first == run(tmp_path, items="items.csv")[0].fingerprint
    put(tmp_path, {"items.csv": "item_id,title\na,Ey\n"})
    assert run(tmp_path, items="items.csv")[0].fingerprint != first
    put(tmp_path, {"items.csv": "item_id,title\na,Ay\n", "events.csv": EVENTS.replace(",5\n", ",6\n")})
    assert run(tmp_path, items="items.csv")[0].fingerprint != first


def full(folder: Path) -> Dataset:
    put(
        folder,
        {
            "events.csv": "user_id,item_id,time,action,scenario,value\nu,a,1,buy,shop,3\nu,b,2,see,feed,\nv,a,4,buy,shop,1\n",
            "items.csv": "item_id,title,tags,price,v\na,Ay,x|y,3,1 2\nb,,,,\n",
            "reviews.csv": "text,user_id\ngood,u\n",
            "kg.csv": "head,relation,tail\na,is,x\n",
        },
    )
    types = {"items": {"title": "text", "tags": "tags", "price": "number", "v": "vector"}}
    return run(folder, items="items.csv", texts="reviews.csv", relations="kg.csv", fields=types)[0]


def test_a_saved_dataset_comes_back_whole(tmp_path: Path) -> None:
    dataset = full(tmp_path)
    save_dataset(dataset, tmp_path / "prepared")
    again = load_dataset(tmp_path / "prepared")
    assert again.items.frame.equals(dataset.items.frame)
    assert again.items.fields == dataset.items.fields
    assert again.users.ids.ids == dataset.users.ids.ids
    assert again.users.frame.equals(dataset.users.frame)
    for name in ("offsets", "items", "times", "actions", "scenarios", "values"):
        mine, theirs = getattr(dataset.histories, name), getattr(again.histories, name)
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert again.texts.equals(dataset.texts)
    assert again.relations.equals(dataset.relations)
    assert (again.action_names, again.scenario_names) == (["buy", "see"], ["shop", "feed"])
    assert again.fingerprint == dataset.fingerprint


@pytest.mark.parametrize("name", ["dataset.json", "items.parquet", "histories-items.npy", "relations.parquet"])
def test_a_damaged_dataset_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "prepared"
    save_dataset(full(tmp_path), folder)
    whole = (folder / name).read_bytes()
    for damage in (whole[: len(whole) // 2], b"", None):
        if damage is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(damage)
        with pytest.raises(CheckpointError) as caught:
            load_dataset(folder)
        assert "\n" not in str(caught.value)
        assert "prepare it again" in str(caught.value)


def test_a_changed_or_newer_dataset_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    save_dataset(full(tmp_path), folder)
    facts = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**facts, "action_names": ["see", "buy"]}))
    with pytest.raises(CheckpointError, match="not what was written"):
        load_dataset(folder)
    (folder / "dataset.json").write_text(json.dumps({**facts, "version": 99}))
    with pytest.raises(CheckpointError, match="version 99"):
        load_dataset(folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to write to")
def test_a_full_disk_is_an_os_error_for_the_storage_to_name() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_parquet(pl.DataFrame({"a": range(100_000)}), Path("/dev/full"))


def test_a_disk_that_fills_up_while_saving_leaves_the_old_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, folder = full(tmp_path), tmp_path / "prepared"
    save_dataset(dataset, folder)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", refuse)
    with pytest.raises(StorageError, match="No space left on device; nothing was changed there"):
        save_dataset(dataset, folder)
    assert load_dataset(folder).fingerprint == dataset.fingerprint
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_added_items_pass_the_same_checks() -> None:
    fields = {"title": FieldType.TEXT, "tags": FieldType.TAGS, "price": FieldType.NUMBER}
    table = frame_to_table(pl.DataFrame({"item_id": [5], "title": ["New"]}), fields, "item_id", partial=True)
    assert table.frame.rows() == [("5", "New", [], None)]
    assert table.ids.ids == ["5"]
    with pytest.raises(DataError, match="no column 'tags'"):
        frame_to_table(pl.DataFrame({"item_id": [5], "title": ["New"]}), fields, "item_id")
    with pytest.raises(DataError, match="row 2 has no item_id"):
        frame_to_table(pl.DataFrame({"item_id": ["a", None]}), {}, "item_id")


def test_configuration_is_strict() -> None:
    for values, words in (
        ({"events": "e", "colums": {}}, "did you mean 'columns'"),
        ({"events": "e", "columns": {"itemid": "x"}}, "did you mean 'item_id'"),
        ({"events": "e", "columns": {"item.item_id": "x"}}, "did you mean 'items'"),
        ({"events": []}, "at least one file"),
        ({}, "events is required: name the file"),
        ({"events": "e", "min_user_events": 0}, "greater than or equal to 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            DataConfig.build(values)
    with pytest.raises(ConfigError, match="leave something to train on"):
        SplitConfig.build({"validation_fraction": 0.6, "test_fraction": 0.5})
    with pytest.raises(ConfigError, match="ISO date"):
        SplitConfig.build({"test_from": "yesterday"})


cells = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\x00"), max_size=12).map(str.strip)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=12), st.sampled_from([",", ";", "\t", "|"]))
@settings(max_examples=60, deadline=None)
def test_any_csv_that_python_writes_is_read_back(rows: list, separator: str) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("one", "two", "three"), *rows])
    expected = [tuple(cell.replace("\r\n", "\n").replace("\r", "\n") or None for cell in row) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(written.getvalue().encode())
        assert read_table(path, separator=separator).rows() == expected


@given(st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_table_or_a_one_line_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("t.csv", "t.jsonl", "t.parquet", "t.csv.gz"):
            path = Path(folder, name)
            path.write_bytes(data)
            message = ""
            try:
                assert read_table(path).height >= 1
            except DataError as error:
                message = str(error)
            assert "\n" not in message
