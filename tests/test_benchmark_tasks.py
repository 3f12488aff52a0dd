"""The tasks benchmark: what is known before a row, counts by hand, baselines, what peers are given and what is kept of them, the table."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

import task_arms
import task_beside
import task_studies
import tasks
from m6rec.baselines.choosing import Predicted, cell_quality, choose, validation_quality
from m6rec.baselines.counters import counters, logit, sigmoid
from m6rec.baselines.logistic import hashed_features, in_bins, logistic_regression
from m6rec.baselines.trees import lightgbm_counts, lightgbm_raw, strongest
from m6rec.data.running_counts import earlier_sums
from m6rec.evaluation.judged import Judged
from peers import environment, judging
from peers.judging import PEERS, Judges, fingerprint, suits, write_exchange
from task_arms import Arm, Arms
from task_beside import form_beside
from task_counts import counts, event_sums, faded_sums, group_keys
from task_data import cells, of_people
from task_ours import questions
from task_rows import TEST, TRAIN, VALIDATION, Rows, events_before, read_rows
from task_table import judged_cells, make_rows, markdown

X, USERS, ITEMS = 900, 40, 25
START = 1_650_000_000_000


def write_folder(folder: Path, seed: int = 0) -> Path:
    """A prepared folder in which some people and some items are liked better."""
    generator = np.random.default_rng(seed)
    users, items = generator.integers(0, USERS, X), generator.integers(0, ITEMS, X)
    taste, charm = generator.normal(size=USERS), generator.normal(size=ITEMS)
    good = generator.random(X) < sigmoid(1.5 * taste[users] + 1.5 * charm[items])
    times = START + np.sort(generator.integers(0, 400, X)) * 60_000  # many at the same moment
    split = np.array(["train"] * 500 + ["validation"] * 200 + ["test"] * 200)
    exposures = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in users],
            "item_id": [f"i{item}" for item in items],
            "time": times,
            "scenario": generator.choice(["feed", "shop"], X),
            "split": split,
            "click": good.astype(np.int64),
            "like": (good & (generator.random(X) < 0.5)).astype(np.int64),
            "device": generator.choice(["phone", "desk"], X),
        }
    )
    before = pl.DataFrame({"user_id": ["u0", "u0", "u1"], "item_id": ["i3", "i4", "i3"], "time": [START - 5, START - 9, START - 5]})
    events = pl.concat(
        [
            before.with_columns(action=pl.lit("view")),
            exposures.filter(pl.col("click") == 1).select("user_id", "item_id", "time", action=pl.lit("click")),
        ]
    )
    folder.mkdir(parents=True)
    tables = {
        "events": events,
        "exposures": exposures,
        "items": pl.DataFrame(
            {
                "item_id": [f"i{item}" for item in range(ITEMS)],
                "brand": [f"b{item % 12}" for item in range(ITEMS)],
                "tags": [f"a{item % 3}|z" for item in range(ITEMS)],
                "price": [float(item) if item else None for item in range(ITEMS)],
            }
        ),
        "users": pl.DataFrame({"user_id": [f"u{user}" for user in range(USERS)], "land": ["x", "y"] * (USERS // 2)}),
    }
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    judged = {"click": "click", "like": "like"}
    config = {
        "data": {name: f"{name}.parquet" for name in tables},
        "fields": {
            "items": {"brand": "category", "tags": "tags", "price": "number"},
            "users": {"land": "category"},
            "context": {"device": "category"},
        },
        "tasks": {"next": {"answer": "choose"}} | {name: {"answer": "judge", "label": label} for name, label in judged.items()},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "cells.json").write_text(json.dumps({"form": "none", "cells": cells(exposures, judged, 20)}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("tasks") / "data")


@pytest.fixture(scope="module")
def rows(folder: Path) -> Rows:
    return read_rows(folder)


@pytest.fixture(scope="module")
def counted(rows: Rows) -> dict[str, np.ndarray]:
    return counts(rows)


def test_rows(rows: Rows) -> None:
    assert [int((rows.parts == part).sum()) for part in (TRAIN, VALIDATION, TEST)] == [500, 200, 200]
    assert rows.tasks == ["click", "like"]
    assert rows.scenario_names == ["feed", "shop"]
    assert len(rows.cells) == 4
    assert rows.codes["land"].size == 3
    assert np.isnan(rows.numbers["price"][rows.codes["item"].values == 1]).all()  # i0 is the first of the table
    assert rows.tags["tags"].values.shape == (X, 6)
    assert set(rows.tags["tags"].values[:, 2:].ravel()) == {0}
    place = rows.cell_rows({"scenario": "shop", "task": "click"}, TEST)
    assert set(rows.codes["scenario"].values[place]) == {2}


def test_history_is_strictly_before(rows: Rows, folder: Path) -> None:
    events = pl.read_parquet(folder / "events.parquet").sort("time", maintain_order=True)
    exposures = pl.read_parquet(folder / "exposures.parquet")
    items, actions = rows.histories(np.arange(X), 8)
    for row in (0, 10, 450, 899):
        user, time = exposures["user_id"][row], exposures["time"][row]
        before = events.filter((pl.col("user_id") == user) & (pl.col("time") < time))
        wanted = [1 + int(item[1:]) for item in before["item_id"]][-8:]
        assert [item for item in items[row] if item] == wanted
        assert (actions[row] > 0).sum() == len(wanted)
    again = events_before(rows.events, rows.users, rows.times)
    np.testing.assert_array_equal(again, rows.past)


def test_sums_by_hand() -> None:
    keys, times = np.array([1, 1, 1, 2, 1]), np.array([10, 20, 20, 20, 30])
    values = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(earlier_sums(keys, times, values), [[0, 0], [1, 1], [1, 1], [0, 0], [3, 2]])
    faded = faded_sums(keys, times, values, half_life=10)
    np.testing.assert_allclose(faded, [[0, 0], [0.5, 0.5], [0.5, 0.5], [0, 0], [0.25 + 1, 0.25 + 0.5]])


def test_counts_are_what_was_there_before(rows: Rows, counted: dict[str, np.ndarray]) -> None:
    click = rows.labels[:, 0]
    user, item, times = rows.codes["user"].values, rows.codes["item"].values, rows.times
    brand = rows.codes["brand"].values
    for row in (3, 100, 500, 899):
        earlier = times < times[row]
        prior = (click[earlier].sum() + click[rows.train].mean()) / (earlier.sum() + 1)
        for name, same in (
            ("user", user == user[row]),
            ("item x scenario", (item == item[row]) & (rows.codes["scenario"].values == rows.codes["scenario"].values[row])),
            ("user x brand", (user == user[row]) & (brand == brand[row])),
        ):
            seen = earlier & same
            assert counted[f"{name}: n"][row] == seen.sum()
            assert counted[f"{name}: click"][row] == pytest.approx((click[seen].sum() + 10 * prior) / (seen.sum() + 10), rel=1e-5)
        of_item = [past for past, at in zip(rows.events.items, rows.events.times, strict=True) if at < times[row] and past == item[row]]
        assert counted["events of item: n"][row] == len(of_item)
        same = (user == user[row]) & earlier
        minutes = (times[row] - times[same].max()) / 60_000 if same.any() else np.nan
        np.testing.assert_allclose(counted["user: minutes since"][row], minutes, rtol=1e-5)
        assert counted["user: exposures in 30 min"][row] == (same & (times >= times[row] - 1_800_000)).sum()
    assert set(group_keys(rows)) >= {"user", "item", "brand", "user x scenario", "user x item", "scenario"}


def test_nothing_of_the_future_is_counted(folder: Path, rows: Rows, counted: dict[str, np.ndarray], tmp_path: Path) -> None:
    moment = rows.times[700]  # the first test row
    first = int((rows.times < moment).sum())
    for name in ("events", "exposures", "items", "users"):
        table = pl.read_parquet(folder / f"{name}.parquet")
        if name == "events":
            table = table.filter(pl.col("time") < moment)
        if name == "exposures":
            later = pl.col("time") >= moment
            table = table.with_columns(
                pl.when(later).then(1 - pl.col(label)).otherwise(pl.col(label)).alias(label) for label in ("click", "like")
            )
        table.write_parquet(tmp_path / f"{name}.parquet")
    for name in ("config.yaml", "cells.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    other = counts(read_rows(tmp_path))
    places = np.flatnonzero(rows.times == moment)
    for name, values in counted.items():
        np.testing.assert_array_equal(values[:first], other[name][:first])
        np.testing.assert_array_equal(values[places], other[name][places])


def test_event_sums_of_an_unknown_key(rows: Rows) -> None:
    found = event_sums(rows, np.zeros_like(rows.events.items), np.zeros(X, dtype=np.int32))
    assert not found.any()


def test_baselines_find_what_is_planted(rows: Rows, counted: dict[str, np.ndarray]) -> None:
    found = [counters(rows), logistic_regression(rows), lightgbm_raw(rows), lightgbm_counts(rows, counted)]
    asked = rows.parts != TRAIN
    for predicted in found:
        assert np.isfinite(predicted.values[asked]).all()
        assert predicted.values[asked].min() >= 0
        assert predicted.values[asked].max() <= 1
        assert set(predicted.facts["chosen"]) >= {"click", "like"}
        assert validation_quality(rows, "click", predicted.values[:, 0]) > 0.6
    assert max(np.mean([cell_quality(rows, cell, p.values[:, 0], TEST) for cell in rows.cells[:2]]) for p in found) > 0.68
    chosen = strongest(rows, counted, 5)
    assert len(chosen) == 5
    assert any(name.startswith(("user", "item")) for name in chosen)


def test_choice_is_made_on_validation_cell_by_cell(rows: Rows) -> None:
    truth = rows.labels[:, 0]
    poor, good = (0.5 + 0.1 * truth * (rows.parts == part) for part in (TEST, VALIDATION))  # right on the test alone; on validation alone
    one = np.where(rows.codes["scenario"].values == 2, truth, 0.5)
    place = next(number for number, cell in enumerate(rows.cells) if (cell["scenario"], cell["task"]) == ("shop", "click"))
    found = choose(rows, iter([({"a": 1}, "click", poor), ({"a": 2}, "click", good), ({"a": 3, "cell": place}, "click", one)]), "x")
    assert found.facts["chosen"]["click"]["a"] == 2
    assert "shop/click" not in found.facts["chosen"]  # no better there
    np.testing.assert_array_equal(found.values[:, 0], good.astype(np.float32))
    assert np.isnan(found.values[:, 1]).all()
    found = choose(rows, iter([({"a": 1}, "click", poor), ({"a": 3, "cell": place}, "click", one)]), "x")
    index = rows.cell_rows(rows.cells[place], VALIDATION)
    np.testing.assert_array_equal(found.values[index, 0], truth[index])


def test_bins_and_hashing(rows: Rows) -> None:
    values = np.where(np.arange(X) < 500, np.arange(X) % 100, np.nan)
    bins = in_bins(rows, values, 4)
    assert set(bins[500:]) == {0}
    assert [int((bins[:500] == code).sum()) for code in (1, 2, 3, 4)] == [125, 125, 125, 125]
    assert set(in_bins(rows, np.full(X, np.nan))) == {0}
    features = hashed_features(rows)
    assert features.shape[0] == X
    same = (rows.codes["item"].values == rows.codes["item"].values[0]) & (rows.codes["user"].values == rows.codes["user"].values[0])
    assert same.sum() >= 1
    assert features[0].nnz > 10


def test_peers_get_no_test_label(rows: Rows, counted: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_exchange(tmp_path / "exchange", rows, {"user: click": counted["user: click"]})
    about = json.loads((tmp_path / "exchange" / "about.json").read_text())
    with np.load(tmp_path / "exchange" / "rows.npz") as arrays:
        test = arrays["parts"] == TEST
        assert np.isnan(arrays["labels"][test]).all()
        np.testing.assert_array_equal(arrays["labels"][~test], rows.labels[~test])
        for name in (*about["categories"], *about["lists"], *about["counts"], *about["past"]):
            assert arrays[name].dtype == np.int32
            assert 0 <= arrays[name].min() <= arrays[name].max() < about["sizes"][name]
        items, _ = rows.histories(np.arange(X))
        np.testing.assert_array_equal(arrays["past item"], items)
    assert "click" not in about["categories"]
    assert about["cells"][0]["scenario_code"] == 1 + rows.scenario_names.index(about["cells"][0]["scenario"])


def test_fingerprint_of_rows(rows: Rows, tmp_path: Path) -> None:
    same = read_rows(write_folder(tmp_path / "same"))
    assert fingerprint(same) == fingerprint(rows)
    assert fingerprint(read_rows(write_folder(tmp_path / "other", seed=1))) != fingerprint(rows)


def test_roster() -> None:
    assert environment.pinned(judging.ENVIRONMENT, judging.PACKAGE)
    assert (judging.RUNNERS / "run_rechub.py").exists()
    wanted = judging.settings("mmoe", seed=3)
    assert json.loads(json.dumps(wanted)) == wanted
    assert (wanted["seed"], wanted["threads"]) == (3, 1)


FAKE_RUNNER = """
import json, sys
from pathlib import Path
import numpy as np

