"""Judge tasks held against the data: what `m6rec validate` shows and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec.base.errors import ConfigError, DataError
from m6rec.tasks.config import JudgeConfig
from m6rec.training.setting_checks import check_kind

USERS, SHOWN = 40, 30
CONFIG = """
data: {events: events.csv, items: items.csv, texts: texts.csv, exposures: shown.csv}
fields: {items: {title: text, shelf: category, section: category}, context: {device: category, dwell: number}}
split: {protocol: time}
tasks:
  next: {answer: choose}
  click: {answer: judge, label: clicked}
  stars: {answer: judge, label: stars, scenarios: [shop]}
  liked: {answer: judge, label: stars, positive: ">=4"}
  shelf: {answer: judge, on: item, label: shelf}
  mood: {answer: judge, on: text, label: mood}
  mark: {answer: judge, on: text, label: mark, kind: number}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, generator = tmp_path_factory.mktemp("judged"), np.random.default_rng(0)
    size = USERS * SHOWN
    user, item = np.repeat(np.arange(USERS), SHOWN), generator.integers(0, 80, size)
    time = generator.permutation(size) * 100 + 1_000_000
    clicked = (generator.random(size) < 0.1 + 0.4 * (item % 4 == 0)).astype(int)
    stars = np.where(clicked == 1, generator.integers(1, 6, size).astype(str), "")
    shown = pl.DataFrame(
        {
            "user_id": user,
            "item_id": item,
            "time": time,
            "scenario": np.where(item % 2 == 0, "shop", "feed"),
            "clicked": clicked,
            "stars": stars,
            "device": generator.choice(["phone", "web"], size),
            "dwell": generator.random(size),
        }
    )
    shown.write_csv(folder / "shown.csv")
    shown.filter(pl.col("clicked") == 1).select("user_id", "item_id", "time", "scenario").write_csv(folder / "events.csv")
    items = pl.DataFrame({"item_id": range(80)}).with_columns(
        pl.format("thing {}", "item_id").alias("title"),
        (pl.col("item_id") % 4).cast(pl.String).alias("shelf"),
        (pl.col("item_id") % 3).cast(pl.String).alias("section"),
    )
    items.write_csv(folder / "items.csv")
    texts = [f"words {row}" for row in range(200)]
    pl.DataFrame({"text": texts, "mood": ["good", "bad"] * 100, "mark": np.arange(200) / 7}).write_csv(folder / "texts.csv")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def test_validate_says_what_there_is_for_every_task(m6rec: Callable[..., Any], shop: Path) -> None:
    facts = m6rec("validate", shop / "config.yaml", "--json").json()
    assert list(facts["tasks"]) == ["click", "stars", "liked", "shelf", "mood", "mark"]
    assert facts["tasks"]["click"].startswith("task click (on candidate, binary): ")
    assert "ordinal" in facts["tasks"]["stars"]
    assert "5 classes" in facts["tasks"]["stars"]
    assert "liked (on candidate, binary)" in facts["tasks"]["liked"]
    assert "shelf (on item, classes)" in facts["tasks"]["shelf"]
    assert "mood (on text, classes)" in facts["tasks"]["mood"]
    entries = {entry["what"]: entry["rows"] for entry in facts["account"]}
    assert entries["exposures"] == USERS * SHOWN
    code, out, _ = m6rec("validate", shop / "config.yaml")
    assert code == 0
    assert "task mood (on text, classes): " in out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["tasks.click.label=clicks"], "no column 'clicks' that is a label of a task; did you mean 'clicked'"),
        (["tasks.click.positive='>1'"], "task click, column 'clicked': no row is positive"),
        (["tasks.stars.kind=binary"], "task stars, column 'stars': row .* which is neither yes"),
        (["tasks.stars.scenarios=[video]"], "task stars, column 'stars': there is no scenario 'video'"),
        (["tasks.shelf.label=shelve"], "items have no field 'shelve' that is a label of a task; did you mean 'shelf'"),
        (["tasks.mood.texts=[letters]"], "task mood, column 'mood': there is no text of the kind 'letters'; .*texts"),
        (["tasks.mood.label=moods"], "has no column 'moods' that is a label of a task on texts; did you mean 'mood'"),
        (["fields.context.clicked=number"], "column 'clicked' is a label and declared under fields.context"),
        (
            ["data.exposures=null", "fields.context={}"],
            "events.csv has no column 'clicked' that is a label of a task.*data.exposures: <file>",
        ),
        (["tasks.next.positive=[buy]"], "tasks.next.positive names 'buy', an action no event has"),
        (["scenarios.offers={shp: {shelf: '1'}}"], "scenarios.offers: there is no scenario 'shp'; did you mean 'shop'"),
        (["scenarios.offers={shop: {shelv: '1'}}"], "scenarios.offers.shop: there is no field of the items 'shelv'; did you mean 'shelf'"),
        (
            ["scenarios.offers={shop: {shelf: ['1', '9']}}"],
            "scenarios.offers.shop.shelf: there is no value of an item '9'; known: 0, 1, 2, 3",
        ),
        (["tasks.stars.scenario_weights={feed: 2}"], "tasks.stars.scenario_weights: there is no scenario 'feed'; known: shop"),
        (["tasks.click.position=propensity"], "task click: position: propensity needs the column 'propensity'"),
        (["split.test_from=99999999"], "the exposures have no test rows|empty split"),
    ],
)
def test_what_is_wrong_with_a_task_is_one_line(m6rec: Callable[..., Any], shop: Path, settings: list[str], words: str) -> None:
    assigned = [word for setting in settings for word in ("--set", setting)]
    code, _, err = m6rec("validate", shop / "config.yaml", *assigned)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert re.search(words, err), err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["tasks.click.loss=huber"], "tasks.click.loss is 'huber' and its labels are of kind binary; write auto or log or focal"),
        (["tasks.stars.kind=number", "tasks.stars.loss=focal"], "kind number; write auto or squared or huber"),
        (["tasks.stars.kind=number", "tasks.stars.label_smoothing=0.1"], "labels of kind number are not smoothed"),
        (["tasks.stars.after=click"], "tasks.stars.after is 'click' and its labels are of kind ordinal; only a yes comes after another"),
        (["tasks.liked.after=stars"], "tasks.liked.after is 'stars', whose labels are of kind ordinal; a yes comes after another yes"),
        (
            ["tasks.click.scenarios=[shop]", "tasks.liked.scenarios=[feed]", "tasks.liked.after=click"],
            "tasks.liked.after is 'click', which is not asked in feed, where liked is; add that to tasks.click.scenarios (shop)",
        ),
        (["tasks.click.scenarios=[shop]", "tasks.liked.after=click"], "tasks.liked.after is 'click', which is not asked in feed"),
        (["tasks.click.metrics=[rmse]"], "metric 'rmse' is not defined for labels of kind binary"),
        (["tasks.click.metrics=[acu]"], "unknown metric 'acu'; did you mean 'auc'"),
        (["tasks.click.metrics=['satisfaction@3']"], "tasks.click.metrics asks for satisfaction, and nothing says what a row is worth"),
        (["tasks.mark.unlabelled=spread"], "tasks.mark.unlabelled is 'spread' and its labels are of kind number"),
        (["evaluation.worth={clik: 1}"], "evaluation.worth names 'clik', which is no task on candidates; did you mean 'click'"),
    ],
)
def test_settings_that_do_not_fit_the_labels_are_one_line(m6rec: Callable[..., Any], shop: Path, settings: list[str], words: str) -> None:
    assigned = [word for setting in settings for word in ("--set", setting)]
    code, _, err = m6rec("validate", shop / "config.yaml", *assigned)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert words in err


