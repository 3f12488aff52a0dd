"""What a task goes by: removals for everybody at once are what asking without the thing answers; gradients add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from conftest import CommandLine
from m6rec import Recommender
from m6rec.base.errors import UsageError
from m6rec.cli.output import columns, width
from m6rec.explanation.gradients import PresentScore, attributions
from m6rec.explanation.overall import Overall, catalogue_without
from m6rec.serving.engine.explaining import question_of


@pytest.fixture(scope="module")
def rec(judged_run: Path) -> Recommender:
    return Recommender.from_pretrained(judged_run)


@pytest.fixture(scope="module")
def choice(rec: Recommender) -> Overall:
    return rec.explain_overall(people=12)


def row(overall: Overall, kind: str, name: str) -> dict[str, float]:
    return next(vars(one) for one in overall.rows if (one.kind, one.name) == (kind, name))


def test_the_newest_event_is_worth_what_asking_without_it_says(rec: Recommender, choice: Overall) -> None:
    histories = rec.engine.histories.compact()
    people = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(histories.lengths > 0))[:12])
    changes = []
    for person in people.tolist():
        whole = question_of(rec.engine, rec.engine.users.ids.ids[person], None, None, None, None).whole
        less = whole.histories.window(drop_last=1)
        scores = [rec.engine.scorer.alone(asked)[0][0].astype(np.float64) for asked in (whole, type(whole)(less, users=whole.users))]
        scores = [one - logsumexp(one) for one in scores]
        order = np.argsort(np.where(np.isin(np.arange(len(scores[0])), whole.histories.items), -np.inf, scores[0]))[::-1][:10]
        changes.append(np.abs(scores[0][order] - scores[1][order]).mean())
    assert row(choice, "events ago", "1")["change"] == pytest.approx(np.mean(changes), abs=1e-3)


def test_every_kind_is_looked_at_and_the_largest_stands_first(rec: Recommender, choice: Overall) -> None:
    assert {one.kind for one in choice.rows} == {"field of items", "events ago", "action", "part", "profile"}
    assert [one.change for one in choice.rows] == sorted((one.change for one in choice.rows), reverse=True)
    assert {one.name for one in choice.rows if one.kind == "field of items"} == set(rec.engine.items.fields)
    assert all(one.low <= one.change <= one.high and 0 <= one.replaced <= 1 for one in choice.rows)
    click = rec.explain_overall("click", people=8, scenario="shop")
    assert {"statistics", "field of items", "events ago", "action", "profile"} <= {one.kind for one in click.rows}
    assert click.unit == "probability"


def test_a_field_that_nothing_has_moves_nothing(judged_run: Path) -> None:
    rec = Recommender.from_pretrained(judged_run)
    scorer = rec.engine.scorer
    scorer.catalogue = catalogue_without(scorer, "brand")
    scorer.refresh()
    assert row(rec.explain_overall(people=5), "field of items", "brand")["change"] == pytest.approx(0, abs=1e-6)


def test_bad_questions(rec: Recommender) -> None:
    with pytest.raises(UsageError, match="people is 0"):
        rec.explain_overall(people=0)
    with pytest.raises(UsageError, match="there is no choose task 'clock'"):
        rec.explain_overall("clock")
    with pytest.raises(UsageError, match="is asked in several scenarios"):
        rec.explain_overall("click")


@pytest.mark.parametrize(("user", "text"), [(True, None), (True, "garden tools"), (False, "garden")])
def test_integrated_gradients_are_complete(rec: Recommender, user: bool, text: str | None) -> None:
    """Their sum is the score less that of average items (Sundararajan et al., proposition 1), and the path ends at what the model answers."""
    name = rec.engine.users.ids.ids[3] if user else None
    requests = question_of(rec.engine, name, None if user else ["i03", "i07", "i12"], text, None, None).whole
    scorer = rec.engine.scorer
    for item in (4, 16):
        score = PresentScore(scorer, requests, item)
        assert ("profile" in score.things) == user
        assert {"item: text", "item: brand", "item: itself"} <= set(score.things)
        torch.testing.assert_close(score.average + score.parts.sum(dim=0), scorer.vectors[item], atol=1e-5, rtol=1e-4)
        degrees = score.events + len(score.things)
        with torch.no_grad():
            ends = score(torch.stack([torch.zeros(degrees), torch.ones(degrees)]))
        assert float(ends[1]) == pytest.approx(float(scorer.alone(requests)[0][0, item]), abs=1e-4)
        found = attributions(scorer, requests, item)
        assert found.events.sum() + sum(found.fields.values()) == pytest.approx(float(ends[1] - ends[0]), abs=1e-3)
        assert found.start == pytest.approx(float(ends[0]))
        assert abs(found.lacking) < 1e-3


def test_a_field_that_has_not_faded_in_is_the_score_of_a_vector_without_it(rec: Recommender) -> None:
    scorer = rec.engine.scorer
    score = PresentScore(scorer, question_of(rec.engine, None, ["i03"], None, None, None).whole, 4)
    place = score.things.index("item: brand")
    whole = torch.ones(1, score.events + len(score.things))
    without = whole.clone()
    without[0, score.events + place] = 0
    with torch.no_grad():
        here, gone = float(score(whole)), float(score(without))
        score.average, score.parts = scorer.vectors[4] - score.parts[place], score.parts * 0  # that vector, put there by hand
        by_hand = float(score(whole))
    assert gone == pytest.approx(by_hand, abs=1e-5)
    assert gone != pytest.approx(here, abs=1e-6)


def test_gradients_are_asked_for(rec: Recommender) -> None:
    history = ["i03", "i07", "i12", "i07"]
    found = rec.explain(history=history, item="i20", gradients=True, counterfactuals=False)
    assert set(found.attributions) == set(history)
    assert found.baseline is not None
    total = sum(found.attributions.values()) + sum(found.field_attributions.values())
    assert total == pytest.approx(found.score - found.baseline, abs=2e-3)
    assert list(found.field_attributions.values()) == sorted(found.field_attributions.values(), reverse=True)
    nobody = rec.explain(history=[], item="i20", gradients=True)
    assert nobody.attributions == {}
    assert "item: itself" in nobody.field_attributions


class TestCommand:
    def test_one_item(self, judged_run: Path, m6rec: Callable[..., CommandLine], rec: Recommender) -> None:
        told = m6rec("explain", judged_run, "--history", "i03,i07", "--item", "i20", "--json").json()
        found = rec.explain(history=["i03", "i07"], item="i20")
        assert (told["reason"], told["rank"], told["without"]["rank"]) == (found.reason, found.rank, found.without and found.without.rank)
        shown = m6rec("explain", judged_run, "--history", "i03,i07", "--item", "i20", "--language", "zh")
        assert shown.code == 0
        assert "因为你有过《" in shown.out
        heads = shown.out.splitlines()
        assert f"（i20）：得分 {found.score:.4f}，第 {found.rank} 位" in heads[0]
        table = heads[heads.index("") + 1 :]
        assert table[0].split() == ["依据", "影响", "占比", "去掉的内容"]
        kinds = {line.split()[0] for line in table[1:]}
        assert {"行为", "商品"} <= kinds <= {"行为", "商品", "个人资料", "组成部分"}
        starts = {width(line.partition(" %")[0]) for line in table[1:]}
        assert len(starts) == 1, "Chinese letters are two columns wide"
        english = m6rec("explain", judged_run, "--history", "i03,i07", "--item", "i20").out.splitlines()
        assert english[0].endswith(f"(i20): score {found.score:.4f}, number {found.rank}")
        assert len(english) == len(heads)

    def test_global(self, judged_run: Path, m6rec: Callable[..., CommandLine], tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        told = m6rec(
            "explain", judged_run, "--global", "--task", "click", "--scenario", "shop", "--people", 5, "--out", page, "--json"
        ).json()
        assert told["task"] == "click"
        html = page.read_text(encoding="utf-8")
        assert "What moves the answers" in html
        assert "<svg" in html
        assert "http" not in html.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
        assert json.dumps(told)

    @pytest.mark.parametrize(
        "words", [["--item", "i20"], ["--user", "u1"], ["--global", "--item", "i20"], ["--item", "i20", "--user", "u", "--out", "x.html"]]
    )
    def test_misuse(self, judged_run: Path, m6rec: Callable[..., CommandLine], words: list[str]) -> None:
        m6rec("explain", judged_run, *words).error(2)


def test_a_cell_of_a_table_is_one_line_without_control_characters() -> None:
    assert columns([["boots \x1b[31mred", "a\nb"]], ["what", "item"]) == ["what            item", "boots  [31mred  a b"]
