"""Judged texts gathered into windows of time per topic, watched for surges; bounded memory, and a state that can be written and read.

A window is closed when a text arrives that is later than its end (and `grace` more); texts later than that are counted, not used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from m6rec.evaluation.surges import SPANS, Surge, SurgeDetector, SurgeSettings

OTHER = "(other)"
MOST_TOPICS = 200
KEPT_WINDOWS = 2_000  # closed windows of a topic that the page can show
KEPT_ALERTS = 1_000


@dataclass(frozen=True)
class Alert:
    """A surge that began in the window starting at `time` (seconds): what was seen and expected there, and examples of texts."""

    time: float
    topic: str
    kind: str
    seen: float
    expected: float
    probability: float
    windows: int
    share_negative: float
    examples: list[str] = field(default_factory=list)


@dataclass
class _Open:
    """A window still being filled: texts, negative ones, sums of sentiment and its square, a few negative texts."""

    count: int = 0
    negative: float = 0.0
    total: float = 0.0
    square: float = 0.0
    examples: list[str] = field(default_factory=list)


class TopicWindows:
    """Every topic's windows and detectors.

    A topic that comes when there are `most_topics` already is counted as "(other)". An alarm that goes on, or comes back within the longest
    span, is one alert.
    """

    def __init__(self, settings: SurgeSettings, *, grace: float = 0.0, most_topics: int = MOST_TOPICS, examples: int = 3) -> None:
        self.settings, self.grace, self.most_topics, self.examples = settings, grace, most_topics, examples
        self.detectors: dict[str, SurgeDetector] = {}
        self.open: dict[int, dict[str, _Open]] = {}
        self.closed: int | None = None  # the newest closed window
        self.history: dict[str, deque[list[float]]] = {}
        self.alerts: deque[Alert] = deque(maxlen=KEPT_ALERTS)
        self.surging: dict[str, int] = {}  # "kind topic" -> newest window beyond its threshold
        self.counts = {"texts": 0, "late": 0, "future": 0, "windows": 0, "alerts": 0}

    def add(
        self,
        times: Sequence[float],
        topics: Sequence[str],
        negative: Sequence[float],
        sentiment: Sequence[float],
        texts: Sequence[str],
        *,
        not_after: float = float("inf"),
    ) -> list[Alert]:
        """Take judged texts in, and return what the windows that they closed gave alarm of.

        Args:
            times: seconds since 1970.  negative: probability of being negative; from one half on a text counts as negative.
            sentiment: -1 to 1, NaN unknown.
            not_after: a later time is a wrong one: it is counted and closes nothing.
        """
        found: list[Alert] = []
        for time, topic, chance, mood, text in zip(times, topics, negative, sentiment, texts, strict=True):
            if time > not_after:
                self.counts["future"] += 1
                continue
            window = int(time // self.settings.window)
            found += self._close_before(int((time - self.grace) // self.settings.window))
            if self.closed is not None and window <= self.closed:
                self.counts["late"] += 1
                continue
            here = self.open.setdefault(window, {}).setdefault(self._known(topic), _Open())
            here.count += 1
            here.negative += chance >= 0.5
            if not np.isnan(mood):
                here.total += mood
                here.square += mood**2
            if chance >= 0.5 and len(here.examples) < self.examples:
                here.examples.append(text[:200])
            self.counts["texts"] += 1
        return found

    def finish(self) -> list[Alert]:
        """Close every window that is open, though it may not be full: at the end of a stream."""
        return self._close_before(max(self.open) + 1) if self.open else []

    def _known(self, topic: str) -> str:
        if topic in self.detectors or topic in self.history:
            return topic
        if len(self.history) >= self.most_topics:
            topic = OTHER
        self.detectors.setdefault(topic, SurgeDetector(self.settings))
        self.history.setdefault(topic, deque(maxlen=KEPT_WINDOWS))
        return topic

    def _close_before(self, window: int) -> list[Alert]:
        """Close all windows before `window`, empty ones between them too: silence is a count of 0."""
        if not self.open or min(self.open) >= window:
            return []
        first = min(self.open) if self.closed is None else self.closed + 1
        found: list[Alert] = []
        for number in range(first, window):
            found += self._close(number, self.open.pop(number, {}))
            self.closed = number
        return found

    def _close(self, number: int, topics: Mapping[str, _Open]) -> list[Alert]:
        start, found = number * self.settings.window, []
        self.counts["windows"] += 1
        for topic, detector in self.detectors.items():
            here = topics.get(topic, _Open())
            for surge in detector.close(start, here.count, here.negative, len(self.detectors)):
                key = f"{surge.kind} {topic}"
                if number - self.surging.get(key, number - max(SPANS) - 1) > max(SPANS):
                    found.append(_alert(start, topic, surge, here))
                self.surging[key] = number
            mean = here.total / here.count if here.count else float("nan")
            spread = max(here.square / here.count - mean**2, 0.0) if here.count else 0.0
            self.history[topic].append([start, here.count, here.negative, mean, 1.96 * float(np.sqrt(spread / max(here.count, 1)))])
        self.alerts.extend(found)
        self.counts["alerts"] += len(found)
        return found

    def plain(self) -> dict[str, Any]:
        """JSON-ready state, exact; NaN is null."""
        return {
            "settings": asdict(self.settings),
            "closed": self.closed,
            "counts": dict(self.counts),
            "surging": dict(self.surging),
            "detectors": {topic: detector.plain() for topic, detector in self.detectors.items()},
            "history": {topic: [[None if np.isnan(x) else x for x in row] for row in rows] for topic, rows in self.history.items()},
            "open": {str(number): {topic: asdict(one) for topic, one in topics.items()} for number, topics in self.open.items()},
            "alerts": [asdict(alert) for alert in self.alerts],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any], **options: Any) -> TopicWindows:
        """What `plain` told of, with the settings it was made with. Raises KeyError or TypeError for anything else."""
        settings = SurgeSettings(**state["settings"])
        made = cls(settings, **options)
        made.closed, made.counts, made.surging = state["closed"], dict(state["counts"]), dict(state["surging"])
        made.detectors = {topic: SurgeDetector.restored(settings, one) for topic, one in state["detectors"].items()}
        for topic, rows in state["history"].items():
            made.history[topic] = deque(([float("nan") if x is None else x for x in row] for row in rows), maxlen=KEPT_WINDOWS)
        made.open = {int(number): {topic: _Open(**one) for topic, one in topics.items()} for number, topics in state["open"].items()}
        made.alerts.extend(Alert(**alert) for alert in state["alerts"])
        return made


def _alert(start: float, topic: str, surge: Surge, here: _Open) -> Alert:
    share = here.negative / here.count if here.count else float("nan")
    return Alert(start, topic, surge.kind, surge.seen, surge.expected, surge.probability, surge.windows, share, list(here.examples))
