"""`m6rec add-task`: one more task on candidates for a finished run, trained on its frozen backbone as an option."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from m6rec.base.errors import ConfigError, DataError
from m6rec.config import M6RecConfig
from m6rec.data.row_splits import readable
from m6rec.evaluation.judged import Judged
from m6rec.tasks.config import JudgeConfig
from m6rec.tasks.judge_part import JudgePart
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.tasks.option_folder import judging_of, save_option
from m6rec.training.config import LoopConfig, Trainable
from m6rec.training.judging import JudgeValidation, Judging, calibrate_judge, label_size
from m6rec.training.loop import Loop
from m6rec.training.pipeline import open_run, run_stages, set_threads, stages
from m6rec.training.run_folder import RunFolder
from m6rec.training.setting_checks import check_judging
from m6rec.training.task_checks import check_tasks
from m6rec.training.workbench import Workbench

FOLDER = "options"  # of the run
BATCH = 1024
SETTINGS = {"epochs": 4, "learning_rate": 5e-3, "weight_decay": 0.01, "warmup": 0.3, "patience": 2}


@dataclass(frozen=True)
class Added:
    """What came out. folder: of the option, or of the whole model where more than the option was trained. share: of the backbone's weights."""

    task: str
    folder: Path
    weights: int
    share: float
    judged: Judged


def add_task(
    run: Path,
    name: str,
    task: JudgeConfig,
    *,
    policy: Trainable = "options",
    settings: dict[str, Any] | None = None,
    progress: bool = False,
) -> Added:
    """Train a new task for the newest training of a run folder; its data are read again for the new label.

    Args:
        task: on candidates.
        policy: what is trained beside the option itself: options: nothing; upper: the upper layers; everything: all but what reads segments.
            With more than options the other tasks' answers change too, and a whole model is written.
        settings: changes to the training of the option: keys of `train`.

    Raises:
        ConfigError: a task of that name, or one that is not on candidates.  UsageError: the run judges no candidates.
        DataError: no such label, nothing to learn from it, or data that changed since the run was trained.
    """
    bench = open_run(run, progress)
    if name in bench.config.tasks:
        raise ConfigError(f"the run has a task '{name}' already; give the new one another name")
    if task.on != "candidate":
        raise ConfigError(
            f"task '{name}' is on {task.on}: options are added for candidates; train tasks on texts and items with the others"
        )
    set_threads(bench.config.train.threads)
    scorer = bench.fitted()
    part = judging_of(scorer)
    judging = _judging(bench, name, task, part)
    trained = judging.chosen("training")
    labels = judging.labels[name]
    size = label_size(name, labels, trained)
    backbone = sum(value.numel() for value in (*scorer.model.parameters(), *part.judge.parameters()))
    part.judge.add_task(name, task, size, torch.Generator().manual_seed(bench.config.seed + 4))
    part.judge.freeze(scorer.model, policy, [name])
    part.judge.bind(judging.examples(bench, trained, BATCH))
    folder = bench.run.root / FOLDER / name
    fitting = folder / f"fit-{policy}"
    validation = JudgeValidation(bench, judging, part.judge)
    loop = Loop(
        scorer.model,
        {"judge": part.judge},
        LoopConfig.build({**SETTINGS, **(settings or {})}, source="settings"),
        weights=task.weights(name),
        seed=bench.config.seed,
        folder=fitting,
        precision=bench.config.model.autocast,
        validate=validation,
        metric=judging.watched()[name],
        progress=bench.progress,
    )
    loop.run()
    weights = sum(value.numel() for value in part.judge.parameters() if value.requires_grad)
    weights += sum(value.numel() for value in scorer.model.parameters() if value.requires_grad)
    calibrations, thresholds = calibrate_judge(validation)
    part.calibrations |= calibrations
    judged = _judged(bench, judging, part, thresholds)
    figures = {metric: estimate._asdict() for metric, estimate in judged.table().items()}
    if policy == "options":
        save_option(folder / "option", scorer, name, figures)
        return Added(name, folder / "option", weights, weights / backbone, judged)
    _whole(bench, scorer, folder / "model")
    return Added(name, folder / "model", weights, weights / backbone, judged)


def _judging(bench: Workbench, name: str, task: JudgeConfig, part: JudgePart) -> Judging:
    """Exposures with the labels of the new task, read as those of the run were."""
    settled: M6RecConfig = bench.config.model_copy(update={"tasks": {**bench.config.tasks, name: task}})
    settled = M6RecConfig.build(settled.plain(), source=f"task '{name}'")
    again = Workbench(settled, bench.source, RunFolder(bench.run.root), stages(settled.fusion is not None), bench.progress)
    run_stages(again, "prepare")
    dataset = again.dataset
    same = dataset.items.ids.ids == bench.dataset.items.ids.ids and dataset.users.ids.ids == bench.dataset.users.ids.ids
    if not same:
        raise DataError("the data have other users or items than when the run was trained; train again, or restore the files")
    checks = check_tasks(dataset, settled).tasks
    check_judging(dataset, settled, {one: check.labels for one, check in checks.items()})
    check = checks[name]
    histories, cuts = readable(dataset, settled.split, settled.seed)
    assert dataset.exposures is not None
    exposures = replace(dataset.exposures, cuts=cuts)
    statement = f"An option trained on the frozen backbone of {bench.run.root.resolve().name}."
    return Judging({name: task}, exposures, histories, check.parts, statement, {name: check.labels}, part.inputs)


def _judged(bench: Workbench, judging: Judging, part: JudgePart, thresholds: dict[str, float]) -> Judged:
    """What the new task says of the test rows, yes from its threshold on."""
    rows = judging.chosen("test")
    examples = judging.examples(bench, rows, 4 * BATCH)
    found = part.answers(bench.model, examples.rows, examples.histories, examples.contents, examples.profiles, list(judging.configs))
    return judging.judged("m6rec", found, rows, bench, thresholds)[0]


def _whole(bench: Workbench, scorer: ChooseScorer, folder: Path) -> None:
    for module in (scorer.model, scorer.task, *_modules(scorer)):
        module.eval()
    scorer.catalogue = scorer.catalogue.with_priors(bench.all_had, bench.config.choose.prior)
    scorer.refresh()
    scorer.save(folder)


def _modules(scorer: ChooseScorer) -> list[nn.Module]:
    return [] if scorer.judging is None else [scorer.judging.judge]
