"""`m6rec tune`: search the configuration that serves the validation cases best; stopped at any moment, the same command goes on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m6rec.base.errors import Interrupted, UsageError
from m6rec.cli.options import ConfigFile, DryRun, Json, Progress, Set
from m6rec.cli.output import columns, print_json, print_lines, wants_progress

if TYPE_CHECKING:
    from m6rec.training.search_space import Space
    from m6rec.training.tuning import Tuning


def tune(
    config: ConfigFile,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="FOLDER", help="The run folder; default: runs/ and the name of CONFIG.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", help="Trials the study is to have, those of earlier calls counted.")] = 30,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Stop after this long, at the next epoch.")] = None,
    space: Annotated[Path | None, typer.Option("--space", metavar="FILE", help="YAML file of the keys to search and their ranges.")] = None,
    search: Annotated[
        list[str] | None,
        typer.Option("--search", metavar="KEY=RANGE", help="Search this key: low..high, low..high:log, or a,b,c. May be repeated."),
    ] = None,
    pruning: Annotated[bool, typer.Option("--pruning/--no-pruning", help="Stop trials early that fall behind the others.")] = True,
    settings: Set = None,
    progress: Progress = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Try configurations around CONFIG, the configuration as it is first, and keep the best by the validation cases.

    Writes best.yaml, trials.csv and tune.html into the run folder. Killed or stopped, the same command goes on. The test cases are never looked at.
    """
    from m6rec.config import load_config
    from m6rec.training.run_folder import default_folder
    from m6rec.training.search_space import default_space, parse_searches, read_space

    if space is not None and search:
        raise UsageError("--space and --search were both given; write all keys into the file, or all on the command line")
    settled = load_config(config, settings or [])
    folder = run or default_folder(config)
    chosen = read_space(space, settled) if space is not None else parse_searches(search, settled) if search else default_space(settled)
    if dry_run:
        _print_plan(folder, trials, chosen, as_json)
        return
    from m6rec.training import tuning

    try:
        found = tuning.tune(
            settled,
            config.parent,
            folder,
            space=chosen,
            trials=trials,
            minutes=minutes,
            prune_after=5 if pruning else None,
            progress=wants_progress(progress),
        )
    except Interrupted as error:
        words = ["m6rec", "tune", str(config), "--run", str(folder), "--trials", str(trials)]
        words += ["--space", str(space)] if space is not None else []
        words += [word for text in search or [] for word in ("--search", text)]
        words += [word for text in settings or [] for word in ("--set", text)]
        words += [] if pruning else ["--no-pruning"]
        raise Interrupted(f"{str(error).partition(': run the same')[0]}; to go on type: {shlex.join(words)}") from None
    if as_json:
        print_json(_plain(found))
        return
    print_lines(_lines(found, folder))


def _print_plan(folder: Path, trials: int, space: Space, as_json: bool) -> None:
    if as_json:
        print_json({"run": str(folder), "trials": trials, "space": [dimension.plain() for dimension in space]})
        return
    print_lines([f"run folder {folder}, {trials} trials, the first with the configuration as it is; nothing was written"])
    print_lines(columns([[dimension.key, dimension.wording()] for dimension in space], ["key", "searched"]))


def _plain(found: Tuning) -> dict[str, Any]:
    best = None if found.best is None else {"trial": found.best.number, "value": found.best.value, "values": found.best.values}
    trials = [
        {"trial": t.number, "state": t.state, "value": t.value, "values": t.values, "seconds": t.seconds, "note": t.reason}
        for t in found.trials
    ]
    return {
        "run": str(found.run),
        "metric": found.metric,
        "best": best,
        "as_configured": None if found.default is None else found.default.value,
        "importance": found.importance,
        "left": found.left,
        "trials": trials,
        "files": [str(path) for path in found.files],
    }


def _lines(found: Tuning, folder: Path) -> list[str]:
    lines = []
    counts = {state: sum(trial.state == state for trial in found.trials) for state in ("complete", "pruned", "failed")}
    lines.append(f"{counts['complete']} trials finished, {counts['pruned']} stopped early, {counts['failed']} failed")
    if found.best is None:
        lines.append("no trial has finished yet: the same command goes on")
        return lines
    was = f" (as configured {found.default.value:.4f})" if found.default is not None and found.default is not found.best else ""
    lines.append(f"best validation {found.metric} {found.best.value:.4f}{was}: trial {found.best.number}")
    if found.best.default:
        lines.append("no trial beat the configuration as it is")
    else:
        before = found.default.values if found.default is not None else {}
        rows = [
            [key, _shown(before.get(key)), _shown(value), f"{found.importance[key]:.2f}" if key in found.importance else "-"]
            for key, value in found.best.values.items()
        ]
        lines += columns(rows, ["key", "was", "best", "importance"], right=(1, 2, 3))
    lines.append(f"wrote {', '.join(str(path) for path in found.files)}")
    if found.left:
        lines.append(f"{found.left} trials are left: the same command goes on")
    lines.append(f"next: m6rec train {folder / 'best.yaml'} --run {folder}")
    return lines


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
