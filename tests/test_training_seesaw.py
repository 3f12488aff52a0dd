"""The seesaw: which variants there are, what their comparison says of planted gains and harms, and that nothing is trained twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m6rec.base.errors import UsageError
from m6rec.cli.program import run as run_command
from m6rec.config import M6RecConfig
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.seesaw import JOINT, Change, Measured, compare
from m6rec.evaluation.seesaw_report import seesaw_page
from m6rec.evaluation.slices import Bounds
from m6rec.training import seesaw as runs
from m6rec.training.pipeline import open_run
from m6rec.training.run_folder import RunFolder
from m6rec.training.workbench import Workbench

ROWS, USERS = 1200, 300


def config_of(**tasks: Any) -> M6RecConfig:
    named = {
        "next": {"answer": "choose", "interest": {}},
        "click": {"label": "clicked"},
        "buy": {"label": "bought", "after": "click"},
        **tasks,
    }
    return M6RecConfig.build({"data": {"events": "e.csv", "exposures": "x.csv"}, "tasks": named, "fusion": {}, "train": {"threads": 1}})


def judged(task: str, skill: float, noise: int = 0) -> Judged:
    """Probabilities that follow the truth by `skill`; the same people and truth every time, in two scenarios."""
    drawn = np.random.default_rng(0)
    truth = (drawn.random(ROWS) < 0.3).astype(np.float32)
    random = np.random.default_rng([1, noise])
    logit = skill * (truth - 0.3) + random.normal(size=ROWS)
    users, scenarios = np.arange(ROWS) % USERS, (np.arange(ROWS) % 10 < 3).astype(np.int16)
    probability = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return Judged(
        "m6rec", task, "binary", truth, probability, users=users, scenarios=scenarios, scenario_names=["feed", "shop"], resamples=100
    )


def ranked(better: float) -> Evaluation:
    random = np.random.default_rng(0)
    ranks = np.maximum(1.0, random.integers(1, 30, USERS) - better)
    return Evaluation(
        "m6rec",
        ranks=ranks,
        offsets=np.arange(USERS + 1),
        targets=np.zeros(USERS, np.int32),
        users=np.arange(USERS),
        seen=np.ones(USERS, np.int64),
        catalogue=30,
        cutoffs=[10],
        bounds=Bounds(5, 20),
        resamples=100,
    )


def planted() -> dict[str, dict[str, Measured]]:
    """click gains by joining, owed to buy; next loses; buy is as it was."""
    return {
        JOINT: {"next": ranked(0), "click": judged("click", 2.0), "buy": judged("buy", 1.0)},
        "alone next": {"next": ranked(5)},
        "alone click": {"click": judged("click", 0.5)},
        "alone buy": {"buy": judged("buy", 1.0)},
        "without next": {"click": judged("click", 2.0), "buy": judged("buy", 1.0)},
        "without click": {"next": ranked(0), "buy": judged("buy", 1.0)},
        "without buy": {"next": ranked(0), "click": judged("click", 0.5)},
    }


# ---- variants


def test_the_variants_of_three_tasks() -> None:
    found = runs.variants(config_of())
    assert list(found) == [
        JOINT,
        *(f"alone {name}" for name in ("next", "click", "buy")),
        *(f"without {name}" for name in ("next", "click", "buy")),
    ]
    trained = {name: [task for task, settings in one.tasks.items() if settings.weight > 0] for name, one in found.items()}
    assert trained["alone click"] == ["click"]
    assert trained["without click"] == ["next", "buy"]
    alone = found["alone buy"]
    assert alone.choose.weight == 0.0  # it still reads histories
    assert alone.judges["buy"].after is None  # there is no click to come after
    assert found["without next"].judges["buy"].after == "click"
    assert all(one.fusion is None and one.evaluation.baselines == [] for one in found.values())
    M6RecConfig.build(alone.plain())  # every variant is a configuration of its own
    assert found[JOINT].tasks == config_of().tasks


def test_variants_do_without_what_rows_are_worth() -> None:
    """The tasks that say it are not all in a variant; the joint model, which the run has trained, is as it was."""
    config = config_of(click={"label": "clicked", "metrics": ["satisfaction@3", "auc"]})
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"worth": {"click": 1.0, "buy": 1.0}})})
    found = runs.variants(config)
    assert found[JOINT].tasks == config.tasks
    assert found[JOINT].evaluation.worth == {"click": 1.0, "buy": 1.0}
    for name in ("alone click", "without buy", "alone buy"):
        assert found[name].evaluation.worth == {}
    assert found["alone click"].judges["click"].metrics == ["auc"]


def test_a_task_of_weight_zero_is_no_part_of_it() -> None:
    found = runs.variants(config_of(next={"answer": "choose", "weight": 0}))
    assert [name for name in found if "next" in name] == []


def test_one_task_is_no_seesaw() -> None:
    one = M6RecConfig.build({"data": {"events": "e.csv"}})
    with pytest.raises(UsageError, match="the run has one: next; add a task") as caught:
        runs.variants(one)
    assert "\n" not in str(caught.value)


# ---- what is said of them


def test_planted_gains_and_harms_are_found() -> None:
    seesaw = compare(planted())
    verdicts = {change.cell: change.verdict for change in seesaw.single}
    assert verdicts == {"next": "worse", "feed/click": "better", "shop/click": "better", "feed/buy": "same", "shop/buy": "same"}
    assert seesaw.counts() == {"better": 2, "same": 2, "worse": 1}
    tasks, cells, values, sure = seesaw.matrix()
    assert tasks == ["next", "click", "buy"]
    helped = {(tasks[row], cells[column]) for row, column in zip(*np.nonzero(sure), strict=True)}
    assert helped == {("buy", "feed/click"), ("buy", "shop/click")}
    assert (values[sure] > 0).all()
    own = [np.isnan(values[tasks.index(task), cells.index(cell)]) for task, cell in (("next", "next"), ("click", "feed/click"))]
    assert own == [True, True]  # a model without a task says nothing of that task
    change = next(change for change in seesaw.single if change.cell == "next")
    assert change.joint - change.other == pytest.approx(change.difference)


def test_lower_may_be_better() -> None:
    change = Change("rate", "rate", "rmse", 0.8, 0.9, -0.1, -0.15, -0.05)
    assert (change.gain, change.verdict) == (0.1, "better")
    assert Change("next", "next", "ndcg@10", 0.8, 0.9, -0.1, -0.15, -0.05).verdict == "worse"


def test_small_cells_are_left_out() -> None:
    seesaw = compare(planted(), least=150)
    assert set(seesaw.skipped) == {"shop/click", "shop/buy"}
    assert "rows say yes, fewer than 150" in seesaw.skipped["shop/buy"]
    assert "shop/click" not in seesaw.cells


def test_other_rows_are_refused() -> None:
    results = planted()
    results["alone click"] = {"click": judged("click", 0.5).rows(np.arange(100))}
    with pytest.raises(UsageError, match="not judged on the same rows"):
        compare(results)


def test_the_page_is_whole() -> None:
    page = seesaw_page(compare(planted(), seconds={JOINT: 12.0}), title="m6rec seesaw: shop <&>")
    assert "shop &lt;&amp;&gt;" in page
    assert "buy helps" in page
    assert page.count("<svg") == 1
    assert "joint: 12 s" in page
    helped = re.search(r'<rect class="heat (\w+)"[^>]*><title>with buy, feed/click: (.)', page)
    assert helped is not None
    assert helped.groups() == ("up", "+"), "blue where click is better with buy than without it"
    assert "Blue: the task of the row helps; without it: worse." in page
    assert "Orange: it harms; without it: better." in page
    assert "without buy," not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


# ---- the runs


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A finished run whose variants are not really trained: (its folder, variants trained so far)."""
    config, called = config_of(), []
    keys = dict.fromkeys(("prepare", "tokenizer", "pretrain", "encode"), "0123456789ab")
    RunFolder(tmp_path / "run").root.mkdir()
    RunFolder(tmp_path / "run").write_record({"config": config.plain(), "source": str(tmp_path), "keys": keys})

    def stages(bench: Workbench, until: str) -> dict[str, Any]:
        assert until == "fit"
        assert {name: bench.key(name) for name in keys} == keys  # what all variants share is taken from the run
        called.append(",".join(name for name, task in bench.config.tasks.items() if task.weight > 0))
        return {"fit": {"seconds": 1.5}}

    monkeypatch.setattr(runs, "run_stages", stages)
    return tmp_path / "run", called


