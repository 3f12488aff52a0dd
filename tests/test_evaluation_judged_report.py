"""Judged tasks on a page, in a terminal and in Markdown; heat map, reliability and late interaction charts."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from m6rec.base.errors import UsageError
from m6rec.evaluation.calibration import Calibration, fit_calibration
from m6rec.evaluation.heat_map import heat_map_svg
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.judged_comparison import cells_of, differences_of, overall, paired, verdict
from m6rec.evaluation.judged_report import judged_page, judged_section
from m6rec.evaluation.judged_tables import (
    calibration_table,
    class_table,
    every_difference_table,
    few_classes,
    judged_markdown,
    judged_tables,
    scenario_table,
)
from m6rec.evaluation.late_curve import LatePoint, late_curve_svg
from m6rec.evaluation.metric_names import METRIC_NAMES
from m6rec.evaluation.plots import short
from m6rec.evaluation.reliability import reliability, reliability_chart
from m6rec.evaluation.report import html_report
from m6rec.evaluation.standalone import standalone_svg
from test_evaluation_report import Page, two

HOSTILE = "<script>alert('x')</script> & {{ 7 * 7 }} | a"


def clicks(name: str, noise: float, task: str = "click", rows: int = 1200, **more: Any) -> Judged:
    rng = np.random.default_rng(1)
    rate = rng.random(rows)
    truth, users = rng.random(rows) < rate, rng.integers(0, 100, rows)
    where = rng.integers(0, 3, rows).astype(np.int16)
    predicted = np.clip(rate + noise * np.random.default_rng(len(name)).normal(size=rows), 0, 1)
    given = {"users": users, "scenarios": where, "scenario_names": ["shop", "feed", HOSTILE], "resamples": 100} | more
    return Judged(name, task, "binary", truth, predicted, **given)


def topics(name: str, right: float) -> Judged:
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 3, 300)
    said = np.where(rng.random(300) < right, codes, rng.integers(0, 3, 300))
    return Judged(name, "topic", "classes", codes, 0.7 * np.eye(3)[said] + 0.1, names=["sport", HOSTILE, "科技"], resamples=100)


def several() -> list[Judged]:
    feed_never = clicks("joint", 0.1, "like")
    truth = np.where(feed_never.scenarios == 1, 0, feed_never.truth)
    likes = [clicks(name, noise, "like") for name, noise in (("joint", 0.1), ("single", 0.3))]
    likes = [
        Judged(
            one.name,
            "like",
            "binary",
            truth,
            one.predicted,
            users=one.users,
            scenarios=one.scenarios,
            scenario_names=one.scenario_names,
            resamples=100,
        )
        for one in likes
    ]
    numbers = Judged("joint", "stars", "number", np.arange(50) % 5, np.arange(50) % 4, resamples=100, statements=["Rows after May."])
    return [clicks("joint", 0.1), clicks("single", 0.3), clicks(HOSTILE, 0.6), *likes, topics("joint", 0.9), topics("single", 0.5), numbers]


def test_cells_compare_the_first_with_the_others() -> None:
    cells = cells_of(several())
    assert [cell.name for cell in cells] == [
        *(f"{where}/{task}" for task in ("click", "like") for where in ("shop", "feed", HOSTILE)),
        *("topic", "stars"),
    ]
    shop = cells[0]
    assert shop.best() == {"joint"}
    assert shop.differences["single"] == shop.judged["joint"].difference(shop.judged["single"])
    assert shop.estimates["joint"] == pytest.approx(shop.judged["joint"].estimate("auc"))
    assert not cells[4].defined  # nobody liked anything in the feed
    against = {one.against: one for one in overall(cells[:6], "joint")}
    assert against["single"].cells == 5
    assert against[HOSTILE].cells == 3
    assert against["single"].difference.mean == pytest.approx(
        np.mean([cell.differences["single"].mean for cell in cells[:6] if cell.defined])
    )
    assert against["single"].worse == []
    assert "shop/click" in against["single"].better


def test_lower_is_better_where_it_is() -> None:
    better = clicks("joint", 0.1, metrics=["log_loss"])
    found = better.difference(clicks("single", 0.4, metrics=["log_loss"]))
    assert found.mean < 0
    assert verdict(found, "log_loss") == "better"
    assert verdict(found, "auc") == "worse"
    assert cells_of([better, clicks("single", 0.4, metrics=["log_loss"])])[0].best() == {"joint"}


def test_every_metric_of_every_cell_is_compared() -> None:
    """Over the same resamples as one metric alone; what is undefined in a cell is null there."""
    joint, other = many_metrics()
    never = replace(joint, truth=np.where(joint.scenarios == 1, 0, joint.truth), worth=None)
    rows = {(row["cell"], row["metric"]): row for row in paired([never, replace(other, truth=never.truth, worth=None)])}
    assert list(rows) == [(f"{where}/click", metric) for where in ("shop", "feed", HOSTILE) for metric in joint.metrics]
    for one, against in zip(never.cells(), replace(other, truth=never.truth, worth=None).cells(), strict=True):
        for metric in joint.metrics:
            row, wanted = rows[one.cell, metric], one.difference(against, metric)
            assert [row[part] for part in wanted._fields] == [None if math.isnan(value) else value for value in wanted], (one.cell, metric)
    assert {metric for (where, metric), row in rows.items() if where == "shop/click" and row["mean"] is None} == {"satisfaction@3"}
    nothing = {metric for (where, metric), row in rows.items() if where == "feed/click" and row["verdict"] == "undefined"}
    assert nothing == {"auc", "gauc", "pr_auc", "ndcg@3", "satisfaction@3"}
    better = rows["shop/click", "log_loss"]
    assert (better["mean"] < 0, better["verdict"]) == (True, "better")  # lower is better there


def test_differences_of_every_metric_begin_with_the_one_that_decides() -> None:
    for cell in cells_of(several()):
        table = differences_of(cell, "joint")
        assert list(table) == list(cell.differences)
        for name, found in table.items():
            assert found[cell.metric] == pytest.approx(cell.differences[name], nan_ok=True, rel=0, abs=0)
    assert differences_of(cells_of(several(), "single")[-1], "single") == {}  # it has no word on stars


def test_small_cells_are_shown_and_left_out_of_means() -> None:
    pair = [clicks("joint", 0.1), clicks("single", 0.3)]
    rarest = min(cell.rarer for cell in cells_of(pair))
    text = judged_tables(pair, least=rarest + 1)
    assert f"is left out of means: {rarest} rows have the rarer answer, fewer than {rarest + 1}." in text
    assert "mean of 2 cells" in text
    assert overall(cells_of(pair, least=10_000), "joint") == []
    numbers = replace(pair[0], task="stars", kind="number", metrics=["rmse"])
    assert cells_of([numbers], least=10_000)[0].defined, "only yes and no can be few"


def test_what_cannot_be_compared_is_refused() -> None:
    for make in (judged_tables, judged_section):
        with pytest.raises(UsageError, match="there are no judged rows to report"):
            make([])
        with pytest.raises(UsageError, match="two results of 'joint' on task 'click'"):
            make([clicks("joint", 0.1), clicks("joint", 0.2)])
        with pytest.raises(UsageError, match="no scorer is called 'nobody'; there are: joint, single"):
            make([clicks("joint", 0.1), clicks("single", 0.2)], "nobody")
        with pytest.raises(UsageError, match="were not judged on the same rows of 'shop/click'"):
            make([clicks("joint", 0.1), clicks("single", 0.2, rows=900)])


def test_the_page_is_whole_and_loads_nothing() -> None:
    text = judged_page(several(), title=HOSTILE, extra=[("Who helped whom", heat_map_svg(["a"], ["b"], np.array([[0.1]]), key="whom"))])
    page = Page(text)
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe", "object")]
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on") or a in ("src", "srcset", "style")]
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "<script>" not in text
    ids = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {part for _, a in page.tags for key in ("aria-labelledby", "aria-describedby") for part in (a.get(key) or "").split()}
    assert wanted | {str(a["href"])[1:] for a in page.named("a")} <= set(ids)
    assert all("scope" in header for header in page.named("th"))
    charts = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(charts) == 1 + 1 + 4  # the heat map of AUC, the one given, reliability of four tasks
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
        assert not re.search(r'"[^"]*\bnan\b', chart)
    assert "Rows after May." in text
    assert "AUC of feed/like is undefined" in text
    assert judged_page(several(), title="t") == judged_page(several(), title="t")


def test_the_section_stands_in_the_report() -> None:
    text = html_report(two(), title="t", judged=several())
    page = Page(text)
    assert page.open == []
    ids = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert 'href="#judged"' in text
    assert 'href="#judged"' not in html_report(two(), title="t")


def test_the_terminal_is_aligned_and_says_what_is_undefined() -> None:
    text = judged_tables(several())
    lines = text.splitlines()
    assert lines[0] == "AUC of each scenario/task"
    value = clicks("joint", 0.1).cells()[0].estimate("auc")
    assert f"{value.mean:.4f}* [{value.low:.4f}, {value.high:.4f}]" in text
    assert re.search(r"AUC of feed/like is undefined: all \d+ labels are no. It is left out of means.", text)
    assert "mean of 5 cells" not in text  # one scorer did not judge likes: no mean of the same cells for everybody
    assert "nan" not in text
    assert re.search(r"^single +\+0\.\d{4} \[\+0\.\d{4}, \+0\.\d{4}\] +5 +5 +0 +better$", text, flags=re.M)
    assert "mean of 5 cells" in judged_tables([one for one in several() if one.name != HOSTILE])


def many_metrics() -> list[Judged]:
    metrics = ["auc", "gauc", "log_loss", "ece", "pr_auc", "best_f1", "ndcg@3", "satisfaction@3"]
    lists, worth = np.repeat(np.arange(200), 6), np.random.default_rng(3).integers(-1, 2, 1200).astype(np.float32)
    given = {"metrics": metrics, "lists": lists, "worth": worth}
    return [clicks(name, noise, **given) for name, noise in (("joint", 0.1), ("logistic_regression", 0.3))]


def test_every_figure_in_the_terminal_has_its_interval() -> None:
    """A table too wide for a terminal goes on below, with the names of its rows again."""
    first = many_metrics()[0]
    text = judged_tables(many_metrics())
    block = text[text.index("click: 1,200 rows") :]
    for metric, estimate in first.table().items():
        assert re.search(rf"{estimate.mean:.4f}[* ] \[{estimate.low:.4f}, {estimate.high:.4f}\]", block), metric
    assert len(re.findall("^joint ", block, flags=re.M)) == 2
    assert max(map(len, block.splitlines())) < 150


def test_every_metric_of_every_scenario_stands_in_a_table() -> None:
    """Of the reference, with intervals, in terminal, Markdown and page; nothing where a task has one cell."""
    scorers = [*many_metrics(), topics("joint", 0.9)]
    text = judged_tables(scorers, "joint")
    block = text[text.index("click, joint: each scenario") :]
    for cell in scorers[0].cells():
        line = " ".join(re.findall(rf"^{re.escape(short(cell.scenario, 40))} (.*)$", block, flags=re.M))
        figures = [f"{e.mean:.4f} [{e.low:.4f}, {e.high:.4f}]" for e in cell.table().values()]
        assert [found.strip() for found in re.findall(r"-?[\d.]+ +\[[^]]*\]", line)] == figures
    assert "topic, joint: each scenario" not in text
    assert "click, joint: each scenario" in judged_markdown(scorers)
    assert "<bdi>click, joint: each scenario</bdi>" in judged_section(scorers)
    likes = [cell for cell in cells_of(several()) if cell.task == "like"]
    table = scenario_table(likes, "joint")
    assert table is not None
    assert [(row[0].text, row[1].text == "-") for row in table.rows] == [("shop", False), ("feed", True), (HOSTILE, False)]
    assert scenario_table(likes, HOSTILE) is None  # it has no word on likes


def test_the_page_has_every_difference_of_every_metric() -> None:
    cells = cells_of(many_metrics())
    table = every_difference_table(cells, "joint")
    assert table is not None
    assert [(row[0].text, row[1].text) for row in table.rows] == [("logistic_regression", where) for where in ("shop", "feed", HOSTILE)]
    lower = table.head.index("Log loss")
    difference = cells[0].judged["joint"].difference(cells[0].judged["logistic_regression"], "log_loss")
    assert table.rows[0][lower] == (f"{difference.mean:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}", "better")
    page = judged_section(many_metrics())
    folded = page[page.index("<details><summary>click: joint minus the others, every metric") :]
    assert f'<span class="better">{difference.mean:+.4f}</span>' in folded[: folded.index("</details>")]
    alone = every_difference_table(cells_of([topics("joint", 0.9), topics("single", 0.5)]), "joint")
    assert alone is not None
    assert alone.head[:2] == ["joint minus", "Accuracy"]  # one cell: no column of scenarios
    assert every_difference_table(cells_of([topics("joint", 0.9)]), "joint") is None


def test_markdown_is_a_table_and_escapes_bars() -> None:
    text = judged_markdown(several())
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
    for table in tables:
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(widths) == 1
    assert "<script>" not in text
    assert "**" in text


def test_a_table_of_classes() -> None:
    table = class_table(topics("joint", 0.9))
    assert table is not None
    assert [row[0].text for row in table.rows] == [
        one.name for one in sorted(topics("joint", 0.9).class_figures(), key=lambda one: -one.rows)
    ]
    assert class_table(clicks("joint", 0.1)) is None


def test_calibration_is_shown_before_and_after() -> None:
    before = clicks("joint", 0.4, rows=3000)
    fitted = fit_calibration(before)
    table = calibration_table([(fitted, before), (Calibration(), topics("joint", 0.9))])
    first, second = table.rows
    assert [one.text for one in first[:2]] == ["click", fitted.curve.way]
    assert float(first[3].text) < float(first[2].text)
    assert float(first[4].text) == pytest.approx(before.value("ece"), abs=1e-4)
    assert [one.text for one in second[1:4]] == ["none", second[2].text, second[2].text]
    page = judged_page([fitted.applied(before)], title="t", calibrations=[(fitted, before)])
    assert Page(page).open == []
    assert "Calibration" in page
    assert "validation rows" in judged_tables([before], calibrations=[(fitted, before)])


# charts


def test_reliability_by_hand() -> None:
    judged = Judged("m", "t", "binary", np.array([0, 1, 1, 1]), np.array([0.2, 0.4, 0.6, 0.8]))
    low, high = reliability(judged, bins=2)
    assert (low.rows, low.observed, high.observed) == (2, 0.5, 1.0)
    assert (low.predicted, high.predicted) == pytest.approx((0.3, 0.7))
    z = 1.959964**2
    assert (high.low, high.high) == pytest.approx((2 / (2 + z), 1.0))  # Wilson's interval of 2 in 2
    number = reliability(Judged("m", "t", "number", np.array([1.0, 3.0]), np.array([2.0, 2.0])), bins=5)
    assert [(b.rows, b.observed) for b in number] == [(2, 2.0)]
    assert number[0].low == pytest.approx(2 - 1.959964 / math.sqrt(2))


@pytest.mark.parametrize("scorers", [[], [topics("joint", 0.9)], [clicks("joint", 0.1), clicks("single", 0.3)]])
def test_reliability_charts_are_drawn(scorers: list[Judged]) -> None:
    root = ElementTree.fromstring(reliability_chart("r", scorers))
    lines = [child for child in root if child.get("class", "").startswith("line c")]
    assert len(lines) == 2 * len(scorers)  # the curve and its line in the legend


def test_a_heat_map_says_everything_without_colours() -> None:
    values = np.array([[0.02, -0.01, math.nan], [0.0, -0.0001, 0.005]])
    sure = np.array([[True, False, False], [False, False, False]])
    chart = heat_map_svg(["a & b", "很长的名字" * 9], ["x", "y", "<z>"], values, sure, "Title", row_label="left out", column_label="judged")
    root = ElementTree.fromstring(chart)
    words = [child.text for child in root if child.tag.endswith("text")]
    for word in ("+0.020", "−0.010", "–", "0.000", "+0.005", "left out ↓", "judged →"):
        assert word in words
    assert "−0.000" not in words
    assert "a & b, x: +0.020 (clear)" in (root[1].text or "")
    boxes = [child for child in root if child.get("class", "").startswith("heat")]
    assert [box.get("class") for box in boxes] == ["heat up", "heat down", "heat none", "heat up", "heat down", "heat up"]
    strength = [float(box.get("fill-opacity", 0)) for box in boxes]
    assert strength[0] == max(strength)
    assert strength[1] == pytest.approx(strength[0] / 2, abs=1e-3)
    assert chart.count('class="sure"') == 1
    assert "beyond the 95 % interval" not in heat_map_svg(["a"], ["b"], np.array([[0.0]]))
    ElementTree.fromstring(heat_map_svg([], [], np.zeros((0, 0))))


def test_the_late_curve_has_both_axes() -> None:
    points = [LatePoint("0", 0.70, 0.5), LatePoint("2", 0.75, 1.5, 0.74, 0.76), LatePoint("all anew", 0.76, 12.0)]
    root = ElementTree.fromstring(late_curve_svg(points, title="t"))
    words = [child.text for child in root if child.tag.endswith("text")]
    assert {"AUC ●", "■ ms per request", "joint upper layers", "0", "2", "all anew", "15"} <= set(words)
    quality = [float(child.get("cy", 0)) for child in root if child.tag.endswith("circle")]
    cost = [float(child.get("y", 0)) for child in root if child.get("class") == "dot c1"]
    assert quality == sorted(quality, reverse=True)
    assert cost == sorted(cost, reverse=True)
    ElementTree.fromstring(late_curve_svg([], title="t"))


def test_a_chart_becomes_a_picture_of_its_own() -> None:
    text = standalone_svg(late_curve_svg([LatePoint("0", 0.7, 0.5)], title="t"))
    ElementTree.fromstring(text)
    assert "prefers-color-scheme: dark" in text
    assert ".line.c1" in text
    assert "{%" not in text
    with pytest.raises(UsageError, match="standalone_svg takes the text of a chart"):
        standalone_svg("<p>")


def test_the_snippet_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "judged.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/judged.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Estimate(mean=0.8")
    assert said[-1] in ("platt", "isotonic")
    assert (tmp_path / "ours" / "judged.json").exists()


def test_every_metric_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "judged.md").read_text(encoding="utf-8")
    assert [name for name in METRIC_NAMES if f"`{name}`" not in page and f"`{name}@k`" not in page] == []


def test_the_terminal_says_how_each_class_does() -> None:
    """By hand: of class c of 20, 20 - c of 20 rows are called so and the others class 0; one more class that nobody has or says."""
    classes, each = 20, 20
    truth = np.repeat(np.arange(classes), each)
    said = np.where(np.arange(each)[None] < each - np.arange(classes)[:, None], np.arange(classes)[:, None], 0).ravel()
    names = [f"class{number:02d}" for number in range(classes)] + ["unseen"]
    wide = Judged("joint", "topic", "classes", truth, np.eye(classes + 1)[said], names=names, resamples=20)
    other = Judged("single", "topic", "classes", truth, np.eye(classes + 1)[truth], names=names, resamples=20)
    (table,) = few_classes([wide, other])
    assert table.title == "Classes of topic, joint"
    by_hand = {f"class{c:02d}": 2 * (each - c) / (each + each - c) for c in range(1, classes)}  # precision 1, recall (20 - c) / 20
    by_hand["class00"] = 2 * each / (each + each + sum(range(classes)))
    ordered = sorted(by_hand, key=lambda name: -by_hand[name])
    assert [row[0].text for row in table.rows] == [*ordered[:6], *ordered[-6:]]
    assert [row[5].text for row in table.rows] == [f"{by_hand[name]:.4f}" for name in (*ordered[:6], *ordered[-6:])]
    assert table.note == "The 6 best and the 6 worst by F1 of 20; the page and --json have more."
    text = judged_tables([wide, other])
    assert re.search(r"^class01 +20 +19 +1.0000 +0.9500 +0.9744$", text, flags=re.M)
    assert "class10" not in text
    assert "Classes of topic, single" not in text
    assert {row[0].text for row in few_classes(several())[0].rows} == {"sport", "科技", HOSTILE}
    assert few_classes([clicks("joint", 0.1)]) == []
