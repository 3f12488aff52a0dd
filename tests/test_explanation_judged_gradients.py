"""Integrated gradients of tasks on candidates: they add up, the path ends at what is answered, and a planted linear answer is split as it was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CommandLine
from m6rec import Recommender
from m6rec.base.contracts import Requests
from m6rec.evaluation.calibration import Calibration
from m6rec.evaluation.calibration_curves import Curve
from m6rec.explanation.judged_evidence import JudgedAsk, judged_scores
from m6rec.explanation.judged_gradients import CLOSE, PresentAnswer, judged_attributions
from m6rec.serving.engine.explaining import judged_ask, question_of
from m6rec.serving.engine.judging import context_contents
from m6rec.tasks.calibrated import risen
from m6rec.tasks.config import SharingConfig
from m6rec.tasks.sharing import ScenarioScaling

HISTORY = ["i03", "i07", "i12", "i07"]
STEPPED = Curve("isotonic", x=[-3.0, -1.0, 0.5], y=[-2.0, -1.5, 1.0])


@pytest.fixture(scope="module")
def rec(judged_run: Path) -> Recommender:
    return Recommender.from_pretrained(judged_run)


def asked(rec: Recommender, task: str = "click", user: int | None = None, **context: Any) -> tuple[JudgedAsk, Requests]:
    name = None if user is None else rec.engine.users.ids.ids[user]
    whole = question_of(rec.engine, name, HISTORY if user is None else None, None, None, "shop").whole
    return judged_ask(rec.engine, task, "shop", context or None, None), whole


@pytest.mark.parametrize("user", [None, 3])
@pytest.mark.parametrize("curve", [None, STEPPED, Curve("platt", slope=1.7, shift=-0.4)])
def test_they_add_up_and_the_path_ends_at_the_answer(rec: Recommender, user: int | None, curve: Curve | None) -> None:
    ask, requests = asked(rec, user=user)
    ask.part.calibrations.pop("click", None)
    if curve is not None:
        ask.part.calibrations["click"] = Calibration(curve)
    nothing = context_contents(rec.engine.scorer, ask.part, None)
    for item in (4, 16):
        answer = PresentAnswer(rec.engine.scorer, ask, requests, item, nothing)
        size = answer.events + len(answer.things)
        with torch.no_grad():
            start, end = answer(torch.stack([torch.zeros(size), torch.ones(size)])).tolist()
        told = judged_scores(rec.engine.scorer, ask)(requests, np.array([item]))[0][0, 0]
        assert end == pytest.approx(told, abs=1e-5)
        found = judged_attributions(rec.engine.scorer, ask, requests, item, nothing)
        assert found.start == pytest.approx(start, abs=1e-6)
        assert found.events.sum() + sum(found.fields.values()) == pytest.approx(end - start, abs=2 * CLOSE)
        assert abs(found.lacking) <= CLOSE


@pytest.mark.parametrize("task", ["purchase", "rating"])
def test_of_a_task_after_another_and_of_a_number(rec: Recommender, task: str) -> None:
    found = rec.explain(history=HISTORY, item="i20", task=task, scenario="shop", gradients=True, counterfactuals=False, words=False)
    total = sum(found.attributions.values()) + sum(found.field_attributions.values())
    assert total == pytest.approx(found.score - (found.baseline or 0.0), abs=1e-3)


def test_what_is_not_there_gets_nothing(rec: Recommender) -> None:
    """Nobody known without events: no event, no profile."""
    scorer = rec.engine.scorer
    ask, _ = asked(rec)
    empty = question_of(rec.engine, None, [], None, None, "shop").whole
    found = judged_attributions(scorer, ask, empty, 4, context_contents(scorer, ask.part, None))
    assert len(found.events) == 0
    assert "profile" not in found.fields
    assert any(name.startswith("statistics: ") for name in found.fields)
    assert {"item: text", "item: itself"} <= set(found.fields)


def test_a_sum_is_split_as_it_was_made(rec: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an answer is a sum of the degrees by known weights, each is given its own."""
    ask, requests = asked(rec)
    weights: dict[str, torch.Tensor] = {}

    def weigh(answer: PresentAnswer, present: torch.Tensor) -> torch.Tensor:
        weights["all"] = torch.arange(1.0, present.shape[1] + 1)
        return present @ weights["all"]

    monkeypatch.setattr(PresentAnswer, "__call__", weigh)
    found = judged_attributions(rec.engine.scorer, ask, requests, 4, None)
    np.testing.assert_allclose([*found.events, *found.fields.values()], weights["all"].numpy(), rtol=1e-5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8),
    st.sampled_from([STEPPED, Curve("isotonic", x=[0.3], y=[-0.2]), Curve("platt", 2.0, 0.3)]),
)
def test_curves_with_gradients_are_the_curves(predicted: list[float], curve: Curve) -> None:
    np.testing.assert_allclose(risen(curve, torch.tensor(predicted)).numpy(), curve.apply(np.array(predicted, np.float32)), atol=2e-6)


def test_gates_let_gradients_through_only_where_asked() -> None:
    """Training stops them at the gate's own reading; the values are the same."""
    scaling = ScenarioScaling(SharingConfig(scenarios="pepnet"), 4, 2)
    slots, codes = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(), torch.zeros(3, dtype=torch.int64)
    gradients = []
    for through in (False, True):
        value = scaling.slot(slots, codes, through=through)
        gradients.append(torch.autograd.grad(value.sum(), slots)[0])
        torch.testing.assert_close(value, scaling.slot(slots, codes))
    assert not torch.allclose(gradients[0], gradients[1])


def test_explain_tells_them(rec: Recommender, judged_run: Path, m6rec: Callable[..., CommandLine]) -> None:
    found = rec.explain(history=HISTORY, item="i20", task="click", scenario="shop", gradients=True, counterfactuals=False, words=False)
    assert set(found.attributions) == set(HISTORY)
    assert found.baseline is not None
    total = sum(found.attributions.values()) + sum(found.field_attributions.values())
    assert total == pytest.approx(found.score - found.baseline, abs=1e-3)
    assert list(found.field_attributions.values()) == sorted(found.field_attributions.values(), reverse=True)
    told = m6rec("explain", judged_run, "--history", "i03,i07", "--item", "i20", "--task", "click", "--scenario", "shop", "--gradients")
    assert told.code == 0
    assert "gradients add up from" in told.out
    assert "item: " in told.out
