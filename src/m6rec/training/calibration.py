"""Choosing the numbers of `tasks/agreement.py` on validation cases, after the weights are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from m6rec.evaluation.metrics import METRICS, expected_ranks
from m6rec.tasks.agreement import Agreement, choose_agreement
from m6rec.tasks.choose_mixture import ChooseMixture
from m6rec.training.shortlists import Shortlists, make_shortlists

if TYPE_CHECKING:
    from m6rec.training.workbench import Workbench

MOST_SCORES = 20_000_000  # cases x items held at a time, a few matrices of 80 MB
MOST_CASES = 5_000
LISTED_CASES = 500  # over a catalogue too large for that many whole rows, so many cases are looked at by their shortlists


def calibrate(bench: Workbench, scorer: ChooseMixture) -> tuple[Agreement, float]:
    """The agreement that serves the validation cases best, and the validation metric with it on the cases looked at (drawn by seed)."""
    config, cases = bench.config.measured, bench.split.validation
    whole = MOST_SCORES // len(bench.dataset.items)  # cases whose whole rows can be held
    count = min(len(cases), MOST_CASES, max(whole, LISTED_CASES))
    rows = np.sort(np.random.default_rng([bench.config.seed, 2]).choice(len(cases), count, replace=False))
    requests, targets = cases.requests.rows(rows), cases.targets.rows(rows)
    excluded = requests.histories if config.exclude_history else None
    metric, _, k = bench.config.train.validation_metric.partition("@")
    scorer.refresh()
    scorer.agreement = Agreement()
    batch = config.batch_of(len(bench.dataset.items))
    if count > whole:
        return _calibrate_on_lists(make_shortlists(scorer, requests, targets, excluded, batch), metric, int(k))
    names = list(scorer.counted(requests.rows(np.arange(1)), 1.0))
    blocks = [np.arange(start, min(start + batch, count)) for start in range(0, count, batch)]
    # Written block by block into place: a list of blocks and its concatenation would be held at once.
    mixture = np.empty((count, len(bench.dataset.items)), dtype=np.float32)  # B N
    for block in blocks:
        mixture[block] = scorer.scores(requests.rows(block))

    def quality(gain: np.ndarray | None) -> float:
        ranks = [
            expected_ranks(
                mixture[block] if gain is None else mixture[block] + gain[block],
                targets.rows(block),
                None if excluded is None else excluded.rows(block),
            )
            for block in blocks
        ]
        return float(METRICS[metric](np.concatenate(ranks), targets.offsets, int(k)).mean())

    def counted(recency: float) -> Mapping[str, np.ndarray]:
        found = {name: np.empty_like(mixture) for name in names}
        for block in blocks:
            for name, part in scorer.counted(requests.rows(block), recency).items():
                found[name][block] = part
        return found

    best = choose_agreement(names, counted, quality)
    return best, quality(best.gain(counted(best.recency)) if best.weight else None)


def _calibrate_on_lists(lists: Shortlists, metric: str, k: int) -> tuple[Agreement, float]:
    def quality(gain: np.ndarray | None) -> float:
        ranks = expected_ranks(lists.mixture if gain is None else lists.mixture + gain, lists.targets)
        return float(METRICS[metric](ranks, lists.targets.offsets, k).mean())

    best = choose_agreement(list(next(iter(lists.counted.values()))), lambda recency: lists.counted[recency], quality)
    return best, quality(best.gain(lists.counted[best.recency]) if best.weight else None)
