"""How written texts are measured: BLEU, ROUGE, variety, and whether the features they name are true of the item; intervals by bootstrap over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU

from writing_rows import WritingData, named, words_of

METRICS = ("BLEU-4", "ROUGE-1 F", "ROUGE-2 F", "distinct-2", "unique sentences", "true features")
RESAMPLES = 300


class Measured:
    """The texts of one method for the rows of `data.held(part)`. Everything is lower-cased; figures are per cent."""

    def __init__(self, data: WritingData, part: int, texts: Sequence[str]) -> None:
        cases = data.held(part)
        self.texts = [" ".join(text.split()).lower() for text in texts]
        references = [" ".join(case.text.split()).lower() for case in cases]
        bleu = BLEU(lowercase=True)
        stats = bleu._extract_corpus_statistics(self.texts, [references])
        self._bleu, self._stats = bleu, np.array(stats)
        scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2"], use_stemmer=False)
        scored = [scorer.score(reference, text) for reference, text in zip(references, self.texts, strict=True)]
        self._rouge = np.array([[one["rouge1"].fmeasure, one["rouge2"].fmeasure] for one in scored])
        self._pairs = [Counter(pairwise(words)) for words in map(words_of, self.texts)]
        claims = [named(text, data.features) for text in self.texts]
        self.named = np.array([len(some) for some in claims])
        self.true = np.array([sum(one in data.facts[case.item] for one in some) for some, case in zip(claims, cases, strict=True)])
        asked = [case.feature for case in cases]
        self.matched = np.array([bool(feature) and feature in some for feature, some in zip(asked, claims, strict=True)])

    def figures(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics of the rows (all)."""
        rows = np.arange(len(self.texts)) if rows is None else rows
        pairs: Counter[tuple[str, str]] = Counter()
        for row in rows.tolist():
            pairs.update(self._pairs[row])
        named_count = int(self.named[rows].sum())
        return {
            "BLEU-4": float(self._bleu._compute_score_from_stats(self._stats[rows].sum(axis=0).tolist()).score),
            "ROUGE-1 F": 100 * float(self._rouge[rows, 0].mean()),
            "ROUGE-2 F": 100 * float(self._rouge[rows, 1].mean()),
            "distinct-2": 100 * len(pairs) / max(pairs.total(), 1),
            "unique sentences": 100 * len({self.texts[row] for row in rows.tolist()}) / len(rows),
            "true features": 100 * float(self.true[rows].sum()) / named_count if named_count else float("nan"),
            "features a text": named_count / len(rows),
            "asked feature named": 100 * float(self.matched[rows].mean()),
        }

    def intervals(self, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % intervals by bootstrap over rows. Variety has none: drawing rows twice makes repeats that nobody wrote."""
        return _quantiles(self.figures, len(self.texts), seed)


def compare(ours: Measured, other: Measured, seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Ours minus the other, with the 95 % interval of the difference over the same rows."""

    def difference(rows: np.ndarray | None = None) -> dict[str, float]:
        mine, theirs = ours.figures(rows), other.figures(rows)
        return {name: mine[name] - theirs[name] for name in METRICS}

    point, spans = difference(), _quantiles(difference, len(ours.texts), seed)
    return {name: (point[name], *spans[name]) for name in METRICS}


def _quantiles(figures: Callable[[np.ndarray], dict[str, float]], rows: int, seed: int) -> dict[str, tuple[float, float]]:
    generator = np.random.default_rng(seed)
    drawn = [figures(generator.integers(0, rows, rows)) for _ in range(RESAMPLES)]
    return {name: tuple(np.nanpercentile([one[name] for one in drawn], [2.5, 97.5]).tolist()) for name in drawn[0]}  # type: ignore[misc]
