"""`m6rec add-task`: one more judge task for a finished run, as an option on its frozen backbone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from m6rec.cli.options import Json, Progress, RunFolder
from m6rec.cli.output import print_json, print_lines, wants_progress


class Policy(StrEnum):
    """What is trained beside the option itself."""

    OPTIONS = "options"
    UPPER = "upper"
    EVERYTHING = "everything"


def add_task(
    run: RunFolder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new task.")],
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="The task as in a configuration: label=COLUMN, kind=..., scenarios=[...]. May be repeated."
        ),
    ],
    policy: Annotated[
        Policy, typer.Option("--train", help="options: the option alone; upper, everything: more, and a whole model is written.")
    ] = Policy.OPTIONS,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the exposures; default: 4.")] = None,
    progress: Progress = None,
    as_json: Json = False,
) -> None:
    """Train a new task that judges candidates for RUN; its data are read again for the label. Others' answers keep their bits.

    Use it with m6rec predict --option FOLDER, or Recommender.load_option(FOLDER) and drop_option(NAME).
    """
    from m6rec.base.configuration import set_dotted
    from m6rec.tasks.config import JudgeConfig
    from m6rec.training.adding import add_task as train_option

    values: dict[str, Any] = {}
    for assignment in settings:
        set_dotted(values, assignment)
    task = JudgeConfig.build(values, source=f"task '{name}'")
    added = train_option(
        run, name, task, policy=policy.value, settings=None if epochs is None else {"epochs": epochs}, progress=wants_progress(progress)
    )
    figures = {metric: estimate.mean for metric, estimate in added.judged.table().items()}
    if as_json:
        print_json({"task": name, "folder": str(added.folder), "weights": added.weights, "share": added.share, "test": figures})
        return
    shown = ", ".join(f"{metric} {value:.4f}" for metric, value in figures.items())
    print_lines(
        [
            f"task {name}: {added.weights:,} weights trained ({added.share:.2%} of the backbone's)",
            f"test: {shown}",
            f"wrote {added.folder}",
            f"next: m6rec predict {run} FILE --option {added.folder} --tasks {name} --out answers.csv"
            if policy is Policy.OPTIONS
            else f"next: m6rec predict {added.folder} FILE --tasks {name} --out answers.csv",
        ]
    )
