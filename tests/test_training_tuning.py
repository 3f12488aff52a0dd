"""`m6rec tune`: the default first, shared stages, resuming after a kill, pruning, failures that end one trial only, files that load."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import JUDGED
from m6rec.base import extras
from m6rec.base.errors import CheckpointError, ConfigError, DataError, Interrupted, MissingExtraError, UsageError
from m6rec.config import M6RecConfig, load_config
from m6rec.training import tuning
from m6rec.training.loop import Loop
from m6rec.training.pipeline import plan
from m6rec.training.search_space import Dimension, parse_searches
from m6rec.training.stages_fit import Fit
from m6rec.training.study import Study, sole_user
from m6rec.training.trial_watch import validation_curve
from m6rec.training.tuning import LOCK, MARK, STUDY, Tuning, tune
from m6rec.training.watched import Watched, tuned

Build = Callable[..., M6RecConfig]
SEARCH = ["train.learning_rate=1e-3..1e-2:log", "tasks.next.own_share=0.0..1.0", "train.dropout=0.1..0.7"]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A run folder with everything up to the item states."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run / "stages", folder / "stages", ignore=shutil.ignore_patterns("fit-*", "evaluate-*", "index-*", "report-*"))
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Fits that train nothing: the curve climbs to the value, which is best at own_share 0.8. What was fitted, in order."""
    fitted: list[dict[str, Any]] = []

    def fit(self: Fit, bench: Any) -> dict[str, Any]:
        share, rate = bench.config.choose.own_share, bench.config.train.learning_rate
        if rate > 0.9:
            raise DataError("the loss of task 'choose' became nan at step 3; lower train.learning_rate")
        fitted.append({"own_share": share, "rate": rate})
        folder, value = bench.folder(self.name), 0.5 - (share - 0.8) ** 2
        folder.mkdir(parents=True, exist_ok=True)
        for epoch in (1, 2, 3):
            with open(folder / "log.jsonl", "a", encoding="utf-8") as handle:
                handle.write(json.dumps({"epoch": epoch, "ndcg@10": value * epoch / 3}) + "\n")
            bench.progress.note(epoch - 1, {}, {"ndcg@10": value})
        (folder / "fit.json").write_text(json.dumps({"best_epoch": 3, "ndcg@10": value, "with_agreement": value}))
        return {"best epoch": 3}

    monkeypatch.setattr(Fit, "run", fit)
    return fitted


def search(config: M6RecConfig, source: Path, run: Path, texts: list[str] | None = None, **more: Any) -> Tuning:
    return tune(config, source, run, space=parse_searches(texts or SEARCH, config), **more)


def values(found: Tuning) -> list[dict[str, Any]]:
    return [trial.values for trial in found.trials if trial.state not in ("unfinished", "running")]


# ---- what is tuned


@pytest.fixture
def judging(judged_sample: Path, judged_run: Path, tmp_path: Path) -> tuple[Path, Path, Callable[..., M6RecConfig]]:
    """The judged sample, a run folder with its data read, and its configuration with the task that chooses not trained."""
    folder = tmp_path / "judging"
    shutil.copytree(judged_run / "stages", folder / "stages", ignore=shutil.ignore_patterns("fit-*", "evaluate-*", "index-*", "report-*"))
    config = load_config(judged_sample / "config.yaml", [*JUDGED, "tasks.next.weight=0"])
    return (
        judged_sample,
        folder,
        lambda *tasks: config.model_copy(update={"tasks": {name: config.tasks[name] for name in ("next", *tasks)}}),
    )


