"""Metrics of the order of judged rows: AUC, AUC inside each user, average precision, rank correlation. numpy only.

Each metric is prepared once (sorting) and then answers for many weightings of the same rows, which is what a bootstrap asks:
`prepared(weights)` takes weights float64 (R, U) of the U units that own the rows, and returns float64 (R,), NaN where undefined.

Dimension keys: X rows, U units (people drawn together with all their rows), R resamples, P positive rows, N negative rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: weights float64 (R, U) -> values float64 (R,)
Resampled = Callable[[np.ndarray], np.ndarray]


def auc(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve: how often a positive row stands above a negative one; equal scores count 1/2 (Mann & Whitney 1947).

    Args:
        truth: (X,) 0 or 1.
        predicted: float (X,), any scale.
        weights: float (X,), how often each row counts; None: once.

    Returns:
        A share, NaN where only one class has rows.
    """
    return _once(auc_resampled, truth, predicted, weights)


def pr_auc(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Average precision: sum over thresholds of (recall gained) x precision there; rows of one score enter together.

    Arguments as in `auc`; NaN without a positive row.
    """
    return _once(pr_auc_resampled, truth, predicted, weights)


def spearman(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Pearson's correlation of the mean ranks (Spearman 1904); NaN where one side never differs.

    Arguments as in `auc`, `truth` any number.
    """
    return _once(spearman_resampled, truth, predicted, weights)


def auc_resampled(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, count: int) -> Resampled:
    """`auc` prepared: rows are sorted once, a resample costs one running sum.

    Args:
        units: int (X,), the unit of each row.
        count: U.
    """
    yes, no = _sides(truth, predicted)
    flip = len(yes) > len(no)  # the running sum goes over the larger side, the look-ups over the smaller
    few, many = (no, yes) if flip else (yes, no)
    few_units, many_units = units[few], units[many]
    below = np.searchsorted(predicted[many], predicted[few], side="left")  # rows of the other side that stand lower
    up_to = np.searchsorted(predicted[many], predicted[few], side="right")

    def values(weights: np.ndarray) -> np.ndarray:
        found = np.full(len(weights), np.nan)
        running = np.zeros(len(many) + 1)
        for place, drawn in enumerate(weights):
            np.cumsum(drawn[many_units], out=running[1:])
            own = drawn[few_units]
            pairs = own.sum() * running[-1]
            if pairs > 0:
                share = float(own @ (running[below] + running[up_to])) / 2 / pairs
                found[place] = 1 - share if flip else share
        return found

    return values


def pr_auc_resampled(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, count: int) -> Resampled:
    """`pr_auc` prepared; arguments as in `auc_resampled`."""
    yes, no = (rows[::-1] for rows in _sides(truth, predicted))  # best first
    yes_units, no_units = units[yes], units[no]
    scores = predicted[yes]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(yes) else np.zeros(0, dtype=np.int64)
    above = len(no) - np.searchsorted(predicted[no][::-1], scores[ends], side="left")  # negatives at least as high

    def values(weights: np.ndarray) -> np.ndarray:
        found = np.full(len(weights), np.nan)
        running = np.zeros(len(no) + 1)
        for place, drawn in enumerate(weights):
            right = np.cumsum(drawn[yes_units])[ends]
            if len(right) and right[-1] > 0:
                np.cumsum(drawn[no_units], out=running[1:])
                named = right + running[above]
                precision = np.divide(right, named, out=np.zeros_like(right), where=named > 0)
                found[place] = float(np.diff(right, prepend=0.0) @ precision) / right[-1]
        return found

    return values


def spearman_resampled(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, count: int) -> Resampled:
    """`spearman` prepared; arguments as in `auc_resampled`. A row drawn twice is two tied rows."""
    sides = []
    for side in (np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)):
        _, group = np.unique(side, return_inverse=True)
        sides.append((group, int(group.max()) + 1 if len(group) else 0))

    def values(weights: np.ndarray) -> np.ndarray:
        found = np.full(len(weights), np.nan)
        for place, drawn in enumerate(weights):
            own = drawn[units]
            first, second = (_mean_ranks(group, groups, own) for group, groups in sides)
            found[place] = _correlation(first, second, own)
        return found

    return values


def auc_by_group(truth: np.ndarray, predicted: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUC inside each group that has both classes, all groups at once.

    Args:
        truth: (X,) 0 or 1.
        groups: int (X,), e.g. users.

    Returns:
        group int64 (G,), AUC float64 (G,), rows int64 (G,) of the groups with both classes.
    """
    names, group = np.unique(groups, return_inverse=True)
    order = np.lexsort((predicted, group))
    group, scores, positive = group[order], np.asarray(predicted)[order], np.asarray(truth)[order] > 0.5
    if not len(group):
        return names, np.zeros(0), np.zeros(0, dtype=np.int64)
    new = np.append(True, (group[1:] != group[:-1]) | (scores[1:] != scores[:-1]))
    first = np.flatnonzero(new)  # of each run of one group and one score
    sizes = np.diff(np.append(first, len(group)))
    starts = np.searchsorted(group, np.arange(len(names)))
    rank = np.repeat(first + (sizes + 1) / 2, sizes) - starts[group]  # mean rank inside the group, from 1
    yes = np.bincount(group, weights=positive, minlength=len(names))
    rows = np.bincount(group, minlength=len(names))
    sums = np.bincount(group, weights=np.where(positive, rank, 0.0), minlength=len(names))
    both = (yes > 0) & (yes < rows)
    no = rows - yes
    return names[both], ((sums - yes * (yes + 1) / 2)[both] / (yes * no)[both]), rows[both]


def _sides(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative rows, each by ascending score."""
    order = np.argsort(predicted, kind="stable")
    positive = np.asarray(truth)[order] > 0.5
    return order[positive], order[~positive]


def _mean_ranks(group: np.ndarray, groups: int, weights: np.ndarray) -> np.ndarray:
    """Mean rank of each row, from 0, where groups are ordered values and a row counts `weights` times."""
    size = np.bincount(group, weights=weights, minlength=groups)
    return (np.cumsum(size) - size / 2)[group]


def _correlation(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> float:
    total = weights.sum()
    if total <= 0:
        return np.nan
    first, second = first - (weights @ first) / total, second - (weights @ second) / total
    spread = float((weights @ first**2) * (weights @ second**2))
    return float(weights @ (first * second)) / np.sqrt(spread) if spread > 0 else np.nan


def _once(prepare: Callable[..., Resampled], truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None) -> float:
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    rows = len(truth)
    given = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    return float(prepare(truth, predicted, np.arange(rows), rows)(given[None])[0])
