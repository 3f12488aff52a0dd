"""Why an item was answered: what its score loses when one thing that was known is taken away, exactly, all in one batch.

For every event, typed word and field of a described person e, with s the score (log probability) of the item,

    lift(e) = s(all) - s(all but e)

which is exact and not an approximation by gradients (leave-one-out influence; Cook 1977). The shares of a list of reasons are those of the lifts
above zero. Beside them stands what the parts of the mixture (graph, text) give to the probability, as "prior".

Dimension keys: B ways of asking, C items asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from m6rec.base.contracts import Histories, Requests
from m6rec.serving.asked import Ask, Reason
from m6rec.serving.engine.engine import Engine
from m6rec.tasks.choose_mixture import SOFTMAX_PART

MOST_EVENTS = 30  # newest events that are taken away one by one
MOST_WORDS = 12
WHOLE = "text"  # all that was typed
LEAST_LIFT = 1e-4
PRIORS = {
    "next": "what people had next",
    "forward": "what people had soon after",
    "backward": "what people had before",
    "text": "alike in words",
}


@dataclass(frozen=True)
class Explanation:
    """Why one item stands where it stands for somebody: score (log probability), rank among all items from 1, reasons, largest first.

    lifts: item id of an event (or the word, or field=value) -> what the score loses without it; below 0 where it speaks against the item.
    """

    item_id: str
    title: str
    score: float
    rank: int
    reasons: tuple[Reason, ...]
    lifts: dict[str, float]
    model_version: str = ""
    request_id: str = ""
    took_ms: float = 0.0


@dataclass(frozen=True)
class _Part:
    """One thing that can be taken away: what it is, and the request without it."""

    kind: str
    what: str
    title: str
    without: Requests


def reasons_for(engine: Engine, ask: Ask, items: np.ndarray, most: int = 4) -> list[tuple[Reason, ...]]:
    """The reasons for each of `items` int64 (C,), largest share first, at most `most` of each kind."""
    parts, lifts, shares = _lifts(engine, ask, items)
    return [_reasons(parts, lifts[:, place], {name: share[place] for name, share in shares.items()}, most) for place in range(len(items))]


def explain(engine: Engine, ask: Ask, item: int, most: int = 10) -> Explanation:
    """Why `item` stands where it stands for whoever asks."""
    parts, lifts, shares = _lifts(engine, ask, np.array([item]))
    whole = _request(engine, ask)
    scores = engine.scorer.scores(whole)[0]
    reasons = _reasons(parts, lifts[:, 0], {name: share[0] for name, share in shares.items()}, most)
    told: dict[str, float] = {}
    for part, lift in zip(parts, lifts[:, 0].tolist(), strict=True):
        if part.kind == WHOLE:
            continue
        told[part.what] = told.get(part.what, 0.0) + lift
    rank = 1 + int(np.count_nonzero(scores > scores[item]))
    return Explanation(engine.items.ids.ids[item], engine._titles()[item], float(scores[item]), rank, reasons, told)


def _lifts(engine: Engine, ask: Ask, items: np.ndarray) -> tuple[list[_Part], np.ndarray, dict[str, np.ndarray]]:
    """What can be taken away, float64 (B, C) what is lost then, and what each part of the mixture gives: name -> share (C,)."""
    whole = _request(engine, ask)
    parts = [*_events(engine, whole), *_words(engine, ask), *_fields(engine, ask)]
    scores, given = _scores(engine, [whole, *(part.without for part in parts)], items)
    total = np.maximum(sum(share[0] for share in given.values()), 1e-30)
    return parts, scores[:1] - scores[1:], {name: share[0] / total for name, share in given.items() if name != SOFTMAX_PART}


def _events(engine: Engine, whole: Requests) -> list[_Part]:
    """The newest events, each item once: an item met twice is taken away as a whole."""
    past = whole.histories
    newest = list(dict.fromkeys(past.items[::-1].tolist()))[:MOST_EVENTS]
    parts = []
    for item in newest:
        kept = np.flatnonzero(past.items != item)
        without = replace(whole, histories=past.pick(kept, np.array([0, len(kept)])))
        parts.append(_Part("event", engine.items.ids.ids[item], engine._titles()[item], without))
    return parts


def _words(engine: Engine, ask: Ask) -> list[_Part]:
    """Every word; and all that was typed at once, which tells where one word would do for the other."""
    words = list(dict.fromkeys((ask.text or "").split()))[:MOST_WORDS]
    parts = []
    if len(words) > 1:
        typed = str(ask.text)
        parts.append(_Part(WHOLE, typed, typed, _request(engine, replace(ask, text=None))))
    for word in words:
        left = " ".join(one for one in (ask.text or "").split() if one != word)
        parts.append(_Part("typed", word, word, _request(engine, replace(ask, text=left or None))))
    return parts


def _fields(engine: Engine, ask: Ask) -> list[_Part]:
    if not isinstance(ask.profile, Mapping):
        return []
    parts = []
    for name, value in ask.profile.items():
        left: dict[str, Any] = {other: one for other, one in ask.profile.items() if other != name}
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple | set) else f"{value}"
        parts.append(_Part("field", f"{name}={shown}", f"{name}: {shown}", _request(engine, replace(ask, profile=left or None))))
    return parts


def _scores(engine: Engine, ways: Sequence[Requests], items: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """float64 (B, C) scores of `items`, and what each part of the mixture gives: name -> (B, C)."""
    scores, given = engine.scorer.answer(_together(ways))
    return scores[:, items].astype(np.float64), {name: part[:, items] for name, part in given.items()}


def _together(ways: Sequence[Requests]) -> Requests:
    """Single requests as one batch."""
    pasts = [way.histories for way in ways]
    columns: dict[str, Any] = {
        name: None if getattr(pasts[0], name) is None else np.concatenate([getattr(past, name) for past in pasts])
        for name in Histories.EVENT_COLUMNS
    }
    offsets = np.concatenate([[0], np.cumsum([len(past.items) for past in pasts])]).astype(np.int64)
    typed, described = ([(getattr(way, name) or [""])[0] for way in ways] for name in ("texts", "profiles"))
    return Requests(
        histories=Histories(offsets=offsets, **columns),
        users=np.concatenate([np.array([-1]) if way.users is None else way.users for way in ways]),
        texts=typed if any(typed) else None,
        profiles=described if any(described) else None,
        scenarios=np.concatenate([np.array([-1]) if way.scenarios is None else way.scenarios for way in ways]),
    )


def _request(engine: Engine, ask: Ask) -> Requests:
    """The ask as the model reads it."""
    return engine._request(ask.user, ask.history, ask.text, ask.profile, ask.scenario)


def _reasons(parts: Sequence[_Part], lifts: np.ndarray, shares: Mapping[str, float], most: int) -> tuple[Reason, ...]:
    raised = np.maximum(lifts, 0.0)
    # All that was typed counts where no single word does: otherwise its words are counted already.
    kinds = np.array([part.kind for part in parts])
    raised[kinds == (WHOLE if (raised[kinds == "typed"] > LEAST_LIFT).any() else "")] = 0.0
    total = float(raised.sum())
    found = [
        Reason("typed" if part.kind == WHOLE else part.kind, part.what, part.title, float(lift / total))
        for part, lift in zip(parts, raised, strict=True)
        if total > 0 and lift > LEAST_LIFT
    ]
    kept = [
        one for kind in ("event", "typed", "field") for one in sorted((r for r in found if r.kind == kind), key=lambda r: -r.share)[:most]
    ]
    kept += [Reason("prior", name, PRIORS.get(name, name), float(share)) for name, share in shares.items() if share >= 0.01]
    return tuple(sorted(kept, key=lambda one: -one.share))