def test_where_nothing_chooses_the_judged_metrics_are_tuned(judging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of those that are trained; of a figure that is not known, the others."""
    source, run, config = judging

    def fit(self: Fit, bench: Any) -> dict[str, Any]:
        folder, value = bench.folder(self.name), bench.config.train.learning_rate * 100
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"epoch": 1, "click auc": value / 2, "category quality": 0.5}, {"epoch": 2, "click auc": value, "category quality": None}]
        (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "fit.json").write_text(json.dumps({"best_epoch": 2, "click auc": value, "category quality": 0.5}))
        bench.progress.note(1, {}, {})
        return {}

    monkeypatch.setattr(Fit, "run", fit)
    found = search(config("click", "category"), source, run, ["train.learning_rate=1e-3..1e-2:log"], trials=2)
    assert found.metric == "mean of click auc, category quality"
    first = found.trials[0]
    assert first.value == pytest.approx((first.values["train.learning_rate"] * 100 + 0.5) / 2)
    assert first.curve == pytest.approx(
        {1: (first.values["train.learning_rate"] * 50 + 0.5) / 2, 2: first.values["train.learning_rate"] * 100}
    )
    assert found.best is not None
    assert "mean of click auc" in (run / "best.yaml").read_text(encoding="utf-8")


def test_one_judged_task_is_tuned_by_its_own_metric_and_nothing_by_one_line(judged_sample: Path) -> None:
    config = load_config(judged_sample / "config.yaml", [*JUDGED, "tasks.next.weight=0"])
    judging = SimpleNamespace(watched=lambda: {"click": "click auc"})
    assert tuned(SimpleNamespace(config=config, judging=judging, judging_texts=None)).name == "click auc"  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"nothing to tune by; allowed are .* tasks\.next\.weight: 1") as error:
        tuned(SimpleNamespace(config=config, judging=None, judging_texts=None))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    chosen = tuned(SimpleNamespace(config=load_config(judged_sample / "config.yaml")))  # type: ignore[arg-type]
    assert chosen.name == config.train.validation_metric


# ---- a whole study


def test_a_tiny_study_of_real_trainings(tiny_sample: Path, tiny_config: Build, run: Path) -> None:
    config = tiny_config("train.epochs=1")
    before = {path.name for path in (run / "stages").iterdir()}
    found = search(config, tiny_sample, run, trials=2)
    first, second = found.trials
    assert (first.default, second.default) == (True, False)
    assert first.values == {"train.learning_rate": 0.002, "tasks.next.own_share": 1.0, "train.dropout": 0.5}  # of the data: short histories
    assert first.state == second.state == "complete"
    assert list(first.curve) == [1]
    assert found.left == 0
    # Nothing was prepared, pretrained or read again, and of the two trainings the better one is kept.
    new = [path for path in (run / "stages").iterdir() if path.name not in before]
    assert [path.name.partition("-")[0] for path in new] == ["fit"]
    assert (new[0] / MARK).exists()
    assert not (run / "run.json").exists()
    # What it found is a configuration like any other, whose training is there already.
    best = load_config(run / "best.yaml")
    todo = [row["stage"] for row in plan(best, run, run) if row["status"] == "to do"]
    assert todo == ["evaluate", "index", "report"]
    with open(run / "trials.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert float(rows[0]["ndcg@10"]) == pytest.approx(first.value, abs=1e-6)
    assert "<svg" in (run / "tune.html").read_text(encoding="utf-8")


def test_best_yaml_holds_the_winner_and_says_what_was(tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any]) -> None:
    found = search(tiny_config(), tiny_sample, run, trials=6)
    assert found.best is not None
    assert found.best.value == max(0.5 - (one["own_share"] - 0.8) ** 2 for one in quick)
    best = load_config(run / "best.yaml")
    assert best.choose.own_share == found.best.values["tasks.next.own_share"]
    assert best.train.learning_rate == found.best.values["train.learning_rate"]
    assert best.model == tiny_config().model
    text = (run / "best.yaml").read_text(encoding="utf-8")
    assert f"validation ndcg@10 {found.best.value:.4f}" in text
    assert "The configuration as it was reached 0.4600" in text
    assert f"own_share: {best.choose.own_share}  # was 1.0" in text
    assert f"# Type: m6rec train {run / 'best.yaml'} --run {run}" in text


def test_where_nothing_beats_the_default_it_stays(tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any]) -> None:
    config = tiny_config("tasks.next.own_share=0.8")
    found = search(config, tiny_sample, run, trials=3)
    assert found.best is found.default
    assert found.best is not None
    assert found.best_config == config
    assert load_config(run / "best.yaml").train == config.train
    assert "the configuration as it was" in (run / "best.yaml").read_text(encoding="utf-8")


def test_a_default_outside_the_space_is_the_first_trial_all_the_same(
    tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any]
) -> None:
    found = search(tiny_config(), tiny_sample, run, ["tasks.next.own_share=0.6..0.9"], trials=3)
    assert quick[0]["own_share"] == 1.0
    assert found.trials[0].default
    assert all(0.6 <= one["own_share"] <= 0.9 for one in quick[1:])


def test_the_same_values_are_not_trained_twice(tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any]) -> None:
    found = search(tiny_config(), tiny_sample, run, ["tasks.next.own_share=1.0,0.8"], trials=6)
    assert [one["own_share"] for one in quick] == [1.0, 0.8]
    assert [trial.state for trial in found.trials] == ["complete"] * 6
    assert found.best is not None
    assert found.best.value == 0.5
    assert any(trial.reason.startswith("the same training as trial") for trial in found.trials)


# ---- going on


def test_more_trials_go_on_and_a_resumed_study_asks_what_an_uninterrupted_one_would(
    tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    whole = search(tiny_config(), tiny_sample, other, trials=10)  # beyond the random start: the sampler has to learn the same
    assert search(tiny_config(), tiny_sample, run, trials=4).left == 0
    real, calls = Fit.run, []

    def interrupted(self: Fit, bench: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, bench)

    monkeypatch.setattr(Fit, "run", interrupted)
    with pytest.raises(Interrupted, match=r"stopped; 5 of 10 trials are done and kept.*run the same command"):
        search(tiny_config(), tiny_sample, run, trials=10)
    assert (run / "best.yaml").exists()
    found = search(tiny_config(), tiny_sample, run, trials=10)
    assert values(found) == values(whole)
    assert [trial.value for trial in found.trials if trial.state == "complete"] == [t.value for t in whole.trials if t.state == "complete"]
    cut = [trial for trial in found.trials if trial.state == "unfinished"]
    assert [trial.reason for trial in cut] == ["Ctrl-C; it went on as another trial"]
    assert len(search(tiny_config(), tiny_sample, run, trials=10).trials) == len(found.trials)  # nothing left to do


def test_killed_in_the_middle_of_a_trial(tiny_sample: Path, tiny_config: Build, run: Path) -> None:
    """SIGKILL when the first epoch of the second trial is saved: its training goes on there, under the same values."""
    script = """
import os, signal, sys
from pathlib import Path
from conftest import TINY
from m6rec.config import load_config
from m6rec.training import trial_watch, tuning
from m6rec.training.search_space import parse_searches

heard = trial_watch.Curve.heard
def dying(self):
    heard(self)
    if self.trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
trial_watch.Curve.heard = dying
source, run = Path(sys.argv[1]), Path(sys.argv[2])
config = load_config(source / "config.yaml", TINY)
tuning.tune(config, source, run, space=parse_searches(sys.argv[3:], config), trials=2)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_sample), str(run), *SEARCH], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (state,) = [path.parent for path in run.glob("stages/fit-*/state.safetensors") if not (path.parent / "done.json").exists()]
    assert list(validation_curve(state / "log.jsonl", Watched(("ndcg@10",)))) == [1]
    found = search(tiny_config(), tiny_sample, run, trials=2)
    assert [trial.state for trial in found.trials] == ["complete", "unfinished", "complete"]
    cut, again = found.trials[1:]
    assert again.values == cut.values
    assert list(again.curve) == [1, 2]
    assert again.curve[1] == cut.curve[1]
    assert found.left == 0


