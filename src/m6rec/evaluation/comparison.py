"""Several scorers side by side: which metrics head the page, who is best, and by how much one differs from the others."""

from __future__ import annotations

import math
from typing import NamedTuple

from m6rec.base.errors import UsageError
from m6rec.evaluation.evaluated import Estimate, Evaluation
from m6rec.evaluation.metrics import METRICS

LABELS = {"ndcg": "NDCG", "hit_rate": "Hit rate", "recall": "Recall", "mrr": "MRR", "precision": "Precision", "coverage": "Coverage"}
LABELS |= {"novelty": "Novelty", "popularity": "Popularity", "diversity": "Diversity", "serendipity": "Serendipity", "gini": "Gini"}
# Of a list: in bits, in training events an item, as 1 - mean similarity, as a share of the targets.
BEYOND = {"novelty": 2, "popularity": 1, "diversity": 3, "serendipity": 4}  # metric -> decimals worth showing


class Difference(NamedTuple):
    """How the reference compares with another scorer, case by case."""

    against: str
    estimate: Estimate

    @property
    def verdict(self) -> str:
        if self.estimate.low > 0:
            return "better"
        return "worse" if self.estimate.high < 0 else "no clear difference"


def label(name: str) -> str:
    """`Hit rate@10` for `hit_rate@10`."""
    metric, at, k = name.partition("@")
    return LABELS.get(metric, metric) + at + k


def check_comparable(evaluations: list[Evaluation]) -> None:
    """Raises UsageError when there is nothing to show, or two evaluations can't stand in one table."""
    if not evaluations:
        raise UsageError("there is no evaluation to report; evaluate at least one scorer")
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.cutoffs != first.cutoffs:
            raise UsageError(
                f"'{first.name}' was measured at {first.cutoffs}, '{other.name}' at {other.cutoffs}; evaluate both with the same cutoffs"
            )
        if len(other) != len(first) or other.catalogue != first.catalogue:
            raise UsageError(f"'{first.name}' and '{other.name}' were not measured on the same cases; evaluate both on one split")
    names = [evaluation.name for evaluation in evaluations]
    if len(set(names)) < len(names):
        raise UsageError(f"two evaluations are called '{max(names, key=names.count)}'; give each a name of its own")


def shown_metrics(evaluation: Evaluation) -> list[str]:
    """Metric families worth showing: with one target a case recall is the hit rate, and precision the hit rate over k."""
    several = len(evaluation.ranks) > len(evaluation)
    return [metric for metric in METRICS if several or metric not in ("recall", "precision")]


def headline(evaluation: Evaluation) -> list[str]:
    """The few metrics of a short table: at the cutoff nearest to 10, and the (hit rate or recall) at the largest."""
    k, last = main_cutoff(evaluation.cutoffs), evaluation.cutoffs[-1]
    share = "recall" if len(evaluation.ranks) > len(evaluation) else "hit_rate"
    return [f"ndcg@{k}", f"{share}@{k}", f"mrr@{k}"] + ([f"{share}@{last}"] if last != k else [])


def main_cutoff(cutoffs: list[int]) -> int:
    """The cutoff nearest to 10 (the smaller of two)."""
    return min(cutoffs, key=lambda k: (abs(k - 10), k))


def beyond_metrics(evaluations: list[Evaluation]) -> list[str]:
    """What is shown beyond accuracy, at the cutoff nearest to 10: measured for every scorer, and known of some list."""
    k = main_cutoff(evaluations[0].cutoffs)
    names = [f"{metric}@{k}" for metric in BEYOND]
    return [name for name in names if all(name in e.beyond_accuracy and not math.isnan(e.beyond_accuracy[name].mean) for e in evaluations)]


def best(evaluations: list[Evaluation], name: str) -> set[str]:
    """Names of the scorers with the highest value (several when equal, none when all are)."""
    if name.startswith("coverage@"):
        values = {e.name: e.coverage.get(int(name.partition("@")[2]), math.nan) for e in evaluations}
    else:
        values = {e.name: e.table()[name].mean for e in evaluations}
    top = max((value for value in values.values() if not math.isnan(value)), default=math.nan)
    winners = {scorer for scorer, value in values.items() if value == top}
    return winners if len(winners) < len(values) else set()


def differences(evaluations: list[Evaluation], reference: str | None = None, name: str | None = None) -> list[Difference]:
    """The reference (by default the first) minus each of the others, paired case by case.

    Args:
        name: the metric, by default the first of `headline`.

    Raises:
        UsageError: no scorer called `reference`.
    """
    known = {evaluation.name: evaluation for evaluation in evaluations}
    reference = reference or evaluations[0].name
    if reference not in known:
        raise UsageError(f"no evaluation is called '{reference}'; there are: {', '.join(known)}")
    metric = name or headline(evaluations[0])[0]
    return [Difference(e.name, known[reference].difference(e, metric)) for e in evaluations if e.name != reference]
