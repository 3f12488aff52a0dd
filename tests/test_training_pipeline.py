"""The pipeline: nothing is done twice, nothing stale is kept, a run cut off between or inside stages goes on; measuring and the report."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

from conftest import JUDGED
from m6rec.base.errors import CheckpointError, ConfigError, StorageError
from m6rec.config import M6RecConfig, load_config
from m6rec.evaluation.evaluated import Evaluation
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.training import stages_data
from m6rec.training.assess import evaluate_run
from m6rec.training.pipeline import open_run, plan, stages, train
from m6rec.training.stages_fit import Evaluate, Fit

Build = Callable[..., M6RecConfig]
STAGES = ["prepare", "tokenizer", "pretrain", "encode", "fit", "evaluate", "index", "report"]


def to_do(config: M6RecConfig, folder: Path, run: Path) -> list[str]:
    rows = plan(config, folder, run)
    assert [row["stage"] for row in rows] == STAGES
    assert {row["status"] for row in rows} <= {"done", "to do"}
    return [row["stage"] for row in rows if row["status"] == "to do"]


def skipped(summary: dict[str, Any]) -> list[str]:
    return [name for name, facts in summary.items() if isinstance(facts, dict) and facts.get("skipped") is True]


def files(folder: Path) -> dict[str, int]:
    """Every file and when it was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def without_seconds(value: Any) -> Any:
    """JSON without what a clock said."""
    if isinstance(value, dict):
        return {key: without_seconds(one) for key, one in value.items() if "seconds" not in key}
    return [without_seconds(one) for one in value] if isinstance(value, list) else value


def table(run: Path) -> Any:
    (path,) = run.glob("stages/evaluate-*/table.json")
    return without_seconds(json.loads(path.read_text()))


# ---- what is done, and what is to do


def test_stages_in_order() -> None:
    assert list(stages()) == STAGES
    for name, stage in stages().items():
        assert stage.name == name
        assert all(STAGES.index(need) < STAGES.index(name) for need in stage.needs)
        assert stage.__doc__


def test_a_second_run_does_nothing(tiny_sample: Path, tiny_config: Build, tiny_run: Path) -> None:
    before = files(tiny_run)
    summary = train(tiny_config(), tiny_sample, tiny_run)
    assert skipped(summary) == STAGES
    after = files(tiny_run)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"run.json"}  # the record of the newest training


def test_plan_writes_nothing(tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path) -> None:
    assert to_do(tiny_config(), tiny_sample, tmp_path / "new") == STAGES
    assert not (tmp_path / "new").exists()
    before = files(tiny_run)
    assert to_do(tiny_config(), tiny_sample, tiny_run) == []
    assert files(tiny_run) == before


@pytest.mark.parametrize(
    ("setting", "first"),
    [
        ("train.epochs=3", "fit"),
        ("train.learning_rate=0.5", "fit"),
        ("train.dropout=0.2", "fit"),
        ("model.history=7", "fit"),
        ("tasks.next.own_share=0.7", "fit"),
        ("tasks.next.prior.window=2", "fit"),
        ("evaluation.exclude_history=false", "fit"),  # early stopping looks at it
        ("pretrain.epochs=2", "pretrain"),
        ("model.width=32", "pretrain"),
        ("seed=1", "pretrain"),
        ("split.min_history=2", "pretrain"),
        ("text.vocabulary=500", "tokenizer"),
        ("text.language=zh", "tokenizer"),
        ("data.min_item_events=2", "prepare"),
        ("fields.items={title: text}", "prepare"),
        ("train.threads=2", None),
        ("train.checkpoint_seconds=5", None),
        ("pretrain.checkpoint_seconds=5", None),
    ],
)
def test_a_changed_setting_redoes_what_depends_on_it(
    tiny_sample: Path, tiny_config: Build, tiny_run: Path, setting: str, first: str | None
) -> None:
    wanted = [] if first is None else STAGES[STAGES.index(first) :]
    assert to_do(tiny_config(setting), tiny_sample, tiny_run) == wanted


def test_other_cutoffs_are_measured_again_and_nothing_is_trained(tiny_sample: Path, tiny_config: Build, tiny_run: Path) -> None:
    assert to_do(tiny_config("evaluation.cutoffs=[7]"), tiny_sample, tiny_run) == ["evaluate", "report"]


@pytest.mark.parametrize("name", ["events", "items", "users", "texts", "relations"])
def test_a_changed_data_file_redoes_everything(tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_sample, data)
    assert to_do(tiny_config(folder=data), data, tiny_run) == []  # equal bytes elsewhere are equal data
    path = data / f"{name}.parquet"
    frame = pl.read_parquet(path)
    frame.head(frame.height - 1).write_parquet(path)
    assert to_do(tiny_config(folder=data), data, tiny_run) == STAGES


