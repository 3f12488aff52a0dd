"""Reasons in words for the answers of a list: of templates or of a write task, without words that may not be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from m6rec.base.contracts import Scored
from m6rec.explanation.explained import Explanation
from m6rec.serving.asked import Ask
from m6rec.serving.engine.explaining import TEMPLATES, UNCHECKED
from m6rec.serving.rules.filters import RuleBook
from m6rec.serving.service.loaded import LoadedModel

MOST_WORDED = 20  # answers of a list that get a reason in words: each is asked about again without its evidence
UNWORDED = f"the first {MOST_WORDED} answers have a reason in words"


def worded(
    model: LoadedModel,
    book: RuleBook,
    ask: Ask,
    item: str,
    *,
    by: str | None,
    allowed: np.ndarray | None = None,
    counterfactuals: bool = True,
) -> Explanation:
    """The explanation of an item with a reason in words, in `ask.language`; its reason is "" where no words are left that may be shown.

    by: as in `Recommender.explain`.  allowed: bool (N,), items that a written reason may name; None: all.

    Raises:
        UsageError: an unknown language or write task.
    """
    how = replace(UNCHECKED, banned=list(book.words.words.values()), allowed=allowed)

    def explained(by: str | None) -> Explanation:
        return model.engine.explain(
            item,
            user=ask.user,
            history=ask.history,
            text=ask.text,
            profile=ask.profile,
            task=None,
            scenario=ask.scenario,
            context=None,
            time=None,
            k=max(ask.k, 1),
            language=ask.language or "en",
            words=True,
            by=by,
            counterfactuals=counterfactuals,
            how=how,
        )

    found = explained(by)
    if found.written and book.words.found(found.reason):
        found = explained(TEMPLATES)
    return replace(found, reason="") if book.words.found(found.reason) else found


def words_for(
    model: LoadedModel, book: RuleBook, ask: Ask, answers: Sequence[Scored], allowed: np.ndarray | None
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """A reason in words for each of `answers`, places of those that a task wrote, and notes."""
    if ask.language is None or not answers:
        return (), (), ()
    told = [
        worded(model, book, ask, one.item_id, by=ask.reason_by or TEMPLATES, allowed=allowed, counterfactuals=False)
        for one in answers[:MOST_WORDED]
    ]
    words = tuple(one.reason for one in told) + ("",) * (len(answers) - len(told))
    written = tuple(place for place, one in enumerate(told) if one.written)
    return words, written, (UNWORDED,) if len(answers) > MOST_WORDED else ()
