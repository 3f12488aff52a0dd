"""The runs behind a seesaw: the joint model, each task alone, all but one, trained from the same prepared data and measured alike.

Every variant is a `fit` stage of the same run folder, so what is trained already is not trained again, and a variant that is stopped goes
on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from m6rec.base.errors import UsageError
from m6rec.base.storage import atomic_file, write_json
from m6rec.config import M6RecConfig
from m6rec.evaluation.evaluated import Evaluation
from m6rec.evaluation.judged import Judged
from m6rec.evaluation.metric_names import split_name
from m6rec.evaluation.seesaw import ALONE, JOINT, WITHOUT, Measured, Seesaw, compare
from m6rec.evaluation.seesaw_report import seesaw_page
from m6rec.tasks.config import ChooseConfig, JudgeConfig, TaskConfig
from m6rec.training.measuring import measure, measure_baskets, measure_judged
from m6rec.training.pipeline import open_run, run_stages, set_threads, stages
from m6rec.training.run_folder import DONE, RunFolder
from m6rec.training.workbench import Workbench

SHARED = ("prepare", "tokenizer", "pretrain", "encode")  # stages whose results all variants take from the run
FOLDER, JSON, PAGE = "seesaw", "seesaw.json", "seesaw.html"

Held = Literal["validation", "test"]
Measure = Callable[[Workbench, Held], dict[str, Measured]]


def variants(config: M6RecConfig) -> dict[str, M6RecConfig]:
    """Name -> configuration: JOINT, "alone TASK" and "without TASK" for every task that is trained.

    The task that chooses is never taken out, for the others read histories through it; where it is not to be trained its weight is 0.

    Raises:
        UsageError: a single task, which has nothing to be compared with.
    """
    trained = [name for name, task in config.tasks.items() if task.weight > 0]
    if len(trained) < 2:
        raise UsageError(
            f"a seesaw compares tasks trained together, the run has one: {', '.join(trained)}; add a task to the configuration"
        )
    found = {JOINT: config}
    for task in trained:
        found[f"{ALONE} {task}"] = _with_tasks(config, {task})
    for task in trained:
        found[f"{WITHOUT} {task}"] = _with_tasks(config, {name for name in trained if name != task})
    # What is served and what else is measured beside the model is of no concern here.
    return {
        name: one.model_copy(
            update={"fusion": None, "evaluation": one.evaluation.model_copy(update={"baselines": [], "judged_baselines": []})}
        )
        for name, one in found.items()
    }


def _with_tasks(config: M6RecConfig, trained: set[str]) -> M6RecConfig:
    tasks: dict[str, TaskConfig] = {}
    for name, task in config.tasks.items():
        if name in trained:
            gone = isinstance(task, JudgeConfig) and task.after is not None and task.after not in trained
            task = task.model_copy(update={"after": None}) if gone else task
            tasks[name] = _without_satisfaction(task) if isinstance(task, JudgeConfig) else task
        elif isinstance(task, ChooseConfig) and name == config.choose_name:
            tasks[name] = task.model_copy(update={"weight": 0.0})
    evaluation = config.evaluation.model_copy(update={"worth": {}})  # the tasks that say it are not all there
    return config.model_copy(update={"tasks": tasks, "evaluation": evaluation})


def _without_satisfaction(task: JudgeConfig) -> JudgeConfig:
    """What rows are worth is not known of a variant; early stopping goes by the other metrics."""
    return task.model_copy(update={"metrics": [name for name in task.metrics or [] if split_name(name)[0] != "satisfaction"] or None})


def measure_tasks(bench: Workbench, held: Held) -> dict[str, Measured]:
    """Task -> its measurement on the held-out cases or rows, of the tasks that are trained."""
    found: dict[str, Measured] = {}
    config = bench.config
    if config.choose.weight > 0:
        found[config.choose_name] = measure(bench, baselines=[], held=held)[0]
    for name, task in config.tasks.items():
        if isinstance(task, ChooseConfig) and task.of == "basket" and task.weight > 0:
            found[name] = measure_baskets(bench, baselines=[], held=held)[0]
    for one in measure_judged(bench, held):
        if config.tasks[one.task].weight > 0:
            found.setdefault(one.task, one)  # the model comes first, baselines after it
    return found


def seesaw(
    run: Path,
    *,
    held: Held = "test",
    least: int = 0,
    page: Path | None = None,
    measured: Measure = measure_tasks,
    progress: bool = False,
) -> Seesaw:
    """Train and measure the variants of a finished run, and compare them. Writes seesaw/seesaw.json and seesaw.html into the run folder.

    Args:
        held: which held-out part is measured.
        least: see `evaluation.seesaw.compare`.
        page: where the HTML goes instead.
        measured: what measures a variant that is trained.

    Raises:
        CheckpointError: no finished run there.  UsageError: one task only.  Interrupted: Ctrl-C; the same call goes on.
    """
    parent = open_run(run, progress)
    set_threads(parent.config.train.threads)
    results: dict[str, dict[str, Measured]] = {}
    seconds: dict[str, float] = {}
    for name, config in variants(parent.config).items():
        bench = _bench(parent, config)
        parent.progress.say(f"{name}:")
        facts = run_stages(bench, until="fit")["fit"]
        seconds[name] = float(facts["seconds"])
        kept = _kept(bench, held, measured)
        results[name] = {task: kept[task] for task in config.tasks if task in kept}
    found = compare(results, least=least, seconds=seconds)
    write_json(parent.run.root / FOLDER / JSON, found.plain())
    with atomic_file(page or parent.run.root / PAGE) as temporary:
        temporary.write_text(seesaw_page(found, title=f"m6rec seesaw: {parent.run.root.resolve().name}"), encoding="utf-8")
    return found


def kept_alone(parent: Workbench, held: Held) -> list[Judged]:
    """What the single-task models that an earlier `seesaw` of this run measured say of the judged rows, called ALONE; nothing is trained."""
    if sum(task.weight > 0 for task in parent.config.tasks.values()) < 2:
        return []
    found = []
    for name, config in variants(parent.config).items():
        task = name.removeprefix(f"{ALONE} ")
        folder = _measurements(_bench(parent, config), held)
        if task != name and task in parent.config.judges and (folder / DONE).exists() and (folder / task).exists():
            found.append(replace(Judged.load(folder / task), name=ALONE))
    return found


def plan(run: Path) -> list[dict[str, str]]:
    """What `seesaw` would train: one row a variant, done or to do. Writes nothing; raises as `seesaw`."""
    parent = open_run(run)
    rows = []
    for name, config in variants(parent.config).items():
        bench = _bench(parent, config)
        done = (bench.folder("fit") / DONE).exists()
        rows.append(
            {"variant": name, "tasks": ", ".join(n for n, t in config.tasks.items() if t.weight > 0), "status": "done" if done else "to do"}
        )
    return rows


def _bench(parent: Workbench, config: M6RecConfig) -> Workbench:
    """A variant's workbench: the parent's folders and results up to `encode`, which do not depend on what is trained with them."""
    bench = Workbench(config, parent.source, RunFolder(parent.run.root), stages(False, config.choose.interest is not None), parent.progress)
    bench.pin({stage: parent.key(stage) for stage in SHARED})
    return bench


def _measurements(bench: Workbench, held: Held) -> Path:
    return bench.run.root / FOLDER / f"{bench.key('evaluate')}-{held}"


def _kept(bench: Workbench, held: Held, measured: Measure) -> dict[str, Measured]:
    """The measurements of a variant, from disk where they are there already."""
    folder = _measurements(bench, held)
    if (folder / DONE).exists():
        kinds: dict[str, str] = json.loads((folder / DONE).read_text(encoding="utf-8"))
        return {task: (Judged if kind == "judged" else Evaluation).load(folder / task) for task, kind in kinds.items()}
    found = measured(bench, held)
    for task, one in found.items():
        one.save(folder / task)
    write_json(folder / DONE, {task: "judged" if isinstance(one, Judged) else "ranked" for task, one in found.items()})
    return found
