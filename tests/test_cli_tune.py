"""`m6rec tune` on the command line: the plan, misuse, and a cold-user run from end to end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, CommandLine
from m6rec.config import M6RecConfig
from m6rec.training.pipeline import open_run, train
from m6rec.training.stages_data import all_texts
from m6rec.training.stages_fit import Fit

Call = Callable[..., CommandLine]
SET = [word for setting in (*TINY, "train.epochs=1") for word in ("--set", setting)]


def test_the_plan_is_printed_and_nothing_is_written(m6rec: Call, tiny_sample: Path, tmp_path: Path) -> None:
    done = m6rec("tune", tiny_sample / "config.yaml", "--run", tmp_path / "run", "--dry-run")
    assert done.code == 0
    assert "train.learning_rate          0.0005..0.008:log" in done.out
    assert not (tmp_path / "run").exists()
    plan = m6rec("tune", tiny_sample / "config.yaml", "--dry-run", "--json", "--search", "train.dropout=0.1..0.5").json()
    assert plan["space"] == [{"key": "train.dropout", "low": 0.1, "high": 0.5, "log": False, "step": None, "whole": False}]


def test_misuse_is_one_line(m6rec: Call, tiny_sample: Path, tmp_path: Path) -> None:
    config = tiny_sample / "config.yaml"
    assert "did you mean 'train.dropout'" in m6rec("tune", config, "--search", "train.dropuot=0..1").error(2)
    assert "--trials is 0" in m6rec("tune", config, "--run", tmp_path, "--trials", "0").error(2)
    assert "both given" in m6rec("tune", config, "--search", "train.dropout=0..0.5", "--space", "s.yaml").error(2)
    assert "can't read the search space" in m6rec("tune", config, "--space", tmp_path / "none.yaml").error(2)


def test_a_study_and_its_json_and_ctrl_c(
    m6rec: Call, tiny_sample: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run / "stages", run / "stages", ignore=shutil.ignore_patterns("fit-*", "evaluate-*", "index-*", "report-*"))
    words = ["tune", tiny_sample / "config.yaml", "--run", run, "--trials", "1", *SET, "--search", "train.dropout=0.1..0.7"]

    def stop(self: Fit, bench: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "run", stop)
        line = m6rec(*words).error(130)
    assert "0 of 1 trials are done" in line
    assert f"to go on type: m6rec tune {tiny_sample / 'config.yaml'} --run {run} --trials 1 --search train.dropout=0.1..0.7 --set" in line
    found = m6rec(*words, "--json").json()
    assert found["left"] == 0
    assert found["best"]["values"] == {"train.dropout": 0.5}
    assert found["as_configured"] == found["best"]["value"]
    done = m6rec(*words)
    assert "no trial beat the configuration as it is" in done.out
    assert f"next: m6rec train {run / 'best.yaml'} --run {run}" in done.out


def test_cold_users_from_end_to_end(tiny_sample: Path, tiny_config: Callable[..., M6RecConfig], tmp_path: Path) -> None:
    config = tiny_config(
        "split.protocol=cold_users", "split.cold_fraction=0.3", "split.given=[0,1,3]", "train.epochs=1", "evaluation.baselines=[popularity]"
    )
    train(config, tiny_sample, tmp_path / "run", until="evaluate")
    bench = open_run(tmp_path / "run")
    held = {bench.dataset.users.ids.ids[user] for user in bench.split.test.requests.users}  # type: ignore[union-attr]
    assert bench.dataset.texts is not None
    written = set(bench.dataset.texts.filter(bench.dataset.texts["user_id"].is_in(list(held)))["text"].drop_nulls())
    others = set(bench.dataset.texts.filter(~bench.dataset.texts["user_id"].is_in(list(held)))["text"].drop_nulls())
    assert written
    assert not (written - others) & set(all_texts(bench))
    (folder,) = (tmp_path / "run").glob("stages/evaluate-*")
    page = (folder / "table.json").read_text(encoding="utf-8")
    assert '"events": "0"' in page
    assert '"events": "3"' in page
    assert '"diversity@10"' in page
