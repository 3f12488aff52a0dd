"""What is guessed of files: planted columns, units, separators and types are found, with the fact beside them, and what is written holds."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.base.errors import DataError
from m6rec.base.strict_yaml import read_yaml
from m6rec.config import M6RecConfig
from m6rec.data import sampling
from m6rec.data.dataset import Dataset
from m6rec.data.fields import FieldType
from m6rec.data.guessing import explain_type
from m6rec.data.prepare import prepare
from m6rec.data.proposal import propose
from m6rec.data.roles import subject
from m6rec.data.sampling import sample_file
from m6rec.data.splits import split

NOW = 1_750_000_000.0
START = 1_700_000_000  # 2023-11-14
USERS, ITEMS, EVENTS = 8, 6, 5
HIKING = ("warm boots for winter walks", "light tent for two people", "gas stove that never fails", "wool socks knitted by hand")


class Found(NamedTuple):
    """A proposal, read back from its text, and the dataset that it prepares."""

    text: str
    config: M6RecConfig
    dataset: Dataset
    unused: dict[str, str]
    checks: list[str]


def put(folder: Path, files: dict[str, str | bytes | pl.DataFrame]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, pl.DataFrame):
            content.write_parquet(folder / name)
        else:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def found(folder: Path) -> Found:
    proposal = propose([folder], folder, now=NOW)
    text = proposal.text("shop.yaml")
    config = M6RecConfig.build(read_yaml(text, "shop.yaml"))
    assert read_yaml(text, "shop.yaml") == proposal.config()
    dataset, _ = prepare(config.data, config.fields, config.scenarios, folder, now=NOW)
    split(dataset, config.split, 0)
    return Found(text, config, dataset, proposal.unused, proposal.checks())


def rows(start: int = START, step: int = 3600, users: int = USERS) -> list[tuple[str, str, int]]:
    return [(f"u{u}", f"i{(u + n) % ITEMS}", start + (u * EVENTS + n) * step) for u in range(users) for n in range(EVENTS)]


def table(header: list[str], cells: list[Any], mark: str = ",") -> str:
    return "\n".join(mark.join(map(str, row)) for row in [header, *cells]) + "\n"


def events(header: tuple[str, ...] = ("user_id", "item_id", "time"), mark: str = ",", time: Callable[[int], Any] = int) -> str:
    return table(list(header), [(user, item, time(when)) for user, item, when in rows()], mark)


ITEM_ROWS = [(f"i{n}", HIKING[n % 4] + f" {n}", "abc"[n % 3], 10 + n) for n in range(ITEMS)]
SHOP = {"events.csv": events(), "items.csv": table(["item_id", "title", "shelf", "price"], ITEM_ROWS)}


@settings(max_examples=12, deadline=None)
@given(
    mark=st.sampled_from([",", "\t", ";", "|", "\x01", "^", "~"]),
    names=st.sampled_from([("user_id", "item_id", "time"), ("visitorid", "itemid", "timestamp"), ("customerNo", "sku", "created_at")]),
    tail=st.sampled_from([".csv", ".tsv", ".csv.gz"]),
)
def test_any_separator_and_names_are_read(tmp_path_factory: pytest.TempPathFactory, mark: str, names: tuple[str, ...], tail: str) -> None:
    data = events(names, mark).encode()
    folder = put(tmp_path_factory.mktemp("shop"), {f"log{tail}": gzip.compress(data) if tail.endswith("gz") else data})
    dataset = found(folder).dataset
    assert (len(dataset.users), len(dataset.items), len(dataset.histories.items)) == (USERS, ITEMS, USERS * EVENTS)
    assert dataset.histories.times[0] == START


def moment(when: int, layout: str) -> str:
    return datetime.fromtimestamp(when, UTC).strftime(layout)


UNITS: dict[str, tuple[Callable[[int], Any], int]] = {
    "s": (int, 1),
    "ms": (lambda when: when * 1000, 1),
    "us": (lambda when: when * 10**6, 1),
    "ns": (lambda when: when * 10**9, 1),
    "day": (lambda when: when // 86_400, 86_400),
    "fraction": (lambda when: when + 0.25, 1),
    "iso": (lambda when: moment(when, "%Y-%m-%dT%H:%M:%SZ"), 1),
    "iso blank UTC": (lambda when: moment(when, "%Y-%m-%d %H:%M:%S UTC"), 1),
    "iso minutes": (lambda when: moment(when, "%Y/%m/%d %H:%M"), 60),
    "iso day": (lambda when: moment(when, "%Y-%m-%d"), 86_400),
    "calendar": (lambda when: moment(when, "%Y%m%d"), 86_400),
}


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=4, deadline=None)
@given(start=st.integers(1_000_000_000, 1_735_000_000), step=st.integers(1, 7 * 86_400))
def test_time_units_are_read_as_they_are(tmp_path_factory: pytest.TempPathFactory, unit: str, start: int, step: int) -> None:
    form, grain = UNITS[unit]
    planted = rows(start, min(max(step, grain), (1_745_000_000 - start) // (USERS * EVENTS)))
    folder = put(tmp_path_factory.mktemp("shop"), {"log.csv": table(["user", "item", "date"], [(u, i, form(t)) for u, i, t in planted])})
    result = found(folder)
    times = np.sort(result.dataset.histories.times)
    assert np.abs(times - np.sort([t // grain * grain for _, _, t in planted])).max() < 1
    assert result.config.data.time_unit == {"s": "s", "fraction": "s", "ms": "ms", "us": "us", "ns": "ns", "day": "day"}.get(unit, "auto")
    if unit in ("day", "iso day", "calendar"):
        assert any("a day is all that is known" in check for check in result.checks)


def test_a_fact_and_its_alternatives_stand_above_every_guess(tmp_path: Path) -> None:
    clock = [(u, i, t * 1000, n % 3 + 1, moment(t, "%Y-%m-%d")) for n, (u, i, t) in enumerate(rows())]
    put(tmp_path, {**SHOP, "events.csv": table(["user_id", "item_id", "ts", "stars", "day"], clock)})
    lines = found(tmp_path).text.splitlines()
    above = {line.strip(): lines[n - 1].strip() for n, line in enumerate(lines)}
    assert above["items: items.csv"] == "# 100% of the values of item_id in the events are found in items.csv, column item_id"
    assert above["time: ts"].startswith("# 1.7e12: milliseconds, 2023-11-14 22:13:20 to 2023-11-16")
    assert above["time: ts"].endswith("also possible: day")
    assert above["value: stars"] == "# numbers from 1 to 3, mean 2"
    assert above["protocol: leave_one_out"].startswith("# 100% of the users have three events or more; also possible: time")
    assert above["price: number"] == "# numbers from 10 to 15"
    bare = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    assert all(above[line].startswith("#") for line in bare if not line.endswith(":"))


def test_the_tables_of_a_fashion_shop_by_whose_ids_are_found_where(tmp_path: Path) -> None:
    sales = [(moment(t, "%Y-%m-%d"), u, i, 0.05, n % 2 + 1) for n, (u, i, t) in enumerate(rows(step=86_400))]
    put(
        tmp_path,
        {
            "transactions.csv": table(["t_dat", "customer_id", "article_id", "price", "sales_channel_id"], sales),
            "articles.csv": table(["article_id", "prod_name", "colour"], [(f"i{n}", HIKING[n % 4], "red") for n in range(ITEMS)]),
            "customers.csv": table(["customer_id", "age"], [(f"u{n}", 20 + n) for n in range(USERS)]),
            "colours.csv": table(["colour", "code"], [("red", 1), ("blue", 2)]),
            "notes.xlsx": b"PK\x03\x04",
        },
    )
    result = found(tmp_path)
    data = result.config.data
    assert (data.events, data.items, data.users, data.texts) == ("transactions.csv", "articles.csv", "customers.csv", None)
    assert data.columns == {"user_id": "customer_id", "item_id": "article_id", "time": "t_dat"}
    assert result.config.scenarios.column == "sales_channel_id"
    assert result.config.fields.items == {"prod_name": "text"}
    assert "# colour: category" in result.text  # the same in every row
    assert set(result.unused) == {"colours.csv", "notes.xlsx"}


def test_a_table_keyed_by_id_needs_its_own_mapping(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"log.csv": events(("uid", "movie", "ts")), "movies.csv": table(["id", "title"], [(f"i{n}", HIKING[n % 4]) for n in range(4)])},
    )
    result = found(tmp_path)
    assert result.config.data.columns == {"user_id": "uid", "item_id": "movie", "time": "ts", "items.item_id": "id"}
    assert any("67% of the values" in line for line in result.text.splitlines())
    assert any(check.startswith("data.items: many are not found") for check in result.checks)


def test_integer_ids_that_overlap_by_chance_do_not_make_a_table_of_users(tmp_path: Path) -> None:
    log = [(u[1:], i[1:], t) for u, i, t in rows()]
    put(
        tmp_path,
        {
            "log.csv": table(["user_id", "item_id", "time"], log),
            "item.csv": table(["item_id", "title"], [(n, HIKING[n % 4]) for n in range(9)]),
        },
    )
    data = found(tmp_path).config.data
    assert (data.items, data.users) == ("item.csv", None)


def test_reviews_are_events_and_texts_at_once(tmp_path: Path) -> None:
    lines = [{"reviewerID": u, "asin": i, "unixReviewTime": t, "overall": n % 5 + 1.0, "reviewText": f"{HIKING[n % 4]} {n}", "helpful": {"a": 1}}
             for n, (u, i, t) in enumerate(rows())]  # fmt: skip
    put(tmp_path, {"reviews.json": "".join(json.dumps(line) + "\n" for line in lines)})
    result = found(tmp_path)
    assert result.config.data.texts == result.config.data.events == "reviews.json"
    assert result.dataset.texts["text"].to_list()[:2] == [f"{HIKING[0]} 0", f"{HIKING[1]} 1"]
    assert result.dataset.texts["user_id"].to_list()[0] == "u0"


@pytest.mark.parametrize(
    ("names", "positive"), [(("impression", "click", "buy"), ["buy", "click"]), (("view", "cart", "buy"), None), (("show", "skip"), None)]
)
def test_actions_that_are_not_wanted_are_no_targets(tmp_path: Path, names: tuple[str, ...], positive: list[str] | None) -> None:
    drawn = np.random.default_rng(0).integers(len(names), size=USERS * EVENTS)
    log = [(*row, names[n]) for row, n in zip(rows(), drawn, strict=True)]
    put(tmp_path, {"log.csv": table(["user_id", "item_id", "time", "event_type"], log)})
    result = found(tmp_path)
    assert result.config.data.columns["action"] == "event_type"
    assert (sorted(result.config.choose.positive) if result.config.choose.positive else None) == positive
    assert "every action counts" in result.text or positive


@pytest.mark.parametrize(("yes", "no", "positive"), [("1", "0", "1"), ("True", "False", "True"), ("1.0", "0.0", "1.0")])
def test_outcomes_of_impressions_become_their_action(tmp_path: Path, yes: str, no: str, positive: str) -> None:
    log = [(*row, yes if n % 3 == 0 else no, no if n % 4 else yes, n % 2) for n, row in enumerate(rows(step=86_400))]
    put(tmp_path, {"log.csv": table(["user_id", "item_id", "time_ms", "is_click", "is_like", "is_member"], log)})
    result = found(tmp_path)
    assert result.config.data.columns["action"] == "is_click"
    assert result.config.choose.positive == [positive]
    assert "other outcomes: is_like" in result.text
    assert "is_click is " + positive + " for 35.0% of the impressions" in result.text
    assert result.config.split.protocol == "time"


def test_several_files_are_scenarios_or_parts_or_the_same_again(tmp_path: Path) -> None:
    half = [row for row in rows() if int(row[1][1]) % 2]
    other = [row for row in rows(START + 7) if int(row[1][1]) % 2 == 0]
    header = ["user_id", "item_id", "time"]
    shops = found(put(tmp_path / "a", {"shop.csv": table(header, half), "video.csv": table(header, other)}))
    assert shops.config.scenarios.by_file is True
    assert shops.dataset.scenario_names == ["shop", "video"]
    assert any("parts of one log instead?" in check for check in shops.checks)
    parts = found(put(tmp_path / "b", {"log_01.csv": table(header, half), "log_02.csv": table(header, other)}))
    assert parts.config.scenarios.by_file is False
    assert parts.dataset.scenario_names == []
    assert len(parts.dataset.histories.items) == len(half) + len(other)
    copies = found(put(tmp_path / "c", {"all.csv": table(header, rows()), "train.csv": table(header, rows()[:30])}))
    assert copies.config.data.events == "all.csv"
    assert copies.unused == {"train.csv": "100% of its events are in all.csv too"}


def test_a_position_is_an_order_only_where_it_places_the_events(tmp_path: Path) -> None:
    placed = [(u, i, "", n % EVENTS) for n, (u, i, _) in enumerate(rows())]
    result = found(put(tmp_path / "a", {"log.csv": table(["user_id", "item_id", "time", "position"], placed)}))
    assert result.config.data.columns["order"] == "position"
    shown = [(u, i, t, n % 3) for n, (u, i, t) in enumerate(rows())]  # a place in a list, not in time
    result = found(put(tmp_path / "b", {"log.csv": table(["user_id", "item_id", "time", "position"], shown)}))
    assert "order" not in result.config.data.columns
    steps = [(u, i, (t - START) // 60) for u, i, t in rows()]
    result = found(put(tmp_path / "c", {"log.csv": table(["user_id", "item_id", "time"], steps)}))
    assert result.config.data.columns["order"] == "time"
    assert any("clock of its own" in check for check in result.checks)


def test_a_date_of_the_item_is_no_time_of_the_event(tmp_path: Path) -> None:
    log = [(u, i, f"2023-0{int(i[1]) + 1}-01", t) for u, i, t in rows()]
    result = found(put(tmp_path, {"log.csv": table(["user_id", "item_id", "release_date", "ts"], log)}))
    assert result.config.data.columns["time"] == "ts"
    only = [row[:3] for row in log]
    with pytest.raises(DataError, match="neither a time nor an order"):
        propose([put(tmp_path / "b", {"log.csv": table(["user_id", "item_id", "release_date"], only)})], tmp_path, now=NOW)


def test_what_people_come_back_to_may_be_recommended_again(tmp_path: Path) -> None:
    again = [(u, f"i{int(u[1]) % ITEMS}" if n % 2 else i, t) for n, (u, i, t) in enumerate(rows())]
    result = found(put(tmp_path, {"log.csv": table(["user_id", "item_id", "time"], again)}))
    assert result.config.choose.repeat == "allow"
    assert any(check.startswith("tasks.next.repeat") for check in result.checks)


def test_counts_of_the_whole_period_stay_out_of_the_fields(tmp_path: Path) -> None:
    plain = [(f"i{n}", HIKING[n % 4], 5 + n) for n in range(ITEMS)]
    put(
        tmp_path,
        {
            **SHOP,
            "items.csv": table(
                ["item_id", "title", "price", "play_cnt", "average_rating"], [(*row, n, n / 2) for n, row in enumerate(plain)]
            ),
        },
    )
    result = found(tmp_path)
    assert result.config.fields.items == {"title": "text", "price": "number"}
    assert "    # play_cnt: number" in result.text
    put(tmp_path, {"basic.csv": table(["item_id", "title", "price"], plain)})
    result = found(tmp_path)
    assert result.config.data.items == "basic.csv"
    assert "items.csv" in result.unused


def test_repeated_rows_are_dropped_where_times_are_exact(tmp_path: Path) -> None:
    twice = rows() + rows()[:4]
    result = found(put(tmp_path, {"log.csv": table(["user_id", "item_id", "time"], twice)}))
    assert result.config.data.duplicates == "drop"
    assert "4 rows are the same as an earlier one" in result.text
    assert len(result.dataset.histories.items) == len(rows())


TYPES: list[tuple[str, list[Any], FieldType, str]] = [
    ("kinds", ["a|b|c", "a|b", "c", "b|c"] * 6, FieldType.TAGS, "'|' in 75% of the values"),
    ("kinds", ["['a', 'b']", "['c']", "[]"] * 8, FieldType.TAGS, "lists written as text"),
    ("kinds", ['["a", "b"]', '["c"]'] * 8, FieldType.TAGS, "lists written as text"),
    ("kinds", ["drama, comedy", "comedy, war", "drama", "war, drama"] * 6, FieldType.TAGS, "cut by ','"),
    ("range", ["[10,100)", "[100,1k)"] * 12, FieldType.CATEGORY, "2 different values"),
    (
        "remark",
        ["Warm, light, and made to last for years of walking", "A stove, small; boils in a minute or two"] * 12,
        FieldType.CATEGORY,
        "",
    ),
    ("embedding", ["[0.1, 0.2]", "[1.5, -2]"] * 8, FieldType.VECTOR, "all of one length"),
    ("embedding", [[0.1, 0.2]] * 20, FieldType.VECTOR, "all of one length"),
    ("is_new", [0, 1] * 12, FieldType.CATEGORY, "only 0 and 1"),
    ("music_type", [1.0, 4.0, 9.0] * 12, FieldType.CATEGORY, "3 different numbers"),
    ("price", ["1.5", "2", "7"] * 12, FieldType.NUMBER, "numbers from 1.5 to 7"),
    ("brand_id", [1, 2, 3] * 12, FieldType.ID, "by its name"),
    ("评价", [f"这家酒店的房间很干净服务也很好第{n}次来了" for n in range(30)], FieldType.TEXT, "words on average"),
    ("branch", ["书籍", "平板", "手机"] * 12, FieldType.CATEGORY, "3 different values"),
]


@pytest.mark.parametrize(("name", "values", "kind", "why"), TYPES, ids=[f"{row[0]}-{n}" for n, row in enumerate(TYPES)])
def test_types_of_fields_and_the_fact_that_decides(name: str, values: list[Any], kind: FieldType, why: str) -> None:
    guessed, fact = explain_type(pl.Series(name, values))
    assert guessed == kind, fact
    assert why in fact


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *((name, "user_id") for name in ("user_id", "userId", "UserID", "uid", "visitorid", "reviewerID", "customer_id", "user", "用户id")),
        *(
            (name, "item_id")
            for name in ("item_id", "movieId", "asin", "parent_asin", "video_id", "itemid", "product", "article_id", "iid")
        ),
        *(
            (name, None)
            for name in ("user_feature_0", "reviewerName", "user-item_affinity_0", "conversationId", "author_id", "is_video_author")
        ),
    ],
)
def test_names_of_users_and_items(name: str, role: str | None) -> None:
    assert subject(name)[0] == role


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    title = "caf\u00e9 con leche muy caliente" if encoding == "latin-1" else "保暖防水的冬季徒步鞋"
    items = table(["item_id", "title"], [(f"i{n}", f"{title}{n}") for n in range(ITEMS)])
    result = found(put(tmp_path, {**SHOP, "items.csv": items.encode(encoding)}))
    assert result.config.data.encoding == encoding.removesuffix("-sig")
    assert result.dataset.items.frame["title"][0] == f"{title}0"
    assert result.config.text.language == ("en" if encoding == "latin-1" else "zh")


def test_different_encodings_cannot_be_said_and_are_refused(tmp_path: Path) -> None:
    items = table(["item_id", "title"], [(f"i{n}", "caf\u00e9") for n in range(ITEMS)]).encode("latin-1")
    put(tmp_path, {**SHOP, "items.csv": items, "users.csv": table(["user_id", "city"], [(f"u{n}", "Zürich") for n in range(USERS)])})
    with pytest.raises(DataError, match="several encodings"):
        propose([tmp_path], tmp_path, now=NOW)


def test_a_huge_file_is_sampled_from_its_beginning_middle_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BLOCK_BYTES", 3_000)
    path = tmp_path / "log.csv"
    path.write_text(table(["user_id", "item_id", "time"], [(f"u{n:06d}", f"i{n % 9}", START + n) for n in range(40_000)]))
    taken = sample_file(path, 30_000)
    assert taken.whole is False
    assert 900 < taken.frame.height < 2_000
    assert 38_000 <= taken.rows <= 42_000
    assert int(taken.frame["time"].cast(pl.Int64).max()) == START + 39_999
    assert "rows of about 40,000" in taken.extent()
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert (sample_file(packed, 30_000).rows, sample_file(packed, 30_000).whole) == (None, False)


def test_a_sample_ends_between_rows_even_inside_quotes(tmp_path: Path) -> None:
    body = "".join(f'u{n},"two\nlines, {n}"\n' for n in range(2_000))
    (tmp_path / "a.csv").write_text("user,text\n" + body)
    for limit in range(3_000, 3_040):
        frame = sample_file(tmp_path / "a.csv", limit).frame
        assert frame["text"].to_list()[-1] == f"two\nlines, {frame.height - 1}"


def test_large_parquet_and_json_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "HEAD_ROWS", 100)
    monkeypatch.setattr(sampling, "BLOCK_ROWS", 10)
    monkeypatch.setattr(sampling, "JSON_ROWS", 50)
    frame = pl.DataFrame({"user_id": range(5_000)})
    frame.write_parquet(tmp_path / "a.parquet")
    taken = sample_file(tmp_path / "a.parquet")
    assert (taken.frame.height, taken.rows, taken.frame["user_id"].max(), taken.whole) == (130, 5_000, 4_999, False)
    (tmp_path / "b.json").write_text(json.dumps(frame.to_dicts()))
    frame.write_ndjson(tmp_path / "c.jsonl")
    for name in ("b.json", "c.jsonl"):
        taken = sample_file(tmp_path / name)
        assert (taken.frame.height, taken.whole) == (50, False)


def test_odd_names_and_values_do_not_break_the_file(tmp_path: Path) -> None:
    odd = [(f"i{n}", f'"x: #{n}"', f'"- *a\n# b{n}"') for n in range(ITEMS)]
    result = found(put(tmp_path, {**SHOP, "items.csv": table(["item_id", "no: yes #1", "title"], odd)}))
    assert set(result.config.fields.items) == {"no: yes #1", "title"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"items.csv": SHOP["items.csv"]}, ["no event log", "items.csv: texts (title), but no users beside items"]),
        ({"log.csv": events(("item_id", "shelf", "time")).replace("u", "s")}, ["no event log", "a table by item_id"]),
        ({"log.csv": table(["item_id", "click", "time"], [(f"i{n % 5}", n % 2, START + n) for n in range(60)])}, ["(click), but no column says of whom"]),
        ({"log.csv": table(["user_id", "item_id"], [row[:2] for row in rows()])}, ["users (user_id) and items (item_id), but neither a time nor an order"]),
        ({"log.csv": table(["1", "2", "3"], rows())}, ["has no header", "1,2,3"]),
        ({"a.csv": "", "b.csv": "user_id,item_id,time\n", "c.csv": bytes(range(256)) * 20},
         ["a.csv: is empty", "b.csv: has columns but no rows", "c.csv: is not text"]),
        ({"a.bin": b"\x00\x01"}, ["a.bin: unknown file type '.bin'"]),
        ({"talk.jsonl": json.dumps({"messages": [{"text": "hi"}], "worker": 1}) + "\n"}, ["talk.jsonl: objects inside rows (messages)", "dialogues"]),
        ({"all.json": json.dumps({str(n): {"name": "x"} for n in range(9)})}, ["holds one object of 9 entries"]),
        ({"log.csv": "\ufeffx".encode("utf-16")}, ["looks like UTF-16"]),
        ({}, ["holds no files"]),
    ],
    ids=["items only", "no users", "impressions", "no order", "no header", "nothing readable", "binary", "dialogues", "one object", "utf-16", "empty folder"],
)  # fmt: skip
def test_refusals_say_what_was_found_instead(tmp_path: Path, files: dict[str, str | bytes], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        propose([put(tmp_path / "in", files)], tmp_path, now=NOW)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_source_that_an_importer_knows_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looks like sequences data.*m6rec import sequences"):
        propose([put(tmp_path / "in", {"log.txt": "1 2 3 4\n2 3 4 5\n"})], tmp_path, now=NOW)