exchange, work = Path(sys.argv[1]), Path(sys.argv[2])
settings = json.loads(Path(sys.argv[3]).read_text())
with np.load(exchange / "rows.npz") as arrays:
    asked = arrays["parts"] != 0
    rate = np.nanmean(arrays["labels"][:, 0])
    if not (work / "once").exists():
        (work / "once").touch()
        sys.exit("killed")
    about = json.loads((exchange / "about.json").read_text())
    spread = arrays[about["counts"][0]][asked, None] / about["sizes"][about["counts"][0]]
    values = np.clip(rate * (0.5 + spread) * np.ones((1, len(about["tasks"]))), 0.001, 0.999).astype(np.float32)
measured = {"cpu_seconds": 2.0, "search_cpu_seconds": 5.0, "examples_per_cpu_second": 100.0, "peak_mb": 10.0, "settings": {"lr": 1}}
(work / "progress.json").write_text(json.dumps({**measured, "runs": [{"validation": 0.7}]}))
np.save(work / "predictions.npy", values)
"""


def test_a_peer_from_start_to_cache(
    rows: Rows, counted: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run_rechub.py").write_text(FAKE_RUNNER, encoding="utf-8")
    monkeypatch.setattr(judging, "RUNNERS", tmp_path)
    monkeypatch.setattr(judging, "ready", lambda name, root: sys.executable)
    judges = Judges(rows, lambda: counted, tmp_path / "place", tmp_path / "environments", True, tmp_path / "results")
    assert judges.measure("mmoe") is None
    judges = Judges(rows, lambda: counted, tmp_path / "place", tmp_path / "environments", False, tmp_path / "results")
    assert judges.measure("mmoe") is None
    assert "goes on where it stopped" in capsys.readouterr().out
    fresh = judges.measure("mmoe")
    assert fresh is not None
    assert not list((tmp_path / "place").glob("mmoe-*"))
    again = judges.measure("mmoe")
    assert again is not None
    np.testing.assert_array_equal(again.values, fresh.values)
    assert np.isnan(fresh.values[rows.parts != TEST]).all()
    assert fresh.facts["examples_per_second"] == 100.0
    assert "seed 0" in fresh.facts["note"]
    kept = next((tmp_path / "results").glob("*/mmoe-*.npz"))
    with np.load(kept) as arrays:
        assert arrays["logits"].dtype == np.float16
        np.savez_compressed(kept, logits=arrays["logits"][:-1])
    with pytest.raises(SystemExit, match="remove it and run the peer again"):
        judges.measure("mmoe")


def test_who_has_nothing_to_do(rows: Rows) -> None:
    assert all(suits(name, rows) for name in PEERS)
    alone = replace(rows, scenario_names=[], cells=rows.cells[:1])
    assert [name for name in PEERS if not suits(name, alone)] == ["esmm", "star", "pepnet"]


def test_table(rows: Rows) -> None:
    truth = np.where(np.isnan(rows.labels), 0, rows.labels)
    perfect = Predicted("ours", (0.1 + 0.8 * truth).astype(np.float32), {"seconds": 3.0, "examples_per_second": 1234.5})
    blind = Predicted("blind", np.full_like(truth, 0.5), {"note": "knows nothing"})
    table = make_rows(rows, [("ours", perfect), ("baseline", blind)], "ours", resamples=50)
    assert table[0]["mean_auc"][0] == 1.0
    assert table[1]["mean_auc"] == [0.5, 0.5, 0.5]
    assert table[1]["reference_minus_this"] == [0.5, 0.5, 0.5]
    assert table[1]["cells"]["shop/click"]["reference_minus_this"][0] == 0.5
    assert table[0]["cells"]["feed/click"]["rows"] == len(rows.cell_rows(rows.cells[0], TEST))
    assert table[1]["mean"]["log_loss"] == pytest.approx(np.log(2))
    page = markdown({"data": "d", "statement": "How.", "rows": table})
    assert "| ours | ours | 1.0000 (1.0000-1.0000) |  | 1.0000 |" in page
    assert "| blind | baseline | 0.5000 (0.5000-0.5000) | +0.5000 (+0.5000 to +0.5000) |" in page
    assert "| 3 s | 1,234 |" in page
    assert "| **1.0000** | 0.5000 |" in page
    alone = Predicted(
        "alone", np.where(np.arange(len(rows.tasks)) == 0, 0.5, perfect.values).astype(np.float32), {}
    )  # no idea of the first
    alone = Predicted("alone", np.where(np.isnan(rows.labels), 0.5, alone.values), {})
    page = markdown(
        {"data": "d", "statement": "How.", "rows": make_rows(rows, [("ours", perfect), ("single", alone)], "ours", resamples=50)}
    )
    assert "single-task models: better 2 (feed/click, shop/click), worse none, of 4." in page
    hollow = Predicted("hollow", np.full_like(truth, np.nan))
    with pytest.raises(SystemExit, match="has no answer for"):
        judged_cells(rows, hollow)
    assert logit(np.array([0.5]))[0] == 0


def test_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert tasks.parse(["--data", "d"]).peers == []
    assert tasks.parse(["--data", "d", "--peers"]).peers == list(PEERS)
    assert tasks.parse(["--data", "d", "--peers", "din"]).peers == ["din"]
    with pytest.raises(SystemExit):
        tasks.parse(["--data", "d", "--peers", "mmoo"])
    assert "did you mean 'mmoe'" in capsys.readouterr().err


def test_the_whole_script_with_answers_given(
    folder: Path, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "work" / "small"
    asked: list[tuple[str, list[str]]] = []

    def train(place: Path, name: str, seed: int, threads: int, settings: list[str], config: Path | None = None) -> dict[str, object]:
        asked.append((name, sorted(yaml.safe_load((config or place / "data" / "config.yaml").read_text())["tasks"])))
        return {"run": str(tmp_path), "seconds": 2.0, "name": name, "settings": list(settings)}

    def predicted(name: str, rows: Rows, place: Path, training: dict[str, object], note: str = "") -> Predicted:
        values = np.full(rows.labels.shape, np.nan, dtype=np.float32)
        weight = next((float(s.rpartition("=")[2]) for s in training["settings"] if s.startswith("tasks.like.weight=")), 1.0)
        wanted = [name] if str(training["name"]).startswith("only-") else rows.tasks
        for task in wanted:
            column = rows.tasks.index(task)
            values[:, column] = 0.5 + 0.2 * weight / 16 * (rows.labels[:, column] - 0.5)
        return Predicted(name, values, dict(training))

    monkeypatch.setattr(tasks, "recognise", lambda source: "kuairand")
    monkeypatch.setattr(tasks, "prepare", lambda source, out, form, people: write_folder(out))
    monkeypatch.setattr(tasks.ours, "train", train)
    monkeypatch.setattr(tasks.ours, "predicted", predicted)
    monkeypatch.setattr(tasks.ours, "judging_speed", lambda run: {"examples_per_second": 7.0})
    monkeypatch.setattr(tasks.ours, "latency", lambda *words, **more: {"p50_ms": 1.5, "p95_ms": 2.0})
    monkeypatch.setattr(task_studies, "RARE", 0.4)
    words = ["--data", str(tmp_path / "small"), "--work", str(tmp_path / "work"), "--threads", "1", "--baselines", "counters"]
    shares = {"options": 0.7, "everything": 0.75}

    def added(run: Path, place: Path, task: str, policy: str, settings: dict[str, float]) -> dict[str, object]:
        best = settings["learning_rate"] == task_studies.ADDED[policy][1]["learning_rate"]
        value = shares[policy] if best else 0.9  # which has the worse validation
        return {"validation": float(best), "auc": {f"shop/{task}": value}, "weights": 9, "share": 0.01}

    def arm(
        arms: Arms, name: str, changed: Sequence[str] = (), *, config: Path | None = None, until: str = "fit", measured: Any = None
    ) -> Arm:
        training = train(arms.place, name, arms.seed, arms.threads, [*changed, *arms.settings], config)
        judged = judged_cells(arms.rows, predicted(name, arms.rows, arms.place, training), 50)
        return Arm(name, judged, judged, {"cpu_seconds": 2.0, **(measured(arms.run) if measured else {})})

    monkeypatch.setattr(task_studies, "added", added)
    monkeypatch.setattr(Arms, "arm", arm)
    tasks.main([*words, "--seeds", "0", "1", "2", "--studies", "balance", "options"])
    assert [one for one in asked if one[0].startswith(("seed", "only"))] == [
        *((f"seed-{seed}", ["click", "like", "next"]) for seed in (0, 1, 2)),
        *(("only-click", ["click", "next"]), ("only-like", ["like", "next"])),
    ]
    assert len([one for one in asked if not one[0].startswith(("seed", "only", "without"))]) == 9 + len(task_studies.ADAPTIVE)
    record = json.loads((tmp_path / "work" / "tasks.json").read_text())
    assert record["machine"] == environment.machine(1)
    result = record["results"][0]
    assert [row["kind"] for row in result["rows"]] == ["ours", "single", "baseline"]
    assert result["rows"][0]["facts"]["note"].startswith("seed 1, in the middle of 1.0000")
    assert result["rows"][1]["reference_minus_this"] == [0.0, 0.0, 0.0]
    assert result["studies"]["balance"]["rare"] == ["like"]
    assert result["studies"]["balance"]["adaptive_minus_fixed"] == [0.0, 0.0, 0.0]
    assert [one for one in asked if one[0].startswith("without")] == [
        ("without click", ["like", "next"]),
        ("without like", ["click", "next"]),
    ]
    page = capsys.readouterr().out
    assert "| click | 0.7000 | 0.7500 | 80.0% | 1.00% |" in page
    assert "| m6rec | ours | 1.0000" in page
    assert "| 7 | 1.50 ms | seed 1" in page
    assert "| fixed 0.0625 | 1.0000 | 2 s |" in page
    heads = next(line for line in page.splitlines() if line.startswith("| scorer"))
    assert {line.count("|") for line in page.splitlines() if line.startswith(("| m6rec", "| smoothed"))} == {heads.count("|")}
    assert (place / "baselines").is_dir()
    tasks.main([*words, "--seeds"])  # what was made is read again
    assert "| m6rec" not in capsys.readouterr().out


def test_an_arm_is_trained_once(rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal settings: read again, the measured cells in their order; other settings: another arm. What is measured is measured at once."""
    trained: list[list[str]] = []

    def answered(run: Path, config: Path, settings: list[str], until: str) -> dict[str, list[Judged]]:
        trained.append(settings[4:])
        truth = np.array([1.0, 0.0, 1.0, 0.0])
        scores = np.array([0.9, 0.1, 0.2, 0.8])  # right in the first scenario, wrong in the second
        scenarios = np.array([0, 0, 1, 1])
        one = Judged(
            "m6rec",
            "click",
            "binary",
            truth,
            scores,
            users=np.arange(4),
            scenarios=scenarios,
            scenario_names=["shop", "feed"],
            resamples=50,
        )
        return {"validation": [one], "test": [one]}

    monkeypatch.setattr(task_arms, "trained", answered)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "config.yaml").write_text("tasks: {}")
    arms = Arms(rows, tmp_path, 0, 1, ["train.epochs=1"])
    first = arms.arm("fixed 2", ["tasks.like.weight=2"], measured=lambda run: {"run": run.name})
    again = arms.arm("fixed 2", ["tasks.like.weight=2"])
    arms.arm("fixed 2", ["tasks.like.weight=4"])
    assert trained == [["train.epochs=1", "tasks.like.weight=2"], ["train.epochs=1", "tasks.like.weight=4"]]
    assert first.facts == again.facts
    assert again.facts["run"] == "studies"
    assert [cell.cell for cell in again.test] == ["feed/click", "shop/click"]  # as in rows.cells
    assert [cell.value("auc") for cell in again.test] == [0.0, 1.0]
    assert again.mean("validation") == 0.5


