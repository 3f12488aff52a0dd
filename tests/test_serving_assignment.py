"""Who goes to which arm: evenly, independently, always the same, and few move when shares change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from m6rec.base.errors import ConfigError
from m6rec.serving.asked import Slate
from m6rec.serving.experiments.assignment import assign, choose, uniform
from m6rec.serving.experiments.config import Experiment, ExperimentsConfig
from m6rec.serving.experiments.starting import in_order, started

FIRST_TWELVE = ["old", "old", "new", "old", "old", "old", "old", "old", "old", "old", "new", "new"]
UNITS = [f"user{row}" for row in range(6_000)]


def experiment(shares: dict[str, float] | None = None, **more: Any) -> Experiment:
    arms = [{"name": name, "share": share} for name, share in (shares or {"old": 0.5, "new": 0.5}).items()]
    return Experiment.build({"name": "test", "arms": arms, **more})


def arms_of(tried: Experiment, units: list[str] = UNITS) -> np.ndarray:
    found = [assign(tried, unit) for unit in units]
    return np.array(["" if arm is None else arm.name for arm in found])


def far_off(counts: np.ndarray, expected: np.ndarray) -> bool:
    """A chi-square beyond what one in ten thousand fair experiments shows."""
    return bool(((counts - expected) ** 2 / expected).sum() > chi2.ppf(1 - 1e-4, len(counts) - 1))


def test_hashes_are_uniform_and_do_not_run_together() -> None:
    assert kstest([uniform("a", unit) for unit in UNITS], "uniform").pvalue > 1e-4
    assert uniform("ab", "c") != uniform("a", "bc")
    assert 0 < uniform("x") < 1
    assert uniform("test", "user1") == uniform("test", "user1")


def test_an_assignment_is_for_ever() -> None:
    """Another process, version or machine must say the same: these came from the first one."""
    assert arms_of(experiment(), UNITS[:12]).tolist() == FIRST_TWELVE


@pytest.mark.parametrize(
    "shares", [{"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.3, "c": 0.5}, {"a": 0.98, "b": 0.01, "c": 0.01}]
)
@pytest.mark.parametrize("salt", ["one", "two", "three"])
def test_arms_get_their_shares(shares: dict[str, float], salt: str) -> None:
    found = arms_of(experiment(shares, salt=salt))
    assert not far_off(np.array([np.count_nonzero(found == name) for name in shares]), len(UNITS) * np.array(list(shares.values())))


def test_experiments_are_independent_of_each_other_and_of_traffic() -> None:
    first, second = arms_of(experiment(salt="x")), arms_of(experiment({"old": 0.3, "new": 0.7}, salt="y"))
    for arm in ("old", "new"):
        here = second[first == arm]
        assert not far_off(np.array([np.count_nonzero(here == name) for name in ("old", "new")]), len(here) * np.array([0.3, 0.7]))
    part = arms_of(experiment(salt="x", traffic=0.2))
    inside = part != ""
    assert not far_off(np.array([inside.sum(), (~inside).sum()]), len(UNITS) * np.array([0.2, 0.8]))
    assert (part[inside] == first[inside]).all()
    wider = arms_of(experiment(salt="x", traffic=0.4))
    assert (wider[inside] == part[inside]).all()


@given(
    before=st.lists(st.integers(1, 20), min_size=2, max_size=4),
    after=st.lists(st.integers(0, 20), min_size=4, max_size=4),
    salt=st.text(max_size=5),
)
@settings(max_examples=25, deadline=None)
def test_people_move_only_towards_growing_arms(before: list[int], after: list[int], salt: str) -> None:
    """And no more of them than the shares make necessary, when one arm grows at the cost of all others."""
    names = "abcd"[: len(before)]
    then = {name: weight / sum(before) for name, weight in zip(names, before, strict=True)}
    later = after[: len(before)]
    if sum(later) == 0:
        later[0] = 1
    now = {name: weight / sum(later) for name, weight in zip(names, later, strict=True)}
    units = UNITS[:400]
    first, second = arms_of(experiment(then, salt=salt), units), arms_of(experiment(now, salt=salt), units)
    growth = {name: now[name] / then[name] for name in names}
    for old, new in zip(first[first != second], second[first != second], strict=True):
        assert growth[new] > growth[old] - 1e-9


def test_as_few_people_move_as_can() -> None:
    """From a half each to 0.6 and 0.4: a tenth. From thirds to 0.5, 0.25, 0.25: a sixth."""
    moved = arms_of(experiment({"a": 0.5, "b": 0.5})) != arms_of(experiment({"a": 0.6, "b": 0.4}))
    assert moved.mean() == pytest.approx(0.1, abs=0.02)
    thirds = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    moved = arms_of(experiment(thirds)) != arms_of(experiment({"a": 0.5, "b": 0.25, "c": 0.25}))
    assert moved.mean() == pytest.approx(1 / 6, abs=0.025)


def test_a_stopped_arm_moves_only_its_own_people() -> None:
    shares = {"a": 0.4, "b": 0.3, "c": 0.3}
    first = arms_of(experiment(shares))
    second = arms_of(experiment({"a": 0.4 / 0.7, "b": 0.3 / 0.7, "c": 0.0}))
    assert (first[first != "c"] == second[first != "c"]).all()
    assert "c" not in second


def test_one_experiment_at_a_time_by_scenario_and_status() -> None:
    shop = experiment(name="shop", scenarios=["shop"])
    half = experiment(name="half", traffic=0.5)
    rest = experiment(name="rest")
    paused = experiment(name="paused", status="paused")
    for unit in UNITS[:50]:
        found = choose([paused, shop, half, rest], unit, "shop")
        assert found is not None
        assert found.experiment.name == "shop"
        found = choose([paused, shop, half, rest], unit, "feed")
        assert found is not None
        assert found.experiment.name == ("half" if assign(half, unit) else "rest")
        assert choose([paused, shop], unit) is None


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nobody_moves_when_another_experiment_starts_or_stops_starting(data: st.DataObject) -> None:
    """Whatever the names: who is in an experiment stays in their arm there while others start, are changed and run again after a pause."""
    names = data.draw(st.permutations(["a", "b", "c", "d"]))
    known: dict[str, Experiment] = {}
    units, where = UNITS[:60], dict.fromkeys(UNITS[:60], ("", ""))
    for now, name in enumerate(names, start=1):
        known[name] = started(experiment(name=name, traffic=data.draw(st.sampled_from([0.3, 0.6, 1.0]))), None, float(now))
        for unit in units:
            found = choose(in_order(known[one] for one in sorted(known)), unit)
            told = ("", "") if found is None else (found.experiment.name, found.arm.name)
            assert where[unit] in (("", ""), told)
            where[unit] = told
    first, last = names[0], names[-1]
    assert (
        started(known[first].model_copy(update={"started": None, "least_effect": 0.1}), known[first], 9.0).started == known[first].started
    )
    paused = started(known[first].model_copy(update={"status": "paused"}), known[first], 9.0)
    assert paused.started == known[first].started
    again = started(paused.model_copy(update={"status": "running"}), paused, 9.0)
    assert [one.name for one in in_order([again, known[last]])] == [last, first]


@pytest.mark.parametrize("unit", ["", "李雷", "a\x00b", "\ud800", "x" * 10_000])
def test_any_text_is_a_unit(unit: str) -> None:
    assert assign(experiment(), unit) is not None


def test_an_experiment_survives_being_saved() -> None:
    tried = experiment(guardrails=[{"metric": "took_ms", "better": "lower", "most": 0.1}])
    arm = tried.arms[1].plain() | {"slate": {"diversity": 0.3, "caps": {"brand": 2}}, "model": "v2"}
    tried = Experiment.build(tried.plain() | {"arms": [tried.arms[0].plain(), arm]})
    assert Experiment.build(tried.plain()) == tried
    slate = tried.arms[1].slate
    assert slate is not None
    assert slate.slate() == Slate(diversity=0.3, caps={"brand": 2})
    assert ExperimentsConfig.build({"running": [tried.plain()]}).running[0] == tried


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"arms": [{"name": "a", "share": 1}]}, "'arms' is"),
        ({"arms": [{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}]}, "give each a name of its own"),
        ({"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.6}]}, "add up to 1.1"),
        (
            {"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}], "metrik": "x"},
            "unknown key 'metrik'; did you mean 'metric'",
        ),
        ({"arms": [{"name": "a", "share": 1.5}, {"name": "b", "share": -0.5}]}, "arms.0.share"),
    ],
)
def test_wrong_experiments_are_one_line(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Experiment.build({"name": "x", **values})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
