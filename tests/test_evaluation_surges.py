"""Surges: planted ones are found, quiet streams stay quiet, windows are kept right, states go on exactly."""

from __future__ import annotations

import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import betabinom, nbinom

from m6rec.evaluation.monitor_report import alert_line, monitor_page
from m6rec.evaluation.surges import SurgeDetector, SurgeSettings, VolumeWatch
from m6rec.evaluation.topic_windows import OTHER, Alert, TopicWindows
from monitor import LENGTH, Stream, quiet, stream, watch

MONDAY = 1_704_067_200.0
HOUR = 3600.0


def test_a_planted_surge_of_volume_and_one_of_negatives_are_found_at_once() -> None:
    generator = np.random.default_rng(3)
    calm = stream(600, 20.0, 0.1, generator, False)
    counts, negative = calm.counts.copy(), calm.negative.copy()
    counts[400 : 400 + LENGTH] *= 5
    negative[500 : 500 + LENGTH] = np.round(0.8 * counts[500 : 500 + LENGTH])
    (alarms,) = watch([Stream(counts, negative, [])], SurgeSettings())
    assert [kind for _, kind in alarms] == ["volume", "negative"]
    assert 0 <= alarms[0][0] - 400 <= 2
    assert 0 <= alarms[1][0] - 500 <= 2


def test_quiet_streams_give_about_the_stated_false_alarms() -> None:
    """Allowed 10 in 1,000 windows, that is 5 in 500; more than 9 would be rare (Poisson, p = 0.03)."""
    assert quiet(500, 0, SurgeSettings(false_alarms=10.0)) * 0.5 <= 9


def test_the_laws_are_those_of_the_books() -> None:
    detector = SurgeDetector(SurgeSettings(warm_up=0))
    for window in range(30):
        detector.volume.learn(MONDAY + window * HOUR, 10.0)
        detector.share.learn(3.0, 10.0)
    volume, share = detector.volume, detector.share
    seen, expected, probability, _ = volume.test(MONDAY + 30 * HOUR, 25.0)[0]
    assert math.isclose(expected, 10.0, rel_tol=0.03)
    doubt = 0.3 * 0.5 ** (30 / 24 / 4)
    shape = 1 / (volume.dispersion(0) + doubt + 1 / (volume.level[0] + 1))
    assert math.isclose(probability, nbinom.sf(seen - 1, shape, shape / (shape + expected)), rel_tol=1e-9)
    seen, expected, probability, _ = share.test(8.0, 10.0)[0]
    precision = 1 / (share.dispersion(0) + 1 / (share.past[1] + 2))
    assert math.isclose(probability, betabinom.sf(7, 10, precision * share.mean(), precision * (1 - share.mean())), rel_tol=1e-9)


def test_hours_of_the_day_are_expected() -> None:
    watched = VolumeWatch(SurgeSettings())
    for window in range(24 * 21):
        watched.learn(MONDAY + window * HOUR, 40.0 if window % 24 == 9 else 4.0)
    assert 34 < watched.mean(MONDAY + (24 * 21 + 9) * HOUR) < 46
    assert 3 < watched.mean(MONDAY + (24 * 21 + 10) * HOUR) < 5
    assert min(p for _, _, p, _ in watched.test(MONDAY + (24 * 21 + 9) * HOUR, 40.0)) > 1e-3
    assert min(p for _, _, p, _ in watched.test(MONDAY + (24 * 21 + 10) * HOUR, 40.0)) < 1e-6


def test_a_detector_goes_on_exactly_where_its_state_was_written() -> None:
    one = stream(300, 6.0, 0.1, np.random.default_rng(0), False)
    whole, first = SurgeDetector(SurgeSettings()), SurgeDetector(SurgeSettings())
    for window in range(300):
        if window == 137:
            first = SurgeDetector.restored(first.settings, json.loads(json.dumps(first.plain())))
        row = (MONDAY + window * HOUR, float(one.counts[window]), float(one.negative[window]), 3)
        assert whole.close(*row) == first.close(*row)
    assert whole.plain() == first.plain()


def test_windows_close_in_order_and_late_texts_are_counted() -> None:
    windows = TopicWindows(SurgeSettings(), grace=600.0)
    say = {"negative": [0.9], "sentiment": [-0.5], "texts": ["bad"]}
    windows.add([MONDAY], ["a"], **say)
    windows.add([MONDAY + HOUR + 300], ["a"], **say)  # within the grace: the first window stays open
    windows.add([MONDAY + HOUR - 1], ["a"], **say)
    assert windows.counts["windows"] == 0
    windows.add([MONDAY + 3 * HOUR + 601], ["b"], **say)
    windows.add([MONDAY + 10], ["a"], **say)  # too late
    windows.add([MONDAY + 900 * HOUR], ["a"], **say, not_after=MONDAY + 99 * HOUR)
    windows.finish()
    assert windows.counts == {"texts": 4, "late": 1, "future": 1, "windows": 4, "alerts": 0}
    assert [row[1] for row in windows.history["a"]] == [2, 1, 0, 0]
    assert [row[2] for row in windows.history["a"]] == [2, 1, 0, 0]
    assert windows.history["a"][0][3] == -0.5
    assert math.isnan(windows.history["a"][2][3])


def test_topics_are_bounded() -> None:
    windows = TopicWindows(SurgeSettings(), most_topics=2)
    for number in range(5):
        windows.add([MONDAY], [f"t{number}"], [0.0], [0.0], ["x"])
    windows.finish()
    assert {topic: rows[0][1] for topic, rows in windows.history.items()} == {"t0": 1, "t1": 1, OTHER: 3}


def test_one_surge_is_one_alert_and_the_page_shows_it() -> None:
    windows, found = TopicWindows(SurgeSettings(warm_up=24)), []
    generator = np.random.default_rng(0)
    for window in range(120):
        for topic in ("battery <b>", "screen"):
            count = int(generator.poisson(60 if window in (80, 81, 82) and topic != "screen" else 6))
            mood = generator.uniform(-0.2, 1, count)
            row = ([MONDAY + window * HOUR + 1] * count, [topic] * count, (mood < 0).tolist(), mood.tolist(), ["it <died>"] * count)
            found += windows.add(*row)
        if window == 81:
            windows = TopicWindows.restored(json.loads(json.dumps(windows.plain())))
    found += windows.finish()
    assert [(alert.topic, alert.kind, alert.time) for alert in found] == [("battery <b>", "volume", MONDAY + 80 * HOUR)]
    assert "texts in 1 window" in alert_line(found[0])
    assert '"it <died>"' in alert_line(found[0])
    page = monitor_page(windows, title="<x>")
    assert "<b>" not in page.replace("<b>1</b>", "").replace("<b>0</b>", "").replace("<b>2", "").replace("<b>", "", 1)
    assert "it &lt;died&gt;" in page
    for part in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>")
    assert page.count("<svg") == 4


@pytest.mark.parametrize("count", [0, 1])
def test_a_page_of_little(count: int) -> None:
    windows = TopicWindows(SurgeSettings())
    windows.add([MONDAY] * count, ["a"] * count, [0.0] * count, [float("nan")] * count, ["x"] * count)
    windows.finish()
    assert "No alert." in monitor_page(windows, title="little")


def test_an_alert_in_words() -> None:
    alert = Alert(MONDAY, "battery", "negative", 31.0, 7.84, 2.1e-9, 3, 0.6, ["died in a week"])
    assert alert_line(alert) == '2024-01-01 00:00  battery: 31 negative texts in 3 windows, 7.8 expected (p 2e-09); "died in a week"'
