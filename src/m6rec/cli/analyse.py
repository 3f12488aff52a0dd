"""`m6rec analyse`: what the logs say, before anything is trained: funnels, sessions, drift, cold shares, delays, suspects, leaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m6rec.base.errors import DataError, UsageError
from m6rec.cli.options import DryRun, Json, Set, Window, duration
from m6rec.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from m6rec.config import M6RecConfig
    from m6rec.data.dataset import Dataset


def analyse(
    source: Annotated[Path, typer.Argument(metavar="CONFIG|RUN", help="A configuration file, or a run folder whose data are read again.")],
    gap: Annotated[
        str | None, typer.Option("--gap", metavar="30m", help="Pause that ends a session (s, m, h, d); default: the data decide.")
    ] = None,
    window: Annotated[Window, typer.Option("--window", help="Windows of time in which drift and activity are told.")] = Window.WEEK,
    steps: Annotated[
        str | None,
        typer.Option("--steps", metavar="A,B,C", help="Labels or actions that make the funnel, in order; default: by their names."),
    ] = None,
    permutations: Annotated[int, typer.Option("--permutations", min=20, help="Permutations behind the band of drift.")] = 200,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Where the self-contained HTML page goes; default: analysis.html beside it."),
    ] = None,
    settings: Set = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Report on the logs: funnels per scenario, sessions, activity, drift, cold shares, popularity, delays, suspects and leaks."""
    seconds = None if gap is None else duration(gap, "--gap")
    page = report or (source if source.is_dir() else source.parent) / "analysis.html"
    if dry_run:
        plan = {"source": str(source), "gap": seconds, "window": window.value, "report": str(page)}
        if as_json:
            print_json(plan)
        else:
            print_lines([f"would read {source} and write {page}"])
        return

    from m6rec.base.storage import atomic_file
    from m6rec.data.analysis.analysis import analyse as look
    from m6rec.evaluation.analysis_report import analysis_page, facts, text_lines
    from m6rec.training.run_folder import default_folder

    dataset, settled, account = _read(source, settings or [])
    leaks, notes = _leaks(dataset, settled)
    found = look(
        dataset,
        gap=seconds,
        window=window.value,
        steps=None if steps is None else [step.strip() for step in steps.split(",") if step.strip()],
        permutations=permutations,
        leaks=leaks,
        notes=notes,
    )
    with atomic_file(page) as temporary:
        temporary.write_text(analysis_page(found, title=f"The logs of {default_folder(source).name}", account=account), encoding="utf-8")
    if as_json:
        print_json({**facts(found), "report": str(page)})
        return
    print_lines([*text_lines(found), "", f"wrote {page}"])


def _read(source: Path, settings: list[str]) -> tuple[Dataset, M6RecConfig, Sequence[tuple[str, int, str]]]:
    """The prepared data, what is asked of them, and the account of what was read.

    Raises:
        CheckpointError, ConfigError, DataError, UsageError: settings with a run, whose data are prepared already.
    """
    if source.is_dir():
        if settings:
            raise UsageError(f"--set changes a configuration file as it is read; {source} is a run, whose data are prepared already")
        from m6rec.training.pipeline import open_run

        bench = open_run(source)
        return bench.dataset, bench.config, []
    from m6rec.config import load_config
    from m6rec.data.prepare import prepare

    settled = load_config(source, settings)
    dataset, account = prepare(settled.data, settled.fields, settled.scenarios, source.parent, labels=settled.label_columns)
    return dataset, settled, list(account.rows)


def _leaks(dataset: Dataset, settled: M6RecConfig) -> tuple[list[str], list[str]]:
    """A sentence on every column that seems to know the answer of a judge task; and why they can't be looked for, where they can't."""
    from m6rec.training.task_checks import check_tasks

    if not settled.judges:
        return [], [] if dataset.exposures is None else ["no judge tasks are configured: columns that leak an answer can't be looked for"]
    try:
        return [leak.line() for leak in check_tasks(dataset, settled, refuse=False).leaks], []
    except DataError as error:
        return [], [f"leaks, as long as a task can't be learned: {error}"]
