"""The reason of an explanation: worded from the evidence by templates, or written by a trained task and then held against the facts.

Whoever words it, what it cites is what it names: the events whose removal is measured are read out of the sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from m6rec.data.dataset import FieldType
from m6rec.explanation.claims import Facts, check, facts_of, named_rows
from m6rec.explanation.evidence import LEAST_LIFT, VALUE, Evidence
from m6rec.explanation.item_values import ItemValue
from m6rec.explanation.lexicon import Lexicon
from m6rec.explanation.question import EVENT, PROFILE, WORD
from m6rec.explanation.reason_words import Cited, Told, reason, shared_values, shortened
from m6rec.explanation.subject import Subject
from m6rec.tasks.prior import GRAPH_PARTS, TEXT_PART
from m6rec.text.words import normalise, units

LEAST_SAID = 0.1  # share of the lifts of its kind from which a word, a field or a value is said
MOST_SAID = 3
LEAST_PRIOR = 0.01  # of the probability, from which a part of the mixture is told
SAID_KINDS = (FieldType.CATEGORY, FieldType.TAGS, FieldType.ID)

Writer = Callable[[Sequence[str]], str]
"""A sentence on why the item suits the reader, that should name these words; "" for none."""


@dataclass(frozen=True)
class Worded:
    """A reason as it may be shown. cited: items of the history (rows) that it names.  dropped: what it said that is not true.

    written: whether a task wrote it.
    """

    text: str
    cited: tuple[int, ...]
    dropped: tuple[str, ...] = ()
    written: bool = False


def told_of(
    subject: Subject,
    evidence: Sequence[Evidence],
    cited: Sequence[int],
    values: Sequence[tuple[ItemValue, float]],
    priors: dict[str, float],
) -> Told:
    """What a reason is worded from: only what moved the score."""
    worth = {(value.field, value.value): lift for value, lift in values if value.kind in SAID_KINDS and value.value and lift > LEAST_LIFT}
    return Told(
        events=tuple(_cited(subject, one, worth, priors) for one in cited),
        typed=tuple(one.what for one in _said(evidence, WORD)),
        person=tuple(_person(one.what, subject) for one in _said(evidence, PROFILE)),
        values=tuple(sorted(worth, key=lambda pair: -worth[pair])[:MOST_SAID]),
    )


def by_template(subject: Subject, lexicon: Lexicon, told: Told, language: str) -> Worded:
    """Nothing is taken out of it, unless a template says more than it was told."""
    checked = check(reason(told, language), facts_for(subject, lexicon))
    rows = tuple(subject.items.ids.dense(one.item_id) for one in told.events)
    return Worded(checked.text, rows, tuple(claim.text for claim in checked.dropped))


def by_writer(subject: Subject, lexicon: Lexicon, told: Told, language: str, writer: Writer) -> Worded:
    """The written sentence without what is not true; that of the templates where nothing is left of it, or where it leaves out what moved the score: it
    names none of the events that did, or where none did, no value and no typed word."""
    facts = replace(facts_for(subject, lexicon), telling=lexicon.telling)
    checked = check(writer([*(value for _, value in told.values), *told.typed]), facts)
    dropped = tuple(claim.text for claim in checked.dropped)
    past = dict.fromkeys(subject.question.whole.histories.items.tolist())
    cited = tuple(named_rows(checked, facts, [row for row in past if row != subject.item])) if checked.text else ()
    moved = {subject.items.ids.dense(one.item_id) for one in told.events}
    words = [*(value for _, value in told.values), *told.typed]
    says = not moved.isdisjoint(cited) if moved else not words or any(normalise(word) in normalise(checked.text) for word in words)
    if not checked.text or not says:
        plain = by_template(subject, lexicon, told, language)
        return Worded(plain.text, plain.cited, (*dropped, *plain.dropped))
    return Worded(checked.text, cited, dropped, True)


def facts_for(subject: Subject, lexicon: Lexicon) -> Facts:
    """What a reason may say: of the item, of the history, of what was typed, and of the reader as described or as the users table has them."""
    question = subject.question
    known = -1 if question.whole.users is None else int(question.whole.users[0])
    profile = question.profile
    if profile is None and 0 <= known < len(subject.users):
        told = subject.users.frame.row(known, named=True)
        profile = {name: value for name, value in told.items() if name in subject.users.fields and value is not None}
    return facts_of(lexicon, subject.item, question.whole.histories.items.tolist(), text=question.text, profile=profile)


def _said(evidence: Sequence[Evidence], kind: str) -> list[Evidence]:
    mine = [one for one in evidence if one.kind == kind and one.lift > LEAST_LIFT]
    total = sum(one.lift for one in mine)
    return [one for one in mine if one.lift >= LEAST_SAID * total][:MOST_SAID]


def named_in(worded: Worded, told: Told, evidence: Sequence[Evidence], cited: Sequence[str]) -> tuple[str, ...]:
    """`what` of the evidence that a reason names: the events cited (ids), and of the words and values that it was worded from those that stand in it; of
    a written one, of all."""
    said = f" {' '.join(units(worded.text))} "
    known = {f"{field}={value}" if field else value for field, value in (*told.person, *told.values)}
    known |= {*told.typed, *(f"{field}={value}" for one in told.events for field, value in one.shared)}

    def stands(one: Evidence) -> bool:
        words = units(shortened(one.what.partition("=")[2] or one.what))
        return (worded.written or one.what in known) and bool(words) and f" {' '.join(words)} " in said

    kinds = (WORD, PROFILE, VALUE)
    return tuple(one.what for one in evidence if (one.what in cited if one.kind == EVENT else one.kind in kinds and stands(one)))


def _person(what: str, subject: Subject) -> tuple[str, str]:
    """(field, value) of evidence about the reader; ("", words) where words describe them."""
    if isinstance(subject.question.profile, str):
        return "", what
    field, _, value = what.partition("=")
    return field, value


def _cited(subject: Subject, other: int, worth: dict[tuple[str, str], float], priors: dict[str, float]) -> Cited:
    past, item = subject.question.whole.histories, subject.item
    action = ""
    if past.actions is not None and len(subject.actions):
        code = int(past.actions[np.flatnonzero(past.items == other)[-1]])
        action = subject.actions[code] if 0 <= code < len(subject.actions) else ""
    tables = subject.chooser.catalogue.priors
    seen = subject.chooser.task.items.log_seen
    counted = item < len(seen) and bool(seen[item] > 0)  # what nobody had yet has borrowed counts: nobody had it after anything
    leads = sum(float(tables[name][other, item]) * (priors.get(name, 0.0) >= LEAST_PRIOR) for name in GRAPH_PARTS if name in tables)
    near = float(tables[TEXT_PART][other, item]) if priors.get(TEXT_PART, 0.0) >= LEAST_PRIOR and TEXT_PART in tables else 0.0
    shared = tuple(pair for pair in shared_values(subject.items, item, other, worth) if pair in worth)
    return Cited(subject.items.ids.ids[other], subject.items.titles()[other], action, shared, counted and leads > 0, near > 0)
