"""Surges: windows whose volume or share of negative texts lies beyond what the past of the same topic predicts. Pure arrays, no model.

Volume of a window is negative binomial around level x hour of the day x day of the week; a share is beta-binomial around its own past.
Both laws carry the over-dispersion seen so far and the uncertainty of what was learned, so that a young or restless topic alarms less. A
window is tested alone and together with the ones before it (`SPANS`); every test gets an equal part of the allowed false alarms:

    P(count >= seen) < false_alarms / 1000 / (topics x kinds x spans)

Learning is online with a discount and takes surges in only up to what was plausible, so that a surge does not become the rule at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betainc, gammaln

SPANS = (1, 3, 8)  # windows looked at together
HOURS, DAYS = 24, 7
PRIOR = 5.0  # expected texts that speak for a factor of 1 before anything is seen of an hour or day
CLIP = 1e-3  # what is rarer than this is learned from only up to here
SEASON_DISCOUNT = 0.95  # of an hour's or day's past at each visit: about 20 visits count
LEAST_DISPERSION = 0.003
FIXED = ("settings", "discount")  # not part of a watch's state
YOUNG_DISPERSION = 0.3  # before any is seen
FIRST = 12  # windows that give a first level
DOUBT, DOUBT_HALVES = 0.3, 4.0  # dispersion of a season not seen yet, and the days in which it halves


@dataclass(frozen=True)
class SurgeSettings:
    """window: seconds. half_life: windows after which the past counts half. warm_up: windows before the first alarm.

    false_alarms: expected in 1,000 windows of quiet streams, all topics and both kinds together. least: texts in the windows of an alarm.
    """

    window: float = 3600.0
    false_alarms: float = 1.0
    half_life: float = 168.0
    warm_up: int = 48
    least: int = 5

    @classmethod
    def for_window(cls, window: float, false_alarms: float = 1.0) -> SurgeSettings:
        """An hour learns for two days and half-forgets in a week; a day learns for two weeks and half-forgets in four."""
        return cls(window, false_alarms) if window < 43_200 else cls(window, false_alarms, half_life=28.0, warm_up=14)

    def threshold(self, topics: int) -> float:
        """The probability under which one test alarms."""
        return self.false_alarms / 1000 / (max(topics, 1) * 2 * len(SPANS))


@dataclass(frozen=True)
class Surge:
    """One test beyond its threshold. expected: texts (volume) or negative texts (negative); windows: how many were taken together."""

    kind: str
    seen: float
    expected: float
    probability: float
    windows: int


class _Watch:
    """What both watches keep: discounted sums of what was learned, and the newest windows.

    spread: of each span, the discounted squared deviation beyond the plain law, and what it is divided by to be a dispersion.
    recent: of the windows before, newest last: what is tested, and what it is tested against.
    """

    def __init__(self, settings: SurgeSettings) -> None:
        self.settings = settings
        self.discount = 0.5 ** (1 / settings.half_life)
        self.seen = 0
        self.spread = np.zeros((2, len(SPANS)))
        self.recent = np.zeros((0, 2))

    def dispersion(self, place: int) -> float:
        """Of the span SPANS[place]; it falls with the span where neighbouring windows are independent, and does not where they are not."""
        above, below = self.spread[:, place]
        return max(above / below, LEAST_DISPERSION) if below else YOUNG_DISPERSION

    def _spans(self, row: tuple[float, float]) -> list[tuple[int, np.ndarray]]:
        """(place of the span, sums of `recent` and `row` over it) of every span that the windows seen fill."""
        rows = np.concatenate([self.recent, [row]])
        return [(place, rows[-span:].sum(axis=0)) for place, span in enumerate(SPANS) if len(rows) >= span]

    def _closed(self, row: tuple[float, float]) -> None:
        self.recent = np.concatenate([self.recent, [row]])[-(max(SPANS) - 1) :]
        self.seen += 1


class VolumeWatch(_Watch):
    """How many texts a window of one topic should hold."""

    def __init__(self, settings: SurgeSettings) -> None:
        super().__init__(settings)
        self.level = np.zeros(2)  # texts, and season-weighted windows: the level is their ratio
        self.hours, self.days = np.zeros((2, HOURS)), np.zeros((2, DAYS))  # rows: seen, expected

    def mean(self, start: float) -> float:
        """Texts expected in the window that begins at `start` (seconds since 1970, UTC)."""
        return self._level() * self._season(start)

    def test(self, start: float, count: float) -> list[tuple[float, float, float, int]]:
        """(seen, expected, probability, windows) of each span; [] while warming up."""
        if self.seen < self.settings.warm_up:
            return []
        return [
            (float(seen), float(expected), self._tail(float(seen), float(expected), place), SPANS[place])
            for place, (seen, expected) in self._spans((count, self.mean(start)))
        ]

    def learn(self, start: float, count: float) -> None:
        """Take a closed window in; a surge only up to what was plausible."""
        mean = self.mean(start)
        taken = count
        if self.seen >= self.settings.warm_up // 2 and self._tail(count, mean, 0) < CLIP:
            taken = self._plausible(count, mean)
        if self.seen >= FIRST:  # the first windows know no level to be far from
            for place, (seen, expected) in self._spans((taken, mean)):
                self.spread[:, place] *= self.discount
                self.spread[:, place] += (seen - expected) ** 2 - expected, expected**2
            level, hour, day = self._level(), self._hour(start), self._day(start)
            self.hours[:, _hour(start)] *= SEASON_DISCOUNT
            self.hours[:, _hour(start)] += taken, level * day
            self.days[:, _day(start)] *= SEASON_DISCOUNT ** min(self.settings.window / 86_400, 1.0)
            self.days[:, _day(start)] += taken, level * hour
        self.level = self.discount * self.level + (taken, self._season(start))
        self._closed((taken, mean))

    def _plausible(self, count: float, mean: float) -> float:
        """The largest count that is not rarer than CLIP."""
        low, high = 0.0, count
        while high - low > 1:
            middle = np.floor((low + high) / 2)
            low, high = (low, middle) if self._tail(middle, mean, 0) < CLIP else (middle, high)
        return low

    def _level(self) -> float:
        return float(self.level[0] / self.level[1]) if self.level[1] else 0.0

    def _season(self, start: float) -> float:
        return self._hour(start) * self._day(start)

    def _hour(self, start: float) -> float:
        return _factor(self.hours, _hour(start)) if self.settings.window < 86_400 else 1.0

    def _day(self, start: float) -> float:
        return _factor(self.days, _day(start))

    def _tail(self, count: float, mean: float, place: int) -> float:
        """P(N >= count): over-dispersion, the uncertainty of the level and a season not seen yet in one negative binomial.

        Nothing is worked out for a count that is no more than expected: 1 stands for it.
        """
        if count <= mean or count <= 0:
            return 1.0
        doubt = DOUBT * 0.5 ** (self.seen * self.settings.window / 86_400 / DOUBT_HALVES)
        shape = 1 / (self.dispersion(place) + doubt + 1 / (self.level[0] + 1.0))
        mean = max(mean, 0.1 * SPANS[place] / max(self.level[1], 1.0), 1e-6)
        return float(betainc(count, shape, mean / (mean + shape)))


class ShareWatch(_Watch):
    """Which share of the texts of one topic should be negative."""

    def __init__(self, settings: SurgeSettings) -> None:
        super().__init__(settings)
        self.past = np.zeros(2)  # negative texts, texts

    def mean(self) -> float:
        """The share, drawn a little to the middle while little is known."""
        return float((self.past[0] + 1.0) / (self.past[1] + 2.0))

    def test(self, negative: float, count: float) -> list[tuple[float, float, float, int]]:
        """(seen, expected, probability, windows) of each span; [] while warming up."""
        if self.seen < self.settings.warm_up:
            return []
        return [
            (float(seen), float(texts) * self.mean(), self._tail(float(seen), float(texts), place), SPANS[place])
            for place, (seen, texts) in self._spans((negative, count))
        ]

    def learn(self, negative: float, count: float) -> None:
        """Take a closed window in; a surge only up to what was plausible."""
        mean, taken = self.mean(), negative
        while self.seen >= self.settings.warm_up // 2 and taken > count * mean and self._tail(taken, count, 0) < CLIP:
            taken = np.floor(taken - max(1.0, (taken - count * mean) / 8))
        if self.past[1] > 20:
            for place, (seen, texts) in self._spans((taken, count)):
                plain = texts * mean * (1 - mean)  # E (k - n p)^2 = n p q (1 + (n - 1) rho)
                self.spread[:, place] *= self.discount
                self.spread[:, place] += (seen - texts * mean) ** 2 - plain, max(texts - 1, 0) * plain
        self.past = self.discount * self.past + (taken, count)
        self._closed((taken, count))

    def _tail(self, negative: float, count: float, place: int) -> float:
        """P(K >= negative), beta-binomial with the correlation within a window and the uncertainty of the mean; 1 where no more than expected."""
        if negative <= count * self.mean():
            return 1.0
        precision = 1 / (min(self.dispersion(place), 0.9) + 1 / (self.past[1] + 2.0))
        a, b = precision * self.mean(), precision * (1 - self.mean())
        n = round(count)
        k = np.arange(round(negative), n + 1)
        log = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + _log_beta(k + a, n - k + b) - _log_beta(a, b)
        return float(min(np.exp(log).sum(), 1.0))


class SurgeDetector:
    """Volume and negative share of one topic, window by window."""

    def __init__(self, settings: SurgeSettings) -> None:
        self.settings = settings
        self.volume, self.share = VolumeWatch(settings), ShareWatch(settings)

    def close(self, start: float, count: float, negative: float, topics: int) -> list[Surge]:
        """Test and then learn one closed window; at most one surge of each kind, the least likely.

        Args:
            start: seconds since 1970.  count, negative: texts.  topics: how many streams are watched, which share the allowed alarms.
        """
        limit, found = self.settings.threshold(topics), []
        for kind, tests in (("volume", self.volume.test(start, count)), ("negative", self.share.test(negative, count))):
            beyond = [
                (probability, Surge(kind, seen, expected, probability, windows))
                for seen, expected, probability, windows in tests
                if probability < limit and seen >= self.settings.least and (count if kind == "volume" else negative) > 0
            ]
            if beyond:
                found.append(min(beyond, key=lambda one: one[0])[1])
        self.volume.learn(start, count)
        self.share.learn(negative, count)
        return found

    def plain(self) -> dict[str, Any]:
        """JSON-ready state, exact."""
        return {
            name: {
                key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(watch).items() if key not in FIXED
            }
            for name, watch in (("volume", self.volume), ("share", self.share))
        }

    @classmethod
    def restored(cls, settings: SurgeSettings, state: Mapping[str, Any]) -> SurgeDetector:
        """The detector that `plain` told of."""
        detector = cls(settings)
        for name, watch in (("volume", detector.volume), ("share", detector.share)):
            for key, value in state[name].items():
                shape = (-1, 2) if key == "recent" else np.shape(getattr(watch, key))
                setattr(watch, key, value if key == "seen" else np.array(value, dtype=np.float64).reshape(shape))
        return detector


def _factor(sums: np.ndarray, place: int) -> float:
    factors = (sums[0] + PRIOR) / (sums[1] + PRIOR)
    return float(factors[place] / factors.mean())


def _hour(start: float) -> int:
    return int(start // 3600) % HOURS


def _day(start: float) -> int:
    return int(start // 86_400 + 3) % DAYS  # 1970-01-01 was a Thursday; Monday is 0


def _log_beta(a: Any, b: Any) -> Any:
    return gammaln(a) + gammaln(b) - gammaln(a + b)