def test_until(tiny_sample: Path, tiny_config: Build, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = train(tiny_config(), tiny_sample, run, until="tokenizer")
    assert list(summary) == ["prepare", "tokenizer", "seconds"]
    assert to_do(tiny_config(), tiny_sample, run) == STAGES[2:]
    assert skipped(train(tiny_config(), tiny_sample, run, until="tokenizer")) == ["prepare", "tokenizer"]


def test_until_a_stage_that_is_not(tiny_sample: Path, tiny_config: Build, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no stage 'tokeniser'; did you mean 'tokenizer'\?"):
        train(tiny_config(), tiny_sample, tmp_path / "run", until="tokeniser")
    assert not (tmp_path / "run").exists()


def test_a_fit_done_again_is_of_other_epochs_only(tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path) -> None:
    """There and back: the model folder and the report are always those of the newest training, though their stages were done before."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run / "stages", run / "stages", ignore=shutil.ignore_patterns("index-*", "report-*"))
    first = train(tiny_config(), tiny_sample, run)
    assert skipped(first) == STAGES[:6]
    weights = load_file(run / "model" / "model.safetensors")
    page = (run / "report.html").read_text()
    second = train(tiny_config("train.epochs=1", "train.learning_rate=0.03"), tiny_sample, run)
    assert skipped(second) == STAGES[:4]
    other = load_file(run / "model" / "model.safetensors")
    assert any(not np.array_equal(weights[name], other[name]) for name in weights)
    assert (run / "report.html").read_text() != page
    third = train(tiny_config(), tiny_sample, run)
    assert skipped(third) == STAGES[:6]
    again = load_file(run / "model" / "model.safetensors")
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert (run / "report.html").read_text() == page
    assert skipped(train(tiny_config(), tiny_sample, run)) == STAGES
    assert to_do(tiny_config("train.epochs=1", "train.learning_rate=0.03"), tiny_sample, run) == ["index", "report"]


def test_a_missing_model_folder_or_report_is_made_again(tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run / "stages", run / "stages", ignore=shutil.ignore_patterns("index-*", "report-*"))
    train(tiny_config(), tiny_sample, run)
    shutil.rmtree(run / "model")
    (run / "report.html").unlink()
    assert to_do(tiny_config(), tiny_sample, run) == ["index", "report"]
    train(tiny_config(), tiny_sample, run)
    assert (run / "model" / "config.json").exists()
    assert (run / "report.html").exists()


# ---- cut off


class Cut(Exception):
    """The process ended here."""


@pytest.mark.parametrize("stage", [Fit, Evaluate])
def test_cut_off_between_stages(
    tiny_sample: Path,
    tiny_config: Build,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: type[Fit] | type[Evaluate],
) -> None:
    run = tmp_path / "run"
    place = STAGES.index(stage.name)
    shutil.copytree(tiny_run / "stages", run / "stages", ignore=shutil.ignore_patterns(*(f"{name}-*" for name in STAGES[place - 1 :])))

    def cut(self: Any, bench: Any) -> dict[str, Any]:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(stage, "run", cut)
        with pytest.raises(Cut):
            train(tiny_config(), tiny_sample, run)
    assert to_do(tiny_config(), tiny_sample, run) == STAGES[place:]
    with pytest.raises(CheckpointError, match=rf"is not finished \(finished: {', '.join(STAGES[:place])}; next: {STAGES[place]}\)"):
        open_run(run)
    assert skipped(train(tiny_config(), tiny_sample, run)) == STAGES[:place]
    assert table(run) == table(tiny_run)


def test_cut_off_inside_a_stage(
    tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what a stage writes is there; it is done again, whole."""
    run = tmp_path / "run"

    def full(path: Path, value: Any) -> None:
        raise StorageError(f"could not write {path}: No space left on device; nothing was changed there")

    with monkeypatch.context() as patch:
        patch.setattr(stages_data, "write_json", full)
        with pytest.raises(StorageError, match="No space left"):
            train(tiny_config(), tiny_sample, run, until="prepare")
    assert list(run.glob("stages/prepare-*/dataset")), "the stage was cut after the dataset"
    assert to_do(tiny_config(), tiny_sample, run) == STAGES
    train(tiny_config(), tiny_sample, run, until="prepare")
    assert to_do(tiny_config(), tiny_sample, run) == STAGES[1:]
    (ours,), (theirs,) = (list(folder.glob("stages/prepare-*")) for folder in (run, tiny_run))
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}


# ---- the same seed


def test_the_same_seed_gives_the_same_table(tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path) -> None:
    train(tiny_config(), tiny_sample, tmp_path / "again", until="evaluate")
    assert table(tmp_path / "again") == table(tiny_run)
    train(tiny_config("seed=1"), tiny_sample, tmp_path / "other", until="evaluate")
    assert table(tmp_path / "other")[0] != table(tiny_run)[0]


# ---- what a run leaves


def test_run_record_and_log(tiny_sample: Path, tiny_config: Build, tiny_run: Path) -> None:
    record = json.loads((tiny_run / "run.json").read_text())
    assert M6RecConfig.build(record["config"]) == tiny_config()
    assert Path(record["source"]) == tiny_sample.resolve()
    assert list(record["keys"]) == sorted(STAGES)
    for name, key in record["keys"].items():
        assert (tiny_run / "stages" / f"{name}-{key}" / "done.json").exists()
    rows = [json.loads(line) for line in (tiny_run / "logs" / "run.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == STAGES
    assert all(row["seconds"] >= 0 and row["key"] == record["keys"][row["stage"]] for row in rows)


def test_a_run_can_be_read_when_the_files_are_gone(tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(tiny_sample, data)
    shutil.copytree(tiny_run / "stages", run / "stages")
    train(tiny_config(folder=data), data, run, until="evaluate")
    shutil.rmtree(data)
    (found,), _ = evaluate_run(run, baselines=[])
    assert found.plain()["metrics"] == table(tiny_run)[0]["metrics"]


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"format": 99}', '{"format": 1}'])
def test_no_run_or_a_damaged_one(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(CheckpointError) as caught:
        open_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_model_folder_answers(tiny_run: Path) -> None:
    """It has the catalogue and histories of all events, and the weights that were measured."""
    bench, scorer = open_run(tiny_run), ChooseScorer.load(tiny_run / "model")
    assert len(scorer.dataset.histories.items) == len(bench.dataset.histories.items) > len(bench.split.train.items)
    fitted = bench.fitted()
    requests = bench.split.test.requests.rows(np.arange(5))
    np.testing.assert_allclose(scorer.last_states(requests), fitted.last_states(requests), atol=1e-6)
    assert scorer.catalogue.priors["forward"].nnz > fitted.catalogue.priors["forward"].nnz


# ---- measuring


def test_parts_switched_off_and_baselines(tiny_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found, _ = evaluate_run(tiny_run, without=["graph", "id", "text"], baselines=["popularity"], report=page)
    names = ["m6rec", "m6rec without graph", "m6rec without id", "m6rec without text", "popularity"]
    assert [evaluation.name for evaluation in found] == names
    assert found[0].plain()["metrics"] == table(tiny_run)[0]["metrics"]
    assert len({evaluation.ranks.tobytes() for evaluation in found}) == 5
    assert all(name in page.read_text() for name in names)
    validation, _ = evaluate_run(tiny_run, baselines=[], split="validation")
    assert len(validation) == 1
    assert not np.array_equal(validation[0].targets, found[0].targets)


def test_the_baselines_of_the_configuration(tiny_config: Build, tiny_run: Path) -> None:
    (folder,) = tiny_run.glob("stages/evaluate-*")
    evaluations = [Evaluation.load(child) for child in sorted(folder.iterdir()) if child.is_dir()]
    assert [evaluation.name for evaluation in evaluations] == ["m6rec", *tiny_config().evaluation.baselines]
    assert [row["name"] for row in table(tiny_run)] == [evaluation.name for evaluation in evaluations]


def test_no_such_part_or_baseline(tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match="no part 'ids'"):
        evaluate_run(tiny_run, without=["ids"])
    with pytest.raises(ConfigError, match="did you mean 'popularity'"):
        evaluate_run(tiny_run, baselines=["popularty"])


def test_early_stopping_can_look_at_any_metric(tiny_sample: Path, tiny_config: Build, tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run / "stages", tmp_path / "stages")
    facts = train(tiny_config("train.validation_metric=recall@5"), tiny_sample, tmp_path, until="fit")["fit"]
    assert 0 < facts["validation recall@5"] <= 1
    bench = open_run(tmp_path)
    (validation,), _ = evaluate_run(tmp_path, baselines=[], split="validation")
    assert validation.values("recall@5").mean() == pytest.approx(facts["with agreement"], abs=1e-4)
    assert bench.config.train.validation_metric == "recall@5"
    for wrong in ("accuracy", "ndcg", "ndcg@0", "recall@x"):
        with pytest.raises(ConfigError, match=r"train\.validation_metric.*for example ndcg@10"):
            tiny_config(f"train.validation_metric={wrong}")


def test_what_does_not_choose_agrees_with_nothing(judged_sample: Path, judged_run: Path, tmp_path: Path) -> None:
    """A model whose choosing is not trained is not held against counts: its fit has no such figure, and its order is that of the mixture."""
    shutil.copytree(judged_run / "stages", tmp_path / "stages")
    settings = [*JUDGED, "tasks.next.weight=0", "train.epochs=1"]
    facts = train(load_config(judged_sample / "config.yaml", settings), judged_sample, tmp_path, until="fit")["fit"]
    assert "validation click auc" in facts
    assert "with agreement" not in facts
    assert open_run(tmp_path).fitted().agreement.weight == 0


# ---- report


def test_the_report_is_one_file_of_its_own(tiny_sample: Path, tiny_run: Path) -> None:
    page = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.search(r"<script[^>]*\ssrc\s*=", page, re.I)
    assert not re.search(r"<(link|iframe|object|embed)\b", page, re.I)
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page, re.I)
    assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", page, re.I)
    assert "<svg" in page
    for row in table(tiny_run):
        assert row["name"] in page
    assert "ndcg@10" in page.lower()
    titles = open_run(tiny_run).dataset.items.titles()
    assert sum(title in page for title in titles) > 3  # people, what they had and what is recommended
