"""The HTML report and the terminal table: self-contained, escaped, well-formed, accessible, right on edge cases."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.base.errors import UsageError
from m6rec.evaluation.choice_tables import scenario_tables
from m6rec.evaluation.comparison import best, differences
from m6rec.evaluation.config import EvaluationConfig
from m6rec.evaluation.curves import CellShare, cell_shares, training_charts
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.plots import Bar, Line, bar_chart, columns, line_chart, log_ticks, nice_ticks, number, short
from m6rec.evaluation.report import Sample, html_report, text_table
from m6rec.evaluation.slices import Bounds

HOSTILE = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }}"
VOID = {"meta", "br", "hr", "img", "input", "link"}


def evaluation(name: str, ranks: list[float], *, per_case: int = 1, seen: list[int] | None = None, catalogue: int = 100) -> Evaluation:
    count = len(ranks)
    return Evaluation(
        name=name,
        ranks=np.array(ranks, dtype=np.float64),
        offsets=np.arange(0, count + 1, per_case),
        targets=np.arange(count, dtype=np.int32),
        users=np.arange(count // per_case),
        seen=np.array(seen if seen is not None else [i % 4 for i in range(count)]),
        catalogue=catalogue,
        cutoffs=[1, 10, 50],
        bounds=Bounds(1, 3),
        coverage={1: 0.1, 10: 0.5, 50: 0.9},
        statements=["Full ranking, nothing is sampled."],
        seconds=1.5,
        milliseconds=0.25,
        batch=256,
        resamples=100,
    )


def two() -> list[Evaluation]:
    rng = np.random.default_rng(0)
    good, poor = rng.integers(1, 12, 60), rng.integers(5, 100, 60)
    return [evaluation("model", good.tolist()), evaluation("popularity", poor.tolist())]


def whole_page() -> str:
    curves = [{"stage": "pretrain", "step": s, "loss": 5 / (s + 1), "lr": 0.1} for s in range(20)]
    curves += [{"stage": "fit", "step": s, "losses": {"choose": 9 / (s + 1), "bad": float("nan")}} for s in range(400)]
    curves += [{"stage": "fit", "step": s * 100, "ndcg@10": 0.01 * s * (5 - s)} for s in range(5)]
    samples = [Sample(HOSTILE, ["a", HOSTILE], ["b", "c"], answer="c"), Sample("nobody", [], ["d"], answer="e")]
    facts = {
        "seed": 0,
        "Data": {"users": 22363, "title": HOSTILE},
        "Configuration": {"model": {"size": "small", "width": None, "on": True}},
    }
    account = [("events", 12345, HOSTILE)]
    return html_report(two(), title=HOSTILE, facts=facts, account=account, curves=curves, samples=samples)


class Page(HTMLParser):
    """Checks nesting while reading; collects tags and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_whole_and_loads_nothing() -> None:
    text = whole_page()
    page = Page(text)
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe", "object")]
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on") or a in ("src", "srcset", "style")]
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert "@import" not in text
    assert all(str(link["href"]).startswith("#") for link in page.named("a"))


def test_what_users_wrote_is_escaped() -> None:
    text = whole_page()
    assert "<script>" not in text
    assert "49" not in re.findall(r"<title>(.*?)</title>", text)[0]
    assert text.count("&lt;script&gt;") >= 5  # title twice, user, history, account, fact


def test_ids_are_unique_and_references_lead_somewhere() -> None:
    page = Page(whole_page())
    ids = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {part for _, a in page.tags for key in ("aria-labelledby", "aria-describedby") for part in (a.get(key) or "").split()}
    wanted |= {str(a["href"])[1:] for a in page.named("a")}
    assert wanted <= set(ids)


def test_charts_have_words_and_tables_have_headers() -> None:
    text = whole_page()
    charts = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(charts) == 2 + 1 + 1 + 3  # two metrics, slices, depth, loss of two stages, validation of one
    for chart in charts:
        root = ElementTree.fromstring(chart)  # well-formed XML
        names = [child.tag.rpartition("}")[2] for child in root]
        assert names[:2] == ["title", "desc"]
        assert all(len(child.text or "") > 3 for child in root[:2])
        assert "nan" not in chart.lower().replace("nance", "")
    page = Page(text)
    assert len(page.named("table")) >= 7
    assert all("scope" in header for header in page.named("th"))
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_the_page_shows_the_figures() -> None:
    text = whole_page()
    table = two()[0].table()
    for name in ("ndcg@10", "hit_rate@10", "mrr@10", "hit_rate@50"):
        assert f"★ {table[name].mean:.4f}" in text
        assert f"{table[name].low:.4f} to {table[name].high:.4f}" in text
    assert "22,363" in text
    assert "model.size" in text
    assert "✓ <bdi>c</bdi>" in text
    assert "Really chosen next: <bdi>e</bdi>" in text
    assert "Full ranking, nothing is sampled." in text
    assert "better" in text


def test_same_input_same_bytes() -> None:
    assert whole_page() == whole_page()


