"""Sequence roll-out: greedy steps are what recommend says, people together are what each is alone, filters hold, planted transitions come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from m6rec import Recommender
from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import UsageError
from m6rec.evaluation.simulated import compare_logs, divergence, figures
from m6rec.serving.engine.rollout import Policy, Rollout
from m6rec.serving.engine.simulation import codes_of, simulate, simulated_table


@pytest.fixture(scope="module")
def rec(tiny_run: Path) -> Recommender:
    return Recommender.from_pretrained(tiny_run)


def longest(rec: Recommender) -> str:
    return rec.engine.users.ids.ids[int(rec.engine.histories.compact().lengths.argmax())]


def test_greedy_steps_are_what_recommend_says_as_the_history_grows(tiny_run: Path, rec: Recommender) -> None:
    user = longest(rec)
    steps = rec.continue_sequence(user, 4, decoding="greedy")
    grown = Recommender.from_pretrained(tiny_run)
    for step in steps:
        best = grown.recommend(user=user, k=1)[0]
        assert (best.item_id, best.title) == (step.item_id, step.title)
        action = grown.engine.dataset.action_names
        store = grown.engine.histories
        usual = Rollout(grown.engine.scorer, store, grown.engine.retrieval, grown.engine.returns).habits.actions
        code = int(usual[grown.engine.items.ids.dense(step.item_id)])
        event = {"user_id": user, "item_id": step.item_id, "time": step.time, "scenario": step.scenario}
        grown.add_events([event | {"action": action[code if code >= 0 else store.usual["actions"]]}])
    times = [step.time for step in steps]
    newest = rec.engine.histories.row(rec.engine.users.ids.dense(user)).times
    assert newest is not None
    assert times == sorted(times)
    assert times[0] >= newest[-1]


def test_together_is_as_alone_and_the_seed_decides(rec: Recommender) -> None:
    engine = rec.engine
    users = np.arange(12)
    rollout = Rollout(engine.scorer, engine.histories, engine.retrieval, engine.returns)
    asked = Requests(engine.histories.many(users), users=users, scenarios=np.full(12, -1, dtype=np.int64))
    together = rollout(asked, np.full(12, 6), Policy(), [[3, user] for user in users])
    for user in users.tolist():
        steps = rec.continue_sequence(engine.users.ids.ids[user], 6, seed=3)
        assert [engine.items.ids.dense(step.item_id) for step in steps] == [item for item, _, _ in together[user]]
        np.testing.assert_allclose([step.probability for step in steps], [chance for _, chance, _ in together[user]], rtol=1e-3)
    again = rec.continue_sequence(engine.users.ids.ids[0], 6, seed=3)
    assert again == rec.continue_sequence(engine.users.ids.ids[0], 6, seed=3)
    others = [rec.continue_sequence(engine.users.ids.ids[0], 6, seed=seed) for seed in range(5)]
    assert len({tuple(step.item_id for step in steps) for steps in others}) > 1


def test_filters_and_the_repeat_policy_hold_at_every_step(rec: Recommender) -> None:
    user = longest(rec)
    own = {rec.engine.items.ids.ids[item] for item in rec.engine.histories.row(rec.engine.users.ids.dense(user)).items}
    everything = rec.continue_sequence(user, 500, seed=1)
    ids = [step.item_id for step in everything]
    assert len(ids) == len(set(ids)) == len(rec.engine.items) - len(own)  # then nothing is left
    assert not own & set(ids)
    posts = rec.continue_sequence(user, 8, where={"kind": "post"}, repeat="allow", seed=1)
    kinds = dict(zip(rec.engine.items.ids.ids, rec.engine.items.frame["kind"], strict=True))
    assert len(posts) == 8
    assert {kinds[step.item_id] for step in posts} == {"post"}
    cold = rec.continue_sequence(text="hiking", n=3, temperature=0.01)
    sure = rec.continue_sequence(text="hiking", n=3, top_p=1e-9, seed=9)
    assert [step.item_id for step in cold] == [step.item_id for step in sure]
    assert all(step.probability == 1.0 for step in sure)


def test_what_typed_text_bounds_and_rules_out_holds_at_every_step(rec: Recommender) -> None:
    items = rec.engine.items
    price = dict(zip(items.ids.ids, items.frame["price"].to_list(), strict=True))
    brand = dict(zip(items.ids.ids, items.frame["brand"].to_list(), strict=True))
    middle = round(float(np.median([value for value in price.values() if value is not None])))
    first = rec.recommend(text=f"under {middle}", k=1)[0]
    cheap = {item for item, value in price.items() if value is not None and value < middle}
    for text, decoding, profile in (
        (f"under {middle}", "greedy", None),
        (f"under {middle}", "sample", None),
        (None, "greedy", f"under {middle}"),
    ):
        steps = rec.continue_sequence(text=text, profile=profile, n=len(price), decoding=decoding)  # type: ignore[arg-type]
        assert {step.item_id for step in steps} == cheap
        if decoding == "greedy" and text:
            assert steps[0].item_id == first.item_id
    out = brand[first.item_id]
    others = rec.continue_sequence(text=f"under {middle}, not {out}", n=len(price), decoding="greedy")
    assert {step.item_id for step in others} == {item for item in cheap if brand[item] != out}
    assert rec.continue_sequence(text=f"price over {middle + 30} and price under {middle}", n=3) == []


def test_what_is_not_allowed_is_said_in_one_line(rec: Recommender) -> None:
    wrong: list[dict[str, Any]] = [{"n": 0}, {"temperature": 0.0}, {"top_p": 2.0}, {"decoding": "beam"}, {"repeat": "often"}]
    for settings in wrong:
        with pytest.raises(UsageError) as caught:
            rec.continue_sequence(text="boots", **settings)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="nobody to go on with"):
        rec.continue_sequence()
    with pytest.raises(UsageError, match="no category, tags or id field 'colour'"):
        simulate(rec.engine, 4, by="colour")


def test_figures_of_logs_by_hand() -> None:
    real = Histories(np.array([0, 3, 5]), np.array([0, 1, 2, 0, 1], dtype=np.int32), np.array([0.0, 86_400.0, 172_800.0, 0.0, 43_200.0]))
    log = Histories(np.array([0, 3]), np.array([0, 1, 0], dtype=np.int32), np.array([0.0, 86_400.0, 86_400.0]))
    found = figures(log, real, np.array([0, 0, 1]), 3)
    # pairs of categories: mine (0, 0) twice; real (0, 0) twice and (0, 1) once
    p, q = np.array([1.0, 0.0]), np.array([2 / 3, 1 / 3])
    middle = (p + q) / 2
    expected = (np.log2(1 / middle[0]) + (q * np.log2(q / middle)).sum()) / 2
    assert found.transitions == pytest.approx(expected)
    assert found.observed == 0.5  # 0 -> 1 is real, 1 -> 0 is not
    assert found.repeats == pytest.approx(1 / 3)
    assert found.switches == 0.0
    assert found.events == [3.0, 3.0, 3.0, 3.0]
    assert found.gap_days == pytest.approx([0.1, 0.5, 0.9])
    assert divergence(np.array([1]), np.array([0])) != divergence(np.array([1]), np.array([1]))
    with pytest.raises(UsageError, match="two of each"):
        compare_logs(real, log, np.array([0, 0, 1]))


def test_planted_transitions_come_out_of_simulated_people(rec: Recommender) -> None:
    """Sequels of the sample follow each other far more often than by popularity, and categories follow each other as in the real log."""
    from m6rec.data.sample import generate

    truth = generate(users=60, items=40, events_per_user=12.0).truth
    made = simulate(rec.engine, 60, given=2, seed=0, by="tags")
    log = made.simulated
    assert log.lengths.tolist() == made.real.lengths.tolist()
    for row in range(len(log)):
        assert log.row(row)[:2].tolist() == made.real.row(row)[:2].tolist()
        assert len(set(log.row(row).tolist())) == len(log.row(row))

    def sequels(items: np.ndarray, following: np.ndarray) -> float:
        return float((truth.successors[items] == following[:, None]).any(axis=1).mean())

    inside = np.diff(np.repeat(np.arange(len(log)), log.lengths)) == 0
    drawn = sequels(log.items[:-1][inside], log.items[1:][inside])
    by_chance = sequels(log.items[:-1][inside], np.random.default_rng(0).permutation(log.items[1:][inside]))
    assert drawn > 1.5 * by_chance
    told = made.figures
    assert told["simulated"].transitions < told["by popularity"].transitions
    assert told["simulated"].observed > told["by popularity"].observed
    table = simulated_table(rec.engine, made)
    assert table.filter(pl.col("given")).height == 2 * len(made.users)
    assert codes_of(rec.engine.items, None).min() >= 0


def test_simulate_on_the_command_line(m6rec: Callable[..., Any], tiny_run: Path, tmp_path: Path) -> None:
    told = m6rec("simulate", tiny_run, "--users", "12", "--out", tmp_path / "log.csv", "--json").json()
    assert told["users"] == 12
    assert set(told["figures"]) == {"real", "simulated", "by popularity"}
    assert pl.read_csv(tmp_path / "log.csv").height == told["events"]
    assert "category transitions" in m6rec("simulate", tiny_run, "--users", "12", "--greedy").out
    assert "no table that can be written" in m6rec("simulate", tiny_run, "--out", "log.txt").error(2)
    assert "leave either" in m6rec("simulate", tiny_run, "--greedy", "--top-p", "0.5").error(2)
