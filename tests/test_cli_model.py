"""train, evaluate, recommend and similar from the command line, on one tiny run: pure JSON, dry runs, skipping, errors, ablations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m6rec.base.errors import UsageError
from m6rec.cli.recommend import conditions, person
from m6rec.cli.train import default_run

CommandLines = Callable[..., Any]
STAGES = ["prepare", "tokenizer", "pretrain", "encode", "fit", "evaluate", "index", "report"]


def files(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def tiny_settings(config: Callable[..., Any]) -> list[str]:
    """The changed values of the tiny run as --set options; read from the fixture so that both agree."""
    from conftest import TINY

    assert config()
    return [word for assignment in TINY for word in ("--set", assignment)]


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_dry_run_lists_the_stages_and_writes_nothing(m6rec: CommandLines, tiny_sample: Path, tmp_path: Path) -> None:
    before = files(tiny_sample)
    plan = m6rec("train", tiny_sample / "config.yaml", "--run", tmp_path / "run", "--dry-run", "--json").json()
    assert [stage["stage"] for stage in plan["stages"]] == [
        *STAGES[:5],
        "interest",
        *STAGES[5:],
    ]  # the sample learns what typed words ask for
    assert {stage["status"] for stage in plan["stages"]} == {"to do"}
    shown = m6rec("train", tiny_sample / "config.yaml", "--run", tmp_path / "run", "--dry-run")
    assert shown.code == 0
    assert "nothing was written" in shown.out
    assert list(tmp_path.iterdir()) == []
    assert files(tiny_sample) == before


def test_finished_stages_are_skipped(m6rec: CommandLines, tiny_sample: Path, tiny_config: CommandLines, run_copy: Path) -> None:
    """The same command on a finished run does nothing; the plan says so beforehand."""
    command = ["train", tiny_sample / "config.yaml", "--run", run_copy, *tiny_settings(tiny_config)]
    plan = m6rec(*command, "--dry-run", "--json").json()["stages"]
    done = [stage["stage"] for stage in plan if stage["status"] == "done"]
    assert set(STAGES) - set(done) <= {"index", "report"}, "only what is written into the run folder itself is made anew after a move"
    summary = m6rec(*command, "--json").json()
    assert summary["run"] == str(run_copy)
    assert {name for name in STAGES if summary[name].get("skipped")} == set(done)
    again = m6rec(*command)
    assert again.code == 0
    assert "done before" in again.out
    assert f"m6rec recommend {run_copy} --user ID" in again.out


def test_until_stops_after_a_stage(m6rec: CommandLines, tiny_sample: Path, tmp_path: Path) -> None:
    config = tiny_sample / "config.yaml"
    summary = m6rec("train", config, "--run", tmp_path / "run", "--until", "prepare", "--json").json()
    assert [name for name in STAGES if name in summary] == ["prepare"]
    assert "did you mean 'prepare'" in m6rec("train", config, "--run", tmp_path / "run", "--until", "prepair").error(2)
    settings = ("--set", "seed=3", "--set", "evaluation={baselines: [popularity]}", "--without", "text")
    shown = m6rec("train", config, "--run", tmp_path / "run", *settings, "--until", "prepare").out.splitlines()
    assert shown[-1] == (
        f"next: m6rec train {config} --run {tmp_path / 'run'} --set seed=3 --set 'evaluation={{baselines: [popularity]}}' --without text"
    )


def test_interrupted_training_says_how_to_go_on(
    m6rec: CommandLines, tiny_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m6rec.training import pipeline

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "train", interrupted)
    assert "run the same command to go on" in m6rec("train", tiny_sample / "config.yaml", "--run", tmp_path / "run").error(130)


def test_default_run_folder(tmp_path: Path) -> None:
    assert default_run(tmp_path / "shop.yaml", []) == Path("runs/shop")
    assert default_run(tmp_path / "boots" / "config.yaml", []) == Path("runs/boots")
    assert default_run(tmp_path / "shop.yaml", ["graph", "id"]) == Path("runs/shop-without-graph-without-id")


def test_recommend_as_json(m6rec: CommandLines, tiny_run: Path) -> None:
    answers = m6rec("recommend", tiny_run, "--user", "u01", "-k", 4, "--json").json()
    assert len(answers) == len({answer["item_id"] for answer in answers}) == 4
    assert [answer["score"] for answer in answers] == sorted((answer["score"] for answer in answers), reverse=True)
    assert all(answer["title"] for answer in answers)
    shown = m6rec("recommend", tiny_run, "--user", "u01", "-k", 4)
    assert [line.split()[2] for line in shown.out.splitlines()[1:]] == [answer["item_id"] for answer in answers]


@pytest.mark.parametrize(
    "who",
    [
        ["--history", "i01, i02"],
        ["--text", "warm hiking boots"],
        ["--profile", "age=36 occupation='park ranger'"],
        ["--profile", "a veterinarian who likes cats"],
        ["--user", "u01", "--scenario", "shop", "--repeat", "allow"],
    ],
)
def test_recommend_to_anybody(who: list[str], m6rec: CommandLines, tiny_run: Path) -> None:
    assert len(m6rec("recommend", tiny_run, *who, "-k", 3, "--json").json()) == 3


def test_where_keeps_only_what_was_asked_for(m6rec: CommandLines, tiny_run: Path, tiny_sample: Path) -> None:
    import polars as pl

    items = pl.read_parquet(tiny_sample / "items.parquet")
    category = items["category"][0]
    wanted = items.filter((pl.col("category") == category) & (pl.col("price") < 40))["item_id"].to_list()
    assert wanted
    found = m6rec(
        "recommend", tiny_run, "--text", items["title"][0], "--where", f"category={category}", "--where", "price<40", "-k", 40, "--json"
    ).json()
    assert sorted(answer["item_id"] for answer in found) == sorted(wanted)


def test_similar(m6rec: CommandLines, tiny_run: Path) -> None:
    answers = m6rec("similar", tiny_run, "--item", "i01", "-k", 3, "--json").json()
    assert len(answers) == 3
    assert "i01" not in {answer["item_id"] for answer in answers}


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["recommend", "RUN", "--user", "nobody"], 1, "nobody"),
        (["recommend", "RUN", "--history", "i01,nothing"], 1, "nothing"),
        (["recommend", "RUN", "--user", "u01", "--where", "categry=boots"], 2, "did you mean 'category'"),
        (["recommend", "RUN", "--user", "u01", "--where", "price=cheap"], 2, "cheap"),
        (["recommend", "RUN", "--user", "u01", "--scenario", "shopp"], 2, "did you mean 'shop'"),
        (
            ["recommend", "RUN", "--user", "u01", "--include", "nothing"],
            2,
            "include names 'nothing': there is no field of the items and no task on candidates or items of that name; fields: title, ",
        ),
        (["recommend", "RUN", "--user", "u01", "--include", "brand,categry"], 2, "of that name; did you mean 'category'?"),
        (["recommend", "EMPTY", "--user", "u01"], 1, "EMPTY"),
        (["similar", "RUN", "--item", "nothing"], 1, "nothing"),
        (["evaluate", "RUN", "--baselines", "popularty"], 2, "did you mean 'popularity'"),
        (["evaluate", "EMPTY"], 1, "EMPTY"),
    ],
)
def test_bad_requests_are_one_line(words: list[str], code: int, part: str, m6rec: CommandLines, tiny_run: Path, tmp_path: Path) -> None:
    places = {"RUN": tiny_run, "EMPTY": tmp_path / "EMPTY"}
    assert part in m6rec(*(places.get(word, word) for word in words)).error(code)
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_nothing_is_an_answer_with_its_reason(m6rec: CommandLines, tiny_run: Path) -> None:
    found = m6rec("recommend", tiny_run, "--user", "u01", "--where", "price<0")
    assert (found.code, found.err) == (0, "m6rec: note: no item is left; loosen --where, or see --repeat\n")
    assert len(found.out.splitlines()) == 1
    found = m6rec("recommend", tiny_run, "--text", "boots over 40, under 20", "--json")
    assert (found.code, json.loads(found.out)) == (0, [])
    assert found.err.startswith("m6rec: note: ")


def test_evaluate_as_json_with_an_ablation_and_a_report(m6rec: CommandLines, tiny_run: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    command = ["evaluate", tiny_run, "--without", "graph", "--baselines", "popularity", "--report", report]
    names = [evaluation["name"] for evaluation in m6rec(*command, "--json").json()]
    assert names == ["m6rec", "m6rec without graph", "popularity"]
    assert report.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_evaluate_prints_the_table(m6rec: CommandLines, tiny_run: Path) -> None:
    shown = m6rec("evaluate", tiny_run, "--baselines", "none", "--split", "validation")
    assert "<svg" in (tiny_run / "evaluation.html").read_text(encoding="utf-8")
    assert (shown.code, shown.err) == (0, "")
    assert "NDCG@10" in shown.out
    assert not any(line.split()[:1] == ["popularity"] for line in shown.out.splitlines())


def test_evaluate_dry_run_writes_nothing(m6rec: CommandLines, tiny_run: Path, tmp_path: Path) -> None:
    before = files(tiny_run)
    plan = m6rec("evaluate", tiny_run, "--without", "id", "--report", tmp_path / "report.html", "--dry-run", "--json").json()
    assert plan["without"] == ["id"]
    assert m6rec("evaluate", tiny_run, "--dry-run").code == 0
    assert list(tmp_path.iterdir()) == []
    assert files(tiny_run) == before


def test_conditions_of_where() -> None:
    assert conditions(["brand=Acme & Co", "price<50", "price >= 10", "brand=B"]) == {"brand": ["Acme & Co", "B"], "price": ["<50", ">=10"]}


def test_person_is_fields_or_words() -> None:
    assert person('age=25 job="web designer"') == {"age": "25", "job": "web designer"}
    assert person("a web designer") == "a web designer"
    assert person('{"age": 40, "interests": ["hiking"]}') == {"age": 40, "interests": ["hiking"]}
    with pytest.raises(UsageError, match="is no JSON object"):
        person('{"age": 40')


def test_json_keeps_other_scripts(m6rec: CommandLines, tmp_path: Path) -> None:
    shown = m6rec("sample", tmp_path / "靴子", "--users", 20, "--items", 20, "--json")
    assert json.loads(shown.out)["folder"].endswith("靴子")
    assert "靴子" in shown.out
