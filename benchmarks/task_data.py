"""Folders with exposures for the tasks benchmark, made of three published data sets: events, exposures, items, users and a config.yaml.

    python benchmarks/task_data.py SOURCE OUT [--as kuairand|ml-1m|open-bandit]

What decides a figure is decided here once: which rows are training, validation and test (column `split` of the exposures), what was known
before a row (events, with their times), and which cells are measured (cells.json, made by counting labels of the test rows). Columns that
are an outcome of the exposure, or were counted over the whole period, are left out. docs/tasks.md says what and why.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from m6rec.base.storage import atomic_file, atomic_folder, write_json
from m6rec.data.account import Account
from m6rec.data.importers.movielens import MovielensImporter

MIN_POSITIVES = 100  # a cell is measured where the test has that many positives, and negatives
DAY = 86_400_000  # milliseconds
PARTS = ("train", "validation", "test")

#: Column of the KuaiRand log -> what such an event is called; the first that holds names it.
ACTIONS = {
    "is_forward": "forward",
    "is_follow": "follow",
    "is_comment": "comment",
    "is_like": "like",
    "is_profile_enter": "profile",
    "long_view": "long_watch",
    "is_click": "click",
}
LABELS = [*ACTIONS, "is_hate"]
IDS = {"onehot_feat3", "onehot_feat7", "onehot_feat8"}  # anonymous columns with more than a hundred values


@dataclass(frozen=True)
class TaskData:
    """Tables of one data set, and the settings that go with them. `tasks` are measured, all binary labels of exposures: name -> label."""

    tables: dict[str, pl.DataFrame]
    fields: dict[str, dict[str, str]]
    tasks: dict[str, str]
    positive: list[str]
    settings: dict[str, Any]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--as", dest="form", choices=list(FORMS), help="default: by the files of the folder")
    arguments = parser.parse_args(words)
    prepare(arguments.source, arguments.out, arguments.form)
    print(f"{arguments.out}: " + (arguments.out / "cells.json").read_text(encoding="utf-8"))


def prepare(source: Path, out: Path, form: str | None = None, *, people: float = 1.0) -> None:
    """Write the folder `out`, whole or not at all. `form` is one of FORMS; None: by the files that are there. people: a share of them, by hash.

    Raises:
        SystemExit: no form fits the folder.
    """
    form = form or recognise(source)
    data = FORMS[form].read(source)
    if people < 1:
        data = replace(data, tables={name: of_people(table, people) for name, table in data.tables.items()})
    config: dict[str, Any] = {
        "data": {name: f"{name}.parquet" for name in data.tables},
        "fields": data.fields,
        "tasks": {"next": {"answer": "choose", "positive": data.positive}}
        | {name: {"answer": "judge", "label": label, "kind": "binary"} for name, label in data.tasks.items()},
        **data.settings,
    }
    with atomic_folder(out) as temporary:
        for name, table in data.tables.items():
            table.with_columns(pl.col("^(user|item)_id$").cast(pl.String)).write_parquet(temporary / f"{name}.parquet")
        write_json(temporary / "cells.json", {"form": form, "cells": cells(data.tables["exposures"], data.tasks, FORMS[form].least)})
        with atomic_file(temporary / "config.yaml") as path:
            path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8")


def of_people(table: pl.DataFrame, share: float) -> pl.DataFrame:
    """The rows of a share of the people; all where the table has none."""
    if "user_id" not in table.columns:
        return table
    ids = table["user_id"].cast(pl.String).unique()
    kept = [one for one in ids if int.from_bytes(hashlib.sha256(one.encode()).digest()[:8], "big") < share * 2**64]
    return table.filter(pl.col("user_id").cast(pl.String).is_in(kept))


def recognise(source: Path) -> str:
    for name, form in FORMS.items():
        if all(any(source.glob(pattern)) for pattern in form.files):
            return name
    known = "; ".join(f"{name} has {', '.join(form.files)}" for name, form in FORMS.items())
    raise SystemExit(f"{source} is none of the folders that are known here: {known}; name one with --as")


def cells(exposures: pl.DataFrame, tasks: dict[str, str], least: int = MIN_POSITIVES) -> list[dict[str, Any]]:
    """The measured cells, (scenario, task) with `least` positives and negatives among the test rows: counts only, no result."""
    by = ["scenario"] if "scenario" in exposures.columns else []
    test = exposures.filter(pl.col("split") == "test")
    found = []
    for task, label in tasks.items():
        counted = test.group_by(by or pl.lit("all").alias("scenario")).agg(positives=pl.col(label).sum(), rows=pl.len())
        for row in counted.sort("scenario").to_dicts():
            if least <= row["positives"] <= row["rows"] - least:
                found.append({"scenario": row["scenario"] if by else None, "task": task, **{k: row[k] for k in ("positives", "rows")}})
    return found


# --- KuaiRand: short videos, impressions with outcomes -----------------------------------------------------------------------------------


def read_kuairand(source: Path) -> TaskData:
    """Impressions of 15 tabs: training 25-30 April, validation 1-4 May, test 5-8 May by the log's own dates (China's)."""
    log = pl.concat([pl.read_csv(path, infer_schema_length=None) for path in sorted(source.glob("log_*.csv.gz"))])
    log = log.unique(maintain_order=True).sort("time_ms", maintain_order=True)
    exposures = log.select(
        pl.col("user_id"),
        pl.col("video_id").alias("item_id"),
        pl.col("time_ms").alias("time"),
        pl.format("tab{}", pl.col("tab")).alias("scenario"),
        *LABELS,
        split=pl.when(pl.col("date") < 20220501)
        .then(pl.lit(PARTS[0]))
        .when(pl.col("date") < 20220505)
        .then(pl.lit(PARTS[1]))
        .otherwise(pl.lit(PARTS[2])),
        age_days=(pl.col("date").cast(pl.String).str.to_date("%Y%m%d") - pl.col("upload_dt").str.to_date()).dt.total_days(),
        play_seconds=pl.col("play_time_ms") / 1000,
    )
    earlier = pl.read_ndjson(source / "user_train_sequences_last50.jsonl.gz")
    positive = pl.any_horizontal(pl.col(label) == 1 for label in ACTIONS)
    action = pl.coalesce(pl.when(pl.col(label) == 1).then(pl.lit(name)) for label, name in ACTIONS.items())
    seen = exposures.filter(positive).select("user_id", "item_id", "time", action.alias("action"), "scenario")
    events = pl.concat([earlier_events(earlier), seen])
    items, item_fields = _videos(source / "video_features_basic_pure.csv")
    users, user_fields = _people(source / "user_features_pure.csv.gz")
    return TaskData(
        tables={"events": events, "exposures": exposures, "items": items, "users": users},
        fields={"items": item_fields, "users": user_fields, "context": {"age_days": "number"}},
        tasks={"click": "is_click", "long_view": "long_view", "like": "is_like", "comment": "is_comment", "profile": "is_profile_enter"},
        positive=["long_watch", "like", "comment", "follow", "forward"],
        settings={"split": moments(exposures, "ms")},
    )


def earlier_events(histories: pl.DataFrame) -> pl.DataFrame:
    """Events of the histories from before the log, oldest first within a user.

    Of each user there are the newest 50 videos watched, liked and watched for long, each list in order, and the time of the last event alone.
    Likes and long watches are found again in the watched list from its end; those that are not are older than it. All events of a user
    get the time of the last: it is no earlier than their own, so nothing is known too soon.
    """
    columns: dict[str, list[Any]] = {"user_id": [], "item_id": [], "time": [], "action": []}
    for row in histories.iter_rows(named=True):
        merged = merge_history(row["watch"], row["long_watch"], row["like"])
        columns["user_id"] += [row["user_id"]] * len(merged)
        columns["time"] += [row["last_time_ms"]] * len(merged)
        columns["item_id"] += [item for item, _ in merged]
        columns["action"] += [action for _, action in merged]
    frame = pl.DataFrame(columns, schema_overrides={"user_id": pl.Int64, "item_id": pl.Int64, "time": pl.Int64, "action": pl.String})
    return frame.with_columns(scenario=pl.lit(None, dtype=pl.String))


def merge_history(watched: list[int], long: list[int], liked: list[int]) -> list[tuple[int, str]]:
    """(item, action) in order, oldest first. Lists are the newest of their kind; an event in several is called by the rarest: like, long_watch, watch.

    >>> merge_history([1, 2, 3, 2], [9, 8, 3], [9, 2])
    [(9, 'like'), (8, 'long_watch'), (1, 'watch'), (2, 'watch'), (3, 'long_watch'), (2, 'like')]
    """
    events = [(item, "watch") for item in watched]
    for action, chosen in (("long_watch", long), ("like", liked)):
        place, rest = len(events) - 1, len(chosen)
        while rest and place >= 0:
            if events[place][0] == chosen[rest - 1]:
                events[place] = (events[place][0], action)
                rest -= 1
            place -= 1
        events[:0] = [(item, action) for item in chosen[:rest]]
    return events


def _videos(path: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """What was known of a video when it was uploaded; the counts of the other table cover the test and are not read."""
    videos = pl.read_csv(path, infer_schema_length=None)
    width, height = pl.col("server_width"), pl.col("server_height")
    shape = pl.when(width > height).then(pl.lit("wide")).when(width < height).then(pl.lit("tall")).otherwise(pl.lit("square"))
    table = videos.select(
        pl.col("video_id").alias("item_id"),
        author=pl.col("author_id").cast(pl.String),
        music=pl.col("music_id").cast(pl.String),
        tags=pl.col("tag").str.replace_all(",", "|"),
        kind="video_type",
        upload="upload_type",
        music_kind=pl.col("music_type").cast(pl.Int64).cast(pl.String),
        shape=shape,
        uploaded="upload_dt",
        seconds=pl.col("video_duration") / 1000,
    )
    types = {"author": "id", "music": "id", "tags": "tags", "seconds": "number"}
    return table, {name: types.get(name, "category") for name in table.columns if name != "item_id"}


def _people(path: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    people = pl.read_csv(path, infer_schema_length=None)
    kept = [name for name in people.columns if name.startswith("onehot_feat") or name.endswith("_range")]
    texts = [
        pl.col(name).cast(pl.Int64).cast(pl.String) if people.schema[name].is_numeric() else pl.col(name)
        for name in (*kept, "user_active_degree")
    ]
    flags = [
        pl.when(pl.col(name) == 1).then(pl.lit("yes")).otherwise(pl.lit("no")).alias(name)
        for name in ("is_live_streamer", "is_video_author")
    ]
    table = people.select("user_id", *texts, *flags, "register_days")
    types = dict.fromkeys(IDS, "id") | {"register_days": "number"}
    return table, {name: types.get(name, "category") for name in table.columns if name != "user_id"}


# --- MovieLens-1M: a global time split ------------------------------------------------------------------------------------------------------


def read_movielens(source: Path) -> TaskData:
    """Ratings as exposures, a rating of 4 or 5 is a like. Events are the ratings that have a time, those of the split among them.

    A rating without a time is left out: where it stands in a user's order is known, whether it was before somebody else's test is not.
    """
    extra = any(source.glob("movies_extrainfos.dat*"))
    tables = MovielensImporter().read(source, MovielensImporter.Options(extra=extra), Account())
    rated = pl.read_csv(source / "interactions.csv.gz").drop_nulls("timestamp").sort("timestamp", "user_id", "position")
    parts = pl.DataFrame({"split": ["train", "valid", "test"], "part": PARTS})
    exposures = (
        pl.read_csv(source / "time_split.csv.gz")
        .join(rated.select("user_id", "item_id", "rating"), on=["user_id", "item_id"], how="left", maintain_order="left")
        .join(parts, on="split", how="left", maintain_order="left")
        .sort("timestamp", maintain_order=True)
        .select("user_id", "item_id", time="timestamp", split="part", liked="label_rating_ge_4", rating="rating")
    )
    action = pl.when(pl.col("rating") >= 4).then(pl.lit("liked")).otherwise(pl.lit("disliked"))
    events = rated.select("user_id", "item_id", time="timestamp", action=action, value="rating")
    assert tables.items is not None  # recognised by its movies.dat
    people = pl.DataFrame({"user_id": rated["user_id"].unique()}) if tables.users is None else tables.users.select(pl.exclude("zip"))
    return TaskData(
        tables={"events": events, "exposures": exposures, "items": tables.items, "users": people},
        fields={
            kind: {name: str(t.value) for name, t in of.items()}
            for kind, of in (("items", tables.item_fields), ("users", tables.user_fields))
        },
        tasks={"like": "liked"},
        positive=["liked"],
        settings={"split": moments(exposures, "s")},
    )


# --- Open Bandit: places in a list and logged propensities -----------------------------------------------------------------------------------


def read_open_bandit(source: Path) -> TaskData:
    """Two shops (men, women) as scenarios. Training and validation (the last two of seven days): what the bandit showed; test: the random log.

    Nobody has an identity here: a user is a combination of the four hashed features. Both logs are of the same week; the random one is dated
    a week later, weekday and hour as they were, so that none of its clicks is known while anything else is trained, counted or validated.
    """
    logs, contexts = [], []
    for path in sorted(source.glob("*_*.csv.gz")):
        policy, campaign = path.name.split(".")[0].split("_")[:2]
        log = pl.read_csv(path).with_columns(
            policy=pl.lit(policy), scenario=pl.lit(campaign), item_id=pl.format("{}-{}", pl.lit(campaign), "item_id")
        )
        affinities = [name for name in log.columns if name.startswith("user-item_affinity_")]
        chosen = pl.concat_list(affinities).list.get(pl.col("item_id").str.extract(r"(\d+)$").cast(pl.Int64))
        logs.append(log.with_columns(affinity=chosen).drop(affinities, ""))
    for path in sorted(source.glob("bts_*_item_context.csv")):
        campaign = path.name.split("_")[1]
        if any((log["scenario"][0] == campaign) for log in logs):
            contexts.append(pl.read_csv(path).with_columns(item_id=pl.format("{}-{}", pl.lit(campaign), "item_id")).drop(""))
    features = [f"user_feature_{number}" for number in range(4)]
    log = pl.concat(logs).with_columns(
        pl.col("timestamp").str.to_datetime(time_zone="UTC").dt.epoch("ms").alias("time"),
        user_id=pl.concat_str([pl.col(name).str.slice(0, 6) for name in features], separator="-"),
    )
    random, day = pl.col("policy") == "random", (pl.col("time") - pl.col("time").min()) // DAY
    part = pl.when(random).then(pl.lit(PARTS[2])).when(day < 5).then(pl.lit(PARTS[0])).otherwise(pl.lit(PARTS[1]))
    exposures = (
        log.with_columns(split=part, time=pl.col("time") + pl.when(random).then(7 * DAY).otherwise(0))
        .sort("time", maintain_order=True)
        .select("user_id", "item_id", "time", "scenario", "split", "position", "affinity", "click", propensity="propensity_score")
    )
    items = pl.concat(contexts).select("item_id", *(pl.col(f"item_feature_{number}").alias(f"feature_{number}") for number in range(4)))
    items = items.with_columns(pl.col(f"feature_{number}").str.slice(0, 8) for number in (1, 2, 3))
    users = log.select("user_id", *(pl.col(name).str.slice(0, 8) for name in features)).unique("user_id", maintain_order=True)
    return TaskData(
        tables={
            "events": exposures.filter(pl.col("click") == 1).select("user_id", "item_id", "time", "scenario", action=pl.lit("click")),
            "exposures": exposures,
            "items": items,
            "users": users,
        },
        fields={
            "items": {"feature_0": "number"} | {f"feature_{number}": "category" for number in (1, 2, 3)},
            "users": dict.fromkeys(features, "category"),
            "context": {"affinity": "number"},
        },
        tasks={"click": "click"},
        positive=["click"],
        settings={"split": moments(exposures, "ms")},
    )


def moments(exposures: pl.DataFrame, unit: str) -> dict[str, Any]:
    """Settings of the split of events: from the first validation row on nothing is trained, from the first test row on nothing is validated."""
    first = [exposures.filter(pl.col("split") == part)["time"].min() for part in PARTS[1:]]
    seconds = [float(moment) / (1000 if unit == "ms" else 1) for moment in first]  # type: ignore[arg-type]
    return {"protocol": "time", "validation_from": seconds[0], "test_from": seconds[1]}


@dataclass(frozen=True)
class Form:
    """How one data set is told and read."""

    files: tuple[str, ...]
    read: Callable[[Path], TaskData]
    least: int = MIN_POSITIVES


FORMS = {
    "kuairand": Form(("log_*.csv.gz", "user_train_sequences_last50.jsonl.gz", "video_features_basic_pure.csv"), read_kuairand),
    "ml-1m": Form(("time_split.csv.gz", "interactions.csv.gz", "movies.dat"), read_movielens),
    "open-bandit": Form(("bts_*.csv.gz", "random_*.csv.gz", "bts_*_item_context.csv"), read_open_bandit, least=40),
}


if __name__ == "__main__":
    main()
