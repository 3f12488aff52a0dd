"""Metrics of classes, tags, ordered levels and labelled words: accuracy, F1 of each class, kappa, spans. numpy and scipy only.

Dimension keys: X rows, C classes or tags, U units (people drawn together with all their rows), R resamples, S spans.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from m6rec.evaluation.label_metrics import TINY, ratio, sums_resampled
from m6rec.evaluation.rank_metrics import Resampled, auc_resampled, pr_auc_resampled

#: Names of the class of words that carry no label.
OUTSIDE = ("", "O", "o")


class ClassFigures(NamedTuple):
    """One class: precision, recall and F1 (NaN where nothing was called so, or nothing is so), rows that are so, rows called so."""

    name: str
    precision: float
    recall: float
    f1: float
    rows: int
    called: int


class Spans(NamedTuple):
    """Runs of words with one label: first row, row after the last, class; int64 (S,) each."""

    first: np.ndarray
    after: np.ndarray
    kind: np.ndarray


class Hits(NamedTuple):
    """What an F1 is made of, one row a thing judged: sparse (things, C) right, true and called, and the unit of each thing."""

    right: sparse.csr_array
    true: sparse.csr_array
    called: sparse.csr_array
    units: np.ndarray


def likeliest(predicted: np.ndarray) -> np.ndarray:
    """int64 (X,): the class with the highest probability, the first of equal ones."""
    return np.argmax(predicted, axis=1)


def accuracies(truth: np.ndarray, predicted: np.ndarray, k: int | None = None) -> np.ndarray:
    """float64 (X,): 1 where the truth is the likeliest class; with k: among the k likeliest, ties counting as half above.

    Args:
        truth: (X,) codes.
        predicted: (X, C) probabilities.
    """
    codes = truth.astype(np.int64)
    if k is None:
        return (likeliest(predicted) == codes).astype(np.float64)
    own = predicted[np.arange(len(codes)), codes][:, None]
    rank = 1 + (predicted > own).sum(axis=1) + ((predicted == own).sum(axis=1) - 1) / 2
    return (rank <= k).astype(np.float64)


def class_log_losses(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """float64 (X,): -log of the probability of the true class, in nats; probabilities are kept 1e-7 from 0."""
    own = predicted[np.arange(len(truth)), truth.astype(np.int64)]
    return -np.log(np.maximum(own.astype(np.float64), TINY))


def class_briers(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """float64 (X,): sum over classes of the squared distance to the one that is true (Brier 1950), 0 to 2."""
    p = predicted.astype(np.float64)
    return (p**2).sum(axis=1) - 2 * p[np.arange(len(truth)), truth.astype(np.int64)] + 1


def class_hits(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray) -> Hits:
    """Hits of the likeliest class."""
    codes, called = truth.astype(np.int64), likeliest(predicted)
    width = predicted.shape[1]
    true, said = _one_hot(codes, width), _one_hot(called, width)
    return Hits(_one_hot(np.where(codes == called, codes, -1), width), true, said, units)


def tag_hits(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, threshold: float = 0.5) -> Hits:
    """Hits of tags, called from the threshold on; `truth` 0 or 1 (X, C), `predicted` (X, C)."""
    yes, called = truth > 0.5, predicted.astype(np.float64) >= threshold
    right, true, said = (sparse.csr_array(part.astype(np.float64)) for part in (yes & called, yes, called))
    return Hits(right, true, said, units)


def span_hits(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, texts: np.ndarray, names: list[str]) -> Hits:
    """Hits of spans that match exactly: first word, last word and class (as CoNLL-2003 counts). The classes are `span_names(names)`."""
    true = spans_of(truth.astype(np.int64), texts, names)
    said = spans_of(likeliest(predicted), texts, names)
    width, rows = len(span_names(names)), len(truth) + 1
    keys = [(spans.first * rows + spans.after) * max(width, 1) + spans.kind for spans in (true, said)]
    found = np.isin(keys[0], keys[1])
    none = np.full(len(said.kind), -1)
    right = np.concatenate([np.where(found, true.kind, -1), none])
    is_true = np.concatenate([true.kind, none])
    called = np.concatenate([np.full(len(true.kind), -1), said.kind])
    owners = units[np.concatenate([true.first, said.first])]
    return Hits(_one_hot(right, width), _one_hot(is_true, width), _one_hot(called, width), owners)


def span_names(names: list[str]) -> list[str]:
    """Classes of spans: `names` without the one for no label; B-x and I-x are both x."""
    return list(dict.fromkeys(_bare(name) for name in names if name not in OUTSIDE))


def spans_of(codes: np.ndarray, texts: np.ndarray, names: list[str]) -> Spans:
    """Runs of words of one text with one class. Names B-x begin a span and I-x go on with one (or begin it, where none is open).

    Args:
        codes: int (X,) of `names`.
        texts: int (X,), the text of each word; words of a text stand together.
    """
    classes = span_names(names)
    kind_of = np.array([-1 if name in OUTSIDE else classes.index(_bare(name)) for name in names], dtype=np.int64)
    begins = np.array([name.startswith("B-") for name in names], dtype=bool)
    kind = kind_of[codes]
    fresh = np.ones(len(codes), dtype=bool)
    fresh[1:] = (texts[1:] != texts[:-1]) | (kind[1:] != kind[:-1]) | begins[codes[1:]]
    first = np.flatnonzero(fresh)
    after = np.append(first[1:], len(codes)) if len(codes) else first
    inside = kind[first] >= 0
    return Spans(first[inside], after[inside], kind[first][inside])


def macro_f1_resampled(hits: Hits, count: int) -> Resampled:
    """Mean over classes of F1; a class that is nowhere true and nowhere called is left out."""

    def combine(sums: np.ndarray) -> np.ndarray:
        right, true, called = _thirds(sums)
        f1 = ratio(2 * right, true + called)
        known = ~np.isnan(f1)
        return ratio(np.where(known, f1, 0.0).sum(axis=-1), known.sum(axis=-1))

    return _hits_resampled(hits, count, combine)


def micro_f1_resampled(hits: Hits, count: int) -> Resampled:
    """F1 of all classes together."""

    def combine(sums: np.ndarray) -> np.ndarray:
        right, true, called = _thirds(sums)
        return ratio(2 * right.sum(axis=-1), (true + called).sum(axis=-1))

    return _hits_resampled(hits, count, combine)


def class_figures(hits: Hits, names: list[str]) -> list[ClassFigures]:
    """Precision, recall, F1 of each class, in the order of `names`."""
    right, true, called = (np.asarray(part.sum(axis=0)).ravel() for part in hits[:3])
    precision, recall, f1 = ratio(right, called), ratio(right, true), ratio(2 * right, true + called)
    return [
        ClassFigures(name, float(precision[i]), float(recall[i]), float(f1[i]), int(true[i]), int(called[i]))
        for i, name in enumerate(names)
    ]


def quadratic_kappa_resampled(truth: np.ndarray, levels: np.ndarray, units: np.ndarray, count: int, width: int) -> Resampled:
    """Cohen's kappa with quadratic weights (Cohen 1968): 1 - mean squared miss / what it were if both were drawn apart.

    Args:
        truth: (X,) level codes.
        levels: (X,) what was said, rounded to whole levels 0 .. width - 1.
        width: number of levels.

    NaN where everything is one level on both sides.
    """
    codes = truth.astype(np.int64)
    said = np.clip(np.rint(levels), 0, width - 1).astype(np.int64)
    squares = (codes - said).astype(np.float64)[:, None] ** 2
    columns = sparse.csr_array(sparse.hstack([_one_hot(codes, width), _one_hot(said, width), sparse.csr_array(squares)]))
    places = np.arange(width, dtype=np.float64)
    apart = (places[:, None] - places) ** 2

    def combine(sums: np.ndarray) -> np.ndarray:
        true, called, missed = sums[..., :width], sums[..., width : 2 * width], sums[..., -1]
        expected = ratio(np.einsum("...i,ij,...j->...", true, apart, called), true.sum(axis=-1))
        return 1 - ratio(missed, expected)

    return sums_resampled(columns, units, count, combine)


def mean_over_tags(
    prepare: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Resampled],
    truth: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray,
    count: int,
) -> Resampled:
    """Mean over tags of a metric of one tag, those left out for which it is undefined."""
    each = [prepare(truth[:, tag], predicted[:, tag], units, count) for tag in range(truth.shape[1])]

    def values(weights: np.ndarray) -> np.ndarray:
        found = np.stack([one(weights) for one in each]) if each else np.full((1, len(weights)), np.nan)
        known = ~np.isnan(found)
        return ratio(np.where(known, found, 0.0).sum(axis=0), known.sum(axis=0))

    return values


def mean_average_precision_resampled(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, count: int) -> Resampled:
    """Mean over tags of average precision; tags that no row has are left out."""
    return mean_over_tags(pr_auc_resampled, truth, predicted, units, count)


def mean_auc_resampled(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, count: int) -> Resampled:
    """Mean over tags of AUC; tags that all rows or none have are left out."""
    return mean_over_tags(auc_resampled, truth, predicted, units, count)


def _hits_resampled(hits: Hits, count: int, combine: Callable[[np.ndarray], np.ndarray]) -> Resampled:
    return sums_resampled(sparse.csr_array(sparse.hstack(hits[:3])), hits.units, count, combine)


def _thirds(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    width = sums.shape[-1] // 3
    return sums[..., :width], sums[..., width : 2 * width], sums[..., 2 * width :]


def _one_hot(codes: np.ndarray, width: int) -> sparse.csr_array:
    """(X, width) with a 1 at each code; nothing where the code is -1."""
    rows = np.flatnonzero(codes >= 0)
    return sparse.csr_array((np.ones(len(rows)), (rows, codes[rows])), shape=(len(codes), width))


def _bare(name: str) -> str:
    return name[2:] if name[:2] in ("B-", "I-") else name
