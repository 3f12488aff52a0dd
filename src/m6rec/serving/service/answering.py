"""One answer of one model: who asks, what may be shown, the candidates, the list, and the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from m6rec.base.contracts import Scored
from m6rec.base.errors import UsageError
from m6rec.serving.asked import Ask, CacheUse, Degraded, Reason, Slate
from m6rec.serving.engine.candidates import Candidates
from m6rec.serving.engine.filters import allowed_items
from m6rec.serving.rules.filters import RuleBook, Verdict
from m6rec.serving.rules.slate import check, put_together
from m6rec.serving.service import evidence
from m6rec.serving.service.evidence import Explanation
from m6rec.serving.service.loaded import LoadedModel
from m6rec.serving.service.worded import worded, words_for
from m6rec.tasks.prior import TEXT_PART

REASONS = "reasons"  # in `Ask.include`: the evidence
FEWEST = 100  # candidates that a slate is put together from; more for long lists
TIMES = 10  # candidates for each place of a slate
PLAIN = Slate()
UNREAD = "this model has no text prior, so no item is looked up by its words; the list goes by everything else"


@dataclass(frozen=True)
class Answered:
    """What a `Reply` says, without who carried it: see `m6rec.serving.asked.Reply`."""

    answers: tuple[Scored, ...]
    cache: CacheUse = "off"
    degraded: Degraded = ""
    reasons: tuple[tuple[Reason, ...], ...] = ()
    words: tuple[str, ...] = ()
    written: tuple[int, ...] = ()  # places of those that a task wrote
    propensities: tuple[float, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chance:
    """exploration: share of places filled by chance out of the best `pool` candidates outside the list.  generator: where chance comes from."""

    exploration: float
    pool: int
    generator: np.random.Generator | None


def recommend(model: LoadedModel, ask: Ask, book: RuleBook, chance: Chance, shown_today: np.ndarray | None = None) -> Answered:
    """The best of the catalogue for whoever asks.

    Raises:
        UsageError, UnknownUserError, UnknownItemError: as `Engine.recommend`.
    """
    if ask.k < 1:
        raise UsageError(f"k is {ask.k}; ask for 1 or more items")
    check_somebody(ask, "recommend to")
    person = rule_profile(model, book, ask)  # before the engine's view of the person, which forgets who it has no events of
    ask = known_person(model, ask)
    verdict = book.allowed(ask.scenario, person, shown_today)
    if ask.of is not None:
        return Answered(tuple(values_of(model, ask, verdict.mask)), left_out=dict(verdict.left_out))
    plain = ask.slate == PLAIN and not verdict.limits and (chance.exploration <= 0 or chance.generator is None)
    if not plain:
        check(ask.slate, book.facts)
    wide = ask.k if plain else max(TIMES * ask.k, FEWEST, ask.k + chance.pool)
    found = model.batches.answer(replace(ask, items=None), verdict.mask, min(wide, len(model.engine.items)))
    left_out: dict[str, int] = {}
    if plain:
        order, propensities = np.arange(min(ask.k, len(found))), np.ones(min(ask.k, len(found)))
    else:
        order, propensities, left_out = _placed(model, ask, book, verdict, chance, found)
    chosen = found.at(order)
    answers = tuple(scored(model, ask, chosen))
    words, written, told = words_for(model, book, ask, answers, verdict.mask)
    return Answered(
        answers,
        found.cache,
        found.degraded,
        reasons(model, ask, answers),
        words,
        written,
        tuple(propensities.tolist()),
        {**verdict.left_out, **left_out},
        (
            *strange_fields(model, book, ask.profile),
            *model.engine.typed_notes(ask.text, ask.profile, ask.k),
            *_notes(model, ask, answers),
            *told,
        ),
    )


def search(model: LoadedModel, ask: Ask, book: RuleBook) -> Answered:
    """The best of the catalogue for the words of `ask.text` alone. Without a text prior nothing looks words up, which a note says."""
    found = recommend(model, ask, book, Chance(0.0, 0, None))
    return found if TEXT_PART in model.engine.scorer.catalogue.priors else replace(found, notes=(UNREAD, *found.notes))


def rank(model: LoadedModel, ask: Ask, book: RuleBook) -> Answered:
    """`ask.items` in order, best first, without those that the rules keep from this person."""
    check_somebody(ask, "rank for")
    ask = known_person(model, ask)
    rows = [model.check_item(item) for item in ask.items or ()]
    verdict = book.allowed(ask.scenario, rule_profile(model, book, ask))
    left_out: dict[str, int] = {}
    if verdict.mask is not None:
        kept = tuple(item for item, row in zip(ask.items or (), rows, strict=True) if verdict.mask[row])
        left_out = {"not allowed": len(rows) - len(kept)} if len(kept) < len(rows) else {}
        if rows and not kept:
            return Answered((), left_out=left_out, notes=("the rules allow none of these items here",))
        ask = replace(ask, items=kept)
    answers = model.engine.rank(
        user=ask.user,
        history=None if ask.history is None else list(ask.history),
        text=ask.text,
        profile=ask.profile,
        items=list(ask.items or ()),
        task=ask.task,
        context=ask.context,
        scenario=ask.scenario,
        time=ask.time,
        include=[name for name in ask.include if name != REASONS],
    )
    words, written, told = words_for(model, book, ask, answers, verdict.mask)
    return Answered(
        tuple(answers),
        propensities=(1.0,) * len(answers),
        reasons=reasons(model, ask, answers),
        words=words,
        written=written,
        left_out=left_out,
        notes=(*strange_fields(model, book, ask.profile), *told),
    )


def explain(model: LoadedModel, ask: Ask, book: RuleBook) -> tuple[Explanation, bool]:
    """Why the first of `ask.items` stands where it stands for whoever asks, with words in `ask.language`; whether a task wrote them."""
    item = model.check_item((ask.items or ("",))[0])
    check_somebody(ask, "explain to")
    profile = rule_profile(model, book, ask)
    ask = known_person(model, ask)
    plain = evidence.explain(model.engine, ask, item)
    if ask.language is None:
        return plain, False
    told = worded(model, book, ask, plain.item_id, by=ask.reason_by, allowed=book.allowed(ask.scenario, profile).mask)
    return replace(plain, reason=told.reason, cited=told.cited, said=told.said), told.written


def similar(model: LoadedModel, ask: Ask, book: RuleBook) -> Answered:
    """The items most like the first of `ask.items` that may be shown to anybody."""
    if ask.k < 1:
        raise UsageError(f"k is {ask.k}; ask for 1 or more items")
    row = model.check_item((ask.items or ("",))[0])
    verdict = book.allowed(ask.scenario)
    allowed = model.engine._without_gone(verdict.mask)
    if ask.where:
        met = allowed_items(model.engine.items, ask.where)
        allowed = met if allowed is None else allowed & met
    vectors = model.engine.scorer.vectors.numpy()
    norms = np.linalg.norm(vectors, axis=1)
    likeness = vectors @ vectors[row] / np.maximum(norms * norms[row], 1e-12)
    likeness[row] = -np.inf
    if allowed is not None:
        likeness[~allowed] = -np.inf
    best = np.argsort(-likeness, kind="stable")[: ask.k]
    best = best[likeness[best] > -np.inf]
    titles, ids = model.titles, model.engine.items.ids.ids
    answers = tuple(Scored(ids[item], float(likeness[item]), titles[item]) for item in best.tolist())
    return Answered(answers, left_out=dict(verdict.left_out))


def check_somebody(ask: Ask, purpose: str) -> None:
    """Raises UsageError: nothing says who asks."""
    if ask.user is None and ask.history is None and ask.text is None and ask.profile is None:
        raise UsageError(f"nobody to {purpose}; give user, history, text or profile")


def known_person(model: LoadedModel, ask: Ask) -> Ask:
    """The same question as the engine knows the person: by the training's name, and with the fields that the store has of them."""
    if ask.user is None:
        return ask
    user = model.person(ask.user)
    told = model.people.get(user)
    if told is None:
        return ask if user == ask.user else replace(ask, user=user)
    return replace(ask, user=user if model.knows(user) else None, profile=told if ask.profile is None else ask.profile)


