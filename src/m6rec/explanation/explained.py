"""Why an item stands where it stands for somebody: the evidence, a reason in words that names what moved the score, and what would have been.

Dimension keys: B requests, C items, N items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from m6rec.explanation.counterfactual import Counterfactual, dropping_events, greedy_events
from m6rec.explanation.evidence import (
    CONTEXT,
    LEAST_LIFT,
    PRIOR,
    STATISTIC,
    VALUE,
    Evidence,
    Lifts,
    lifts_of,
    person_lifts,
    priors_of,
    value_lifts,
)
from m6rec.explanation.gradients import attributions
from m6rec.explanation.item_values import ItemValue
from m6rec.explanation.judged_evidence import judged_value_lifts, statistic_lifts
from m6rec.explanation.judged_gradients import judged_attributions
from m6rec.explanation.lexicon import Lexicon
from m6rec.explanation.question import EVENT, PROFILE, TYPED, WORD, parts_of
from m6rec.explanation.reason_words import counterfactual_words, dropping_words, ruled_out_words
from m6rec.explanation.reasons import LEAST_PRIOR, Worded, Writer, by_template, by_writer, named_in, told_of
from m6rec.explanation.subject import Subject

MOST_CITED = 3  # events that a sentence names
LEAST_CITED = 0.5  # of what the first event named lowers the score: a further one that adds less is not named


@dataclass(frozen=True)
class Explanation:
    """Why one item stands where it stands for somebody.

    score      what `rank` answers: log probability and what is added to it, or the answer of `task`
    rank       its place in the list that is recommended, from 1; 0: in none
    evidence   what moved the score, the largest lift first
    parts      what each part of the mixture gives to the probability, shares
    reason     in words, "" where words were not asked for      cited  ids of the events that it names
    cited_drop what the score loses without all of them together
    without    what would have been without the events cited; None where none is
    dropping   the smallest set of events without which it leaves the list of `k`; None where it is not in it, or no small set takes it out
    ruled_out  limits in what was typed that the item does not meet ("price < 5"): they keep it out of the list whatever its score
    named      `what` of the evidence that the reason names: events, words, values
    said       `ruled_out`, `without` and `dropping` in words      dropped  claims taken out of the reason, as they were not true
    written    whether a write task worded the reason, and no template
    attributions  integrated gradients of the items of the history where they were asked for, id -> part of the score
    field_attributions  the same of everything else that fades in: "item: brand", "profile"; of a task on candidates "statistics: user", "context" too
    baseline   what the score begins from there, of average events and an average item: all attributions add up to score - baseline
    """

    item_id: str
    title: str
    task: str
    k: int
    score: float
    rank: int
    evidence: tuple[Evidence, ...]
    parts: dict[str, float]
    reason: str = ""
    cited: tuple[str, ...] = ()
    cited_drop: float = 0.0
    without: Counterfactual | None = None
    dropping: Counterfactual | None = None
    ruled_out: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    written: bool = False
    attributions: dict[str, float] = field(default_factory=dict)
    field_attributions: dict[str, float] = field(default_factory=dict)
    baseline: float | None = None

    @property
    def lifts(self) -> dict[str, float]:
        """What the score loses without each thing: id of an event, word, field=value -> lift."""
        return {one.what: one.lift for one in self.evidence if one.kind != PRIOR}

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def explain(
    subject: Subject,
    lexicon: Lexicon | None,
    language: str = "en",
    *,
    writer: Writer | None = None,
    counterfactuals: bool = True,
    gradients: bool = False,
) -> Explanation:
    """The whole explanation. lexicon: of the catalogue, for the reason in words; None: none is wanted.  writer: None: templates word it."""
    question, items, item = subject.question, subject.items, subject.item
    ids, titles = items.ids.ids, items.titles()
    parts = [part for part in parts_of(question, ids, titles) if subject.judged is None or part.kind in (EVENT, PROFILE)]
    found = lifts_of(subject.scores, question, parts, np.array([item]))
    values = value_lifts(subject.chooser, question, item) if subject.judged is None else []
    person = person_lifts(subject.chooser, question, item, subject.users) if subject.judged is None else []
    evidence = [*_of_parts(found), *_of_values(VALUE, values), *_of_values(PROFILE, person)]
    if subject.judged is not None:
        evidence += _of_values(VALUE, values := judged_value_lifts(subject.scorer, subject.judged, question, item))
        told = statistic_lifts(subject.scorer, subject.judged, question, item)
        evidence += [Evidence(STATISTIC, name, name, lift, 0.0) for name, lift in told.items()]
        evidence += [Evidence(CONTEXT, what, title, lift, 0.0) for what, title, lift in subject.context]
    evidence = _shared(evidence)
    priors = {name: float(share[0]) for name, share in found.given.items()}
    evidence += priors_of(priors, LEAST_PRIOR, language)
    cited, drops = greedy_events(subject.score, question, MOST_CITED, LEAST_CITED)
    worded = Worded("", tuple(cited))
    named: tuple[str, ...] = ()
    if lexicon is not None:
        facts = told_of(subject, evidence, cited, values, priors)
        worded = by_template(subject, lexicon, facts, language) if writer is None else by_writer(subject, lexicon, facts, language, writer)
        if worded.cited != tuple(cited):
            cited = list(worded.cited)
            drops = [float((subject.score(question.whole) - subject.score(question.without_items(cited)))[0])] if cited else []
        named = named_in(worded, facts, evidence, [ids[one] for one in cited])
    without = dropping = None
    if counterfactuals:
        without = _without(subject, cited) if cited else None
        fallen = dropping_events(subject.margin, subject.places, question, subject.k)
        dropping = _without(subject, fallen) if fallen else None
    said = [ruled_out_words(subject.ruled_out, language)] if lexicon is not None and subject.ruled_out else []
    if lexicon is not None and without is not None:
        said.append(counterfactual_words(without.titles, without.rank, language))
    if lexicon is not None and dropping is not None and (without is None or set(dropping.without) != set(without.without)):
        said.append(dropping_words(dropping.titles, language))
    return Explanation(
        item_id=ids[item],
        title=titles[item],
        task="" if subject.judged is None else subject.judged.task,
        k=subject.k,
        score=float(found.scores[0]),
        rank=subject.places([question.whole])[0],
        evidence=tuple(evidence),
        parts=priors,
        reason=worded.text,
        cited=tuple(ids[one] for one in cited),
        cited_drop=drops[-1] if drops else 0.0,
        without=without,
        dropping=dropping,
        ruled_out=tuple(map(str, subject.ruled_out)),
        said=tuple(said),
        named=named,
        dropped=worded.dropped,
        written=worded.written,
        **(_gradients(subject) if gradients else {}),
    )


def _gradients(subject: Subject) -> dict[str, Any]:
    """Integrated gradients of the items of the history and of everything else that fades in, the largest first; and what they begin from."""
    whole = subject.question.whole
    if subject.judged is None:
        found = attributions(subject.chooser, whole, subject.item)
    else:
        found = judged_attributions(subject.scorer, subject.judged, whole, subject.item, subject.nothing_said)
    fields = dict(sorted(found.fields.items(), key=lambda pair: -pair[1]))
    return {"attributions": _by_item(subject, found.events), "field_attributions": fields, "baseline": found.start}


def _by_item(subject: Subject, found: np.ndarray) -> dict[str, float]:
    """Attributions of events float64 (E,), the newest last, as those of items."""
    past, summed = subject.question.whole.histories, dict[str, float]()
    for item, value in zip(past.items[len(past.items) - len(found) :].tolist(), found.tolist(), strict=True):
        name = subject.items.ids.ids[item]
        summed[name] = summed.get(name, 0.0) + value
    return dict(sorted(summed.items(), key=lambda pair: -pair[1]))


def _of_parts(found: Lifts) -> list[Evidence]:
    """All that was typed counts where no single word does: otherwise its words are counted already."""
    pairs = list(zip(found.parts, found.lifts[:, 0].tolist(), strict=True))
    by_words = any(part.kind == WORD and abs(lift) > LEAST_LIFT for part, lift in pairs)
    return [
        Evidence(WORD if part.kind == TYPED else part.kind, part.what, part.title, lift, 0.0)
        for part, lift in pairs
        if part.kind != TYPED or not by_words
    ]


def _of_values(kind: str, lifts: Sequence[tuple[ItemValue, float]]) -> list[Evidence]:
    return [Evidence(kind, value.what, f"{value.field}: {value.value}" if value.value else value.field, lift, 0.0) for value, lift in lifts]


def _shared(evidence: Sequence[Evidence]) -> list[Evidence]:
    """With shares: of the lifts above zero of what was known (events, words, the person), and apart from that of each other kind."""
    groups = {EVENT: "known", WORD: "known", PROFILE: "known", CONTEXT: "known"}
    totals: dict[str, float] = {}
    for one in evidence:
        totals[groups.get(one.kind, one.kind)] = totals.get(groups.get(one.kind, one.kind), 0.0) + max(one.lift, 0.0)
    shares = [max(one.lift, 0.0) / (totals[groups.get(one.kind, one.kind)] or 1.0) for one in evidence]
    return sorted((replace(one, share=share) for one, share in zip(evidence, shares, strict=True)), key=lambda one: -one.lift)


def _without(subject: Subject, removed: Sequence[int]) -> Counterfactual:
    ids, titles = subject.items.ids.ids, subject.items.titles()
    less = subject.question.without_items(removed)
    return Counterfactual(
        tuple(ids[one] for one in removed),
        tuple(titles[one] for one in removed),
        float(subject.score(less)[0]),
        subject.places([less])[0],
    )
