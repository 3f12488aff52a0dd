"""Preparation of the tasks benchmark: what is kept, what is known when, which cells are measured. Tiny copies of the published files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from m6rec.config import load_config
from task_data import cells, merge_history, prepare, recognise

CLICK, NOTHING = 1, 0


def log_row(user: int, video: int, date: int, time: int, tab: int = 1, **labels: int) -> dict[str, object]:
    names = ("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view", "is_profile_enter")
    row = {"user_id": user, "video_id": video, "date": date, "time_ms": time, "tab": tab, "play_time_ms": 1500, "watch_ratio": 0.5}
    return {**row, "upload_dt": "2022-04-11", **dict.fromkeys(names, 0), **labels}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    first = [log_row(1, 10, 20220430, 2_000, is_click=1), log_row(1, 10, 20220430, 2_000, is_click=1), log_row(1, 11, 20220425, 1_000)]
    second = [
        log_row(1, 12, 20220501, 3_000, is_like=1, is_click=1, tab=0),
        log_row(2, 10, 20220505, 4_000),
        log_row(2, 11, 20220508, 5_000),
    ]
    for name, rows in (("log_a.csv.gz", first), ("log_b.csv.gz", second)):
        (folder / name).write_bytes(gzip.compress(pl.DataFrame(rows).write_csv().encode()))
    histories = [
        {"user_id": 1, "history_len": 3, "last_time_ms": 900, "watch": [12, 10, 11], "like": [11], "long_watch": [13, 10]},
        {"user_id": 3, "history_len": 1, "last_time_ms": 950, "watch": [10], "like": [], "long_watch": []},
    ]
    lines = "\n".join(json.dumps(row) for row in histories)
    (folder / "user_train_sequences_last50.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "video_features_basic_pure.csv").write_text(
        "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,music_id,music_type,tag\n"
        + "".join(f'{video},7,NORMAL,2022-04-11,Web,0.0,{video}000.0,720.0,1280.0,5,9.0,"3,{video}"\n' for video in (10, 11, 12, 13))
    )
    people = (
        "user_id,user_active_degree,is_live_streamer,is_video_author,follow_user_num,follow_user_num_range,register_days,onehot_feat3\n"
    )
    people += "".join(f'{user},full_active,-124,1,5,"(0,10]",100,8.0\n' for user in (1, 2, 3))
    (folder / "user_features_pure.csv.gz").write_bytes(gzip.compress(people.encode()))
    return folder


def test_videos(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(videos, out)
    exposures = pl.read_parquet(out / "exposures.parquet")
    assert exposures["time"].to_list() == [1_000, 2_000, 3_000, 4_000, 5_000]  # the repeat is gone, the rest in order
    assert exposures["split"].to_list() == ["train", "train", "validation", "test", "test"]
    assert exposures["scenario"].to_list() == ["tab1", "tab1", "tab0", "tab1", "tab1"]
    assert exposures["age_days"].to_list() == [14, 19, 20, 24, 27]
    assert "watch_ratio" not in exposures.columns
    events = pl.read_parquet(out / "events.parquet").filter(pl.col("user_id") == "1")
    assert events.select("item_id", "action", "time").rows() == [
        *(("13", "long_watch", 900), ("12", "watch", 900), ("10", "long_watch", 900), ("11", "like", 900)),
        *(("10", "click", 2_000), ("12", "like", 3_000)),
    ]
    items = pl.read_parquet(out / "items.parquet")
    assert items.row(0, named=True)["tags"] == "3|10"
    assert items.row(0, named=True)["shape"] == "tall"
    config = load_config(out / "config.yaml", [])
    assert config.split.validation_from == 3.0
    assert config.split.test_from == 4.0
    assert config.tasks["profile"].label == "is_profile_enter"
    settings = yaml.safe_load((out / "config.yaml").read_text())
    outcomes = {"play_seconds", "long_view", "is_click", "is_hate"}
    assert not outcomes & {name for fields in settings["fields"].values() for name in fields}


def test_history_lists_become_one() -> None:
    assert merge_history([1, 2, 1], [1], [1]) == [(1, "watch"), (2, "watch"), (1, "like")]
    assert merge_history([1, 2, 1, 3], [2, 1, 1], []) == [
        (2, "long_watch"),
        (1, "long_watch"),
        (2, "watch"),
        (1, "long_watch"),
        (3, "watch"),
    ]
    assert merge_history([], [], []) == []
    assert merge_history([5], [], [7, 5]) == [(7, "like"), (5, "like")]


def test_cells_are_counted_on_the_test_alone() -> None:
    frame = pl.DataFrame(
        {
            "scenario": ["a"] * 4 + ["b"] * 4,
            "split": ["test", "test", "test", "train", "test", "test", "test", "test"],
            "x": [1, 0, 0, 1, 1, 1, 0, 0],
            "y": [1, 1, 1, 1, 1, 1, 1, 0],
        }
    )
    assert cells(frame, {"ex": "x", "why": "y"}, 2) == [{"scenario": "b", "task": "ex", "positives": 2, "rows": 4}]
    both = cells(frame.drop("scenario"), {"ex": "x", "why": "y"}, 1)
    assert [(cell["scenario"], cell["task"], cell["positives"]) for cell in both] == [(None, "ex", 3), (None, "why", 6)]


def test_films(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "movies.dat").write_text("1::Heat (1995)::Crime\n2::Alien (1979)::Horror|Sci-Fi\n")
    (source / "users.dat").write_text("1::F::1::10::48067\n2::M::25::3::1\n")
    ratings = "user_id,item_id,rating,position,timestamp\n1,1,5,0,100\n1,2,3,1,\n2,1,4,0,300\n2,2,2,1,200\n"
    (source / "interactions.csv.gz").write_bytes(gzip.compress(ratings.encode()))
    split = "user_id,item_id,label_rating_ge_4,timestamp,split\n2,2,0,200,valid\n2,1,1,300,test\n1,1,1,100,train\n"
    (source / "time_split.csv.gz").write_bytes(gzip.compress(split.encode()))
    prepare(source, out)
    events = pl.read_parquet(out / "events.parquet")
    assert events.select("user_id", "item_id", "time", "action").rows() == [
        *(("1", "1", 100, "liked"), ("2", "2", 200, "disliked"), ("2", "1", 300, "liked")),  # the rating without a time is not there
    ]
    exposures = pl.read_parquet(out / "exposures.parquet")
    assert exposures.select("time", "split", "liked", "rating").rows() == [
        (100, "train", 1, 5),
        (200, "validation", 0, 2),
        (300, "test", 1, 4),
    ]
    assert pl.read_parquet(out / "users.parquet").columns == ["user_id", "gender", "age", "occupation"]


def test_a_random_log_is_later_than_the_other(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    head = ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3"
    head += ",user-item_affinity_0,user-item_affinity_1\n"
    days = [f"{day},2019-11-{24 + day} 00:00:0{day}+00:00,1,{1 + day % 3},{day % 2},0.5,aaaaaaaaa,b,c,d,0.0,2.5\n" for day in range(7)]
    for policy in ("bts", "random"):
        (source / f"{policy}_men_men.csv.gz").write_bytes(gzip.compress((head + "".join(days)).encode()))
        (source / f"{policy}_men_item_context.csv").write_text(
            ",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n0,1,-.5,x,y,z\n"
        )
    assert recognise(source) == "open-bandit"
    prepare(source, out)
    exposures = pl.read_parquet(out / "exposures.parquet")
    assert exposures["split"].to_list() == ["train"] * 5 + ["validation"] * 2 + ["test"] * 7
    assert exposures["time"].is_sorted()
    assert exposures.row(0, named=True)["item_id"] == "men-1"
    assert exposures["affinity"].to_list() == [2.5] * 14
    assert pl.read_parquet(out / "users.parquet").height == 1
    with pytest.raises(SystemExit, match="none of the folders"):
        recognise(tmp_path)
