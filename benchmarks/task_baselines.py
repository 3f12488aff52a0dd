"""Baselines of the tasks benchmark, built here: smoothed counters, logistic regression on hashed features, LightGBM on raw and on counted columns.

Each gives a probability for every row and task (`Predicted`). What can be chosen is chosen on validation, cell by cell or task by task, and
nothing is fitted to validation rows; counts run on through them, for everybody alike. One thread each.

Dimension keys: X exposures, T tasks, F features.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from task_counts import earlier_sums, outcomes, rates_of_all
from task_rows import TEST, TRAIN, VALIDATION, Rows

HASHED = 1 << 20
BINS = 16


@dataclass
class Predicted:
    """What one scorer says: probabilities float32 (X, T), NaN where it was not asked; facts: seconds (CPU, everything tried included), chosen."""

    name: str
    values: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)


def validation_auc(rows: Rows, task: str, scores: np.ndarray) -> float:
    """Mean AUC of `scores` (X,) over the measured cells of the task, on validation. Cells with one outcome only are left out."""
    found = [cell_auc(rows, cell, scores, VALIDATION) for cell in rows.cells if cell["task"] == task]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else 0.5


def cell_auc(rows: Rows, cell: dict[str, Any], scores: np.ndarray, part: int) -> float | None:
    index = rows.cell_rows(cell, part)
    truth = rows.labels[index, rows.tasks.index(cell["task"])]
    return float(roc_auc_score(truth, scores[index])) if 0 < truth.sum() < len(truth) else None


def measured_tasks(rows: Rows) -> list[str]:
    """Tasks with a measured cell, in their order."""
    wanted = {cell["task"] for cell in rows.cells}
    return [task for task in rows.tasks if task in wanted]


def choose(rows: Rows, candidates: Iterator[tuple[dict[str, Any], str, np.ndarray]], name: str) -> Predicted:
    """Of candidates (settings, task, scores (X,)) the best of each task by validation; then in each cell the best for it.

    A candidate with `cell` in its settings is fitted to that cell's rows and competes there alone.
    """
    begun = time.process_time()
    values = np.full(rows.labels.shape, np.nan, dtype=np.float32)
    best: dict[Any, tuple[float, np.ndarray, dict[str, Any]]] = {}
    for settings, task, scores in candidates:
        places = [settings["cell"]] if "cell" in settings else [None]
        for place in places:
            value = validation_auc(rows, task, scores) if place is None else cell_auc(rows, rows.cells[place], scores, VALIDATION)
            if value is not None and ((task, place) not in best or value > best[task, place][0]):
                best[task, place] = (value, scores, settings)
    for (task, place), (_, scores, _settings) in best.items():
        if place is None:
            values[:, rows.tasks.index(task)] = scores
    chosen = {str(key[0]): {"validation": round(value, 5), **settings} for key, (value, _, settings) in best.items() if key[1] is None}
    for (task, place), (value, scores, settings) in best.items():
        if place is not None:
            cell = rows.cells[place]
            column = rows.tasks.index(task)
            if value > (cell_auc(rows, cell, values[:, column], VALIDATION) or 0.0):
                for part in (VALIDATION, TEST):
                    index = rows.cell_rows(cell, part)
                    values[index, column] = scores[index]
                chosen[f"{cell['scenario']}/{task}"] = {"validation": round(value, 5), **settings}
    return Predicted(name, values, {"seconds": round(time.process_time() - begun, 1), "chosen": chosen})


def logit(rate: np.ndarray) -> np.ndarray:
    rate = np.clip(rate, 1e-6, 1 - 1e-6)
    return np.log(rate / (1 - rate))


def sigmoid(score: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-score))


# --- Smoothed counters -------------------------------------------------------------------------------------------------------------------------


def shrunk(sums: np.ndarray, prior: np.ndarray, weight: float) -> np.ndarray:
    """float64 (X, T): positives over exposures, as if `weight` more exposures had the rate of `prior` (X, T). sums: (X, 1 + T)."""
    return (sums[:, 1:] + weight * prior) / (sums[:, :1] + weight)


def counters(rows: Rows) -> Predicted:
    """Rates of the user and of the item in this scenario, each shrunk to what is known without it, added as log-odds. As of the row's time."""
    return choose(rows, _counters(rows), "smoothed counters")


