"""Logistic regression on hashed features: every category, number in bins, tag, and crosses with scenario, user and item properties.

Dimension keys: X exposures.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from m6rec.baselines.choosing import Candidates, Predicted, choose, one_answer
from m6rec.baselines.rows import FEW, Rows, measured_tasks

HASHED = 1 << 20
BINS = 16
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)


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
            if rows.codes.get(other) is not None and rows.codes[other].size <= FEW:
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
    known = values[rows.train]
    edges = np.unique(np.nanquantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if np.isfinite(known).any() else np.zeros(0)
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, np.nan_to_num(values), side="right")).astype(np.int32)


def logistic_regression(rows: Rows, strengths: Sequence[float] = STRENGTHS) -> Predicted:
    """L2 regularised, one a task of yes and no; the strength is chosen on validation."""
    return choose(rows, _logistic_regressions(rows, hashed_features(rows), strengths), "logistic regression")


def _logistic_regressions(rows: Rows, features: sp.csr_matrix, strengths: Sequence[float]) -> Candidates:
    train = features[rows.train]
    used = np.unique(train.indices)  # a column without a training row has no weight
    everywhere = features[:, used]
    for task in measured_tasks(rows):
        index = rows.labelled(rows.train, task)
        truth, flat = rows.labels[index, rows.tasks.index(task)], one_answer(rows, task)
        if flat is not None:
            yield {"answer": "the training mean"}, task, flat
            continue
        here = everywhere[index]
        for strength in strengths:
            model = LogisticRegression(C=strength, solver="liblinear", tol=1e-3, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # validation says which is good enough
                model.fit(here, truth)
            yield {"C": strength}, task, model.predict_proba(everywhere)[:, 1].astype(np.float32)
