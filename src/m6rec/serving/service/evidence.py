"""Why an item was answered, as a reply says it. The mathematics is the explanation room's (`explanation/evidence.py`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.explanation.evidence import Evidence, chosen, lifts_of, ordered
from m6rec.explanation.question import TYPED, parts_of
from m6rec.serving.asked import Ask, Reason
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.explaining import question_of


@dataclass(frozen=True)
class Explanation:
    """Why one item stands where it stands for somebody: score (log probability), rank among all items from 1, reasons, largest first.

    lifts: item id of an event (or the word, or field=value) -> what the score loses without it; below 0 where it speaks against the item.
    reason: in words, "" where no language was asked for; cited: ids of the events that it names; said: what would have been without them.
    """

    item_id: str
    title: str
    score: float
    rank: int
    reasons: tuple[Reason, ...]
    lifts: dict[str, float]
    reason: str = ""
    cited: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    model_version: str = ""
    request_id: str = ""
    took_ms: float = 0.0


def reasons_for(engine: Engine, ask: Ask, items: np.ndarray, most: int = 4) -> list[tuple[Reason, ...]]:
    """The reasons for each of `items` int64 (C,), largest share first, at most `most` of each kind."""
    question = question_of(engine, ask.user, ask.history, ask.text, ask.profile, ask.scenario)
    found = lifts_of(chosen(engine.scorer.answer), question, parts_of(question, engine.items.ids.ids, engine._titles()), items)
    shares = [{name: float(share[place]) for name, share in found.given.items()} for place in range(len(items))]
    return [_reasons(ordered(found.parts, found.lifts[:, place], shares[place], most)) for place in range(len(items))]


def explain(engine: Engine, ask: Ask, item: int, most: int = 10) -> Explanation:
    """Why `item` stands where it stands for whoever asks, without words."""
    question = question_of(engine, ask.user, ask.history, ask.text, ask.profile, ask.scenario)
    found = lifts_of(chosen(engine.scorer.answer), question, parts_of(question, engine.items.ids.ids, engine._titles()), np.array([item]))
    scores = engine.scorer.scores(question.whole)[0]
    shares = {name: float(share[0]) for name, share in found.given.items()}
    reasons = _reasons(ordered(found.parts, found.lifts[:, 0], shares, most))
    told: dict[str, float] = {}
    for part, lift in zip(found.parts, found.lifts[:, 0].tolist(), strict=True):
        if part.kind != TYPED:
            told[part.what] = told.get(part.what, 0.0) + lift
    rank = 1 + int(np.count_nonzero(scores > scores[item]))
    return Explanation(engine.items.ids.ids[item], engine._titles()[item], float(scores[item]), rank, reasons, told)


def _reasons(found: list[Evidence]) -> tuple[Reason, ...]:
    return tuple(Reason(one.kind, one.what, one.title, one.share) for one in found)
