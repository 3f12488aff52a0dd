"""Exposures as they come in, with what came of them: rows of the log that rates are counted from.

Dimension keys: X rows, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from m6rec.base.errors import DataError, nearest
from m6rec.data.columns import Columns
from m6rec.data.labels import read_labels
from m6rec.data.schema import shown
from m6rec.data.statistics import OutcomeLog, Statistics
from m6rec.serving.engine.additions import SOURCE, NewEvents, read_new_events
from m6rec.tasks.judge import Judge
from m6rec.tasks.judge_cells import NEW


def read_exposures(frame: pl.DataFrame, training: Mapping[str, Any]) -> NewEvents:
    """Who was shown what, when and where, in the order of the frame.

    Raises:
        DataError: as `read_new_events`; no times: rates are counted as of a moment.
    """
    if Columns.ORDER in frame.columns:
        frame = frame.drop(Columns.ORDER)  # moments alone decide what is before what
    exposures = read_new_events(frame, training)
    if exposures.times is None or exposures.times.null_count():
        raise DataError(f"{SOURCE}: every exposure needs a time, its rates are counted as of a moment; give the column time")
    return exposures


def outcome_log(
    exposures: NewEvents,
    frame: pl.DataFrame,
    users: np.ndarray,
    items: np.ndarray,
    judge: Judge,
    statistics: Statistics,
    scenarios: list[str],
    later: Sequence[str] = (),
) -> OutcomeLog:
    """Rows to append to `statistics`; a label that the frame lacks, or that is blank, is unknown.

    Args:
        users, items: dense, int64 (X,).  scenarios: names of the training's; a blank one counts as unknown.
        later: scenarios that came after it; what happens there counts for users and items, and for no scenario.

    Raises:
        DataError: no column of a label, a label that can't be read as the training read it, a scenario that neither training nor `later` has.
    """
    assert exposures.times is not None
    columns = list(dict.fromkeys(judge.configs[task].label for task in statistics.labels if task in judge.configs))
    if not set(columns) & set(frame.columns):
        hint = next((found for column in frame.columns if (found := nearest(column, columns))), "")
        raise DataError(f"{SOURCE} have no column that is a label of a task, so nothing came of them; labels: {', '.join(columns)}{hint}")
    place = None
    if statistics.log_has_scenarios:
        codes = dict.fromkeys(later, NEW) | {name: code for code, name in enumerate(scenarios)}
        told = [""] * len(users) if exposures.scenarios is None else exposures.scenarios.fill_null("").to_list()
        strange = next((name for name in told if name and name not in codes), None)
        if strange is not None:
            hint = nearest(strange, list(codes)) or "; known: " + ", ".join(codes)
            raise DataError(f"{SOURCE} have the scenario {shown(strange)}, which training did not know{hint}; for a new one: add_scenario")
        place = np.array([codes.get(name, -1) for name in told], dtype=np.int64)
    outcomes = np.full((len(users), len(statistics.labels)), np.nan, dtype=np.float32)
    for column, task in enumerate(statistics.labels):
        config, size = judge.configs.get(task), judge.sizes.labels.get(task)
        if config is None or size is None or config.label not in frame.columns:
            continue
        labels = read_labels(
            frame[config.label],
            size.kind,
            config.positive,
            what=f"{SOURCE}, column '{config.label}'",
            names=size.names or None,
            check=False,
        )
        asked = np.ones(len(users), dtype=bool)
        if place is not None and judge.sizes.scenarios:
            asked = np.isin(place, [NEW, *(scenarios.index(name) for name in judge.scenarios_of(task))])
        outcomes[asked, column] = labels.values[asked]
    return OutcomeLog(users, items, place, exposures.times.to_numpy().astype(np.float64), outcomes)
