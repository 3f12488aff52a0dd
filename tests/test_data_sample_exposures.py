"""Exposures and labelled texts of the built-in sample: what was planted is in the files, and the files can be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import JUDGED
from m6rec.config import load_config
from m6rec.data.dataset import Dataset
from m6rec.data.prepare import prepare
from m6rec.data.sample import FORMATS, Sample, generate, write_sample
from m6rec.data.sample_exposures import EXAMINED
from m6rec.data.sample_titles import load_words
from m6rec.data.spans import read_spans
from m6rec.evaluation.list_metrics import satisfaction_of_lists
from m6rec.training.measuring import kept_rows
from m6rec.training.pipeline import open_run, train
from m6rec.training.task_checks import check_tasks


@pytest.fixture(scope="module")
def sample() -> Sample:
    return generate(lists_per_user=12)


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    return float(pl.DataFrame({"a": one, "b": other}).select(pl.corr("a", "b", method="spearman")).item())


def test_clicks_follow_position_and_relevance(sample: Sample) -> None:
    shown, truth = sample.exposures, sample.exposure_truth
    position, clicked = shown["position"].to_numpy(), shown["clicked"].to_numpy()
    expected = truth.clicking(position)
    np.testing.assert_array_equal(truth.examined, EXAMINED)
    for place in range(1, 7):
        here = position == place
        spread = 3 * np.sqrt((expected[here] * (1 - expected[here])).sum())
        assert abs(clicked[here].sum() - expected[here].sum()) < spread
        assert here.sum() == (position == 1).sum()  # every list is full
    for name, chance in (("bought", truth.buying), ("liked", truth.liking), ("long_view", truth.staying)):
        known = ~np.isnan(chance) & (clicked == 1)
        spread = 3 * np.sqrt((chance[known] * (1 - chance[known])).sum())
        assert known.sum() > 300, name
        assert abs(shown[name].to_numpy()[known].sum() - chance[known].sum()) < spread, name
    passed = clicked == 0
    examined = truth.examined[position - 1]
    expected = (examined * (1 - truth.relevance) * truth.disliking / (1 - examined * truth.relevance))[passed]  # of what was not clicked
    assert abs(shown["disliked"].to_numpy()[passed].sum() - expected.sum()) < 3 * np.sqrt((expected * (1 - expected)).sum())


def test_outcomes_hang_together(sample: Sample) -> None:
    shown = sample.exposures
    shop, clicked = pl.col("scenario") == "shop", pl.col("clicked") == 1
    for wrong in (
        (pl.col("bought").is_null() == shop) | (pl.col("liked").is_null() != shop),
        (pl.col("bought") == 1) & ~clicked,
        (pl.col("liked") == 1) & ~clicked,
        (pl.col("disliked") == 1) & clicked,
        pl.col("dwell").is_null() == clicked,
        (pl.col("long_view") == 1) != (pl.col("dwell") >= 30).fill_null(False),
        pl.col("rating").is_not_null() != (pl.col("bought") == 1).fill_null(False),
    ):
        assert shown.filter(wrong).height == 0
    assert shown["time"].is_sorted()
    assert shown.group_by("list_id").agg(pl.col("item_id").n_unique() == pl.len(), pl.col("user_id").n_unique() == 1).select(
        pl.exclude("list_id")
    ).min().row(0) == (True, True)
    release = dict(zip(sample.items["item_id"], sample.truth.release, strict=True))
    assert (shown["time"].to_numpy() >= np.array([release[item] for item in shown["item_id"]])).all()
    assert set(zip(sample.items["kind"], sample.truth.scenario, strict=True)) == {("product", 0), ("post", 1), ("video", 2)}


def test_the_logging_policy_likes_what_is_popular_and_says_how_much(sample: Sample) -> None:
    shown, truth = sample.exposures, sample.truth
    rows = {item: row for row, item in enumerate(sample.items["item_id"])}
    item = np.array([rows[name] for name in shown["item_id"]])
    times = np.bincount(item, minlength=len(rows))
    sold = ~truth.cold
    assert spearman(times[sold], truth.share[sold]) > 0.6
    assert times[truth.cold].sum() == 0
    # 1 / propensity of the first place of a list counts, on average, the items that could have been there.
    top = shown.with_row_index().filter(pl.col("position") == 1)
    scenario = np.array([("shop", "feed", "video").index(name) for name in top["scenario"]])
    could = ((truth.scenario == scenario[:, None]) & (truth.release <= top["time"].to_numpy()[:, None])).sum(axis=1)
    weights = 1 / top["propensity"].to_numpy()
    assert abs(weights.mean() - could.mean()) < 4 * weights.std() / np.sqrt(len(top))


def test_clicks_alone_mislead_and_what_was_planted_puts_them_right(sample: Sample) -> None:
    shown, truth = sample.exposures, sample.exposure_truth
    users = {user: row for row, user in enumerate(sample.users["user_id"])}
    items = {item: row for row, item in enumerate(sample.items["item_id"])}
    user, item = (np.array([of[name] for name in shown[column]]) for of, column in ((users, "user_id"), (items, "item_id")))
    preferences = truth.preferences(np.arange(len(users)))
    assert preferences.shape == (600, 300)
    assert spearman(preferences[user, item], truth.relevance) > 0.9
    clicked, position = shown["clicked"].to_numpy(), shown["position"].to_numpy()
    cells = (sample.truth.user_tastes[user, sample.truth.topic[item]] > 0.5).astype(int)  # rows of the major topic, and others
    seen_rate = np.bincount(cells, clicked) / np.bincount(cells, truth.examined[position - 1])
    planted = np.bincount(cells, truth.relevance) / np.bincount(cells)
    np.testing.assert_allclose(seen_rate, planted, rtol=0.1)
    naive = np.bincount(cells, clicked) / np.bincount(cells)
    assert (naive < 0.6 * planted).all()


def test_what_people_would_like_satisfies_more_than_what_was_shown_first(sample: Sample) -> None:
    """The first three of each list by planted relevance, against its own order and against chance, by the satisfaction that the file says."""
    shown, truth = sample.exposures, sample.exposure_truth
    worth = (shown["liked"].fill_null(0) + shown["long_view"] - shown["disliked"]).to_numpy().astype(float)
    lists = shown["list_id"].cast(pl.Int64).to_numpy()
    orders = {"planted": truth.relevance, "shown": -shown["position"].to_numpy(), "turned": -truth.relevance}
    found = {name: satisfaction_of_lists(worth, order.astype(float), lists, 3)[1].mean() for name, order in orders.items()}
    assert found["planted"] > found["shown"] + 0.01 > found["turned"] + 0.04
    assert worth.min() == -1
    assert worth.max() == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_labelled_words_are_where_the_spans_say(language: str) -> None:
    made = generate(users=60, items=120, language=language)  # type: ignore[arg-type]
    words = load_words(language)
    queries = made.texts.filter(pl.col("kind") == "query")
    spans, names = read_spans(queries["spans"], what="spans")
    assert names == ["brand", "category", "price"]
    things = {thing for topic in words["topics"] for thing in topic["things"]}
    for row, start, end, code in spans.iter_rows():
        part = queries["text"][row][start:end]
        allowed = {"brand": part in words["brands"], "category": part in things, "price": any(letter.isdigit() for letter in part)}
        assert allowed[names[code]], (queries["text"][row], part)
    assert spans["row"].n_unique() == len(queries) == 60
    comments = made.texts.filter(pl.col("kind") == "comment")
    assert set(comments["sentiment"]) == {"negative", "neutral", "positive"}
    assert comments["topic"].null_count() == 0
    assert made.texts.filter(pl.col("kind") == "reason")["sentiment"].null_count() == made.texts.filter(pl.col("kind") == "reason").height
    assert json.loads(queries["spans"][0])


def read(folder: Path) -> tuple[Dataset, list[str]]:
    config = load_config(folder / "config.yaml")
    dataset, account = prepare(config.data, config.fields, config.scenarios, folder, labels=config.label_columns)
    checked = check_tasks(dataset, config)
    assert not checked.leaks
    assert account.count("exposures dropped") == 0
    return dataset, [task.line() for task in checked.tasks.values()]


def test_the_formats_hold_the_same_exposures_and_tasks(tmp_path: Path) -> None:
    told, rows = [], []
    for format in FORMATS:
        write_sample(tmp_path / format, users=120, items=120, seed=3, format=format, tasks=True)  # type: ignore[arg-type]
        dataset, lines = read(tmp_path / format)
        assert dataset.exposures is not None
        told.append(lines)
        rows.append(dataset.exposures)
    assert told[0] == told[1] == told[2]
    tasks = ["click", "purchase", "like", "long_view", "dislike", "category", "rating", "sentiment"]
    assert sorted(line.split(" (")[0] for line in told[0]) == sorted(f"task {name}" for name in tasks)
    for other in rows[1:]:
        assert other.labels.equals(rows[0].labels)
        assert other.context.equals(rows[0].context)
        for name in ("users", "items", "cuts", "times", "positions", "propensities", "lists"):
            np.testing.assert_array_equal(getattr(other, name), getattr(rows[0], name))


@pytest.mark.parametrize(("users", "items", "language"), [(60, 40, "en"), (40, 300, "zh"), (40, 20, "en")])
def test_small_samples_have_tasks_too(tmp_path: Path, users: int, items: int, language: str) -> None:
    write_sample(tmp_path, users=users, items=items, language=language, tasks=True)  # type: ignore[arg-type]
    read(tmp_path)


def test_satisfaction_is_measured_on_the_sample(tmp_path: Path) -> None:
    """As written: the click task says of its lists what they are worth in likes, long views and dislikes."""
    write_sample(tmp_path, users=80, items=60, events_per_user=10.0, tasks=True)
    quick = [*JUDGED, "train.epochs=1", "pretrain.epochs=0", "evaluation.resamples=100", "evaluation.baselines=[]"]
    train(load_config(tmp_path / "config.yaml", quick), tmp_path, tmp_path / "run", until="evaluate")
    judged = {one.task: one for one in kept_rows(open_run(tmp_path / "run").folder("evaluate")).judged if one.name == "m6rec"}
    assert {"like", "long_view", "dislike"} <= set(judged)
    click = judged["click"]
    assert "satisfaction@3" in click.metrics
    assert -1 < click.value("satisfaction@3") < 2
    by_hand = {"like": 1, "long_view": 1, "dislike": -1}
    total = sum(weight * judged[name].truth.sum() for name, weight in by_hand.items())
    assert click.worth is not None
    assert click.worth.sum() == pytest.approx(total)
