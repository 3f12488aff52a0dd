"""Live quality and drift: sums by hand, planted falls found, quiet streams left alone, small samples not called drift."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import stream
from m6rec.evaluation.intervals import wilson
from m6rec.serving.experiments.drift import AdaptiveWindow, Change, binned, bins, stability
from m6rec.serving.experiments.prequential import Prequential

DAY = 86_400.0


def test_quality_by_hand() -> None:
    """Two days: ranks 1, 3 and none; then 11 (beyond the list of 10)."""
    live = Prequential(k=10)
    for time, rank in ((10.0, 1.0), (20.0, math.inf), (DAY + 5, 11.0), (DAY - 1, 3.0)):
        assert live.add(time, rank) is None
    first, second = live.windows
    assert (first.start, first.events, second.start, second.events) == (0.0, 3, DAY, 1)
    assert first.hit == pytest.approx(2 / 3)
    assert first.ndcg == pytest.approx((1 + 1 / 2) / 3)
    assert first.mrr == pytest.approx((1 + 1 / 3) / 3)
    assert (second.hit, second.ndcg, second.mrr) == pytest.approx((0.0, 0.0, 1 / 11))
    assert first.low < first.hit < first.high


def test_a_rank_that_is_not_known_is_no_hit() -> None:
    live = Prequential()
    live.add(0.0, math.nan)
    assert live.windows[0].hit == 0.0


def test_shares_of_few_events_have_wide_intervals() -> None:
    """Wilson's interval of 0 of 10: 0 to 0.278; nothing seen: everything is possible."""
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_the_curve_stays_bounded_whatever_times_come() -> None:
    live = Prequential(window=1.0)
    for second in range(1_500):
        live.add(float(second), 1.0)
    live.add(-1e9, 1.0)  # a clock gone wrong
    assert len(live.windows) == 1_000
    assert live.windows[-1].start == 1_499.0


@pytest.mark.parametrize("alike", [False, True], ids=["independent", "visits alike"])
def test_a_planted_fall_is_found_and_said_in_full(alike: bool) -> None:
    """hit@10 from 0.10 to 0.05 after 6,000 events: found within 6,000 more, in each of three streams."""
    for seed in range(3):
        live, alerts = Prequential(k=10), []
        for place, hit in enumerate(stream(np.random.default_rng(seed), 6_000, 6_000, (0.10, 0.05), alike)):
            alert = live.add(float(place), 5.0 if hit else 50.0)
            alerts += [alert] if alert else []
        assert len(alerts) >= 1
        found = alerts[0]
        assert found.worse
        assert found.metric == "hit@10"
        assert found.time > 6_000
        assert found.before == pytest.approx(0.10, abs=0.025)
        assert found.after == pytest.approx(0.05, abs=0.025)
        assert all(one.worse for one in alerts)


@pytest.mark.parametrize("alike", [False, True], ids=["independent", "visits alike"])
def test_a_quiet_stream_raises_no_alarm(alike: bool) -> None:
    """60,000 events of one rate."""
    watch = AdaptiveWindow()
    assert [place for place, value in enumerate(stream(np.random.default_rng(1), 60_000, 0, (0.08, 0.08), alike)) if watch.add(value)] == []
    assert len(watch) == 60_000
    assert watch.mean == pytest.approx(0.08, abs=0.005)


def test_one_odd_event_among_thousands_is_no_change() -> None:
    """A stream that has always hit misses once; then it never hits again."""
    watch = AdaptiveWindow()
    assert {watch.add(float(place != 20_000)) for place in range(21_000)} == {None}
    changes = [change for _ in range(1_000) if (change := watch.add(0.0))]
    assert (changes[0].before, changes[0].after) == pytest.approx((1.0, 0.0), abs=0.01)


def test_after_a_change_the_past_is_forgotten() -> None:
    watch = AdaptiveWindow()
    changes = [change for value in stream(np.random.default_rng(2), 5_000, 5_000, (0.3, 0.6), False) if (change := watch.add(value))]
    assert isinstance(changes[0], Change)
    assert changes[0].after > changes[0].before
    assert watch.mean == pytest.approx(0.6, abs=0.03)
    assert len(watch) < 6_000