def test_minutes_stop_at_an_epoch_and_the_trial_goes_on(
    tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tuning._Search, "_late", lambda self: len(quick) == 2)  # the second trial is under way
        found = search(tiny_config(), tiny_sample, run, trials=3, minutes=1)
    assert [trial.state for trial in found.trials] == ["complete", "unfinished"]
    assert found.left == 2
    found = search(tiny_config(), tiny_sample, run, trials=3)
    assert [trial.state for trial in found.trials] == ["complete", "unfinished", "complete", "complete"]
    assert found.trials[2].values == found.trials[1].values


# ---- pruning and failing


def test_trials_that_fall_behind_are_stopped_early(tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any]) -> None:
    found = search(tiny_config(), tiny_sample, run, ["tasks.next.own_share=0.0..4.0"], trials=8, prune_after=1)
    poor = [trial for trial in found.trials if trial.state == "pruned"]
    assert poor
    assert all(list(trial.curve) == [1, 2] for trial in poor)  # not before the second epoch
    assert found.best is not None
    assert max(trial.value for trial in poor) < found.best.value
    assert len(list(run.glob(f"stages/fit-*/{MARK}"))) == 1


def test_no_pruning(tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any]) -> None:
    found = search(tiny_config(), tiny_sample, run, ["tasks.next.own_share=0.0..4.0"], trials=4, prune_after=None)
    assert {trial.state for trial in found.trials} == {"complete"}


def test_a_failed_trial_is_recorded_and_ends_nothing(tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any]) -> None:
    texts = ["train.learning_rate=0.001,1.0", "tasks.next.own_share=0.0..1.0", "model.heads=1,3"]
    found = search(tiny_config(), tiny_sample, run, texts, trials=10)
    reasons = {trial.reason for trial in found.trials if trial.state == "failed"}
    assert any("became nan" in reason for reason in reasons)
    assert any("heads=3 must divide width=16" in reason for reason in reasons)
    assert found.best is not None
    assert len(found.trials) == 10


