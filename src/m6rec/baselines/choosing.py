"""Candidates of a baseline (settings, and what they say of every row), of which validation rows choose one a task.

Dimension keys: X exposures, T columns of labels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from m6rec.baselines.rows import TEST, VALIDATION, Rows

Candidates = Iterator[tuple[dict[str, Any], str, np.ndarray]]  # settings, task, scores (X,)


@dataclass
class Predicted:
    """What one scorer says: probabilities float32 (X, T), numbers of `amounts`, NaN where it was not asked.

    facts: seconds (CPU, everything tried included), chosen.
    """

    name: str
    values: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)


def cell_quality(rows: Rows, cell: dict[str, Any], scores: np.ndarray, part: int) -> float | None:
    """AUC of `scores` (X,) over a cell's rows in one part, minus the mean squared error of amounts; None where it is undefined."""
    index = rows.labelled(rows.cell_rows(cell, part), cell["task"])
    truth = rows.labels[index, rows.tasks.index(cell["task"])]
    if cell["task"] in rows.amounts:
        return -float(np.mean((truth.astype(np.float64) - scores[index]) ** 2)) if len(index) else None
    return float(roc_auc_score(truth, scores[index])) if 0 < truth.sum() < len(truth) else None


def validation_quality(rows: Rows, task: str, scores: np.ndarray) -> float:
    """Mean `cell_quality` of `scores` (X,) over the measured cells of the task, on validation. Cells where it is undefined are left out."""
    found = [cell_quality(rows, cell, scores, VALIDATION) for cell in rows.cells if cell["task"] == task]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else 0.5


def choose(rows: Rows, candidates: Candidates, name: str) -> Predicted:
    """Of candidates (settings, task, scores (X,)) the best of each task by validation; then in each cell the best for it.

    A candidate with `cell` in its settings is fitted to that cell's rows and competes there alone.
    """
    begun = time.process_time()
    values = np.full(rows.labels.shape, np.nan, dtype=np.float32)
    best: dict[Any, tuple[float, np.ndarray, dict[str, Any]]] = {}
    for settings, task, scores in candidates:
        place = settings.get("cell")
        value = validation_quality(rows, task, scores) if place is None else cell_quality(rows, rows.cells[place], scores, VALIDATION)
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
            if value > (cell_quality(rows, cell, values[:, column], VALIDATION) or 0.0):
                for part in (VALIDATION, TEST):
                    index = rows.cell_rows(cell, part)
                    values[index, column] = scores[index]
                chosen[f"{cell['scenario']}/{task}"] = {"validation": round(value, 5), **settings}
    return Predicted(name, values, {"seconds": round(time.process_time() - begun, 1), "chosen": chosen})


def one_answer(rows: Rows, task: str) -> np.ndarray | None:
    """float32 (X,): the mean of the training rows for everybody, where they are too few or too alike to fit anything to; else None."""
    truth = rows.labels[rows.labelled(rows.train, task), rows.tasks.index(task)]
    if len(truth) > 1 and truth.min() < truth.max():
        return None
    if task in rows.amounts:
        mean = float(truth.mean()) if len(truth) else 0.0
    else:
        mean = (float(truth.sum()) + 0.5) / (len(truth) + 1)
    return np.full(len(rows), mean, dtype=np.float32)