@given(st.lists(st.floats(0, 1), max_size=400), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_window_forgets_nothing_while_it_does_not_alarm(values: list[float], block: int) -> None:
    """Its mean and length are those of the values; its buckets are few, and powers of two from the oldest to the newest."""
    watch = AdaptiveWindow(block=block)
    changes = [watch.add(value) for value in values]
    if any(changes):
        return
    assert len(watch) == len(values)
    assert watch.mean == pytest.approx(float(np.mean(values)) if values else math.nan, nan_ok=True)
    sizes = [bucket[0] for bucket in watch.plain()["buckets"]]
    assert all(first >= second for first, second in pairwise(sizes))
    assert all(sizes.count(size) <= 5 and math.log2(size).is_integer() for size in set(sizes))


def test_going_on_from_a_saved_state_is_never_having_stopped() -> None:
    values = stream(np.random.default_rng(3), 3_000, 3_000, (0.2, 0.05), True)
    whole, stopped = Prequential(window=500.0), Prequential(window=500.0)
    alerts: tuple[list[object], list[object]] = ([], [])
    for place, hit in enumerate(values):
        if place % 777 == 0:
            stopped = Prequential.restored(json.loads(json.dumps(stopped.plain())))
        for live, found in zip((whole, stopped), alerts, strict=True):
            found.append(live.add(float(place), 1.0 if hit else math.inf))
    assert alerts[0] == alerts[1]
    assert whole.plain() == stopped.plain()
    assert whole.windows == stopped.windows


def test_the_stability_index_by_hand() -> None:
    """Shares 0.5, 0.5 and 0.8, 0.2: 0.3 ln 1.6 + 0.3 ln 2.5 = 0.416."""
    found = stability({"a": 5e6, "b": 5e6}, {"a": 8e6, "b": 2e6})
    assert found.index == pytest.approx(0.3 * math.log(1.6) + 0.3 * math.log(2.5), abs=1e-6)
    assert found.shifted
    assert found.movers[0] == ("b", pytest.approx(0.5), pytest.approx(0.2, abs=1e-6))


def test_small_samples_are_not_called_drift_and_a_new_value_is() -> None:
    """400 pairs of samples of 200 over 12 values: about 1 in 1,000 beyond chance; then a value of 30 % that was not there before."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(12, 5.0))

    def sample(shares: np.ndarray, count: int = 200) -> dict[str, float]:
        return {f"v{code}": float(seen) for code, seen in enumerate(rng.multinomial(count, shares))}

    found = [stability(sample(shares), sample(shares)) for _ in range(400)]
    assert sum(one.shifted for one in found) <= 3
    assert np.mean([one.index > 0.1 for one in found]) > 0.3  # what a fixed border of 0.1 would have called drift
    fresh = stability(sample(shares), sample(np.append(shares * 0.7, 0.3)))
    assert fresh.shifted
    assert fresh.movers[0][0] == "v12"


def test_a_sure_but_tiny_shift_is_not_spoken_of() -> None:
    found = stability({"a": 5e7, "b": 5e7}, {"a": 5.1e7, "b": 4.9e7})
    assert found.index > found.chance
    assert not found.shifted


@pytest.mark.parametrize(("before", "now"), [({}, {}), ({"a": 5.0}, {"a": 9.0}), ({"a": 5.0, "b": 3.0}, {}), ({"a": 0.0}, {"b": 1.0})])
def test_nothing_to_compare_is_no_drift(before: dict[str, float], now: dict[str, float]) -> None:
    assert not stability(before, now).shifted


def test_numbers_are_compared_in_bins_of_the_reference() -> None:
    rng = np.random.default_rng(0)
    reference, same = rng.lognormal(size=5_000), rng.lognormal(size=5_000)
    moved = np.where(rng.random(5_000) < 0.3, np.nan, rng.lognormal(0.5, 1.0, 5_000))
    borders = bins(reference)
    assert len(borders) == 9
    assert binned(reference, borders)["unknown"] == 0
    assert sum(binned(moved, borders).values()) == 5_000
    assert not stability(binned(reference, borders), binned(same, borders)).shifted
    assert stability(binned(reference, borders), binned(moved, borders)).shifted
    constant = bins(np.full(10, 3.0))
    assert binned(np.array([3.0, 2.0]), constant) == {"-inf to 3": 1.0, "3 to inf": 1.0, "unknown": 0.0}
    assert bins(np.full(3, np.nan)).tolist() == []
