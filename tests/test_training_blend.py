"""`fusion:` in a configuration: a stage of its own, resumed and skipped like others; what it makes is measured, served, saved, explained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from answers_alike import assert_alike
from m6rec import Recommender
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import CheckpointError, ConfigError, MissingExtraError
from m6rec.config import M6RecConfig
from m6rec.fusion.member import Member
from m6rec.training import configuration_checks, stages_blend
from m6rec.training.assess import evaluate_run
from m6rec.training.pipeline import open_run, plan, stages, train

Build = Callable[..., M6RecConfig]
FUSION = (
    "fusion.members=[m6rec, transition_graph_text, bm25, popularity]",
    "fusion.how=gated",
    "fusion.candidates=12",
    "fusion.folds=2",
    "evaluation.baselines=[popularity]",
)


def start(tiny_run: Path, run: Path) -> Path:
    """A run folder in which everything up to the fit is done."""
    shutil.copytree(tiny_run / "stages", run / "stages", ignore=shutil.ignore_patterns("evaluate-*", "index-*", "report-*"))
    return run


@pytest.fixture(scope="module")
def fused_run(tiny_run: Path, tiny_sample: Path, tiny_config: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = start(tiny_run, tmp_path_factory.mktemp("fused") / "run")
    train(tiny_config(*FUSION), tiny_sample, run)
    return run


def answers(rec: Recommender) -> list[Any]:
    return [rec.recommend(user="u05", k=7), rec.recommend(text="warm boots", k=5), rec.recommend(history=["i03", "i08"], k=5)]


def test_the_stage_stands_between_fit_and_evaluate_where_there_is_a_section() -> None:
    assert list(stages(fusion=True)) == ["prepare", "tokenizer", "pretrain", "encode", "fit", "blend", "evaluate", "index", "report"]
    assert "blend" not in stages()


def test_only_what_depends_on_it_is_done_again(tiny_sample: Path, tiny_config: Build, fused_run: Path) -> None:
    def to_do(*settings: str) -> list[str]:
        return [row["stage"] for row in plan(tiny_config(*FUSION, *settings), tiny_sample, fused_run) if row["status"] == "to do"]

    assert to_do() == []
    assert to_do("fusion.how=weighted") == ["blend", "evaluate", "index", "report"]
    assert to_do("evaluation.cutoffs=[7]") == ["evaluate", "report"]
    without = [
        row["stage"] for row in plan(tiny_config("evaluation.baselines=[popularity]"), tiny_sample, fused_run) if row["status"] == "to do"
    ]
    assert without == ["evaluate", "index", "report"]


def test_members_are_kept_when_the_stage_is_cut_off(
    tiny_run: Path, tiny_sample: Path, tiny_config: Build, fused_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(tiny_run, tmp_path / "run")

    def killed(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stages_blend.Blend, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(*FUSION), tiny_sample, run)
    monkeypatch.setattr(Member, "fit", killed)  # nobody is fitted a second time
    train(tiny_config(*FUSION), tiny_sample, run, until="blend")
    (first,), (second,) = fused_run.glob("stages/blend-*"), run.glob("stages/blend-*")
    for file in sorted(path.relative_to(first / "blend") for path in (first / "blend").rglob("*") if path.is_file()):
        assert (first / "blend" / file).read_bytes() == (second / "blend" / file).read_bytes(), file


def test_the_blend_is_what_is_measured_first(fused_run: Path) -> None:
    names = [row["name"] for row in json.loads(next(fused_run.glob("stages/evaluate-*/table.json")).read_text())]
    assert names == ["m6rec", "m6rec without fusion", "popularity"]
    found, _ = evaluate_run(fused_run, split="validation", baselines=[], without=["graph"])
    assert [one.name for one in found] == ["m6rec", "m6rec without fusion", "m6rec without fusion and graph"]
    assert any("out of fold" in sentence for sentence in found[0].statements)
    assert not any("out of fold" in sentence for sentence in found[1].statements)
    facts = json.loads(next(fused_run.glob("stages/blend-*/blend.json")).read_text())
    assert set(facts["alone"]) == {"m6rec", "transition_graph_text", "bm25", "popularity"}
    assert found[1].values("ndcg@10").mean() == pytest.approx(facts["alone"]["m6rec"], abs=0.02)


def test_it_serves_and_explains_its_parts(fused_run: Path) -> None:
    rec = Recommender.from_pretrained(fused_run)
    for listed in answers(rec):
        assert len(listed) >= 5
        assert (np.diff([answer.score for answer in listed]) <= 0).all()
        for answer in listed:
            assert sum(answer.parts.values()) == pytest.approx(1, abs=1e-5)
            assert {"transition_graph_text", "bm25", "popularity", "m6rec/model"} <= set(answer.parts)
    known = set(rec.engine.dataset.histories.row(rec.engine.users.ids.dense("u05")))
    assert not known & {rec.engine.items.ids.dense(answer.item_id) for answer in rec.recommend(user="u05", k=30)}
    assert len(rec.similar_items("i01", k=3)) == 3
    assert len(rec.recommend(profile={"age": 30}, k=2)) == 2
    assert rec.recommend(user="u05", k=50, repeat="allow")


def test_the_command_line_answers_with_it(fused_run: Path, m6rec: Callable[..., Any]) -> None:
    listed = m6rec("recommend", fused_run, "--user", "u05", "-k", "3", "--json").json()
    assert [row["item_id"] for row in listed] == [
        answer.item_id for answer in Recommender.from_pretrained(fused_run).recommend(user="u05", k=3)
    ]
    assert "bm25" in listed[0]["parts"]


def test_newcomers_and_saving(fused_run: Path, tmp_path: Path) -> None:
    rec = Recommender.from_pretrained(fused_run)
    before = answers(rec)
    rec.save_pretrained(tmp_path / "same")
    assert answers(Recommender.from_pretrained(tmp_path / "same")) == before
    rec.add_items(pl.DataFrame({"item_id": ["new-1", "new-2"], "title": ["Warm winter boots with wool", "Garden spade"]}))
    assert "new-1" in {answer.item_id for answer in rec.recommend(text="warm winter boots wool", k=10)}
    rec.add_events([{"user_id": "somebody", "item_id": "new-1"}])
    assert len(rec.recommend(user="somebody", k=4)) == 4
    rec.save_pretrained(tmp_path / "grown")
    again = Recommender.from_pretrained(tmp_path / "grown")
    assert_alike(again.recommend(user="somebody", k=4), rec.recommend(user="somebody", k=4))
    assert_alike(again.recommend(text="warm winter boots wool", k=5), rec.recommend(text="warm winter boots wool", k=5))


def test_members_that_serve_know_all_events(fused_run: Path, tiny_sample: Path) -> None:
    bench = open_run(fused_run)
    trained = Member.load(next(fused_run.glob("stages/blend-*/blend/members/popularity")))
    serving = Member.load(fused_run / "model" / "fusion" / "members" / "popularity")
    assert trained.popularity is not None
    assert serving.popularity is not None
    assert trained.popularity.sum() == len(bench.split.train.items)
    assert serving.popularity.sum() == len(bench.dataset.histories.items)


def test_somebody_nobody_knows(fused_run: Path) -> None:
    rec = Recommender.from_pretrained(fused_run, unknown="popular")
    assert len(rec.recommend(user="never seen", k=3)) == 3
    scorer = rec.engine.scorer
    assert np.isfinite(scorer.scores(Requests(Histories.from_lists([[], [0]])))).all()


def test_a_folder_with_another_catalogue_is_an_error(fused_run: Path, tmp_path: Path) -> None:
    rec = Recommender.from_pretrained(fused_run)
    rec.add_items(pl.DataFrame({"item_id": ["new-1"], "title": ["A thing"]}))
    rec.save_pretrained(tmp_path / "grown")
    shutil.rmtree(tmp_path / "grown" / "fusion")
    shutil.copytree(fused_run / "model" / "fusion", tmp_path / "grown" / "fusion")
    with pytest.raises(CheckpointError, match="is of 40 items, the catalogue has 41"):
        Recommender.from_pretrained(tmp_path / "grown")


def test_what_can_be_said_before_training_is(
    tiny_sample: Path, tiny_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"fusion.members names 'itemknn'; did you mean 'item_knn'"):
        train(tiny_config("fusion.members=[m6rec, itemknn]"), tiny_sample, tmp_path / "run")

    def missing(module: str, extra: str) -> None:
        raise MissingExtraError(f"'{module}' is not installed; type: pip install 'm6rec[{extra}]'")

    monkeypatch.setattr(configuration_checks, "require", missing)
    for setting in ("fusion.how=lambdamart", "fusion.members=[m6rec, stacked]"):
        with pytest.raises(MissingExtraError, match=r"pip install 'm6rec\[fusion\]'"):
            train(tiny_config(setting), tiny_sample, tmp_path / "run")
    assert not (tmp_path / "run").exists()