def measured(bench: Workbench, held: str) -> dict[str, Measured]:
    names = [name for name, task in bench.config.tasks.items() if task.weight > 0]
    variant = (
        JOINT if len(names) == 3 else f"alone {names[0]}" if len(names) == 1 else f"without {({'next', 'click', 'buy'} - set(names)).pop()}"
    )
    return planted()[variant]


def test_variants_are_trained_measured_and_kept(trained: tuple[Path, list[str]]) -> None:
    run, called = trained
    found = runs.seesaw(run, measured=measured)
    assert called == ["buy,click,next", "buy", "click", "next", "click,next", "buy,next", "buy,click"]  # a record is in order of names
    assert found.counts() == compare(planted()).counts()
    saved = json.loads((run / "seesaw/seesaw.json").read_text())
    assert saved["counts"] == {"better": 2, "same": 2, "worse": 1}
    assert saved["seconds"][JOINT] == 1.5
    assert (run / "seesaw.html").read_text().startswith("<!doctype html>")

    def never(bench: Workbench, held: str) -> dict[str, Measured]:
        raise AssertionError("measured a second time")

    again = runs.seesaw(run, measured=never)
    assert again.plain() == found.plain()


def test_an_evaluation_shows_the_single_task_models_that_are_there(trained: tuple[Path, list[str]]) -> None:
    """What `m6rec evaluate` puts beside the model: judged rows of tasks alone, of the same part, and nothing before there are any."""
    run, called = trained
    assert runs.kept_alone(open_run(run), "test") == []
    runs.seesaw(run, measured=measured)
    trained_so_far = len(called)
    found = runs.kept_alone(open_run(run), "test")
    assert sorted((one.name, one.task) for one in found) == [("alone", "buy"), ("alone", "click")]
    assert {one.task: one.value("auc") for one in found}["click"] == judged("click", 0.5).value("auc")
    assert runs.kept_alone(open_run(run), "validation") == []
    assert len(called) == trained_so_far


def test_the_command(trained: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run, called = trained
    assert run_command(["seesaw", str(run), "--dry-run"]) == 0
    assert "without click" in capsys.readouterr().out
    assert not called
    monkeypatch.setattr(runs.seesaw, "__kwdefaults__", {**runs.seesaw.__kwdefaults__, "measured": measured})
    assert run_command(["seesaw", str(run), "--no-progress"]) == 0
    output = capsys.readouterr().out
    assert "2 better, 2 the same, 1 worse than alone" in output
    assert "having buy changes clearly: feed/click +" in output
    assert run_command(["seesaw", str(run / "nothing"), "--no-progress"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
