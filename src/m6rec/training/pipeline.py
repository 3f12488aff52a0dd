"""`m6rec train`: prepare, tokenizer, pretrain, encode, fit, evaluate, index, report, each skipped where its inputs are unchanged."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from m6rec.base.errors import CheckpointError, ConfigError, StorageError, nearest
from m6rec.base.storage import write_json
from m6rec.base.threads import threads_wanted
from m6rec.config import M6RecConfig
from m6rec.training.configuration_checks import check_configuration
from m6rec.training.processes import Processes, alone
from m6rec.training.progress import Progress
from m6rec.training.run_folder import DONE, RunFolder
from m6rec.training.setting_checks import check_settings, check_wording, training_targets
from m6rec.training.stage import Stage
from m6rec.training.stages_blend import BlendMembers
from m6rec.training.stages_data import Encode, Prepare, Pretrain, TrainTokenizer
from m6rec.training.stages_fit import Evaluate, Fit, Index, Report
from m6rec.training.stages_interest import LearnInterest
from m6rec.training.workbench import Workbench


def stages(fusion: bool = False, interest: bool = False) -> dict[str, Stage]:
    """Every stage by name, in order. fusion: with the one that makes a blend; interest: with the one that learns what people say."""
    blend: list[Stage] = [BlendMembers()] if fusion else []
    said: list[Stage] = [LearnInterest()] if interest else []
    listed: list[Stage] = [Prepare(), TrainTokenizer(), Pretrain(), Encode(), Fit(), *said, *blend, Evaluate(), Index(), Report()]
    return {stage.name: stage for stage in listed}


def train(
    config: M6RecConfig, folder: Path, run: Path, *, progress: bool = False, notes: bool = False, until: str | None = None
) -> dict[str, Any]:
    """Run every stage that is not done yet.

    Args:
        folder: what the paths in `config` are relative to.
        run: the run folder; created.
        notes: without progress bars, at least a line an epoch on stderr.
        until: the last stage to run; None runs all.

    Returns:
        Facts of each stage, and seconds.

    Raises:
        M6RecError: what went wrong, in one line; finished stages and the training state are kept.
    """
    processes = Processes()
    seen = processes.first  # the others keep silent
    bench = workbench(config, folder, run, Progress(visible=progress and seen, notes=notes and seen), processes.count)
    if until is not None and until not in bench.stages:
        raise ConfigError(f"there is no stage '{until}'{nearest(until, list(bench.stages))}; stages: {', '.join(bench.stages)}")
    check_configuration(config, Path(folder))
    set_threads(config.train.threads)
    if bench.device.type != "cpu":
        bench.progress.say(f"training on {bench.device}")
    begun = time.monotonic()
    summary = run_stages(bench, until)
    # Read by a new process: an evaluation of this run needs the configuration and where its paths start.
    if processes.first:
        bench.run.write_record(
            {
                "config": config.plain(),
                "tasks": list(config.tasks),
                "source": str(Path(folder).resolve()),
                "keys": {name: bench.key(name) for name in bench.stages},
            }
        )
    summary["seconds"] = round(time.monotonic() - begun, 1)
    return summary


def run_stages(bench: Workbench, until: str | None = None) -> dict[str, Any]:
    """Run the stages that are not done yet, up to `until`; the facts of each. Among several processes the first one says what is done.

    Raises:
        M6RecError: what went wrong, in one line; StorageError where it was the disk.
    """
    summary: dict[str, Any] = {}
    checked, processes = False, Processes()
    for name, stage in bench.stages.items():
        done: bool = processes.gather(_is_done(bench, stage))[0]
        try:
            if name != "prepare" and not checked and not done:
                checked = True  # before anything is trained, what can't be learned from is refused
                found = bench.checked
                check_wording(bench.dataset, bench.wording)
                check_settings(bench.dataset, bench.config, {task: check.labels for task, check in found.tasks.items()})
                training_targets(bench.split.train, bench.dataset.action_names, bench.config.choose)
                for warning in found.warnings:
                    bench.progress.say(f"  warning: {warning}")
            if stage.together or processes.first or done:
                summary[name] = _run_stage(bench, stage, done, processes)
            processes.gather(None)  # nobody reads what is not written yet
        except BrokenPipeError:
            raise  # who read what we print has gone: nothing is wrong with the disk
        except OSError as error:
            where = error.filename or bench.folder(name)
            raise StorageError(
                f"could not write {where}: {error.strerror or error}; finished stages are kept: put it right and run the same command"
            ) from error
        if name == until:
            break
    return summary


def plan(config: M6RecConfig, folder: Path, run: Path, processes: int = 1) -> list[dict[str, Any]]:
    """What `train` would do in so many processes: one row a stage, done or to do. Writes nothing; raises what `check_configuration` does."""
    check_configuration(config, folder)
    bench = workbench(config, folder, run, Progress(visible=False), processes)
    return [{"stage": name, "status": "done" if _is_done(bench, stage) else "to do"} for name, stage in bench.stages.items()]


def open_run(run: Path, progress: bool = False) -> Workbench:
    """The workbench of the newest training in a run folder. Raises CheckpointError when there is none."""
    run = Path(run)
    if not (run / "run.json").exists() and run.name == "model" and (run.parent / "run.json").exists():
        run = run.parent  # the model folder inside a run was meant
    if not (run / "run.json").exists() and (run / "stages").is_dir():
        raise CheckpointError(unfinished(run))
    record = RunFolder(run).read_record()
    bench = workbench(M6RecConfig.build(record["config"], source=str(run)), Path(record["source"]), run, Progress(visible=progress))
    bench.pin(record["keys"])
    return bench


def unfinished(run: Path) -> str:
    """What is said of a run folder whose training was stopped or killed before its end."""
    known = stages(fusion=True, interest=True)
    begun = {name: list(run.glob(f"stages/{name}-*")) for name in known}
    done = [name for name, folders in begun.items() if any((folder / DONE).exists() for folder in folders)]
    following = next((name for name in known if name not in done and (name in stages() or begun[name])), None)
    if following is None:
        return (
            f"{run} has finished stages and run.json is missing; `m6rec train CONFIG --run {run}` writes it again, what is finished is kept"
        )
    kept = f"finished: {', '.join(done)}; " if done else ""
    return f"the training in {run} is not finished ({kept}next: {following}); go on with `m6rec train CONFIG --run {run}`, CONFIG being its configuration"


def set_threads(threads: int | None) -> None:
    """CPU threads of the tensor library; None takes M6REC_THREADS, else every core this process may use."""
    torch.set_num_threads(threads_wanted(threads))


def workbench(config: M6RecConfig, folder: Path, run: Path, progress: Progress, processes: int = 1) -> Workbench:
    """One training of `config` in a run folder; `folder` is what the paths in the configuration are relative to."""
    planned = stages(config.fusion is not None, config.choose.interest is not None)
    return Workbench(config, Path(folder), RunFolder(Path(run)), planned, progress, processes)


def _is_done(bench: Workbench, stage: Stage) -> bool:
    made = stage.output(bench)
    return (bench.folder(stage.name) / DONE).exists() and (made is None or made.exists())


def _run_stage(bench: Workbench, stage: Stage, done: bool, processes: Processes) -> dict[str, Any]:
    note = bench.folder(stage.name) / DONE
    if done:
        facts: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        bench.progress.say(f"{stage.name}: done before, skipped")
        return {**facts, "skipped": True}
    bench.progress.stage = stage.name
    bench.progress.say(f"{stage.name}: {(stage.__doc__ or '').splitlines()[0]}")
    begun = time.monotonic()
    if stage.output(bench) is not None:
        # One place for the runs of every configuration: what an earlier one left there counts as done no longer.
        bench.run.forget(stage.name)
    with nullcontext() if stage.together else alone():
        facts = stage.run(bench)
    if not processes.first:
        return {}
    facts["seconds"] = round(time.monotonic() - begun, 2)
    write_json(note, facts)
    bench.run.log({"stage": stage.name, "key": bench.key(stage.name), **facts})
    bench.progress.say("  " + ", ".join(f"{name}: {value}" for name, value in facts.items()))
    return facts
