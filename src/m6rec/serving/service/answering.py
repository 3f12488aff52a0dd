"""One answer of one model: who asks, what may be shown, the list, and the evidence for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from m6rec.base.contracts import Scored
from m6rec.base.errors import UsageError
from m6rec.serving.asked import Ask, CacheUse, Degraded, Reason
from m6rec.serving.service import evidence
from m6rec.serving.service.evidence import Explanation
from m6rec.serving.service.loaded import LoadedModel

REASONS = "reasons"  # in `Ask.include`: the evidence


@dataclass(frozen=True)
class Answered:
    """What a `Reply` says, without who carried it: see `m6rec.serving.asked.Reply`."""

    answers: tuple[Scored, ...]
    cache: CacheUse = "off"
    degraded: Degraded = ""
    reasons: tuple[tuple[Reason, ...], ...] = ()
    propensities: tuple[float, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def recommend(model: LoadedModel, ask: Ask) -> Answered:
    """The best of the catalogue for whoever asks.

    Raises:
        UsageError, UnknownUserError, UnknownItemError: as `Engine.recommend`.
    """
    ask = known_person(model, ask)
    found = model.engine.recommend(
        **_who(ask),
        k=ask.k + len(model.gone),
        scenario=ask.scenario,
        where=ask.where,
        repeat=None if ask.repeat == "model" else ask.repeat,
        of=ask.of,
        task=ask.task,
        include=[name for name in ask.include if name != REASONS],
        context=ask.context,
        time=ask.time,
    )
    answers = tuple([one for one in found if one.item_id not in model.gone][: ask.k])
    return Answered(answers, propensities=(1.0,) * len(answers), reasons=_reasons(model, ask, answers))


def rank(model: LoadedModel, ask: Ask) -> Answered:
    """`ask.items` in order, best first."""
    ask = known_person(model, ask)
    answers = model.engine.rank(
        items=list(ask.items or ()),
        task=ask.task,
        context=ask.context,
        scenario=ask.scenario,
        time=ask.time,
        include=[name for name in ask.include if name != REASONS],
        **_who(ask),
    )
    return Answered(tuple(answers), propensities=(1.0,) * len(answers), reasons=_reasons(model, ask, answers))


def explain(model: LoadedModel, ask: Ask) -> Explanation:
    """Why the first of `ask.items` stands where it stands for whoever asks."""
    item = model.check_item((ask.items or ("",))[0])
    if ask.user is None and ask.history is None and ask.text is None and ask.profile is None:
        raise UsageError("nobody to explain to; give user, history, text or profile")
    return evidence.explain(model.engine, known_person(model, ask), item)


def similar(model: LoadedModel, ask: Ask) -> Answered:
    """The items most like the first of `ask.items`."""
    item = (ask.items or ("",))[0]
    model.check_item(item)
    found = [one for one in model.engine.similar_items(item, ask.k + len(model.gone)) if one.item_id not in model.gone]
    return Answered(tuple(found[: ask.k]))


def known_person(model: LoadedModel, ask: Ask) -> Ask:
    """The same question with what the store knows of the person beyond the training: the fields of a user who came later or has changed."""
    told = model.people.get(ask.user) if ask.user is not None else None
    if told is None:
        return ask
    asked = replace(ask, profile=told if ask.profile is None else ask.profile)
    return asked if model.knows(str(ask.user)) else replace(asked, user=None)


def _reasons(model: LoadedModel, ask: Ask, answers: Sequence[Scored]) -> tuple[tuple[Reason, ...], ...]:
    """The evidence for each answer, where it was asked for."""
    if REASONS not in ask.include or ask.of is not None or not answers:
        return ()
    items = np.array([model.engine.items.ids.dense(one.item_id) for one in answers])
    return tuple(evidence.reasons_for(model.engine, ask, items))


def _who(ask: Ask) -> dict[str, Any]:
    return {"user": ask.user, "history": None if ask.history is None else list(ask.history), "text": ask.text, "profile": ask.profile}
