"""Every metric of judged rows, prepared for a bootstrap: the functions behind the names of `metric_names.py`.

Dimension keys: X rows, C classes or tags, U units (people drawn together with all their rows), R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from m6rec.base.errors import UsageError
from m6rec.evaluation import class_metrics as classes
from m6rec.evaluation import label_metrics as labels
from m6rec.evaluation.list_metrics import ndcg_of_lists, satisfaction_of_lists
from m6rec.evaluation.metric_names import METRIC_NAMES, LabelKind, split_name
from m6rec.evaluation.rank_metrics import Resampled, auc_by_group, auc_resampled, pr_auc_resampled, spearman_resampled

if TYPE_CHECKING:
    from m6rec.evaluation.judged import Judged

#: (judged, units (X,), U, k) -> prepared metric
Prepare = Callable[["Judged", np.ndarray, int, int | None], Resampled]


def prepared(judged: Judged, name: str, units: np.ndarray, count: int) -> Resampled:
    """The metric `name` of these rows as a function of weights of `count` units, float64 (R, U) -> float64 (R,).

    Raises:
        ConfigError: no such metric.
        UsageError: the metric is not defined for this kind of label.
    """
    metric, k = split_name(name)
    found = _PREPARE[judged.kind].get(metric)
    if found is None:
        fitting = ", ".join(other for other, known in METRIC_NAMES.items() if judged.kind in known.kinds)
        raise UsageError(f"'{name}' is not defined for labels of kind {judged.kind} (task '{judged.task}'); there are: {fitting}")
    return found(judged, units, count, k)


def _rows(prepare: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Resampled]) -> Prepare:
    return lambda judged, units, count, k: prepare(judged.truth, judged.predicted, units, count)


def _points(prepare: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Resampled]) -> Prepare:
    return lambda judged, units, count, k: prepare(judged.truth, judged.points, units, count)


def _mean_of(values: Callable[[Judged, int | None], np.ndarray]) -> Prepare:
    def prepare(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
        return _means(values(judged, k), units, count)

    return prepare


def _means(values: np.ndarray, units: np.ndarray, count: int, weights: np.ndarray | None = None) -> Resampled:
    columns = labels.mean_of(values)
    if weights is not None:
        columns = columns * weights[:, None]
    return labels.sums_resampled(columns, units, count, labels.mean_of_sums)


def _user_auc(by_rows: bool) -> Prepare:
    def prepare(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
        known = np.flatnonzero(judged.user_rows >= 0)
        users = judged.user_rows[known]
        who, values, rows = auc_by_group(judged.truth[known], judged.predicted[known], users)
        names, first = np.unique(users, return_index=True)
        owners = units[known[first[np.searchsorted(names, who)]]]
        return _means(values, owners, count, rows.astype(np.float64) if by_rows else None)

    return prepare


def _ndcg(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
    first, values = ndcg_of_lists(judged.truth, judged.points, judged.list_rows, k)
    return _means(values, units[first], count)


def _satisfaction(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
    if judged.worth is None or k is None:
        return _means(np.zeros(0), np.zeros(0, dtype=np.int64), count)
    known = ~np.isnan(judged.worth)
    first, values = satisfaction_of_lists(judged.worth[known], judged.points[known], judged.list_rows[known], k)
    return _means(values, units[known][first], count)


def _best_f1(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
    return labels.f1_at(judged.threshold).resampled(judged.truth, judged.predicted, units, count)


def _class_ece(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
    """Of the likeliest class: its probability against whether it is right (Guo et al. 2017)."""
    right = classes.accuracies(judged.truth, judged.predicted)
    return labels.ece.resampled(right, judged.predicted.max(axis=1, initial=0.0), units, count)


def _tag_ece(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
    return labels.ece.resampled(judged.truth.ravel(), judged.predicted.ravel(), np.repeat(units, judged.truth.shape[1]), count)


def _f1_of_classes(combine: Callable[[classes.Hits, int], Resampled]) -> Prepare:
    return lambda judged, units, count, k: combine(judged.hits(units), count)


def _kappa(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
    return classes.quadratic_kappa_resampled(judged.truth, judged.points, units, count, len(judged.names))


def _level_accuracy(judged: Judged, k: int | None) -> np.ndarray:
    if judged.predicted.ndim == 2:
        return classes.accuracies(judged.truth, judged.predicted, k)
    return (np.rint(judged.predicted) == judged.truth).astype(np.float64)


def _level_log_loss(judged: Judged, units: np.ndarray, count: int, k: int | None) -> Resampled:
    if judged.predicted.ndim == 1:  # a level was said, and no probabilities
        return _means(np.zeros(0), units[:0], count)
    return _means(classes.class_log_losses(judged.truth, judged.predicted), units, count)


_MEASURED: dict[str, Prepare] = {
    "rmse": _points(labels.rmse.resampled),
    "mae": _points(labels.mae.resampled),
    "r2": _points(labels.r2.resampled),
    "spearman": _points(spearman_resampled),
    "ndcg": _ndcg,
    "satisfaction": _satisfaction,
}
_CODED: dict[str, Prepare] = {
    "accuracy": _mean_of(lambda judged, k: classes.accuracies(judged.truth, judged.predicted, k)),
    "log_loss": _mean_of(lambda judged, k: classes.class_log_losses(judged.truth, judged.predicted)),
    "macro_f1": _f1_of_classes(classes.macro_f1_resampled),
}

_PREPARE: dict[LabelKind, dict[str, Prepare]] = {
    "binary": {
        "auc": _rows(auc_resampled),
        "gauc": _user_auc(by_rows=True),
        "user_auc": _user_auc(by_rows=False),
        "pr_auc": _rows(pr_auc_resampled),
        "log_loss": _rows(labels.log_loss.resampled),
        "relative_information": _rows(labels.relative_information.resampled),
        "ece": _rows(labels.ece.resampled),
        "brier": _rows(labels.brier.resampled),
        "f1": _rows(labels.f1_at(0.5).resampled),
        "best_f1": _best_f1,
        "accuracy": _rows(labels.accuracy_at(0.5).resampled),
        "ndcg": _ndcg,
        "satisfaction": _satisfaction,
    },
    "classes": {
        **_CODED,
        "ece": _class_ece,
        "brier": _mean_of(lambda judged, k: classes.class_briers(judged.truth, judged.predicted)),
    },
    "tags": {
        "auc": _rows(classes.mean_auc_resampled),
        "log_loss": _mean_of(lambda judged, k: labels.log_losses(judged.truth, judged.predicted).mean(axis=1)),
        "ece": _tag_ece,
        "micro_f1": _f1_of_classes(classes.micro_f1_resampled),
        "macro_f1": _f1_of_classes(classes.macro_f1_resampled),
        "mean_average_precision": _rows(classes.mean_average_precision_resampled),
    },
    "number": _MEASURED,
    "ordinal": {**_MEASURED, **_CODED, "accuracy": _mean_of(_level_accuracy), "log_loss": _level_log_loss, "quadratic_kappa": _kappa},
    "tokens": {**_CODED, "micro_f1": _f1_of_classes(classes.micro_f1_resampled)},
}
