"""`m6rec analyse`: planted funnels, sessions, drift, newcomers, delays and programs are found; what can't be known is said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.base.contracts import Histories
from m6rec.base.errors import DataError
from m6rec.data.analysis.analysis import analyse
from m6rec.data.analysis.arrivals import activity, cold_shares
from m6rec.data.analysis.concentration import concentration, gini
from m6rec.data.analysis.delays import delays_of_events, delays_of_exposures
from m6rec.data.analysis.drift import drift, jensen_shannon
from m6rec.data.analysis.funnels import funnels_of_events, funnels_of_exposures, label_rates_by_position, stage_of
from m6rec.data.analysis.log import DAY, Calendar, Log
from m6rec.data.analysis.sessions import USUAL_GAP, natural_gap, sessions
from m6rec.data.analysis.suspicious import suspicious
from m6rec.data.dataset import Dataset, FieldType, Table, Vocabulary
from m6rec.data.exposures import Exposures
from m6rec.evaluation.analysis_report import analysis_page, findings, text_lines

MONDAY = 1_704_067_200.0  # 2024-01-01, a Monday
ACTIONS = ["view", "click", "buy"]


def dataset(
    rows: list[tuple[int, int, float, int, int]], *, timed: bool = True, shown: Exposures | None = None, items: int = 10
) -> Dataset:
    """rows: user, item, time, action, scenario."""
    rows = sorted(rows, key=lambda row: (row[0], row[2]))
    users, things, times, actions, scenarios = (np.array(column) for column in zip(*rows, strict=True))
    people = int(users.max()) + 1
    past = Histories(
        offsets=np.concatenate([[0], np.cumsum(np.bincount(users, minlength=people))]).astype(np.int64),
        items=things.astype(np.int32),
        times=times.astype(np.float64) if timed else None,
        actions=actions.astype(np.int16),
        scenarios=scenarios.astype(np.int16),
    )
    frame = pl.DataFrame({"title": [f"thing {n}" for n in range(items)], "kind": [("odd", "even")[n % 2] for n in range(items)]})
    table = Table(Vocabulary([f"i{n}" for n in range(items)]), frame, {"title": FieldType.TEXT, "kind": FieldType.CATEGORY})
    known = Table(Vocabulary([f"u{n}" for n in range(people)]), pl.DataFrame(), {})
    return Dataset(table, known, past, ACTIONS, ["shop", "feed"], exposures=shown)


def log_of(rows: list[tuple[int, int, float, int, int]]) -> Log:
    return Log.of(dataset(rows))


def shown_rows(count: int, **labels: Any) -> Exposures:
    return Exposures(
        users=np.zeros(count, np.int32),
        items=np.arange(count, dtype=np.int32) % 10,
        cuts=np.zeros(count, np.int64),
        times=MONDAY + np.arange(count, dtype=np.float64),
        scenarios=(np.arange(count) % 2).astype(np.int16),
        positions=(1 + np.arange(count) % 4).astype(np.float32),
        labels=pl.DataFrame(labels),
    )


def test_names_say_the_step_of_a_funnel() -> None:
    known = {
        "impression": 0,
        "is_click": 1,
        "clicked": 1,
        "add_to_cart": 2,
        "bought": 3,
        "purchase": 3,
        "like": None,
        "address": None,
        "pv": 0,
        "long_view": None,
    }
    assert {name: stage_of(name) for name in known} == {**known, "address": 2}


def test_a_funnel_of_exposures_by_hand() -> None:
    """Eight rows: four clicked, two of them bought, one bought without a click."""
    shown = shown_rows(8, bought=[1, 1, 0, 0, 1, 0, 0, None], clicked=[1, 1, 1, 1, 0, 0, 0, 0], hated=[0, 0, 0, 0, 0, 0, 1, 1])
    everywhere, shop, feed = funnels_of_exposures(shown, ["shop", "feed"])
    assert [(step.name, step.count, step.skipped) for step in everywhere.steps] == [("shown", 8, 0), ("clicked", 5, 0), ("bought", 3, 1)]
    assert [step.of_previous for step in everywhere.steps] == [1.0, 5 / 8, 3 / 5]
    assert everywhere.beside == {"hated": 0.25}
    assert [step.count for step in shop.steps] == [4, 3, 2]
    assert [step.count for step in feed.steps] == [4, 2, 1]
    assert label_rates_by_position(shown)["clicked"] == [(1, 2, 0.5), (2, 2, 0.5), (3, 2, 0.5), (4, 2, 0.5)]


def test_a_funnel_of_events_counts_pairs() -> None:
    rows = [(0, 0, 1.0, 0, 0), (0, 0, 2.0, 1, 0), (0, 0, 3.0, 0, 0), (0, 1, 4.0, 0, 0), (1, 0, 1.0, 2, 1)]
    everywhere, shop, feed = funnels_of_events(log_of(rows))
    assert [(step.name, step.count) for step in everywhere.steps] == [("view", 3), ("click", 2), ("buy", 1)]
    assert [(step.name, step.count) for step in shop.steps] == [("view", 2), ("click", 1)]
    assert math.isclose(shop.steps[1].of_first, 0.5)
    assert [(step.name, step.count) for step in feed.steps] == [("buy", 1)]


def test_steps_can_be_asked_for_and_must_exist() -> None:
    log = log_of([(0, 0, 1.0, 0, 0), (0, 0, 2.0, 2, 0)])
    assert [step.name for step in funnels_of_events(log, ["view", "buy"])[0].steps] == ["view", "buy"]
    with pytest.raises(DataError, match="there is no action 'bye' for a funnel; did you mean 'buy'"):
        funnels_of_events(log, ["view", "bye"])


def test_planted_sessions_are_counted() -> None:
    """Two users: sessions of 3, 1 and 2 events; pauses of a minute inside, of a day between."""
    rows = [(0, n, MONDAY + 60 * n, 0, 0) for n in range(3)] + [(0, 3, MONDAY + DAY, 0, 0)]
    rows += [(1, 0, MONDAY, 0, 0), (1, 1, MONDAY + 1800, 0, 0)]
    found = sessions(log_of(rows))
    assert found is not None
    assert (found.gap, sorted(found.lengths.tolist()), sorted(found.durations.tolist())) == (USUAL_GAP, [1, 2, 3], [0, 120, 1800])
    assert found.per_user == 1.5
    tighter = sessions(log_of(rows), gap=1000)
    assert tighter is not None
    assert sorted(tighter.lengths.tolist()) == [1, 1, 1, 3]
    assert math.isclose(sum(share for _, share in tighter.histogram()), 1.0)
    assert math.isclose(sum(share for _, share in tighter.gap_bands), 1.0)


def test_the_gap_between_two_kinds_of_pauses_is_found() -> None:
    generator = np.random.default_rng(0)
    inside, between = 60 * generator.lognormal(0, 0.7, 4000), 86_400 * generator.lognormal(0, 0.7, 1500)
    gap = natural_gap(np.concatenate([inside, between]))
    assert gap is not None
    assert 600 < gap < 10_800
    assert natural_gap(60 * generator.lognormal(0, 0.7, 4000)) is None
    assert natural_gap(inside[:50]) is None


def steady(generator: np.random.Generator, weeks: int, planted: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """values, users, windows: 40 users whose own tastes last a week each; in the planted week they like other things."""
    values, users, windows = [], [], []
    for week in range(weeks):
        for user in range(40):
            liked = int(generator.choice(8, p=np.array([5, 4, 3, 2, 1, 1, 1, 1]) / 18))
            if week == planted:
                liked = 7 - liked
            own = np.where(generator.random(6) < 0.5, liked, generator.integers(0, 8, 6))
            values += own.tolist()
            users += [user] * 6
            windows += [week] * 6
    return np.array(values), np.array(users), np.array(windows)


def test_a_planted_week_of_drift_is_found_and_no_other() -> None:
    values, users, windows = steady(np.random.default_rng(0), 12, planted=7)
    found = drift("kind", values, [str(n) for n in range(8)], users, windows, 12, permutations=100)
    assert found is not None
    assert np.flatnonzero(found.drifted).tolist() == [7]
    assert 7 in np.flatnonzero(found.changed)
    assert {name for name, here, there in found.movers[7]} & {"6", "7"}


def test_quiet_weeks_give_few_alarms() -> None:
    """Bursts of one user are no drift: at most 5 % of quiet logs may have any alarm; 3 of 20 and more would be rare (p = 0.08)."""
    alarms = 0
    for seed in range(20):
        values, users, windows = steady(np.random.default_rng([seed, 5]), 8, planted=None)
        found = drift("kind", values, [str(n) for n in range(8)], users, windows, 8, permutations=80, seed=seed)
        assert found is not None
        alarms += bool(found.drifted.any())
    assert alarms <= 3


def test_jensen_shannon_by_hand() -> None:
    assert jensen_shannon(np.array([[1, 0]]), np.array([[0, 5]])).tolist() == [1.0]
    assert jensen_shannon(np.array([[2, 4]]), np.array([[1, 2]])).tolist() == [0.0]
    # KL((1, 0) || (3/4, 1/4)) = log2(4/3); KL((1/2, 1/2) || (3/4, 1/4)) = (log2(2/3) + 1) / 2
    by_hand = math.sqrt((math.log2(4 / 3) + (math.log2(2 / 3) + 1) / 2) / 2)
    assert math.isclose(float(jensen_shannon(np.array([[1, 0]]), np.array([[1, 1]]))[0]), by_hand)
    assert np.isnan(jensen_shannon(np.array([[0, 0]]), np.array([[1, 1]]))[0])


@given(st.lists(st.integers(0, 50), min_size=2, max_size=30).filter(any))
def test_gini_is_between_none_and_all(counts: list[int]) -> None:
    found = gini(np.array(counts))
    assert -1e-12 <= found <= 1 - 1 / len(counts) + 1e-12
    assert math.isclose(gini(np.array([counts[0] + 1] * 5)), 0.0, abs_tol=1e-12)


def test_concentration_by_hand() -> None:
    rows = [(0, 0, 1.0, 0, 0), (0, 1, 2.0, 0, 0), (1, 0, 1.0, 0, 0), (1, 0, 2.0, 0, 0)]
    found = concentration(log_of(rows))
    assert (found.pairs, found.density, found.half, found.items_without) == (3, 3 / 20, 1, 8)
    assert found.top["10 %"] == 0.75
    assert math.isclose(found.gini, (2 * (9 * 1 + 10 * 3) - 11 * 4) / (10 * 4))


def test_weeks_newcomers_and_hours() -> None:
    """Week 0: items 0, 0; week 1: 0 (known), 1 (new), 1 (new still: nobody knew it before the week)."""
    times = [MONDAY + 3600, MONDAY + DAY, MONDAY + 7 * DAY, MONDAY + 8 * DAY, MONDAY + 13.9 * DAY]
    rows = [(user, item, time, 0, 0) for (user, item), time in zip([(0, 0), (0, 0), (0, 0), (1, 1), (0, 1)], times, strict=True)]
    log = log_of(rows)
    assert log.times is not None
    calendar = Calendar.over(log.times, 7 * DAY)
    assert (calendar.start, calendar.count) == (MONDAY, 2)
    cold = cold_shares(log, calendar)
    assert cold.new_items.tolist() == [1.0, 2 / 3]
    assert cold.new_users.tolist() == [1.0, 1 / 3]
    assert cold.few_items.tolist() == [1.0, 1.0]
    over = activity(log, calendar)
    assert (over.events.tolist(), over.users.tolist(), over.items.tolist()) == ([2, 3], [1, 2], [1, 2])
    assert over.hours[0, 1] == 1
    assert over.hours.sum() == 5


def test_delays_of_events_and_exposures() -> None:
    rows = [(0, 0, 100.0, 0, 0), (0, 0, 160.0, 2, 0), (0, 0, 900.0, 2, 0), (0, 1, 100.0, 0, 0), (1, 0, 50.0, 2, 0)]
    log = log_of(rows)
    (found,) = delays_of_events(log)
    assert (found.after, found.outcome, found.count, found.seconds["p50"]) == ("first event", "buy", 1, 60.0)
    shown = Exposures(
        users=np.array([0, 0, 1], np.int32),
        items=np.array([0, 0, 0], np.int32),
        cuts=np.zeros(3, np.int64),
        times=np.array([100.0, 160.0, 50.0]),
    )
    (bought,) = delays_of_exposures(shown, log)
    assert (bought.outcome, bought.count, bought.seconds["p50"]) == (
        "buy",
        2,
        400.0,
    )  # 60 and 740; the event at 50.0 is the exposure itself


def test_programs_are_suspected_and_people_are_not() -> None:
    generator = np.random.default_rng(1)
    rows = [(user, int(generator.integers(10)), MONDAY + float(t), 0, 0) for user in range(30) for t in generator.uniform(0, 9 * DAY, 25)]
    rows += [(30, int(generator.integers(10)), MONDAY + 0.5 * n, 0, 0) for n in range(900)]
    rows += [(31, n % 10, MONDAY + 600.0 * n, 0, 0) for n in range(40)]
    rows += [(32, 3, MONDAY + float(t), 0, 0) for t in generator.uniform(0, 9 * DAY, 25)]
    rows += [(0, 5, MONDAY + 77.0, 0, 0)] * 3
    found = suspicious(log_of(rows))
    assert {one.user: len(one.reasons) for one in found.suspects} == {30: 2, 31: 1, 32: 1}
    assert "as regular as a clock" in next(one for one in found.suspects if one.user == 31).reasons[0]
    assert found.repeats == 2
    assert found.events == 900 + 40 + 25


def everything(*, timed: bool = True, leaks: bool = False) -> Any:
    generator = np.random.default_rng(2)
    rows = [
        (user, int(generator.integers(10)), MONDAY + float(t), int(generator.integers(3)), int(generator.integers(2)))
        for user in range(20)
        for t in generator.uniform(0, 40 * DAY, 20)
    ]
    rows += [(20, int(generator.integers(10)), MONDAY + 0.5 * n, 0, 0) for n in range(900)]
    shown = (
        shown_rows(40, clicked=[n % 3 == 0 for n in range(40)], stars=[float(n % 5) for n in range(40)], mood=["<b>", "&"] * 20)
        if timed
        else None
    )
    known = ["column 'total' of the items knows the label 'clicked' <b>"] if leaks else []
    return analyse(dataset(rows, timed=timed, shown=shown), permutations=20, leaks=known)


def test_the_page_is_whole_and_escaped() -> None:
    found = everything(leaks=True)
    page = analysis_page(found, title="<script>shop</script>", account=[("events read", 3, "a & b")])
    assert "<script>" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    for part in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>")
    assert page.count("<svg") >= 12
    assert findings(found)[0].startswith("suspected leak: column 'total'")
    assert any("behave like programs" in line and "u20" in line for line in text_lines(found))
    plain = json.loads(json.dumps(found.plain()))
    assert plain["suspicious"]["suspects"][0]["user"] == "u20"
    assert {one["name"] for one in plain["label_drift"]} <= {"clicked", "stars", "mood"}


def test_an_order_alone_says_what_cannot_be_known() -> None:
    found = everything(timed=False)
    assert (found.sessions, found.activity, found.cold, found.drift, found.delays) == (None, None, None, [], [])
    assert any(sentence.startswith("no times, only an order") for sentence in found.unknown)
    assert any(line.startswith("not known: no exposures") for line in text_lines(found))
    assert "What can't be known" in analysis_page(found, title="x")
    assert found.event_funnels


def test_the_command_on_the_sample_and_on_a_run(m6rec: Callable[..., Any], tiny_sample: Path, tiny_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    facts = m6rec("analyse", tiny_sample / "config.yaml", "--report", page, "--permutations", 20, "--gap", "1h", "--json").json()
    assert facts["sessions"]["gap_seconds"] == 3600
    assert facts["report"] == str(page)
    assert "<h2" in page.read_text(encoding="utf-8")
    again = m6rec("analyse", tiny_run, "--report", page, "--permutations", 20, "--window", "month")
    assert again.code == 0
    assert "windows of 4.29 weeks" in again.out
    assert "would read" in m6rec("analyse", tiny_sample / "config.yaml", "--dry-run").out
    assert "no length of time" in m6rec("analyse", tiny_sample / "config.yaml", "--gap", "soon").error(2)
    assert "--set changes a configuration" in m6rec("analyse", tiny_run, "--set", "seed=1").error(2)


def test_a_planted_leak_is_named(m6rec: Callable[..., Any], tiny_sample: Path, tmp_path: Path) -> None:
    """A context column that is the label in other words; the same command without it suspects nothing of the context."""
    rows = pl.read_parquet(tiny_sample / "exposures.parquet")
    rows.with_columns(pl.when(pl.col("clicked") == 1).then(pl.lit("thanks")).otherwise(pl.lit("none")).alias("banner")).write_parquet(
        tmp_path / "shown.parquet"
    )
    page = tmp_path / "page.html"
    words = ["analyse", tiny_sample / "config.yaml", "--report", page, "--permutations", 20, "--json"]
    words += ["--set", f"data.exposures={tmp_path / 'shown.parquet'}", "--set", "tasks.click={answer: judge, label: clicked}"]
    clean = m6rec(*words).json()
    assert not any("banner" in sentence for sentence in clean["leaks"])
    leaky = m6rec(*words, "--set", "fields.context={banner: category}").json()
    assert any("banner" in sentence for sentence in leaky["leaks"])
    assert leaky["findings"][0].startswith("suspected leak: task click: 'banner'")
    assert [step["name"] for step in leaky["funnels"][0]["steps"]][:2] == ["shown", "clicked"]
