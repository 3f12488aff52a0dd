"""What somebody typed, understood by the fields of the catalogue as it is now, and by the tasks that label words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from m6rec.data.dataset import Table
from m6rec.tasks.served_model import ServedModel
from m6rec.text.constraints import Constraint, Typed, understand, why_nothing
from m6rec.text.cues import Cues
from m6rec.text.field_names import FieldNames
from m6rec.text.template import Template
from m6rec.text.word_spans import Span

KEPT = 256  # texts whose reading is kept: one request asks for it several times


class TypedReader:
    """Understands typed texts. Names are read off the catalogue when a text first asks for them, and again after it changed."""

    def __init__(self, scorer: ServedModel, items: Table) -> None:
        self.scorer, self.items = scorer, items
        self._names: FieldNames | None = None
        self.read = lru_cache(KEPT)(self._read)

    def _read(self, text: str) -> Typed:
        if self._names is None:
            self._names = FieldNames(self.items, self.scorer.reader.wording.language)
        return understand(text, self._names, self._labelled(text, self._names), self._cues)

    @property
    def _cues(self) -> Cues:
        return self.scorer.reader.wording.cues

    def _labelled(self, text: str, names: FieldNames) -> list[Span]:
        """Words whose label, by a task that labels words, is a field of the items."""
        texts = self.scorer.texts
        words = None if texts is None else texts.judge.words
        if words is None or not text.strip():
            return []
        found = []
        for task in words.configs:
            if any(names.value_field([label]) is not None for label in words.sizes.labels[task]):
                found += words.answers(self.scorer.reader, [text], task)[0]
        return found


def why_unmet(
    items: Table, constraints: Sequence[Constraint], there: np.ndarray | None, left: np.ndarray | None, template: Template
) -> str:
    """Why no item meets what was typed, in the words of `template`; "" where some do.

    there: bool (N,), items that may be answered at all, None for all.  left: those of them that filters leave, None without filters.
    """
    if not constraints:
        return ""
    why = why_nothing(items, constraints, there, template)
    if why or left is None:
        return why
    return why_nothing(items, constraints, left, template, filtered=True) if left.any() else template.limits.filters