@pytest.mark.parametrize(
    "evaluations",
    [
        [evaluation("only", [1.0], catalogue=1, seen=[0])],
        [evaluation("never right", [90.0] * 5), evaluation("nor this", [95.0] * 5)],
        [
            evaluation("一个非常非常非常非常非常非常长的名字" * 3, [1.0, 2.0, 3.0, 4.0], per_case=2),
            evaluation("x" * 200, [4.0] * 4, per_case=2),
        ],
        [evaluation(f"scorer {i}", [float(1 + (7 * i + j) % 13) for j in range(9)]) for i in range(12)],
    ],
)
def test_edge_cases_make_a_page_and_a_table(evaluations: list[Evaluation]) -> None:
    page = html_report(evaluations, title="t", samples=[Sample("x", ["y" * 1_000_000], ["z"])])
    assert Page(page).open == []
    assert len(page) < 200_000  # a title of a megabyte is cut
    assert "nan" not in " ".join(re.findall(r'(?:\b[xyd]|width)="[^"]*"', page))
    assert "nan" not in text_table(evaluations)


# the terminal


def test_text_table_is_aligned_and_marks_the_best() -> None:
    lines = text_table(two()).splitlines()
    assert lines[0] == "60 cases, 60 targets, 100 items"
    header, rule, model, popularity = lines[2:6]
    assert len(model) == len(popularity) == len(header) == len(rule)
    table = two()[0].table()["ndcg@10"]
    assert f"{table.mean:.4f}* [{table.low:.4f}, {table.high:.4f}]" in model
    assert "*" not in popularity.replace("0.5000*", "")
    assert lines[-1].startswith("popularity")
    assert lines[-1].endswith("better")
    assert all(line == line.rstrip() for line in lines)


def test_wide_letters_are_aligned() -> None:
    first, second = two()
    first.name = "推荐模型"
    lines = text_table([first, second]).splitlines()
    assert columns(lines[4]) == columns(lines[5])


def test_one_scorer_needs_no_marks() -> None:
    text = text_table(two()[:1])
    assert "*" not in text
    assert "minus" not in text


def test_equal_scorers_are_not_marked() -> None:
    pair = [evaluation("a", [1.0, 2.0]), evaluation("b", [1.0, 2.0])]
    assert best(pair, "ndcg@10") == set()
    assert [d.verdict for d in differences(pair)] == ["no clear difference"]


def test_what_can_not_stand_in_one_table() -> None:
    first, second = two()
    with pytest.raises(UsageError, match="no evaluation to report"):
        text_table([])
    with pytest.raises(UsageError, match="two evaluations are called 'model'"):
        text_table([first, first])
    with pytest.raises(UsageError, match="no evaluation is called 'modle'"):
        text_table([first, second], reference="modle")
    with pytest.raises(UsageError, match="not measured on the same cases"):
        html_report([first, evaluation("short", [1.0])], title="t")
    second.cutoffs = [5]
    with pytest.raises(UsageError, match="same cutoffs"):
        text_table([first, second])


def measured(name: str, ranks: list[float]) -> Evaluation:
    """With what lists are worth, and few different numbers of events given."""
    found = evaluation(name, ranks)
    rng = np.random.default_rng(len(name))
    found.given = np.arange(len(ranks)) % 3
    found.beyond = {f"{metric}@{k}": rng.random(len(ranks)) for metric in ("novelty", "popularity", "serendipity") for k in found.cutoffs}
    found.gini = {1: 0.9, 10: 0.5, 50: 0.25}
    return found


def test_what_lists_are_worth_and_events_given_are_shown() -> None:
    pair = [measured("model", [1.0, 2.0, 30.0] * 5), measured("popularity", [5.0, 9.0, 2.0] * 5)]
    page = html_report(pair, title="t")
    assert Page(page).open == []
    assert "Beyond accuracy" in page
    assert "Events given" in page
    assert f"{pair[0].beyond_accuracy['novelty@10'].mean:.2f}" in page
    assert "Diversity@10</th>" not in page  # not measured: the items have no content
    assert len(re.findall("<svg", page)) == 2 + 1 + 1 + 1 + 3
    text = text_table(pair)
    assert re.search(r"NDCG@10 by events given +0 \(5\) +1 \(5\) +2 \(5\)", text)
    assert "Gini@10" in text
    assert "0.500" in text
    plain = text_table(two())
    assert "Beyond" not in plain
    assert "events given" not in plain


