"""LightGBM on the columns of judged rows: as they are, or with counts as of the time beside them.

Dimension keys: X exposures, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from m6rec.base.extras import require
from m6rec.baselines.choosing import Candidates, Predicted, choose, one_answer, validation_quality
from m6rec.baselines.rows import FEW, TRAIN, VALIDATION, Rows, measured_tasks

TREES = {"verbosity": -1, "seed": 0, "deterministic": True, "learning_rate": 0.06}
SHAPES = (
    {"num_leaves": 15, "min_data_in_leaf": 100, "feature_fraction": 0.5, "lambda_l2": 10.0},
    {"num_leaves": 31, "min_data_in_leaf": 50, "feature_fraction": 0.2, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 10.0},
    {"num_leaves": 63, "min_data_in_leaf": 200, "feature_fraction": 0.2, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 30.0},
)
PREPARED = {"verbosity": -1, "feature_pre_filter": False, "max_bin": 127}  # one data set for shapes with leaves of different sizes
UNTRIED = 60  # trees where no validation row says when to stop


@dataclass(frozen=True)
class Search:
    """What is tried: shapes, trees at most, trees without a better validation figure; each cell also by its own rows alone."""

    shapes: Sequence[dict[str, Any]] = SHAPES
    most: int = 500
    patience: int = 40
    by_cell: bool = True
    threads: int = 1


def load_lightgbm() -> ModuleType:
    """Raises MissingExtraError."""
    return require("lightgbm", "fusion")


def lightgbm_raw(rows: Rows, search: Search | None = None) -> Predicted:
    """Trees on the columns as they are: categories of user, item, request and scenario, and numbers.

    Raises:
        MissingExtraError: LightGBM is not installed.
    """
    names = list(rows.codes)
    table = np.stack([rows.codes[name].values.astype(np.float32) for name in names] + list(rows.numbers.values()), axis=1)
    settings = {"cat_smooth": 50.0, "cat_l2": 30.0, "max_cat_threshold": 64}
    return choose(rows, _trees(rows, table, list(range(len(names))), settings, search or Search()), "LightGBM, raw columns")


def lightgbm_counts(rows: Rows, counted: Mapping[str, np.ndarray], search: Search | None = None) -> Predicted:
    """Trees on counts as of the time, numbers, and categories with few values. counted: name -> float32 (X,). Raises as `lightgbm_raw`."""
    few = [name for name, codes in rows.codes.items() if codes.size <= FEW]
    table = np.stack([rows.codes[name].values.astype(np.float32) for name in few] + [*rows.numbers.values(), *counted.values()], axis=1)
    settings = {"cat_smooth": 50.0, "cat_l2": 30.0}
    return choose(rows, _trees(rows, table, list(range(len(few))), settings, search or Search()), "LightGBM, counts as of the time")


def _trees(rows: Rows, table: np.ndarray, categories: list[int], settings: dict[str, Any], search: Search) -> Candidates:
    """For each task every shape on all rows, then the best shape on the rows of each measured cell alone."""
    lightgbm = load_lightgbm()
    datasets: dict[bytes, Any] = {}  # tasks whose labels are known in the same rows share one

    def dataset(train: np.ndarray) -> Any:
        key = train.tobytes()
        if key not in datasets:
            datasets.clear()
            datasets[key] = lightgbm.Dataset(table[train], categorical_feature=categories, params=PREPARED, free_raw_data=False)
        return datasets[key]

    def grow(task: str, shape: dict[str, Any], train: np.ndarray, held: np.ndarray, data: Any) -> tuple[np.ndarray, int]:
        truth, amount = rows.labels[:, rows.tasks.index(task)], task in rows.amounts
        data.set_label(truth[train])
        wanted = {**TREES, "num_threads": search.threads, "objective": "regression" if amount else "binary", **settings, **shape}
        wanted["metric"] = "l2" if amount else "auc"
        if not len(held) or truth[held].min() == truth[held].max():
            model = lightgbm.train(wanted, data, UNTRIED)
            return np.asarray(model.predict(table), dtype=np.float32), UNTRIED
        valid = data.create_valid(table[held], label=truth[held], params=PREPARED)
        stop = lightgbm.early_stopping(search.patience, verbose=False)
        model = lightgbm.train(wanted, data, search.most, valid_sets=[valid], callbacks=[stop])
        return np.asarray(model.predict(table), dtype=np.float32), model.best_iteration

    for task in measured_tasks(rows):
        flat = one_answer(rows, task)
        if flat is not None:
            yield {"answer": "the training mean"}, task, flat
            continue
        everybody, asked = rows.labelled(rows.train, task), rows.labelled(np.flatnonzero(rows.parts == VALIDATION), task)
        best: tuple[float, dict[str, Any]] | None = None
        for shape in search.shapes:
            scores, trees = grow(task, shape, everybody, asked, dataset(everybody))
            yield {**shape, "trees": trees}, task, scores
            value = validation_quality(rows, task, scores)
            best = (value, shape) if best is None or value > best[0] else best
        for place, cell in enumerate(rows.cells if search.by_cell else []):
            train, held = (rows.labelled(rows.cell_rows(cell, part), cell["task"]) for part in (TRAIN, VALIDATION))
            if cell["task"] != task or best is None or 2 * len(train) > len(everybody):
                continue  # a cell that is most of the rows has that model already
            shape = {**best[1], "min_data_in_leaf": 20}
            data = lightgbm.Dataset(table[train], categorical_feature=categories, params=PREPARED)
            scores, trees = grow(task, shape, train, held, data)
            yield {**shape, "trees": trees, "cell": place}, task, scores


def strongest(rows: Rows, counted: Mapping[str, np.ndarray], most: int) -> list[str]:
    """The counts on which trees gain most, over all measured tasks, on the training rows: what an engineer would keep first."""
    lightgbm = load_lightgbm()
    names, train = list(counted), rows.train
    table = np.stack([counted[name][train] for name in names], axis=1)
    data = lightgbm.Dataset(table, params=PREPARED, free_raw_data=False)
    share = np.zeros(len(names))
    for task in measured_tasks(rows):
        data.set_label(rows.labels[train, rows.tasks.index(task)])
        wanted = {**TREES, "num_threads": 1, "objective": "binary", "metric": "auc", **SHAPES[0]}
        gains = lightgbm.train(wanted, data, 60).feature_importance("gain")
        share += gains / max(gains.sum(), 1e-12)
    return [names[place] for place in np.argsort(-share, kind="stable")[:most]]
