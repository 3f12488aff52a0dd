"""How good answers are now: new events are held against the answer that the model would have given just before (prequential evaluation).

The history before an event is kept for a moment and scored beside the answers, a few events a second, so that nobody waits. Inputs are
watched too: which actions and scenarios come in, and how many people and how many items the training did not know, against the training.

Each worker keeps its own sums, in STATE/quality; what is told is all of them together.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m6rec.base.contracts import Histories, Requests
from m6rec.base.errors import M6RecError, StorageError
from m6rec.base.storage import write_json
from m6rec.evaluation.intervals import wilson
from m6rec.serving.experiments.drift import stability
from m6rec.serving.experiments.prequential import Prequential, QualityAlert
from m6rec.serving.service.backlog import Backlog
from m6rec.serving.service.loaded import LoadedModel

if TYPE_CHECKING:
    from m6rec.serving.store.records import Event

MOST_WAITING = 200  # events that wait to be scored; more are left out
MOST_ALERTS = 50
# Why an event is in no window.
NOT_DRAWN = "not_drawn"  # more came than engine.quality_per_s are looked at
TOO_MANY = "too_many"  # as many as may wait waited already
UNSCORED = "unscored"  # the model has no answer for the moment before it
EVERY = 30.0  # seconds between two files
RECENT = 20_000  # newest events that the inputs are counted over


@dataclass(frozen=True)
class _Waiting:
    """An event, and what was known of its user before it: dense user, one-row history, dense item, code of the scenario."""

    time: float
    user: int
    history: Histories
    item: int
    scenario: int


class LiveQuality:
    """Quality of one worker's events.

    use: gives the model that answers, under a reading turn.  per_second: events scored at most; 0 scores none.  place: of the worker.
    """

    def __init__(self, use: Callable[[], AbstractContextManager[LoadedModel]], folder: Path, per_second: float, place: str = "0") -> None:
        self.use, self.folder, self.per_second, self.place = use, folder, per_second, place
        self.alerts: deque[QualityAlert] = deque(maxlen=MOST_ALERTS)
        self.quality = _restored(folder / f"{place}.json")
        self._inputs: deque[tuple[str, str, bool]] = deque(maxlen=RECENT)  # action, scenario, whether the training knew the user
        self.left_out: Counter[str] = Counter()  # why -> events that no answer was held against
        self._waiting: Backlog[_Waiting] = Backlog("m6rec-quality", self._score)
        self._next = self._written = 0.0

    def seen(self, model: LoadedModel, events: Sequence[Event], trained_users: int) -> None:
        """Told of events before the model learns them; under a reading turn. trained_users: how many the training knew."""
        engine = model.engine
        for event in events:
            user = engine.users.ids.dense(model.person(event.user_id))
            self._inputs.append((event.action or "", event.scenario or "", 0 <= user < trained_users))
        if self.per_second <= 0 or time.monotonic() < self._next:
            self.left_out[NOT_DRAWN] += len(events)
            return
        if len(self._waiting) >= MOST_WAITING:
            self.left_out[TOO_MANY] += len(events)
            return
        self.left_out[NOT_DRAWN] += len(events) - 1
        self._next = time.monotonic() + 1.0 / self.per_second
        event = events[random.randrange(len(events))]
        user, item = engine.users.ids.dense(model.person(event.user_id)), engine.items.ids.dense(event.item_id)
        names = engine.dataset.scenario_names
        scenario = names.index(event.scenario) if event.scenario in names else -1
        row = _Waiting(time.time() if event.time is None else event.time, user, engine.histories.row(user), item, scenario)
        self._waiting.add([row])

    def close(self) -> None:
        """Write what is known, and stop; events that wait are left out."""
        self._waiting.close(10, finish=False)
        if self._next:
            self._write()

    def plain(self, model: LoadedModel) -> dict[str, Any]:
        """JSON-ready: windows of all workers together; of this one alerts, what of the inputs has moved away from the training, and how many
        events since the start are in no window, by why."""
        states = [self.quality.plain()]
        for path in self.folder.glob("*.json"):
            if path.stem != self.place and (found := _read(path)) is not None:
                states.append(found)
        alerts = [{**asdict(alert), "worse": alert.worse} for alert in self.alerts]
        left_out = {why: count for why, count in self.left_out.items() if count}
        return {"k": self.quality.k, "windows": _windows(states), "alerts": alerts, "inputs": self._drift(model), "left_out": left_out}

    def _score(self, rows: list[_Waiting]) -> bool:
        for row in rows:
            try:
                with self.use() as model:
                    rank = rank_of(model, row.user, row.history, row.item, row.scenario)
            except M6RecError:
                self.left_out[UNSCORED] += 1
                continue
            alert = self.quality.add(row.time, rank)
            if alert is not None:
                self.alerts.append(alert)
        if time.monotonic() - self._written > EVERY:
            self._written = time.monotonic()
            self._write()
        return True

    def _write(self) -> None:
        try:
            write_json(self.folder / f"{self.place}.json", self.quality.plain())
        except StorageError:
            return  # the curve then starts anew after a restart; answers do not depend on it

    def _drift(self, model: LoadedModel) -> list[dict[str, Any]]:
        rows = list(self._inputs)
        if not rows:
            return []
        dataset = model.engine.dataset
        found = []
        for place, (name, names, codes) in enumerate(
            (
                ("action", dataset.action_names, dataset.histories.actions),
                ("scenario", dataset.scenario_names, dataset.histories.scenarios),
            )
        ):
            if codes is None or not names:
                continue
            before = dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))
            moved = stability(before, Counter(str(row[place]) for row in rows if row[place] in before))
            movers = [list(mover) for mover in moved.movers]
            chance = None if math.isinf(moved.chance) else moved.chance
            found.append({"input": name, "index": moved.index, "chance": chance, "shifted": moved.shifted, "movers": movers})
        share = sum(not known for _, _, known in rows) / len(rows)
        found.append({"input": "people the training did not know", "share": share, "shifted": False, "movers": []})
        return found


def rank_of(model: LoadedModel, user: int, history: Histories, item: int, scenario: int) -> float:
    """The place that `item` has in the answer, from 1, equal scores counted half; inf where it could not have been answered."""
    engine = model.engine
    if item < 0 or item in engine.gone:
        return math.inf
    if engine.scorer.task.config.repeat == "exclude" and item in history.items:
        return math.inf
    asking = Requests(history, users=np.array([user]), scenarios=np.array([scenario]))
    scores = engine.scorer.scores(asking)[0]
    mine = scores[item]
    if engine.scorer.task.config.repeat == "exclude":
        scores[history.items] = -np.inf
    ties = int(np.count_nonzero(scores == mine)) - 1
    return 1.0 + int(np.count_nonzero(scores > mine)) + ties / 2


def _windows(states: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Windows of several workers added up: [{start, events, hit, ndcg, mrr, low, high}, ...], oldest first."""
    sums: dict[float, np.ndarray] = {}
    for state in states:
        for number, *row in state["sums"]:
            start = number * state["window"]
            sums[start] = sums.get(start, np.zeros(4)) + np.array(row, dtype=np.float64)
    found = []
    for start in sorted(sums):
        events, hits, gain, reciprocal = sums[start].tolist()
        low, high = wilson(hits / events, events)
        told = {"hit": hits / events, "ndcg": gain / events, "mrr": reciprocal / events, "low": low, "high": high}
        found.append({"start": start, "events": int(events), **told})
    return found


def _restored(path: Path) -> Prequential:
    state = _read(path)
    return Prequential() if state is None else Prequential.restored(state)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        Prequential.restored(state)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return dict(state)
