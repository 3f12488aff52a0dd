"""Baselines beside a run: on its rows, kept, asked for by name, said to be missing where they are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m6rec.base.errors import ConfigError, MissingExtraError
from m6rec.baselines import trees
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_comparison import cells_of, paired
from m6rec.evaluation.judged_tables import difference_table
from m6rec.training import judged_baselines
from m6rec.training.assess import evaluate_run
from m6rec.training.judged_baselines import _counts, judge_beside, usual_baselines
from m6rec.training.kept_answers import FOLDER
from m6rec.training.measuring import kept_rows
from m6rec.training.pipeline import open_run, train

JUDGING = ("click", "purchase", "rating", "category", "sentiment")


def without_lightgbm(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, extra: str) -> None:
        raise MissingExtraError(f"'{module}' is not installed; type: pip install 'm6rec[{extra}]'")

    monkeypatch.setattr(trees, "require", missing)


@pytest.fixture
def run(judged_run: Path, tmp_path: Path) -> Path:
    """A copy that nothing was kept in."""
    return Path(shutil.copytree(judged_run, tmp_path / "run", ignore=shutil.ignore_patterns(FOLDER)))


def by_scorer(judged: list[Judged]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in judged:
        found.setdefault(one.name, []).append(one.task)
    return found


def test_the_report_of_a_training_holds_the_cheap_ones(judged_run: Path) -> None:
    rows = kept_rows(open_run(judged_run).folder("evaluate"))
    assert by_scorer(rows.judged) == {
        "m6rec": list(JUDGING),
        "counters": ["click", "purchase", "rating"],
        "logistic_regression": ["click", "purchase", "category", "sentiment"],
    }
    page = (judged_run / "report.html").read_text(encoding="utf-8")
    assert "logistic_regression does not judge rating: its labels are numbers." in page
    assert "AUC: m6rec minus the others" in page
    assert "counters: fitted to" in page
    for one in rows.judged:
        ours = next(other for other in rows.judged if other.task == one.task)
        np.testing.assert_array_equal(one.truth, ours.truth)
        assert np.isfinite(ours.difference(one).low)


def test_an_evaluation_adds_trees_and_keeps_what_was_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, rows = evaluate_run(run, baselines=[])
    assert by_scorer(rows.judged)["lightgbm_counts"] == ["click", "purchase", "rating"]
    names = sorted(path.name.rpartition("-")[0] for path in (run / FOLDER).iterdir())
    assert names == [
        "counters",
        "lightgbm_counts",
        "logistic_regression",
        "logistic_regression-of-documents",
        "logistic_regression-of-documents",
    ]

    def fitted_again(*_: Any) -> None:
        raise AssertionError("it was fitted before")

    fit = judged_baselines.fit
    monkeypatch.setattr(judged_baselines, "fit", fitted_again)
    _, again = evaluate_run(run, baselines=[])
    for one, other in zip(rows.judged, again.judged, strict=True):
        np.testing.assert_array_equal(one.predicted, other.predicted)
    validation = evaluate_run(run, baselines=[], split="validation")[1]
    assert by_scorer(validation.judged) == by_scorer(rows.judged)
    kept = next((run / FOLDER).glob("counters-*"))
    kept.write_bytes(kept.read_bytes()[:100])
    monkeypatch.setattr(judged_baselines, "fit", fit)
    _, mended = evaluate_run(run, baselines=[], judged_baselines=["counters"])
    assert by_scorer(mended.judged)["counters"] == ["click", "purchase", "rating"]
    assert "logistic_regression" not in by_scorer(mended.judged)
    assert mended.notes == ("No baseline stands beside category, sentiment.",)


def test_trees_read_the_statistics_that_the_model_reads(judged_run: Path) -> None:
    bench = open_run(judged_run)
    judging = bench.judging
    assert judging is not None
    chosen = judging.chosen("test")
    counts = _counts(bench, judging, chosen)
    statistics = judging.rows(chosen, bench.shape.read_width).statistics
    assert statistics is not None
    np.testing.assert_array_equal(np.stack(list(counts.values()), axis=1), statistics)


def test_without_lightgbm(judged_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out with a note where nobody asked for it; an error that names the extra where somebody did."""
    without_lightgbm(monkeypatch)
    config = open_run(judged_run).config
    names, notes = usual_baselines(config)
    assert names == ["counters", "logistic_regression"]
    assert notes == ["lightgbm_counts is left out: 'lightgbm' is not installed; type: pip install 'm6rec[fusion]'."]
    assert usual_baselines(config, cheap=True) == (names, [])
    asked = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"judged_baselines": ["lightgbm_raw"]})})
    for call in (lambda: usual_baselines(asked), lambda: evaluate_run(judged_run, judged_baselines=["lightgbm_counts"])):
        with pytest.raises(MissingExtraError, match=r"'lightgbm' is not installed; type: pip install 'm6rec\[fusion\]'"):
            call()


