"""Amazon reviews of 2014, 2018 and 2023: tiny files of each dialect, then a real one of 2014."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import DataError
from m6rec.config import load_config
from m6rec.data.importers import amazon_lines
from m6rec.data.importers.amazon_lines import parsed, price
from m6rec.data.importers.importer import detect_format, import_data
from m6rec.data.prepare import prepare

DAY = 86_400
USERS, ITEMS = ("A1", "A2", "A3"), ("B1", "B2", "B3")


def lines(rows: list[Any], form: Callable[[Any], str] = json.dumps) -> bytes:
    return "".join(form(row) + "\n" for row in rows).encode()


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def old(year: int) -> list[dict[str, Any]]:
    """Every user has every item; the second user's dates run backwards in the file."""
    rows = []
    for u, user in enumerate(USERS):
        for i, item in enumerate(ITEMS):
            day = 16_000 + (-i if u == 1 else i)
            row = {"reviewerID": user, "asin": item, "overall": float(3 + i), "unixReviewTime": day * DAY}
            row |= {"reviewText": f"It is &quot;{item}&quot;.<br />Fine.", "summary": "Good."}
            rows.append(row | ({"verified": True, "vote": "1,234", "style": {"Size:": " L"}} if year == 2018 else {"helpful": [0, 0]}))
    return rows


META_2014 = [
    {"asin": "B1", "title": "Pop filter", "brand": "Ann's", "price": 12.5, "categories": [["Music", "Microphones"], ["Music", "Filters"]],
     "description": "Stops pops.", "related": {"also_bought": ["B2"]}, "salesRank": {"Music": 3}, "imUrl": "x"},
    {"asin": "B2", "categories": [["Music"]], "price": 3.0},
    {"asin": "B9", "title": "Nobody's", "categories": [["Music"]]},
]  # fmt: skip
META_2018 = [
    {"asin": "B1", "title": "Pop <b>filter</b>", "brand": "Ann", "category": ["Music", "Tools &amp; More"], "price": "$1,012.99",
     "feature": ["Black", "Metal"], "description": ["Stops", "pops."], "also_buy": ["B2"], "main_cat": "Music", "rank": "1 in"},
    {"asin": "B1", "title": "Pop filter again", "category": []},
    {"asin": "B2", "title": "var aPageStart = (new Date()).getTime();", "price": ".a-box{width:12px}", "category": ["Music"]},
]  # fmt: skip
META_2023 = [
    {"parent_asin": "B1", "title": "Pop filter", "main_category": "Music", "store": "Ann", "categories": ["Music", "Filters"], "price": 12.5,
     "features": ["Black"], "description": ["Stops", "pops."], "average_rating": 4.5, "rating_number": 9, "details": {"a": 1}},
    {"parent_asin": "B3", "title": "Stand", "store": None, "categories": [], "price": "from 7.50", "average_rating": 1.0},
]  # fmt: skip


def new() -> list[dict[str, Any]]:
    renamed = {"reviewerID": "user_id", "asin": "parent_asin", "overall": "rating", "reviewText": "text", "summary": "title"}
    rows = [{renamed[key]: value for key, value in row.items() if key in renamed} for row in old(2014)]
    extra = {"asin": "V", "images": [], "helpful_vote": 2, "verified_purchase": True}
    return [{**row, **extra, "timestamp": 1_600_000_000_000 + n} for n, row in enumerate(rows)]


SOURCES = {
    "2014": {"reviews_M_5.json.gz": lines(old(2014)), "meta_M.json.gz": lines(META_2014, repr)},
    "2018": {"M_5.json": lines(old(2018)), "meta_M.json": lines(META_2018)},
    "2023": {"M.jsonl.gz": lines(new()), "meta_M.jsonl.gz": lines(META_2023)},
}


def read(folder: Path) -> dict[str, pl.DataFrame]:
    return {path.stem: pl.read_parquet(path) for path in folder.glob("*.parquet")}


