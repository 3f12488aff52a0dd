"""Why an item is recommended, in a few true words: what was liked and moved the score, words that stand in the item, values that were asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Told:
    """What is true of the person, and may stand as a reason.

    wanted  (field, value) that they asked for      words  what they wished for, word by word
    liked   items they said they like               had    other items that are theirs: they had them, and did not refuse them
    known   of these the ones they said they have, or know: nobody praised them
    """

    wanted: Sequence[tuple[str, str]]
    words: Collection[str]
    liked: Collection[int]
    had: Collection[int]
    known: Collection[int] = ()


def reasons(engine: Engine, facts: ItemFacts, ask: Ask, items: np.ndarray, told: Told, phrases: Phrases) -> list[str]:
    """A few words for each of `items` int64 (C,), "" where there is nothing to say. What moved a score and is not true of the person is not said."""
    evidence = _evidence(engine, ask, items) if len(items) else []
    return [
        phrases.values["sayings"]["reason_join"].join(_said(engine, facts, item, lifting, told, phrases)[:MOST])
        for item, lifting in zip(items.tolist(), evidence, strict=True)
    ]


def _evidence(engine: Engine, ask: Ask, items: np.ndarray) -> list[list[Evidence]]:
    """What lifts each of the items, by the task that recommended it."""
    question = question_of(engine, ask.user, ask.history, ask.text, ask.profile, ask.scenario)
    answer = engine._answering(ask.task).answer
    found = lifts_of(chosen(answer), question, parts_of(question, engine.items.ids.ids, engine._titles()), items)
    shares = [{name: float(share[place]) for name, share in found.given.items()} for place in range(len(items))]
    return [ordered(found.parts, found.lifts[:, place], shares[place], EVERY) for place in range(len(items))]


def _said(engine: Engine, facts: ItemFacts, item: int, lifting: list[Evidence], told: Told, phrases: Phrases) -> list[str]:
    found: list[str] = []
    for field, value in told.wanted:
        if facts.has(item, field, value):
            found.append(phrases.say("because_field", name=field.replace("_", " "), value=value))
    worded = said(engine.scorer.reader.wording.items(engine.items.rows([item]))[0]).joined
    for reason in lifting:
        if reason.share < LEAST_SHARE:
            continue
        if reason.kind == "event":
            row = engine.items.ids.dense(reason.what)
            if row != item and (row in told.liked or row in told.had):
                saying = "because_event" if row in told.liked else "because_had" if row in told.known else "because_history"
                found.append(phrases.say(saying, title=phrases.say("title", title=facts.title(row))))
        elif reason.kind == "typed" and said(reason.what).joined in worded and _wished(reason.what, told, phrases):
            word = reason.what.strip(".,;!?")
            if not any(word.casefold() in one.casefold() for one in found):
                found.append(phrases.say("because_word", word=word))
    known = bool(told.liked or told.had)  # else there is no taste that others could have as well
    if known and not found and sum(reason.share for reason in lifting if reason.kind == "prior" and reason.what in GRAPH) >= 0.3:
        found.append(phrases.say("because_alike"))
    return list(dict.fromkeys(found))


def _wished(word: str, told: Told, phrases: Phrases) -> bool:
    """Whether a word is one of the wish, and says something."""
    parts = said(word).words
    return all(one in told.words for one in parts) and any(one not in phrases.plain for one in parts)