def _counters(rows: Rows) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    values, everywhere = outcomes(rows), rates_of_all(rows)
    user, item = rows.codes["user"].values.astype(np.int64), rows.codes["item"].values.astype(np.int64)
    user_sums, item_sums = (earlier_sums(key, rows.times, values) for key in (user, item))
    if "scenario" in rows.codes:
        scenario = rows.codes["scenario"]
        here = shrunk(earlier_sums(scenario.values, rows.times, values), everywhere, 10.0)
        both = earlier_sums(1 + np.unique(item * scenario.size + scenario.values, return_inverse=True)[1], rows.times, values)
    else:
        here, both = everywhere, None
    for of_user in (3.0, 10.0, 30.0, 100.0):
        by_user = logit(shrunk(user_sums, here, of_user)) - logit(here)
        for of_item in (3.0, 10.0, 30.0, 100.0):
            rate = shrunk(item_sums, everywhere, of_item)
            ratio = logit(rate) - logit(everywhere)
            if both is not None:  # the item's rate here starts from its rate everywhere, moved to the level of the scenario
                ratio = logit(shrunk(both, sigmoid(logit(here) + ratio), of_item)) - logit(here)
            for parts, score in (("user and item", by_user + ratio), ("user", by_user), ("item", ratio)):
                settings = {"user weight": of_user, "item weight": of_item, "rates": parts}
                scores = sigmoid(logit(here) + score).astype(np.float32)
                for number, task in enumerate(rows.tasks):
                    yield settings, task, scores[:, number]


# --- Logistic regression on hashed features ------------------------------------------------------------------------------------------------------


def hashed_features(rows: Rows) -> sp.csr_matrix:
    """float32 (X, HASHED): every category, number in bins, tag, and cross with scenario, user and item properties, hashed to one column each."""
    columns: dict[str, np.ndarray] = {name: codes.values for name, codes in rows.codes.items()}
    columns |= {f"{name} in bins": in_bins(rows, values) for name, values in rows.numbers.items()}
    crossed = dict(columns)
    scenario = columns.get("scenario")
    for name, values in columns.items():
        if scenario is not None and name != "scenario":
            crossed[f"{name} x scenario"] = values.astype(np.int64) * 64 + scenario
    of_item = [name for name in rows.item_codes if name != "item"]
    of_user = [name for name in columns if name not in rows.item_codes and name not in ("user", "scenario", "hour", "weekday")]
    for name in of_item:
        crossed[f"user x {name}"] = columns["user"].astype(np.int64) << 24 | columns[name]
        for other in of_user:
            if rows.codes.get(other) is not None and rows.codes[other].size <= 64:
                crossed[f"{other} x {name}"] = columns[other].astype(np.int64) << 24 | columns[name]
    tables = [hashed(name, values[:, None]) for name, values in crossed.items()]
    tables += [hashed(name, codes.values, codes.values > 0) for name, codes in rows.tags.items()]
    index = np.concatenate([table for table, _ in tables], axis=1)
    weight = np.concatenate([known for _, known in tables], axis=1).astype(np.float32)
    matrix = sp.csr_matrix((weight.ravel(), index.ravel(), np.arange(0, index.size + 1, index.shape[1])), shape=(len(rows), HASHED))
    matrix.eliminate_zeros()
    return matrix


def hashed(name: str, values: np.ndarray, known: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """int64 (X, n) columns of `values` (X, n) under `name`, and which of them hold."""
    seed = np.uint64(sum(ord(letter) * 31**place % (1 << 61) for place, letter in enumerate(name)) % (1 << 61))
    mixed = (values.astype(np.uint64) + seed) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(44)).astype(np.int64) % HASHED, np.ones(values.shape, dtype=bool) if known is None else known


def in_bins(rows: Rows, values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """int32 (X,): 1.. by quantiles of the training rows, 0 unknown."""
    edges = (
        np.unique(np.nanquantile(values[rows.train], np.linspace(0, 1, bins + 1)[1:-1])) if np.isfinite(values[rows.train]).any() else []
    )
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(np.asarray(edges), np.nan_to_num(values), side="right")).astype(np.int32)


def logistic_regression(rows: Rows) -> Predicted:
    """L2 regularised, one a task; the strength is chosen on validation."""
    return choose(rows, _logistic_regressions(rows, hashed_features(rows)), "logistic regression")


def _logistic_regressions(rows: Rows, features: sp.csr_matrix) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    train = features[rows.train]
    used = np.unique(train.indices)  # a column without a training row has no weight
    train, everywhere = train[:, used], features[:, used]
    for task in measured_tasks(rows):
        truth = rows.labels[rows.train, rows.tasks.index(task)]
        for strength in (0.003, 0.01, 0.03, 0.1, 0.3):
            model = LogisticRegression(C=strength, solver="liblinear", tol=1e-3, random_state=0).fit(train, truth)
            yield {"C": strength}, task, model.predict_proba(everywhere)[:, 1].astype(np.float32)


# --- LightGBM ------------------------------------------------------------------------------------------------------------------------------------

