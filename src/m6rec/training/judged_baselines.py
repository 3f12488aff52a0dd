"""Baselines of the tasks that judge, fitted to the training rows of a run and measured on the rows that the run is measured on.

What a baseline says of the validation and test rows is kept in the run folder (`kept_answers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from m6rec.base.errors import ConfigError, MissingExtraError, nearest
from m6rec.base.threads import threads_wanted
from m6rec.baselines.by_name import CHEAP, KINDS, LOGISTIC, NAMES, TREES, USUAL, check_installed, fit
from m6rec.baselines.exposure_rows import exposure_rows, some_rows
from m6rec.baselines.label_columns import answer_of, columns_of, unsuited
from m6rec.data.row_splits import NAMES as PARTS
from m6rec.data.row_splits import TEST, VALIDATION
from m6rec.evaluation.calibration import fit_calibration
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.label_metrics import best_threshold
from m6rec.tasks.judge_part import JudgeInputs
from m6rec.training.judged_text_baseline import judge_documents
from m6rec.training.kept_answers import Said, kept_answers, labelled

if TYPE_CHECKING:
    from m6rec.config import M6RecConfig
    from m6rec.training.judging import Judging
    from m6rec.training.workbench import Workbench

MOST_TRAINED = 200_000  # exposures that logistic regression and trees are fitted to, drawn by seed; counters count them all
CALIBRATED = ("binary", "classes", "tags")  # kinds of label whose answers are calibrated as the model's are


@dataclass(frozen=True)
class Beside:
    """judged: what the baselines say of the rows, by baseline and task. notes: a sentence for everything that is missing there."""

    judged: list[Judged]
    notes: list[str]


def usual_baselines(config: M6RecConfig, *, cheap: bool = False) -> tuple[list[str], list[str]]:
    """The names that the configuration asks for, or else the usual ones as far as they are installed; and notes on what is left out.

    Raises:
        MissingExtraError: the configuration asks for trees and LightGBM is not installed.
    """
    asked = config.evaluation.judged_baselines
    if asked is not None:
        check_installed(list(asked))
        return list(asked), []
    names = list(CHEAP if cheap else USUAL)
    try:
        check_installed(names)
    except MissingExtraError as error:
        left_out = [name for name in names if name in TREES]
        return [name for name in names if name not in TREES], [f"{', '.join(left_out)} is left out: {error}."]
    return names, []


def checked(names: Sequence[str]) -> list[str]:
    """The names, which somebody typed.

    Raises:
        ConfigError: no such baseline.  MissingExtraError: LightGBM is not installed, which one of them needs.
    """
    for name in names:
        if name not in NAMES:
            raise ConfigError(f"no baseline of tasks that judge is called '{name}'{nearest(name, NAMES)}; there are: {', '.join(NAMES)}")
    check_installed(list(names))
    return list(names)


def judge_beside(bench: Workbench, ours: Sequence[Judged], held: str, names: Sequence[str], notes: Sequence[str] = ()) -> Beside:
    """What the baselines `names` say of the rows that the run was measured on.

    Args:
        ours: of the run, which says what tasks there are.  held: the part that they are of.  notes: what is known to be missing.
    """
    found, told = [], list(notes) if bench.judging is not None else []  # trees judge candidates alone
    tasks = [one.task for one in ours]
    for name in dict.fromkeys(names):
        if bench.judging is not None:
            found += _judge_candidates(bench, bench.judging, name, [task for task in tasks if task in bench.judging.configs], held, told)
        if bench.judging_texts is not None and name == LOGISTIC:
            about = [one for one in ours if one.task in bench.judging_texts.configs]
            found += judge_documents(bench, bench.judging_texts, name, about, held, told)
    without = [task for task in tasks if not any(one.task == task for one in found)]
    if names and without:
        told.append(f"No baseline stands beside {', '.join(without)}.")
    return Beside(found, told)


def _judge_candidates(bench: Workbench, judging: Judging, name: str, tasks: Sequence[str], held: str, notes: list[str]) -> list[Judged]:
    suited = []
    for task in tasks:
        sentence = unsuited(name, task, judging.labels[task], KINDS[name])
        if sentence is None:
            suited.append(task)
        else:
            notes.append(sentence)
    if not suited:
        return []
    inputs = [suited, [[task, *labelled(config)] for task, config in judging.configs.items()]]  # the labels of all are counted
    said = kept_answers(bench, name, inputs, lambda: _say(bench, judging, name, suited))
    places = {part: np.flatnonzero(judging.parts[said.rows] == PARTS.index(part)) for part in ("validation", held)}
    answers = {part: {task: values[index] for task, values in said.answers.items()} for part, index in places.items()}
    calibrations, thresholds = {}, {}
    for one in judging.judged(name, answers["validation"], said.rows[places["validation"]], bench):
        if judging.configs[one.task].calibrate and one.kind in CALIBRATED:
            calibrations[one.task] = fit_calibration(one, seed=bench.config.seed)
            one = calibrations[one.task].applied(one)
        if one.kind == "binary":
            thresholds[one.task] = best_threshold(one.truth, one.predicted)
    found = [
        replace(one, statements=[*one.statements, said.statement])
        for one in judging.judged(name, answers[held], said.rows[places[held]], bench, thresholds)
    ]
    return [calibrations[one.task].applied(one) if one.task in calibrations else one for one in found]


def _say(bench: Workbench, judging: Judging, name: str, tasks: Sequence[str]) -> Said:
    """Fit one baseline to all its tasks."""
    bench.progress.say(f"  fitting {name}")
    apart, parts = name == LOGISTIC, judging.parts
    columns = [columns_of(task, judging.labels[task], levels_apart=apart) for task in tasks]
    rows = exposure_rows(bench.dataset, parts, columns)
    asked, training = np.flatnonzero((parts == VALIDATION) | (parts == TEST)), judging.chosen("training")
    if name in (*TREES, LOGISTIC):
        drawn = judging.chosen("training", MOST_TRAINED, bench.config.seed)
        index = np.sort(np.concatenate([drawn, asked]))
        rows = some_rows(rows, index)
    else:
        drawn, index = training, np.arange(len(parts))
    predicted = fit(name, rows, lambda: _counts(bench, judging, index), threads_wanted(bench.config.train.threads))
    values, answers, start = predicted.values[np.searchsorted(index, asked)], {}, 0
    for task, part in zip(tasks, columns, strict=True):
        answers[task] = answer_of(judging.labels[task], values[:, start : start + len(part.names)], levels_apart=apart)
        start += len(part.names)
    chosen = [f"{task} {_settings(predicted.facts['chosen'][task])}" for task in tasks if task in predicted.facts["chosen"]]
    fitted = f"{len(drawn):,} of {len(training):,}" if len(drawn) < len(training) else f"{len(training):,}"
    statement = f"{name}: fitted to {fitted} training rows, chosen on {int((parts == VALIDATION).sum()):,} validation rows"
    return Said(asked, answers, f"{statement} ({'; '.join(chosen)})." if chosen else f"{statement}.")


def _settings(chosen: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in chosen.items() if name != "validation"
    )


def _counts(bench: Workbench, judging: Judging, index: np.ndarray) -> dict[str, np.ndarray]:
    """The statistics that the model reads, of the exposures `index`, by name: as of the time of each."""
    inputs, shown = judging.inputs, judging.exposures.rows(index)
    if inputs.values is None:  # the model reads none
        inputs = JudgeInputs.of(
            replace(bench.dataset, exposures=judging.exposures), judging.labels, counted=True, language=bench.config.text.language
        )
        if inputs.statistics is not None:
            inputs.statistics.settle(judging.chosen("training"))
    users, scenarios = shown.users.astype(np.int64), None if shown.scenarios is None else shown.scenarios.astype(np.int64)
    table = inputs.counts(shown.users, shown.items, scenarios, shown.times, judging.histories, users, shown.cuts)
    return {} if table is None else dict(zip(inputs.names, table.T, strict=True))
