"""Choosing the numbers of `tasks/agreement.py` on validation cases, after the weights are trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from m6rec.evaluation.metrics import METRICS, expected_ranks
from m6rec.tasks.agreement import Agreement, choose_agreement
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.training.workbench import Workbench

MOST_SCORES = 20_000_000  # cases x items held at a time, a few matrices of 80 MB
MOST_CASES = 5_000


def calibrate(bench: Workbench, scorer: ChooseMixture) -> tuple[Agreement, float]:
    """The agreement that serves the validation cases best, and the validation metric with it on the cases looked at (drawn by seed)."""
    cases, config = bench.split.validation, bench.config.measured
    count = min(len(cases), MOST_CASES, max(1, MOST_SCORES // len(bench.dataset.items)))
    rows = np.sort(np.random.default_rng([bench.config.seed, 2]).choice(len(cases), count, replace=False))
    requests, targets = cases.requests.rows(rows), cases.targets.rows(rows)
    excluded = requests.histories if config.exclude_history else None
    metric, _, k = bench.config.train.validation_metric.partition("@")
    scorer.refresh()
    scorer.agreement = Agreement()
    blocks = [np.arange(start, min(start + config.batch, count)) for start in range(0, count, config.batch)]
    mixture = np.concatenate([scorer.scores(requests.rows(block)) for block in blocks])  # B N

    def quality(gain: np.ndarray | None) -> float:
        ranks = expected_ranks(mixture if gain is None else mixture + gain, targets, excluded)
        return float(METRICS[metric](ranks, targets.offsets, int(k)).mean())

    def counted(recency: float) -> Mapping[str, np.ndarray]:
        found = [scorer.counted(requests.rows(block), recency) for block in blocks]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    names = list(scorer.counted(requests.rows(np.arange(1)), 1.0))
    best = choose_agreement(names, counted, quality)
    return best, quality(best.gain(counted(best.recency)) if best.weight else None)
