"""`m6rec evaluate`: measuring a run again, with other baselines, with parts switched off, or on the validation cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from m6rec.base.errors import CheckpointError, ConfigError
from m6rec.baselines.by_name import NAMES
from m6rec.evaluation.conversed import Conversed
from m6rec.evaluation.evaluated import Evaluation
from m6rec.training.judged_baselines import checked, judge_beside, usual_baselines
from m6rec.training.measuring import JudgedRows, judge_rows, measure, measure_baskets, measure_named, page, write_page
from m6rec.training.pipeline import open_run, unfinished
from m6rec.training.run_folder import DONE
from m6rec.training.seesaw import kept_alone


def evaluate_run(
    run: Path,
    *,
    without: Sequence[str] = (),
    baselines: Sequence[str] | None = None,
    judged_baselines: Sequence[str] | None = None,
    split: Literal["validation", "test"] = "test",
    report: Path | None = None,
    progress: bool = False,
    completed: list[Evaluation] | None = None,
    named: list[Evaluation] | None = None,
    conversed: Sequence[Conversed] = (),
) -> tuple[list[Evaluation], JudgedRows]:
    """Measure the newest training of a run folder.

    Args:
        without: parts (graph, id, text) to switch off when answering, each measured by itself. To see what a part is worth to a
            model trained without it, train with `m6rec train --without`.
        baselines: names of fusion members; None takes those of the run's configuration.
        judged_baselines: names of baselines of the tasks that judge; None takes those of the run's configuration, or the usual ones.
        report: an HTML file to write.
        completed: takes the evaluations of the task that completes baskets, where there is one.
        named: takes the evaluations of the task that names items in dialogues, where there is one.
        conversed: how conversations answered held-out dialogues, for the report.

    Returns:
        The evaluations of the choose task, the model first; and the judged rows of the tasks that judge: the model, each task's own model where
        `m6rec seesaw` has trained it, and the baselines.

    Raises:
        CheckpointError: no finished run there.  ConfigError: no such baseline or part.
        MissingExtraError: LightGBM was asked for and is not installed.
    """
    bench = open_run(run, progress)
    if not (bench.folder("fit") / DONE).exists():
        raise CheckpointError(unfinished(bench.run.root))
    for part in without:
        bench.config.without(part)  # says so when there is no such part
    names = bench.config.evaluation.baselines if baselines is None else baselines
    misplaced = next((name for name in names if name in NAMES), None)
    if misplaced is not None:
        raise ConfigError(f"'{misplaced}' is a baseline of tasks that judge; type --judged-baselines {misplaced}")
    beside, notes = usual_baselines(bench.config) if judged_baselines is None else (checked(judged_baselines), [])
    found = measure(bench, baselines=names, without=without, held=split)
    rows = judge_rows(bench, split)
    ours = {one.task: one for one in reversed(rows.judged)}  # the model comes first
    alone = [replace(one, worth=ours[one.task].worth, metrics=ours[one.task].metrics) for one in kept_alone(bench, split)]
    if rows.judged:
        rows = rows.beside(judge_beside(bench, rows.judged, split, beside, notes))
    rows = rows._replace(judged=[*rows.judged, *alone])
    of_baskets = measure_baskets(bench, baselines=names, held=split) if completed is not None else []
    if completed is not None:
        completed += of_baskets
    in_dialogues = measure_named(bench, baselines=names, held=split) if named is not None else []
    if named is not None:
        named += in_dialogues
    if report is not None:
        write_page(report, page(bench, found, rows.judged, rows.before, of_baskets, in_dialogues, conversed))
    return found, rows
