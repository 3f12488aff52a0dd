"""Why an item is recommended, in a few true words: what was liked and moved the score, words that stand in the item, values that were asked for."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from m6rec.explanation.evidence import Evidence, chosen, lifts_of, ordered
from m6rec.explanation.question import parts_of
from m6rec.serving.asked import Ask
from m6rec.serving.conversation.questions import ItemFacts
from m6rec.serving.engine.engine import Engine
from m6rec.serving.engine.explaining import question_of
from m6rec.text.phrases import Phrases, said

MOST = 2
EVERY = 4  # pieces of evidence of a kind that are looked at
LEAST_SHARE = 0.1  # of what lifts a score, for a reason to be said
GRAPH = ("next", "forward", "backward")


def reasons(
    engine: Engine, facts: ItemFacts, ask: Ask, items: np.ndarray, wanted: list[tuple[str, str]], liked: Collection[int], phrases: Phrases
) -> list[str]:
    """A few words for each of `items` int64 (C,), "" where there is nothing to say.

    wanted: (field, value) that the person asked for.  liked: items they said they like.
    """
    evidence = _evidence(engine, ask, items) if len(items) else []
    return [
        phrases.values["sayings"]["reason_join"].join(_said(engine, facts, item, told, wanted, liked, phrases)[:MOST])
        for item, told in zip(items.tolist(), evidence, strict=True)
    ]


def _evidence(engine: Engine, ask: Ask, items: np.ndarray) -> list[list[Evidence]]:
    """What lifts each of the items, by the task that recommended it."""
    question = question_of(engine, ask.user, ask.history, ask.text, ask.profile, ask.scenario)
    answer = engine._answering(ask.task).answer
    found = lifts_of(chosen(answer), question, parts_of(question, engine.items.ids.ids, engine._titles()), items)
    shares = [{name: float(share[place]) for name, share in found.given.items()} for place in range(len(items))]
    return [ordered(found.parts, found.lifts[:, place], shares[place], EVERY) for place in range(len(items))]


def _said(
    engine: Engine,
    facts: ItemFacts,
    item: int,
    told: list[Evidence],
    wanted: list[tuple[str, str]],
    liked: Collection[int],
    phrases: Phrases,
) -> list[str]:
    found: list[str] = []
    for field, value in wanted:
        if facts.has(item, field, value):
            found.append(phrases.say("because_field", name=field.replace("_", " "), value=value))
    worded = said(engine.scorer.reader.wording.items(engine.items.rows([item]))[0]).joined
    for reason in told:
        if reason.share < LEAST_SHARE:
            continue
        if reason.kind == "event":
            row = engine.items.ids.dense(reason.what)
            saying = "because_event" if row in liked else "because_history"
            found.append(phrases.say(saying, title=phrases.say("title", title=facts.title(row))))
        elif reason.kind == "typed" and said(reason.what).joined in worded and not _plain(reason.what, phrases):
            word = reason.what.strip(".,;!?")
            if not any(word.casefold() in one.casefold() for one in found):
                found.append(phrases.say("because_word", word=word))
    if not found and sum(reason.share for reason in told if reason.kind == "prior" and reason.what in GRAPH) >= 0.3:
        found.append(phrases.say("because_alike"))
    return list(dict.fromkeys(found))


def _plain(word: str, phrases: Phrases) -> bool:
    return all(one in phrases.plain for one in said(word).words)