@pytest.mark.parametrize("year", SOURCES)
def test_every_dialect_is_recognised_by_its_keys_and_prepares(year: str, tmp_path: Path) -> None:
    source = put(tmp_path / "in", SOURCES[year])
    assert detect_format(source) == "amazon"
    import_data("auto", source, tmp_path / "out", {"k_core": 3})
    config = load_config(tmp_path / "out" / "config.yaml")
    dataset, account = prepare(config.data, config.fields, config.scenarios, tmp_path / "out")
    assert (len(dataset.users), len(dataset.items), len(dataset.histories.items)) == (3, 3, 9)
    assert dataset.histories.values[:3].tolist() == [3.0, 4.0, 5.0]
    assert dataset.texts["text"][0] == 'Good. It is "B1". Fine.'
    assert set(dataset.texts["kind"]) == {"review"}
    backwards = [dataset.items.ids.ids[item] for item in dataset.histories.row(dataset.users.ids.dense("A2"))]
    assert backwards == (["B1", "B2", "B3"] if year == "2023" else ["B3", "B2", "B1"])
    span = next(entry.why for entry in account.rows if entry.what == "event times read")
    assert "from 2020-09-13 12:26:40" in span if year == "2023" else "from 2013-10-20 00:00:00 to 2013-10-24" in span


def test_metadata_become_fields_and_what_leaks_does_not(tmp_path: Path) -> None:
    tables = {}
    for year, files in SOURCES.items():
        account = import_data("amazon", put(tmp_path / year, files), tmp_path / f"out{year}", {"k_core": 1})
        tables[year] = read(tmp_path / f"out{year}")["items"]
        why = " ".join(entry.why for entry in account.rows if entry.what == "item columns left out")
        assert "counted over the whole period" in why
        assert ("average_rating, rating_number" if year == "2023" else "salesRank" if year == "2014" else "also_buy") in why
    names = ["item_id", "title", "brand", "categories", "price", "description", "features"]
    assert all(table.columns == names for table in tables.values())
    assert tables["2014"].rows() == [
        ("B1", "Pop filter", "Ann's", ["Music", "Microphones", "Filters"], 12.5, "Stops pops.", None),
        ("B2", None, None, ["Music"], 3.0, None, None),
    ]
    assert tables["2018"].rows() == [
        ("B1", "Pop filter", "Ann", ["Music", "Tools & More"], 1012.99, "Stops pops.", "Black Metal"),
        ("B2", None, None, ["Music"], None, None, None),
    ]
    assert tables["2023"].rows() == [
        ("B1", "Pop filter", "Ann", ["Music", "Filters"], 12.5, "Stops pops.", "Black"),
        ("B3", "Stand", None, [], 7.5, None, None),
    ]
    fields = yaml.safe_load((tmp_path / "out2014" / "config.yaml").read_text())["fields"]["items"]
    assert fields == {"title": "text", "brand": "category", "categories": "tags", "price": "number", "description": "text"}


def test_options_keep_the_core_the_stars_and_cold_items(tmp_path: Path) -> None:
    rows = [*old(2014), {**old(2014)[0], "reviewerID": "rare"}]
    source = put(tmp_path / "in", {"r.json": lines(rows), "m.json": lines(META_2014, repr)})
    account = import_data("amazon", source, tmp_path / "a", {"k_core": 3})
    assert account.count("events dropped") == 1
    assert read(tmp_path / "a")["texts"].height == 9
    import_data("amazon", source, tmp_path / "b", {"k_core": 1, "min_rating": 4, "texts": False, "all_items": True})
    tables = read(tmp_path / "b")
    assert tables["events"].height == 6
    assert set(tables) == {"events", "items"}
    assert tables["items"]["item_id"].to_list() == ["B1", "B2", "B9"]
    with pytest.raises(DataError, match=r"no review is left .* --set k_core=1"):
        import_data("amazon", source, tmp_path / "c", {"k_core": 9})


