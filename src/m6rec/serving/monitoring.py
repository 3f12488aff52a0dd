"""Monitoring: a stream of texts is judged, gathered into windows of topics, and watched; alerts and state are written as it goes.

The state file holds how far was read, the open windows and what was learned; it is replaced whole. The alerts file is cut back to what the
state knows of when reading goes on, so that a monitor killed at any moment gives every alert once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m6rec.base.errors import CheckpointError, UsageError
from m6rec.base.storage import write_json
from m6rec.data.schema import shown
from m6rec.data.text_stream import Position, Texts
from m6rec.evaluation.surges import SurgeSettings
from m6rec.evaluation.topic_windows import Alert, TopicWindows

FORMAT = 1
SAVE_SECONDS = 5.0
A_DAY = 86_400.0
NEGATIVE = {"negative", "neg", "bad", "complaint", "unhappy", "0", "-1", "no", "false", "负面", "消极", "差评", "差"}
POSITIVE = {"positive", "pos", "good", "praise", "happy", "1", "yes", "true", "正面", "积极", "好评", "好"}
UNNAMED = "(no topic)"

Classify = Callable[[Sequence[str]], Sequence[Mapping[str, float]]]


@dataclass(frozen=True)
class Mood:
    """negative: probability of being negative; sentiment: P(positive) - P(negative), -1 to 1."""

    negative: list[float]
    sentiment: list[float]


def mood_of_labels(answers: Sequence[Mapping[str, float]], negative: str | None = None) -> Mood:
    """From a task's probabilities of labels; the negative one is `negative`, else the label whose name says so.

    Raises:
        UsageError: no such label, or none whose name says so.
    """
    if not answers:
        return Mood([], [])
    if not isinstance(answers[0], Mapping):
        raise UsageError(
            f"the task answers {shown(answers[0])}, a number; sentiment takes a task whose answers are labels, e.g. negative, positive"
        )
    names = list(answers[0])
    if negative is not None and negative not in names:
        raise UsageError(f"the task has no label '{negative}'; its labels: {', '.join(names)}")
    bad = [negative] if negative is not None else [name for name in names if str(name).lower() in NEGATIVE]
    if not bad:
        raise UsageError(f"none of the labels {', '.join(names)} is called negative; say which with --negative LABEL")
    good = [name for name in names if str(name).lower() in POSITIVE and name not in bad]
    if not good and len(names) == len(bad) + 1:
        good = [name for name in names if name not in bad]
    chances = [sum(float(answer[name]) for name in bad) for answer in answers]
    return Mood(chances, [sum(float(answer[name]) for name in good) - bad for answer, bad in zip(answers, chances, strict=True)])


def mood_of_column(values: Sequence[Any], column: str, negative: str | None = None) -> Mood:
    """From what the stream says already: a label, or a number from -1 to 1. Raises UsageError for anything else."""
    chances, moods = [], []
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and -1 <= value <= 1:
            moods.append(float(value))
            chances.append(float(value < 0))
        elif isinstance(value, str):
            bad = value == negative if negative is not None else value.lower() in NEGATIVE
            chances.append(float(bad))
            moods.append(-1.0 if bad else 1.0 if value.lower() in POSITIVE else 0.0)
        else:
            raise UsageError(f"column '{column}' holds {shown(value)}; sentiment is a label like negative, or a number from -1 to 1")
    return Mood(chances, moods)


class Monitor:
    """Judges, gathers, alerts, remembers.

    Args:
        mood: texts and rows -> Mood.  topics: texts and rows -> a topic each.
        state: the file that a later run goes on from; None keeps nothing.
        alerts: JSON lines, one an alert; None writes none.
    """

    def __init__(
        self,
        settings: SurgeSettings,
        mood: Callable[[Texts], Mood],
        topics: Callable[[Texts], Sequence[str]],
        *,
        state: Path | None = None,
        alerts: Path | None = None,
        grace: float = 0.0,
    ) -> None:
        self.mood, self.topics, self.state, self.alerts = mood, topics, state, alerts
        self.windows, self.position, self.written = TopicWindows(settings, grace=grace), Position(), 0
        if state is not None and state.exists():
            self._restore(state, settings, grace)
        if alerts is not None:
            alerts.parent.mkdir(parents=True, exist_ok=True)
            with open(alerts, "ab") as handle:
                handle.truncate(min(self.written, os.fstat(handle.fileno()).st_size))

    def run(self, batches: Iterable[Texts], tell: Callable[[Alert], None], *, finish: bool) -> None:
        """Read until the stream ends; every alert is told once and written.

        Args:
            finish: close the windows that are still open when the stream ends (there will be no more).
        """
        saved = time.monotonic()
        try:
            for batch in batches:
                if len(batch):
                    self._tell(self._take(batch), tell)
                if self.state is not None and time.monotonic() - saved > SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
            if finish:
                self._tell(self.windows.finish(), tell)
        finally:
            self.save()

    def save(self) -> None:
        """Write the state, whole or not at all. Raises StorageError."""
        if self.state is not None:
            position = {"offsets": self.position.offsets, "broken": self.position.broken}
            write_json(self.state, {"format": FORMAT, "position": position, "alert_bytes": self.written, "windows": self.windows.plain()})

    def _take(self, batch: Texts) -> list[Alert]:
        mood = self.mood(batch)
        topics = [UNNAMED if topic is None or topic == "" else str(topic) for topic in self.topics(batch)]
        return self.windows.add(batch.times, topics, mood.negative, mood.sentiment, batch.texts, not_after=time.time() + A_DAY)

    def _tell(self, found: list[Alert], tell: Callable[[Alert], None]) -> None:
        if found and self.alerts is not None:
            lines = "".join(json.dumps(asdict(alert), ensure_ascii=False) + "\n" for alert in found).encode()
            with open(self.alerts, "ab") as handle:
                handle.write(lines)
            self.written += len(lines)
        for alert in found:
            tell(alert)

    def _restore(self, path: Path, settings: SurgeSettings, grace: float) -> None:
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["format"] > FORMAT:
                raise CheckpointError(f"{path} was written by a newer m6rec (format {state['format']}, this reads {FORMAT}); upgrade m6rec")
            self.windows = TopicWindows.restored(state["windows"], grace=grace)
            self.position = Position(dict(state["position"]["offsets"]), state["position"]["broken"])
            self.written = int(state["alert_bytes"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is no state of a monitor ({type(error).__name__}); delete it to begin anew") from None
        if self.windows.settings != settings:
            raise UsageError(
                f"{path} was begun with windows of {self.windows.settings.window:g} s and {self.windows.settings.false_alarms:g} false alarms; "
                "go on with the same options, or give another --state"
            )