def test_kept_answers_are_read_as_they_are(rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --kept nothing is trained where answers are; without it they are made again where the run says so."""
    (tmp_path / "seed-0").mkdir()
    count = int((rows.parts != TRAIN).sum())
    pl.DataFrame({"click": np.linspace(0, 1, count), "like": np.full(count, 0.5)}).write_parquet(tmp_path / "seed-0" / "answers.parquet")
    monkeypatch.setattr(tasks.ours, "train", lambda *words: pytest.fail("trained"))
    found = tasks.answered("m6rec", "seed-0", 0, rows, tmp_path, tasks.parse(["--data", "d", "--kept"]), [])
    np.testing.assert_allclose(found.values[rows.parts != TRAIN, rows.tasks.index("click")], np.linspace(0, 1, count), rtol=1e-6)
    assert found.facts == {"seconds": 0.0}


def test_a_share_of_the_people(folder: Path) -> None:
    """Whoever is left out is so everywhere; what has no people stays."""
    kept = {name: of_people(pl.read_parquet(folder / f"{name}.parquet"), 0.5) for name in ("exposures", "users", "items")}
    people = set(kept["users"]["user_id"])
    assert 0.2 * USERS < len(people) < 0.8 * USERS
    assert set(kept["exposures"]["user_id"]) <= people
    assert kept["items"].height == ITEMS


def test_questions_have_no_answers(folder: Path, rows: Rows) -> None:
    asked = questions(folder)
    assert asked.columns == ["user_id", "item_id", "time", "scenario", "device"]
    where = np.flatnonzero(rows.parts != TRAIN)
    assert asked.height == len(where)
    np.testing.assert_array_equal(asked["time"].to_numpy(), rows.times[where])
    assert [1 + int(item[1:]) for item in asked["item_id"]] == rows.codes["item"].values[where].tolist()


@pytest.mark.parametrize(
    ("head", "form"), [("text,category", "texts"), ("label,review", "texts"), ("user_id,item_id,label", None), ("text,place", None)]
)
def test_texts_with_labels_are_known_by_their_columns(head: str, form: str | None, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(f"\ufeff{head}\n1,2\n", encoding="utf-8")
    assert form_beside(tmp_path) == form


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    """A folder of texts with labels."""
    folder = tmp_path / "queries"
    folder.mkdir()
    (folder / "reviews.csv").write_text("label,review\n1,fine\n", encoding="utf-8")
    return folder


def test_texts_and_the_sample_stand_in_the_table_of_all_data(queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(task_beside.texts, "main", lambda words: asked.append(words) or "| texts |")
    monkeypatch.setattr(task_beside.planted, "main", lambda words: asked.append(words) or "| planted |")
    work = tmp_path / "work"
    tasks.main(["--data", str(queries), "--data", "sample", "--work", str(work), "--seeds", "4"])
    assert asked[0] == ["--data", f"queries={queries}", "--work", str(work / "texts"), "--parts", "accuracy", "--seeds", "4"]
    assert asked[1][:2] == ["--work", str(work / "sample-4")]
    assert asked[1][-2:] == ["--seed", "4"]
    page = (work / "tasks.md").read_text(encoding="utf-8")
    assert all(part in page for part in ("## queries", "| texts |", "| planted |"))
    assert [one["data"] for one in json.loads((work / "tasks.json").read_text(encoding="utf-8"))["results"]] == ["queries", "sample"]
    tasks.main(["--data", str(queries), "--work", str(work), "--seeds", "1", "2"])
    assert asked[2][-3:] == ["--seeds", "1", "2"]
    tasks.main(["--data", "sample", "--work", str(work), "--threads", "1", "--set", "train.epochs=1"])
    assert asked[3] == [
        *("--work", str(work / "sample"), "--ways", "auto", "--threads", "1", "--seed", "0", "--set", "train.epochs=1"),
    ]


@pytest.mark.parametrize(
    ("data", "words", "said"),
    [
        ("texts", ["--set", "train.epochs=1"], "--set is for logs of exposures and the word sample, not for folders of texts"),
        ("texts", ["--threads", str(os.cpu_count())], "--threads is for logs of exposures and the word sample, not for folders of texts"),
        ("texts", ["--baselines"], "--baselines is for logs of exposures, not for folders of texts"),
        ("texts", ["--only-studies"], "--only-studies is for logs of exposures, not for folders of texts"),
        ("texts", ["--seeds"], "--seeds without a number trains nothing of ours"),
        ("sample", ["--peers", "din"], "--peers is for logs of exposures, not for the word sample (sample)"),
        ("sample", ["--studies", "balance"], "--studies is for logs of exposures, not for the word sample (sample)"),
        ("sample", ["--people", "0.5"], "--people is for logs of exposures, not for the word sample (sample)"),
        ("sample", ["--seeds", "1", "2"], "--seeds takes one number for the word sample, not 2"),
    ],
)
def test_options_that_a_form_of_data_has_no_use_for_are_refused(
    data: str, words: list[str], said: str, queries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--data", str(queries) if data == "texts" else data]
    with pytest.raises(SystemExit):
        tasks.parse([*chosen, *words])
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error
    assert tasks.parse([*chosen, *words, "--only", "kuairand"]).only == ["kuairand"], "it is not measured then"