def test_the_official_split_tables_are_joined(tmp_path: Path) -> None:
    header = b"user_id,parent_asin,rating,timestamp,history\n"
    parts = {
        "train": b"u,a,5.0,1600000000001,\nv,b,3.0,1600000000002,\n",
        "valid": b"u,b,4.0,1600000000003,a\n",
        "test": b"u,c,1.0,1600000000004,a b\n",
    }
    source = put(tmp_path / "in", {f"M.{name}.csv": header + rows for name, rows in parts.items()})
    account = import_data("auto", source, tmp_path / "out", {"k_core": 1})
    events = read(tmp_path / "out")["events"].sort("time")
    assert events.rows()[-1] == ("u", "c", 1600000000004, 1.0)
    assert events["item_id"].to_list() == ["a", "b", "b", "c"]
    assert any("official split is not kept" in entry.why for entry in account.rows)


def test_damaged_lines_are_named_and_equal_days_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon_lines, "CHUNK", 4)
    good = lines(old(2014)).splitlines(keepends=True)
    bad = [b'{"reviewerID": "A1", "asin": \n', b'\xff\xfe\n', b'{"reviewerID": "", "asin": "B1", "overall": 1, "unixReviewTime": 1}\n', b"7\n",
           json.dumps({**old(2014)[0], "unixReviewTime": 10**30}).encode() + b"\n"]  # fmt: skip
    same_day = json.dumps({**old(2014)[0], "asin": "B2"}).encode() + b"\n"
    data = b"".join([good[0], bad[0], *good[1:6], b"\n", *bad[1:], *good[6:], same_day])
    account = import_data("amazon", put(tmp_path / "in", {"r.json.gz": data}), tmp_path / "out", {"k_core": 1})
    entry = next(entry for entry in account.rows if entry.what == "damaged lines left out")
    assert (entry.rows, entry.why) == (5, "r.json.gz: line 2, 9, 10, 11, 12")
    assert account.count("reviews read") == 10
    assert account.count("events of equal time") == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"r.json": lines(old(2014)[:1]) + b"{\n{\n{\n"}, ["3 of 4 lines are no reviews of 2014", "line is 2"]),
        ({"r.json": lines(old(2014)), "s.jsonl": lines(new())}, ["2014 and 2023", "one year at a time"]),
        ({"m.json": lines(META_2018)}, ["holds no Amazon reviews", "reviewerID"]),
        ({"r.json": lines(old(2014)), "m.json": lines([{"asin": "other", "categories": []}])}, ["no item of the metadata"]),
    ],
)
def test_refusals_are_one_line(files: dict[str, bytes], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        import_data("amazon", put(tmp_path / "in", files), tmp_path / "out", {"k_core": 1})
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_cut_gzip_file_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    whole = gzip.compress(lines(old(2014) * 2000, lambda row: json.dumps({**row, "noise": str(hash(str(row)) * 7919)})))
    put(tmp_path / "in", {})
    (tmp_path / "in" / "r.json.gz").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match="not a whole gzip file"):
        import_data("amazon", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.lists(st.text(), max_size=3), st.none()),
        max_size=4,
    )
)
def test_python_literals_and_json_read_alike(row: dict[str, Any]) -> None:
    assert parsed(repr(row).encode("utf-8", "surrogatepass")) == row
    assert parsed(json.dumps(row).encode()) == row


@pytest.mark.parametrize("line", [b"__import__('os').getcwd()", b"(" * 5000, b"{'a': print(1)}", b"[1", b"9" * 9_000_000])
def test_nothing_is_evaluated(line: bytes) -> None:
    assert parsed(line) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("$12.99", 12.99), ("$5.00 - $9.00", 5.0), ("from 3.50", 3.5), ("£1,299", 1299.0), ("CDN$ 4.00", None), (7, 7.0), ("", None), ("—", None),
     (True, None), (float("nan"), None), (".a-box{width: 12px}", None)],
)  # fmt: skip
def test_prices(text: Any, number: float | None) -> None:
    assert price(text) == number


def test_a_real_file_of_2014(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    account = import_data("auto", real_data("instruments-reviews"), tmp_path / "out")
    tables = read(tmp_path / "out")
    assert (tables["events"].height, tables["events"]["user_id"].n_unique(), tables["events"]["item_id"].n_unique()) == (10_261, 1_429, 900)
    assert account.count("damaged lines left out") == 0
    assert account.count("events dropped") == 0  # it is a 5-core already
