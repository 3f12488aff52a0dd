"""`m6rec train`: the main job, all stages from the logs to a model folder; a stage that is done already is skipped."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from m6rec.base.errors import Interrupted
from m6rec.cli.options import ConfigFile, DryRun, Json, Part, Progress, Set
from m6rec.cli.output import columns, print_json, print_lines, wants_progress


def train(
    config: ConfigFile,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="FOLDER", help="The run folder; default: runs/ and the name of CONFIG.")
    ] = None,
    settings: Set = None,
    without: Annotated[
        list[Part] | None, typer.Option("--without", help="Train without this part, to see what it is worth. May be repeated.")
    ] = None,
    processes: Annotated[
        int,
        typer.Option("--processes", min=1, help="Train in so many processes on this machine; a step then takes a batch of each."),
    ] = 1,
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage; --dry-run lists them.")] = None,
    progress: Progress = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train on the data that CONFIG describes: prepare, tokenizer, pretrain, encode, fit, (blend,) evaluate, index, report.

    Stopped with Ctrl-C or killed, the same command goes on where it was.
    """
    from m6rec.config import load_config
    from m6rec.training import launching, pipeline

    settled = load_config(config, settings or [])
    parts = [part.value for part in without or []]
    for part in parts:
        settled = settled.without(part)
    folder = run or default_run(config, parts)
    if dry_run:
        stages = pipeline.plan(settled, config.parent, folder, processes)
        if as_json:
            print_json({"run": str(folder), "stages": stages})
        else:
            print_lines([f"run folder {folder}; nothing was written", *_plan_lines(stages)])
        return
    same = [str(config), "--run", str(folder)] + [word for setting in settings or [] for word in ("--set", setting)]
    same += [word for part in parts for word in ("--without", part)]
    here = launching.place()
    if here is not None:
        launching.join_group(*here)
    elif processes > 1:
        options = (["--until", until] if until else []) + (["--json"] if as_json else [])
        options += [] if progress is None else ["--progress" if progress else "--no-progress"]
        launching.launch([sys.executable, "-m", "m6rec", "train", *same, *options], processes)
        return
    try:
        summary = pipeline.train(
            settled,
            config.parent,
            folder,
            progress=wants_progress(progress),
            notes=not as_json if progress is None else progress,
            until=until,
        )
    except KeyboardInterrupt:
        raise Interrupted("stopped between two stages; what is finished is kept: run the same command to go on") from None
    if here is not None and here[0]:
        return  # the first one speaks
    if as_json:
        print_json({"run": str(folder), **summary})
        return
    if "index" in summary:
        following = f"m6rec recommend {folder} --user ID"
    else:  # stopped before there is a model
        following = shlex.join(["m6rec", "train", *same, *([] if here is None else ["--processes", str(here[1])])])
    print_lines([*_summary_lines(summary), f"next: {following}"])


def default_run(config: Path, without: list[str]) -> Path:
    """That of `Recommender.fit`; an ablation gets its own."""
    from m6rec.training.run_folder import default_folder

    folder = default_folder(config)
    return folder.with_name("-without-".join([folder.name, *without]))


def _plan_lines(stages: list[dict[str, Any]]) -> list[str]:
    return columns([[str(value) for value in stage.values()] for stage in stages], list(stages[0]) if stages else [])


def _summary_lines(summary: dict[str, Any]) -> list[str]:
    """A line a stage: name, seconds or that it was done before, and its facts."""
    rows = []
    for name, facts in summary.items():
        if isinstance(facts, dict):
            took = "done before" if facts.get("skipped") else f"{facts['seconds']:.1f} s"
            shown = ", ".join(f"{key}: {value}" for key, value in facts.items() if key not in ("skipped", "seconds"))
            rows.append([name, took, shown])
    return columns(rows, ["stage", "time", "what came out"], right=(1,))