def test_a_training_that_asks_for_trees_needs_them_before_it_begins(
    tiny_config: Callable[..., Any], tiny_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_lightgbm(monkeypatch)
    with pytest.raises(MissingExtraError, match="lightgbm"):
        train(tiny_config("evaluation.judged_baselines=[counters, lightgbm_counts]"), tiny_sample, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"evaluation\.judged_baselines"):
        tiny_config("evaluation.judged_baselines=[trees]")


def test_a_note_stands_in_the_report_once(judged_run: Path) -> None:
    bench = open_run(judged_run)
    rows = kept_rows(bench.folder("evaluate"))
    ours = [one for one in rows.judged if one.name == "m6rec"]
    beside = judge_beside(bench, ours, "test", ["counters", "counters"], ["said before."])
    assert beside.notes == ["said before.", "No baseline stands beside category, sentiment."]
    assert by_scorer(beside.judged) == {"counters": ["click", "purchase", "rating"]}
    assert judge_beside(bench, ours, "test", []).notes == []


def test_names_that_are_none(judged_run: Path) -> None:
    with pytest.raises(ConfigError, match="no baseline of tasks that judge is called 'countres'; did you mean 'counters'"):
        evaluate_run(judged_run, judged_baselines=["countres"])
    with pytest.raises(ConfigError, match="'counters' is a baseline of tasks that judge; type --judged-baselines counters"):
        evaluate_run(judged_run, baselines=["popularity", "counters"])


def test_differences_are_paired_cell_by_cell(judged_run: Path) -> None:
    judged = kept_rows(open_run(judged_run).folder("evaluate")).judged
    rows = paired(judged)
    table = {(row["cell"], row["minus"], row["metric"]): row for row in rows}
    assert len(table) == len(rows)
    ours, other = (next(one for one in judged if (one.name, one.task) == (name, "purchase")) for name in ("m6rec", "counters"))
    assert [row["metric"] for row in rows if (row["cell"], row["minus"]) == ("shop/purchase", "counters")] == ours.metrics
    for metric in ours.metrics:
        row = table["shop/purchase", "counters", metric]
        assert (row["mean"], row["low"], row["high"]) == tuple(ours.difference(other, metric)), metric
        assert row["verdict"] in ("better", "worse", "no clear difference")
    assert paired([]) == []


def test_differences_are_shown_where_they_are_defined(judged_run: Path) -> None:
    """Cells that are defined, and one whose labels are all alike, which is left out."""
    judged = [one for one in kept_rows(open_run(judged_run).folder("evaluate")).judged if one.task == "click"]
    cells = cells_of(judged)
    alike = [replace(one, truth=np.zeros(len(one))) for one in judged]
    hollow = [replace(cell, name="nothing") for cell in cells_of(alike)]
    table = difference_table("auc", [*cells, *hollow], "m6rec")
    assert table is not None
    assert [row[0].text for row in table.rows] == ["shop/click", "feed/click"]
    assert difference_table("auc", hollow, "m6rec") is None


def test_the_command(m6rec: Callable[..., Any], run: Path) -> None:
    words = ["evaluate", run, "--baselines", "none", "--judged-baselines"]
    shown = m6rec(*words, "counters,lightgbm_raw")
    assert shown.code == 0
    assert "lightgbm_raw" in shown.out
    assert "AUC: m6rec minus the others" in shown.out
    assert "No baseline stands beside category, sentiment." in shown.out
    found = m6rec(*words, "none", "--json").json()
    assert {one["name"] for one in found} == {"m6rec", "differences of judged tasks"}
    assert m6rec(*words, "tree").error(2)


def test_small_cells_are_left_out_of_the_means_of_a_run(m6rec: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record["config"]["evaluation"]["least"] = 1_000_000
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    page = tmp_path / "page.html"
    told = m6rec("evaluate", run, "--baselines", "none", "--judged-baselines", "counters", "--report", page).out
    for text in (told, page.read_text(encoding="utf-8")):
        assert re.search(r"is left out of means: [\d,]+ rows have the rarer answer, fewer than 1,000,000", text)