def test_figures_by_scenario_are_shown() -> None:
    names, codes = ["shop", HOSTILE], np.array([0] * 12 + [1] * 48)
    pair = [replace(one, scenarios=codes, scenario_names=names) for one in two()]
    (table,) = scenario_tables(pair)
    assert table.head == ["", "targets", "model", "popularity"]
    assert [[one.text for one in row[:2]] for row in table.rows] == [["shop", "12"], [HOSTILE, "48"]]
    shop = replace(two()[0], ranks=pair[0].ranks[:12], offsets=np.arange(13), targets=np.arange(12), users=np.arange(12), seen=np.ones(12))
    assert table.rows[0][2].text == f"{shop.table()['ndcg@10'].mean:.4f}"
    assert [one.mark for one in table.rows[0][2:]] == ["best", ""]
    page = html_report(pair, title="t")
    assert Page(page).open == []
    assert 'href="#scenarios"' in page
    assert f"★ {table.rows[1][2].text}</span><small>{table.rows[1][2].small}</small>" in page
    assert "<script>" not in page
    assert "#scenarios" not in html_report([pair[0], two()[1]], title="t")  # one of them does not know
    assert scenario_tables([replace(pair[0], scenarios=np.zeros(60, dtype=int))]) == []


# curves and plots


def test_what_each_cell_took_is_summed_over_epochs_and_shown() -> None:
    """A hand sum over two epochs; the weight is the last one's, a module has none, and a scenario's name may hold a dot."""
    epoch = {"stage": "fit", "epoch": 1, "examples of click a.b": 1200, "seconds of click a.b": 1.5, "weight of click a.b": 1.0}
    records = [{**epoch, "examples of judge": 1200, "seconds of judge": 1.5}, {**epoch, "epoch": 2, "weight of click a.b": 0.25}]
    cell, module = cell_shares(records)
    assert cell == CellShare("click a.b", 2400, 3.0, 0.25)
    assert (module.name, module.examples, module.seconds) == ("judge", 1200, 1.5)
    page = html_report(two(), title="t", curves=[{**record, "loss": 1.0} for record in records])
    assert "What each cell took" in page
    assert '<th scope="row">click a.b</th><td class="n">2,400</td><td class="n">3.0</td><td class="n">0.25</td>' in page
    assert '<th scope="row">judge</th><td class="n">1,200</td><td class="n">1.5</td><td class="n"></td>' in page


def test_curves_by_stage_and_the_later_record_of_a_step_counts() -> None:
    records = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": None, "rate": 5}]
    charts = training_charts(records)
    assert [title for title, _ in charts] == ["Loss during training"]
    assert "loss from 3 at step 1 to 1 at step 2." in charts[0][1]
    assert training_charts([{"step": 1, "lr": 0.1, "seconds": 3}]) == []
    assert training_charts([]) == []


def test_the_best_validation_value_is_ringed() -> None:
    ((title, chart),) = training_charts([{"epoch": e, "validation": {"ndcg@10": v}} for e, v in enumerate([0.1, 0.3, 0.2])])
    assert title == "Validation during training"
    assert "best validation.ndcg@10 0.3 at epoch 1" in chart
    assert chart.count('class="ring') == 1


def test_bars_are_as_long_as_their_values() -> None:
    chart = bar_chart("k", "t", "d", {"": [Bar("a", 0.2, 0.1, 0.3), Bar("b", 0.1), Bar("c", math.nan)]})
    widths = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', chart)]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.11)
    assert "no cases" in chart
    assert bar_chart("k", "t", "d", {}).startswith("<svg")


def test_lines_break_where_nothing_is_known() -> None:
    chart = line_chart("k", "t", "d", [Line("a", [1, 2, 3, 4], [1, math.nan, 2, 3])], x_label="x", y_label="y")
    drawn = re.findall(r'<path class="line[^"]*" d="([^"]*)"', chart)[0]
    assert re.sub(r"[\d. ]", "", drawn) == "MML"
    assert line_chart("k", "t", "d", [], x_label="x", y_label="y").startswith("<svg")


@given(st.floats(-1e6, 1e6), st.floats(0.1, 1e6))
def test_ticks_are_round_and_enclose_the_values(low: float, span: float) -> None:
    high = low + span
    ticks = nice_ticks(low, high, 5)
    step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low + step * 1e-3
    assert ticks[-1] >= high - step * 1e-3


def test_ticks_by_hand() -> None:
    assert nice_ticks(0, 0.067, 4) == [0, 0.02, 0.04, 0.06, 0.08]
    assert nice_ticks(3, 3, 5) == [1, 2, 3, 4, 5]
    assert nice_ticks(5e-15, 6e-15, 2) == [5e-15, 5.5e-15, 6e-15]
    assert len(set(nice_ticks(1.0, 1.0 + 1e-15, 5))) > 2
    assert nice_ticks(0, 0, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert log_ticks(1, 100) == [1, 2, 5, 10, 20, 50, 100]
    assert log_ticks(1, 1000) == [1, 10, 100, 1000]
    assert number(0.04, [0.02, 0.04]) == "0.04"
    assert number(12000, [10000, 12000]) == "12k"


@given(st.text(max_size=40), st.integers(1, 20))
def test_short_fits(text: str, room: int) -> None:
    assert columns(short(text, room)) <= room


def test_config_defaults_are_plain() -> None:
    assert EvaluationConfig().plain()["baselines"] == ["popularity", "transition_graph", "transition_graph_text", "item_knn"]
