"""Judging at the time of asking: what serving answers is what the evaluation measured, options come and go, bad questions get one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.base.errors import CheckpointError, ConfigError, DataError, UsageError
from m6rec.cli.recommend import write_table
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.label_metrics import best_threshold
from m6rec.tasks.config import JudgeConfig
from m6rec.training import adding
from m6rec.training.adding import add_task
from m6rec.training.judging import calibrate_judge
from m6rec.training.pipeline import open_run


@pytest.fixture(scope="module")
def recommender(judged_run: Path) -> Recommender:
    """Read only; `fresh` is for tests that change it."""
    return Recommender.from_pretrained(judged_run)


@pytest.fixture
def fresh(judged_run: Path) -> Recommender:
    return Recommender.from_pretrained(judged_run)


def judged(run: Path, task: str) -> Judged:
    folder = open_run(run).folder("evaluate") / "judged"
    return next(one for one in (Judged.load(path) for path in sorted(folder.iterdir())) if one.task == task and one.name == "m6rec")


def test_serving_answers_what_the_evaluation_measured(recommender: Recommender, judged_run: Path, judged_sample: Path) -> None:
    """No skew: the rows of the test, asked of the served model as a table, get the probabilities that the evaluation saw."""
    measured = judged(judged_run, "click")
    exposures = pl.read_parquet(judged_sample / "exposures.parquet")
    answers = recommender.predict(exposures, ["click"])
    ids = recommender.engine.users.ids, recommender.engine.items.ids
    served = {
        (ids[0].dense(user), ids[1].dense(item), float(time)): p
        for user, item, time, p in answers.select("user_id", "item_id", "time", "click").iter_rows()
    }
    assert measured.users is not None
    assert measured.items is not None
    assert measured.times is not None
    found = [served[row] for row in zip(measured.users.tolist(), measured.items.tolist(), measured.times.tolist(), strict=True)]
    np.testing.assert_allclose(found, measured.predicted, atol=2e-5)


def test_one_row_is_as_all_rows(recommender: Recommender, judged_sample: Path) -> None:
    exposures = pl.read_parquet(judged_sample / "exposures.parquet")[-40:]
    together = recommender.predict(exposures)
    for row in (0, 17, 39):
        alone = recommender.predict(exposures[row : row + 1])
        for task in ("click", "purchase", "rating"):
            assert alone[task][0] == pytest.approx(together[task][row], abs=1e-5), task


def test_tasks_are_asked_where_they_are_served(recommender: Recommender, judged_sample: Path) -> None:
    """Purchases and ratings are of the shop; elsewhere there is no answer. A purchase is no likelier than the click before it."""
    answers = recommender.predict(pl.read_parquet(judged_sample / "exposures.parquet")[-300:])
    shop = answers.filter(pl.col("scenario") == "shop")
    assert shop["purchase"].null_count() == 0
    assert answers.filter(pl.col("scenario") != "shop")["purchase"].null_count() == len(answers) - len(shop)
    raw = recommender.engine.scorer.judging
    assert raw is not None
    raw.calibrations, kept = {}, raw.calibrations
    plain = recommender.predict(shop)
    raw.calibrations = kept
    assert (plain["purchase"] <= plain["click"] + 1e-6).all()


def test_rank_orders_by_what_predict_says(recommender: Recommender) -> None:
    items = recommender.engine.items.ids.ids[:15]
    now = recommender.engine.newest
    for task in ("click", "rating"):
        ranked = recommender.rank("u01", items, task, {"device": "phone"}, scenario="shop")
        rows = {"user_id": ["u01"] * 15, "item_id": items, "time": [now] * 15, "scenario": ["shop"] * 15, "device": ["phone"] * 15}
        predicted = dict(zip(items, recommender.predict(rows, [task])[task], strict=True))
        assert [a.item_id for a in ranked] == sorted(items, key=lambda item: -predicted[item])
        assert [a.score for a in ranked] == pytest.approx([predicted[a.item_id] for a in ranked], abs=1e-5)


def test_rank_by_choosing_is_the_order_of_recommend(recommender: Recommender) -> None:
    answers = recommender.recommend("u01", k=20, repeat="allow")
    ranked = recommender.rank("u01", [a.item_id for a in reversed(answers)])
    assert [a.item_id for a in ranked] == [a.item_id for a in answers]


def test_labels_stand_beside_the_items(recommender: Recommender) -> None:
    answers = recommender.recommend("u02", k=5, scenario="shop", include=["category", "click", "rating"])
    frame = recommender.engine.items.frame
    for answer in answers:
        assert list(answer.labels) == ["click", "rating", "category"]
        assert answer.labels["category"] == frame["category"][recommender.engine.items.ids.dense(answer.item_id)]
        one = recommender.rank("u02", [answer.item_id], "click", scenario="shop")[0]
        assert answer.labels["click"] == pytest.approx(one.score, abs=1e-5)


def test_a_task_on_items_fills_in_what_an_item_lacks(fresh: Recommender) -> None:
    fresh.add_items(
        {"item_id": ["bare"], "title": [fresh.engine.items.frame["title"][3]], "description": [fresh.engine.items.frame["description"][3]]}
    )
    said = fresh.rank("u02", ["bare", "i02"], "click", scenario="shop", include=["category", "brand"])
    labels = {answer.item_id: answer.labels for answer in said}
    assert labels["bare"]["category"] == next(iter(fresh.classify(item="bare", task="category")))
    assert labels["bare"]["brand"] is None
    assert list(labels["bare"]) == ["category", "brand"]
    assert labels["i02"]["category"] == fresh.engine.items.frame["category"][fresh.engine.items.ids.dense("i02")]


def test_texts_and_items_are_classified(recommender: Recommender) -> None:
    one = recommender.classify("broke after a week, a waste of money", task="sentiment")
    two = recommender.classify(["broke after a week, a waste of money", "wonderful"], task="sentiment")
    assert one == pytest.approx(two[0])
    assert sum(one.values()) == pytest.approx(1, abs=1e-5)
    said = recommender.classify(item=recommender.engine.items.ids.ids[0], task="category")
    assert set(said) == set(recommender.engine.items.frame["category"].drop_nulls())
    assert list(said.values()) == sorted(said.values(), reverse=True)


def test_saved_and_loaded_judges_are_the_same(recommender: Recommender, tmp_path: Path, judged_sample: Path) -> None:
    rows = pl.read_parquet(judged_sample / "exposures.parquet")[-50:]
    recommender.save_pretrained(tmp_path / "copy")
    again = Recommender.from_pretrained(tmp_path / "copy")
    assert again.predict(rows).equals(recommender.predict(rows))
    assert again.classify("wonderful", task="sentiment") == recommender.classify("wonderful", task="sentiment")


BAD: dict[str, tuple[Callable[[Recommender], Any], type[Exception], str]] = {
    "unknown task": (lambda r: r.rank("u01", ["i01"], "clik"), UsageError, "there is no task 'clik' on candidates; did you mean 'click'"),
    "which scenario": (lambda r: r.rank("u01", ["i01"], "click"), UsageError, "asked in several scenarios; say which"),
    "not there": (lambda r: r.rank("u01", ["i01"], "purchase", scenario="feed"), UsageError, "'purchase' is not asked in scenario 'feed'"),
    "context": (lambda r: r.rank("u01", ["i01"], "click", {"devic": "x"}, scenario="shop"), UsageError, "did you mean 'device'"),
    "time": (lambda r: r.rank("u01", ["i01"], "click", scenario="shop", time="soon"), UsageError, "time is 'soon'; give seconds"),
    "nobody": (lambda r: r.rank(items=["i01"]), UsageError, "nobody to rank for"),
    "no items": (lambda r: r.rank("u01", "i01"), UsageError, "give a list of item ids"),
    "no text column": (
        lambda r: r.predict({"txt": ["fine"]}, ["sentiment"]),
        DataError,
        "no column 'text', which task 'sentiment' reads; did you mean 'txt'",
    ),
    "no item column": (lambda r: r.predict({"user_id": ["u01"]}), DataError, "rows to predict have no column 'item_id'"),
    "no user": (lambda r: r.predict({"user_id": [None], "item_id": ["i01"]}), DataError, "row 1 has no user_id"),
    "strange scenario": (
        lambda r: r.predict({"user_id": ["u01"], "item_id": ["i01"], "scenario": ["shopp"]}),
        DataError,
        "which training did not know; did you mean 'shop'",
    ),
    "two things": (lambda r: r.classify("x", item="i01"), UsageError, "classify takes a text or an item"),
    "text of an item task": (lambda r: r.classify("x", task="category"), UsageError, "'category' is no task on texts"),
    "no option": (lambda r: r.load_option("nowhere"), CheckpointError, "is no option"),
    "drop": (lambda r: r.drop_option("clik"), UsageError, "no task 'clik'"),
    "drop what others need": (lambda r: r.drop_option("click"), UsageError, "'purchase' comes after 'click'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_question_gets_one_line(name: str, recommender: Recommender) -> None:
    ask, kind, said = BAD[name]
    with pytest.raises(kind, match=said) as caught:
        ask(recommender)
    assert "\n" not in str(caught.value)


SENTIMENT = ["sentiment", "sentiment probability"]


def likeliest(said: dict[str, float]) -> tuple[str, Any]:
    name, probability = next(iter(said.items()))
    return name, pytest.approx(probability, abs=1e-5)


def test_a_table_of_texts_or_items_gets_what_classify_says(recommender: Recommender) -> None:
    """Each row as it is asked alone; equal texts alike, an empty one is no guess; a table with both kinds of rows gets both kinds of answers."""
    texts = ["loved it, works well", None, "broke after a day", "loved it, works well", " "]
    answers = recommender.predict({"text": texts, "note": [1, 2, 3, 4, 5]})
    assert answers.columns == ["text", "note", *SENTIMENT], "tasks on pairs and on items are not asked of texts alone"
    found = list(answers.select(SENTIMENT).iter_rows())
    said = [likeliest(recommender.classify(text, task="sentiment")) for text in (texts[0], texts[2])]
    assert found == [said[0], (None, None), said[1], said[0], (None, None)]
    items = recommender.predict({"item_id": ["i02", "i01", "i02"]})
    category = {item: likeliest(recommender.classify(item=item, task="category")) for item in ("i01", "i02")}
    assert items.columns == ["item_id", "category", "category probability"]
    assert list(items.select("category", "category probability").iter_rows()) == [category[item] for item in ("i02", "i01", "i02")]
    told = {"user_id": ["u01"], "item_id": [None], "text": ["broke after a day"]}
    assert recommender.predict(told).columns == [*told, *SENTIMENT], "somebody's review is a text"
    both = recommender.predict({**told, "item_id": ["i02"], "scenario": ["shop"]}, ["click", "sentiment"])
    assert both.select(SENTIMENT).row(0) == said[1]
    assert both["click"].null_count() == 0
    named = recommender.predict({"user_id": ["u01"], "item_id": ["i02"]}, ["category"])
    assert named["category"][0] == category["i02"][0]


def test_a_model_that_judges_nothing_says_so(tiny_run: Path) -> None:
    plain = Recommender.from_pretrained(tiny_run)
    for ask in (lambda: plain.predict({"user_id": ["u01"], "item_id": ["i01"]}), lambda: plain.rank("u01", ["i01"], "click")):
        with pytest.raises(UsageError, match="no task that judges candidates"):
            ask()
    with pytest.raises(UsageError, match="no task on texts or items"):
        plain.classify("x")


def f1(truth: np.ndarray, called: np.ndarray) -> float:
    hits = float((called & (truth == 1)).sum())
    return 2 * hits / float(called.sum() + (truth == 1).sum())


@pytest.fixture(scope="module")
def option(judged_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of its own to which the task `liked` was added."""
    run = tmp_path_factory.mktemp("options") / "run"
    shutil.copytree(judged_run, run)
    fitted: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            adding, "calibrate_judge", lambda validation: fitted.append((validation, calibrate_judge(validation))) or fitted[-1][1]
        )
        added = add_task(run, "liked", JudgeConfig(label="liked"), settings={"epochs": 2})
    assert added.share < 0.1
    assert 0 <= added.judged.value("auc") <= 1
    validation, (calibrations, thresholds) = fitted[0]
    said = calibrations["liked"].applied(validation.judged()[0])
    assert added.judged.threshold == thresholds["liked"] == best_threshold(said.truth, said.predicted)
    assert added.judged.threshold != 0.5
    assert added.judged.table()["best_f1"].mean == pytest.approx(f1(added.judged.truth, added.judged.predicted >= added.judged.threshold))
    return added.folder