def test_when_every_trial_fails_the_reason_is_said(tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any]) -> None:
    with pytest.raises(DataError, match=r"none of 2 trials finished; the first: the loss .* became nan"):
        search(tiny_config("train.learning_rate=1"), tiny_sample, run, ["tasks.next.own_share=0.0..1.0"], trials=2)
    assert (run / "trials.csv").exists()
    assert not (run / "best.yaml").exists()


def test_a_divergence_of_a_real_training(tiny_sample: Path, tiny_config: Build, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(self: Loop, name: str, batch: Any) -> dict[str, float]:
        raise DataError(f"the loss of task '{name}' became nan at step 1")

    monkeypatch.setattr(Loop, "_step", diverge)
    with pytest.raises(DataError, match="none of 1 trials finished"):
        search(tiny_config(), tiny_sample, run, trials=1)
    assert not list(run.glob("stages/fit-*"))


# ---- what is refused


def test_a_study_of_something_else_is_refused(tiny_sample: Path, tiny_config: Build, run: Path, quick: list[Any], tmp_path: Path) -> None:
    search(tiny_config(), tiny_sample, run, trials=1)
    with pytest.raises(UsageError, match=r"made for another configuration.*another --run"):
        search(tiny_config("train.epochs=7"), tiny_sample, run, trials=1)
    with pytest.raises(UsageError, match="made for another search space"):
        search(tiny_config(), tiny_sample, run, SEARCH[:1], trials=1)
    data = tmp_path / "data"
    shutil.copytree(tiny_sample, data)
    assert len(search(tiny_config(folder=data), data, run, trials=1).trials) == 1  # equal bytes elsewhere are equal data
    with pytest.raises(UsageError, match="made for other data files"):
        search(tiny_config("data.min_item_events=2"), tiny_sample, run, trials=1)


def test_bad_requests(tiny_sample: Path, tiny_config: Build, run: Path) -> None:
    with pytest.raises(UsageError, match="--trials is 0; at least 1"):
        search(tiny_config(), tiny_sample, run, trials=0)
    with pytest.raises(UsageError, match="--minutes is -1"):
        search(tiny_config(), tiny_sample, run, minutes=-1)
    with sole_user(run / LOCK), pytest.raises(UsageError, match="another m6rec tune is working"):
        search(tiny_config(), tiny_sample, run, trials=1)
    (run / STUDY).write_text("no database")
    with pytest.raises(CheckpointError, match=r"tuning\.db is no study"):
        search(tiny_config(), tiny_sample, run, trials=1)


def test_without_optuna(tiny_sample: Path, tiny_config: Build, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"'optuna' is not installed; type: pip install 'm6rec\[train\]'"):
        search(tiny_config(), tiny_sample, run, trials=1)


def test_killed_between_queueing_and_closing(tmp_path: Path) -> None:
    """The trial that was queued already is closed, and not queued a second time."""
    space = [Dimension("train.dropout", 0.1, 0.6)]
    made_for = {"data": "d", "space": "s", "config": "c"}
    study = Study(tmp_path / STUDY, space, 0, made_for, None)
    study.ask({"train.dropout": 0.5})
    trial = study.trials()[0]
    study.study.enqueue_trial(trial.params, user_attrs={"again": trial.number, "default": True})
    study.close()
    study = Study(tmp_path / STUDY, space, 0, made_for, None)
    assert study.recover() == 1
    assert [one.state.name for one in study.trials()] == ["FAIL", "WAITING"]
    assert study.counted() == 0
    again = study.ask({})
    assert study.values(again) == {}  # the default configuration, as it is
    with pytest.raises(UsageError, match="another configuration"):
        Study(tmp_path / STUDY, space, 0, {**made_for, "config": "other"}, None)
    study.close()


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "m@1": 0.5}, {"epoch": 2}, {"epoch": 1, "m@1": 0.25}]])
def test_validation_curve(tmp_path: Path, rows: list[dict[str, float]]) -> None:
    if rows:
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert validation_curve(tmp_path / "log.jsonl", Watched(("m@1",))) == ({1: 0.25} if rows else {})


def test_the_test_cases_are_not_looked_at(tiny_sample: Path, tiny_config: Build, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from m6rec.data import splits

    class Hidden(splits.Split):
        def __getattribute__(self, name: str) -> Any:
            assert name != "test", "tuning looked at the test cases"
            return super().__getattribute__(name)

    real = splits.split
    monkeypatch.setattr("m6rec.training.workbench.split", lambda *words: Hidden(**vars(real(*words))))
    with pytest.raises(ConfigError, match="goes too far"):
        search(tiny_config(), tiny_sample, run, ["train.dropout=0.1..1.5"], trials=1)
    assert search(tiny_config("train.epochs=1"), tiny_sample, run, trials=1).left == 0
