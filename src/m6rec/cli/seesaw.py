"""`m6rec seesaw`: does training together lift one task and press down another? Trains each task alone and all but one, and compares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.options import DryRun, Held, Json, Progress, RunFolder
from m6rec.cli.output import columns, print_json, print_lines, wants_progress


def seesaw(
    run: RunFolder,
    split: Annotated[Held, typer.Option("--split", help="Which held-out part is measured.")] = Held.TEST,
    least: Annotated[
        int, typer.Option("--least", min=0, help="Leave out cells with fewer yes or fewer no than this among their rows.")
    ] = 100,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Where the self-contained HTML report goes; default: seesaw.html in RUN."),
    ] = None,
    progress: Progress = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compare the joint model of RUN with each task's own model and with models that lack one task: who gained, who lost, who helped whom.

    Trains twice as many models as there are tasks; stopped or killed, the same command goes on.
    """
    from m6rec.training import seesaw as runs

    if dry_run:
        rows = runs.plan(run)
        if as_json:
            print_json(rows)
        else:
            print_lines(columns([list(row.values()) for row in rows], ["variant", "tasks trained", "status"]))
        return
    from m6rec.evaluation.seesaw import table_rows

    found = runs.seesaw(run, held=split.value, least=least, page=report, progress=wants_progress(progress))
    if as_json:
        print_json(found.plain())
        return
    header = ["cell", "metric", "joint", "alone", "difference, 95 % interval", "joint is"]
    print_lines(columns(table_rows(found.single), header, right=(2, 3, 4)))
    counts = found.counts()
    print_lines([f"{counts['better']} better, {counts['same']} the same, {counts['worse']} worse than alone"])
    for task, changes in found.helped.items():
        sure = [f"{change.cell} {change.difference:+.4f}" for change in changes if change.sure]
        print_lines([f"having {task} changes clearly: {', '.join(sure) or 'nothing'}"])
    print_lines([f"left out {cell}: {why}" for cell, why in found.skipped.items()])
    print_lines([f"wrote {report or (run.parent if run.name == 'model' else run) / runs.PAGE}"])
