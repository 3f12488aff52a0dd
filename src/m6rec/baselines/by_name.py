"""The baselines of judged tasks by the names that settings and reports call them, with the modest search of an evaluation.

Dimension keys: X exposures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from m6rec.baselines.choosing import Predicted
from m6rec.baselines.counters import counters
from m6rec.baselines.logistic import logistic_regression
from m6rec.baselines.rows import Rows
from m6rec.baselines.trees import SHAPES, Search, lightgbm_counts, lightgbm_raw, load_lightgbm

COUNTERS, LOGISTIC, TREES_RAW, TREES_COUNTS = NAMES = ("counters", "logistic_regression", "lightgbm_raw", "lightgbm_counts")
TREES = (TREES_RAW, TREES_COUNTS)
CHEAP = (COUNTERS, LOGISTIC)  # of every training's own report
USUAL = (COUNTERS, LOGISTIC, TREES_COUNTS)  # of an evaluation
KINDS = {  # of label that each is fitted to
    COUNTERS: ("binary", "classes", "tags", "number", "ordinal"),
    LOGISTIC: ("binary", "classes", "tags", "ordinal"),
    TREES_RAW: ("binary", "classes", "tags", "number", "ordinal"),
    TREES_COUNTS: ("binary", "classes", "tags", "number", "ordinal"),
}
STRENGTHS = (0.01, 0.03, 0.1)

Counts = Callable[[], Mapping[str, np.ndarray]]


def fit(name: str, rows: Rows, counts: Counts, threads: int = 1) -> Predicted:
    """What the baseline `name` says of the rows (counters: of all but those of the training).

    Args:
        counts: gives counts as of the time of each row, name -> float32 (X,); asked for where trees read them.

    Raises:
        MissingExtraError: LightGBM is wanted and not installed.
    """
    search = Search(shapes=SHAPES[:2], most=300, patience=30, by_cell=False, threads=threads)
    if name == COUNTERS:
        return counters(rows)
    if name == LOGISTIC:
        return logistic_regression(rows, STRENGTHS)
    return lightgbm_raw(rows, search) if name == TREES_RAW else lightgbm_counts(rows, counts(), search)


def check_installed(names: list[str]) -> None:
    """Raises MissingExtraError: trees are among the names and LightGBM is not installed."""
    if set(names) & set(TREES):
        load_lightgbm()