def rule_profile(model: LoadedModel, book: RuleBook, ask: Ask) -> dict[str, Any]:
    """The facts of the person that rules go by."""
    return book.profile(None if ask.user is None or not book.reads else model.declared(model.person(ask.user)), ask.profile)


def strange_fields(model: LoadedModel, book: RuleBook, profile: Mapping[str, Any] | str | None) -> tuple[str, ...]:
    """Notes on keys of a described person that are no field of the users and that no rule reads, and on values that no user has."""
    return model.engine.profile_notes(profile, book.reads)


def scored(model: LoadedModel, ask: Ask, chosen: Candidates) -> list[Scored]:
    """Answers with titles, shares of the parts and whatever was asked for with `include`."""
    include = [name for name in ask.include if name != REASONS]
    engine = model.engine
    said = None
    if include:
        requests = engine._request(ask.user, ask.history, ask.text, ask.profile, ask.scenario)
        said = engine._said(requests, chosen.items, include, ask.scenario, ask.context, ask.time)
    return engine._scored(chosen.items, chosen.scores, chosen.parts, said)


def values_of(model: LoadedModel, ask: Ask, allowed: np.ndarray | None) -> list[Scored]:
    """Values of the field `ask.of` instead of items."""
    engine = model.engine
    requests = engine._request(ask.user, ask.history, ask.text, ask.profile, ask.scenario)
    met = engine._asked_for(ask.text, ask.profile, ask.scenario, ask.where)
    if met is not None:
        allowed = met if allowed is None else allowed & met
    exclude = (ask.repeat or engine.scorer.task.config.repeat) == "exclude"
    return engine._values(engine._answering(ask.task), requests, ask.k, str(ask.of), engine._without_gone(allowed), exclude)


def reasons(model: LoadedModel, ask: Ask, answers: Sequence[Scored]) -> tuple[tuple[Reason, ...], ...]:
    """The evidence for each answer, where it was asked for."""
    if REASONS not in ask.include or not answers:
        return ()
    items = np.array([model.engine.items.ids.dense(one.item_id) for one in answers])
    return tuple(evidence.reasons_for(model.engine, ask, items))


def _placed(
    model: LoadedModel, ask: Ask, book: RuleBook, verdict: Verdict, chance: Chance, found: Candidates
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """int64 (K,) positions among the candidates, float64 (K,) propensities, and what did not come in, by why."""
    placed = put_together(
        ask.slate,
        found.items,
        found.scores,
        found.vectors,
        None,
        book.facts,
        ask.k,
        chance.generator,
        limits=verdict.limits,
        exploration=chance.exploration,
        pool=chance.pool,
    )
    return placed.order, placed.propensities, dict(placed.left_out)


def _notes(model: LoadedModel, ask: Ask, answers: Sequence[Scored]) -> tuple[str, ...]:
    notes = []
    # Without a text prior no item is found by words at all, and looking them up would index every word of the catalogue.
    if ask.text and TEXT_PART in model.engine.scorer.catalogue.priors and not model.engine.goes_by(ask.text):
        notes.append("no word of the text stands in any item; the list goes by everything else")
    if not answers:
        why = model.engine.why_empty(ask.text, ask.profile, scenario=ask.scenario, where=ask.where)
        notes.append(why or "no item is left; loosen where, or see repeat")
    return tuple(notes)