def test_an_option_comes_and_goes_and_nothing_else_changes(option: Path, fresh: Recommender, judged_sample: Path, tmp_path: Path) -> None:
    rows = pl.read_parquet(judged_sample / "exposures.parquet")[-80:].drop("liked")
    before = fresh.predict(rows)
    assert fresh.load_option(option.parent) == "liked", "the folder that add-task made for the task will do"
    during = fresh.predict(rows)
    assert during.select(before.columns).equals(before)
    assert during["liked"].null_count() == 0
    fresh.save_pretrained(tmp_path / "with")
    assert Recommender.from_pretrained(tmp_path / "with").predict(rows).equals(during)
    with pytest.raises(UsageError, match="has a task 'liked' already"):
        fresh.load_option(option)
    fresh.drop_option("liked")
    assert fresh.predict(rows).equals(before)


def test_a_file_is_judged_by_an_option_too(
    option: Path, judged_run: Path, judged_sample: Path, m6rec: Callable[..., Any], tmp_path: Path
) -> None:
    rows = pl.read_parquet(judged_sample / "exposures.parquet")[-30:].drop("liked")
    rows.write_parquet(tmp_path / "rows.parquet")
    m6rec("predict", judged_run, tmp_path / "rows.parquet", "--option", option, "--tasks", "liked,click", "--out", tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet").columns == [*rows.columns, "liked", "click"]


def test_an_option_of_another_backbone_is_refused(option: Path, fresh: Recommender) -> None:
    scorer = fresh.engine.scorer
    scorer.model.upper.norm.weight.data[0] += 0.5
    with pytest.raises(CheckpointError, match=r"was trained for the backbone .*, this model's is"):
        fresh.load_option(option)


def test_tasks_that_cannot_be_added(judged_run: Path) -> None:
    with pytest.raises(ConfigError, match="the run has a task 'click' already"):
        add_task(judged_run, "click", JudgeConfig(label="liked"))
    with pytest.raises(ConfigError, match="options are added for candidates"):
        add_task(judged_run, "mood", JudgeConfig(label="sentiment", on="text"))


def test_the_command_line_judges_a_file(m6rec: Callable[..., Any], judged_run: Path, judged_sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.parquet"
    told = m6rec("predict", judged_run, judged_sample / "exposures.parquet", "--out", out, "--tasks", "click", "--json").json()
    assert told["columns"] == ["click"]
    assert told["replaced"] == []
    assert pl.read_parquet(out).height == told["rows"]
    # Where a label has the name of its task the answer takes its place, and the line says so.
    said = m6rec("predict", judged_run, judged_sample / "exposures.parquet", "--out", out, "--tasks", "click,rating").out
    assert "click, rating" in said or "rating, click" in said
    assert "in place of the columns rating of exposures.parquet" in said
    assert pl.read_parquet(out)["rating"].null_count() < pl.read_parquet(judged_sample / "exposures.parquet")["rating"].null_count()
    assert "ends in" not in m6rec("predict", judged_run, judged_sample / "exposures.parquet", "--out", tmp_path / "x.txt").error(2)
    shown = m6rec("recommend", judged_run, "--user", "u01", "--scenario", "shop", "--include", "click,category", "-k", "3")
    assert shown.code == 0
    assert "category" in shown.out.splitlines()[0]


def test_a_context_never_seen_is_told(m6rec: Callable[..., Any], recommender: Recommender, judged_run: Path, tmp_path: Path) -> None:
    known = [{"user_id": "u01", "item_id": "i01", "scenario": "shop", "device": device} for device in ("phone", "PHONE", None)]
    assert recommender.unseen_context(known) == []
    rows = [*known, *({**known[0], "device": f"fridge{number}"} for number in range(7))]
    (told,) = recommender.unseen_context(rows)
    assert told.startswith("context field device: training has not seen 'fridge0', 'fridge1', 'fridge2', 'fridge3', 'fridge4' and 2 more (")
    assert "'phone'" in told.partition("known: ")[2]
    answers = recommender.predict(rows, ["click"])["click"].to_list()
    assert answers[3] == answers[2], "as if it were not said"
    pl.DataFrame(rows).write_csv(tmp_path / "rows.csv")
    result = m6rec("predict", judged_run, tmp_path / "rows.csv", "--out", tmp_path / "out.csv")
    assert result.code == 0
    assert result.err.splitlines() == [f"m6rec: note: {told}"]
    pl.DataFrame(known).write_csv(tmp_path / "rows.csv")
    assert m6rec("predict", judged_run, tmp_path / "rows.csv", "--out", tmp_path / "out.csv").err == ""


def test_lists_are_written_as_csv_too(tmp_path: Path) -> None:
    """What `predict` says of tags, and tags of the rows themselves."""
    frame = pl.DataFrame({"user_id": ["u1", "u2"], "seen": [["a", "b"], []], "levels": [[1, 2], None]})
    write_table(frame, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == 'user_id,seen,levels\nu1,a|b,1|2\nu2,"",\n'
    write_table(frame, tmp_path / "x.jsonl")
    assert (tmp_path / "x.jsonl").read_text().splitlines()[0] == '{"user_id":"u1","seen":["a","b"],"levels":[1,2]}'


def test_a_task_that_no_row_asks_is_refused_by_name(recommender: Recommender) -> None:
    rows = {"user_id": ["u01"], "item_id": [recommender.engine.items.ids.ids[0]], "scenario": ["feed"]}
    with pytest.raises(UsageError, match="task 'purchase' is asked in none of the 1 rows; it is asked in: shop"):
        recommender.predict(rows, ["click", "purchase"])
    assert recommender.predict(rows)["purchase"].null_count() == 1
    with pytest.raises(UsageError, match=r"include names 'clik': there is no field .* and no task .* of that name; did you mean 'click'"):
        recommender.recommend("u01", scenario="shop", include=["clik"])


def test_a_run_that_is_opened_again_judges_as_it_did(judged_run: Path, judged_sample: Path, tmp_path: Path) -> None:
    """The order of the tasks decides the columns of the statistics; a record with sorted keys must not change it."""
    from m6rec.training.measuring import measure_judged

    bench = open_run(judged_run)
    assert list(bench.config.tasks) == ["next", "click", "purchase", "rating", "category", "sentiment"]
    again = {one.task: one for one in measure_judged(bench) if one.name == "m6rec"}
    for task in ("click", "purchase", "rating"):
        np.testing.assert_allclose(again[task].predicted, judged(judged_run, task).predicted, atol=1e-6)


def test_the_report_shows_the_judged_tasks(judged_run: Path) -> None:
    page = (judged_run / "report.html").read_text(encoding="utf-8")
    assert "Judged tasks" in page
    for task in ("click", "purchase", "rating", "category", "sentiment"):
        assert f"shop/{task}" in page or f">{task}" in page


def test_calibration_is_reported_and_applied(judged_run: Path) -> None:
    """The report and the evaluation tell of the rows before and after; what is kept is what the curve makes of what was before."""
    from m6rec.training.measuring import kept_rows

    bench = open_run(judged_run)
    rows = kept_rows(bench.folder("evaluate"))
    after = {one.task: one.predicted for one in rows.judged if one.name == "m6rec"}
    assert [one.task for _, one in rows.before] == ["click", "purchase"]
    for calibration, one in rows.before:
        np.testing.assert_allclose(calibration.applied(one).predicted, after[one.task], atol=1e-6)
    page = (judged_run / "report.html").read_text(encoding="utf-8")
    assert "Chosen and fitted on validation rows" in page
    assert "log loss before" in page


def test_a_task_adds_no_worth_where_it_is_not_asked(judged_run: Path) -> None:
    """Purchases are of the shop alone: a click elsewhere is worth a click, a row that no task is asked of is worth nothing known."""
    judging = open_run(judged_run).judging
    assert judging is not None
    click, bought = (np.nan_to_num(judging.labels[task].values) for task in ("click", "purchase"))
    shop = judging.exposures.scenarios == judging.scenario_names.index("shop")
    both = replace(judging, worths={"click": 1.0, "purchase": 2.0}).worth()
    np.testing.assert_array_equal(both, click + 2 * np.where(shop, bought, 0))
    one = replace(judging, worths={"purchase": 2.0}).worth()
    assert one is not None
    np.testing.assert_array_equal(np.isnan(one), ~shop)
