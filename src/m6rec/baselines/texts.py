"""TF-IDF and logistic regression: what a text task is usually held against.

Dimension keys: G texts, C classes or tags.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, hstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

STRENGTHS = (1.0, 3.0, 10.0, 30.0)


def tfidf_regressions(
    texts: Sequence[Sequence[str]], truth: np.ndarray, *, strong: bool, strengths: Sequence[float] = STRENGTHS
) -> Iterator[tuple[dict[str, Any], list[np.ndarray]]]:
    """Settings, and what a regression with them says of each part of the texts, to be chosen among on validation.

    Args:
        texts: of the training, then of the parts that are asked about.
        truth: of the training texts: (G,) codes of classes, of which there are two or more, or (G, C) of 0 and 1 for tags.
        strong: words, pairs of words and runs of characters are counted; else words (characters in scripts without spaces).

    Yields:
        C and features, and for each part asked about float64 (G, C): a column a class that `truth` has, in order, or a tag.
    """
    spaced = bool(np.mean([" " in text.strip() for text in texts[0]]) > 0.5)
    for counters in counting(spaced, strong):
        matrices: list[csr_array] = []
        for place, some in enumerate(texts):
            matrices.append(csr_array(hstack([c.fit_transform(some) if place == 0 else c.transform(some) for c in counters])))
        for strength in strengths:
            model: Any = LogisticRegression(C=strength, solver="liblinear", random_state=0)
            model = OneVsRestClassifier(model) if truth.ndim == 2 or len(np.unique(truth)) > 2 else model
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # validation says which is good enough
                model.fit(matrices[0], truth)
            yield {"C": strength, "features": matrices[0].shape[1]}, [model.predict_proba(matrix) for matrix in matrices[1:]]


def counting(spaced: bool, strong: bool) -> list[list[TfidfVectorizer]]:
    """Ways to count, each as vectorizers whose columns stand side by side."""
    if not spaced:
        runs = [(1, 2), (1, 4)] if strong else [(1, 1)]
        return [[TfidfVectorizer(analyzer="char", ngram_range=run, sublinear_tf=strong, min_df=2)] for run in runs]
    if not strong:
        return [[TfidfVectorizer()]]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return [[words, TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)]]
