"""The page of a study: self-contained, well-formed, right at its edges."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from m6rec.evaluation.tuning_report import Range, TrialRecord, tuning_page

RANGES = [Range("train.learning_rate", "0.001..0.01:log", True, False), Range("model.size", "tiny, small", False, True)]


def trial(number: int, value: float, state: str = "complete", **more: object) -> TrialRecord:
    values = {"train.learning_rate": 0.001 * (number + 1), "model.size": ["tiny", "small"][number % 2]}
    curve = {1: value / 2, 2: value} if value == value else {}
    return TrialRecord(number, state, value, values, curve, 3.0, **more)  # type: ignore[arg-type]


def page(trials: list[TrialRecord], best: TrialRecord | None = None, default: TrialRecord | None = None, **more: object) -> str:
    importance = more.pop("importance", {})
    return tuning_page(
        trials,
        title="<b>t</b>",
        metric="ndcg@10",
        ranges=RANGES,
        best=best,
        default=default,
        importance=importance,
        statement="cut so",  # type: ignore[arg-type]
    )


def whole() -> str:
    trials = [trial(0, 0.1, default=True), trial(1, 0.12), trial(2, 0.05, "pruned"), trial(3, 0.11), trial(4, 0.115), trial(5, 0.0)]
    trials.append(TrialRecord(6, "failed", reason="<script>"))
    return page(trials, trials[1], trials[0], importance={"train.learning_rate": 0.8, "model.size": 0.2})


def test_the_page_loads_nothing_and_escapes_what_it_shows() -> None:
    text = whole()
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b>t</b>" not in text
    assert "prefers-color-scheme: dark" in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in re.findall(r'href="(#[^"]+)"', text)} <= set(ids)


def test_charts_and_figures() -> None:
    text = whole()
    charts = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(charts) == 5  # history, importance, two keys, curves
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
        assert "nan" not in re.sub(r"<(title|desc).*?</\1>", "", chart)
    history, _, rate, _, curves = charts
    assert "from trial 0 on the best is 0.1000; from trial 1 on the best is 0.1200." in history
    assert len(re.findall(r'class="point pruned"', history)) == 2  # the trial and the legend
    assert "learning_rate" in rate
    assert len(re.findall(r'<path class="line', curves)) == 6
    assert "+20.0 %" in text
    assert "1 trial lies below the axes" in text
    assert "Cut so" in text


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [TrialRecord(0, "failed", reason="x", default=True)],
        [trial(0, 0.3, "pruned")],
        [TrialRecord(0, "unfinished", curve={1: 0.2}, default=True)],
        [trial(number, 0.2) for number in range(9)],
        [trial(number, math.nan, "failed") for number in range(3)],
        [trial(number, 0.1 + number / 1000) for number in range(80)],
    ],
)
def test_edges(trials: list[TrialRecord]) -> None:
    done = [one for one in trials if one.state == "complete"]
    text = page(trials, max(done, key=lambda one: one.value) if done else None, None)
    assert "nan" not in " ".join(re.findall(r'(?:\b[xyd]|width|cx|cy)="[^"]*"', text))
    assert text.rstrip().endswith("</html>")
    assert ("The newest 60 trials" in text) == (len(trials) == 80)
