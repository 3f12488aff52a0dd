"""The metrics of judged labels by name: what kinds of label they fit, whether higher is better, which are reported. Loads nothing heavy.

The functions behind the names are in `judged_metrics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from m6rec.base.errors import ConfigError, nearest

LabelKind = Literal["binary", "classes", "tags", "number", "ordinal", "tokens"]
KINDS: tuple[LabelKind, ...] = get_args(LabelKind)


@dataclass(frozen=True)
class MetricName:
    """One metric of judged rows.

    higher   whether a higher value is the better one
    kinds    the kinds of label it is defined for
    cutoff   `@k` may follow the name (required: it must)
    """

    label: str
    higher: bool
    kinds: tuple[LabelKind, ...]
    meaning: str
    cutoff: Literal["none", "optional", "required"] = "none"


_YES_NO: tuple[LabelKind, ...] = ("binary",)
_CODED: tuple[LabelKind, ...] = ("classes", "ordinal", "tokens")
_MEASURED: tuple[LabelKind, ...] = ("number", "ordinal")
_ORDERED: tuple[LabelKind, ...] = ("binary", "number", "ordinal")

METRIC_NAMES: dict[str, MetricName] = {
    "auc": MetricName(
        "AUC", True, ("binary", "tags"), "Probability that a row with the label stands above one without it; equal scores count 1/2."
    ),
    "gauc": MetricName("GAUC", True, _YES_NO, "AUC inside each user's own rows, users weighted by their rows."),
    "user_auc": MetricName("User AUC", True, _YES_NO, "AUC inside each user's own rows, every user alike."),
    "pr_auc": MetricName("PR-AUC", True, _YES_NO, "Average precision: mean precision at the rows that have the label."),
    "log_loss": MetricName(
        "Log loss",
        False,
        ("binary", "classes", "tags", "ordinal", "tokens"),
        "Mean of -log of the probability given to what came true, in nats.",
    ),
    "relative_information": MetricName(
        "Rel. information", True, _YES_NO, "1 - log loss / log loss of answering the mean rate always (1 - normalised entropy)."
    ),
    "ece": MetricName(
        "ECE", False, ("binary", "classes", "tags"), "Mean distance between probability and share that came true, in 15 bins of equal mass."
    ),
    "brier": MetricName("Brier", False, ("binary", "classes"), "Mean squared distance between probability and what came true."),
    "f1": MetricName("F1", True, _YES_NO, "Harmonic mean of precision and recall, yes from 0.5 on."),
    "best_f1": MetricName("F1 at threshold", True, _YES_NO, "F1, yes from the threshold on that was best on validation."),
    "accuracy": MetricName(
        "Accuracy", True, ("binary", *_CODED), "Share of right answers; @k: the truth is among the k likeliest.", "optional"
    ),
    "macro_f1": MetricName("Macro F1", True, ("classes", "tags", "ordinal", "tokens"), "F1 of each class, every class alike."),
    "micro_f1": MetricName("Micro F1", True, ("tags", "tokens"), "F1 of all answers of all classes together."),
    "mean_average_precision": MetricName("mAP", True, ("tags",), "Average precision of each tag, every tag alike."),
    "rmse": MetricName("RMSE", False, _MEASURED, "Root of the mean squared error."),
    "mae": MetricName("MAE", False, _MEASURED, "Mean absolute error; of levels where they are ordered."),
    "r2": MetricName("R²", True, _MEASURED, "Share of the variance that is explained; 0: no better than the mean."),
    "spearman": MetricName("Spearman", True, _MEASURED, "Correlation of the ranks."),
    "quadratic_kappa": MetricName("Quadratic kappa", True, ("ordinal",), "Agreement beyond chance, far misses weigh by their square."),
    "ndcg": MetricName(
        "NDCG",
        True,
        _ORDERED,
        "Order of each list shown, graded by the label; lists in which all labels are alike are left out.",
        "optional",
    ),
    "satisfaction": MetricName(
        "Satisfaction", True, _ORDERED, "Likes and long views minus dislikes, per place, among the first k of each list.", "required"
    ),
}

DEFAULTS: dict[LabelKind, list[str]] = {
    "binary": ["auc", "gauc", "log_loss", "relative_information", "ece", "pr_auc", "best_f1"],
    "classes": ["accuracy", "macro_f1", "log_loss", "ece"],
    "tags": ["micro_f1", "macro_f1", "mean_average_precision", "log_loss"],
    "number": ["rmse", "mae", "r2", "spearman"],
    "ordinal": ["mae", "quadratic_kappa", "rmse", "accuracy", "spearman"],
    "tokens": ["micro_f1", "macro_f1", "accuracy", "log_loss"],
}


def split_name(name: str) -> tuple[str, int | None]:
    """`ndcg@10` as ("ndcg", 10), `auc` as ("auc", None).

    Raises:
        ConfigError: no such metric, or a cutoff where there can be none, or none where there must be one.
    """
    metric, at, k = name.partition("@")
    known = METRIC_NAMES.get(metric)
    if known is None:
        raise ConfigError(f"unknown metric '{name}'{nearest(metric, list(METRIC_NAMES))}; there are: {', '.join(METRIC_NAMES)}")
    if at and (not k.isascii() or not k.isdigit() or int(k) < 1):
        raise ConfigError(f"metric '{name}' has no whole number of at least 1 after the @; write for example {metric}@10")
    if at and known.cutoff == "none":
        raise ConfigError(f"metric '{name}' takes no cutoff; write {metric}")
    if not at and known.cutoff == "required":
        raise ConfigError(f"metric '{name}' needs a cutoff; write for example {metric}@5")
    return metric, int(k) if at else None


def metrics_of(kind: LabelKind, names: list[str] | None = None, *, task: str = "") -> list[str]:
    """The metrics reported of a task: `names`, or what suits the kind. The first one decides early stopping.

    Raises:
        ConfigError: an unknown name (the nearest is named), or a metric that does not fit the kind of label.
    """
    if not names:
        return list(DEFAULTS[kind])
    where = f"task '{task}': " if task else ""
    for name in names:
        try:
            metric, _ = split_name(name)
        except ConfigError as error:
            raise ConfigError(where + str(error)) from None
        if kind not in METRIC_NAMES[metric].kinds:
            fitting = ", ".join(other for other, known in METRIC_NAMES.items() if kind in known.kinds)
            raise ConfigError(f"{where}metric '{name}' is not defined for labels of kind {kind}; there are: {fitting}")
    return list(dict.fromkeys(names))


def higher_is_better(name: str) -> bool:
    """Whether a higher value of the metric is the better one.

    Raises:
        ConfigError: no such metric.
    """
    return METRIC_NAMES[split_name(name)[0]].higher


def told_value(name: str, watched: float) -> float:
    """A figure that training watches, as people read it.

    Higher is better in all that is watched, so training counts and logs errors as negative ("rating rmse": -0.78, read as 0.78).
    Names are those of `watched`: a metric at their end, or other words, whose figures stay.
    """
    known = METRIC_NAMES.get(name.rpartition(" ")[2].partition("@")[0])
    return watched if known is None or known.higher else abs(watched)


def metric_label(name: str) -> str:
    """`NDCG@10` for `ndcg@10`.

    Raises:
        ConfigError: no such metric.
    """
    metric, k = split_name(name)
    return METRIC_NAMES[metric].label + ("" if k is None else f"@{k}")