@pytest.mark.parametrize(
    "settings",
    [
        ["tasks.liked.after=click"],
        ["tasks.liked.after=click", "tasks.liked.scenarios=[shop]"],
        ["tasks.liked.after=click", "tasks.liked.scenarios=[shop]", "tasks.click.scenarios=[feed, shop]"],
        ["tasks.liked.after=click", "tasks.click.scenarios=[feed, shop]"],
    ],
)
def test_a_task_may_come_after_one_that_is_asked_wherever_it_is(m6rec: Callable[..., Any], shop: Path, settings: list[str]) -> None:
    assert m6rec("validate", shop / "config.yaml", *[word for setting in settings for word in ("--set", setting)], "--json").json()["tasks"]


def test_leaks_are_listed_and_refused(m6rec: Callable[..., Any], shop: Path) -> None:
    shown = pl.read_csv(shop / "shown.csv")
    before = {name: (shop / name).read_bytes() for name in ("shown.csv", "items.csv")}
    try:
        shown.with_columns(dwell=pl.col("clicked") * 5 + pl.col("dwell")).write_csv(shop / "shown.csv")
        code, out, err = m6rec("validate", shop / "config.yaml")
        assert code == 1
        assert re.search(r"leak: task click: 'dwell' \(fields.context\) tells the answer with an AUC of (0.99|1.00)", out)
        assert "take 'dwell' out of fields.context" in err
        items = pl.read_csv(shop / "items.csv").with_columns(section=pl.col("shelf") + 10)
        items.write_csv(shop / "items.csv")
        code, _, err = m6rec("validate", shop / "config.yaml", "--set", "fields.context={}")
        assert "task shelf: 'section' (fields.items) and the label determine each other" in err
    finally:
        for name, content in before.items():
            (shop / name).write_bytes(content)


