"""The benchmarks of zero-shot and of one checkpoint for everything: nothing of what is asked is in what is learned from."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import everything_data
import zero_shot
from task_rows import Codes, Events, Rows


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Shawshank Redemption, The", "The Shawshank  Redemption"),
        ("Amélie (Le Fabuleux destin)", "Amelie"),
        ("Tom & Jerry", "Tom and Jerry!"),
    ],
)
def test_titles_of_both_sides_meet(one: str, other: str) -> None:
    assert everything_data.plain(one) == everything_data.plain(other)


def test_dialogues_name_films_and_keep_the_official_test(tmp_path: Path) -> None:
    def talk(number: int, text: str) -> str:
        return json.dumps(
            {
                "conversationId": number,
                "initiatorWorkerId": 1,
                "respondentWorkerId": 2,
                "movieMentions": {"7": "Heat (1995)"},
                "initiatorQuestions": {"7": {"liked": 1}},
                "messages": [{"senderWorkerId": 1, "text": text}, {"senderWorkerId": 2, "text": "yes"}],
            }
        )

    for name, lines in (
        ("kgsf_test", [talk(1, "I like @7")]),
        ("kgsf_valid", [talk(2, "@7 or @8?")]),
        ("ievalm_valid", [talk(2, "again")]),
    ):
        with gzip.open(tmp_path / f"{name}_data.jsonl.gz", "wt") as handle:
            handle.write("\n".join(lines) + "\n")
    with gzip.open(tmp_path / "movies.json.gz", "wt") as handle:
        json.dump({"9": {"name": "Unknown (1950)"}}, handle)
    items = pl.DataFrame({"item_id": ["i6"], "title": ["Heat"], "year": [1995]})
    shared = everything_data.joined(items, tmp_path)
    assert shared == {"7": "i6"}
    first, second = everything_data.read_dialogues(tmp_path, shared)
    assert first["split"] == "test"
    assert first["messages"][0] == {"role": "user", "text": "I like Heat (1995)", "items": ["i6"], "liked": ["i6"]}
    assert second["split"] in ("train", "validation")
    assert second["messages"][0]["items"] == ["i6"]


def test_the_left_out_scenario_is_neither_trained_on_nor_counted(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    rows = {"user_id": ["1", "1", "2", "2"], "item_id": ["a", "b", "a", "b"], "time": [10, 20, 30, 40], "scenario": ["x", "y", "y", "x"]}
    split = ["train", "train", "validation", "test"]
    pl.DataFrame({**rows, "click": [1, 0, 1, 0], "split": split}).write_parquet(whole / "exposures.parquet")
    pl.DataFrame(rows).with_columns(scenario=pl.Series(["x", None, "y", "x"])).write_parquet(whole / "events.parquet")
    (whole / "config.yaml").write_text("fields: {context: null}\n")
    zero_shot.leave_out(whole, tmp_path / "left", "y")
    left = pl.read_parquet(tmp_path / "left" / "exposures.parquet")
    assert set(left["scenario"]) == {"x"}
    assert pl.read_parquet(tmp_path / "left" / "events.parquet")["scenario"].to_list() == ["x", None, "x"]
    asked = pl.read_parquet(tmp_path / "left" / "asked.parquet")
    assert asked["item_id"].to_list() == ["a"]
    assert "click" not in asked.columns


def test_counters_see_the_other_scenarios_alone() -> None:
    """Of the left-out scenario a user clicks everything, elsewhere nothing: the counters know the latter only."""
    size = 40
    scenario = np.tile([1, 2], size // 2)
    rows = Rows(
        times=np.arange(size, dtype=np.int64) * 1000,
        parts=np.where(np.arange(size) < 20, 0, np.where(np.arange(size) < 30, 1, 2)).astype(np.int8),
        labels=np.where(scenario == 1, 1.0, 0.0).astype(np.float32)[:, None],
        tasks=["click"],
        codes={"user": Codes(np.ones(size, np.int32), 2), "item": Codes(np.ones(size, np.int32), 2), "scenario": Codes(scenario, 3)},
        tags={},
        numbers={},
        item_codes={},
        events=Events(*(np.zeros(0, np.int64) for _ in range(4)), []),
        past=np.zeros((size, 2), np.int64),
        scenario_names=["x", "y"],
        cells=[{"scenario": "x", "task": "click", "rows": 5, "positives": 5}],
    )
    told = [scores[-2, 0] for _, scores in zero_shot._counted(rows, "x")]
    assert max(told) < 0.1
