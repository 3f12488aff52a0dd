"""Evidence for a score: what it loses when one thing that was known is taken away, exactly, all in one batch.

For every event, typed word, field of a described person and value of the item's record e, with s the score of the item,

    lift(e) = s(all) - s(all but e)

which is exact and not an approximation by gradients (leave-one-out influence; Cook 1977). The shares of a list of evidence are those of the lifts
above zero. Beside them stands what the parts of the mixture (graph, text) give to the probability, as "prior".

Dimension keys: B ways of asking, C items asked about, N items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from m6rec.base.contracts import Requests
from m6rec.data.dataset import Table
from m6rec.explanation.item_values import ChangedMixture, ItemValue, record_without, scorer_without, values_of
from m6rec.explanation.phrases import language_of
from m6rec.explanation.question import EVENT, PROFILE, TYPED, WORD, Part, Question, together
from m6rec.tasks.catalogue import vector_fields
from m6rec.tasks.choose_mixture import SOFTMAX_PART, ChooseMixture, Profiles
from m6rec.tasks.item_encoder import Contents

LEAST_LIFT = 1e-4
VALUE, PRIOR, STATISTIC, CONTEXT = "item", "prior", "statistic", "context"  # further kinds of evidence

Scores = Callable[[Requests, np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]
"""Scores float64 (B, C) of items int64 (C,) for each of B requests, and what parts of a mixture give to the probability, name -> (B, C)."""


@dataclass(frozen=True)
class Evidence:
    """One thing that moved a score.

    kind   "event" (what: the item's id), "typed" (a word), "field" (name=value of a described person), "item" (field=value of the item),
           "statistic" (of a task on candidates), "context" (name=value of the request), "prior" (a part of the mixture)
    title  the same for people
    lift   what the score loses without it; below 0 where it speaks against the item. Of a prior: its part of the probability.
    share  of what lifts the score, 0 to 1; of a prior as of its lift
    """

    kind: str
    what: str
    title: str
    lift: float
    share: float


@dataclass(frozen=True)
class Lifts:
    """lifts float64 (B, C) of `parts`; scores (C,) of all that is known; given: what each part of the mixture gives, name -> share (C,)."""

    parts: list[Part]
    lifts: np.ndarray
    scores: np.ndarray
    given: dict[str, np.ndarray]


def chosen(answer: Callable[[Requests], tuple[np.ndarray, dict[str, np.ndarray]]]) -> Scores:
    """`Scores` of what answers over the whole catalogue."""

    def scores(requests: Requests, items: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        found, given = answer(requests)
        return found[:, items].astype(np.float64), {name: part[:, items] for name, part in given.items()}

    return scores


def lifts_of(scores: Scores, question: Question, parts: Sequence[Part], items: np.ndarray) -> Lifts:
    """What the scores of `items` int64 (C,) lose without each of the parts."""
    found, given = scores(together([question.whole, *(part.without for part in parts)]), items)
    shares = {name: part[0] for name, part in given.items()}
    total = np.maximum(sum(shares.values()), 1e-30)
    told = {name: share / total for name, share in shares.items() if name != SOFTMAX_PART}
    return Lifts(list(parts), found[:1] - found[1:], found[0], told)


def value_lifts(scorer: ChooseMixture, question: Question, item: int) -> list[tuple[ItemValue, float]]:
    """What the score of `item` loses without each thing that its record says. Of the model without its blend."""

    def score(value: ItemValue | None) -> float:
        return float(scorer_without(scorer, item, value, question.whole).answer(question.whole)[0][0, item])

    whole = score(None)
    return [(value, whole - score(value)) for value in values_of(scorer.catalogue.items, item)]


def person_lifts(scorer: ChooseMixture, question: Question, item: int, users: Table) -> list[tuple[ItemValue, float]]:
    """What the score loses without each field of a known user's row in the users table; nothing for others, or where a profile was given.

    Of the model without its blend.
    """
    known = question.whole.users
    row = -1 if known is None else int(known[0])
    if row < 0 or scorer.profiles is None or question.profile is not None or row >= len(scorer.profiles.contents):
        return []
    bag = scorer.profiles.bag
    asked = replace(question.whole, users=np.zeros(1, dtype=np.int64))

    def score(value: ItemValue | None) -> float:
        record = record_without(users, row, value)
        contents = Contents.build(scorer.reader.read(scorer.reader.wording.users(record)), bag.matrix(record), vector_fields(record))
        changed = ChangedMixture.of(scorer, scorer.catalogue, scorer.vectors)
        changed.profiles = Profiles(contents, bag)
        return float(changed.answer(asked)[0][0, item])

    whole = score(None)
    return [(value, whole - score(value)) for value in values_of(users, row)]


def priors_of(shares: Mapping[str, float], least: float, language: str = "en") -> list[Evidence]:
    """Parts of the mixture with at least so much of the probability, said in a language. Raises UsageError: one without a file."""
    words = language_of(language).table.parts
    return [Evidence(PRIOR, name, words.get(name, name), float(share), float(share)) for name, share in shares.items() if share >= least]


def ordered(parts: Sequence[Part], lifts: np.ndarray, shares: Mapping[str, float], most: int, least: float = LEAST_LIFT) -> list[Evidence]:
    """What speaks for an item, largest share first, at most `most` of each kind. lifts (B,) of the parts; shares of the parts of a mixture."""
    raised = np.maximum(lifts, 0.0)
    # All that was typed counts where no single word does: otherwise its words are counted already.
    kinds = np.array([part.kind for part in parts])
    raised[kinds == (TYPED if (raised[kinds == WORD] > least).any() else "")] = 0.0
    total = float(raised.sum())
    found = [
        Evidence(WORD if part.kind == TYPED else part.kind, part.what, part.title, float(lift), float(lift / total))
        for part, lift in zip(parts, raised, strict=True)
        if total > 0 and lift > least
    ]
    kept = [one for kind in (EVENT, WORD, PROFILE) for one in sorted((e for e in found if e.kind == kind), key=lambda e: -e.share)[:most]]
    kept += priors_of(shares, 0.01)
    return sorted(kept, key=lambda one: -one.share)