def test_a_rate_over_the_whole_log_is_refused_and_one_of_its_training_rows_is_not(
    m6rec: Callable[..., Any], shop: Path, tmp_path: Path
) -> None:
    shown, items = pl.read_csv(shop / "shown.csv"), pl.read_csv(shop / "items.csv")
    for name in ("shown.csv", "events.csv", "texts.csv", "config.yaml"):
        (tmp_path / name).write_bytes((shop / name).read_bytes())
    declared = ["--set", "fields.items.ctr=number", "--set", "split.validation_from=1080000", "--set", "split.test_from=1100000"]
    for until, refused in ((2_000_000, True), (1_080_000, False)):
        rates = shown.filter(pl.col("time") < until).group_by("item_id").agg(ctr=pl.col("clicked").mean())
        items.join(rates, "item_id", how="left").write_csv(tmp_path / "items.csv")
        code, out, err = m6rec("validate", tmp_path / "config.yaml", *declared)
        assert code == int(refused), err
        assert ("take 'ctr' out of fields.items" in err) == refused
        assert ("leak: task click: 'ctr' (fields.items) is the mean of the label of each item" in out) == refused


def test_words_of_a_candidate_cannot_be_labelled() -> None:
    with pytest.raises(DataError, match="task brand: its labels are spans of words, and a candidate has no words to label; say on: text"):
        check_kind("brand", JudgeConfig(label="brand"), "tokens")


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("binary", ["pseudo", "consistency", "spread"]),
        ("classes", ["pseudo", "consistency", "spread"]),
        ("tags", ["pseudo", "consistency", "spread"]),
        ("ordinal", ["pseudo", "consistency"]),
        ("number", ["consistency"]),
        ("tokens", []),
    ],
)
def test_ways_to_learn_without_labels_are_held_against_the_kind(kind: str, allowed: list[str]) -> None:
    instead = f"say {' or '.join(allowed)}, or leave it out" if allowed else "; leave it out"
    for way in ("ignore", "pseudo", "consistency", "spread"):
        task = JudgeConfig.build({"label": "mood", "on": "text", "unlabelled": way}, source="tasks.mood")
        if way in ("ignore", *allowed):
            check_kind("mood", task, kind)
            continue
        with pytest.raises(ConfigError, match=rf"tasks.mood.unlabelled is '{way}' and its labels are of kind {kind}, .*{instead}$"):
            check_kind("mood", task, kind)
