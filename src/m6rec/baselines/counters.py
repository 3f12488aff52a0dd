"""Smoothed counters: how often the user and the item had the label before, as of the time of the row, each drawn to what is known without it.

Dimension keys: X exposures, T columns of labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m6rec.baselines.choosing import Candidates, Predicted, choose
from m6rec.baselines.rows import TRAIN, Rows
from m6rec.data.running_counts import earlier_sums

WEIGHTS = (3.0, 10.0, 30.0, 100.0)
OF_A_SCENARIO = 10.0  # rows that the rate of everybody counts for in that of a scenario


def logit(rate: np.ndarray) -> np.ndarray:
    rate = np.clip(rate, 1e-6, 1 - 1e-6)
    return np.log(rate / (1 - rate))


def sigmoid(score: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-score))


def outcomes(labels: np.ndarray) -> np.ndarray:
    """float64 (X, 2 T): which of the labels (X, T) are known, then the labels, 0 where they are not."""
    return np.concatenate([~np.isnan(labels), np.nan_to_num(labels)], axis=1).astype(np.float64)


def shrunk(sums: np.ndarray, prior: np.ndarray, weight: float) -> np.ndarray:
    """float64 (X, T): the mean label, as if `weight` more exposures had that of `prior` (X, T). sums (X, 2 T): of `outcomes`."""
    known, total = np.split(sums, 2, axis=1)
    return (total + weight * prior) / (known + weight)


def rates_of_all(rows: Rows) -> np.ndarray:
    """float64 (X, T): the mean of each label as of the time, begun with one row of the training mean."""
    values = outcomes(rows.labels)
    known, total = np.split(values[rows.train].sum(axis=0), 2)
    sums = earlier_sums(np.ones(len(rows), dtype=np.int64), rows.times, values)
    return shrunk(sums, total / np.maximum(known, 1), 1.0)


def counters(rows: Rows, weights: Sequence[float] = WEIGHTS) -> Predicted:
    """Rates of the user and of the item in this scenario, each shrunk to what is known without it, added as log-odds (means of amounts as they
    are). As of the row's time; nothing is said of training rows."""
    return choose(rows, _counters(rows, weights), "smoothed counters")


def _counters(rows: Rows, weights: Sequence[float]) -> Candidates:
    values, asked = outcomes(rows.labels), rows.parts != TRAIN
    amounts = np.array([task in rows.amounts for task in rows.tasks])

    def level(rate: np.ndarray) -> np.ndarray:
        """What adds up: log-odds of rates, amounts as they are."""
        return np.where(amounts, rate, logit(rate)) if amounts.any() else logit(rate)

    def answer(levels: np.ndarray) -> np.ndarray:
        return np.where(amounts, levels, sigmoid(levels)) if amounts.any() else sigmoid(levels)

    def counted(keys: np.ndarray) -> np.ndarray:
        return earlier_sums(keys, rows.times, values)[asked]

    user, item = rows.codes["user"].values.astype(np.int64), rows.codes["item"].values.astype(np.int64)
    everywhere, user_sums, item_sums = rates_of_all(rows)[asked], counted(user), counted(item)
    if "scenario" in rows.codes:
        scenario = rows.codes["scenario"]
        here = shrunk(counted(scenario.values), everywhere, OF_A_SCENARIO)
        both = counted(item * scenario.size + scenario.values)
    else:
        here, both = everywhere, None
    for of_user in weights:
        by_user = level(shrunk(user_sums, here, of_user)) - level(here)
        for of_item in weights:
            ratio = level(shrunk(item_sums, everywhere, of_item)) - level(everywhere)
            if both is not None:  # the item's rate here starts from its rate everywhere, moved to the level of the scenario
                ratio = level(shrunk(both, answer(level(here) + ratio), of_item)) - level(here)
            for parts, score in (("user and item", by_user + ratio), ("user", by_user), ("item", ratio)):
                settings = {"user weight": of_user, "item weight": of_item, "rates": parts}
                scores = np.full(rows.labels.shape, np.nan, dtype=np.float32)
                scores[asked] = answer(level(here) + score)
                for number, task in enumerate(rows.tasks):
                    yield settings, task, scores[:, number]