TREES = {"objective": "binary", "metric": "auc", "verbosity": -1, "num_threads": 1, "seed": 0, "deterministic": True, "learning_rate": 0.06}
SHAPES = (
    {"num_leaves": 15, "min_data_in_leaf": 100, "feature_fraction": 0.5, "lambda_l2": 10.0},
    {"num_leaves": 31, "min_data_in_leaf": 50, "feature_fraction": 0.2, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 10.0},
    {"num_leaves": 63, "min_data_in_leaf": 200, "feature_fraction": 0.2, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 30.0},
)
PREPARED = {"verbosity": -1, "feature_pre_filter": False, "max_bin": 127}  # one data set for shapes with leaves of different sizes
MOST_TREES, PATIENCE = 500, 40


def lightgbm_raw(rows: Rows) -> Predicted:
    """Trees on the columns as they are: categories of user, item, request and scenario, and numbers."""
    names = list(rows.codes)
    table = np.stack([rows.codes[name].values.astype(np.float32) for name in names] + list(rows.numbers.values()), axis=1)
    settings = {"cat_smooth": 50.0, "cat_l2": 30.0, "max_cat_threshold": 64}
    return choose(rows, _trees(rows, table, list(range(len(names))), settings), "LightGBM, raw columns")


def lightgbm_counts(rows: Rows, counted: dict[str, np.ndarray]) -> Predicted:
    """Trees on counts as of the time, numbers, and categories with few values."""
    few = [name for name, codes in rows.codes.items() if codes.size <= 64]
    table = np.stack([rows.codes[name].values.astype(np.float32) for name in few] + [*rows.numbers.values(), *counted.values()], axis=1)
    return choose(rows, _trees(rows, table, list(range(len(few))), {"cat_smooth": 50.0, "cat_l2": 30.0}), "LightGBM, counts as of the time")


def _trees(
    rows: Rows, table: np.ndarray, categories: list[int], settings: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    """For each task every shape on all rows, then the best shape on the rows of each measured cell alone."""
    import lightgbm

    whole = lightgbm.Dataset(table[rows.train], categorical_feature=categories, params=PREPARED, free_raw_data=False)

    def grow(task: str, shape: dict[str, Any], train: np.ndarray, validation: np.ndarray, data: Any) -> tuple[np.ndarray, int]:
        truth = rows.labels[:, rows.tasks.index(task)]
        data.set_label(truth[train])
        held = data.create_valid(table[validation], label=truth[validation], params=PREPARED)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        model = lightgbm.train({**TREES, **settings, **shape}, data, MOST_TREES, valid_sets=[held], callbacks=[stop])
        return np.asarray(model.predict(table), dtype=np.float32), model.best_iteration

    asked = np.flatnonzero(rows.parts == VALIDATION)
    for task in measured_tasks(rows):
        best: tuple[float, dict[str, Any]] | None = None
        for shape in SHAPES:
            scores, trees = grow(task, shape, rows.train, asked, whole)
            yield {**shape, "trees": trees}, task, scores
            value = validation_auc(rows, task, scores)
            best = (value, shape) if best is None or value > best[0] else best
        for place, cell in enumerate(rows.cells):
            train, held = rows.cell_rows(cell, TRAIN), rows.cell_rows(cell, VALIDATION)
            if cell["task"] != task or best is None or 2 * len(train) > len(rows.train):
                continue  # a cell that is most of the rows has that model already
            shape = {**best[1], "min_data_in_leaf": 20}
            data = lightgbm.Dataset(table[train], categorical_feature=categories, params=PREPARED)
            scores, trees = grow(task, shape, train, held, data)
            yield {**shape, "trees": trees, "cell": place}, task, scores


def strongest(rows: Rows, counted: dict[str, np.ndarray], most: int) -> list[str]:
    """The counts on which trees gain most, over all measured tasks, on the training rows: what an engineer would keep first."""
    import lightgbm

    names, train = list(counted), rows.train
    table = np.stack([counted[name][train] for name in names], axis=1)
    data = lightgbm.Dataset(table, params=PREPARED, free_raw_data=False)
    share = np.zeros(len(names))
    for task in measured_tasks(rows):
        data.set_label(rows.labels[train, rows.tasks.index(task)])
        gains = lightgbm.train({**TREES, **SHAPES[0]}, data, 60).feature_importance("gain")
        share += gains / max(gains.sum(), 1e-12)
    return [names[place] for place in np.argsort(-share, kind="stable")[:most]]


BASELINES: dict[str, Callable[..., Predicted]] = {
    "counters": counters,
    "logistic_regression": logistic_regression,
    "lightgbm_raw": lightgbm_raw,
    "lightgbm_counts": lightgbm_counts,
}
