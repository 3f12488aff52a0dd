"""The evidence behind an answer is what the score loses without one thing, told exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m6rec.serving.asked import Ask
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.load_scorer import load_scorer
from m6rec.serving.service.evidence import explain, reasons_for


@pytest.fixture(scope="module")
def engine(judged_run: Path) -> Engine:
    return Engine(load_scorer(judged_run / "model"))


def score(engine: Engine, item: int, **who: object) -> float:
    """Of one item, asked for alone."""
    name = engine.items.ids.ids[item]
    return engine.rank(items=[name], **who)[0].score  # type: ignore[arg-type]


def test_the_lift_of_an_event_is_the_score_with_it_less_the_score_without(engine: Engine) -> None:
    history, item = ["i03", "i07", "i12", "i07"], engine.items.ids.dense("i20")
    found = explain(engine, Ask(history=tuple(history)), item, most=10)
    whole = score(engine, item, history=history)
    assert found.score == pytest.approx(whole, abs=1e-5)
    for event in ("i03", "i07", "i12"):
        without = score(engine, item, history=[one for one in history if one != event])
        assert found.lifts[event] == pytest.approx(whole - without, abs=1e-4)
    raised = {name: max(lift, 0.0) for name, lift in found.lifts.items()}
    shares = {reason.what: reason.share for reason in found.reasons if reason.kind == "event"}
    assert sum(shares.values()) == pytest.approx(1.0)
    for name, share in shares.items():
        assert share == pytest.approx(raised[name] / sum(raised.values()), abs=1e-3)
    assert [reason.share for reason in found.reasons] == sorted((reason.share for reason in found.reasons), reverse=True)
    scores = engine.scorer.scores(engine._request(None, history, None, None, None))[0]
    assert found.rank == 1 + int(np.count_nonzero(scores > scores[item]))


def test_typed_words_and_fields_are_taken_away_one_by_one(engine: Engine) -> None:
    ask = Ask(text="hiking boots", profile={"age": 30})
    best = engine.recommend(text=ask.text, profile=ask.profile, k=1)[0]
    reasons = reasons_for(engine, ask, np.array([engine.items.ids.dense(best.item_id)]))[0]
    assert {reason.what for reason in reasons if reason.kind == "typed"} <= {"hiking", "boots", "hiking boots"}
    assert any(reason.kind == "typed" for reason in reasons)
    priors = [reason for reason in reasons if reason.kind == "prior"]
    assert {reason.what for reason in priors} <= set(best.parts)
    for reason in priors:
        assert reason.share == pytest.approx(best.parts[reason.what], abs=1e-4)


def test_somebody_without_a_past_has_no_events_for_evidence(engine: Engine) -> None:
    reasons = reasons_for(engine, Ask(history=()), np.array([0, 1]))
    assert [one for some in reasons for one in some if one.kind == "event"] == []
