"""Conversations measured: shares by hand, what is not known is not told, and what the report and the JSON say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from m6rec.evaluation.choice_tables import basket_tables, dialogue_tables, tables_text
from m6rec.evaluation.conversed import Conversed
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.intervals import wilson
from m6rec.evaluation.report import html_report
from m6rec.evaluation.slices import Bounds


def flags(text: str) -> np.ndarray:
    return np.array([sign == "x" for sign in text], dtype=bool)


TALKED = Conversed("m6rec", 7, flags("xxx-"), flags("xx--"), handed=flags("xxx---"), wanted=flags("xx-x--"))


def test_shares_are_those_of_the_turns() -> None:
    figures = TALKED.figures()
    assert {name: (one.mean, turns) for name, (one, turns) in figures.items()} == {
        "recall@1": (0.75, 4),
        "answered": (0.5, 4),
        "precision": (pytest.approx(2 / 3), 3),
        "recall": (pytest.approx(2 / 3), 3),
    }
    assert figures["recall@1"][0][1:] == wilson(0.75, 4)
    plain = json.loads(json.dumps(TALKED.plain()))
    assert (plain["dialogues"], plain["questions"], plain["turns"], plain["hand_overs"]) == (7, 4, 6, 3)
    assert plain["metrics"]["recall"]["turns"] == 3


def test_what_nothing_tells_of_is_no_figure() -> None:
    """Without known questions, without a truth of handing over, and where nothing was handed over."""
    none = flags("")
    assert set(Conversed("m", 1, none, none, flags("--"), flags("x-")).figures()) == {"recall"}
    assert set(Conversed("m", 1, flags("x"), flags("-"), none, none).figures()) == {"recall@1", "answered"}
    assert set(Conversed("m", 1, none, none, flags("x"), flags("-")).figures()) == {"precision"}


def named(name: str) -> Evaluation:
    ranks = np.array([1.0, 3.0, 40.0])
    return Evaluation(
        name=name,
        ranks=ranks,
        offsets=np.arange(4),
        targets=np.array([0, 1, 2]),
        users=np.array([0, 0, 1]),
        seen=np.ones(3, dtype=np.int64),
        catalogue=50,
        cutoffs=[10],
        bounds=Bounds(1, 5),
        coverage={10: 0.5},
        statements=["told"],
        seconds=1.0,
        milliseconds=1.0,
        batch=3,
        resamples=50,
        seed=0,
    )


def test_the_report_has_a_section_of_dialogues() -> None:
    page = html_report([named("m6rec")], title="t", named=[named("m6rec"), named("popularity")], conversed=[TALKED])
    assert 'href="#dialogues"' in page
    for words in ("Items named in dialogues", "Conversations (7 held-out dialogues)", "Hand-over precision", "0.7500", "popularity"):
        assert words in page
    assert 'href="#dialogues"' not in html_report([named("m6rec")], title="t")
    text = tables_text(dialogue_tables([named("m6rec")], [TALKED]))
    assert "Known questions, right answer first" in text
    assert "0.6667" in text
    assert [len(table.rows) for table in dialogue_tables([named("a"), named("b")], [TALKED])] == [2, 4]
    assert dialogue_tables([], []) == []


def test_the_report_has_a_section_of_baskets() -> None:
    completed = [named("m6rec"), named("popularity")]
    page = html_report([named("m6rec")], title="t", completed=completed)
    assert 'href="#baskets"' in page
    assert page.count("Baskets completed") == 1
    assert 'href="#baskets"' not in html_report([named("m6rec")], title="t")
    (table,) = basket_tables(completed)
    assert [row[0].text for row in table.rows] == ["m6rec", "popularity"]
    assert basket_tables([]) == []
